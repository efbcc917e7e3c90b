/* daemon_life.c -- when a daemon that belongs to one program ends.
 *               the last session ended, 3 s ago                 nothing waits, or nothing was
 *      serves --------- its owner is gone ---------------> leaving ---- delivered for 5 s, or 30 s are over --> ends
 *         ^              SIGTERM (then 3 s at most)            |
 *         `------------ a new session was registered ----------'  (not after the owner's end or SIGTERM)
 *
 * WHY      Programs start and stop it without a thought, and it is theirs: it must not stay for ever, nor go while a
 *          new session begins, nor while a server is just taking what it has. What it leaves is on disk, and the next
 *          start delivers it.
 * THREADS  Pure. */
#include "cli/daemon_life.h"

static void leave(struct life *l, const struct life_facts *f)
{
	if (l->leaving_ms)
		return;
	l->leaving_ms = l->progress_ms = f->now_ms;
	l->least_waiting = f->waiting;
}

static bool is_over(struct life *l, const struct life_facts *f)
{
	int64_t most = f->asked_to_end ? LIFE_MOST_ASKED_MS : LIFE_MOST_LEAVING_MS;

	if (f->waiting < l->least_waiting) {
		l->least_waiting = f->waiting;
		l->progress_ms = f->now_ms;
	}
	return f->waiting == 0 || f->now_ms - l->leaving_ms >= most ||
	       f->now_ms - l->progress_ms >= LIFE_NO_PROGRESS_MS;
}

/* All sessions of this start have ended, and for a while now. */
static bool has_no_more_to_do(struct life *l, const struct life_facts *f)
{
	if (f->ended != l->ended) {
		l->ended = f->ended;
		l->last_end_ms = f->now_ms;
	}
	if (f->live > 0)
		l->last_end_ms = f->now_ms;
	if (l->delivers_only)
		return f->waiting == 0 && f->now_ms - l->began_ms >= LIFE_SETTLE_MS;
	return l->ended > 0 && f->live == 0 && f->now_ms - l->last_end_ms >= LIFE_AFTER_LAST_MS;
}

enum life_verdict life_look(struct life *l, const struct life_facts *f)
{
	bool is_idle;

	if (!l->began_ms)
		l->began_ms = f->now_ms;
	is_idle = has_no_more_to_do(l, f);
	if (f->owner_gone && !l->is_orphan) {
		l->is_orphan = true;
		return LIFE_OWNER_GONE;
	}
	if (f->asked_to_end || f->owner_gone || is_idle)
		leave(l, f);
	else
		l->leaving_ms = 0;
	return l->leaving_ms && is_over(l, f) ? LIFE_ENDS : LIFE_GOES_ON;
}
