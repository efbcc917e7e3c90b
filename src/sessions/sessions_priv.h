/* sessions_priv.h -- what the files of this folder share: the service, a session, a request.
 *
 * sessions.lock guards all of a session and the maps. It is held while operations are handed to the outbox and rows to
 * the database (which never block), so that the order in memory is the order on disk; never across I/O or a reply. See
 * docs/locks.md. */
#ifndef WEIR_SESSIONS_SESSIONS_PRIV_H
#define WEIR_SESSIONS_SESSIONS_PRIV_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/map.h"
#include "core/delivery.h"
#include "core/service.h"
#include "sessions/answers.h"
#include "sessions/sessions_config.h"
#include "store/db.h"
#include "store/outbox.h"

#define SESSIONS_MAGIC     0x53455353u
#define SESSION_ID_ROOM    64 /* of a local one */
#define SESSIONS_MOST_BODY (2 * 1024 * 1024) /* of a request of a program: 413 beyond */
#define SESSIONS_MOST_AGE  (30LL * 24 * 3600 * 1000) /* ms that a program may say an operation has waited */

#define SESSIONS_MOST_STATE (1024 * 1024) /* of a session, as JSON: 413 beyond, as the hub says */

/* Operations, as the outbox knows them by their uri: /api/sessions/LOCAL-ID/PATH. */
enum op { OP_CREATE, OP_STATE, OP_EVENT, OP_METRIC, OP_HEARTBEAT, OP_END, OP_CRASH, OP_COUNT };
extern const char *const op_names[OP_COUNT + 1]; /* "create", "state", ... NULL-terminated */
enum op_outcome { OUTCOME_ACCEPTED, OUTCOME_REFUSED, OUTCOME_DELIVERED, OUTCOME_HELD, OUTCOME_DROPPED, OUTCOME_COUNT };

enum session_flag {
	SESSION_ENDED = 1 << 0,
	SESSION_CRASHED = 1 << 1,
	SESSION_HUNG = 1 << 2, /* reported as hung, and not as recovered */
	SESSION_PAUSED = 1 << 3,
	SESSION_DONE = 1 << 4, /* ended, and all of it delivered */
	SESSION_TOLD_LOCAL = 1 << 5, /* its program was given the local id */
	SESSION_CRASH_TOLD = 1 << 6, /* the event of its crash is in the outbox; the crash itself found no room yet */
};

struct session {
	struct list node; /* of sessions.all */
	char local_id[SESSION_ID_ROOM];
	char *hub_id; /* NULL: not known yet; never changes then */
	int64_t number;
	char *product, *version;
	char *client_key; /* its program's own name for this registration; NULL: none */
	int64_t created_ms, updated_ms, ended_ms; /* wall clock */
	unsigned flags;
	bool is_of_this_start;

	json_t *known; /* its state, as all operations that are durable make it */
	uint64_t known_seq; /* of the last of them */
	size_t known_bytes; /* at most, as JSON; 0: not counted yet */
	unsigned states_under_way;
	size_t bytes_under_way; /* of them */
	uint64_t row_changes; /* how often something changed that its row keeps */
	uint64_t row_given;   /* as of which change the writer thread has the row */
	uint64_t row_saved;   /* and as of which it is durable */
	bool is_created; /* its creation is in the outbox, or at the server */
	struct end *ending; /* its end is on its way into the outbox: end.c */
	unsigned flags_before_end; /* what its row says until that is there */
	bool is_telling_hang;      /* that it hangs, or has recovered, is on its way into the outbox */
	bool is_telling_crash;     /* the event of its crash */

	int64_t beat_mono_ms, beat_wall_ms; /* last heard of */
	int64_t forwarded_mono_ms; /* a heartbeat to the server */
	int64_t heard_mono_ms;     /* the server took one, or made the session; 0: not since the start */
	bool wants_beat, is_beating;

