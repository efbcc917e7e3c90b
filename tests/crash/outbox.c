/* outbox.c -- scenarios of store/outbox.h: scripts of puts, lendings, settlements and an operator's verbs.
 *
 * WHAT     Each script is played against the outbox and against outbox_model.h alike. Before a call, the notes say that
 *          it may have been done; after it, what it said. After the restart, what is listed must be one of the worlds
 *          that the notes allow: every acknowledged write is there once, in the state last told, refused ones are not
 *          there, chained ones moved together or not at all.
 * AND      bodies are whole; no body lies there without its entry; ids and seqs go up though the clock went back a day;
 *          nothing was called damaged; what may be lent is lent in order for each key, and nothing but that stays;
 *          puts go on; the same is true after one more start.
 * CODES    -EIO leaves open whether it was done: the commit may be on the disk though its sync failed. Any other code
 *          means that nothing was kept. Without room or without descriptors, what there is can still be listed, and
 *          puts succeed again, without a restart, as soon as there is room. */
#include "outbox_play.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "io/file.h"

#define DAY_MS 86400000

/* --- after the restart ------------------------------------------------------------------------------------------ */

struct found {
	struct play *p;
	struct world world;
	uint64_t last_seq, seq[MODEL_ENTRIES];
	unsigned files_least, files_most;
};

static unsigned base_number(struct run *run, const struct outbox_base *b)
{
	uint64_t n = 0;
	struct slice s = buf_slice(&b->etag);

	EXPECT(run, s.n > 2 && str_parse_u64((struct slice){ s.p + 1, s.n - 2 }, &n) == 0,
	       "a base that nobody gave: %s", b->etag.data);
	return (unsigned)n;
}

