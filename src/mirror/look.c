/* look.c -- see look.h. */
#include "mirror/look.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "proto/httpdate.h"

#define LOOK_ARENA_BYTES (64 * 1024)
#define LOOK_MOST_LINES 512

struct looking {
	struct look *k;
	struct mirror *m;
	struct spool *spool; /* compared with, instead of keeping the body; NULL: kept */
	uint64_t at, bytes;
	bool differs;
	int trouble; /* reading ours */
};

void look_init(struct look *k, size_t most_body)
{
	*k = (struct look){ .length = -1, .head = BUF_LIMIT(STORED_MOST_HEAD + 1024), .body = BUF_LIMIT(most_body) };
	buf_init(&k->now.etag, 0);
}

void look_fini(struct look *k)
{
	outbox_base_fini(&k->now);
	buf_fini(&k->head);
	buf_fini(&k->body);
}

void look_validators(struct slice head, struct outbox_base *ret)
{
	struct slice cut[LOOK_MOST_LINES], date;
	struct httplines h = { cut, 0 };
	struct etag tag;

	h.count = httplines_cut(head, cut, LOOK_MOST_LINES);
	if (h.count > LOOK_MOST_LINES)
		h.count = LOOK_MOST_LINES;
	tag = etag_of(&h);
	buf_reset(&ret->etag);
	if (tag.opaque.p)
		buf_addf(&ret->etag, "%s%.*s", tag.weak ? "W/" : "", (int)tag.opaque.n, tag.opaque.p);
	date = httplines_get(&h, "last-modified");
	if (!date.p || httpdate_parse(date, clock_wall_ms() / 1000, &ret->mod_time) < 0)
		ret->mod_time = 0;
	ret->known = true;
	ret->absent = false;
}

static int on_head(void *arg, int status, const struct slice *headers, size_t n)
{
	struct looking *l = arg;
	struct look *k = l->k;
	const struct httplines in = { headers, n };

	k->status = status;
	k->response_wall_ms = clock_wall_ms();
	fields_to_store(&in, k->response_wall_ms, &k->head);
	mirror_own_location(l->m, &k->head);
	k->length = httplines_content_length(&in);
	k->is_encoded = httplines_get(&in, "content-encoding").p != NULL;
	if (status >= 200 && status < 300)
		look_validators(buf_slice(&k->head), &k->now);
	else if (status == 404 || status == 410)
		k->now.known = k->now.absent = true;
	return 0;
}

/* 0: the same so far; or a code that ends the call, as there is no need of the rest. */
static int compare(struct looking *l, const char *p, size_t n)
{
	char ours[16384];

	while (n) {
		size_t piece = n < sizeof(ours) ? n : sizeof(ours);
		ssize_t got = l->at < l->bytes ? pread(spool_fd(l->spool), ours, piece, (off_t)l->at) : 0;

		l->differs = l->at == l->bytes || (got > 0 && memcmp(ours, p, (size_t)got) != 0);
		if (!l->differs && got <= 0) /* that says nothing of theirs */
			l->trouble = got < 0 ? -errno : WEIR_E_DAMAGED;
		if (l->differs || l->trouble)
			return WEIR_E_CANCELLED;
		l->at += (uint64_t)got;
		p += got;
		n -= (size_t)got;
	}
	return 0;
}

static int on_data(void *arg, const char *p, size_t n)
{
	struct looking *l = arg;

	if (l->k->status < 200 || l->k->status >= 300)
		return 0;
	if (l->spool)
		return compare(l, p, n);
	buf_add(&l->k->body, p, n);
	return buf_error(&l->k->body);
}

static int ask(struct mirror *m, const char *method, struct slice target, struct cancel *cancel, struct looking *l)
{
	const struct client_sink sink = { on_head, on_data, l };
	struct client_result result;
	struct client_request rq = { .method = method, .target = target,
				     .first_byte_ms = mirror_config(m)->upstream_timeout,
				     .total_ms = l->k->total_ms };
	struct arena arena;
	struct lines lines;
	int r;

	arena_init(&arena, LOOK_ARENA_BYTES);
	lines_init(&lines, &arena);
	/* what upstream itself has, not what another cache on the way has */
	lines_addf(&lines, "Cache-Control: no-cache");
	lines_addf(&lines, "Accept-Encoding: identity");
	heads_add_own(NULL, &lines);
	r = mirror_authorize(m, &lines);
	rq.headers = lines.items;
	rq.header_count = lines.count;
	l->k->request_wall_ms = clock_wall_ms();
	if (r == 0)
		r = link_call(m->link, &rq, &sink, cancel, &result);
	arena_fini(&arena);
	return r;
}

int look_at(struct mirror *m, const char *method, struct slice target, struct cancel *cancel, struct look *k)
{
	struct looking l = { .k = k, .m = m };

	return ask(m, method, target, cancel, &l);
}

int look_same(struct mirror *m, struct slice target, struct spool *body, uint64_t bytes, struct cancel *cancel,
	      struct look *k)
{
	struct looking l = { .k = k, .m = m, .spool = body, .bytes = bytes };
	int r = ask(m, "GET", target, cancel, &l);

	if (l.differs)
		return 0;
	if (l.trouble)
		return l.trouble;
	if (r < 0)
		return r;
	if (link_status_is_unavailable(k->status, true))
		return WEIR_E_STATUS;
	return k->status == 200 && !k->is_encoded && l.at == bytes;
}
