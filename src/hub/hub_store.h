/* hub_store.h -- where the hub keeps sessions: a table of functions, so that the engine can be another one.
 *
 * A session is one record, one state, and three lists of items that only grow: events, metrics, history. Their content
 * is opaque here; what writes mean is told in hub_session.c, which sees only this table. Changes are made by jobs, each
 * a transaction that is all or nothing and durable when its `done` runs; looking is done in a `read`, which sees one
 * moment.
 *
 * A backend: a struct that begins with a struct hub_store, and a const table: hub_sqlite.c, hub_pg.c. */
#ifndef WEIR_HUB_HUB_STORE_H
#define WEIR_HUB_HUB_STORE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/buf.h"

#define HUB_ID_ROOM 40 /* a UUID in text, and more than that */

enum hub_list { HUB_EVENTS, HUB_METRICS, HUB_HISTORY, HUB_LIST_COUNT };
enum hub_order { HUB_ASCENDING, HUB_DESCENDING };

enum hub_flag {
	HUB_ENDED = 1 << 0,
	HUB_CRASHED = 1 << 1,
	HUB_HUNG = 1 << 2, /* now */
	HUB_HUNG_EVER = 1 << 3,
	HUB_HUNG_RECOVERED = 1 << 4, /* recovered at least once */
	HUB_HUNG_AT_END = 1 << 5,
	HUB_HUNG_AT_CRASH = 1 << 6,
};

struct hub_session {
	int64_t number; /* from 1, in order of creation; never given twice */
	char id[HUB_ID_ROOM];
	struct buf product, version, machine_id, hostname;
	struct buf extra; /* further fields given at its creation, as a JSON object; empty: none */
	int64_t created_ms, updated_ms;
	int64_t ended_ms; /* 0: not */
	int64_t heartbeat_ms; /* 0: never; wall clock, as shown */
	int64_t beat_ms; /* the same on a clock that no setting of the hub's moves: see hub_clock_ms() */
	unsigned flags;
	int64_t applied_seq; /* of batches */
	int64_t counts[HUB_LIST_COUNT]; /* items there are: the next one's place */
};
#define HUB_SESSION_EMPTY                                                                                   \
	{                                                                                                   \
		.product = BUF_EMPTY, .version = BUF_EMPTY, .machine_id = BUF_EMPTY, .hostname = BUF_EMPTY, \
		.extra = BUF_EMPTY                                                                          \
	}
void hub_session_fini(struct hub_session *s); /* s is empty afterwards */

/* Which sessions a list has; everything given has to hold. */
enum hub_condition {
	HUB_IS_ACTIVE = 1 << 0,
	HUB_IS_SUSPENDED = 1 << 1,
	HUB_IS_ENDED = 1 << 2,
	HUB_IS_CRASHED = 1 << 3,
};
/* What a list is sorted by. Each ends in the session's number, so that there is one order and no more; texts are
 * compared by their bytes. UPDATED and EVENTS change while one turns the pages: who was on a page can come again. */
enum hub_sort {
	HUB_BY_CREATED, /* created_ms, number */
	HUB_BY_UPDATED, /* updated_ms, number */
	HUB_BY_PRODUCT, /* product, created_ms, number */
	HUB_BY_HOSTNAME, /* hostname, created_ms, number */
	HUB_BY_EVENTS, /* counts[HUB_EVENTS], number; the one that has no index */
};
/* The session behind which a page begins, by what the list is sorted by: so it need not be there any more. */
struct hub_cursor {
	int64_t number; /* 0: from the beginning */
	int64_t value; /* created_ms, updated_ms or the count */
	struct slice text; /* product or hostname; otherwise not looked at */
};
struct hub_filter {
	struct slice product, version, machine_id, hostname; /* equal; p NULL: any */
	unsigned conditions; /* any of them; 0: all */
	int64_t stale_ms; /* beat_ms below it: no longer active but suspended */
	int64_t since_ms, until_ms; /* created_ms in [since, until); 0: no bound */
	unsigned flags; /* all of these are set */
	struct slice text; /* in a string of an event, ASCII case ignored; p NULL: any */
	enum hub_sort sort;
	enum hub_order order; /* an empty filter asks for the oldest first */
	struct hub_cursor after;
	/* Asked now and then while sessions are looked for; false: nobody waits for them any more, and read_list() gives
	 * -ECANCELED. NULL: somebody does. */
	bool (*is_wanted)(void *arg);
	void *wanted_arg;
};

