/* mirror_priv.h -- what the files of this folder share: a mirror, a request to it, the pieces between them.
 *
 * Locks of this folder, none held together, and but for token_lock none across I/O: mirror.token_lock (its file is read
 * under it), mirror.underway_lock, mirror.lore_lock; and those inside cache.c. See docs/locks.md. */
#ifndef WEIR_MIRROR_MIRROR_PRIV_H
#define WEIR_MIRROR_MIRROR_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/map.h"
#include "core/delivery.h"
#include "core/flight.h"
#include "core/grants.h"
#include "core/service.h"
#include "mirror/cache.h"
#include "mirror/heads.h"
#include "mirror/mirror_config.h"
#include "mirror/preconditions.h"

#define MIRROR_MAGIC 0x4d495252u
#define MIRROR_PASS_SLOTS 4096

/* How a request was answered: label `cache` of weir_mirror_requests_total. */
enum mirror_cache {
	MIRROR_HIT,         /* fresh, from the cache */
	MIRROR_REFRESHED,   /* upstream said that the stored one is still good */
	MIRROR_MISS,        /* fetched */
	MIRROR_OFFLINE,     /* stored or queued here, as upstream was away */
	MIRROR_OVERLAY,     /* a queued write's content */
	MIRROR_QUEUED,      /* a write into the outbox */
	MIRROR_PASSTHROUGH, /* writes and others that go straight through, ranges of what is not stored */
	MIRROR_REFUSED,     /* by weir itself */
	MIRROR_CACHE_COUNT,
};

struct mirror_metrics {
	struct metric *requests[MIRROR_CACHE_COUNT][2]; /* ok, error (status 400 and above) */
	struct metric *duration[MIRROR_CACHE_COUNT];
	struct service_metrics shared;
};

struct mirror {
	unsigned magic;
	const struct core *core;
	_Atomic(const struct mirror_config *) config; /* each one given stays good until after stop */
	char *name, *dir;
	char *origin;    /* "https://host[:port]" of upstream */
	char *base_path; /* of its URL, without a trailing '/': "" mostly */
	struct link *link;
	struct lane *fetch_lane, *write_lane; /* from upstream; towards it */
	struct lane *disk_lane, *queue_lane;  /* what needs only this disk: reads; and writes */
	/* below write_lane and queue_lane: for bodies that clients may send slowly */
	struct lane *stream_lane, *upload_lane;
	struct cache *cache;
	struct grants *grants;
	struct outbox *outbox;
	struct outbox_queue *queue;
	struct delivery *delivery;
	struct flights *flights;
	atomic_bool stopping;
	atomic_uint_fast64_t serials;
	atomic_int_fast64_t fallback_logged_mono_ms; /* one line a second */
	struct mirror_metrics metrics;
	char *client_token;
	atomic_uint_fast64_t passes[MIRROR_PASS_SLOTS]; /* hashes of what was not shareable last time: not waited for */

	pthread_mutex_t underway_lock;
	struct map *underway;   /* target -> struct stored whose spool grows; see fetch.c */
	struct list works;      /* calls of upstream that a stop must end */
	unsigned jobs;          /* fetches that were submitted and relays that began, and have not ended */
	pthread_cond_t no_jobs;

	pthread_mutex_t token_lock;
	char *token;            /* as last read */
	int64_t token_checked_mono_ms;
	struct buf token_seen;  /* size and times of the file when it was read */
	unsigned token_reading; /* how often it was read */
	unsigned token_refused; /* the reading that upstream refused at delivery */

	pthread_mutex_t lore_lock;
	/* what this upstream honours, as far as it was seen; kept in <dir>/preconditions */
	struct precondition_lore lore;
};
void lore_load(struct mirror *m);

static inline const struct mirror_config *mirror_config(struct mirror *m)
{
	return atomic_load_explicit(&m->config, memory_order_acquire);
}

/* One request: in the arena of its exchange, as its data. */
struct request {
	struct mirror *m;
	struct exchange *ex;
	struct lines lines;     /* its header fields as they came */
	struct httplines h;     /* a view of them */
	struct slice method, target; /* target: origin-form */
	struct policy_request policy;
	struct slice key;       /* of the cache: the target */
	struct slice credential; /* its own Authorization; p NULL: none, or weir has one */
	enum mirror_cache how;  /* for the counters */
	uint64_t serial;        /* of all requests to this mirror: who leads a fetch */
	struct stored *old;     /* what is stored for it, when it has to be validated; one reference, until the end */
	bool stale_ok;          /* old may be served when upstream is unavailable */
	bool alone;             /* shares no fetch any more: the shared one was not for it */
};
struct request *request_of(struct exchange *ex);

