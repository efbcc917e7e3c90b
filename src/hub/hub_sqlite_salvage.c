/* hub_sqlite_salvage.c -- what can be saved of a hub's file that SQLite calls corrupt.
 *
 * WHAT     db_open() has moved it to damaged/ and made a fresh one. Sessions that can be read go into that, then their
 *          items; a session whose state cannot be read gets the one that it began with.
 * RULES    1. Nothing is taken over that a reader would choke on: items are JSON, and belong to a session.
 *          2. All of it is one transaction: there is what was saved, or the fresh file as it was.
 * LIMITS   Once, at the start that finds the damage. What was set aside stays where it is, so that more can be tried by
 *          hand (docs/operations.md).
 * SEE      store/db_salvage.h */
#include <errno.h>

#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "hub/hub_sqlite_priv.h"
#include "store/db_salvage.h"

/* Of the sessions: before extra there was none. */
#define COLUMNS_1                                                                                                   \
	"number, id, key, product, version, machine_id, hostname, created_ms, updated_ms, ended_ms, heartbeat_ms, " \
	"beat_ms, flags, applied_seq, events, metrics, history"
#define INSERT_1                                                                                                     \
	"INSERT INTO sessions (" COLUMNS_1 ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, " \
	"?15, ?16, ?17)"
#define COLUMNS_3 COLUMNS_1 ", extra"
#define INSERT_3                                                                                                    \
	"INSERT INTO sessions (" COLUMNS_3 ") SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, " \
	"?15, ?16, ?17, ?18 WHERE ?18 = '' OR json_valid(?18)"
#define STATES \
	"INSERT INTO states SELECT ?1, ?2 WHERE json_valid(?2) AND EXISTS (SELECT 1 FROM sessions WHERE number = ?1)"
#define FIRST_STATES \
	"INSERT OR IGNORE INTO states SELECT number, json_object('product', product, 'version', version) FROM sessions"

static const char *const inserts[HUB_LIST_COUNT] = {
#define INTO(list)                                                \
	"INSERT INTO " list " SELECT ?1, ?2 WHERE json_valid(?2)" \
	" AND EXISTS (SELECT 1 FROM sessions WHERE number = ?1 >> 32)"
	INTO("events"),
	INTO("metrics"),
	INTO("history"),
};

struct saving {
	struct db_salvage *from;
	int64_t sessions, states, items;
};

static int save(sqlite3 *conn, void *arg)
{
	struct saving *s = arg;
	int r = db_salvage_rows(s->from, conn, COLUMNS_3, "sessions", INSERT_3, &s->sessions);

	if (r == WEIR_E_DAMAGED) /* an older file */
		r = db_salvage_rows(s->from, conn, COLUMNS_1, "sessions", INSERT_1, &s->sessions);
	if (r == 0)
		r = db_salvage_rows(s->from, conn, "number, body", "states", STATES, &s->states);
	for (int i = 0; i < HUB_LIST_COUNT && (r == 0 || r == WEIR_E_DAMAGED); i++)
		r = db_salvage_rows(s->from, conn, "at, body", hub_item_tables[i], inserts[i], &s->items);
	if (r == 0 || r == WEIR_E_DAMAGED) /* a table less */
		r = db_code(sqlite3_exec(conn, FIRST_STATES, NULL, NULL, NULL));
	return r;
}

void hub_sqlite_salvage(struct db *db, const char *path)
{
	struct saving s = { .sessions = 0 };
	int r = db_salvage_open(path, &s.from);

	if (r == 0)
		r = db_do(db, save, &s);
	if (r == 0)
		log_event(LOG_WARN, "hub_database_salvaged", LOG_STR("database", path), LOG_INT("sessions", s.sessions),
			  LOG_INT("items", s.items),
			  LOG_STR("rest", db_salvage_is_partial(s.from) ? "could not be read" : "nothing was missing"),
			  LOG_END);
	else
		log_event(LOG_ERROR, "hub_salvage_failed", LOG_STR("database", path), LOG_ERR("error", r),
			  LOG_STR("next", "it begins empty; see operations.md for what sqlite3 can do"), LOG_END);
	db_salvage_close(s.from);
}
