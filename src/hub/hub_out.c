/* hub_out.c -- an answer whose size nobody knows before it is made.
 *
 * WHAT     Bytes gather in memory. An answer that ends below MEMORY_BYTES is sent from there, with its length. A longer
 *          one goes into a spool, which the client follows while it grows.
 * WHY      The list of all sessions, or a session of 100,000 events, is as large as the database; a spool makes that a
 *          matter of disk, and keeps a slow client from holding a read of the database open.
 * RULES    1. Once the spool is being sent there is no more status to give: a failure then cuts the connection.
 *          2. What nobody waits for any more ends: the client has left, the hub stops, or it took MOST_MS and has not
 *             begun (a search that finds nothing).
 *          3. Answers never take the last of the disk: what is reported goes first. A state of a megabyte makes an answer of a
 *             gigabyte from a thousand small updates.
 * LIMITS   MOST_LARGE answers through spools at a time; further ones get 503. */
#include <errno.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "hub/hub_priv.h"

#define MEMORY_BYTES (256 * 1024)
#define PIECE_BYTES  (64 * 1024)
#define MOST_LARGE   64
#define MOST_MS      20000 /* until an answer begins */
#define LOOK_EVERY   64
#define MOST_SPARE   (1024ULL * 1024 * 1024)

void hub_out_init(struct hub_out *o, struct hub *h, struct exchange *ex, const char *type)
{
	*o = (struct hub_out){
		.h = h, .ex = ex, .type = type, .b = BUF_EMPTY, .deadline_ms = clock_mono_ms() + MOST_MS
	};
}

static size_t headers(const struct hub_out *o, struct header_line *ret)
{
	size_t n = 0;

	ret[n++] = (struct header_line){ "Content-Type", o->type };
	ret[n++] = (struct header_line){ "Cache-Control", "no-store" };
	if (o->disposition)
		ret[n++] = (struct header_line){ "Content-Disposition", o->disposition };
	if (o->link && o->link->len)
		ret[n++] = (struct header_line){ "Link", o->link->data };
	return n;
}

/* The last tenth of the disk, MOST_SPARE at most, is for what has to be kept. */
static bool is_disk_short(const char *dir)
{
	struct statvfs v;
	uint64_t spare;

	if (statvfs(dir, &v) < 0)
		return false; /* writing will tell */
	spare = (uint64_t)v.f_blocks * v.f_frsize / 10;
	return (uint64_t)v.f_bavail * v.f_frsize < (spare < MOST_SPARE ? spare : MOST_SPARE);
}

static int begin_spool(struct hub_out *o)
{
	struct header_line lines[4];
	int r;

	if (atomic_fetch_add(&o->h->large_answers, 1) >= MOST_LARGE)
		r = -EBUSY;
	else
		r = spool_new(o->h->dir, 0, &o->spool);
	if (r < 0) {
		(void)atomic_fetch_sub(&o->h->large_answers, 1);
		return r;
	}
	hub_request_of(o->ex)->is_large = true; /* hub_api.c counts it off when it is sent */
	exchange_reply_spool(o->ex, 200, lines, headers(o, lines), spool_ref(o->spool), -1);
	o->ex = NULL;
	return 0;
}

/* The front may not have begun with the spool: a reader has left when there was one. */
static bool has_left(struct hub_out *o)
{
	bool is_read = o->spool && spool_watchers(o->spool) > 0, left = o->was_read && !is_read;

	o->was_read = o->was_read || is_read;
	return o->ex ? exchange_gone(o->ex) : left;
}

int hub_out_wanted(struct hub_out *o)
{
	if (o->error)
		return o->error;
	if (atomic_load(&o->h->stopping))
		o->error = -ESHUTDOWN; /* whoever waits for it has gone, or is told */
	else if (has_left(o))
		o->error = -ECANCELED;
	else if (o->ex && clock_mono_ms() > o->deadline_ms)
		o->error = -ETIMEDOUT;
	return o->error;
}

int hub_out_move(struct hub_out *o)
{
	if (++o->moves % LOOK_EVERY == 0)
		(void)hub_out_wanted(o); /* it is in error */
	if (o->error || o->b.len < (o->spool ? PIECE_BYTES : MEMORY_BYTES))
		return o->error;
	if (is_disk_short(o->h->dir))
		o->error = -ENOSPC;
	else if (!o->spool)
		o->error = begin_spool(o);
	if (!o->error)
		o->error = spool_append(o->spool, o->b.data, o->b.len);
	buf_reset(&o->b);
	return o->error;
}

/* Its status was 200: the client sees the connection end, and the log why. */
static void cut(struct hub_out *o, int r)
{
	if (r != -ESHUTDOWN && r != -ECANCELED)
		log_event(LOG_WARN, "hub_answer_cut", LOG_ERR("error", r), LOG_END);
	spool_fail(o->spool, r);
}

void hub_out_end(struct hub_out *o, int r)
{
	struct header_line lines[4];

	if (r == 0)
		r = o->error;
	if (r == 0 && o->spool)
		r = spool_append(o->spool, o->b.data, o->b.len);
	if (o->spool && r == 0)
		spool_complete(o->spool);
	else if (o->spool)
		cut(o, r);
	else if (r < 0)
		hub_refuse_code(o->ex, r);
	else
		exchange_reply(o->ex, 200, lines, headers(o, lines), blob_new_take(&o->b));
	spool_unref(&o->spool);
	buf_fini(&o->b);
}