	int64_t pid; /* 0: not watched */
	uint64_t pid_start; /* what /proc/PID/stat says of its start; 0: not known */
	struct watched *watched; /* see watch.c; NULL: not (yet) */
	const char *watch; /* how: "pidfd", "poll", "no" */
	uint64_t try_again; /* it could not be watched, and had started at this at the latest; 0: nothing to try */

	struct map *totals; /* struct total by its key; NULL: none yet */
	int64_t flush_mono_ms; /* when changed totals go; 0: none did */
	uint64_t dropped; /* metrics that a full queue lost, and nobody was told of yet; its row keeps it */
	bool is_telling_dropped;

	struct waiter *waiter; /* its registration, which waits for hub_id; NULL: answered */
	unsigned uses; /* callbacks under way, carriers: it stays */
	int64_t used_mono_ms; /* last asked for */
};

struct sessions_metrics {
	struct metric *operations[OP_COUNT][OUTCOME_COUNT];
};

struct sessions {
	unsigned magic;
	const struct core *core;
	_Atomic(const struct sessions_config *) config;
	char *dir;
	struct link *link;
	struct lane *read_lane, *beat_lane;
	struct outbox *outbox;
	struct outbox_queue *queue;
	struct delivery *delivery;
	struct cancel *stop;
	struct sessions_metrics metrics;
	char machine_id[40], hostname[256], boot_id[64];

	struct db *db;
	bool is_damaged; /* sessions.db was found so at this start; immutable afterwards */
	atomic_bool is_readonly; /* its writer has given up */
	uint64_t salvaged; /* how many sessions could be read of it */
	struct ledger_statements *statements; /* the writer thread's: ledger.c */

	atomic_int batches; /* whether the server takes batches: 0 not known, 1, -1 */
	atomic_int_fast64_t paused_mono_ms; /* since when a refused key pauses it */
	pthread_mutex_t drop_lock; /* one makes room at a time; held across that */
	atomic_int_fast64_t nothing_to_drop_until_mono_ms;
	atomic_int_fast64_t back_mono_ms; /* since when the server is there again; 0: since the start */
	atomic_uint_fast64_t retries; /* attempts that did not end it, since start */

	pthread_mutex_t key_lock;
	char *key; /* as last read */
	struct buf key_seen;
	int64_t key_looked_mono_ms;

	pthread_mutex_t lock; /* all below, and all of each session */
	pthread_cond_t idle; /* `busy` became 0 */
	unsigned busy; /* callbacks and jobs that know the service */
	struct map *by_id; /* local ids and the server's */
	struct list all, waiting; /* sessions; registrations, the oldest first */
	size_t count; /* not SESSION_DONE */
	uint64_t began, ended; /* registered since the start; of them, those that have ended */
	int64_t last_number;
	bool stopping;

	struct watcher *watcher;
};

static inline const struct sessions_config *sessions_config(struct sessions *ss)
{
	return atomic_load_explicit(&ss->config, memory_order_acquire);
}

/* --- sessions_metrics.c --- */
void sessions_metrics_init(struct sessions *ss);
void sessions_count(struct sessions *ss, enum op op, enum op_outcome o, uint64_t n);

/* --- session.c: with sessions.lock held, but where it says otherwise --- */
struct session *session_find(struct sessions *ss, struct slice id); /* NULL: not in memory */
/* A new one with the next number and a local id. Its watch is not on. */
struct session *session_new(struct sessions *ss);
/* Takes one that ledger.c has read: into the maps, unless another was quicker: then s is freed. The one that is
 * there. */
