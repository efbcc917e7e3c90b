/* outbox.h -- writes that an upstream has not taken yet: kept durably, lent in order, settled once.
 *
 * One outbox for each data directory, with any number of named queues (one for each service that writes: a mirror's
 * name, "sessions"). It knows HTTP writes as data, and no service. Format: docs/formats/outbox.md.
 *
 *   put -> queued --lend--> sending --settle--> applied | conflict | held | queued again (deferred)
 *          queued, conflict, held --drop--> dropped;  conflict, held --resolve theirs--> resolved
 *          conflict, held --retry, rebase--> queued
 *
 * KEYS     Entries of one key are lent in the order taken, one at a time (but see outbox_lend_more()); an entry that is
 *          queued, sending or held keeps later ones of its key waiting, one in conflict, or held alone, does not. A key
 *          that ends in '/' is ordered with every key that begins with it, too. Different keys never wait for each
 *          other.
 * PARENTS  An entry may be based on an earlier pending one of its key. When that is applied, its children's base
 *          becomes what settle() was told; when it gets into conflict, they do as well, and theirs; when it is dropped
 *          or resolved, or its body is damaged, they inherit its base and its parent. retry and rebase of an entry
 *          requeue its children in conflict with it; an entry that is retried while its own parent stays in conflict
 *          gets the base of the oldest that it was built on. What is lent never has a parent.
 * DAMAGE   A record or body that does not match its checksum is held and damaged: listed, counted, and to be dropped;
 *          for everything else (keys, idle, tail, overlays) it is not there. Who is based on a record that cannot be
 *          believed gets into conflict.
 * MEMORY   An index of what is not settled is held in memory (OUTBOX_INDEX_BYTES for each entry and the key once);
 *          heads and bodies are on disk. So max_entries bounds memory, and start-up is one scan.
 * THREADS  Functions marked "front too" never block on disk. All others may: workers and threads of one's own only.
 *          One writer thread owns the database: whatever puts and settlements wait share a sync. */
#ifndef WEIR_STORE_OUTBOX_H
#define WEIR_STORE_OUTBOX_H

#include "base/buf.h"
#include "store/spool.h"

#define OUTBOX_INLINE_BYTES (64 * 1024) /* larger bodies are files of their own: see DESIGN.md, "Store" */
#define OUTBOX_INDEX_BYTES 512          /* of memory at most, beside the key's text; mostly half of it */
#define OUTBOX_ID_ROOM 24               /* "018f3c9a2b7d4e10-5fa3c1" and NUL */
#define OUTBOX_MOST_HEAD (256 * 1024)   /* bytes of a write's strings and headers together: WEIR_E_TOO_LARGE */
#define OUTBOX_MOST_ANSWER (64 * 1024)  /* bytes of an upstream's refusal that are kept with a held entry, at most */

struct outbox;
struct outbox_queue;

enum outbox_state {
	OUTBOX_QUEUED,
	OUTBOX_SENDING,
	OUTBOX_APPLIED,
	OUTBOX_CONFLICT,
	OUTBOX_HELD,
	OUTBOX_DROPPED,
	OUTBOX_RESOLVED,
	OUTBOX_STATES, /* how many */
};
const char *outbox_state_text(enum outbox_state s);                     /* "queued", ... */
int outbox_state_parse(struct slice s, enum outbox_state *ret);         /* 0 or WEIR_E_PARSE */
static inline bool outbox_state_is_settled(enum outbox_state s)
{
	return s == OUTBOX_APPLIED || s == OUTBOX_DROPPED || s == OUTBOX_RESOLVED;
}

/* What a write is based on: what its client's view of the URI was. */
struct outbox_base {
	bool known;           /* false: no view; no precondition follows */
	bool absent;          /* the view was that there is nothing */
	struct buf etag;      /* as sent by upstream, W/ and quotes included; empty: none */
	int64_t mod_time;     /* Last-Modified, Unix seconds; 0: none */
};
void outbox_base_fini(struct outbox_base *b);
/* into is initialised (all zeros will do) */
void outbox_base_copy(struct outbox_base *into, const struct outbox_base *from);

/* --- opening --- */
/* Opens <dir>/outbox.db and <dir>/bodies/, makes them when missing, sweeps orphaned bodies, sets damage aside (counted:
 * outbox_damaged) and saves what can be read of it, puts what was being sent back: queued, or held with
 * OUTBOX_OUTCOME_UNKNOWN when it was a write that is sent once only and had been lent. 0; or a code with a sentence for
 * the operator in err. */
