/* outbox_rows.h -- rows of outbox.db as structs, and the sums that prove them (private to the outbox).
 *
 * A struct outbox_row borrows all its bytes: from a statement, until its next step; from a write; or from an entry. */
#ifndef WEIR_STORE_OUTBOX_ROWS_H
#define WEIR_STORE_OUTBOX_ROWS_H

#include <sqlite3.h>

#include "store/outbox.h"

#define OUTBOX_DB_VERSION 1
extern const char outbox_schema[];

enum { OUTBOX_ROW_ONCE = 1, OUTBOX_ROW_IS_BASE = 2, OUTBOX_ROW_ALONE = 4 }; /* flags */

struct outbox_row_base {
	int kind; /* 0: no view; 1: of something; 2: of nothing */
	struct slice etag;
	int64_t mod_time;
};

struct outbox_row {
	uint64_t seq;
	/* never changes; in fixed_sum */
	uint32_t tag, flags, body_crc;
	uint64_t body_bytes;
	int64_t queued_ms;
	struct slice queue, key, method, uri, headers, content_type, idempotency_key;
	struct slice body_file; /* empty: the body is in the table bodies */
	/* changes; in state_sum */
	int state; /* enum outbox_state; -1: none that is known */
	bool damaged;
	unsigned attempts;
	int last_status;
	int64_t next_ms, settled_ms;
	uint64_t parent;
	struct outbox_row_base base, theirs;
	struct slice last_error, answer, answer_type;
	bool is_whole; /* of one that was read: both sums agree */
};

/* A statement made when it is first used; finalize all before the connection is closed. */
int outbox_prepare(sqlite3 *conn, sqlite3_stmt **st, const char *sql); /* 0 or a code of db_code() */

/* sqlite3_step() of a query that was not stepped yet. What SQLite calls corrupt is looked at twice, as a read that
 * failed can come out as that. */
int outbox_first_step(sqlite3_stmt *st);

#define OUTBOX_ROW_COLUMNS                                                                                             \
	"seq,tag,state,queue,damaged,settled_ms,next_ms,attempts,last_status,parent,flags,queued_ms,body_bytes,"      \
	"body_crc,fixed_sum,state_sum,base_kind,base_etag,base_time,theirs_kind,theirs_etag,theirs_time,body_file,"   \
	"key,method,uri,content_type,idempotency_key,last_error,answer_type,headers,answer"
/* The current row of a statement that selects OUTBOX_ROW_COLUMNS. */
void outbox_row_read(sqlite3_stmt *st, struct outbox_row *ret);
/* Binds and runs "INSERT INTO entries"; *st as for outbox_prepare. Sums are computed. 0 or a code. */
int outbox_row_insert(sqlite3 *conn, sqlite3_stmt **st, const struct outbox_row *row);
/* The same with the current row of another connection's statement that selects OUTBOX_ROW_COLUMNS: as it is, sums and
 * all. One whose seq is there is left out. */
int outbox_row_copy(sqlite3 *conn, sqlite3_stmt **st, sqlite3_stmt *from);
/* A copy of a row that can be changed and saved. */
struct outbox_record {
	struct outbox_entry e; /* e.state HELD and e.damaged when the row is not whole */
	uint32_t tag, flags;
	struct buf body_file;
	bool is_whole;
};
void outbox_record_read(const struct outbox_row *row, struct outbox_record *ret); /* ret is overwritten */
void outbox_record_fini(struct outbox_record *rec);
/* By seq. 0; -ENOENT; a code. *st as for outbox_prepare. */
int outbox_record_load(sqlite3 *conn, sqlite3_stmt **st, uint64_t seq, struct outbox_record *ret);
/* Writes what may change, with both sums. 0 or a code. */
int outbox_record_save(sqlite3 *conn, sqlite3_stmt **st, const struct outbox_record *rec);
/* The entry alone, for people: the texts of a damaged one are made printable. */
void outbox_row_to_entry(const struct outbox_row *row, struct outbox_entry *ret);
struct outbox_row_base outbox_row_base(const struct outbox_base *b);
void outbox_format_id(uint64_t seq, uint32_t tag, char ret[OUTBOX_ID_ROOM]);
int outbox_parse_id(struct slice id, uint64_t *ret_seq, uint32_t *ret_tag); /* 0 or WEIR_E_PARSE */

#endif