/* The cursor of a page that ends with s, under f's sort. Its text is a copy in `text`, which may hold the one before. */
struct hub_cursor hub_cursor_at(const struct hub_filter *f, const struct hub_session *s, struct buf *text);

/* How many sessions a product's version has, and what they are; slices are good while the call lasts. hung: open, and
 * hung now. */
struct hub_product {
	struct slice product, version;
	int64_t sessions, active, suspended, ended, crashed, hung;
	int64_t last_created_ms;
};

struct hub_store;
struct hub_tx; /* the backend's: good while a job runs */
struct hub_read; /* the backend's */
typedef int hub_job_fn(struct hub_store *st, struct hub_tx *tx, void *arg);
typedef void hub_done_fn(void *arg, int code);
/* An item; body is valid while the call lasts. 0, or a code that ends the walk and is its result. It must not call the
 * store. */
typedef int hub_item_fn(void *arg, int64_t place, struct slice body);
typedef int hub_product_fn(void *arg, const struct hub_product *p); /* likewise */

/* A row as one engine gives it to another: see hub_copy.c. */
enum hub_rows {
	HUB_ROWS_EVENTS,
	HUB_ROWS_METRICS,
	HUB_ROWS_HISTORY,
	HUB_ROWS_STATES,
	HUB_ROWS_DOOMED,
	HUB_ROWS_SESSIONS,
	HUB_ROWS_COUNT
};
struct hub_row {
	enum hub_rows rows; /* the first three as in enum hub_list */
	int64_t key; /* of items the session's number << 32 | place; else the number */
	struct slice body; /* of items and states */
	const struct hub_session *session; /* of sessions */
	struct slice session_key; /* p NULL: none */
};
typedef int hub_row_fn(void *arg, const struct hub_row *row); /* as hub_item_fn */

struct hub_store_table {
	/* Ends all; what was submitted is done first. */
	void (*close)(struct hub_store *st);
	/* Runs job, later, on one thread for all jobs; several may share a commit. Of two jobs that wait at the same
	 * time either may be first. A job may be run again from its beginning, when nothing of what it did before
	 * stands. `id` is the session that it will find(), good until it is done (n 0: it finds none): an engine may look
	 * for those of many jobs at once. done(arg, code) runs once, on that thread: 0 when durable; the job's own code
	 * when it gave one (nothing of it stands); -ENOSPC; -EIO; of an engine that may be away: an unavailable one
	 * (base/err.h), -EAGAIN (nothing of it stands, it may be tried again), -EINPROGRESS (nobody knows whether it
	 * stands). 0, or -ESHUTDOWN or WEIR_E_OPEN (away; neither runs). Any thread; never blocks. */
	int (*submit)(struct hub_store *st, struct slice id, hub_job_fn *job, hub_done_fn *done, void *arg);
	/* The same, waiting. Not from a job, nor on a front thread. */
	int (*submit_and_wait)(struct hub_store *st, hub_job_fn *job, void *arg);

	/* --- in jobs. 0 or a code; -ENOENT: no such session (key). Results are as with a session that is empty on
	 * failure. */
	int (*find)(struct hub_tx *tx, struct slice id, struct hub_session *ret);
	/* To know it; whoever would change it has to find() it. */
	int (*find_key)(struct hub_tx *tx, struct slice key, struct hub_session *ret);
	/* A session whose beat_ms is above 0 and below stale_ms, of this machine, neither ended nor crashed. Asked again
	 * in a job: another one, as the one before is no longer suspended by then. -ENOENT: none. */
	int (*find_suspended)(struct hub_tx *tx, struct slice machine_id, int64_t stale_ms, struct hub_session *ret);
	/* A new one, whose number is set in s; key may have no p. */
	int (*add)(struct hub_tx *tx, struct hub_session *s, struct slice key);
	/* Times, flags, counts and applied_seq of s; the rest of a session never changes. */
	int (*update)(struct hub_tx *tx, const struct hub_session *s);
	int (*put_item)(struct hub_tx *tx, int64_t number, enum hub_list list, int64_t place, struct slice body);
	int (*put_state)(struct hub_tx *tx, int64_t number, struct slice body);
	int (*get_state)(struct hub_tx *tx, int64_t number, struct buf *out); /* appends */
	/* Takes sessions created before created_ms away, at most `most` in a call; their items go by sweep(). */
	int (*forget)(struct hub_tx *tx, int64_t created_ms, int64_t most, int64_t *ret_forgotten);
	/* Deletes at most `most` items of sessions that were forgotten; *ret_more: there are further ones. */
	int (*sweep)(struct hub_tx *tx, int64_t most, bool *ret_more);

