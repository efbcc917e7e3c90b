/* hub_pg_copy.c -- the hub's events by a bare loop of COPY into PostgreSQL: what its ingest there is compared with.
 *
 *   hub_pg_copy URL SECONDS EVENTS SESSIONS TOGETHER
 *
 * Prints events a second. One connection, the hub's tables, COPY in binary form, and nothing but these rows: no session
 * is looked at or written. A transaction, which is one COPY, holds TOGETHER sessions' turns of EVENTS events each,
 * sessions in turn. Sessions that are there keep their numbers to themselves: the loop's begin above them. */
#include <endian.h>
#include <libpq-fe.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "hub/hub_store.h"

static const char body[] =
	"{\"timestamp\":\"2026-01-02T03:04:05.678901Z\",\"name\":\"level_loaded\",\"category\":\"info\",\"group\":\"\","
	"\"labels\":[\"game\",\"load\"],\"message\":\"the level was loaded\",\"data\":{\"level\":17,\"took_ms\":231.5,"
	"\"assets\":[\"a\",\"b\"]}}";

static void check(PGconn *pg, bool good)
{
	if (good)
		return;
	(void)fprintf(stderr, "hub_pg_copy: %s\n", PQerrorMessage(pg));
	exit(1);
}

/* The hub makes the tables, so that they are its own. */
static void make_tables(const char *url)
{
	struct hub_store *st = NULL;
	struct buf err = BUF_EMPTY;

	if (hub_pg_open(url, 10000, NULL, &st, &err) < 0) {
		(void)fprintf(stderr, "hub_pg_copy: %s\n", err.data);
		exit(1);
	}
	st->t->close(st);
	buf_fini(&err);
}

static void add_row(struct buf *b, int64_t at)
{
	const struct __attribute__((packed)) {
		uint16_t fields;
		uint32_t at_bytes;
		uint64_t at;
		uint32_t body_bytes;
	} head = { htobe16(2), htobe32(8), htobe64((uint64_t)at), htobe32(sizeof(body) - 1) };

	buf_add(b, &head, sizeof(head));
	buf_add(b, body, sizeof(body) - 1);
}

static void copy(PGconn *pg, const struct buf *rows)
{
	PGresult *res = PQexec(pg, "COPY weir_events FROM STDIN (FORMAT binary)");

	check(pg, PQresultStatus(res) == PGRES_COPY_IN);
	PQclear(res);
	check(pg, PQputCopyData(pg, rows->data, (int)rows->len) == 1 && PQputCopyEnd(pg, NULL) == 1);
	while ((res = PQgetResult(pg))) {
		check(pg, PQresultStatus(res) == PGRES_COMMAND_OK);
		PQclear(res);
	}
}

static double measure(PGconn *pg, int64_t seconds, int64_t events, int64_t sessions, int64_t together)
{
	int64_t base = clock_wall_ms() % (1 << 28), began = clock_mono_us(), turn = 0, done = 0;
	struct buf rows = BUF_EMPTY;

	while (clock_mono_us() - began < seconds * 1000000) {
		buf_reset(&rows);
		buf_add(&rows, "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
		for (int64_t t = 0; t < together; t++, turn++)
			for (int64_t i = 0; i < events; i++)
				add_row(&rows, (base + turn % sessions) << 32 | (turn / sessions * events + i));
		buf_add(&rows, "\377\377", 2);
		copy(pg, &rows);
		done += together * events;
	}
	buf_fini(&rows);
	return (double)done * 1e6 / (double)(clock_mono_us() - began);
}

int main(int argc, char **argv)
{
	uint64_t v[4];
	PGconn *pg;

	for (int i = 0; i < 4; i++) {
		if (argc == 6 && str_parse_u64(slice_str(argv[2 + i]), &v[i]) == 0 && v[i] > 0)
			continue;
		(void)fprintf(stderr, "usage: hub_pg_copy URL SECONDS EVENTS SESSIONS TOGETHER\n");
		return 2;
	}
	make_tables(argv[1]);
	pg = PQconnectdb(argv[1]);
	check(pg, PQstatus(pg) == CONNECTION_OK);
	printf("%.0f\n", measure(pg, (int64_t)v[0], (int64_t)v[1], (int64_t)v[2], (int64_t)v[3]));
	PQfinish(pg);
	return 0;
}
