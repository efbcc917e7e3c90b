/* outbox_priv.h -- what the files of the outbox share. outbox.c explains the whole. */
#ifndef WEIR_STORE_OUTBOX_PRIV_H
#define WEIR_STORE_OUTBOX_PRIV_H

#include <pthread.h>

#include "base/map.h"
#include "store/db.h"
#include "store/outbox_index.h"
#include "store/outbox_rows.h"

#define OUTBOX_MAGIC 0x6f757462u
#define OUTBOX_QUEUE_MAGIC 0x6f757471u
#define OUTBOX_BODY_NAME 32           /* hexadecimal digits */
#define OUTBOX_UNSETTLED_RETRY_MS 5000 /* after a settlement that could not be written */
/* at start: the clock may have been set back since an attempt was put off */
#define OUTBOX_MOST_DELAY_MS (60 * 60 * 1000)

#define OUTBOX_META_LOSSES "losses" /* row of `meta`: see docs/formats/outbox.md */

#define OUTBOX_ORPHAN_TEXT "the write that this one is based on is lost or damaged"

struct outbox_queue {
	unsigned magic;
	struct list node;
	struct outbox *ob;
	char *name;
	pthread_mutex_t lock; /* all below */
	struct outbox_limits limits;
	struct outbox_index index;
	struct list ends; /* settlements that could not be written: outbox_settle.c */
	uint64_t used_entries, used_bytes; /* of what is not settled, and of puts under way */
	uint64_t refused_large, refused_full, refused_disk;
	outbox_change_fn *hook;
	void *hook_arg;
	unsigned hook_calls; /* under way */
	pthread_cond_t hook_idle;
};

/* Statements of the writer's connection. */
struct outbox_statements {
	sqlite3_stmt *insert, *insert_body, *load, *save, *remove_body, *remove, *set_meta;
};

struct outbox_reader {
	struct list node;
	sqlite3 *conn;
	sqlite3_stmt *get, *list, *list_state, *back, *back_state, *body, *body_file, *old;
};

struct outbox {
	unsigned magic;
	char *dir, *bodies;
	struct db *db;
	pthread_mutex_t lock; /* the list of queues */
	struct list queues;
	pthread_mutex_t readers_lock;
	struct list readers; /* not in use */
	unsigned reader_count;
	struct outbox_statements st; /* the writer thread's */
	uint64_t last_seq;           /* the writer thread's */
	atomic_uint_fast64_t damaged;
	atomic_bool is_readonly;
	atomic_int_fast64_t free_looked_ms; /* monotonic */
	atomic_uint_fast64_t free_bytes;
};

/* --- outbox.c: one job on the writer thread, waited for --- */
enum outbox_role { /* what a change does to the row, see outbox_change.c */
	OUTBOX_ROLE_SELF,
	OUTBOX_ROLE_REBASE,  /* a child: its parent is applied */
	OUTBOX_ROLE_FOLLOW,  /* a descendant: into conflict with its ancestor */
	OUTBOX_ROLE_INHERIT, /* a child: its parent is gone without being applied */
	OUTBOX_ROLE_REQUEUE, /* a descendant: out of conflict with its ancestor */
	OUTBOX_ROLE_ORPHAN,  /* a child: what it is based on cannot be read any more */
	OUTBOX_ROLE_MATE,    /* another of the key that is settled with it; edited by the caller */
};
struct outbox_change {
	struct outbox_item *item;
	enum outbox_role role;
	enum outbox_state to;
	int64_t due_ms;
	struct outbox_item *parent;
	bool is_unanswered, is_damaged;
};
/* What a settlement does to a record, but for what is said of its change. */
void outbox_settle_edit(const struct outbox_settlement *s, const struct outbox_change *c, bool once,
			struct outbox_record *rec);
/* Lent, but it could not be sent or settled: queued again. */
void outbox_take_back(struct outbox_queue *q, uint64_t seq, int64_t due_ms);
struct outbox_op {
	struct outbox *ob;
	struct outbox_queue *q;                            /* NULL: none, and no changes */
	/* in the transaction: 0 or a code; then nothing of it stands */
	int (*job)(sqlite3 *conn, struct outbox_op *op);
	void (*finish)(struct outbox_op *op, int code);    /* after the commit, before the waiter; may be NULL */
	void (*end)(struct outbox_op *op, int code);       /* nobody waits: runs last, and frees the op */
	bool is_quiet;                 /* nothing came due by it: the queue's hook need not run. Set by finish */
	struct outbox_change *changes; /* made by the job; applied or undone by the op */
	size_t change_count, change_cap;
	pthread_mutex_t lock;
	pthread_cond_t finished;
	bool is_done;
	int code, job_code;
};
int outbox_op_run(struct outbox_op *op); /* 0 when durable; or a code */
/* the same without waiting: op->end() tells. 0 or -ESHUTDOWN (end will not run) */
int outbox_op_start(struct outbox_op *op);
void outbox_changed(struct outbox_queue *q); /* calls the hook; under no lock */