struct session *session_add_take(struct sessions *ss, struct session *s);
void session_set_hub_id(struct sessions *ss, struct session *s, const char *hub_id);
void session_forget(struct sessions *ss, struct session *s); /* out of the maps, freed; uses is 0 */
void session_free(struct session *s);
/* Something has changed that its row keeps: saved by the next look (watch.c), and before any operation is settled. */
static inline void session_changed(struct session *s)
{
	s->row_changes++;
}
static inline bool session_wants_save(const struct session *s)
{
	return s->row_given < s->row_changes;
}
static inline bool session_is_saved(const struct session *s)
{
	return s->row_saved == s->row_changes;
}
static inline void session_use(struct session *s)
{
	s->uses++;
}
void session_unuse(struct sessions *ss, struct session *s);
/* Of one that is in no map yet, or at start: its row, and what the outbox has above it. Blocks. */
void session_catch_up(struct sessions *ss, struct session *s);
void session_reopen(struct sessions *ss, struct session *s); /* something comes late: it is not done with */
/* Takes the lock: finds it in memory, or in the database, where ids stay for ever. 0: *ret, used once; -ENOENT: there
 * is none; or a code: nobody knows now; *ret is NULL then. Blocks. */
int session_get(struct sessions *ss, struct slice id, struct session **ret);
/* All of them, used: for who looks at one after the other, and holds the lock for each alone. Takes the lock. */
struct session **sessions_use_all(struct sessions *ss, size_t *ret_count);
void sessions_unuse_all(struct sessions *ss, struct session **take, size_t count);
void session_key(const struct session *s, struct buf *out); /* of the outbox */
/* Busy: something that a stop waits for, as it comes back to the service. Takes no lock / the lock. */
void sessions_enter(struct sessions *ss);
void sessions_leave(struct sessions *ss);

/* --- ledger.c: sessions.db --- */
int ledger_open(struct sessions *ss, struct buf *err);
void ledger_close(struct sessions *ss);
/* Copies what is to be kept and hands it to the writer: cb(arg, code) on its thread when it is durable. When it cannot
 * be made so, the row is wanted again (session_wants_save). 0 or -ESHUTDOWN. With the lock held. cb may be NULL. */
typedef void ledger_fn(void *arg, int code);
int ledger_save_start(struct sessions *ss, struct session *s, ledger_fn *cb, void *arg);
int ledger_save(struct sessions *ss, struct session *s); /* takes the lock; blocks until it is durable */
int ledger_remove(struct sessions *ss, int64_t number); /* blocks */
void ledger_wait(struct sessions *ss); /* until all that was handed over before is durable, or could not be made so */
/* All that are not done, or have a total to be sent: fn gets a session to keep. 0 or a code. *ret_last_number: of all
 * that there ever were. */
typedef void ledger_take_fn(struct sessions *ss, struct session *take);
int ledger_load(struct sessions *ss, ledger_take_fn *fn, int64_t *ret_last_number);
/* By either id, with its totals, which are kept of as many sessions that are done with. 0, -ENOENT, or a code. Blocks. */
#define LEDGER_KEEPS_TOTALS 1000
int ledger_find(struct sessions *ss, struct slice id, struct session **ret);
/* A total as it is now: its record, and whether it waits to be sent. */
int ledger_total_start(struct sessions *ss, const struct session *s, struct slice key, struct slice record,
		       bool is_dirty, ledger_fn *cb, void *arg);
int ledger_load_totals(struct sessions *ss); /* at start, of all that were loaded. Blocks */

/* --- ledger_salvage.c: after sessions.db was found damaged --- */
/* The columns of its first version, all of which salvage can hope for. */
#define LEDGER_COLUMNS_1                                                                                    \
	"number, local_id, hub_id, product, version, created_ms, updated_ms, ended_ms, flags, beat_ms, pid," \
	" pid_start, boot_id, state, state_seq"
int ledger_salvage(struct sessions *ss, uint64_t *ret_sessions); /* 0; or a code of the fresh one. Blocks */
void ledger_remake(struct sessions *ss, ledger_take_fn *fn); /* sessions whose creation waits and whose row is gone */

/* --- op.c: operations into the queue; with the lock held --- */
typedef void op_fn(void *arg, int code, uint64_t seq);
/* cb(arg, code, seq) on the outbox's writer thread when it is durable; may be NULL. urgent: it does not wait for
 * others, nor do those before it. 0, or a code of outbox_put(): then cb will not run. */
