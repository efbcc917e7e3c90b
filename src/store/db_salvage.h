/* db_salvage.h -- reading what is left of a database that db_open() has set aside as damaged.
 *
 * SQLite finds pages corrupt, not values: a row that is read may still say what nobody wrote. Blocks; one thread. */
#ifndef WEIR_STORE_DB_SALVAGE_H
#define WEIR_STORE_DB_SALVAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sqlite3.h>

struct db_salvage;

/* The one that was set aside last in the place of `path`, with its journal. Nothing of it is changed: it is read under
 * second names, which begin with `path` too and go with close. 0; -ENOENT: there is none; WEIR_E_DAMAGED: nothing of it
 * can be read; -errno. */
int db_salvage_open(const char *path, struct db_salvage **ret);
void db_salvage_close(struct db_salvage *s); /* NULL is fine */

/* Binds the columns of each row that can be read to the parameters of `insert`, in order, and runs that on `to`; a row
 * that breaks a constraint there is left out. `columns` begins with an integer by which the table is in order, without
 * NULLs and above 0. Adds to *count what was inserted. 0; WEIR_E_DAMAGED: there is no such table, or not these columns;
 * a code of `to`. */
int db_salvage_rows(struct db_salvage *s, sqlite3 *to, const char *columns, const char *table, const char *insert,
		    int64_t *count);
/* Whether something could not be read so far. */
bool db_salvage_is_partial(const struct db_salvage *s);

#endif
