/* cache_reader.c -- rows of the cache's database, read back and checked.
 *
 * A reader is a connection of its own with its statements; some are kept for the next load. One thread at a time. */
#include "mirror/cache_priv.h"

#include <stdlib.h>

#include "base/err.h"
#include "store/wholefile.h"

struct reader {
	sqlite3 *conn;
	sqlite3_stmt *row, *body;
};

static void put_le(unsigned char **at, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		*(*at)++ = (unsigned char)(v >> (8 * i));
}

uint32_t row_crc(const struct row *row)
{
	unsigned char numbers[10 * 8], *at = numbers;
	uint32_t crc;

	put_le(&at, row->id);
	put_le(&at, row->is_file);
	put_le(&at, row->body_bytes);
	put_le(&at, row->body_crc);
	put_le(&at, row->key.n);
	put_le(&at, row->vary.n);
	put_le(&at, (uint64_t)row->status);
	put_le(&at, row->guarded);
	put_le(&at, (uint64_t)row->request_ms);
	put_le(&at, (uint64_t)row->response_ms);
	crc = crc32c(0, numbers, sizeof(numbers));
	crc = crc32c(crc, row->key.p, row->key.n);
	crc = crc32c(crc, row->vary.p, row->vary.n);
	return crc32c(crc, row->head.p, row->head.n);
}

static struct slice column(sqlite3_stmt *st, int i)
{
	const char *p = sqlite3_column_blob(st, i); /* before its length: SQLite's order */

	return (struct slice){ p, (size_t)sqlite3_column_bytes(st, i) };
}

/* --- all of them, at opening ------------------------------------------------------------------------------------ */

int rows_scan(struct cache *c, rows_fn *fn, void *arg)
{
	static const char text[] =
		"SELECT id, used_at, is_file, body_bytes, key, vary, length(head) FROM response ORDER BY id";
	sqlite3_stmt *st = NULL;
	sqlite3 *conn = NULL;
	int rc, r = db_reader(c->db, &conn);

	if (r < 0)
		return r;
	rc = sqlite3_prepare_v2(conn, text, -1, &st, NULL);
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(st);
		if (rc == SQLITE_ROW)
			fn(arg, &(struct row){ .id = (uint64_t)sqlite3_column_int64(st, 0),
					       .used_ms = sqlite3_column_int64(st, 1),
					       .is_file = sqlite3_column_int(st, 2) != 0,
					       .body_bytes = (uint64_t)sqlite3_column_int64(st, 3),
					       .key = column(st, 4),
					       .vary = column(st, 5),
					       .head_bytes = (uint64_t)sqlite3_column_int64(st, 6) });
	}
	(void)sqlite3_finalize(st); /* repeats the failure of the step */
	(void)sqlite3_close(conn);
	return db_code(rc);
}

/* --- one -------------------------------------------------------------------------------------------------------- */

static void reader_free(struct reader *r)
{
	(void)sqlite3_finalize(r->row);
	(void)sqlite3_finalize(r->body);
	(void)sqlite3_close(r->conn);
	free(r);
}

int reader_get(struct cache *c, struct reader **ret)
{
	struct reader *rd = NULL;
	int r;

	pthread_mutex_lock(&c->load_lock);
	if (c->reader_count)
		rd = c->readers[--c->reader_count];
	pthread_mutex_unlock(&c->load_lock);
	if (rd) {
		*ret = rd;
		return 0;
	}
	rd = xcalloc(1, sizeof(*rd));
	r = db_reader(c->db, &rd->conn);
	if (r == 0)
		r = db_code(sqlite3_prepare_v2(
			rd->conn,
			"SELECT status, guarded, request_at, response_at, is_file, body_bytes, body_crc,"
			" row_crc, key, vary, head FROM response WHERE id=?1",
			-1, &rd->row, NULL));
	if (r == 0)
		r = db_code(sqlite3_prepare_v2(rd->conn, "SELECT bytes FROM body WHERE id=?1", -1, &rd->body, NULL));
	if (r < 0)
		reader_free(rd);
	else
		*ret = rd;
	return r;
}

/* A statement that stands on a row keeps the journal from being taken in: both are reset. */
static void reader_reset(struct reader *rd)
{
	(void)sqlite3_reset(rd->row);
	(void)sqlite3_reset(rd->body);
}

void reader_put(struct cache *c, struct reader *rd)
{
	if (!rd)
		return;
	reader_reset(rd);
	pthread_mutex_lock(&c->load_lock);
	if (c->reader_count < CACHE_IDLE_READERS) {
		c->readers[c->reader_count++] = rd;
		rd = NULL;
	}
	pthread_mutex_unlock(&c->load_lock);
	if (rd)
		reader_free(rd);
}

void readers_close(struct cache *c)
{
	while (c->reader_count)
		reader_free(c->readers[--c->reader_count]);
}

static int ask(sqlite3_stmt *st, uint64_t id)
{
	int rc;

	(void)sqlite3_reset(st);
	sqlite3_bind_int64(st, 1, (int64_t)id);
	rc = sqlite3_step(st);
	return rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : db_code(rc);
}

int reader_row(struct reader *rd, uint64_t id, struct row *ret)
{
	int r;

	reader_reset(rd);
	r = ask(rd->row, id);
	if (r < 0)
		return r;
	*ret = (struct row){ .id = id,
			     .status = sqlite3_column_int(rd->row, 0),
			     .guarded = sqlite3_column_int(rd->row, 1) != 0,
			     .request_ms = sqlite3_column_int64(rd->row, 2),
			     .response_ms = sqlite3_column_int64(rd->row, 3),
			     .is_file = sqlite3_column_int(rd->row, 4) != 0,
			     .body_bytes = (uint64_t)sqlite3_column_int64(rd->row, 5),
			     .body_crc = (uint32_t)sqlite3_column_int64(rd->row, 6),
			     .key = column(rd->row, 8),
			     .vary = column(rd->row, 9),
			     .head = column(rd->row, 10) };
	return row_crc(ret) == (uint32_t)sqlite3_column_int64(rd->row, 7) ? 0 : WEIR_E_DAMAGED;
}

int reader_body(struct reader *rd, uint64_t id, struct slice *ret)
{
	int r = ask(rd->body, id);

	if (r == 0)
		*ret = column(rd->body, 0);
	return r;
}