int outbox_open(const char *dir, struct outbox **ret, struct buf *err);
void outbox_close(struct outbox *ob); /* what waits is written first; no lent entry may be out */
/* How many records and bodies were found damaged, at start or since. Front too. */
uint64_t outbox_damaged(struct outbox *ob);
/* Whether puts are refused until a restart, because a sync failed (HOUSE_STYLE 9). Front too. */
bool outbox_is_readonly(struct outbox *ob);

struct outbox_limits {
	uint64_t max_entries, max_bytes; /* of what is not settled; 0: no limit */
	uint64_t max_body;               /* of one body; 0: no limit */
	uint64_t min_free_bytes;         /* of the disk: refused with -ENOSPC below it */
	int64_t keep_settled_ms; /* settled entries are purged so long after; their bodies at once when applied */
};
/* The queue `name`, made when it is new; the same pointer at a later call. Entries of queues that nobody opens stay as
 * they are. Limits can be set again at any time. Front too, but the first call for a name. */
struct outbox_queue *outbox_queue(struct outbox *ob, const char *name, const struct outbox_limits *limits);
void outbox_queue_set_limits(struct outbox_queue *q, const struct outbox_limits *limits);
const char *outbox_queue_name(const struct outbox_queue *q);

/* --- put --- */
struct outbox_write {
	struct slice key;
	struct slice method, uri;      /* uri: raw target, query included */
	struct slice headers;          /* end-to-end lines to send, each "Name: value\n"; no credential */
	struct slice content_type;     /* also among the headers; for listings */
	struct slice idempotency_key;  /* made here (a UUID) when empty */
	bool once;                     /* not idempotent: lending it is made durable first, see outbox_open() */
	struct outbox_base base;       /* borrowed; used when parent is 0 */
	bool wants_parent; /* base it on the last pending entry of this key and uri that is_base, when there is one */
	bool is_base;      /* later writes of this key and uri may be based on it: PUT, DELETE, PATCH; not POST */
	bool alone;                    /* later ones of its key do not depend on it: when it is held, they go on */
	int64_t not_before_wall_ms;    /* it is not due sooner: so that more gathers behind it; 0: at once */
	/* Body: at most OUTBOX_INLINE_BYTES in `body`; or else a complete spool in the outbox's folder
	 * (outbox_spool_new). */
	struct slice body;
	struct spool *spool;
	/* Optimistic concurrency: the seq of the last pending entry of this key that the caller's decision rests on (0:
	 * there was none), as outbox_key_tail() said; OUTBOX_ANY: none. When another came in between: -EAGAIN, look
	 * again. */
	uint64_t expect_tail;
};
#define OUTBOX_ANY UINT64_MAX

struct outbox_receipt {
	uint64_t seq;
	char id[OUTBOX_ID_ROOM];
	int64_t queued_wall_ms;
};
/* A spool for a body that is to be put, limited to the queue's max_body (one byte more fails it with
 * WEIR_E_TOO_LARGE). */
int outbox_spool_new(struct outbox_queue *q, struct spool **ret);
/* Returns when the entry is durable: 0. WEIR_E_TOO_LARGE (body above max_body, or head above OUTBOX_MOST_HEAD), -EDQUOT
 * (max_entries or max_bytes), -ENOSPC (disk), -EAGAIN (expect_tail), WEIR_E_DAMAGED (the spool is not whole): then
 * nothing was kept. -EIO: a write or a sync failed, and nobody knows whether it was kept: after the restart that puts
 * wait for now (outbox_is_readonly), the entry may be there; without that, another process held the database for five
 * seconds, nothing was kept, and the next put may succeed. w is borrowed and copied. Blocks. */
int outbox_put(struct outbox_queue *q, const struct outbox_write *w, struct outbox_receipt *ret);

/* Counts a write that did not come to its put, as its body is announced to be, or turned out to be, above max_body
 * (WEIR_E_TOO_LARGE), or found no room on the disk (another code). Front too. */
void outbox_note_refused(struct outbox_queue *q, int code);

/* The same without waiting, so that one thread can have many under way; no spool, no parent, and the body may be larger
 * than OUTBOX_INLINE_BYTES (rarely: the transaction holds others up). cb(arg, code, receipt) runs once, on the writer
 * thread, when the entry is durable (0) or was not kept (a code as above, receipt NULL), before anybody is lent it; it
 * must not block. Entries of one thread are taken in the order of its calls. 0, or a code: then cb will not run. Front
 * too. */
