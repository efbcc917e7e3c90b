/* fuzz_advert.c -- upstreams' advertisements. The first byte chooses the size of the pieces.
 *
 * In pieces or whole, the outcome must be the same; what weir makes of one must be what it can read itself. */
#include "base/obj.h"
#include "proto/advert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int keep(void *arg, const struct lsref *ref)
{
	struct buf *out = arg;

	ENSURE(lsrefs_name_is_valid(ref->name) && !ref->unborn);
	ENSURE(!ref->symref.n || lsrefs_name_is_valid(ref->symref));
	buf_add_slice(out, ref->name);
	buf_add(out, ref->oid.bytes, sizeof(ref->oid.bytes));
	buf_add(out, ref->peeled.bytes, ref->has_peeled ? sizeof(ref->peeled.bytes) : 0);
	buf_add_slice(out, ref->symref);
	return 0;
}

static int read_all(struct advert *a, struct buf *refs, struct slice all, size_t piece)
{
	advert_init(a, keep, refs);
	while (all.n) {
		struct slice part = { all.p, all.n < piece ? all.n : piece };

		if (advert_feed(a, part) < 0)
			break;
		all = slice_from(all, part.n);
	}
	return advert_finish(a);
}

static void read_what_we_write(const struct advert *a)
{
	struct buf wire = BUF_EMPTY, none = BUF_EMPTY;
	struct advert made;

	advert_add_v2(&wire, a, a, a->format, "weir/test");
	ENSURE(read_all(&made, &none, buf_slice(&wire), SIZE_MAX) == 0);
	ENSURE(made.version == 2 && !advert_has_feature(&made, "fetch", "ref-in-want"));
	ENSURE(!advert_has(&made, "bundle-uri", NULL) && !advert_has_feature(&made, "fetch", "packfile-uris"));
	advert_fini(&made);
	buf_reset(&wire);
	advert_add_v0_caps(&wire, a, a, a->format, "weir/test");
	ENSURE(!slice_has_nul(buf_slice(&wire)) && slice_find(buf_slice(&wire), '\n') < 0);
	advert_init(&made, NULL, NULL);
	ENSURE(advert_restore(&made, a->version, buf_slice(&a->caps)) == 0);
	ENSURE(slice_eq(buf_slice(&made.caps), buf_slice(&a->caps)));
	advert_fini(&made);
	buf_fini(&wire);
	buf_fini(&none);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf refs = BUF_EMPTY, again = BUF_EMPTY;
	struct advert one, other;
	struct slice all;
	int r;

	if (size < 1)
		return 0;
	all = (struct slice){ (const char *)data + 1, size - 1 };
	r = read_all(&one, &refs, all, data[0] % 31 + 1u);
	ENSURE(read_all(&other, &again, all, SIZE_MAX) == r);
	ENSURE(slice_eq(buf_slice(&refs), buf_slice(&again)));
	if (r == 0) {
		ENSURE(one.version >= 0 && one.version <= 2 && one.format != OID_UNKNOWN);
		read_what_we_write(&one);
	}
	advert_fini(&one);
	advert_fini(&other);
	buf_fini(&refs);
	buf_fini(&again);
	return 0;
}
