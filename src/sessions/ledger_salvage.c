/* ledger_salvage.c -- what can be saved of a sessions.db that SQLite calls corrupt.
 *
 * WHAT     db_open() has moved it to damaged/ with its journal, and made a fresh one. The rows that can be read go into
 *          that: from the first on, and where a page cannot be read, from the last back. What the outbox has of
 *          sessions without a row that could be read becomes a row again by their creation, if that still waits.
 * LIMITS   Once, at the start that finds the damage: who is stopped in the middle of it begins with what he has. What
 *          lies between two pages that cannot be read is lost. The moved files stay as they are: what is read is a
 *          second name of them in salvage/, as journal and database must be called alike.
 * SEE      store/outbox_salvage.c, which does the same for operations */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "io/file.h"
#include "sessions/sessions_priv.h"

struct salvage {
	sqlite3 *from;
	uint64_t sessions;
};

/* The last sessions.db in damaged/, which may have its journal beside it: see db_set_aside(). NULL: none. The caller
 * frees. */
static char *newest(const char *damaged)
{
	struct dirent **list = NULL;
	int n = scandir(damaged, &list, NULL, alphasort); /* times have as many digits for centuries to come */
	char *found = NULL;

	for (int i = 0; i < n; i++) {
		struct slice name = slice_str(list[i]->d_name);

		if (slice_starts(name, "sessions.db.") && !slice_ends(name, "-wal")) {
			free(found);
			found = xstrf("%s/%s", damaged, list[i]->d_name);
		}
		free(list[i]);
	}
	free(list);
	return found;
}

