/* hub_insert.c -- the inserts of the hub as a bare loop on SQLite: what its ingest is compared with.
 *
 *   hub_insert DIR SECONDS EVENTS SESSIONS TOGETHER
 *
 * Prints events a second. One thread, the hub's tables and settings (WAL, synchronous=FULL), statements prepared once.
 * A transaction holds TOGETHER sessions' turns, each EVENTS events and one update of the session's row, sessions in
 * turn. */
#include <sqlite3.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "hub/hub_session.h"
#include "io/file.h"

static const char body[] =
	"{\"timestamp\":\"2026-01-02T03:04:05.678901Z\",\"name\":\"level_loaded\",\"category\":\"info\",\"group\":\"\","
	"\"labels\":[\"game\",\"load\"],\"message\":\"the level was loaded\",\"data\":{\"level\":17,\"took_ms\":231.5,"
	"\"assets\":[\"a\",\"b\"]}}";

static void check(sqlite3 *conn, int rc)
{
	if (rc == SQLITE_OK || rc == SQLITE_DONE)
		return;
	(void)fprintf(stderr, "hub_insert: %s\n", sqlite3_errmsg(conn));
	exit(1);
}

static void run(sqlite3 *conn, const char *text)
{
	check(conn, sqlite3_exec(conn, text, NULL, NULL, NULL));
}

static sqlite3_stmt *prepare(sqlite3 *conn, const char *text)
{
	sqlite3_stmt *st = NULL;

	check(conn, sqlite3_prepare_v2(conn, text, -1, &st, NULL));
	return st;
}

static void step(sqlite3 *conn, sqlite3_stmt *st)
{
	check(conn, sqlite3_step(st));
	check(conn, sqlite3_reset(st));
}

/* The hub makes the file, so that the tables are its own; it is closed again. */
static void make_tables(const char *path)
{
	struct hub_store *st = NULL;
	struct buf err = BUF_EMPTY;
	bool damaged;

	if (hub_sqlite_open(path, &st, &damaged, &err) < 0) {
		(void)fprintf(stderr, "hub_insert: %s\n", err.data);
		exit(1);
	}
	st->t->close(st);
	buf_fini(&err);
}

static void add_sessions(sqlite3 *conn, int64_t sessions)
{
	sqlite3_stmt *st = prepare(
		conn,
		"INSERT INTO sessions (id, product, version, machine_id, hostname, created_ms, updated_ms, ended_ms,"
		" heartbeat_ms, beat_ms, flags, applied_seq, events, metrics, history)"
		" VALUES (?1, 'p', '1', 'm', 'h', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0)");

	run(conn, "BEGIN");
	for (int64_t n = 1; n <= sessions; n++) {
		char id[64];

		(void)snprintf(id, sizeof(id), "00000000-0000-4000-8000-%012lld", (long long)n);
		(void)sqlite3_bind_text(st, 1, id, -1, SQLITE_TRANSIENT);
		step(conn, st);
	}
	run(conn, "COMMIT");
	(void)sqlite3_finalize(st);
}

static double measure(sqlite3 *conn, int64_t seconds, int64_t events, int64_t sessions, int64_t together)
{
	sqlite3_stmt *insert = prepare(conn, "INSERT INTO events VALUES (?1, ?2)");
	sqlite3_stmt *update = prepare(
		conn, "UPDATE sessions SET updated_ms = ?2, ended_ms = 0, heartbeat_ms = 0, beat_ms = 0, flags = 0,"
		      " applied_seq = ?3, events = ?3, metrics = 0, history = 0 WHERE number = ?1");
	int64_t began = clock_mono_us(), turn = 0, done = 0;

	while (clock_mono_us() - began < seconds * 1000000) {
		run(conn, "BEGIN IMMEDIATE");
		for (int64_t t = 0; t < together; t++, turn++) {
			int64_t number = turn % sessions + 1, first = turn / sessions * events;

			for (int64_t i = 0; i < events; i++) {
				(void)sqlite3_bind_int64(insert, 1, number << 32 | (first + i));
				(void)sqlite3_bind_text(insert, 2, body, sizeof(body) - 1, SQLITE_STATIC);
				step(conn, insert);
			}
			(void)sqlite3_bind_int64(update, 1, number);
			(void)sqlite3_bind_int64(update, 2, clock_wall_ms());
			(void)sqlite3_bind_int64(update, 3, first + events);
			step(conn, update);
			done += events;
		}
		run(conn, "COMMIT");
	}
	(void)sqlite3_finalize(insert);
	(void)sqlite3_finalize(update);
	return (double)done * 1e6 / (double)(clock_mono_us() - began);
}

int main(int argc, char **argv)
{
	uint64_t v[4];
	sqlite3 *conn = NULL;
	char *path;

	for (int i = 0; i < 4; i++) {
		if (argc == 6 && str_parse_u64(slice_str(argv[2 + i]), &v[i]) == 0 && v[i] > 0)
			continue;
		(void)fprintf(stderr, "usage: hub_insert DIR SECONDS EVENTS SESSIONS TOGETHER\n");
		return 2;
	}
	if (dir_make_all(argv[1], 0700) < 0)
		return 1;
	path = xstrf("%s/hub.db", argv[1]);
	make_tables(path);
	check(conn, sqlite3_open(path, &conn));
	run(conn,
	    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=16384; PRAGMA cache_size=-32768");
	add_sessions(conn, (int64_t)v[2]);
	printf("%.0f\n", measure(conn, (int64_t)v[0], (int64_t)v[1], (int64_t)v[2], (int64_t)v[3]));
	(void)sqlite3_close(conn);
	free(path);
	return 0;
}
