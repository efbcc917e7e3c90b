/* outbox_rows.c -- rows of outbox.db: columns, sums, copies.
 *
 * WHY      SQLite notices a torn page of its journal, not a bit that a disk flipped in a table. So each row proves
 *          itself: one sum over what never changes, made once, and one over its state, made anew with each change of
 *          it. Both begin with the seq, so that a row under another's number is noticed, too.
 * RULES    1. A row whose sums do not agree is believed in nothing: it is shown, as held and damaged.
 *          2. The order of fields in the sums is part of the format: docs/formats/outbox.md. */
#include "store/outbox_rows.h"

#include <endian.h>

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "store/db.h"
#include "store/wholefile.h"

static const char damaged_text[] = "the record is damaged: it does not match its checksum";

#define SEQ_DIGITS 16
#define TAG_DIGITS 6

const char outbox_schema[] =
	"CREATE TABLE entries(seq INTEGER PRIMARY KEY, tag INTEGER NOT NULL, state TEXT NOT NULL, queue TEXT NOT NULL,"
	" damaged INTEGER NOT NULL, settled_ms INTEGER NOT NULL, next_ms INTEGER NOT NULL, attempts INTEGER NOT NULL,"
	" last_status INTEGER NOT NULL, parent INTEGER NOT NULL, flags INTEGER NOT NULL, queued_ms INTEGER NOT NULL,"
	" body_bytes INTEGER NOT NULL, body_crc INTEGER NOT NULL, fixed_sum INTEGER NOT NULL,"
	" state_sum INTEGER NOT NULL, base_kind INTEGER NOT NULL, base_etag TEXT NOT NULL, base_time INTEGER NOT NULL,"
	" theirs_kind INTEGER NOT NULL, theirs_etag TEXT NOT NULL, theirs_time INTEGER NOT NULL,"
	" body_file TEXT NOT NULL, key TEXT NOT NULL, method TEXT NOT NULL, uri TEXT NOT NULL,"
	" content_type TEXT NOT NULL, idempotency_key TEXT NOT NULL, last_error TEXT NOT NULL,"
	" answer_type TEXT NOT NULL, headers TEXT NOT NULL, answer BLOB NOT NULL);"
	"CREATE INDEX settled ON entries(settled_ms) WHERE settled_ms > 0;"
	"CREATE TABLE bodies(seq INTEGER PRIMARY KEY, body BLOB NOT NULL);"
	"CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL);";

/* Places in OUTBOX_ROW_COLUMNS. */
enum column {
	C_SEQ,
	C_TAG,
	C_STATE,
	C_QUEUE,
	C_DAMAGED,
	C_SETTLED,
	C_NEXT,
	C_ATTEMPTS,
	C_STATUS,
	C_PARENT,
	C_FLAGS,
	C_QUEUED,
	C_BODY_BYTES,
	C_BODY_CRC,
	C_FIXED_SUM,
	C_STATE_SUM,
	C_BASE_KIND,
	C_BASE_ETAG,
	C_BASE_TIME,
	C_THEIRS_KIND,
	C_THEIRS_ETAG,
	C_THEIRS_TIME,
	C_BODY_FILE,
	C_KEY,
	C_METHOD,
	C_URI,
	C_TYPE,
	C_IDEMPOTENCY,
	C_ERROR,
	C_ANSWER_TYPE,
	C_HEADERS,
	C_ANSWER,
};

/* --- names ------------------------------------------------------------------------------------------------------ */

static const char *const state_names[OUTBOX_STATES] = { "queued", "sending", "applied", "conflict",
							"held", "dropped", "resolved" };

const char *outbox_state_text(enum outbox_state s)
{
	ENSURE((unsigned)s < OUTBOX_STATES);
	return state_names[s];
}

int outbox_state_parse(struct slice s, enum outbox_state *ret)
{
	for (unsigned i = 0; i < OUTBOX_STATES; i++)
		if (slice_eq_str(s, state_names[i])) {
			*ret = (enum outbox_state)i;
			return 0;
		}
	return WEIR_E_PARSE;
}