typedef void outbox_put_fn(void *arg, int code, const struct outbox_receipt *receipt);
int outbox_put_start(struct outbox_queue *q, const struct outbox_write *w, outbox_put_fn *cb, void *arg);
/* What is put (without waiting) between (true) and (false) is there after a stop together, or not at all; one that is
 * refused is not there alone. Everybody's puts wait meanwhile, so nothing else is done there. Front too. */
void outbox_gather(struct outbox *ob, bool begins);

/* --- the view of a key: what readers and writers of its URIs must know --- */
/* Whether anything of the key, of a directory above it, or (when it ends in '/') of anything below is queued, sending
 * or held. Front too; exact. */
bool outbox_key_is_pending(struct outbox_queue *q, struct slice key);
/* seq of the last such entry of this very key that is durable, and so seen by outbox_overlay(); 0: none. Front too. */
uint64_t outbox_key_tail(struct outbox_queue *q, struct slice key);
/* Whether the queue holds anything that is queued, sending or held: cheaper than asking for a key. Front too,
 * lock-free. */
bool outbox_is_idle(struct outbox_queue *q);

/* --- entries --- */
struct outbox_entry { /* a copy; outbox_entry_fini() */
	uint64_t seq;
	char id[OUTBOX_ID_ROOM];
	enum outbox_state state;
	struct buf queue, key, method, uri, headers, content_type, idempotency_key;
	/* damaged: the record or its body does not match its checksum; it is held, and keeps nobody waiting */
	bool once, damaged;
	struct outbox_base base;
	uint64_t parent; /* seq, or 0 */
	uint64_t body_bytes;
	uint32_t body_crc;
	int64_t queued_wall_ms, next_attempt_wall_ms, settled_wall_ms; /* next attempt 0: at once */
	unsigned attempts;
	int last_status; /* HTTP; 0: no answer, or none yet */
	struct buf last_error; /* a sentence */
	struct outbox_base theirs; /* in conflict: what upstream had */
	struct buf answer;         /* held: the body of upstream's refusal, cut */
	struct buf answer_type;    /* and its content type */
};
void outbox_entry_fini(struct outbox_entry *e);
#define OUTBOX_OUTCOME_UNKNOWN "outcome_unknown" /* last_error of a held write that may have been applied begins so */

/* The last pending (queued, sending or held) PUT or DELETE of this key and uri, for overlays. 0 or -ENOENT. Blocks. */
int outbox_overlay(struct outbox_queue *q, struct slice key, struct slice uri, struct outbox_entry *ret);
/* By id or seq. 0 or -ENOENT. */
int outbox_find(struct outbox *ob, struct slice id, struct outbox_entry *ret);
int outbox_get(struct outbox *ob, uint64_t seq, struct outbox_entry *ret);
/* The body as a complete spool (one reference), checked against its checksum while it is read once: 0; WEIR_E_DAMAGED
 * (missing or different: counted); -ENOENT: the body is gone, as the entry is settled; -errno. */
int outbox_body(struct outbox *ob, const struct outbox_entry *e, struct spool **ret);
/* Entries with after < seq in order, at most `most`; state < 0 and queue NULL: all. fn returns false to stop. 0 or
 * -errno. */
/* It should be quick: the database's journal only grows meanwhile. */
typedef bool outbox_each_fn(void *arg, const struct outbox_entry *e);
int outbox_list(struct outbox *ob, const char *queue, int state, uint64_t after, size_t most, outbox_each_fn *fn,
		void *arg);
/* The same from the newest on, those with seq < before. By rows alone: for all states, or one that is settled; of the
 * others there may be few among very many rows, which are all looked at. */
int outbox_list_back(struct outbox *ob, const char *queue, int state, uint64_t before, size_t most, outbox_each_fn *fn,
		     void *arg);
/* Entries of one key with after < seq that are not settled, in order; of this uri alone when it has a p. fn as above. 0
 * or a code. Blocks. */
int outbox_key_each(struct outbox_queue *q, struct slice key, struct slice uri, uint64_t after, outbox_each_fn *fn,
		    void *arg);

