/* db_salvage.c -- reading what is left of a database that db_open() has set aside as damaged.
 *
 * WHAT     A table is walked from its first row on; where SQLite finds a page corrupt, from its last row back; and
 *          between the two by trying keys ahead, at doubling distances.
 * WHY      A damaged page in a million is a few rows, but a plain dump ends at the first one.
 * LIMITS   Rows that a step ahead has passed over are lost with those of the page. MOST_FAILURES, then the rest is.
 * SEE      outbox_salvage.c, which knows more of its own rows */
#include "store/db_salvage.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"
#include "store/db.h"

#define JOURNAL_TAIL  "-wal"
#define MOST_FAILURES 4096

struct db_salvage {
	char *folder; /* of second names */
	sqlite3 *from;
	unsigned failures;
};

/* --- finding it ------------------------------------------------------------------------------------------------- */

static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slice_dup((struct slice){ path, (size_t)(slash - path) }) : xstrdup(".");
}

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* "hub.db.1234567890123-0badcafe", the one with the last time; NULL: none. The caller frees. */
static char *find_last(const char *damaged, const char *name)
{
	char *head = xstrf("%s.", name), *found = NULL;
	DIR *d = opendir(damaged);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		struct slice s = slice_str(e->d_name);

		if (!slice_starts(s, head) || slice_ends(s, JOURNAL_TAIL) || (found && strcmp(e->d_name, found) <= 0))
			continue;
		free(found);
		found = xstrdup(e->d_name);
	}
	if (d)
		(void)closedir(d); /* it was only read */
	free(head);
	return found;
}

static int link_as(const char *folder, const char *name, const char *to_folder, const char *as, const char *tail)
{
	char *from = xstrf("%s/%s%s", folder, name, tail), *to = xstrf("%s/%s%s", to_folder, as, tail);
	int r = link(from, to) < 0 ? -errno : 0;

	free(from);
	free(to);
	return r;
}

static int lay_out(const char *damaged, const char *name, const char *folder, const char *as)
{
	int r = tree_remove(folder); /* of a start that was stopped */

	if (r == 0)
		r = dir_make_all(folder, 0700);
	if (r == 0)
		r = link_as(damaged, name, folder, as, "");
	if (r == 0) {
		r = link_as(damaged, name, folder, as, JOURNAL_TAIL);
		r = r == -ENOENT ? 0 : r; /* it had none */
	}
	return r;
}

int db_salvage_open(const char *path, struct db_salvage **ret)
{
	struct db_salvage *s = xcalloc(1, sizeof(*s));
	char *dir = folder_of(path), *damaged = xstrf("%s/damaged", dir), *name = find_last(damaged, name_of(path));
	char *second = xstrf("%s.salvage/%s", path, name_of(path));
	int r = name ? 0 : -ENOENT;

	s->folder = xstrf("%s.salvage", path);
	if (r == 0)
		r = lay_out(damaged, name, s->folder, name_of(path));
	if (r == 0 &&
	    (sqlite3_open_v2(second, &s->from, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
	     sqlite3_exec(s->from, "SELECT 1 FROM sqlite_schema", NULL, NULL, NULL) != SQLITE_OK))
		r = WEIR_E_DAMAGED;
	if (r == 0)
		*ret = s;
	else
		db_salvage_close(s);
	free(dir);
	free(damaged);
	free(name);
	free(second);
	return r;
}

void db_salvage_close(struct db_salvage *s)
{
	if (!s)
		return;
	(void)sqlite3_close(s->from); /* nothing is left open */
	(void)tree_remove(s->folder); /* second names only; the next one removes them otherwise */
	free(s->folder);
	free(s);
}

bool db_salvage_is_partial(const struct db_salvage *s)
{
	return s->failures > 0;
}

/* --- walking a table -------------------------------------------------------------------------------------------- */

static int take(sqlite3 *to, sqlite3_stmt *row, sqlite3_stmt *insert, int64_t *count)
{
	int rc;

	for (int i = 0; i < sqlite3_column_count(row); i++)
		(void)sqlite3_bind_value(insert, i + 1, sqlite3_column_value(row, i)); /* the step would tell */
	rc = sqlite3_step(insert);
	(void)sqlite3_reset(insert); /* repeats the failure of the step */
	*count += rc == SQLITE_DONE && sqlite3_changes(to) > 0;
	return (rc & 0xff) == SQLITE_CONSTRAINT ? 0 : db_code(rc);
}

/* Rows with low < key < high in the order of the statement, until the end or a failure; *ret_at is the last that was
 * read. 0: to the end; WEIR_E_DAMAGED: not; another code: of `to`. */
static int walk(struct db_salvage *s, sqlite3 *to, sqlite3_stmt *rows, sqlite3_stmt *insert, int64_t low, int64_t high,
		int64_t *ret_at, int64_t *count)
{
	int rc = SQLITE_DONE, r = 0;

	(void)sqlite3_bind_int64(rows, 1, low); /* neither can fail */
	(void)sqlite3_bind_int64(rows, 2, high);
	while (r == 0 && (rc = sqlite3_step(rows)) == SQLITE_ROW) {
		*ret_at = sqlite3_column_int64(rows, 0);
		r = take(to, rows, insert, count);
	}
	(void)sqlite3_reset(rows); /* repeats the failure of the step */
	if (r < 0 || rc == SQLITE_DONE)
		return r;
	s->failures++;
	return WEIR_E_DAMAGED;
}

/* From both ends, then what can be reached between them. 0 or a code of `to`. */
static int walk_all(struct db_salvage *s, sqlite3 *to, sqlite3_stmt *forward, sqlite3_stmt *backward,
		    sqlite3_stmt *insert, int64_t *count)
{
	int64_t low = 0, high = INT64_MAX, ahead = 1;
	int r = walk(s, to, forward, insert, low, high, &low, count);

	if (r == WEIR_E_DAMAGED)
		r = walk(s, to, backward, insert, low, high, &high, count);
	while (r == WEIR_E_DAMAGED && s->failures < MOST_FAILURES && ahead < high - low) {
		int64_t tried = low + ahead;

		low = tried;
		r = walk(s, to, forward, insert, low, high, &low, count);
		ahead = low > tried ? 1 : ahead * 2; /* it got on: small steps again */
	}
	return r == WEIR_E_DAMAGED ? 0 : r;
}

int db_salvage_rows(struct db_salvage *s, sqlite3 *to, const char *columns, const char *table, const char *insert,
		    int64_t *count)
{
	size_t n = strcspn(columns, ",");
	char *up = xstrf("SELECT %s FROM %s WHERE %.*s > ?1 AND %.*s < ?2 ORDER BY %.*s", columns, table, (int)n,
			 columns, (int)n, columns, (int)n, columns);
	char *down = xstrf("%s DESC", up);
	sqlite3_stmt *forward = NULL, *backward = NULL, *into = NULL;
	int r = db_code(sqlite3_prepare_v2(to, insert, -1, &into, NULL));

	if (r == 0 && (sqlite3_prepare_v2(s->from, up, -1, &forward, NULL) != SQLITE_OK ||
		       sqlite3_prepare_v2(s->from, down, -1, &backward, NULL) != SQLITE_OK))
		r = WEIR_E_DAMAGED;
	if (r == 0)
		r = walk_all(s, to, forward, backward, into, count);
	(void)sqlite3_finalize(forward); /* none is under way */
	(void)sqlite3_finalize(backward);
	(void)sqlite3_finalize(into);
	free(up);
	free(down);
	return r;
}