void outbox_format_id(uint64_t seq, uint32_t tag, char ret[OUTBOX_ID_ROOM])
{
	(void)snprintf(ret, OUTBOX_ID_ROOM, "%016llx-%06x", (unsigned long long)seq, tag & 0xffffffu);
}

int outbox_parse_id(struct slice id, uint64_t *ret_seq, uint32_t *ret_tag)
{
	unsigned char seq[8], tag[3];
	uint64_t number = 0;

	if (id.n != SEQ_DIGITS + 1 + TAG_DIGITS || id.p[SEQ_DIGITS] != '-' ||
	    str_unhex((struct slice){ id.p, SEQ_DIGITS }, seq, sizeof(seq)) < 0 ||
	    str_unhex(slice_from(id, SEQ_DIGITS + 1), tag, sizeof(tag)) < 0)
		return WEIR_E_PARSE;
	for (size_t i = 0; i < sizeof(seq); i++)
		number = number << 8 | seq[i];
	*ret_seq = number;
	*ret_tag = (uint32_t)tag[0] << 16 | (uint32_t)tag[1] << 8 | tag[2];
	return 0;
}

/* --- sums ------------------------------------------------------------------------------------------------------- */

static uint32_t sum_number(uint32_t sum, uint64_t n)
{
	uint64_t little = htole64(n);

	return crc32c(sum, &little, sizeof(little));
}

static uint32_t sum_slice(uint32_t sum, struct slice s)
{
	return crc32c(sum_number(sum, s.n), s.p, s.n);
}

static uint32_t sum_base(uint32_t sum, const struct outbox_row_base *b)
{
	sum = sum_number(sum, (uint64_t)b->kind);
	return sum_number(sum_slice(sum, b->etag), (uint64_t)b->mod_time);
}

static uint32_t fixed_sum(const struct outbox_row *r)
{
	const struct slice texts[] = { r->queue, r->key, r->method, r->uri, r->headers,
				       r->content_type, r->idempotency_key, r->body_file };
	const uint64_t numbers[] = { r->seq, r->tag, r->flags, r->body_crc, r->body_bytes, (uint64_t)r->queued_ms };
	uint32_t sum = 0;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		sum = sum_number(sum, numbers[i]);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		sum = sum_slice(sum, texts[i]);
	return sum;
}

