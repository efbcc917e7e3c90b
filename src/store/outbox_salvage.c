/* outbox_salvage.c -- what can be saved of a database that SQLite calls corrupt.
 *
 * db_set_aside() has moved such a database to damaged/ with its journal, and db_open() made a fresh one. A fresh one
 * says so: it has no row "in_use" in `meta`. Then every outbox.db in damaged/ that was not salvaged is read row by row,
 * the newest first (mostly there is one; there are two when the fresh one could not even be begun), and what is
 * readable goes into the fresh one in the same transaction as "in_use": a stop on the way leaves a fresh database, and
 * the next start does it all again. When one is in use, whatever lies there was salvaged before, and is marked so: else entries
 * that were applied and purged since would come back from it one day. What was taken over keeps its seq, its id and its
 * sums, so a row that is readable but wrong is shown as damaged like any other.
 *
 * A table is walked from its first row on; where SQLite finds a page corrupt, from its last row back; and between the
 * two ends by trying seqs ahead, at doubling distances. Rows that are on readable pages below a corrupt inner one may
 * be lost; that something is lost is counted, once, as nobody can say how many. The moved files stay as they are: what
 * is read is a second name of them in salvage/, because SQLite puts its shared memory beside them. */
#include "store/outbox_priv.h"

#include <dirent.h>
#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"

#define DONE_TAIL ".salvaged"
#define JOURNAL_TAIL "-wal"
#define MOST_FAILURES 4096 /* pages that cannot be read, before the rest is given up */

/* --- finding it ------------------------------------------------------------------------------------------------- */

struct names {
	char **all;
	size_t count;
};

static void names_fini(struct names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->all[i]);
	free(n->all);
}

/* A database that was not salvaged: "outbox.db.1234567890123-0badcafe". */
static bool is_waiting(struct slice name)
{
	return slice_starts(name, "outbox.db.") && !slice_ends(name, DONE_TAIL) && !slice_ends(name, JOURNAL_TAIL);
}

static int by_name_backwards(const void *a, const void *b)
{
	return strcmp(*(char *const *)b, *(char *const *)a);
}

/* What waits in damaged/, the newest first. 0, also when there is no such folder, or -errno. */
static int list_waiting(const char *damaged, struct names *ret)
{
	DIR *d = opendir(damaged);
	struct dirent *e;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(d)))
		if (is_waiting(slice_str(e->d_name))) {
			ret->all = xrealloc(ret->all, (ret->count + 1) * sizeof(*ret->all));
			ret->all[ret->count++] = xstrdup(e->d_name);
		}
	(void)closedir(d);
	if (ret->count)
		qsort(ret->all, ret->count, sizeof(*ret->all), by_name_backwards);
	return 0;
}

static int link_as(const char *damaged, const char *name, const char *salvage, const char *as)
{
	char *from = xstrf("%s/%s", damaged, name), *to = xstrf("%s/%s", salvage, as);
	int r = link(from, to) < 0 ? -errno : 0;

	free(from);
	free(to);
	return r;
}

/* Gives what is to be read its second names, in place of another's. */
static int lay_out(const char *damaged, const char *name, const char *salvage)
{
	char *journal = xstrf("%s" JOURNAL_TAIL, name);
	int r = tree_remove(salvage); /* of the one before, or of a start that was stopped */

	if (r == 0)
		r = dir_make_all(salvage, 0700);
	if (r == 0)
		r = link_as(damaged, name, salvage, "outbox.db");
	if (r == 0) {
		r = link_as(damaged, journal, salvage, "outbox.db" JOURNAL_TAIL);
		r = r == -ENOENT ? 0 : r; /* it had none */
	}
	free(journal);
	return r;
}

/* --- walking a table -------------------------------------------------------------------------------------------- */

struct salvage {
	const char *damaged, *folder; /* folder: for second names */
	const struct names *names;
	sqlite3 *from, *to;
	sqlite3_stmt *insert, *insert_body;
	bool is_broken; /* something could not be read */
	unsigned failures;
	uint64_t last_seq;
};

typedef int take_fn(struct salvage *s, sqlite3_stmt *row); /* 0 or a code of the fresh database */

/* Says nothing about the file: this start fails, and as nothing is in use yet, the next one salvages again. */
static bool is_passing(int rc)
{
	rc &= 0xff;
	return rc == SQLITE_CANTOPEN || rc == SQLITE_NOMEM || rc == SQLITE_FULL || rc == SQLITE_BUSY;
}