int op_put(struct sessions *ss, struct session *s, enum op op, struct slice body, bool urgent, op_fn *cb, void *arg);
/* An event of the daemon's own (group datacat.daemon). */
struct own_event {
	const char *name, *category, *labels; /* labels: as JSON */
	json_t *data; /* taken; may be NULL */
	const char *mark; /* by which session_catch_up() finds it: "hung", "recovered", "crashed"; or NULL */
	bool urgent;
};
int op_put_event(struct sessions *ss, struct session *s, const struct own_event *e, op_fn *cb, void *arg);
char *op_uri(const struct session *s, enum op op, const char *mark); /* malloc'ed */
/* State: nothing is put when it changes nothing (*ret_put says). patch is referenced. -EFBIG: it would grow above
 * SESSIONS_MOST_STATE. */
int op_put_state(struct sessions *ss, struct session *s, json_t *patch, struct slice body, bool *ret_put, op_fn *cb,
		 void *arg);
void op_add_now(struct buf *out); /* "timestamp" of the moment, as a member: "timestamp":"..." */
void op_add_time(struct buf *out, int64_t age_ms); /* of so long ago */
int64_t op_take_age(json_t *body); /* "age_ms", out of it; 0: there is none */
/* The body of an entry as JSON: 0, or a code. Blocks. */
int op_read(struct sessions *ss, const struct outbox_entry *e, json_t **ret);
/* Makes room by the policy of the configuration. True: something was dropped. Without the lock; blocks. */
bool op_make_room(struct sessions *ss);

/* --- totals.c: counters and histograms; with the lock held --- */
/* Adds a sample: cb(arg, code) on the writer thread when the total with it is durable; before that it counts nowhere,
 * and when it could not be made durable never. 0; WEIR_E_PARSE with why; or a code of ledger_total_start(): then cb
 * will not run. */
int totals_add(struct sessions *ss, struct session *s, const json_t *metric, ledger_fn *cb, void *arg,
	       struct buf *why);
/* Its parts, for tests: a sample waits; what waits is put together with the record; that becomes the record, or not. */
struct total;
struct sample {
	struct list node;
	json_t *value;
	ledger_fn *cb;
	void *arg;
};
int totals_take(struct session *s, const json_t *metric, ledger_fn *cb, void *arg, struct total **ret,
		struct buf *why);
void total_begin(struct total *t, struct buf *ret_record);
void total_finish(struct total *t, int code, struct list *ret_samples); /* malloc'ed, to be answered */
int totals_load(struct session *s, struct slice key, struct slice record, bool is_dirty);
bool totals_is_dirty(const struct session *s);
void totals_again(struct sessions *ss, struct session *s, const json_t *metric); /* one that was dropped goes again */
void totals_flush(struct sessions *ss, struct session *s); /* puts what changed into the queue, to go at once */
void totals_free(struct session *s);

/* --- api.c --- */
void sessions_handle(struct exchange *ex);
void sessions_reply_json(struct exchange *ex, int status, json_t *take);
void sessions_reply_unknown(struct exchange *ex, int code); /* of session_get() */

void sessions_flush(struct sessions *ss); /* all that waits for its time goes now. Takes the lock; workers */

/* --- register.c --- */
/* Front or worker; body stays as long as ex is not answered. */
void register_begin(struct exchange *ex, json_t *body, int64_t age_ms);
void register_hub_id_known(struct sessions *ss, struct session *s); /* under no lock */
int64_t register_expire(struct sessions *ss, int64_t now_mono_ms); /* under no lock; when to look again */

/* --- end.c --- */
struct ending {
	enum op op; /* OP_END or OP_CRASH */
	const char *reason; /* of a crash */
};
/* Marks it, puts what it has gathered and its end into the queue. With the lock held. cb as op_put: the row follows. 0
 * or a code: then nothing has changed. One whose end is on its way is not ended twice: cb hears of that end. */
