/* delivery_settle.c -- from what came of a delivery to its settlement: the table, the back-off, the log line.
 *
 * WHAT     Runs on the worker that carried the entry, once for each entry lent; delivery.h has the table.
 * RULES    1. A queue pauses before its entry is back in it: else the entry would be lent again at once.
 *          2. What came of an attempt is counted and logged before it is recorded: whoever sees the entry's state finds
 *             both. That it could not be recorded is told as well; then there will be another attempt, or (sent once
 *             only) the outbox records it later.
 *          3. The log names the key, which is the path without its query: that may hold what is nobody's business. */
#include "core/delivery_priv.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/str.h"

/* Whether it was not paused already. */
static bool pause_queue(struct delivery *d, const struct carried *c)
{
	struct buf reason = BUF_EMPTY; /* may contain upstream's words */
	bool is_new;

	str_add_escaped(&reason, buf_slice(&c->error), sizeof(d->pause_reason) - sizeof("..."));
	pthread_mutex_lock(&d->lock);
	is_new = !d->is_paused;
	d->is_paused = true;
	if (is_new)
		(void)snprintf(d->pause_reason, sizeof(d->pause_reason), "%s",
			       reason.len ? reason.data : "upstream wants a credential"); /* cut: it is for reading */
	pthread_mutex_unlock(&d->lock);
	buf_fini(&reason);
	return is_new;
}

/* Full jitter below a bound that doubles with each attempt; never sooner than upstream asked for. */
static int64_t back_off_ms(struct delivery *d, unsigned attempts, int64_t retry_after_ms)
{
	int64_t bound, most, delay;

	pthread_mutex_lock(&d->lock);
	bound = d->retry_first_ms;
	most = d->retry_max_ms;
	pthread_mutex_unlock(&d->lock);
	for (unsigned i = 0; i < attempts && bound < most; i++)
		bound *= 2;
	delay = rand_jitter_ms(bound < most ? bound : most);
	if (retry_after_ms > DELIVERY_RETRY_AFTER_MOST_MS)
		retry_after_ms = DELIVERY_RETRY_AFTER_MOST_MS;
	return delay > retry_after_ms ? delay : retry_after_ms;
}

/* outbox_lend() has counted this attempt when the write is sent once only. */
static unsigned attempts_before(const struct outbox_entry *e)
{
	return e->attempts - (e->once && e->attempts ? 1 : 0);
}

static struct slice cut(const struct buf *b)
{
	struct slice s = buf_slice(b);

	s.n = s.n < OUTBOX_MOST_ANSWER ? s.n : OUTBOX_MOST_ANSWER;
	return s;
}

static struct outbox_settlement settlement_of(struct delivery *d, const struct outbox_entry *e, const struct carried *c)
{
	static const enum outbox_state to[] = {
		[CARRIED_APPLIED] = OUTBOX_APPLIED, [CARRIED_CONFLICT] = OUTBOX_CONFLICT, [CARRIED_HELD] = OUTBOX_HELD,
		[CARRIED_LATER] = OUTBOX_QUEUED,    [CARRIED_PAUSE] = OUTBOX_QUEUED,      [CARRIED_NOT] = OUTBOX_QUEUED,
	};
	struct outbox_settlement s = {
		.to = to[c->to],
		.status = c->status,
		.error = buf_slice(&c->error),
		.base = c->base,
		.not_an_attempt = c->to == CARRIED_NOT,
	};

	if (s.to == OUTBOX_HELD) {
		s.answer = cut(&c->answer);
		s.answer_type = cut(&c->answer_type);
	}
	if (s.to == OUTBOX_QUEUED)
		s.next_attempt_wall_ms = clock_wall_ms();
	if (c->to == CARRIED_LATER)
		s.next_attempt_wall_ms += back_off_ms(d, attempts_before(e), c->retry_after_ms);
	return s;
}

