/* fuzz_outbox.c -- what may be found on disk as an outbox. The first byte says what the rest is:
 *
 *   0  the database file, whole
 *   1  changes of a good one with a few entries: three bytes of offset and one of content, again and again
 *   2  rows of `entries` as they are: for each column a kind (integer, text, blob, NULL), a length and bytes
 *   3  the same, with sums that hold: records that are whole, but say strange things
 *
 * Whatever it is, the outbox opens or says why not; what it lists it also gets, in order; everything that can be done
 * with an entry is done; a second start finds no more than the first left. */
#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/rand.h"
#include "io/file.h"
#include "store/db.h"
#include "store/outbox_rows.h"

#define COLUMNS 32
#define MOST_ROWS 16
#define MOST_SEEN 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];
static struct buf good = BUF_EMPTY; /* the file of an outbox with entries */
static struct buf empty = BUF_EMPTY;

static const struct outbox_limits limits = { .keep_settled_ms = 1 };

/* --- making what is found --------------------------------------------------------------------------------------- */

static char *database(void)
{
	return xstrf("%s/outbox.db", dir);
}

static void write_database(struct slice content)
{
	char *path = database();
	int fd;

	ENSURE(tree_remove(dir) == 0 && dir_make_all(dir, 0700) == 0);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ENSURE(fd >= 0 && fd_write_all(fd, content.p, content.n) == 0);
	fd_close(&fd);
	free(path);
}

static void put_some(struct outbox_queue *q)
{
	static const char *const keys[] = { "/a", "/a", "/a", "/d/x", "/d/", "/d/y" };

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		struct outbox_receipt got;
		struct outbox_write w = { .key = slice_str(keys[i]),
					  .method = SLICE_LIT("PUT"),
					  .uri = slice_str(keys[i]),
					  .wants_parent = true,
					  .is_base = true,
					  .once = i == 3,
					  .body = SLICE_LIT("content"),
					  .expect_tail = OUTBOX_ANY };
		ENSURE(outbox_put(q, &w, &got) == 0);
	}
}

static void make_templates(void)
{
	struct buf err = BUF_EMPTY;
	struct outbox *ob;
	char *path;

	(void)snprintf(dir, sizeof(dir), "%s/weir-fuzz-outbox-%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
		       (int)getpid());
	path = database();
	for (int filled = 0; filled < 2; filled++) {
		ENSURE(tree_remove(dir) == 0);
		ENSURE(outbox_open(dir, &ob, &err) == 0);
		if (filled)
			put_some(outbox_queue(ob, "files", &limits));
		outbox_close(ob);
		ENSURE(file_read_all(path, 1 << 24, filled ? &good : &empty) == 0);
	}
	free(path);
	buf_fini(&err);
}

static void patch(struct slice changes)
{
	struct buf file = BUF_EMPTY;

	buf_add_slice(&file, buf_slice(&good));
	for (; changes.n >= 4; changes = slice_from(changes, 4)) {
		const unsigned char *c = (const unsigned char *)changes.p;
		size_t at = (size_t)c[0] << 16 | (size_t)c[1] << 8 | c[2];
		file.data[at % file.len] = (char)c[3];
	}
	write_database(buf_slice(&file));
	buf_fini(&file);
}

static void bind_one(sqlite3_stmt *st, int column, struct slice *rest)
{
	unsigned char kind = 0, length = 0;
	struct slice bytes = { "", 0 };
	int64_t number = 0;

	if (rest->n >= 2) {
		kind = (unsigned char)rest->p[0] & 3;
		length = (unsigned char)rest->p[1];
		*rest = slice_from(*rest, 2);
		bytes = (struct slice){ rest->p, length < rest->n ? length : rest->n };
		*rest = slice_from(*rest, bytes.n);
	}
	for (size_t i = 0; i < bytes.n && i < 8; i++)
		number = (int64_t)((uint64_t)number << 8 | (unsigned char)bytes.p[i]);
	if (kind == 0)
		(void)sqlite3_bind_int64(st, column, number);
	else if (kind == 1)
		(void)sqlite3_bind_text(st, column, bytes.p, (int)bytes.n, SQLITE_TRANSIENT);
	else if (kind == 2)
		(void)sqlite3_bind_blob(st, column, bytes.p, (int)bytes.n, SQLITE_TRANSIENT);
	else
		(void)sqlite3_bind_null(st, column);
}

/* Gives the row sums that hold, in the state that it says. */
static void make_whole(sqlite3 *conn, int64_t seq, struct slice state)
{
	sqlite3_stmt *load = NULL, *save = NULL;
	struct outbox_record rec;
	enum outbox_state s;

	if (outbox_record_load(conn, &load, (uint64_t)seq, &rec) == 0) {
		if (outbox_state_parse(state, &s) == 0)
			rec.e.state = s;
		rec.e.damaged = false;
		(void)outbox_record_save(conn, &save, &rec);
		outbox_record_fini(&rec);
	}
	(void)sqlite3_finalize(load);
	(void)sqlite3_finalize(save);
}

