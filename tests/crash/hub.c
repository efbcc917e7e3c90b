/* hub.c -- scenarios: what the hub has answered is there after the restart, each operation once.
 *
 * WHAT     Daemons create sessions by keys and send batches of numbered operations, over HTTP; what is not answered
 *          with 200 they send again, as it is, now and after a restart. Afterwards a key has one session; a batch is
 *          there as a whole or not at all; what was acknowledged is there, in order, and nothing twice, however often
 *          it was sent. One daemon of the original's kind sends single events: those that were acknowledged are there.
 * CODES    507 means that nothing was kept. Any other failure leaves open whether it was done. */
#include "stage.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "core/json.h"
#include "hub/hub_service.h"

#define DAEMONS 3
#define BATCHES 6
#define IN_BATCH 3 /* a state, an event, a metric */
#define SINGLES 8
#define ID_ROOM 64

struct daemon {
	char id[ID_ROOM]; /* as it was first told */
	_Atomic(enum told) created, batch[BATCHES], single[SINGLES];
};

struct hub_room {
	struct daemon daemon[DAEMONS];
};
_Static_assert(sizeof(struct hub_room) <= RUN_ROOM, "notes");

static const char *const settings[] = { "hub.listen=127.0.0.1:0", NULL };

static struct stage *stage_of(struct run *run)
{
	static struct stage st;

	st = (struct stage){ .run = run, .service = &hub_service, .sets = settings };
	return &st;
}

static struct daemon *daemon_of(struct stage *st, unsigned d)
{
	return &((struct hub_room *)st->run->room)->daemon[d];
}

/* --- what daemons do -------------------------------------------------------------------------------------------- */

/* What was told before of the same request stays the best that is known of it, unless this is better. */
static void note(_Atomic(enum told) *told, int status)
{
	enum told before = atomic_load(told);

	if (status == 200)
		atomic_store(told, DONE);
	else if (status != 507)
		atomic_store(told, UNKNOWN);
	else if (before == ASKED || before == NOT_ASKED)
		atomic_store(told, REFUSED);
}

/* The status. While it is asked nobody knows, unless it was done before. */
static int post(struct stage *st, _Atomic(enum told) *told, const char *path, const char *body, struct buf *answer)
{
	enum told before = atomic_load(told);
	int status;

	if (before == NOT_ASKED || before == REFUSED)
		atomic_store(told, ASKED);
	status = stage_ask(st, "POST", path, body, answer);
	EXPECT(st->run, status == 200 || status >= 500, "%s: %d %s", path, status, answer->data);
	note(told, status);
	return status;
}

static void create(struct stage *st, unsigned d)
{
	struct daemon *dm = daemon_of(st, d);
	struct buf answer = BUF_EMPTY;
	char body[100];
	const char *id;
	json_t *v = NULL;

	(void)snprintf(body, sizeof(body), "{\"product\":\"p%u\",\"version\":\"1\",\"key\":\"key-%u\"}", d, d);
	if (post(st, &dm->created, "/api/sessions", body, &answer) == 200) {
		EXPECT(st->run, json_read(buf_slice(&answer), 0, &v, NULL) == 0, "%s", answer.data);
		id = json_string_value(json_object_get(v, "session_id"));
		EXPECT(st->run, !*dm->id || strcmp(dm->id, id) == 0, "key-%u made two sessions: %s, %s", d, dm->id, id);
		(void)snprintf(dm->id, ID_ROOM, "%s", id);
		json_decref(v);
	}
	buf_fini(&answer);
}