/* --- request.c --- */
void mirror_handle(struct exchange *ex);                                    /* the listener's */
/* An answer of weir's own, as problem details; counted as `how`. */
void request_problem(struct request *q, int status, enum mirror_cache how, const char *cache_status, const char *title,
		     const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* The same when upstream gave no usable answer: 504 offline and for time-outs, 502 for nonsense. code: negative. */
void request_unavailable(struct request *q, int code);
/* The same, when an unsafe request had gone out. status: what upstream answered, though that did not come whole, or
 * cannot be passed on; 0: nothing. */
void request_unknown(struct request *q, int code, int status);
/* Replies with s, which may still be growing: conditions, ranges, HEAD. cache_status is the line's value. */
void request_serve(struct request *q, struct stored *s, enum mirror_cache how, const char *cache_status);
/* Sends it to a worker of lane. */
void request_to_worker(struct request *q, struct lane *lane, exchange_fn *fn);
/* The same for what reads the body: to `slow` when that is not here whole, so that its worker may have to wait for the
 * client. Front. */
void request_with_body_to_worker(struct request *q, struct lane *whole, struct lane *slow, exchange_fn *fn);
bool request_is_offline(struct request *q); /* the breaker is open, or an operator switched upstream off */

/* --- read.c: GET and HEAD --- */
void read_begin(struct request *q); /* front */
/* Serves q->old because upstream is away (stale_ok), or says that there is nothing. */
void read_fallback(struct request *q, int code);

/* --- fetch.c --- */
/* Parks q at a fetch of its target, a new one or one that is under way; it is answered from there. Any thread that owns
 * it. */
void fetch_join(struct request *q);
/* Fetches target in the background, to have it: after a write, or when a stale one was served meanwhile. client: whose
 * header fields to ask with; NULL: none. old: may be NULL. Any thread. */
void fetch_background(struct mirror *m, struct slice target, struct request *client, struct stored *old);
/* An answer to the same question that is coming in and may be shared: a reference; or NULL. Any thread. */
struct stored *fetch_underway(struct request *q);

/* --- write.c: PUT, POST, PATCH, DELETE; pass.c: all that goes straight through --- */
void write_begin(struct request *q); /* front */
void pass_begin(struct request *q);  /* front */
bool propfind_begin(struct request *q); /* false: not for it. Front */

/* --- locate.c: upstream's own name in what passes --- */
/* A Location or Content-Location of upstream's origin in a block becomes a path here when it is below the base path, so
 * that who follows it stays here; a path beside that gets the origin, as here it would mean something else. */
void mirror_own_location(struct mirror *m, struct buf *block);
/* The same path here of a URI of upstream's, or a path there; false: it is another's, or beside the base path. Borrowed
 * from `uri`. */
bool mirror_own_path(struct mirror *m, struct slice uri, struct slice *ret);
/* A WebDAV Destination (RFC 4918 10.3) that names this listener comes to name upstream. */
void mirror_upstream_destination(struct mirror *m, struct slice authority, struct lines *l);
void lines_copy(struct lines *into, const struct lines *from);

/* --- work.c: what a stop has to end --- */
struct work { /* in the caller's frame while a call of upstream lasts */
	struct list node;
	struct cancel *cancel; /* borrowed; may be NULL */
};
void work_begin(struct mirror *m, struct work *w, struct cancel *c); /* fired at once when a stop has begun */
void work_end(struct mirror *m, struct work *w);
/* +1: what needs no exchange to live on is submitted or begins; -1: it has ended */
void work_job(struct mirror *m, int more);
void work_cancel_all(struct mirror *m);
void work_wait_none(struct mirror *m); /* until all have ended. Blocks */

/* --- pass_marks.c: what is not worth waiting for. Any thread --- */
void pass_note(struct mirror *m, struct slice target, bool is_shareable);
bool pass_is(struct mirror *m, struct slice target);

/* --- credential.c: a client's own. Any thread --- */
bool credential_may_read_offline(struct mirror *m, struct slice target, struct slice credential);
/* Upstream's answer to a request for target with it; no credential: nothing is noted. */
void credential_note(struct mirror *m, struct slice target, struct slice credential, int status);

/* --- room.c: on a full disk --- */
/* Drops stored responses that are files, so that the disk has space again. Whether any went. Workers; blocks. */
bool mirror_make_room(struct mirror *m);
/* spool_append(), once more after making room: for what has to be kept, and for what only passes. */
int mirror_append_write(struct mirror *m, struct spool *s, const char *p, size_t n);
int mirror_append_answer(struct mirror *m, struct spool *s, const char *p, size_t n);

/* --- token.c --- */
/* weir's own token ("" when there is none configured), copied. -ENOKEY (logged) when the file cannot be read. */
int mirror_token(struct mirror *m, struct buf *ret);
/* Puts weir's own Authorization, when there is one, in place of any in `l`. Same codes. */
int mirror_authorize(struct mirror *m, struct lines *l);
/* The reading of the file that counts now: after a change of the file it is another number. */
unsigned mirror_token_reading(struct mirror *m);
/* Upstream refused the token of this reading; whether there is another one by now. */
void mirror_token_refused(struct mirror *m, unsigned reading);
bool mirror_token_is_another(struct mirror *m);
/* Whether the client may use this listener (client_token_file). */
bool mirror_admits(struct mirror *m, struct slice authorization);

/* --- deliver.c --- */
bool mirror_may_resume(void *arg);
void mirror_carry(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct carried *ret);
int mirror_rebase(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct outbox_base *ret,
		  struct buf *err);

/* --- theirs.c --- */
delivery_theirs_fn mirror_theirs;

/* --- mirror_metrics.c --- */
void mirror_metrics_init(struct mirror_metrics *mm, struct metrics *m, const char *name);

#endif
