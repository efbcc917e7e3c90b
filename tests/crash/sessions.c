/* sessions.c -- scenarios: what the session daemon has answered is there after the restart.
 *
 * WHAT     Programs register, tell states, events and counters, and end, over HTTP; the hub is out of reach. After the
 *          restart each session that was told of is there once, with the last state that was acknowledged, its events
 *          in order, its total, and its end.
 * CODES    503 with "nothing was kept" means that; any other refusal leaves open whether it was done. Between its two
 *          databases (sessions.db, the outbox) any write may be the last. */
#include "stage.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "core/json.h"
#include "sessions/sessions_service.h"

#define PROGRAMS  4
#define MOST      8 /* of each kind of operation of a program */
#define ID_ROOM   64
#define DELTA     10
#define DAY_MS    86400000
#define MOST_TRIES       1000
#define BETWEEN_TRIES_US 10000

struct program {
	char id[ID_ROOM];
	_Atomic(enum told) registered, ended, state[MOST], event[MOST], counted[MOST];
};

struct sessions_room {
	struct program program[PROGRAMS];
};
_Static_assert(sizeof(struct sessions_room) <= RUN_ROOM, "notes");

static const char *const settings[] = { "sessions.listen=127.0.0.1:0", "sessions.server=http://127.0.0.1:9",
					"sessions.enabled=false", NULL };

static struct stage *stage_of(struct run *run)
{
	static struct stage st;

	st = (struct stage){ .run = run, .service = &sessions_service, .sets = settings };
	return &st;
}

/* --- what programs do ------------------------------------------------------------------------------------------- */

static enum told told_by(int status, const struct buf *body)
{
	if (status == 200)
		return DONE;
	return strstr(body->data, "nothing was kept") ? REFUSED : UNKNOWN;
}

static void ask(struct stage *st, _Atomic(enum told) *note, const char *path, const char *body)
{
	struct buf answer = BUF_EMPTY;
	int status;

	atomic_store(note, ASKED);
	status = stage_ask(st, "POST", path, body, &answer);
	EXPECT(st->run, status == 200 || status == 503, "%s: %d %s", path, status, answer.data);
	atomic_store(note, told_by(status, &answer));
	buf_fini(&answer);
}

static void begin(struct stage *st, unsigned p)
{
	struct sessions_room *room = st->run->room;
	struct program *pr = &room->program[p];
	struct buf answer = BUF_EMPTY;
	char body[80];
	json_t *v = NULL;
	int status;

	(void)snprintf(body, sizeof(body), "{\"product\":\"p%u\",\"version\":\"1\"}", p);
	atomic_store(&pr->registered, ASKED);
	status = stage_ask(st, "POST", "/register", body, &answer);
	EXPECT(st->run, status == 200 || status == 503, "register: %d %s", status, answer.data);
	if (status == 200) {
		EXPECT(st->run, json_read(buf_slice(&answer), 0, &v, NULL) == 0, "%s", answer.data);
		(void)snprintf(pr->id, ID_ROOM, "%s", json_string_value(json_object_get(v, "session_id")));
		json_decref(v);
	}
	atomic_store(&pr->registered, told_by(status, &answer));
	buf_fini(&answer);
}

static void tell(struct stage *st, unsigned p, const char *what, unsigned i)
{
	struct program *pr = &((struct sessions_room *)st->run->room)->program[p];
	char body[200];

	if (atomic_load(&pr->registered) != DONE)
		return;
	if (strcmp(what, "state") == 0) {
		(void)snprintf(body, sizeof(body), "{\"session_id\":\"%s\",\"state\":{\"n\":%u}}", pr->id, i + 1);
		ask(st, &pr->state[i], "/state", body);
	} else if (strcmp(what, "event") == 0) {
		(void)snprintf(body, sizeof(body), "{\"session_id\":\"%s\",\"name\":\"%u\"}", pr->id, i);
		ask(st, &pr->event[i], "/event", body);
	} else if (strcmp(what, "count") == 0) {
		(void)snprintf(body, sizeof(body),
			       "{\"session_id\":\"%s\",\"name\":\"c\",\"type\":\"counter\",\"value\":1,\"delta\":%d}",
			       pr->id, DELTA);
		ask(st, &pr->counted[i], "/metric", body);
	} else {
		(void)snprintf(body, sizeof(body), "{\"session_id\":\"%s\"}", pr->id);
		ask(st, &pr->ended, "/end", body);
	}
}

static void live(struct stage *st, unsigned p, unsigned from)
{
	tell(st, p, "state", from);
	tell(st, p, "event", from);
	tell(st, p, "count", from);
	tell(st, p, "state", from + 1);
	tell(st, p, "count", from + 1);
	tell(st, p, "event", from + 1);
}