static void send_batch(struct stage *st, unsigned d, unsigned b)
{
	struct daemon *dm = daemon_of(st, d);
	struct buf answer = BUF_EMPTY;
	unsigned seq = b * IN_BATCH;
	char path[ID_ROOM + 40], body[500];
	json_t *v = NULL;

	if (!*dm->id)
		return;
	(void)snprintf(path, sizeof(path), "/api/sessions/%.*s/batch", ID_ROOM, dm->id);
	(void)snprintf(body, sizeof(body),
		       "{\"operations\":[{\"seq\":%u,\"op\":\"state\",\"state\":{\"n\":%u}},"
		       "{\"seq\":%u,\"op\":\"event\",\"name\":\"%u\"},"
		       "{\"seq\":%u,\"op\":\"metric\",\"name\":\"m\",\"value\":%u}]}",
		       seq + 1, b + 1, seq + 2, b, seq + 3, b);
	if (post(st, &dm->batch[b], path, body, &answer) == 200) {
		EXPECT(st->run, json_read(buf_slice(&answer), 0, &v, NULL) == 0, "%s", answer.data);
		EXPECT(st->run, json_integer_value(json_object_get(v, "applied_seq")) >= seq + IN_BATCH, "batch %u: %s",
		       b, answer.data);
		EXPECT(st->run, json_array_size(json_object_get(v, "refused")) == 0, "batch %u: %s", b, answer.data);
		json_decref(v);
	}
	buf_fini(&answer);
}

/* In order, as a daemon does: the next only when this one is done. */
static void send_up_to(struct stage *st, unsigned d, unsigned end)
{
	struct daemon *dm = daemon_of(st, d);

	if (atomic_load(&dm->created) != DONE)
		create(st, d);
	for (unsigned b = 0; b < end; b++) {
		if (atomic_load(&dm->batch[b]) != DONE)
			send_batch(st, d, b);
		if (atomic_load(&dm->batch[b]) != DONE)
			return;
	}
}

static void send_single(struct stage *st, unsigned d, unsigned i)
{
	struct daemon *dm = daemon_of(st, d);
	struct buf answer = BUF_EMPTY;
	char path[ID_ROOM + 40], body[60];

	if (!*dm->id)
		return;
	(void)snprintf(path, sizeof(path), "/api/sessions/%.*s/events", ID_ROOM, dm->id);
	(void)snprintf(body, sizeof(body), "{\"name\":\"%u\"}", i);
	(void)post(st, &dm->single[i], path, body, &answer);
	buf_fini(&answer);
}

static void act(struct run *run)
{
	struct stage *st = stage_of(run);

	stage_open_somehow(st);
	create(st, 0);
	send_up_to(st, 0, 2);
	send_up_to(st, 1, 1);
	create(st, 2);
	for (unsigned i = 0; i < SINGLES / 2; i++)
		send_single(st, 2, i);
	create(st, 0); /* as after an answer that was lost */
	stage_close(st);
	stage_open_somehow(st);
	send_up_to(st, 0, 4);
	send_up_to(st, 1, 3);
	send_batch(st, 0, 1); /* again, though it was done perhaps */
	disk_heal();
	for (unsigned i = SINGLES / 2; i < SINGLES; i++)
		send_single(st, 2, i);
	send_up_to(st, 1, 4);
	EXPECT(run,
	       run->fault == DISK_EIO || run->fault == DISK_EIO_ON || atomic_load(&daemon_of(st, 1)->batch[3]) == DONE,
	       "room again, and still refused");
}

/* --- after the restart ------------------------------------------------------------------------------------------ */

static json_t *get(struct stage *st, const char *target)
{
	struct buf answer = BUF_EMPTY;
	json_t *v = NULL;
	int status = stage_ask(st, "GET", target, NULL, &answer);

	EXPECT(st->run, status == 200, "%s: %d %s", target, status, answer.data);
	EXPECT(st->run, json_read(buf_slice(&answer), 0, &v, NULL) == 0, "%s: %s", target, answer.data);
	buf_fini(&answer);
	return v;
}

/* As many batches as there are metrics, from the first on, each with all that is in it. */
static void batches_are_whole(struct stage *st, unsigned d, const json_t *v)
{
	struct daemon *dm = daemon_of(st, d);
	const json_t *events = json_object_get(v, "events"), *metrics = json_object_get(v, "metrics");
	size_t n = json_array_size(metrics);

	EXPECT(st->run, n <= BATCHES && json_array_size(events) == n, "daemon %u: %zu events, %zu metrics", d,
	       json_array_size(events), n);
	EXPECT(st->run, json_integer_value(json_object_get(json_object_get(v, "state"), "n")) == (json_int_t)n,
	       "daemon %u: another state than that of %zu batches", d, n);
	for (size_t b = 0; b < n; b++) {
		const char *name = json_string_value(json_object_get(json_array_get(events, b), "name"));
		EXPECT(st->run, strtoul(name, NULL, 10) == b, "daemon %u: event %s at place %zu", d, name, b);
		EXPECT(st->run, (size_t)json_number_value(json_object_get(json_array_get(metrics, b), "value")) == b,
		       "daemon %u: another metric at place %zu", d, b);
	}
	for (size_t b = 0; b < BATCHES; b++) {
		enum told t = atomic_load(&dm->batch[b]);
		EXPECT(st->run, t != DONE || b < n, "daemon %u: batch %zu is lost", d, b);
		EXPECT(st->run, b >= n || told_may_be(t), "daemon %u: batch %zu is there, told %d", d, b, (int)t);
	}
}