/* Twice, as one read may fail. 0; WEIR_E_DAMAGED; a code that ends this start. */
static int prepare(struct salvage *s, const char *sql, sqlite3_stmt **ret)
{
	int rc = sqlite3_prepare_v2(s->from, sql, -1, ret, NULL);

	if (rc != SQLITE_OK && !is_passing(rc))
		rc = sqlite3_prepare_v2(s->from, sql, -1, ret, NULL);
	if (rc == SQLITE_OK)
		return 0;
	return is_passing(rc) ? db_code(rc) : WEIR_E_DAMAGED;
}

static int take_entry(struct salvage *s, sqlite3_stmt *st)
{
	struct outbox_row row;

	outbox_row_read(st, &row);
	if (row.seq > s->last_seq && row.seq <= INT64_MAX)
		s->last_seq = row.seq;
	return outbox_row_copy(s->to, &s->insert, st);
}

static int take_body(struct salvage *s, sqlite3_stmt *st)
{
	int r = outbox_prepare(s->to, &s->insert_body, "INSERT OR IGNORE INTO bodies(seq,body) VALUES(?1,?2)"), rc;

	if (r < 0)
		return r;
	(void)sqlite3_bind_value(s->insert_body, 1,
				 sqlite3_column_value(st, 0)); /* neither can fail with a number that is there */
	(void)sqlite3_bind_value(s->insert_body, 2, sqlite3_column_value(st, 1));
	rc = sqlite3_step(s->insert_body);
	(void)sqlite3_reset(s->insert_body); /* repeats the failure of the step */
	return rc == SQLITE_CONSTRAINT ? 0 : db_code(rc);
}

/* Rows with low < seq < high in the order of the statement, until the end or a failure. *ret_at is the last that was
 * read. 0: to the end; WEIR_E_DAMAGED: not; another code: of the fresh database. */
static int walk(struct salvage *s, sqlite3_stmt *st, take_fn *take, int64_t low, int64_t high, int64_t *ret_at)
{
	int rc = SQLITE_DONE, r = 0;

	(void)sqlite3_bind_int64(st, 1, low); /* neither can fail */
	(void)sqlite3_bind_int64(st, 2, high);
	while (r == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		*ret_at = sqlite3_column_int64(st, 0);
		r = take(s, st);
	}
	(void)sqlite3_reset(st); /* repeats the failure of the step */
	if (r < 0 || rc == SQLITE_DONE)
		return r;
	if (is_passing(rc))
		return db_code(rc);
	s->is_broken = true;
	s->failures++;
	return WEIR_E_DAMAGED;
}

/* From both ends, then what can be reached between them. */
static int walk_table(struct salvage *s, const char *columns, take_fn *take)
{
	char *up = xstrf("SELECT %s WHERE seq>?1 AND seq<?2 ORDER BY seq", columns);
	char *down = xstrf("SELECT %s WHERE seq>?1 AND seq<?2 ORDER BY seq DESC", columns);
	sqlite3_stmt *forward = NULL, *backward = NULL;
	int64_t low = 0, high = INT64_MAX, ahead = 1;
	int r = prepare(s, up, &forward);

	if (r == 0)
		r = prepare(s, down, &backward);
	if (r == WEIR_E_DAMAGED) {
		s->is_broken = true; /* the table itself cannot be found */
		r = 0;
		goto out;
	}
	if (r < 0)
		goto out;
	r = walk(s, forward, take, low, high, &low);
	if (r == WEIR_E_DAMAGED)
		r = walk(s, backward, take, low, high, &high);
	while (r == WEIR_E_DAMAGED && s->failures < MOST_FAILURES && ahead < high - low) {
		int64_t before = low, tried = low + ahead, back = tried + 1;
		low = tried;
		r = walk(s, forward, take, low, high, &low);
		if (low > tried && (r == 0 || r == WEIR_E_DAMAGED))
			(void)walk(s, backward, take, before, tried + 1, &back); /* what the last step passed over */
		ahead = low > tried ? 1 : ahead * 2;                             /* it got on: small steps again */
	}
	if (r == WEIR_E_DAMAGED)
		r = 0;
out:
	(void)sqlite3_finalize(forward); /* neither is under way */
	(void)sqlite3_finalize(backward);
	free(up);
	free(down);
	return r;
}

/* --- all of it -------------------------------------------------------------------------------------------------- */