/* --- outbox_change.c: what a job changes of the index, and of the rows that go with it --- */
/* Under q->lock, in a job: `item` goes to state `to` when this transaction is durable. -EAGAIN: another job of it
 * changes the item, or its key, already: the whole op is to be run again. The change keeps due_ms and parent until the
 * caller sets others. */
int outbox_change_add(struct outbox_op *op, struct outbox_item *item, enum outbox_role role, enum outbox_state to,
		      struct outbox_change **ret);
/* The same for all children (whose parent is `item`), or all descendants in state `from`. Their state stays, or becomes
 * `to`. */
int outbox_change_add_children(struct outbox_op *op, struct outbox_item *item, enum outbox_role role);
int outbox_change_add_descendants(struct outbox_op *op, struct outbox_item *item, enum outbox_role role,
				  bool in_conflict, enum outbox_state to);
/* After the first change's record is edited: saves it (NULL: it stays as it is), and edits and saves the others by
 * their roles. */
int outbox_change_save(sqlite3 *conn, struct outbox_op *op, const struct outbox_record *self,
		       const struct outbox_base *base);
void outbox_changes_apply(struct outbox_op *op);
void outbox_changes_undo(struct outbox_op *op);
int outbox_remove_body_row(sqlite3 *conn, struct outbox *ob, uint64_t seq);
/* The body of an entry, or its record, turned out to be damaged: it is held, and its children inherit its base. One
 * that is being sent is only marked: its settlement does the rest. Blocks. */
void outbox_note_damage(struct outbox *ob, uint64_t seq, const char *what);

/* --- outbox_settle.c --- */
void outbox_ends_free(struct outbox_queue *q); /* at the end: what was not written is not known at the next start */

/* --- outbox_read.c --- */
int outbox_reader_take(struct outbox *ob, struct outbox_reader **ret);
void outbox_reader_give(struct outbox *ob, struct outbox_reader **rd);
void outbox_readers_close(struct outbox *ob);
/* The queue that holds this unsettled entry; NULL: none. */
struct outbox_queue *outbox_queue_of(struct outbox *ob, uint64_t seq);

/* --- outbox_bodies.c --- */
/* Keeps a complete spool under a new name, synced with its folder. 0; WEIR_E_DAMAGED; -errno; then nothing is kept. */
int outbox_bodies_keep(struct outbox *ob, struct spool *s, char ret_name[OUTBOX_BODY_NAME + 1], uint32_t *ret_crc);
/* what cannot be removed is an orphan at the next start */
void outbox_bodies_remove(struct outbox *ob, struct slice name);
/* Reads a kept body through and gives it as a spool. 0; WEIR_E_DAMAGED; -errno. */
int outbox_bodies_open(struct outbox *ob, struct slice name, uint64_t bytes, uint32_t crc, struct spool **ret);
int outbox_bodies_in_memory(struct slice body, struct spool **ret);
/* At start: what no record names (`expected` has the names that do) is removed; set aside when records were found
 * damaged or lost, as one of them may have named it. 0 or -errno. *ret_is_complete: false when something could not be
 * set aside; it is still there. */
int outbox_bodies_sweep(struct outbox *ob, const struct map *expected, bool *ret_is_complete);
/* Whether the file is there with this size. */
bool outbox_bodies_is_there(struct outbox *ob, struct slice name, uint64_t bytes);

/* --- outbox_open.c --- */
struct outbox_queue *outbox_queue_make(struct outbox *ob, struct slice name); /* found or made, with no limits */
/* Takes no more puts; the next start reads the database through, however large it is. */
void outbox_suspect(struct outbox *ob);
int outbox_load(struct outbox *ob); /* fills the index, sweeps, puts back what was being sent. 0 or a code */

/* --- outbox_journal.c --- */
/* Before the database is opened: whether its journal hides commits; then a copy of it is kept. 0 or -errno. */
int outbox_check_journal(struct outbox *ob, bool *ret_hides);

/* --- outbox_salvage.c --- */
/* When the database is fresh: takes over what can be read of the one that was set aside last, notes whether anything is
 * lost and that the database is in use, all in one transaction. 0 or a code. */
int outbox_salvage(struct outbox *ob);
/* A job of the database: records are lost, so bodies that no record names are evidence. outbox_load() counts it, at
 * this start and at each until those are set aside. */
int outbox_note_loss(sqlite3 *conn, void *arg);

#endif
