/* deliver.c -- one queued write, taken to upstream: what core/delivery.h calls for each entry that is due.
 *
 * WHAT     Looks first where upstream cannot be trusted to check, sends with the precondition of the view the write was
 *          based on, and says what came of it:
 *
 *          2xx, 303; 404, 410 to a DELETE  applied; what is there now goes into the cache, and is what the next write
 *                                          is based on
 *          301, 302, 307, 308              followed within the origin, REDIRECTS_MOST times, with method and body
 *          412                             looked at: exactly our content is there (the answer got lost): applied; else
 *                                          a conflict
 *          401, 407                        the queue pauses until the token file changes or an operator says go on
 *          other 4xx                       held, with upstream's words
 *          408, 425, 429, 5xx, no answer   later
 *          no answer to a POST or PATCH    held, outcome unknown, once the request had gone out (unless repeat_unsafe)
 *
 * RULES    1. A body is checked against its checksum before a byte of it leaves (invariant 7).
 *          2. Delivery is at least once: a repeated PUT or DELETE meets its own effect, which the look after a 412
 *             knows; POST and PATCH are repeated only when nothing was sent, or with repeat_unsafe. All carry an
 *             Idempotency-Key.
 * THREADS  Workers of the link's lane, one for each entry.
 * SEE      DESIGN.md "Outbox delivery, by answer"; preconditions.h */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "mirror/applied.h"
#include "mirror/look.h"
#include "proto/httpdate.h"
#include "proto/uriref.h"
#include "store/wholefile.h"

#define REDIRECTS_MOST 3
#define CARRY_ARENA_BYTES (512 * 1024)
#define MOST_LINES 512
#define LORE_MOST_BYTES 4096

struct carry {
	struct mirror *m;
	const struct outbox_entry *e;
	struct cancel *cancel;
	struct carried *ret;
	unsigned token_reading; /* that its requests show */
	struct spool *body;
	off_t at;               /* of it, while it is being sent */
	struct buf target;      /* where to: the entry's, or where a redirect led */
	struct slice lines[MOST_LINES]; /* the entry's own */
	struct httplines h;
	struct precondition_plan plan;
	struct precondition_lore lore; /* as when the plan was made */
	struct look look;       /* the last one, which plan and seen borrow from */
	struct slice look_lines[MOST_LINES];
	struct precondition_seen seen;
	/* the answer */
	int status;
	struct buf head, answer;
	struct client_result result;
};

/* --- what was learned of this upstream --- */

static char *lore_path(struct mirror *m)
{
	return xstrf("%s/preconditions", m->dir);
}

void lore_load(struct mirror *m)
{
	char *path = lore_path(m);
	struct buf text = BUF_EMPTY;

	/* Without it, it is learned again. */
	if (wholefile_read_checked(path, "preconditions", 1, LORE_MOST_BYTES, &text) == 0)
		(void)preconditions_lore_parse(buf_slice(&text), &m->lore);
	buf_fini(&text);
	free(path);
}

static void lore_save(struct mirror *m, const struct precondition_lore *lore)
{
	char *path = lore_path(m);
	struct buf text = BUF_EMPTY;

	preconditions_lore_format(lore, &text);
	if (wholefile_write_checked(path, "preconditions", 1, buf_slice(&text)) == 0)
		log_event(LOG_INFO, "preconditions_learned", LOG_STR("service", m->name),
			  LOG_SLICE("of_upstream", slice_trim(buf_slice(&text))), LOG_END);
	buf_fini(&text);
	free(path);
}

static void learn(struct carry *c, const struct precondition_seen *seen)
{
	struct mirror *m = c->m;
	struct precondition_lore lore;
	bool changed;

	pthread_mutex_lock(&m->lore_lock);
	changed = preconditions_learn(&m->lore, &c->plan, seen);
	lore = m->lore;
	pthread_mutex_unlock(&m->lore_lock);
	if (changed)
		lore_save(m, &lore);
}

/* --- saying what came of it --- */

