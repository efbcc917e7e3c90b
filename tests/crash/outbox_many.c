/* outbox_many.c -- the outbox with many at once: threads that put, and one that delivers, while the disk goes wrong.
 *
 * Their commits are shared, so one failure meets several calls. No model here, as there is no one order: each thread
 * has a key of its own, and notes for each of its writes what it was told. */
#include "outbox_play.h"

#include <pthread.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"

#define THREADS 6
#define PUTS    4
_Static_assert(THREADS *PUTS <= MODEL_ENTRIES, "numbers");

enum told { UNTOLD, TRIED, DONE, UNKNOWN, REFUSED };

struct many_room {
	atomic_int put[MODEL_ENTRIES], settled[MODEL_ENTRIES];
};

struct many {
	struct run *run;
	struct outbox *ob;
	struct outbox_queue *q;
	struct many_room *room;
	atomic_uint writing;
};

static unsigned bytes_of(unsigned i)
{
	return i % 4 == 1 ? BIG : SMALL;
}

static enum told answer(int r)
{
	return r == 0 ? DONE : r == -EIO ? UNKNOWN : REFUSED;
}

static int put_one(struct many *m, unsigned i)
{
	char key = (char)('a' + i / PUTS), name[16], uri[3] = { '/', key };
	struct outbox_write w = {
		.key = { &key, 1 },
		.method = SLICE_LIT("PUT"),
		.uri = slice_str(uri),
		.wants_parent = true,
		.is_base = true,
		.expect_tail = OUTBOX_ANY,
	};
	struct buf body = BUF_EMPTY;
	struct outbox_receipt receipt;
	int r = 0;

	(void)snprintf(name, sizeof(name), "put-%u", i);
	w.idempotency_key = slice_str(name);
	play_body(i, bytes_of(i), &body);
	if (body.len <= OUTBOX_INLINE_BYTES)
		w.body = buf_slice(&body);
	else
		r = outbox_spool_new(m->q, &w.spool);
	if (r == 0 && w.spool)
		r = spool_append(w.spool, body.data, body.len);
	if (r == 0 && w.spool)
		spool_complete(w.spool);
	if (r == 0)
		r = outbox_put(m->q, &w, &receipt);
	spool_unref(&w.spool);
	buf_fini(&body);
	return r;
}

struct writer {
	struct many *m;
	unsigned thread;
};

static void *writer_main(void *arg)
{
	const struct writer *w = arg;

	for (unsigned k = 0; k < PUTS; k++) {
		unsigned i = w->thread * PUTS + k;
		atomic_store(&w->m->room->put[i], TRIED);
		atomic_store(&w->m->room->put[i], answer(put_one(w->m, i)));
	}
	atomic_fetch_sub(&w->m->writing, 1);
	return NULL;
}

/* Applies whatever is lent, as long as somebody writes. */
static void deliver(struct many *m)
{
	struct outbox_settlement how = { .to = OUTBOX_APPLIED, .status = 204 };

	while (atomic_load(&m->writing) > 0) {
		struct outbox_entry e = { 0 };
		int64_t next;
		unsigned i;
		if (outbox_lend(m->q, FAR_MS, &e, &next) < 0)
			continue;
		i = play_number(m->run, &e);
		atomic_store(&m->room->settled[i], TRIED);
		atomic_store(&m->room->settled[i], answer(outbox_settle(m->q, e.seq, &how)));
		outbox_entry_fini(&e);
	}
}

static void open_many(struct many *m, struct run *run)
{
	struct outbox_limits limits = { .keep_settled_ms = 1000 };
	struct buf err = BUF_EMPTY;
	int r = outbox_open(run->dir, &m->ob, &err);

	if (r < 0) {
		disk_heal();
		r = outbox_open(run->dir, &m->ob, &err);
	}
	EXPECT(run, r == 0, "does not open on a sound disk: %s", err.data);
	buf_fini(&err);
	m->run = run;
	m->room = run->room;
	m->q = outbox_queue(m->ob, "files", &limits);
}

static void act(struct run *run)
{
	static struct many m;
	static struct writer writers[THREADS];
	pthread_t threads[THREADS];

	open_many(&m, run);
	atomic_store(&m.writing, THREADS);
	for (unsigned t = 0; t < THREADS; t++) {
		writers[t] = (struct writer){ &m, t };
		ENSURE(pthread_create(&threads[t], NULL, writer_main, &writers[t]) == 0);
	}
	deliver(&m);
	for (unsigned t = 0; t < THREADS; t++)
		ENSURE(pthread_join(threads[t], NULL) == 0);
}

struct seen {
	struct many *m;
	unsigned count[MODEL_ENTRIES], last[THREADS];
	bool is_waiting[THREADS];
};

static bool see(void *arg, const struct outbox_entry *e)
{
	struct seen *s = arg;
	struct run *run = s->m->run;
	unsigned i = play_number(run, e), thread = i / PUTS;
	int settled = atomic_load(&s->m->room->settled[i]);

	s->count[i]++;
	EXPECT(run, !e->damaged, "%u is called damaged", i);
	EXPECT(run, i + 1 > s->last[thread], "%u comes after %u", i, s->last[thread] - 1);
	s->last[thread] = i + 1;
	EXPECT(run, e->state == OUTBOX_QUEUED || e->state == OUTBOX_APPLIED, "%u is %s", i,
	       outbox_state_text(e->state));
	EXPECT(run, settled != DONE || e->state == OUTBOX_APPLIED, "%u is not applied any more", i);
	EXPECT(run, settled != UNTOLD || e->state == OUTBOX_QUEUED, "%u is applied, and nobody did it", i);
	EXPECT(run, e->state != OUTBOX_APPLIED || !s->is_waiting[thread], "%u was applied before one that waits", i);
	s->is_waiting[thread] |= e->state == OUTBOX_QUEUED;
	if (e->state == OUTBOX_QUEUED) {
		struct spool *body = NULL;
		int r = outbox_body(s->m->ob, e, &body);
		EXPECT(run, r == 0 && e->body_bytes == bytes_of(i), "the body of %u: %s", i, err_text(r));
		spool_unref(&body);
	}
	return true;
}

static void check(struct run *run)
{
	static struct many m;
	struct seen s = { .m = &m };

	open_many(&m, run);
	EXPECT(run, outbox_list(m.ob, NULL, -1, 0, 1000, see, &s) == 0, "does not list");
	for (unsigned i = 0; i < MODEL_ENTRIES; i++) {
		int put = atomic_load(&m.room->put[i]);
		EXPECT(run, s.count[i] <= 1, "%u is there twice", i);
		EXPECT(run, put != DONE || s.count[i] == 1, "%u is lost", i);
		EXPECT(run, (put != REFUSED && put != UNTOLD) || s.count[i] == 0, "%u is there, though it was refused",
		       i);
	}
	EXPECT(run, outbox_damaged(m.ob) == 0, "something is called damaged");
}

const struct scenario many_scenarios[] = {
	{ "outbox-many", NULL, act, check, DISK_BLIND_FILES | DISK_BLIND_DIRS, RIGHT, "/bodies" },
	{ 0 },
};