/* --- delivery --- */
/* Takes the entry that is due first among those that may go (oldest of its key, nothing related before it,
 * next_attempt_wall_ms <= now), and marks it sending (durably first when it is sent once only). 0; -ENOENT: none is
 * due: *ret_next_wall_ms says when to look again (INT64_MAX: after a put or a settlement); -EIO, -ENOSPC: nothing is
 * lent when its end could not be recorded (outbox_is_readonly), or while that of another could not. Lent entries are
 * settled exactly once. A wall clock that is set back between two calls does not put anything off. */
int outbox_lend(struct outbox_queue *q, int64_t now_wall_ms, struct outbox_entry *ret, int64_t *ret_next_wall_ms);

struct outbox_settlement {
	enum outbox_state to; /* APPLIED, CONFLICT, HELD, or QUEUED: deferred to next_attempt_wall_ms */
	int status;
	struct slice error;
	int64_t next_attempt_wall_ms;
	/* APPLIED: what the children are based on now; CONFLICT: what upstream has. Borrowed */
	struct outbox_base base;
	struct slice answer, answer_type;
	bool not_an_attempt;       /* QUEUED: it was not tried after all (shutdown, paused queue): attempts stays */
};
/* Durable when it returns 0. When it cannot be made durable (-ENOSPC, -EIO) the entry goes back to queued in memory;
 * the database says `queued`: it is delivered again later, which preconditions and the idempotency key make harmless.
 * One that is sent once only stays `sending`, and its end is kept: outbox_lend() writes it before it lends anything, as
 * soon as that is possible. Only a stop before that makes an unknown outcome of it. */
int outbox_settle(struct outbox_queue *q, uint64_t seq, const struct outbox_settlement *s);
/* The entries directly behind `first`, which is lent, of the same key: at most `most`, with most_bytes of bodies
 * together, until one that is not queued, is sent once only, or has to do with a parent. All are marked as being sent,
 * whatever their time. How many were put into ret (outbox_entry_fini() each). Asserts that `first` is lent. */
size_t outbox_lend_more(struct outbox_queue *q, const struct outbox_entry *first, size_t most, uint64_t most_bytes,
			struct outbox_entry *ret);
/* outbox_settle() of several lent entries of one key, without parents or children, in one transaction. Asserts that
 * none goes to CONFLICT, which would have to take along what follows. */
int outbox_settle_all(struct outbox_queue *q, const uint64_t *seqs, const struct outbox_settlement *each, size_t count);
/* What is queued under this key is due now. Front too. */
void outbox_wake_key(struct outbox_queue *q, struct slice key);
/* Entries that wait because nothing answered are due now (plus up to spread_ms of jitter): the upstream is back. Others
 * keep their time. Front too. */
void outbox_wake_unanswered(struct outbox_queue *q, int64_t now_wall_ms, int64_t spread_ms);

/* --- an operator's verbs: 0; -ENOENT; -EBUSY: it is being sent, or its end waits to be written; -EINVAL: not in a
 * state for this; -ENOSPC, -EIO --- */
int outbox_retry(struct outbox *ob, uint64_t seq); /* queued (now due), held, conflict -> queued, due now */
/* conflict, held -> queued on a new base: "ours" */
int outbox_rebase(struct outbox *ob, uint64_t seq, const struct outbox_base *b);
int outbox_resolve(struct outbox *ob, uint64_t seq); /* conflict, held -> resolved: "theirs" */
int outbox_drop(struct outbox *ob, uint64_t seq);                               /* queued, conflict, held -> dropped */
/* All deferred entries of the queue are due now. Front too. */
void outbox_flush(struct outbox_queue *q);
/* Removes settled entries older than keep_settled_ms, with their bodies. Now and then. How many, or a code. */
int outbox_purge(struct outbox_queue *q, int64_t now_wall_ms);

/* --- figures, front too --- */
struct outbox_figures {
	/* bytes of bodies; of settled ones too, as long as they are listed */
	uint64_t entries[OUTBOX_STATES], bytes[OUTBOX_STATES];
	int64_t oldest_wall_ms; /* queued_wall_ms of the oldest that is queued, sending or held; 0: none */
	uint64_t refused_large, refused_full, refused_disk;    /* puts, since start */
};
void outbox_figures(struct outbox_queue *q, struct outbox_figures *ret);

/* fn(arg) after a put, a settlement or a verb changed what may be due, or what a key's view is: on any thread, under no
 * lock; it may only post. One hook for each queue; NULL: none. When this returns the one before is not called any more,
 * so it must not be called from a hook. */
typedef void outbox_change_fn(void *arg);
void outbox_set_change_hook(struct outbox_queue *q, outbox_change_fn *fn, void *arg);

#endif