static void later(struct carry *c, int err)
{
	c->ret->to =
		err == WEIR_E_CANCELLED || err == WEIR_E_OPEN || err == WEIR_E_DISABLED ? CARRIED_NOT : CARRIED_LATER;
	buf_addf(&c->ret->error, "%s: %s",
		 err_is_unavailable(err) ? "upstream gave no answer" : "this could not be carried to its end",
		 err_text(err));
}

static void hold(struct carry *c, const char *why)
{
	c->ret->to = CARRIED_HELD;
	buf_add_str(&c->ret->error, why);
}

static bool is_put(const struct carry *c)
{
	return slice_eq_str(buf_slice(&c->e->method), "PUT");
}

static bool is_delete(const struct carry *c)
{
	return slice_eq_str(buf_slice(&c->e->method), "DELETE");
}

static bool is_encoded(const struct carry *c)
{
	return httplines_get(&c->h, "content-encoding").p != NULL;
}

static void applied(struct carry *c)
{
	struct applied a = { .method = buf_slice(&c->e->method),
			     .target = buf_slice(&c->e->uri),
			     .status = c->status,
			     .head = buf_slice(&c->head),
			     .body = c->body,
			     .body_bytes = c->e->body_bytes,
			     .body_crc = c->e->body_crc,
			     .is_encoded = is_encoded(c) };

	c->ret->to = CARRIED_APPLIED;
	applied_invalidate(c->m, &a);
	applied_learn(c->m, &a, c->cancel, &c->ret->base);
}

/* Upstream has already what this entry would make of it. */
static void applied_before(struct carry *c)
{
	if (c->status < 200 || c->status >= 300)
		c->status = 200;
	buf_reset(&c->head); /* of another answer */
	applied(c);
}

/* The overlay ends with it, and what readers see then has to be theirs: the base of a better write. */
static void conflict(struct carry *c)
{
	cache_drop(c->m->cache, buf_slice(&c->e->uri));
	fetch_background(c->m, buf_slice(&c->e->uri), NULL, NULL);
	c->ret->to = CARRIED_CONFLICT;
	outbox_base_copy(&c->ret->base, &c->look.now);
	buf_addf(&c->ret->error, "%s", c->look.now.absent ? "it was deleted upstream meanwhile" :
							     "it was changed upstream meanwhile");
}

/* --- looking --- */

/* Statuses that tell of the moment, not of the thing: what DESIGN's table says of them is done. */
static bool says_nothing(int status)
{
	return status == 401 || status == 407 || status == 408 || status == 425 || status == 429 || status >= 500;
}

static void by_status(struct carry *c);
static void by_answer(struct carry *c, int err);

/* HEAD. True: c->seen is what it found; false: c->ret is filled in. */
static bool look(struct carry *c)
{
	int r;

	look_fini(&c->look);
	look_init(&c->look, 0);
	r = look_at(c->m, "HEAD", buf_slice(&c->target), c->cancel, &c->look);
	if (r == -ENOKEY) {
		by_answer(c, r);
		return false;
	}
	if (r < 0) {
		later(c, r);
		return false;
	}
	if (says_nothing(c->look.status)) {
		c->status = c->look.status;
		buf_reset(&c->head);
		buf_add_slice(&c->head, buf_slice(&c->look.head));
		by_status(c);
		return false;
	}
	{
		struct httplines h = { c->look_lines,
				       httplines_cut(buf_slice(&c->look.head), c->look_lines, MOST_LINES) };

		h.count = h.count < MOST_LINES ? h.count : MOST_LINES;
		preconditions_read(c->look.status, &h, clock_wall_ms() / 1000, &c->seen);
	}
	return true;
}

