/* transfer.c -- asking upstream for a pack.
 *
 * WHAT     The request of `git fetch` with everything said at once: stateless, no rounds. The values that a repository
 *          serves all came from this upstream, so what we have, upstream knows; rounds would find nothing more.
 * RULES    A pack counts as whole when the flush behind it came; index-pack checks its trailer all the same.
 * THREADS  The calling worker. SEE gitprotocol-v2 "fetch", gitprotocol-pack "Packfile Data". */
#include "git/transfer.h"

#include "base/err.h"
#include "base/obj.h"
#include "proto/packstream.h"

struct receiver {
	const struct ask *a;
	const struct transfer *t;
	struct ask_result *ret;
	struct packstream pack;
	unsigned char head[12]; /* of the pack */
	size_t head_bytes;
	int code;
};

static void add_wants_v2(const struct transfer *t, struct buf *out)
{
	pkt_add_str(out, "command=fetch");
	pkt_addf(out, "agent=git/weir-%s", WEIR_VERSION);
	pkt_addf(out, "object-format=%s", oid_format_text(t->format));
	pkt_add_delim(out);
	pkt_add_str(out, "thin-pack");
	pkt_add_str(out, "ofs-delta");
	pkt_add_str(out, "no-progress");
}

static void make_request(const struct transfer *t, struct buf *out)
{
	bool v2 = t->upstream_version == 2;
	char hex[OID_MAX_HEX + 1];

	if (v2)
		add_wants_v2(t, out);
	for (size_t i = 0; i < t->wants->count; i++) {
		oid_to_hex(t->format, &t->wants->items[i], hex);
		if (i == 0 && !v2)
			pkt_addf(out, "want %s side-band-64k thin-pack ofs-delta no-progress%s agent=git/weir-%s\n",
				 hex, t->format == OID_SHA256 ? " object-format=sha256" : "", WEIR_VERSION);
		else
			pkt_addf(out, "want %s\n", hex);
	}
	if (!v2)
		pkt_add_flush(out);
	for (size_t i = 0; i < t->haves->count; i++) {
		oid_to_hex(t->format, &t->haves->items[i], hex);
		pkt_addf(out, "have %s\n", hex);
	}
	pkt_add_str(out, "done\n");
	if (v2)
		pkt_add_flush(out);
}

static int on_pack(void *arg, const char *p, size_t n)
{
	struct receiver *rc = arg;
	int r = intake_write(rc->t->intake, p, n);

	for (size_t i = 0; rc->head_bytes < sizeof(rc->head) && i < n; i++)
		rc->head[rc->head_bytes++] = (unsigned char)p[i];
	if (r == 0) {
		pthread_mutex_lock(&rc->a->repo->lock);
		rc->a->repo->progress.bytes = intake_bytes(rc->t->intake);
		if (rc->head_bytes == sizeof(rc->head)) /* gitformat-pack: "PACK", version, number of objects */
			rc->a->repo->progress.objects = (uint64_t)rc->head[8] << 24 | (uint64_t)rc->head[9] << 16 |
							(uint64_t)rc->head[10] << 8 | rc->head[11];
		pthread_mutex_unlock(&rc->a->repo->lock);
	}
	return r;
}

static int on_data(void *arg, const char *p, size_t n)
{
	struct receiver *rc = arg;

	if (rc->ret->status != 200)
		return 0; /* an error's body */
	return rc->code = packstream_feed(&rc->pack, (struct slice){ p, n });
}

/* What the call's end means, the pack considered. */
static void judge(struct receiver *rc, struct ask_result *ret)
{
	if (rc->pack.err.len) {
		ret->outcome = ASK_REFUSED;
		ret->err = WEIR_E_PROTOCOL;
		ret->status = 0;
		buf_reset(&ret->text);
		buf_add_slice(&ret->text, buf_slice(&rc->pack.err));
	} else if (rc->code) {
		ret->outcome = ASK_FAILED;
		ret->err = rc->code;
	} else if (ret->outcome == ASK_OK && rc->pack.state != PACKSTREAM_ENDED) {
		ret->outcome = ASK_UNAVAILABLE; /* an HTTP answer may end properly and the pack in it not */
		ret->err = WEIR_E_CUT;
	}
}

void transfer_run(const struct ask *a, const struct transfer *t, struct ask_result *ret)
{
	static const struct slice headers[] = {
		SLICE_LIT("Content-Type: application/x-git-upload-pack-request"),
		SLICE_LIT("Accept: application/x-git-upload-pack-result"),
		SLICE_LIT("Git-Protocol: version=2"),
	};
	struct receiver rc = { .a = a, .t = t, .ret = ret };
	struct ask_stream stream = { .method = "POST", .suffix = "/git-upload-pack", .headers = headers,
				     .header_count = t->upstream_version == 2 ? 3 : 2, .sink = { NULL, on_data, &rc } };
	struct client_result call;
	struct buf body = BUF_EMPTY;

	make_request(t, &body);
	stream.body = buf_slice(&body);
	packstream_init(&rc.pack, t->upstream_version == 2 ? 2 : 0, on_pack, &rc);
	ask_stream(a, &stream, ret, &call);
	judge(&rc, ret);
	packstream_fini(&rc.pack);
	buf_fini(&body);
}