static void singles_are_kept(struct stage *st, unsigned d, const json_t *v)
{
	struct daemon *dm = daemon_of(st, d);
	const json_t *e;
	unsigned seen[SINGLES] = { 0 };
	size_t i;

	json_array_foreach(json_object_get(v, "events"), i, e)
	{
		unsigned long n = strtoul(json_string_value(json_object_get(e, "name")), NULL, 10);
		EXPECT(st->run, n < SINGLES, "an event of nobody");
		seen[n]++;
	}
	for (i = 0; i < SINGLES; i++) {
		enum told t = atomic_load(&dm->single[i]);
		EXPECT(st->run, t != DONE || seen[i] == 1, "event %zu is there %u times", i, seen[i]);
		EXPECT(st->run, seen[i] <= told_may_be(t), "event %zu is there %u times, told %d", i, seen[i], (int)t);
	}
}

static void list_is_right(struct stage *st)
{
	json_t *list = get(st, "/api/data/sessions?view=summary"), *one;
	unsigned seen[DAEMONS] = { 0 };
	size_t i;

	json_array_foreach(list, i, one)
	{
		const char *product = json_string_value(json_object_get(json_object_get(one, "state"), "product"));
		unsigned d = product ? (unsigned)strtoul(product + 1, NULL, 10) : DAEMONS;
		EXPECT(st->run, d < DAEMONS, "a session of nobody");
		seen[d]++;
	}
	for (unsigned d = 0; d < DAEMONS; d++) {
		enum told t = atomic_load(&daemon_of(st, d)->created);
		EXPECT(st->run, t != DONE || seen[d] == 1, "key-%u has %u sessions", d, seen[d]);
		EXPECT(st->run, seen[d] <= told_may_be(t), "key-%u has %u sessions, told %d", d, seen[d], (int)t);
	}
	json_decref(list);
}

static void look(struct stage *st)
{
	char target[ID_ROOM + 40];
	json_t *v;

	list_is_right(st);
	for (unsigned d = 0; d < DAEMONS; d++) {
		if (!*daemon_of(st, d)->id)
			continue;
		(void)snprintf(target, sizeof(target), "/api/data/sessions/%.*s", ID_ROOM, daemon_of(st, d)->id);
		v = get(st, target);
		if (d == 2)
			singles_are_kept(st, d, v);
		else
			batches_are_whole(st, d, v);
		json_decref(v);
	}
}

static void check(struct run *run)
{
	struct stage *st = stage_of(run);
	struct buf err = BUF_EMPTY;

	EXPECT(run, stage_open(st, &err) == 0, "does not start: %s", err.data);
	look(st);
	for (unsigned d = 0; d < 2; d++) {
		create(st, d);
		send_batch(st, d, 0); /* whatever became of it */
		send_up_to(st, d, BATCHES);
		EXPECT(run, atomic_load(&daemon_of(st, d)->batch[BATCHES - 1]) == DONE, "batches do not go on");
	}
	look(st);
	stage_close(st);
	EXPECT(run, stage_open(st, &err) == 0, "does not start again: %s", err.data);
	look(st);
	stage_close(st);
	EXPECT(run, access(run_path(run, "hub/damaged"), F_OK) < 0, "a failing disk is taken for damage");
	config_unref(&st->config);
	buf_fini(&err);
}

const struct scenario hub_scenarios[] = {
	{ "hub", NULL, act, check, DISK_BLIND_FILES | DISK_BLIND_DIRS, LONG, NULL },
	{ 0 },
};
