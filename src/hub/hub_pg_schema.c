/* hub_pg_schema.c -- the tables of the hub in PostgreSQL, and how older ones become today's.
 *
 *   weir_schema     one row: the version
 *   weir_sessions   one row each, small, rewritten by every write to it
 *   weir_states     the state of a session now, which only updates of the state rewrite
 *   weir_events, weir_metrics, weir_history   one row an item, under the number (session << 32 | place)
 *   weir_doomed     sessions that were taken away and whose items are still to be deleted
 *   weir_writers    one row for each hub that runs: how many commits it made, and which connection of its may make
 *                   further ones (see hub_pg_writer.c, rule 3)
 *
 * WHY      The tables are those of hub_sqlite.c, so that one description serves both. Bodies are text, not jsonb: they
 *          are kept as they are sent back. COLLATE "C" compares bytes, as SQLite does.
 *          No index names what a write changes (times, counts, heartbeats; but flags, which change two or three
 *          times in a session's life), and pages have some room: an update stays in its page and touches no index.
 *          That is why a list by updated_ms is sorted, which takes a look at all sessions.
 *          Names may have 4,096 bytes, more than an index row takes: indexes have their first 300 characters, and
 *          the database compares the rest.
 * RULES    1. One transaction under a lock of the whole database: two hubs that start at once do it once.
 *          2. A newer schema is left alone. */
#include "hub/hub_store.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/obj.h"
#include "hub/hub_pg_priv.h"

#define BYTES "text COLLATE \"C\" NOT NULL"
#define BY_CREATION "created_ms, number"
#define INDEX(name, columns, where) "CREATE INDEX weir_sessions_" name " ON weir_sessions (" columns ")" where ";"

#define SCHEMA_1                                                                                                        \
	"CREATE SEQUENCE weir_session_numbers MAXVALUE 2147483647;"                                                     \
	"CREATE TABLE weir_sessions (number bigint PRIMARY KEY, id " BYTES " UNIQUE, key text COLLATE \"C\" UNIQUE,"    \
	" product " BYTES ", version " BYTES ", machine_id " BYTES ", hostname " BYTES ", created_ms bigint NOT NULL,"  \
	" updated_ms bigint NOT NULL, ended_ms bigint NOT NULL, heartbeat_ms bigint NOT NULL, beat_ms bigint NOT NULL," \
	" flags bigint NOT NULL, applied_seq bigint NOT NULL, events bigint NOT NULL, metrics bigint NOT NULL,"         \
	" history bigint NOT NULL, extra text NOT NULL) WITH (fillfactor = 80);"                                        \
	INDEX("created", BY_CREATION, "")                                                                               \
	INDEX("product", HUB_PG_SHORT("product") ", " BY_CREATION, "")                                                  \
	INDEX("version", HUB_PG_SHORT("product") ", " HUB_PG_SHORT("version") ", " BY_CREATION, "")                     \
	INDEX("machine", HUB_PG_SHORT("machine_id") ", " BY_CREATION, "")                                               \
	INDEX("hostname", HUB_PG_SHORT("hostname") ", " BY_CREATION, "")                                                \
	INDEX("open", BY_CREATION, " WHERE flags & 3 = 0")                                                              \
	INDEX("ended", BY_CREATION, " WHERE flags & 3 = 1")                                                             \
	INDEX("crashed", BY_CREATION, " WHERE flags & 2 <> 0")                                                          \
	INDEX("hung", BY_CREATION, " WHERE flags & 8 <> 0")                                                             \
	INDEX("machine_open", HUB_PG_SHORT("machine_id") ", number", " WHERE flags & 3 = 0")                            \
	"CREATE TABLE weir_states (number bigint PRIMARY KEY, body text NOT NULL) WITH (fillfactor = 80);"              \
	"CREATE TABLE weir_events (at bigint PRIMARY KEY, body text NOT NULL);"                                         \
	"CREATE TABLE weir_metrics (at bigint PRIMARY KEY, body text NOT NULL);"                                        \
	"CREATE TABLE weir_history (at bigint PRIMARY KEY, body text NOT NULL);"                                        \
	"CREATE TABLE weir_doomed (number bigint PRIMARY KEY);"                                                         \
	"CREATE TABLE weir_writers (id bigint PRIMARY KEY, commits bigint NOT NULL, seen timestamptz NOT NULL);"

/* Which of a hub's connections may still commit. */
#define SCHEMA_2 "ALTER TABLE weir_writers ADD COLUMN token bigint NOT NULL DEFAULT 0;"

/* From each version to the next; from 0: there is nothing yet. */
static const char *const steps[HUB_PG_SCHEMA_VERSION] = { SCHEMA_1, SCHEMA_2 };

#define LOCK_NUMBER "8459000681270640741" /* of advisory locks: any number that others will not think of */

/* 0: there is no schema. */
static int ask_version(struct hub_pg_conn *c, long *ret)
{
	PGresult *res = NULL;
	int r = hub_pg_run(c, "SELECT to_regclass('weir_schema') IS NOT NULL", &res);
	bool is_there = r == 0 && PQntuples(res) == 1 && strcmp(PQgetvalue(res, 0, 0), "t") == 0;

	PQclear(res);
	res = NULL;
	*ret = 0;
	if (!is_there)
		return r;
	r = hub_pg_run(c, "SELECT version FROM weir_schema", &res);
	if (r == 0 && PQntuples(res) == 1)
		*ret = strtol(PQgetvalue(res, 0, 0), NULL, 10);
	PQclear(res);
	return r;
}

static int set_version(struct hub_pg_conn *c, long version)
{
	char text[160];

	(void)snprintf(text, sizeof(text),
		       version == 1 ? "CREATE TABLE weir_schema (version integer NOT NULL);"
				      "INSERT INTO weir_schema VALUES (%ld)"
				    : "UPDATE weir_schema SET version = %ld",
		       version);
	return hub_pg_run(c, text, NULL);
}

/* What only a person can put right. */
static int check_encoding(struct hub_pg_conn *c)
{
	const char *encoding = PQparameterStatus(c->pg, "server_encoding");

	if (encoding && strcmp(encoding, "UTF8") == 0)
		return 0;
	buf_reset(&c->said);
	buf_addf(&c->said, "the database has the encoding %s: make one with CREATE DATABASE ... ENCODING 'UTF8'",
		 encoding ? encoding : "of an old server");
	return WEIR_E_PROTOCOL;
}

int hub_pg_schema(struct hub_pg_conn *c)
{
	long version = 0;
	int r = check_encoding(c);

	if (r == 0)
		r = hub_pg_run(c, "BEGIN; SELECT pg_advisory_xact_lock(" LOCK_NUMBER ")", NULL);
	if (r == 0)
		r = ask_version(c, &version);
	if (r == 0 && version > HUB_PG_SCHEMA_VERSION) {
		buf_reset(&c->said);
		buf_addf(&c->said, "the database was written by a newer weir (schema %ld, this one knows %d);"
				   " use that one, or another database",
			 version, HUB_PG_SCHEMA_VERSION);
		return -EPROTO;
	}
	for (; r == 0 && version < HUB_PG_SCHEMA_VERSION; version++) {
		r = hub_pg_run(c, steps[version], NULL);
		if (r == 0)
			r = set_version(c, version + 1);
	}
	return r == 0 ? hub_pg_run(c, "COMMIT", NULL) : r; /* else the connection is closed, and nothing stands */
}