static void insert_rows(struct slice rest, bool are_whole)
{
	static const char *const states[] = { "queued", "sending", "applied",  "conflict",
					      "held",   "dropped", "resolved", "odd" };
	char *path = database();
	sqlite3_stmt *st = NULL;
	sqlite3 *conn;

	write_database(buf_slice(&empty));
	ENSURE(sqlite3_open(path, &conn) == SQLITE_OK);
	ENSURE(sqlite3_exec(conn, "PRAGMA synchronous=OFF; BEGIN", NULL, NULL, NULL) == SQLITE_OK);
	ENSURE(sqlite3_prepare_v2(conn,
				  "INSERT OR IGNORE INTO entries(" OUTBOX_ROW_COLUMNS
				  ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,"
				  "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
				  -1, &st, NULL) == SQLITE_OK);
	for (int row = 0; row < MOST_ROWS && rest.n >= 2; row++) {
		unsigned char seq = (unsigned char)rest.p[0], state = (unsigned char)rest.p[1] % ARRAY_LEN(states);
		rest = slice_from(rest, 2);
		for (int i = 1; i <= COLUMNS; i++)
			bind_one(st, i, &rest);
		if (seq)
			(void)sqlite3_bind_int64(st, 1, seq);
		(void)sqlite3_bind_text(st, 3, states[state], -1, SQLITE_STATIC);
		(void)sqlite3_step(st);
		(void)sqlite3_reset(st);
		if (are_whole)
			make_whole(conn, sqlite3_last_insert_rowid(conn), slice_str(states[state]));
	}
	(void)sqlite3_finalize(st);
	ENSURE(sqlite3_exec(conn, "COMMIT", NULL, NULL, NULL) == SQLITE_OK);
	ENSURE(sqlite3_close(conn) == SQLITE_OK);
	free(path);
}

/* --- using it --------------------------------------------------------------------------------------------------- */

struct seen {
	uint64_t last, seq[MOST_SEEN];
	size_t n, all;
	struct outbox *ob;
};

static bool see(void *arg, const struct outbox_entry *e)
{
	struct seen *s = arg;

	ENSURE(s->all == 0 || e->seq > s->last);
	ENSURE(!e->damaged || e->state == OUTBOX_HELD || outbox_state_is_settled(e->state));
	s->last = e->seq;
	if (s->n < MOST_SEEN)
		s->seq[s->n++] = e->seq;
	s->all++;
	return true;
}

/* One of the things that can be done, chosen by where it stands. */
static void use(struct outbox *ob, uint64_t seq, size_t which)
{
	const struct outbox_base base = { .known = true, .absent = true };
	struct outbox_entry e, again;
	struct spool *s;
	int r = outbox_get(ob, seq, &e);

	if (r < 0)
		return; /* of what is corrupt */
	if (outbox_find(ob, slice_str(e.id), &again) == 0) {
		ENSURE(again.seq == seq);
		outbox_entry_fini(&again);
	}
	if (outbox_body(ob, &e, &s) == 0)
		spool_unref(&s);
	outbox_entry_fini(&e);
	r = which % 4 == 0 ? outbox_retry(ob, seq) : which % 4 == 1 ? outbox_rebase(ob, seq, &base) :
	    which % 4 == 2 ? outbox_resolve(ob, seq) : outbox_drop(ob, seq);
	ENSURE(r <= 0);
}

static void deliver(struct outbox_queue *q)
{
	static const enum outbox_state to[] = { OUTBOX_APPLIED, OUTBOX_CONFLICT, OUTBOX_HELD, OUTBOX_QUEUED };
	struct outbox_entry e;
	int64_t next;

	for (size_t i = 0; i < MOST_SEEN && outbox_lend(q, INT64_MAX - 1000000, &e, &next) == 0; i++) {
		struct outbox_settlement s = { .to = to[i % ARRAY_LEN(to)], .next_attempt_wall_ms = INT64_MAX };
		ENSURE(!e.damaged && e.state == OUTBOX_SENDING && e.parent == 0);
		(void)outbox_settle(q, e.seq, &s); /* may fail on what is corrupt */
		outbox_entry_fini(&e);
	}
}

static size_t open_and_use(bool does_change)
{
	struct buf err = BUF_EMPTY;
	struct seen s = { .n = 0 };
	struct outbox_queue *q;
	struct outbox_figures f;
	int r = outbox_open(dir, &s.ob, &err);

	ENSURE(r == 0 || err.len > 0);
	buf_fini(&err);
	if (r < 0)
		return 0;
	(void)outbox_list(s.ob, NULL, -1, 0, SIZE_MAX, see, &s);
	for (size_t i = 0; i < s.n && does_change; i++)
		use(s.ob, s.seq[i], i);
	q = outbox_queue(s.ob, "files", &limits);
	if (does_change) {
		deliver(q);
		(void)outbox_key_is_pending(q, SLICE_LIT("/d/"));
		ENSURE(outbox_purge(q, INT64_MAX / 2) >= -100000);
	}
	outbox_figures(q, &f);
	outbox_close(s.ob);
	return s.all;
}

static void clean_up(void)
{
	(void)tree_remove(dir);
	buf_fini(&good);
	buf_fini(&empty);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest;
	size_t before;

	if (size == 0)
		return 0;
	if (!good.len) {
		make_templates();
		(void)atexit(clean_up);
	}
	rest = (struct slice){ (const char *)data + 1, size - 1 };
	if (data[0] % 4 == 0)
		write_database(rest);
	else if (data[0] % 4 == 1)
		patch(rest);
	else
		insert_rows(rest, data[0] % 4 == 3);
	before = open_and_use(true);
	ENSURE(open_and_use(false) <= before || before == 0);
	return 0;
}