/* Two programs, one of which ends; a restart; a third, and the first goes on; a fourth when the disk is sound. */
static void act(struct run *run)
{
	struct stage *st = stage_of(run);
	struct sessions_room *room = run->room;
	bool is_for_a_while = run->fault == DISK_ENOSPC || run->fault == DISK_EMFILE;

	stage_open_somehow(st);
	begin(st, 0);
	live(st, 0, 0);
	begin(st, 1);
	live(st, 1, 0);
	tell(st, 1, "end", 0);
	stage_close(st);
	stage_open_somehow(st);
	live(st, 0, 2);
	begin(st, 2);
	live(st, 2, 0);
	disk_heal();
	begin(st, 3);
	live(st, 3, 0);
	tell(st, 3, "end", 0);
	EXPECT(run, !is_for_a_while || (atomic_load(&room->program[3].registered) == DONE &&
					atomic_load(&room->program[3].ended) == DONE),
	       "room again, and still refused");
}

/* --- after the restart ------------------------------------------------------------------------------------------ */

static json_t *get(struct stage *st, const char *target, int wanted)
{
	struct buf answer = BUF_EMPTY;
	json_t *v = NULL;
	int status = stage_ask(st, "GET", target, NULL, &answer);

	EXPECT(st->run, status == wanted, "%s: %d %s", target, status, answer.data);
	if (status == 200)
		EXPECT(st->run, json_read(buf_slice(&answer), 0, &v, NULL) == 0, "%s: %s", target, answer.data);
	buf_fini(&answer);
	return v;
}

/* The last that was acknowledged, or one after it of which nobody knows. */
static void state_is_kept(struct run *run, const struct program *pr, unsigned p, json_int_t n)
{
	unsigned last = 0;

	for (unsigned i = 0; i < MOST; i++)
		if (atomic_load(&pr->state[i]) == DONE)
			last = i + 1;
	EXPECT(run, n >= last && n <= MOST, "program %u is in state %d, and %u was acknowledged", p, (int)n, last);
	EXPECT(run, n == last || told_may_be(atomic_load(&pr->state[n - 1])),
	       "program %u is in state %d, which was refused", p, (int)n);
}

static void events_are_kept(struct run *run, const struct program *pr, unsigned p, const json_t *events)
{
	unsigned seen[MOST] = { 0 }, last = 0, i;
	size_t at;
	json_t *e;

	json_array_foreach(events, at, e)
	{
		i = (unsigned)strtoul(json_string_value(json_object_get(e, "name")), NULL, 10);
		EXPECT(run, i < MOST && i >= last, "events of program %u in another order: %u after %u", p, i, last);
		last = i;
		seen[i]++;
	}
	for (i = 0; i < MOST; i++) {
		enum told t = atomic_load(&pr->event[i]);
		EXPECT(run, t != DONE || seen[i] == 1, "event %u of program %u is there %u times", i, p, seen[i]);
		EXPECT(run, seen[i] <= told_may_be(t), "event %u of program %u is there %u times, told %d", i, p,
		       seen[i], (int)t);
	}
}

static json_int_t sum_of(const struct program *pr, bool is_certain)
{
	json_int_t sum = 0;

	for (unsigned i = 0; i < MOST; i++) {
		enum told t = atomic_load(&pr->counted[i]);
		sum += t == DONE || (!is_certain && told_may_be(t)) ? DELTA : 0;
	}
	return sum;
}

/* The newest of the totals that were put into the queue. */
static json_int_t total_of(struct run *run, const json_t *metrics, unsigned p)
{
	json_int_t total = 0;
	size_t at;
	json_t *m;

	json_array_foreach(metrics, at, m)
	{
		json_int_t value = (json_int_t)json_number_value(json_object_get(m, "value"));
		EXPECT(run, value >= total, "the total of program %u goes back", p);
		total = value;
	}
	return total;
}

/* All samples that were acknowledged, once each. A flush does not wait until what it puts is in the queue. */
static void total_is_kept(struct stage *st, const struct program *pr, unsigned p, const char *target)
{
	json_int_t least = sum_of(pr, true), most = sum_of(pr, false), total = -1;

	for (int tries = 0; tries < MOST_TRIES && total < least; tries++) {
		json_t *v = get(st, target, 200);
		total = total_of(st->run, json_object_get(v, "metrics"), p);
		json_decref(v);
		if (total < least)
			(void)usleep(BETWEEN_TRIES_US);
	}
	EXPECT(st->run, total >= least && total <= most, "the total of program %u is %d, not %d to %d", p, (int)total,
	       (int)least, (int)most);
}

static void is_kept(struct stage *st, unsigned p)
{
	const struct program *pr = &((struct sessions_room *)st->run->room)->program[p];
	enum told ended = atomic_load(&pr->ended);
	char target[100];
	json_t *v;
	bool is_active;

	(void)snprintf(target, sizeof(target), "/session?session_id=%s", pr->id);
	v = get(st, target, 200);
	is_active = json_is_true(json_object_get(v, "active"));
	state_is_kept(st->run, pr, p, json_integer_value(json_object_get(json_object_get(v, "state"), "n")));
	events_are_kept(st->run, pr, p, json_object_get(v, "events"));
	total_is_kept(st, pr, p, target);
	EXPECT(st->run, ended != DONE || !is_active, "program %u has ended, and is active", p);
	EXPECT(st->run, told_may_be(ended) || is_active, "program %u is no longer active, and did not end", p);
	json_decref(v);
}

