/* fuzz_gitcmd.c -- requests to upload-pack. The first byte chooses the protocol version and the size of the pieces.
 *
 * In pieces or whole, the outcome and the keys must be the same; a key must not depend on what is dropped from it. */
#include "base/obj.h"
#include "proto/gitcmd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_request(struct gitcmd *c, int version, struct slice all, size_t piece)
{
	gitcmd_init(c, version);
	while (all.n) {
		struct slice part = { all.p, all.n < piece ? all.n : piece };

		if (gitcmd_feed(c, part) < 0)
			break;
		all = slice_from(all, part.n);
	}
	return gitcmd_finish(c);
}

static void key_of(const struct gitcmd *c, struct buf *key)
{
	if (c->kind == GITCMD_LS_REFS)
		gitcmd_canonical_lsrefs(c, key);
	else if (c->kind == GITCMD_FETCH)
		gitcmd_fetch_key(c, key);
	buf_addf(key, "%d %d %d", c->kind, gitcmd_fetch_names_refs(c), gitcmd_fetch_is_plain(c));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf key = BUF_EMPTY, again = BUF_EMPTY;
	struct gitcmd one, other;
	struct slice all;
	int version, r;

	if (size < 1)
		return 0;
	version = data[0] & 1 ? 2 : 0;
	all = (struct slice){ (const char *)data + 1, size - 1 };
	(void)gitcmd_protocol_version(all);
	r = read_request(&one, version, all, (data[0] >> 1) % 29 + 1u);
	ENSURE(read_request(&other, version, all, SIZE_MAX) == r);
	ENSURE(r == 0 || (one.why && other.why));
	if (r == 0) {
		ENSURE(one.kind != GITCMD_NONE);
		key_of(&one, &key);
		one.agent = one.session_id = SLICE_LIT("somebody");
		one.server_options.count = 0;
		buf_reset(&again);
		key_of(&one, &again);
		ENSURE(slice_eq(buf_slice(&key), buf_slice(&again)));
		buf_reset(&again);
		key_of(&other, &again);
		ENSURE(slice_eq(buf_slice(&key), buf_slice(&again)));
	}
	gitcmd_fini(&one);
	gitcmd_fini(&other);
	buf_fini(&key);
	buf_fini(&again);
	return 0;
}