/* Whether upstream has exactly what this entry is about: 1, 0, or a code. */
static int is_ours(struct carry *c)
{
	struct look k;
	int r;

	if (is_delete(c))
		return c->look.now.known && c->look.now.absent;
	if (!is_put(c) || is_encoded(c) || !c->look.now.known || c->look.now.absent ||
	    (c->look.length >= 0 && (uint64_t)c->look.length != c->e->body_bytes))
		return 0;
	look_init(&k, 0);
	r = look_same(c->m, buf_slice(&c->target), c->body, c->e->body_bytes, c->cancel, &k);
	look_fini(&k);
	return r;
}

static void clash(struct carry *c)
{
	int ours = is_ours(c);

	if (ours < 0)
		by_answer(c, ours);
	else if (ours)
		applied_before(c);
	else
		conflict(c);
}

/* Until the cancel fires, or the time is over. */
static bool pause_ms(struct carry *c, int ms)
{
	struct pollfd p = { .fd = cancel_fd(c->cancel), .events = POLLIN };

	return poll(&p, 1, ms) == 0;
}

/* True: go on and send. */
static bool look_first(struct carry *c)
{
	while (look(c))
		switch (preconditions_look(&c->plan, &c->seen)) {
		case PRECONDITION_SEND:
			return true;
		case PRECONDITION_CLASH:
			clash(c);
			return false;
		case PRECONDITION_WAIT:
			if (pause_ms(c, PRECONDITIONS_WAIT_MS))
				break;
			c->ret->to = CARRIED_NOT;
			return false;
		}
	return false;
}

/* --- sending --- */

static int on_head(void *arg, int status, const struct slice *headers, size_t n)
{
	struct carry *c = arg;
	const struct httplines in = { headers, n };

	c->status = status;
	buf_reset(&c->head);
	buf_reset(&c->answer);
	fields_to_store(&in, clock_wall_ms(), &c->head);
	mirror_own_location(c->m, &c->head);
	return 0;
}

static int on_data(void *arg, const char *p, size_t n)
{
	struct carry *c = arg;
	size_t room = OUTBOX_MOST_ANSWER - c->answer.len;

	buf_add(&c->answer, p, n < room ? n : room);
	return 0;
}

static ssize_t read_body(void *arg, char *into, size_t room)
{
	struct carry *c = arg;
	uint64_t left = c->e->body_bytes - (uint64_t)c->at;
	ssize_t n = pread(spool_fd(c->body), into, room < left ? room : (size_t)left, c->at);

	if (n < 0)
		return -errno;
	if (n == 0 && left)
		return WEIR_E_DAMAGED; /* it became shorter since it was checked */
	c->at += n;
	return n;
}

static int make_lines(struct carry *c, struct lines *out)
{
	struct buf own = BUF_EMPTY;
	struct slice name, value;

	for (size_t i = 0; i < c->h.count; i++)
		if (c->plan.keeps_own || !httplines_split(c->h.lines[i], &name, &value) ||
		    !preconditions_is_condition(name))
			lines_add(out, c->h.lines[i]);
	if (preconditions_line(&c->plan, &own))
		lines_add(out, buf_slice(&own));
	if (!httplines_get(&c->h, "idempotency-key").p)
		lines_addf(out, "Idempotency-Key: \"%s\"", c->e->idempotency_key.data);
	heads_add_own(NULL, out);
	buf_fini(&own);
	return out->full ? WEIR_E_TOO_LARGE : mirror_authorize(c->m, out);
}

static int send_once(struct carry *c)
{
	const struct client_sink sink = { on_head, on_data, c };
	struct client_request rq = { .method = c->e->method.data,
				     .target = buf_slice(&c->target),
				     .first_byte_ms = mirror_config(c->m)->upstream_timeout };
	struct arena arena;
	struct lines lines;
	int r;

	arena_init(&arena, CARRY_ARENA_BYTES);
	lines_init(&lines, &arena);
	r = make_lines(c, &lines);
	rq.headers = lines.items;
	rq.header_count = lines.count;
	if (c->e->body_bytes) {
		rq.body_source = read_body;
		rq.body_arg = c;
		rq.body_bytes = (int64_t)c->e->body_bytes;
	} else {
		rq.fresh_connection = c->e->once; /* else it might be repeated: see client.h */
	}
	c->at = 0;
	c->status = 0;
	c->result = (struct client_result){ .status = 0 };
	if (r == 0)
		r = link_call(c->m->link, &rq, &sink, c->cancel, &c->result);
	arena_fini(&arena);
	return r;
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 307 || status == 308;
}