static void tell(struct delivery *d, const struct outbox_entry *e, const struct carried *c,
		 const struct outbox_settlement *s)
{
	static const struct {
		const char *event; /* NULL: nothing is said, nor counted */
		enum log_level level;
		enum delivery_outcome outcome;
	} rows[] = {
		[CARRIED_APPLIED] = { "outbox_applied", LOG_INFO, OUTCOME_APPLIED },
		[CARRIED_CONFLICT] = { "outbox_conflict", LOG_WARN, OUTCOME_CONFLICT },
		[CARRIED_HELD] = { "outbox_held", LOG_WARN, OUTCOME_HELD },
		[CARRIED_LATER] = { "outbox_deferred", LOG_DEBUG, OUTCOME_DEFERRED },
		[CARRIED_PAUSE] = { "outbox_deferred", LOG_DEBUG, OUTCOME_DEFERRED },
		[CARRIED_NOT] = { NULL, LOG_DEBUG, OUTCOMES },
	};
	int64_t now = clock_wall_ms();

	if (!rows[c->to].event)
		return;
	metric_add(d->outcomes[rows[c->to].outcome], 1);
	log_event(c->to == CARRIED_APPLIED && d->o.is_quiet ? LOG_DEBUG : rows[c->to].level, rows[c->to].event,
		  LOG_STR("service", d->service), LOG_STR("id", e->id), LOG_SLICE("method", buf_slice(&e->method)),
		  LOG_SLICE("key", buf_slice(&e->key)), LOG_INT("status", c->status),
		  LOG_INT("attempts", attempts_before(e) + 1), LOG_INT("age_s", (now - e->queued_wall_ms) / 1000),
		  c->error.len ? LOG_SLICE("reason", buf_slice(&c->error)) : LOG_END,
		  s->to == OUTBOX_QUEUED ? LOG_INT("again_in_ms", s->next_attempt_wall_ms - now) : LOG_END, LOG_END);
}

void delivery_rest(struct delivery *d, int err)
{
	bool is_new;

	pthread_mutex_lock(&d->lock);
	d->not_before_mono_ms = clock_mono_ms() + DELIVERY_REST_MS;
	is_new = err && !d->disk_trouble;
	d->disk_trouble |= is_new;
	pthread_mutex_unlock(&d->lock);
	if (is_new)
		log_event(LOG_ERROR, "outbox_disk_trouble", LOG_STR("service", d->service), LOG_ERR("error", err),
			  LOG_STR("reason",
				  "what comes of deliveries cannot be recorded now; writes that may be sent again will be"),
			  LOG_END);
}

static void disk_is_fine(struct delivery *d)
{
	bool is_new;

	pthread_mutex_lock(&d->lock);
	is_new = d->disk_trouble;
	d->disk_trouble = false;
	pthread_mutex_unlock(&d->lock);
	if (is_new)
		log_event(LOG_INFO, "outbox_disk_recovered", LOG_STR("service", d->service), LOG_END);
}

static int settle_with_more(struct delivery *d, const struct outbox_entry *e, const struct carried *c,
			    const struct outbox_settlement *first)
{
	size_t n = c->more_count + 1;
	struct outbox_settlement *each = xcalloc(n, sizeof(*each));
	uint64_t *seqs = xcalloc(n, sizeof(*seqs));
	int err;

	each[0] = *first;
	seqs[0] = e->seq;
	for (size_t i = 1; i < n; i++) {
		const struct carried_more *m = &c->more[i - 1];

		each[i] = settlement_of(d, &m->entry, &m->came);
		seqs[i] = m->entry.seq;
		tell(d, &m->entry, &m->came, &each[i]);
	}
	err = outbox_settle_all(d->o.queue, seqs, each, n);
	free(each);
	free(seqs);
	return err;
}

void delivery_settle(struct delivery *d, const struct outbox_entry *e, const struct carried *c)
{
	struct outbox_settlement s = settlement_of(d, e, c);
	bool paused_now = c->to == CARRIED_PAUSE && pause_queue(d, c); /* rule 1 */
	int err;

	if (c->to == CARRIED_NOT && !cancel_fired(d->cancel))
		delivery_rest(d, 0);
	tell(d, e, c, &s);
	err = c->more_count ? settle_with_more(d, e, c, &s) : outbox_settle(d->o.queue, e->seq, &s);
	if (paused_now)
		log_event(LOG_WARN, "outbox_paused", LOG_STR("service", d->service), LOG_STR("id", e->id),
			  LOG_INT("status", c->status), LOG_SLICE("reason", buf_slice(&c->error)), LOG_END);
	if (err)
		delivery_rest(d, err);
	else
		disk_is_fine(d);
}