static uint32_t state_sum(const struct outbox_row *r)
{
	const uint64_t numbers[] = { r->seq, (uint64_t)r->state, r->damaged, r->attempts, (uint64_t)r->last_status,
				     (uint64_t)r->next_ms, (uint64_t)r->settled_ms, r->parent };
	const struct slice texts[] = { r->last_error, r->answer, r->answer_type };
	uint32_t sum = 0;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		sum = sum_number(sum, numbers[i]);
	sum = sum_base(sum_base(sum, &r->base), &r->theirs);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		sum = sum_slice(sum, texts[i]);
	return sum;
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

int outbox_prepare(sqlite3 *conn, sqlite3_stmt **st, const char *sql)
{
	if (*st)
		return 0;
	return db_code(sqlite3_prepare_v3(conn, sql, -1, SQLITE_PREPARE_PERSISTENT, st, NULL));
}

int outbox_first_step(sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	if ((rc & 0xff) == SQLITE_CORRUPT) {
		(void)sqlite3_reset(st); /* repeats the failure */
		rc = sqlite3_step(st);
	}
	return rc;
}

static struct slice text_of(sqlite3_stmt *st, enum column c)
{
	const void *p = sqlite3_column_blob(st, (int)c); /* as it is: a text need not be UTF-8 */
	int n = sqlite3_column_bytes(st, (int)c);

	return (struct slice){ p, p ? (size_t)n : 0 };
}

static int64_t number_of(sqlite3_stmt *st, enum column c)
{
	return sqlite3_column_int64(st, (int)c);
}

static struct outbox_row_base base_of(sqlite3_stmt *st, enum column kind)
{
	return (struct outbox_row_base){ .kind = sqlite3_column_int(st, (int)kind),
					 .etag = text_of(st, kind + 1),
					 .mod_time = number_of(st, kind + 2) };
}

void outbox_row_read(sqlite3_stmt *st, struct outbox_row *ret)
{
	enum outbox_state state;

	*ret = (struct outbox_row){
		.seq = (uint64_t)number_of(st, C_SEQ),
		.tag = (uint32_t)number_of(st, C_TAG),
		.queue = text_of(st, C_QUEUE),
		.damaged = number_of(st, C_DAMAGED) != 0,
		.settled_ms = number_of(st, C_SETTLED),
		.next_ms = number_of(st, C_NEXT),
		.attempts = (unsigned)number_of(st, C_ATTEMPTS),
		.last_status = (int)number_of(st, C_STATUS),
		.parent = (uint64_t)number_of(st, C_PARENT),
		.flags = (uint32_t)number_of(st, C_FLAGS),
		.queued_ms = number_of(st, C_QUEUED),
		.body_bytes = (uint64_t)number_of(st, C_BODY_BYTES),
		.body_crc = (uint32_t)number_of(st, C_BODY_CRC),
		.base = base_of(st, C_BASE_KIND),
		.theirs = base_of(st, C_THEIRS_KIND),
		.body_file = text_of(st, C_BODY_FILE),
		.key = text_of(st, C_KEY),
		.method = text_of(st, C_METHOD),
		.uri = text_of(st, C_URI),
		.content_type = text_of(st, C_TYPE),
		.idempotency_key = text_of(st, C_IDEMPOTENCY),
		.last_error = text_of(st, C_ERROR),
		.answer_type = text_of(st, C_ANSWER_TYPE),
		.headers = text_of(st, C_HEADERS),
		.answer = text_of(st, C_ANSWER),
	};
	ret->state = outbox_state_parse(text_of(st, C_STATE), &state) < 0 ? -1 : (int)state;
	ret->is_whole = ret->state >= 0 && number_of(st, C_FIXED_SUM) == fixed_sum(ret) &&
			number_of(st, C_STATE_SUM) == state_sum(ret);
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

static void bind_number(sqlite3_stmt *st, enum column c, int64_t n)
{
	(void)sqlite3_bind_int64(st, (int)c + 1, n); /* cannot fail with a number that is there */
}

static void bind_text(sqlite3_stmt *st, enum column c, struct slice s)
{
	(void)sqlite3_bind_text(st, (int)c + 1, s.p ? s.p : "", (int)s.n,
				SQLITE_STATIC); /* as above: heads are limited */
}

static void bind_base(sqlite3_stmt *st, enum column c, const struct outbox_row_base *b)
{
	bind_number(st, c, b->kind);
	bind_text(st, c + 1, b->etag);
	bind_number(st, c + 2, b->mod_time);
}

static void bind_state(sqlite3_stmt *st, const struct outbox_row *r)
{
	bind_text(st, C_STATE, slice_str(outbox_state_text((enum outbox_state)r->state)));
	bind_number(st, C_DAMAGED, r->damaged);
	bind_number(st, C_SETTLED, r->settled_ms);
	bind_number(st, C_NEXT, r->next_ms);
	bind_number(st, C_ATTEMPTS, r->attempts);
	bind_number(st, C_STATUS, r->last_status);
	bind_number(st, C_PARENT, (int64_t)r->parent);
	bind_base(st, C_BASE_KIND, &r->base);
	bind_base(st, C_THEIRS_KIND, &r->theirs);
	bind_text(st, C_ERROR, r->last_error);
	bind_text(st, C_ANSWER_TYPE, r->answer_type);
	bind_text(st, C_ANSWER, r->answer);
	bind_number(st, C_STATE_SUM, state_sum(r));
	bind_number(st, C_FIXED_SUM, fixed_sum(r));
}

static int run(sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	(void)sqlite3_reset(st); /* repeats the failure of the step */
	return db_code(rc);
}

#define INSERT                                                                                                         \
	" INTO entries(" OUTBOX_ROW_COLUMNS ") VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18," \
	"?19,?20,?21,?22,?23,?24,?25,?26,?27,?28,?29,?30,?31,?32)"

int outbox_row_copy(sqlite3 *conn, sqlite3_stmt **st, sqlite3_stmt *from)
{
	int r = outbox_prepare(conn, st, "INSERT OR IGNORE" INSERT);

	if (r < 0)
		return r;
	for (int i = C_SEQ; i <= C_ANSWER; i++)
		(void)sqlite3_bind_value(*st, i + 1, sqlite3_column_value(from, i)); /* cannot fail but for memory */
	return run(*st);
}

int outbox_row_insert(sqlite3 *conn, sqlite3_stmt **st, const struct outbox_row *row)
{
	int r = outbox_prepare(conn, st, "INSERT" INSERT);

	if (r < 0)
		return r;
	bind_number(*st, C_SEQ, (int64_t)row->seq);
	bind_number(*st, C_TAG, row->tag);
	bind_text(*st, C_QUEUE, row->queue);
	bind_number(*st, C_FLAGS, row->flags);
	bind_number(*st, C_QUEUED, row->queued_ms);
	bind_number(*st, C_BODY_BYTES, (int64_t)row->body_bytes);
	bind_number(*st, C_BODY_CRC, row->body_crc);
	bind_text(*st, C_BODY_FILE, row->body_file);
	bind_text(*st, C_KEY, row->key);
	bind_text(*st, C_METHOD, row->method);
	bind_text(*st, C_URI, row->uri);
	bind_text(*st, C_TYPE, row->content_type);
	bind_text(*st, C_IDEMPOTENCY, row->idempotency_key);
	bind_text(*st, C_HEADERS, row->headers);
	bind_state(*st, row);
	return run(*st);
}

static int row_update(sqlite3 *conn, sqlite3_stmt **st, const struct outbox_row *row)
{
	static const char sql[] =
		"UPDATE entries SET state=?3,damaged=?5,settled_ms=?6,next_ms=?7,attempts=?8,last_status=?9,parent=?10,"
		"fixed_sum=?15,state_sum=?16,base_kind=?17,base_etag=?18,base_time=?19,theirs_kind=?20,theirs_etag=?21,"
		"theirs_time=?22,last_error=?29,answer_type=?30,answer=?32 WHERE seq=?1";
	int r = outbox_prepare(conn, st, sql);

	if (r < 0)
		return r;
	bind_number(*st, C_SEQ, (int64_t)row->seq);
	bind_state(*st, row);
	return run(*st);
}

/* --- copies ----------------------------------------------------------------------------------------------------- */

struct outbox_row_base outbox_row_base(const struct outbox_base *b)
{
	return (struct outbox_row_base){ .kind = !b->known ? 0 : b->absent ? 2 : 1,
					 .etag = buf_slice(&b->etag),
					 .mod_time = b->mod_time };
}

static void copy_text(struct buf *into, struct slice s)
{
	buf_init(into, 0);
	buf_add_slice(into, s);
}

static void copy_base(struct outbox_base *into, const struct outbox_row_base *b)
{
	*into = (struct outbox_base){ .known = b->kind != 0, .absent = b->kind == 2, .mod_time = b->mod_time };
	copy_text(&into->etag, b->etag);
}

static void copy_entry(struct outbox_entry *e, const struct outbox_row *row)
{
	*e = (struct outbox_entry){
		.seq = row->seq,
		.state = row->is_whole ? (enum outbox_state)row->state : OUTBOX_HELD,
		.once = row->flags & OUTBOX_ROW_ONCE,
		.damaged = row->damaged || !row->is_whole,
		.parent = row->parent,
		.body_bytes = row->body_bytes,
		.body_crc = row->body_crc,
		.queued_wall_ms = row->queued_ms,
		.next_attempt_wall_ms = row->next_ms,
		.settled_wall_ms = row->settled_ms,
		.attempts = row->attempts,
		.last_status = row->last_status,
	};
	outbox_format_id(row->seq, row->tag, e->id);
	copy_text(&e->queue, row->queue);
	copy_text(&e->key, row->key);
	copy_text(&e->method, row->method);
	copy_text(&e->uri, row->uri);
	copy_text(&e->headers, row->headers);
	copy_text(&e->content_type, row->content_type);
	copy_text(&e->idempotency_key, row->idempotency_key);
	copy_text(&e->last_error, row->is_whole ? row->last_error : slice_str(damaged_text));
	copy_text(&e->answer, row->answer);
	copy_text(&e->answer_type, row->answer_type);
	copy_base(&e->base, &row->base);
	copy_base(&e->theirs, &row->theirs);
}

void outbox_row_to_entry(const struct outbox_row *row, struct outbox_entry *ret)
{
	struct buf *const shown[] = { &ret->queue,     &ret->key,          &ret->method,          &ret->uri,
				      &ret->headers,   &ret->content_type, &ret->idempotency_key, &ret->answer_type,
				      &ret->base.etag, &ret->theirs.etag };

	copy_entry(ret, row);
	for (size_t i = 0; i < ARRAY_LEN(shown) && !row->is_whole; i++)
		for (size_t at = 0; at < shown[i]->len; at++)
			if (shown[i]->data[at] < ' ' || shown[i]->data[at] > '~')
				shown[i]->data[at] = '?'; /* anything may be in them */
}

void outbox_record_read(const struct outbox_row *row, struct outbox_record *ret)
{
	copy_entry(&ret->e, row);
	ret->tag = row->tag;
	ret->flags = row->flags;
	ret->is_whole = row->is_whole;
	copy_text(&ret->body_file, row->body_file);
}

void outbox_record_fini(struct outbox_record *rec)
{
	outbox_entry_fini(&rec->e);
	buf_fini(&rec->body_file);
}

int outbox_record_load(sqlite3 *conn, sqlite3_stmt **st, uint64_t seq, struct outbox_record *ret)
{
	struct outbox_row row;
	int r = outbox_prepare(conn, st, "SELECT " OUTBOX_ROW_COLUMNS " FROM entries WHERE seq=?1"), rc;

	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(*st, 1, (int64_t)seq); /* cannot fail */
	rc = outbox_first_step(*st);
	if (rc == SQLITE_ROW) {
		outbox_row_read(*st, &row);
		outbox_record_read(&row, ret);
	}
	(void)sqlite3_reset(*st); /* repeats the failure of the step */
	return rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : db_code(rc);
}

int outbox_record_save(sqlite3 *conn, sqlite3_stmt **st, const struct outbox_record *rec)
{
	const struct outbox_entry *e = &rec->e;
	struct outbox_row row = {
		.seq = e->seq,
		.tag = rec->tag,
		.flags = rec->flags,
		.body_crc = e->body_crc,
		.body_bytes = e->body_bytes,
		.queued_ms = e->queued_wall_ms,
		.queue = buf_slice(&e->queue),
		.key = buf_slice(&e->key),
		.method = buf_slice(&e->method),
		.uri = buf_slice(&e->uri),
		.headers = buf_slice(&e->headers),
		.content_type = buf_slice(&e->content_type),
		.idempotency_key = buf_slice(&e->idempotency_key),
		.body_file = buf_slice(&rec->body_file),
		.state = (int)e->state,
		.damaged = e->damaged,
		.attempts = e->attempts,
		.last_status = e->last_status,
		.next_ms = e->next_attempt_wall_ms,
		.settled_ms = e->settled_wall_ms,
		.parent = e->parent,
		.base = outbox_row_base(&e->base),
		.theirs = outbox_row_base(&e->theirs),
		.last_error = buf_slice(&e->last_error),
		.answer = buf_slice(&e->answer),
		.answer_type = buf_slice(&e->answer_type),
	};

	return row_update(conn, st, &row);
}

void outbox_base_fini(struct outbox_base *b)
{
	buf_fini(&b->etag);
}

void outbox_base_copy(struct outbox_base *into, const struct outbox_base *from)
{
	into->known = from->known;
	into->absent = from->absent;
	into->mod_time = from->mod_time;
	if (!into->etag.data)
		buf_init(&into->etag, 0);
	buf_reset(&into->etag);
	if (from->etag.len)
		buf_add_slice(&into->etag, buf_slice(&from->etag));
}

void outbox_entry_fini(struct outbox_entry *e)
{
	struct buf *const all[] = { &e->queue, &e->key, &e->method, &e->uri, &e->headers, &e->content_type,
				    &e->idempotency_key, &e->last_error, &e->answer, &e->answer_type };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		buf_fini(all[i]);
	outbox_base_fini(&e->base);
	outbox_base_fini(&e->theirs);
}