static struct slice answer_field(const struct carry *c, const char *name, struct slice cut[MOST_LINES])
{
	struct httplines h = { cut, httplines_cut(buf_slice(&c->head), cut, MOST_LINES) };

	h.count = h.count < MOST_LINES ? h.count : MOST_LINES;
	return httplines_get(&h, name);
}

/* True: c->target is where it leads, within this origin. */
static bool follow(struct carry *c)
{
	struct slice cut[MOST_LINES], location = answer_field(c, "location", cut);
	struct buf target = BUF_EMPTY;
	/* mirror_own_location() */
	bool leaves = *c->m->base_path && !slice_starts(location, "/") && slice_find(location, ':') >= 0;
	bool ok = location.p && !leaves &&
		  uriref_resolve(slice_str(c->m->origin), buf_slice(&c->target), location, &target) == 0;

	if (ok) {
		buf_reset(&c->target);
		buf_add_slice(&c->target, buf_slice(&target));
	}
	buf_fini(&target);
	return ok;
}

static int send_following(struct carry *c)
{
	int r = send_once(c);

	for (int i = 0; i < REDIRECTS_MOST && r == 0 && is_redirect(c->status) && follow(c); i++)
		r = send_once(c);
	return r;
}

/* --- what the answer means --- */

#define MOST_LOCATION_SHOWN 300

static void refused(struct carry *c)
{
	struct slice cut[MOST_LINES], type = answer_field(c, "content-type", cut);

	buf_addf(&c->ret->error, "upstream answered %d", c->status);
	if (is_redirect(c->status)) {
		buf_add_str(&c->ret->error, ", which leads elsewhere: ");
		str_add_escaped(&c->ret->error, answer_field(c, "location", cut), MOST_LOCATION_SHOWN);
	}
	c->ret->to = CARRIED_HELD;
	buf_add_slice(&c->ret->answer, buf_slice(&c->answer));
	buf_add_slice(&c->ret->answer_type, type);
}

static void not_now(struct carry *c)
{
	struct slice cut[MOST_LINES];

	c->ret->to = CARRIED_LATER;
	c->ret->retry_after_ms = httpdate_retry_after_ms(answer_field(c, "retry-after", cut), clock_wall_ms(),
							 DELIVERY_RETRY_AFTER_MOST_MS);
	buf_addf(&c->ret->error, "upstream answered %d", c->status);
}

static void wants_credential(struct carry *c)
{
	c->ret->to = CARRIED_PAUSE;
	mirror_token_refused(c->m, c->token_reading);
	buf_addf(&c->ret->error, "upstream answered %d: %s", c->status,
		 mirror_config(c->m)->token_file ? "the token of token_file is not accepted" :
						   "it wants a credential, and no token_file is set");
}

/* A 412 to a condition of the client's own, where there was no view to judge it by, is no surprise but an answer; yet
 * nobody waits for it. */
static void failed_precondition(struct carry *c)
{
	enum precondition_verdict v;
	int ours;

	if (!look(c))
		return;
	learn(c, &c->seen);
	v = preconditions_compare(&c->plan.basis, &c->seen);
	ours = is_ours(c);
	if (ours < 0)
		by_answer(c, ours);
	else if (ours)
		applied_before(c);
	else if (v == PRECONDITION_SAME)
		/* a tag that is weak for a moment, or a condition that is useless here: the next plan knows */
		not_now(c);
	else
		conflict(c);
}

