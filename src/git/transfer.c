/* transfer.c -- asking upstream for a pack.
 *
 * WHAT     The request of `git fetch` with everything said at once: stateless, no rounds. The values that a repository
 *          serves all came from this upstream, so what we have, upstream knows; rounds would find nothing more.
 * RULES    A pack counts as whole when the flush behind it came; index-pack checks its trailer all the same.
 * THREADS  The calling worker. SEE gitprotocol-v2 "fetch", gitprotocol-pack "Packfile Data". */
#include "git/transfer.h"

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "proto/pktline.h"

enum section { BEFORE_PACK, IN_PACK, PACK_ENDED };

struct receiver {
	const struct ask *a;
	const struct transfer *t;
	struct ask_result *ret;
	struct pkt_reader pkts;
	enum section section;
	struct buf err; /* upstream's words: ERR packet or band 3 */
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
			pkt_addf(out, "want %s side-band-64k thin-pack ofs-delta no-progress%s agent=git/weir-%s\n", hex,
				 t->format == OID_SHA256 ? " object-format=sha256" : "", WEIR_VERSION);
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

static void note_error(struct receiver *rc, struct slice text)
{
	buf_reset(&rc->err);
	str_add_escaped(&rc->err, slice_trim(text), 900);
	rc->code = WEIR_E_PROTOCOL;
}

#define AS_BAND 1 /* this packet belongs to the pack already */

/* One line before the pack. */
static int take_line(struct receiver *rc, const struct pkt *p)
{
	struct slice text = pkt_text(p);
	bool v2 = rc->t->upstream_version == 2;

	if (p->type != PKT_DATA)
		return 0; /* sections of v2 end so */
	if (slice_starts(text, "ERR ")) {
		note_error(rc, slice_from(text, 4));
		return rc->code;
	}
	if (v2 && slice_eq_str(text, "packfile")) {
		rc->section = IN_PACK;
		return 0;
	}
	if (!v2 && (slice_eq_str(text, "NAK") || slice_starts(text, "ACK ")))
		return 0;
	if (!v2 && p->data.n && (p->data.p[0] == 1 || p->data.p[0] == 2 || p->data.p[0] == 3)) {
		rc->section = IN_PACK;
		return AS_BAND;
	}
	return v2 ? 0 : WEIR_E_PROTOCOL;
}

static int take_band(struct receiver *rc, const struct pkt *p)
{
	struct slice data = p->data;
	int r;

	if (p->type == PKT_FLUSH) {
		rc->section = PACK_ENDED;
		return 0;
	}
	if (p->type != PKT_DATA || !data.n)
		return 0;
	switch (data.p[0]) {
	case 1:
		r = intake_write(rc->t->intake, data.p + 1, data.n - 1);
		if (r == 0) {
			pthread_mutex_lock(&rc->a->repo->lock);
			rc->a->repo->progress.bytes = intake_bytes(rc->t->intake);
			pthread_mutex_unlock(&rc->a->repo->lock);
		}
		return r;
	case 2:
		return 0;
	case 3:
		note_error(rc, slice_from(data, 1));
		return rc->code;
	default:
		return WEIR_E_PROTOCOL;
	}
}

static int on_data(void *arg, const char *p, size_t n)
{
	struct receiver *rc = arg;
	struct slice in = { p, n };
	struct pkt pkt;
	int more, r = 0;

	if (rc->ret->status != 200)
		return 0; /* an error's body */
	while ((more = pkt_reader_next(&rc->pkts, &in, &pkt)) > 0) {
		r = rc->section == BEFORE_PACK ? take_line(rc, &pkt) : AS_BAND;
		if (r == AS_BAND)
			r = rc->section == IN_PACK ? take_band(rc, &pkt) : 0;
		if (r < 0)
			break;
	}
	if (more < 0)
		r = WEIR_E_PROTOCOL;
	if (r < 0)
		rc->code = r;
	return r;
}

/* What the call's end means, the pack considered. */
static void judge(struct receiver *rc, struct ask_result *ret)
{
	if (rc->err.len) {
		ret->outcome = ASK_REFUSED;
		ret->err = WEIR_E_PROTOCOL;
		ret->status = 0;
		buf_reset(&ret->text);
		buf_add_slice(&ret->text, buf_slice(&rc->err));
	} else if (rc->code) {
		ret->outcome = ASK_FAILED;
		ret->err = rc->code;
	} else if (ret->outcome == ASK_OK && rc->section != PACK_ENDED) {
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
	struct receiver rc = { .a = a, .t = t, .ret = ret, .err = BUF_LIMIT(1024) };
	struct ask_stream stream = { .method = "POST", .suffix = "/git-upload-pack", .headers = headers,
				     .header_count = t->upstream_version == 2 ? 3 : 2, .sink = { NULL, on_data, &rc } };
	struct client_result call;
	struct buf body = BUF_EMPTY;

	make_request(t, &body);
	stream.body = buf_slice(&body);
	pkt_reader_init(&rc.pkts);
	ask_stream(a, &stream, ret, &call);
	judge(&rc, ret);
	pkt_reader_fini(&rc.pkts);
	buf_fini(&rc.err);
	buf_fini(&body);
}