/* Each acknowledged session once; others only of whom nobody knows; and no id that another has. */
static void list_is_right(struct stage *st)
{
	struct sessions_room *room = st->run->room;
	unsigned seen[PROGRAMS] = { 0 };
	json_t *list = get(st, "/sessions", 200), *one;
	size_t i;

	json_array_foreach(list, i, one)
	{
		const char *product = json_string_value(json_object_get(json_object_get(one, "state"), "product"));
		unsigned p = product ? (unsigned)strtoul(product + 1, NULL, 10) : PROGRAMS;
		EXPECT(st->run, p < PROGRAMS, "a session of nobody: %s", product ? product : "");
		seen[p]++;
	}
	for (unsigned p = 0; p < PROGRAMS; p++) {
		enum told t = atomic_load(&room->program[p].registered);
		EXPECT(st->run, t != DONE || seen[p] == 1, "program %u is there %u times", p, seen[p]);
		EXPECT(st->run, seen[p] <= told_may_be(t), "program %u is there %u times, told %d", p, seen[p], (int)t);
	}
	json_decref(list);
}

struct of_session {
	struct run *run;
	struct buf created; /* ids whose creation was seen, each between spaces */
};

/* In the outbox a creation stands before all else of its session, once. */
static bool look_at_entry(void *arg, const struct outbox_entry *e)
{
	struct of_session *o = arg;
	struct slice rest = buf_slice(&e->uri), part, id;
	char name[ID_ROOM + 2];

	if (!slice_starts(rest, "/api/sessions/"))
		return true;
	rest = slice_from(rest, strlen("/api/sessions/"));
	(void)slice_cut(&rest, '/', &id);
	part = rest;
	(void)snprintf(name, sizeof(name), " %.*s ", (int)id.n, id.p);
	EXPECT(o->run, !e->damaged, "an operation is called damaged");
	if (!part.n /* its creation */) {
		EXPECT(o->run, !strstr(o->created.data, name), "%s is created twice", name);
		buf_add_str(&o->created, name);
	} else {
		EXPECT(o->run, strstr(o->created.data, name) != NULL, "%s: %.*s stands before its creation", name,
		       (int)part.n, part.p);
	}
	return true;
}

static void queue_is_right(struct stage *st)
{
	struct of_session o = { .run = st->run, .created = BUF_EMPTY };

	EXPECT(st->run, outbox_list(st->outbox, "sessions", -1, 0, 10000, look_at_entry, &o) == 0, "does not list");
	EXPECT(st->run, outbox_damaged(st->outbox) == 0, "something is called damaged");
	buf_fini(&o.created);
}

static void look(struct stage *st)
{
	struct sessions_room *room = st->run->room;
	struct buf answer = BUF_EMPTY;

	EXPECT(st->run, stage_ask(st, "POST", "/flush", "", &answer) == 200, "flush: %s", answer.data);
	for (unsigned p = 0; p < PROGRAMS; p++)
		if (atomic_load(&room->program[p].registered) == DONE)
			is_kept(st, p);
	list_is_right(st);
	queue_is_right(st);
	buf_fini(&answer);
}

static int64_t yesterday(int wall)
{
	struct timespec t;

	(void)clock_gettime(wall ? CLOCK_REALTIME : CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000 - (wall ? DAY_MS : 0);
}

/* Programs that come afterwards, though the clock went back: they get ids that nobody has. */
static void ids_are_new(struct stage *st)
{
	struct sessions_room *room = st->run->room;

	for (unsigned p = 0; p < PROGRAMS; p++) {
		char id[ID_ROOM];

		if (atomic_load(&room->program[p].registered) != DONE)
			continue;
		(void)snprintf(id, ID_ROOM, "%s", room->program[p].id);
		for (unsigned q = 0; q < p; q++)
			EXPECT(st->run, strcmp(id, room->program[q].id) != 0, "%s is given twice", id);
	}
}

static void check(struct run *run)
{
	struct stage *st = stage_of(run);
	struct sessions_room *room = run->room;
	struct buf err = BUF_EMPTY;

	clock_set_fake(yesterday);
	EXPECT(run, stage_open(st, &err) == 0, "does not start: %s", err.data);
	look(st);
	for (unsigned p = 0; p < PROGRAMS; p++)
		if (atomic_load(&room->program[p].registered) == NOT_ASKED) {
			begin(st, p);
			EXPECT(run, atomic_load(&room->program[p].registered) == DONE, "nobody can register");
			live(st, p, 0);
		}
	ids_are_new(st);
	stage_close(st);
	EXPECT(run, stage_open(st, &err) == 0, "does not start again: %s", err.data);
	look(st);
	stage_close(st);
	config_unref(&st->config);
	clock_set_fake(NULL);
	buf_fini(&err);
}

const struct scenario sessions_scenarios[] = {
	{ "sessions", NULL, act, check, DISK_BLIND_FILES | DISK_BLIND_DIRS, LONG, NULL },
	{ 0 },
};