int session_end(struct sessions *ss, struct session *s, const struct ending *e, op_fn *cb, void *arg);

/* --- read.c: /session, /sessions, /queue; workers --- */
void read_session(struct exchange *ex);
void read_sessions(struct exchange *ex);
json_t *read_queue_json(struct sessions *ss);
json_t *read_view(struct sessions *ss, struct session *s,
		  struct cancel *cancel); /* with what the server knows. Blocks */
json_t *session_json(struct sessions *ss, const struct session *s); /* with the lock held: the local record */

/* --- hub_call.c: requests to the server; workers --- */
struct hub_answer {
	int status;
	struct buf body;
	int64_t retry_after_ms;
};
#define HUB_ANSWER_EMPTY          \
	{                         \
		.body = BUF_EMPTY \
	}
/* 0 with an answer of any status, or a code of link_call(). body.p NULL: none. total_ms 0: 30 s. */
int hub_call(struct sessions *ss, const char *method, const char *target, struct slice body, int64_t total_ms,
	     size_t most, struct cancel *cancel, struct hub_answer *ret);
void hub_target(struct buf *out, const char *hub_id, const char *path); /* /api/sessions/ID/path */
bool hub_key_changed(struct sessions *ss);
/* 1: the server takes batches; 0: it does not; or a code. */
int hub_takes_batches(struct sessions *ss, struct cancel *cancel);
void hub_key_free(struct sessions *ss);

/* --- deliver.c --- */
void sessions_carry(void *arg, const struct outbox_entry *e, struct cancel *cancel, struct carried *ret);
bool sessions_may_resume(void *arg);
enum op op_of_uri(struct slice uri); /* OP_COUNT: none */

/* --- beat.c: heartbeats to the server --- */
void beat_wanted(struct sessions *ss, struct session *s); /* with the lock held */
/* The server hears of all sessions that live, or whose end it has not been told, unless it did lately. 0; or a code of
 * hub_call(): then nothing may be created yet. Blocks. */
int beat_before_creation(struct sessions *ss, struct cancel *cancel);

/* --- watch.c: programs that end or fall silent --- */
#define WATCH_ANOTHER_BOOT UINT64_MAX /* a start that no process of this boot has */
int watcher_new(struct sessions *ss); /* 0 or -errno; watch_begin() may be called then */
int watcher_start(struct sessions *ss);
void watcher_stop(struct sessions *ss);
void watcher_free(struct sessions *ss);
void watcher_poke(struct sessions *ss);
struct process { /* as it was found; watch_begin() takes it */
	int fd;         /* its pidfd, or -errno */
	uint64_t start; /* 0: not known */
};
struct process watch_look(int64_t pid); /* opens files: without the lock. pid 0: nothing is looked at */
/* With the lock held. A new session: the start of its process is noted; a loaded one: it is compared. */
void watch_begin(struct sessions *ss, struct session *s, struct process take, bool is_new);
void watch_end(struct sessions *ss, struct session *s);
void watch_by_polling(struct sessions *ss, struct session *s); /* without its pidfd, if it has one */
/* With the lock held: an event of that name, what was gathered, the crash. 0 or a code: then it goes on. */
int watch_report_crash(struct sessions *ss, struct session *s, const char *event, const char *labels,
		       const char *pid_name, int64_t pid, const char *reason);
/* What is due of heartbeats, hangs, flushes: tests call it with a clock of their own. Milliseconds until the next. */
int64_t watch_tick(struct sessions *ss);

/* --- machine.c --- */
void machine_id(char ret[40]);
void machine_boot_id(char ret[64]);
uint64_t machine_process_start(int64_t pid); /* 0: it has ended, or it is not known */
uint64_t machine_now_as_start(void); /* what a process that starts now has as its start, or one less */

/* --- sessions_admin.c --- */
extern const struct admin_route sessions_admin_routes[];

#endif