	/* A row of another database, as it is there; there is none of its key. Numbers up to `last` are never given. */
	int (*put_row)(struct hub_tx *tx, const struct hub_row *row);
	int (*put_last_number)(struct hub_tx *tx, int64_t last);

	/* --- looking. Blocks; any thread that may, one at a time for a read. */
	int (*read_begin)(struct hub_store *st, struct hub_read **ret);
	void (*read_end)(struct hub_read *rd); /* NULL is fine */
	int (*read_session)(struct hub_read *rd, struct slice id, struct hub_session *ret);
	int (*read_state)(struct hub_read *rd, int64_t number, struct buf *out); /* appends */
	/* Items from place `from` on in that order, until fn ends it. Descending, a place that is not there yet
	 * (INT64_MAX) means from the last one on. */
	int (*read_items)(struct hub_read *rd, int64_t number, enum hub_list list, int64_t from, enum hub_order order,
			  hub_item_fn *fn, void *arg);
	/* Up to `room` sessions; *ret_count below room: there are no more. into has empty ones. By one of product,
	 * version, machine_id, hostname, conditions, flags or times, in the order of creation, it costs what it finds,
	 * at a million sessions too. With a text it may take long; an engine may give up with -ETIMEDOUT. */
	int (*read_list)(struct hub_read *rd, const struct hub_filter *f, struct hub_session *into, size_t room,
			 size_t *ret_count);
	/* Every product and version that has sessions, in order. Costs a look at an index of all sessions. */
	int (*read_products)(struct hub_read *rd, int64_t stale_ms, hub_product_fn *fn, void *arg);
	/* How many sessions there are. */
	int (*read_count)(struct hub_read *rd, int64_t *ret);
	/* All rows of a kind whose key is above `after`, in order, until fn ends it. */
	int (*read_rows)(struct hub_read *rd, enum hub_rows rows, int64_t after, hub_row_fn *fn, void *arg);
	/* The greatest key there is; 0: no row. Of sessions: the last number that was given. */
	int (*read_last)(struct hub_read *rd, enum hub_rows rows, int64_t *ret);

	/* --- for the operator; any thread, never blocks. NULL: an engine that is always there. */
	/* 0, or the code with which all is refused now, and why: static text. */
	int (*ready)(struct hub_store *st, const char **ret_why);
	/* The clock of all hubs that share it, in ms since 1970. */
	int64_t (*clock_ms)(struct hub_store *st);
	/* Appends where it is, and what is wrong now (nothing: nothing). Neither has user or password. */
	void (*describe)(struct hub_store *st, struct buf *name, struct buf *trouble);
};

struct hub_store {
	const struct hub_store_table *t;
};

/* The embedded engine: a file. 0, or a code with a sentence in err. *ret_damaged: what was there could not be read
 * whole, was set aside beside it, and what could be read of it is in a fresh one. Blocks. */
int hub_sqlite_open(const char *path, struct hub_store **ret, bool *ret_damaged, struct buf *err);

/* Whether a file can be read, without a change to it: 0 or WEIR_E_DAMAGED, or another code. Blocks. */
int hub_sqlite_look(const char *path);

/* PostgreSQL, by a URL as libpq takes it. A server that is silent for patience_ms is away; one that is away now is no
 * failure: see ready(). *stopping (may be NULL) is set when a stop has begun: then its patience is short. 0, or a code
 * with a sentence in err: -EINVAL (no such URL), -EPROTO (a newer weir's). Blocks, for patience_ms at most, or as long as
 * bringing an older schema up to date takes. */
int hub_pg_open(const char *url, int64_t patience_ms, const atomic_bool *stopping, struct hub_store **ret,
		struct buf *err);
/* Whether libpq understands it. Pure. */
bool hub_pg_is_url(const char *url);

#endif
