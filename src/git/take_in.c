/* take_in.c -- what passed through, used again.
 *
 * WHAT     A clone that passed through to upstream is in a spool. Its pack is poured from there through intake.c,
 *          without a second transfer, on one thread at idle priority, so that it takes nothing from clients.
 * RULES    1. An answer is kept for others only after its pack was found right: upstream may have lied, or the line.
 *          2. A pack that stands alone and is not right is upstream's fault: refused and counted. One that builds on
 *             what the client has may build on what is not here; the sync that follows puts that right.
 * THREADS  Workers. */
#include "git/take_in.h"

#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "git/intake.h"
#include "git/kept.h"
#include "git/maint.h"
#include "proto/packstream.h"

#define PIECE_BYTES (1 << 18)

struct take_in {
	struct repo *repo;
	struct spool *answer;
	int version;
	struct oid_list wants;
	bool had_haves;
	struct buf key;
};

struct take_in *take_in_new(struct repo *r, struct spool *answer, int version, const struct oid_list *wants,
			    bool had_haves, struct slice key)
{
	struct take_in *t = xcalloc(1, sizeof(*t));

	t->repo = repo_ref(r);
	t->answer = spool_ref(answer);
	t->version = version;
	for (size_t i = 0; i < wants->count; i++)
		oid_list_add(&t->wants, &wants->items[i]);
	t->had_haves = had_haves;
	t->key = (struct buf)BUF_EMPTY;
	buf_add_slice(&t->key, key);
	return t;
}

void take_in_free(struct take_in **tp)
{
	struct take_in *t = *tp;

	*tp = NULL;
	if (!t)
		return;
	repo_unref(&t->repo);
	spool_unref(&t->answer);
	oid_list_fini(&t->wants);
	buf_fini(&t->key);
	free(t);
}

static int write_pack(void *arg, const char *p, size_t n)
{
	return intake_write(arg, p, n);
}

/* The pack of the answer into an intake. 0; -ENODATA: there is none in it (a round of negotiation); or a code. */
static int pour(const struct take_in *t, struct intake *in)
{
	struct packstream ps;
	char *piece = xmalloc(PIECE_BYTES);
	uint64_t bytes, at = 0;
	int r = 0;

	packstream_init(&ps, t->version, write_pack, in);
	(void)spool_peek(t->answer, &bytes, NULL);
	while (r == 0 && at < bytes) {
		ssize_t n = pread(spool_fd(t->answer), piece,
				  bytes - at < PIECE_BYTES ? (size_t)(bytes - at) : PIECE_BYTES, (off_t)at);

		if (n <= 0) {
			r = -EIO;
			break;
		}
		r = packstream_feed(&ps, (struct slice){ piece, (size_t)n });
		at += (uint64_t)n;
	}
	if (r == 0 && ps.state != PACKSTREAM_ENDED)
		r = ps.state == PACKSTREAM_BEFORE ? -ENODATA : WEIR_E_CUT;
	packstream_fini(&ps);
	free(piece);
	return r;
}

static int stop_at_pack(void *arg, const char *p, size_t n)
{
	(void)arg;
	(void)p;
	(void)n;
	return WEIR_E_CANCELLED; /* what stands before was seen */
}

/* The ids at which the answer's history is cut: they stand before the pack. */
static int read_shallow(const struct take_in *t, struct buf *out)
{
	struct packstream ps;
	char *piece = xmalloc(PIECE_BYTES);
	uint64_t bytes, at = 0;
	int r = 0;

	packstream_init(&ps, t->version, stop_at_pack, NULL);
	(void)spool_peek(t->answer, &bytes, NULL);
	while (r == 0 && at < bytes) {
		ssize_t n = pread(spool_fd(t->answer), piece,
				  bytes - at < PIECE_BYTES ? (size_t)(bytes - at) : PIECE_BYTES, (off_t)at);

		if (n <= 0)
			break;
		r = packstream_feed(&ps, (struct slice){ piece, (size_t)n });
		at += (uint64_t)n;
	}
	buf_add_slice(out, buf_slice(&ps.shallow));
	packstream_fini(&ps);
	free(piece);
	return r == 0 || r == WEIR_E_CANCELLED ? 0 : r;
}