static bool is_in_use(sqlite3 *conn)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(conn, "SELECT 1 FROM meta WHERE name='in_use'", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	(void)sqlite3_finalize(st); /* repeats the failure of the step */
	return rc == SQLITE_ROW;
}

int outbox_note_loss(sqlite3 *conn, void *arg)
{
	return db_code(sqlite3_exec(conn,
				    "INSERT INTO meta VALUES('" OUTBOX_META_LOSSES "',1)"
				    " ON CONFLICT(name) DO UPDATE SET value=value+1",
				    NULL, NULL, NULL));
}

/* The last seq that was given, if it can still be read: those of purged entries do not come again either. */
static void note_last_seq(struct salvage *s)
{
	sqlite3_stmt *st = NULL;
	int64_t seq = 0;

	if (sqlite3_prepare_v2(s->from, "SELECT value FROM meta WHERE name='last_seq'", -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		seq = sqlite3_column_int64(st, 0);
	(void)sqlite3_finalize(st); /* as above */
	if (seq > 0 && (uint64_t)seq > s->last_seq)
		s->last_seq = (uint64_t)seq;
}

/* 0, also with no connection: nothing can be read; or a code that ends this start. */
static int open_damaged(struct salvage *s)
{
	char *path = xstrf("%s/outbox.db", s->folder);
	int rc = SQLITE_OK;

	for (int tries = 0; tries < 2 && !s->from && !is_passing(rc); tries++) {
		rc = sqlite3_open_v2(path, &s->from, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
		if (rc == SQLITE_OK)
			rc = sqlite3_exec(s->from, "SELECT 1 FROM sqlite_master", NULL, NULL, NULL); /* reads it */
		if (rc != SQLITE_OK) {
			(void)sqlite3_close(s->from); /* nothing is left open */
			s->from = NULL;
		}
	}
	free(path);
	return is_passing(rc) ? db_code(rc) : 0;
}

static int take_all(struct salvage *s, const char *name)
{
	int r = lay_out(s->damaged, name, s->folder);

	if (r == 0)
		r = open_damaged(s);
	if (r == 0 && s->from) {
		note_last_seq(s);
		r = walk_table(s, OUTBOX_ROW_COLUMNS " FROM entries", take_entry);
	}
	if (r == 0 && s->from)
		r = walk_table(s, "seq,body FROM bodies", take_body);
	(void)sqlite3_close(s->from); /* nothing is left open */
	s->from = NULL;
	return r;
}

static int salvage_job(sqlite3 *conn, void *arg)
{
	struct salvage *s = arg;
	char *meta;
	int r = 0;

	s->to = conn;
	for (size_t i = 0; i < s->names->count && r == 0; i++)
		r = take_all(s, s->names->all[i]);
	(void)sqlite3_finalize(s->insert); /* neither is under way */
	(void)sqlite3_finalize(s->insert_body);
	if (r < 0)
		return r;
	meta = xstrf("INSERT OR REPLACE INTO meta VALUES('in_use',1),('last_seq',%lld)", (long long)s->last_seq);
	r = db_code(sqlite3_exec(conn, meta, NULL, NULL, NULL));
	free(meta);
	return r == 0 && s->names->count ? outbox_note_loss(conn, NULL) : r; /* SQLite called it corrupt */
}

static void mark_done(const char *damaged, const struct names *names)
{
	for (size_t i = 0; i < names->count; i++) {
		char *from = xstrf("%s/%s", damaged, names->all[i]), *to = xstrf("%s" DONE_TAIL, from);

		(void)rename(from, to); /* the next start does it */
		free(from);
		free(to);
	}
}

int outbox_salvage(struct outbox *ob)
{
	char *damaged = xstrf("%s/damaged", ob->dir), *folder = xstrf("%s/salvage", ob->dir);
	struct names names = { 0 };
	struct salvage s = { .damaged = damaged, .folder = folder, .names = &names };
	sqlite3 *conn = NULL;
	int r = db_reader(ob->db, &conn);
	bool is_used = r == 0 && is_in_use(conn);

	(void)sqlite3_close(conn); /* nothing is left open */
	if (r == 0)
		r = list_waiting(damaged, &names);
	if (r == 0 && !is_used)
		r = db_do(ob->db, salvage_job, &s);
	if (r == 0)
		mark_done(damaged, &names);
	if (names.count)
		(void)tree_remove(folder); /* second names only; the next time begins with that */
	names_fini(&names);
	free(damaged);
	free(folder);
	return r;
}