/* The connection to the damaged one, below its old name; NULL: nothing of it can be read. */
static sqlite3 *open_damaged(const char *dir, const char *folder)
{
	static const char *const tails[] = { "", "-wal" };
	char *damaged = xstrf("%s/damaged", dir), *path = xstrf("%s/sessions.db", folder), *name = newest(damaged);
	sqlite3 *conn = NULL;

	(void)tree_remove(folder); /* of a start that was stopped */
	(void)dir_make_all(folder, 0700); /* without it nothing can be opened */
	for (size_t i = 0; name && i < ARRAY_LEN(tails); i++) {
		char *file = xstrf("%s%s", name, tails[i]), *as = xstrf("%s%s", path, tails[i]);
		int r = link(file, as);

		(void)r; /* as above; and mostly there is no journal */
		free(file);
		free(as);
	}
	free(name);
	if (sqlite3_open_v2(path, &conn, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
		(void)sqlite3_close(conn); /* nothing is open */
		conn = NULL;
	}
	free(damaged);
	free(path);
	return conn;
}

/* Rows of `from` as they are, until the end or a page that cannot be read: false. A code of the fresh database is in
 * *ret. */
static bool copy(struct salvage *g, sqlite3 *to, const char *select, const char *insert, uint64_t *count, int *ret)
{
	sqlite3_stmt *in = NULL, *out = NULL;
	int rc = sqlite3_prepare_v2(g->from, select, -1, &in, NULL);

	*ret = db_code(sqlite3_prepare_v2(to, insert, -1, &out, NULL));
	while (rc == SQLITE_OK && *ret == 0 && (rc = sqlite3_step(in)) == SQLITE_ROW) {
		for (int i = 0; i < sqlite3_column_count(in); i++)
			(void)sqlite3_bind_value(out, i + 1, sqlite3_column_value(in, i)); /* as many as there are */
		rc = sqlite3_step(out);
		(void)sqlite3_reset(out); /* repeats the failure of the step */
		if (rc != SQLITE_DONE && (rc & 0xff) != SQLITE_CONSTRAINT) /* a row that is no row: left out */
			*ret = db_code(rc);
		*count += rc == SQLITE_DONE && sqlite3_changes(to) > 0;
		rc = SQLITE_OK;
	}
	(void)sqlite3_finalize(in); /* as above */
	(void)sqlite3_finalize(out);
	return rc == SQLITE_DONE;
}

static int salvage_job(sqlite3 *conn, void *arg)
{
	static const char sessions[] = "INSERT OR IGNORE INTO sessions(" LEDGER_COLUMNS_1
				       ") VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)";
	static const char totals[] = "INSERT OR IGNORE INTO totals(session, key, record, dirty) VALUES(?1,?2,?3,?4)";
	struct salvage *g = arg;
	uint64_t some = 0;
	int r;

	if (!copy(g, conn, "SELECT " LEDGER_COLUMNS_1 " FROM sessions ORDER BY number", sessions, &g->sessions, &r) &&
	    r == 0)
		(void)copy(g, conn, "SELECT " LEDGER_COLUMNS_1 " FROM sessions ORDER BY number DESC", sessions,
			   &g->sessions, &r); /* up to the same page from behind */
	if (r == 0)
		(void)copy(g, conn, "SELECT session, key, record, dirty FROM totals", totals, &some, &r); /* or some */
	return r;
}

int ledger_salvage(struct sessions *ss, uint64_t *ret_sessions)
{
	struct salvage g = { .sessions = 0 };
	char *folder = xstrf("%s/salvage", ss->dir);
	int r = 0;

	g.from = open_damaged(ss->dir, folder);
	if (g.from)
		r = db_do(ss->db, salvage_job, &g);
	(void)sqlite3_close(g.from); /* nothing is left open */
	(void)tree_remove(folder);   /* second names only */
	*ret_sessions = g.sessions;
	free(folder);
	return r;
}

/* --- from the outbox -------------------------------------------------------------------------------------------- */

struct remaking {
	struct sessions *ss;
	ledger_take_fn *fn;
};

static struct session *make(const struct outbox_entry *e, struct slice id, uint64_t number, const json_t *creation)
{
	const char *product = json_string_value(json_object_get(creation, "product")),
		   *version = json_string_value(json_object_get(creation, "version"));
	struct session *s = xcalloc(1, sizeof(*s));

	list_init(&s->node);
	s->number = (int64_t)number;
	s->row_changes = 1; /* it has none */
	(void)snprintf(s->local_id, sizeof(s->local_id), "%.*s", (int)id.n, id.p);
	s->product = xstrdup(product ? product : "");
	s->version = xstrdup(version ? version : "");
	s->created_ms = s->updated_ms = s->beat_wall_ms = e->queued_wall_ms;
	s->known = json_pack("{s:s, s:s}", "product", s->product, "version", s->version);
	s->watch = "no";
	return s;
}

static bool is_known(struct sessions *ss, struct slice id)
{
	struct session *s = NULL;
	bool is = ledger_find(ss, id, &s) != -ENOENT; /* where that cannot be asked, nothing is made */

	if (s)
		session_free(s);
	return is;
}

static bool remake(void *arg, const struct outbox_entry *e)
{
	struct remaking *m = arg;
	struct slice id = slice_from(buf_slice(&e->key), 2);
	const char *dash = memrchr(id.p, '-', id.n);
	uint64_t number = 0;
	json_t *v = NULL;

	if (op_of_uri(buf_slice(&e->uri)) != OP_CREATE || outbox_state_is_settled(e->state) || !dash ||
	    id.n >= SESSION_ID_ROOM || is_known(m->ss, id) || op_read(m->ss, e, &v) < 0)
		return true;
	if (str_parse_u64(slice_from(id, (size_t)(dash - id.p) + 1), &number) == 0 && number < INT64_MAX) {
		m->ss->salvaged++;
		if ((int64_t)number > m->ss->last_number)
			m->ss->last_number = (int64_t)number;
		m->fn(m->ss, make(e, id, number, v));
	}
	json_decref(v);
	return true;
}

void ledger_remake(struct sessions *ss, ledger_take_fn *fn)
{
	struct remaking m = { ss, fn };

	(void)outbox_list(ss->outbox, outbox_queue_name(ss->queue), -1, 0, SIZE_MAX, remake,
			  &m); /* as far as it goes */
}