static void body_is_whole(struct found *f, const struct outbox_entry *e, unsigned i)
{
	struct run *run = f->p->run;
	struct buf want = BUF_EMPTY, got = BUF_EMPTY;
	struct spool *s = NULL;
	uint64_t n = 0;
	char self[40];
	int r;

	play_body(i, f->p->room->bytes[i], &want);
	EXPECT(run, e->body_bytes == want.len, "%u has another length: %llu", i, (unsigned long long)e->body_bytes);
	r = outbox_body(f->p->ob, e, &s);
	EXPECT(run, r == 0 || (r == -ENOENT && outbox_state_is_settled(e->state)), "the body of %u: %s", i,
	       err_text(r));
	if (r == 0) {
		EXPECT(run, spool_peek(s, &n, NULL) == SPOOL_COMPLETE && n == want.len, "the body of %u is cut", i);
		(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", spool_fd(s));
		EXPECT(run, file_read_all(self, want.len + 1, &got) == 0, "the body of %u does not read", i);
		EXPECT(run, slice_eq(buf_slice(&got), buf_slice(&want)), "the body of %u is another", i);
	}
	spool_unref(&s);
	buf_fini(&want);
	buf_fini(&got);
}

static bool find_one(void *arg, const struct outbox_entry *e)
{
	struct found *f = arg;
	struct run *run = f->p->run;
	unsigned i = play_number(run, e);
	struct model_entry *m = &f->world.e[i];

	EXPECT(run, !m->is_there, "%u is there twice", i);
	EXPECT(run, e->seq > f->last_seq, "the list is out of order");
	EXPECT(run, !e->damaged, "%u is called damaged", i);
	EXPECT(run, e->key.len == 1 && slice_eq_str(buf_slice(&e->headers), "Content-Type: text/plain\nX-Test: yes\n"),
	       "%u was changed", i);
	f->last_seq = e->seq;
	f->seq[i] = e->seq;
	m->is_there = true;
	m->is_once = e->once;
	m->key = e->key.data[0];
	m->state = (uint8_t)e->state;
	m->is_unknown = e->state == OUTBOX_HELD &&
			strncmp(e->last_error.data, OUTBOX_OUTCOME_UNKNOWN, strlen(OUTBOX_OUTCOME_UNKNOWN)) == 0;
	for (unsigned k = 0; e->parent && k < i; k++)
		if (f->seq[k] == e->parent)
			m->parent = (uint8_t)(k + 1);
	m->base = m->parent ? 0 : base_number(run, &e->base);
	EXPECT(run, strcmp(e->queue.data, isupper((unsigned char)m->key) ? "other" : "files") == 0, "%u moved", i);
	body_is_whole(f, e, i);
	if (e->body_bytes > OUTBOX_INLINE_BYTES && e->state != OUTBOX_APPLIED)
		f->files_most++;
	if (e->body_bytes > OUTBOX_INLINE_BYTES && !outbox_state_is_settled(e->state))
		f->files_least++;
	return true;
}

static unsigned files_in(struct run *run, const char *name)
{
	DIR *d = opendir(run_path(run, name));
	struct dirent *e;
	unsigned n = 0;

	EXPECT(run, d != NULL, "no folder %s", name);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	(void)closedir(d);
	return n;
}

/* What of an entry is settled says nothing about its base any more, and a base matters only without a parent. */
static void normalise(struct world *w)
{
	struct model_call c = { .op = M_RESTART };

	world_do(w, &c);
	for (unsigned i = 0; i < MODEL_ENTRIES; i++)
		if (outbox_state_is_settled(w->e[i].state)) {
			w->e[i].parent = 0;
			w->e[i].base = 0;
		}
}

static void tell(const char *what, const struct world *w, struct buf *out)
{
	buf_addf(out, "\n      %-9s", what);
	for (unsigned i = 0; i < MODEL_ENTRIES; i++)
		if (w->e[i].is_there)
			buf_addf(out, " %u:%c:%s:p%u:b%u%s", i, w->e[i].key, outbox_state_text(w->e[i].state),
				 w->e[i].parent, w->e[i].base, w->e[i].is_unknown ? ":unknown" : "");
}

/* On purpose: by prepare_damaged(). */
static bool was_damaged(struct run *run)
{
	return access(run_path(run, "damaged"), F_OK) == 0;
}

/* Lists everything; it has to be one of the worlds. They are that one afterwards. */
static void look(struct play *p, struct found *f)
{
	const struct worlds *ws = play_possible(p);
	struct buf why = BUF_EMPTY;
	unsigned n, i;
	int r;

	memset(f, 0, sizeof(*f));
	f->p = p;
	r = outbox_list(p->ob, NULL, -1, 0, 1000, find_one, f);
	EXPECT(p->run, r == 0, "does not list: %s", err_text(r));
	normalise(&f->world);
	tell("found", &f->world, &why);
	for (i = 0; i < ws->n; i++) {
		struct world w = ws->w[i];
		normalise(&w);
		if (world_is_same(&w, &f->world))
			break;
		tell("allowed", &w, &why);
	}
	EXPECT(p->run, i < ws->n, "what is there is not what was promised:%s", why.data);
	n = files_in(p->run, "bodies");
	if (!was_damaged(p->run)) {
		EXPECT(p->run, n >= f->files_least && n <= f->files_most, "%u files of bodies, not %u to %u", n,
		       f->files_least, f->files_most);
		EXPECT(p->run, outbox_damaged(p->ob) == 0, "something is called damaged");
	}
	EXPECT(p->run, !outbox_is_readonly(p->ob), "puts are refused after a restart");
	p->room->worlds = (struct worlds){ .n = 1, .w = { f->world } };
	atomic_store(&p->room->is_under_way, false);
	buf_fini(&why);
}

/* Lends and applies all that may go, each key in order; nothing that may go is left. */
static void deliver_all(struct play *p)
{
	static const char queues[] = { 'a', 'A' };

	for (size_t q = 0; q < sizeof(queues); q++)
		for (;;) {
			struct step lend = { .kind = STEP_LEND, .key = queues[q] };
			struct step settle = { .kind = STEP_SETTLE, .to = OUTBOX_APPLIED };
			unsigned codes = p->room->codes;
			(void)play_step(p, &lend, true);
			if (!p->hand[0].entry)
				break;
			(void)play_step(p, &settle, true);
			EXPECT(p->run, p->room->codes == codes, "cannot settle on a sound disk");
		}
	for (unsigned i = 0; i < MODEL_ENTRIES; i++)
		EXPECT(p->run, !world_may_lend(&p->room->worlds.w[0], i), "%u is never lent", i);
}

static int64_t yesterday(int wall)
{
	struct timespec t;

	(void)clock_gettime(wall ? CLOCK_REALTIME : CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000 - (wall ? DAY_MS : 0);
}

static void check(struct run *run)
{
	static const struct step more[] = { PUT('a', SMALL), PUT('A', BIG) };
	struct play *p = play_of(run);
	struct found f;
	int r;

	clock_set_fake(yesterday);
	r = play_open(p);
	EXPECT(run, r == 0, "does not start: %s", err_text(r));
	look(p, &f);
	for (size_t i = 0; i < 2; i++) {
		r = play_step(p, &more[i], true);
		EXPECT(run, r == 0, "puts do not go on: %s", err_text(r));
	}
	deliver_all(p);
	EXPECT(run, play_reopen(p) == 0, "does not start again");
	look(p, &f);
	outbox_close(p->ob);
}

/* --- scripts ---------------------------------------------------------------------------------------------------- */

#define SCRIPT(name, ...)                                                                 \
	static void name(struct run *run)                                                 \
	{                                                                                 \
		static const struct step steps[] = { __VA_ARGS__, { .kind = STEP_END } }; \
		play_steps(run, steps);                                                   \
	}
#define APPLIED OUTBOX_APPLIED

/* clang-format off */
SCRIPT(put_small,
       PUT('a', SMALL), PUT('a', SMALL, CHILD), PUT('b', EDGE), PUT('A', 0), PUT('b', SMALL, ONCE),
       HEAL, PUT('a', SMALL, CHILD), PUT('c', SMALL))
SCRIPT(put_big,
       PUT('a', BIG), PUT('a', BIG, CHILD), PUT('b', EDGE + 1), PUT('A', BIG, ONCE),
       HEAL, PUT('a', BIG, CHILD), PUT('c', SMALL))
SCRIPT(deliver,
       PUT('a', SMALL), PUT('a', BIG, CHILD), PUT('b', BIG), PUT('A', SMALL),
       LEND('a', 0), LEND('a', 1), SETTLE(0, APPLIED), SETTLE(1, OUTBOX_QUEUED),
       LEND('a', 0), LEND('A', 2), PUT('a', SMALL, CHILD), SETTLE(0, APPLIED), SETTLE(2, APPLIED),
       HEAL, LEND('a', 0), PUT('b', SMALL, CHILD))
SCRIPT(once,
       PUT('a', SMALL, ONCE), PUT('a', SMALL), PUT('b', BIG, ONCE),
       LEND('a', 0), LEND('a', 1), SETTLE(0, OUTBOX_QUEUED), SETTLE(1, APPLIED), LEND('a', 0),
       HEAL, PUT('c', SMALL, ONCE), LEND('a', 1))
SCRIPT(conflict,
       PUT('a', SMALL), PUT('a', BIG, CHILD), PUT('a', SMALL, CHILD), PUT('b', SMALL),
       LEND('a', 0), SETTLE(0, OUTBOX_CONFLICT), PUT('a', SMALL, CHILD), PUT('a', SMALL, CHILD),
       VERB(DROP, 1), VERB(RESOLVE, 2), VERB(REBASE, 0), LEND('a', 0), SETTLE(0, OUTBOX_CONFLICT), VERB(RETRY, 0),
       HEAL, PUT('c', SMALL))
SCRIPT(chain,
       PUT('a', SMALL), PUT('a', SMALL, CHILD), PUT('a', BIG, CHILD), PUT('a', SMALL, CHILD),
       LEND('a', 0), SETTLE(0, APPLIED), LEND('a', 0), SETTLE(0, OUTBOX_CONFLICT), VERB(RETRY, 1),
       LEND('a', 0), SETTLE(0, OUTBOX_CONFLICT), VERB(REBASE, 1), VERB(DROP, 2),
       HEAL, PUT('a', SMALL, CHILD))
SCRIPT(held,
       PUT('a', SMALL), PUT('a', BIG, CHILD), PUT('b', BIG), PUT('b', SMALL, CHILD),
       LEND('a', 0), LEND('a', 1), SETTLE(0, OUTBOX_HELD), SETTLE(1, OUTBOX_HELD), VERB(RETRY, 0), VERB(DROP, 2),
       LEND('a', 0), SETTLE(0, APPLIED), HEAL, PUT('b', BIG, CHILD))
SCRIPT(purge,
       PUT('a', SMALL), PUT('b', BIG), PUT('c', BIG), PUT('A', SMALL),
       LEND('a', 0), SETTLE(0, APPLIED), LEND('a', 0), SETTLE(0, APPLIED), VERB(DROP, 2),
       LEND('A', 0), SETTLE(0, APPLIED), PURGE('a'), PUT('a', BIG), HEAL, PUT('b', SMALL))
SCRIPT(reopened,
       PUT('a', SMALL), PUT('b', BIG), LEND('a', 0), REOPEN, PUT('a', BIG, CHILD), REOPEN,
       LEND('a', 0), SETTLE(0, APPLIED), REOPEN, HEAL, PUT('c', SMALL))

/* A start over what a kill left: lent ones, orphans, what had no name yet. */
SCRIPT(before_start,
       PUT('a', SMALL), PUT('a', BIG, CHILD), PUT('b', BIG, ONCE), PUT('c', SMALL, ONCE), PUT('A', BIG),
       LEND('a', 0), LEND('a', 1), LEND('A', 2))
SCRIPT(start,
       PUT('a', SMALL), HEAL, PUT('c', BIG))
/* clang-format on */

/* Beside a body that has its record: one that never got one, and one that was going to be renamed. */
static void make_orphans(struct run *run, const char *name)
{
	char *orphan = xstrf("%s/bodies/%s", run->dir, name), *half = xstrf("%s.tmp-0123456789abcdef", orphan);
	size_t last = strlen(orphan) - 1;
	int a, b;

	orphan[last] = orphan[last] == '7' ? '8' : '7';
	a = open(orphan, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	b = open(half, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	EXPECT(run, a >= 0 && b >= 0, "cannot leave orphans");
	fd_close(&a);
	fd_close(&b);
	free(orphan);
	free(half);
}

static void leave_orphans(struct run *run)
{
	DIR *d = opendir(run_path(run, "bodies"));
	struct dirent *e;

	EXPECT(run, d != NULL, "no bodies");
	do
		e = readdir(d);
	while (e && e->d_name[0] == '.');
	EXPECT(run, e != NULL, "no bodies");
	make_orphans(run, e->d_name);
	(void)closedir(d);
}

static void prepare_start(struct run *run)
{
	before_start(run);
	leave_orphans(run);
}

/* Over what one of these left when it was stopped, or the power went, somewhere. */
static void prepare_twice(struct run *run)
{
	static void (*const acts[])(struct run *) = { put_big, deliver, conflict, held, purge, reopened };
	static atomic_bool is_reached;
	struct disk_plan plan = {
		.dir = run->dir,
		.fault = run->seed % 2 ? DISK_CUT : DISK_STOP,
		.nth = 40 + (unsigned)(run->seed / 2 * 31 % 90),
		.survivors = PLATTER_SOME,
		.seed = run->seed,
		.reached = &is_reached,
	};

	disk_begin(&plan);
	acts[run->seed % ARRAY_LEN(acts)](run);
}

SCRIPT(before_damage, PUT('a', SMALL), PUT('a', BIG, CHILD), PUT('b', BIG, ONCE), PUT('c', SMALL, ONCE), PUT('A', BIG),
       LEND('a', 0), LEND('b', 1), SETTLE(0, OUTBOX_HELD), CLOSE)

/* An index is said to be where it is not, for which SQLite calls the database corrupt; all rows can still be read. By
 * SQLite itself, so that it goes where writes go: into the journal while the outbox is open, else into the file. */
static void misplace_index(struct run *run)
{
	sqlite3 *conn = NULL;

	EXPECT(run, sqlite3_open(run_path(run, "outbox.db"), &conn) == SQLITE_OK, "no database");
	EXPECT(run,
	       sqlite3_exec(conn,
			    "PRAGMA writable_schema=ON; UPDATE sqlite_master SET rootpage="
			    "(SELECT rootpage FROM sqlite_master WHERE name='entries') WHERE name='settled'",
			    NULL, NULL, NULL) == SQLITE_OK,
	       "cannot damage: %s", sqlite3_errmsg(conn));
	(void)sqlite3_close(conn);
}

static void prepare_damaged(struct run *run)
{
	before_damage(run);
	misplace_index(run);
	leave_orphans(run);
}

/* Of bodies: a journal may be empty, too. */
static unsigned empty_files_in(struct run *run, const char *name)
{
	DIR *d = opendir(run_path(run, name));
	struct dirent *e;
	struct stat file;
	unsigned n = 0;

	while (d && (e = readdir(d)))
		n += e->d_name[0] != 'o' && fstatat(dirfd(d), e->d_name, &file, 0) == 0 && S_ISREG(file.st_mode) &&
		     file.st_size == 0;
	if (d)
		(void)closedir(d);
	return n;
}

/* And a body that no record names, as one that is lost may have named it, is evidence. */
static void check_damaged(struct run *run)
{
	check(run);
	EXPECT(run, empty_files_in(run, "damaged") == 1, "a body that a lost record may have named is gone");
}

/* What was put last is in the journal alone, and so is the damage: without its journal the database looks sound. */
SCRIPT(into_journal, PUT('a', SMALL), PUT('c', BIG), PUT('A', EDGE), PUT('b', SMALL, ONCE))

static void prepare_damaged_journal(struct run *run)
{
	before_damage(run);
	into_journal(run);
	misplace_index(run);
	leave_orphans(run);
	EXPECT(run, access(run_path(run, "outbox.db-wal"), F_OK) == 0, "no journal");
}

/* While somebody looks at it with sqlite3, so that no close writes the journal back: it has to be set aside as well. */
static void start_watched(struct run *run)
{
	sqlite3 *conn = NULL;

	if (sqlite3_open_v2(run_path(run, "outbox.db"), &conn, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK)
		(void)sqlite3_exec(conn, "SELECT * FROM meta", NULL, NULL, NULL); /* the disk may fail */
	start(run);
}

const struct scenario outbox_scenarios[] = {
	{ "outbox-put-small", NULL, put_small, check, DISK_BLIND_FILES | DISK_BLIND_DIRS, RIGHT, NULL },
	{ "outbox-put-big", NULL, put_big, check, DISK_BLIND_FILES | DISK_BLIND_DIRS, RIGHT, "/bodies" },
	{ "outbox-deliver", NULL, deliver, check, DISK_BLIND_FILES | DISK_BLIND_DIRS, RIGHT, NULL },
	{ "outbox-once", NULL, once, check, DISK_BLIND_FILES, RIGHT, NULL },
	{ "outbox-conflict", NULL, conflict, check, DISK_BLIND_FILES, RIGHT, NULL },
	{ "outbox-chain", NULL, chain, check, DISK_BLIND_FILES, RIGHT, NULL },
	{ "outbox-held", NULL, held, check, DISK_BLIND_FILES, RIGHT, NULL },
	{ "outbox-purge", NULL, purge, check, DISK_BLIND_FILES, RIGHT, NULL },
	{ "outbox-reopened", NULL, reopened, check, DISK_BLIND_FILES | DISK_BLIND_DIRS, RIGHT, NULL },
	{ "outbox-start", prepare_start, start, check, DISK_BLIND_FILES, RIGHT, NULL },
	{ "outbox-twice", prepare_twice, start, check, DISK_BLIND_FILES, RIGHT, NULL },
	{ "outbox-damaged", prepare_damaged, start, check_damaged, DISK_BLIND_FILES, RIGHT, NULL },
	{ "outbox-damaged-journal", prepare_damaged_journal, start_watched, check_damaged, DISK_BLIND_FILES, RIGHT,
	  NULL },
	{ 0 },
};