static void by_status(struct carry *c)
{
	int s = c->status;

	c->ret->status = s;
	if (s == 207 && is_delete(c))
		refused(c); /* some of a collection's members are still there (RFC 4918 9.6.1) */
	else if ((s >= 200 && s < 300) || s == 303 || (is_delete(c) && (s == 404 || s == 410)))
		applied(c);
	else if (s == 412)
		failed_precondition(c);
	else if (s == 401 || s == 407)
		wants_credential(c);
	else if (s == 408 || s == 425 || s == 429 || s >= 500)
		not_now(c);
	else
		refused(c);
}

static void by_answer(struct carry *c, int err)
{
	if (err == 0) {
		if (c->status >= 200 && c->status < 300)
			learn(c, NULL);
		by_status(c);
	} else if (err == -ENOKEY) {
		c->status = 401; /* the token cannot be read: as good as refused */
		wants_credential(c);
	} else if (err == WEIR_E_DAMAGED) {
		hold(c, "its body is damaged: drop it, or send the write anew");
	} else if (c->result.request_sent && c->e->once) {
		hold(c, OUTBOX_OUTCOME_UNKNOWN
		     ": the connection was lost after the request went out; it may have been applied");
	} else {
		later(c, err);
	}
}

/* --- the whole --- */

static enum precondition_mode mode_of(const struct carry *c)
{
	return slice_eq_str(buf_slice(&c->e->method), "POST") ?
		       PRECONDITIONS_NONE :
		       (enum precondition_mode)mirror_config(c->m)->preconditions;
}

static void make_plan(struct carry *c)
{
	c->h = (struct httplines){ c->lines, httplines_cut(buf_slice(&c->e->headers), c->lines, MOST_LINES) };
	if (c->h.count > MOST_LINES)
		c->h.count = MOST_LINES;
	pthread_mutex_lock(&c->m->lore_lock);
	c->lore = c->m->lore;
	pthread_mutex_unlock(&c->m->lore_lock);
	preconditions_plan(mode_of(c), &c->e->base, &c->h, &c->lore, clock_wall_ms() / 1000, &c->plan);
}

static void carry_fini(struct carry *c)
{
	spool_unref(&c->body);
	buf_fini(&c->target);
	buf_fini(&c->head);
	buf_fini(&c->answer);
	look_fini(&c->look);
	free(c);
}

void mirror_carry(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct carried *ret)
{
	struct mirror *m = arg;
	struct carry *c = xcalloc(1, sizeof(*c)); /* too large for a stack */
	int r;

	OBJ_CHECK(m, MIRROR_MAGIC);
	c->m = m;
	c->e = e;
	c->cancel = cancel;
	c->ret = ret;
	buf_init(&c->target, 0);
	buf_init(&c->head, STORED_MOST_HEAD + 1024);
	buf_init(&c->answer, 0);
	look_init(&c->look, 0);
	buf_add_slice(&c->target, buf_slice(&e->uri));
	c->token_reading = mirror_token_reading(m);
	r = outbox_body(m->outbox, e, &c->body);
	if (r < 0) {
		by_answer(c, r == -ENOENT ? WEIR_E_DAMAGED : r);
	} else {
		make_plan(c);
		if (!c->plan.look_first || look_first(c))
			by_answer(c, send_following(c));
	}
	carry_fini(c);
}

bool mirror_may_resume(void *arg)
{
	return mirror_token_is_another(arg);
}

int mirror_rebase(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct outbox_base *ret,
		  struct buf *err)
{
	struct mirror *m = arg;
	struct look k;
	int r;

	OBJ_CHECK(m, MIRROR_MAGIC);
	look_init(&k, 0);
	r = look_at(m, "HEAD", buf_slice(&e->uri), cancel, &k);
	if (r < 0) {
		buf_addf(err, "upstream of mirror %s gave no answer: %s; try again when it is back", m->name,
			 err_text(r));
	} else if (!k.now.known) {
		buf_addf(err, "upstream of mirror %s answered %d, so that it is not known what is there", m->name,
			 k.status);
		r = WEIR_E_STATUS;
	} else {
		outbox_base_copy(ret, &k.now);
	}
	look_fini(&k);
	return r;
}