/* Pours and has it judged. */
static int judge(const struct take_in *t, bool only_look, struct buf *why)
{
	struct refs *refs = repo_refs(t->repo, NULL);
	struct intake_options o = { .git_dir = t->repo->git_dir,
				    .format = refs ? refs_format(refs) : OID_SHA1,
				    .background = true,
				    .only_look = only_look,
				    .most_bytes = git_config(t->repo->g)->disk.max,
				    .cancel = t->repo->g->stop };
	struct buf shallow = BUF_EMPTY;
	struct intake *in = NULL;
	int r = only_look ? read_shallow(t, &shallow) : 0;

	refs_unref(&refs);
	o.shallow = buf_slice(&shallow);
	if (r == 0)
		r = intake_begin(&o, &in);
	buf_fini(&shallow);
	if (r == 0)
		r = pour(t, in);
	if (r == 0 || r == WEIR_E_CHILD)
		r = intake_finish(in, &t->wants, why);
	intake_free(&in);
	return r;
}

/* Rule 2. */
static void explain_refusal(const struct take_in *t, int r, const struct buf *why)
{
	if ((r == WEIR_E_DAMAGED || r == WEIR_E_PROTOCOL) && !t->had_haves) {
		metric_add(t->repo->g->metrics.syncs[2], 1);
		log_event(LOG_ERROR, "pack_refused", LOG_STR("repository", t->repo->key),
			  LOG_STR("why", why->len ? why->data : err_text(r)),
			  LOG_STR("effect", "nothing of it was taken in"), LOG_END);
	} else if (r != WEIR_E_CANCELLED && r != -ENODATA) {
		log_event(LOG_INFO, "pack_not_taken_in", LOG_STR("repository", t->repo->key), LOG_ERR("code", r),
			  LOG_STR("why", why->data), LOG_STR("effect", "fetched by a sync"), LOG_END);
	}
}

/* What came over the line is dear: worth keeping whatever its size. */
static void keep(struct take_in *t)
{
	uint64_t bytes;

	(void)spool_peek(t->answer, &bytes, NULL);
	if (kept_is_worth(t->repo->g->kept, buf_slice(&t->key), bytes, KEPT_COSTLY_MS))
		kept_store(t->repo->g->kept, t->repo, buf_slice(&t->key), t->answer);
}

static int on_disk(struct repo *r)
{
	struct refs *refs = repo_refs(r, NULL);
	int err = repo_make_on_disk(r, refs ? refs_format(refs) : OID_SHA1);

	refs_unref(&refs);
	return err;
}

void take_in_run(struct take_in *t)
{
	struct buf why = BUF_EMPTY;
	unsigned pin;
	int r = on_disk(t->repo);

	if (r == 0 && repo_pin(t->repo, &pin)) {
		r = judge(t, false, &why);
		if (r == 0)
			r = repo_note_servable(t->repo, &t->wants);
		repo_unpin(t->repo, pin);
		if (r == 0) {
			maint_note_pack(t->repo);
			repo_measure(t->repo);
			keep(t);
		}
	}
	if (r < 0)
		explain_refusal(t, r, &why);
	buf_fini(&why);
}

void take_in_look(struct take_in *t)
{
	struct buf why = BUF_EMPTY;
	unsigned pin;
	int r = t->key.len ? on_disk(t->repo) : -ENODATA;

	if (r == 0 && repo_pin(t->repo, &pin)) {
		r = judge(t, true, &why);
		repo_unpin(t->repo, pin);
		if (r == 0)
			keep(t);
		else
			explain_refusal(t, r, &why);
	}
	buf_fini(&why);
}
