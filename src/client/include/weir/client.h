/* weir/client.h -- a program reports its session to the daemon beside it, and never waits for it.
 *
 *      #include <weir/client.h>                                  cc tool.c $(pkg-config --cflags --libs weir-client)
 *
 *      struct weir_client *weir;
 *
 *      weir_client_open(&(struct weir_client_options){ .product = "game", .version = "2.1" }, &weir);
 *      weir_client_state(weir, WEIR_FIELDS(weir_text("level", "sea"), weir_int("lives", 3)));
 *      weir_info(weir, "level_started", "with %d players", players);
 *      weir_client_gauge(weir, "fps", 59.8, NULL);
 *      weir_client_close(weir, 2000);
 *
 * WHAT     A client is one session. What is told goes into a queue of bounded size; a thread of the library takes it to
 *          the daemon (`weir serve` with a section `sessions`, or DataCat's own) over HTTP on loopback, one operation
 *          at a time over one connection, and sends heartbeats. The daemon makes it durable and takes it to the hub.
 * NEVER    No call but open, flush, close and catch_crashes does anything but format, copy and, now and then, wake the
 *          thread: about a microsecond. No call raises SIGPIPE, aborts, prints, or changes errno's meaning for you.
 * HOLDS    1. Order: what one thread tells arrives in the order told. A session is registered before anything else of
 *             it, also when the daemon appears only later; what was told before that arrives too, in order.
 *          2. At least once: an operation is sent again when its connection broke, or answer_ms passed, before its
 *             answer came, as the daemon may not have heard it. If it had, it is there twice. A thing told twice can be
 *             seen to be one, a thing lost cannot; so this and not "at most once". It happens at most to one operation
 *             for each connection lost (stats.repeated counts), as the next is sent when the last is answered.
 *             Registering carries a key, so that doing it twice makes one session (weir's daemon knows the key until it
 *             is restarted). What the library itself tells (drops, reports of crashes, the end) is sent so, too, and
 *             not counted there.
 *          3. Bounds: a full queue drops what is new and counts it by type; metrics are dropped first, as they may fill
 *             three quarters of the queue only. The hub is told with an event client_operations_dropped.
 *          4. What the queue holds is lost when the program ends without flush or close, and when it is killed. On
 *             a crash the queue has up to half a second to drain, if weir_client_catch_crashes() was called.
 *          5. Texts: NUL-terminated, UTF-8; each byte that is not is replaced by U+FFFD. Everything is copied before a
 *             call returns.
 * ENDS     A session ends by weir_client_close(). A program that just ends is reported as crashed by the daemon, which
 *          watches its process: call close from atexit(3) if that is not what you want.
 * THREADS  Any thread may make any call at any time, but close is the last of its client. No call is safe in a signal
 *          handler. After fork() the session stays the parent's: in the child every call answers -ECHILD and sends
 *          nothing; the child opens a client of its own (and may close the parent's, which frees the memory). A program
 *          that closes all descriptors, as to become a daemon, opens its client after that.
 * ERRORS   0 or a negative code. You may ignore it: NULL is a client that takes nothing (-EINVAL), so that a program
 *          whose open failed need not ask each time. weir_client_stats() tells what became of all.
 *            -EINVAL     an argument is missing or wrong: a name is empty, a text is not JSON, a number not finite
 *            -EMSGSIZE   larger than WEIR_CLIENT_MOST_BYTES as JSON; counted as dropped
 *            -ENOBUFS    the queue is full; counted as dropped
 *            -ECHILD     in a child after fork()
 *            -ESHUTDOWN  weir_client_close() has begun
 * LIMITS   An operation: 64 KiB as JSON, which is nested at most 16 deep. Memory: the queue (1 MiB unless you say
 *          otherwise), 200 KiB beside it, 270 KiB and 16 descriptors while reports of earlier crashes are on their way,
 *          and the stack of one thread (256 KiB). See weir_client(3).
 * ABI      Structures begin as all zero, and zero is the default of each member. Members `reserved` stay zero. */
#ifndef WEIR_CLIENT_H
#define WEIR_CLIENT_H

#include <stddef.h>

#ifdef __cplusplus
#include <initializer_list>
extern "C" {
#endif

#if defined(__GNUC__)
#define WEIR_API             __attribute__((visibility("default")))
#define WEIR_PRINTF_(at, of) __attribute__((format(printf, at, of)))
#else
#define WEIR_API
#define WEIR_PRINTF_(at, of)
#endif

#define WEIR_CLIENT_MOST_BYTES 65536 /* of one operation, as JSON */

struct weir_client;

/* --- a session --------------------------------------------------------------------------------------------------- */

enum weir_client_flag {
	/* The thread sends a heartbeat only when the program has called weir_client_heartbeat() since the last: a main
	 * loop that hangs is then seen as such. Without it the thread sends them by itself, and a hang is one of the
	 * whole process. */
	WEIR_CLIENT_BEATS_ITSELF = 1 << 0,
};

struct weir_client_options {
	const char *product, *version; /* required, not empty */
	/* Where the daemon listens: "127.0.0.1:8079", "[::1]:8079", "localhost:8079"; only loopback, as the daemon
	 * watches processes of its own machine ("0.0.0.0:8079" means it, too). NULL: $WEIR_SESSIONS_LISTEN, which sets
	 * the daemon's address too; else 127.0.0.1:8079. */
	const char *daemon;
	size_t queue_bytes;   /* 0: 1 MiB; 256 KiB to 1 GiB */
	size_t queue_entries; /* 0: 8192 */
	int heartbeat_ms;     /* pause between heartbeats; 0: 5000. Less than half the daemon's heartbeat_timeout */
	int answer_ms;        /* how long the thread waits for one answer of the daemon; 0: 30000 */
	unsigned flags;       /* enum weir_client_flag */
	const void *reserved[4];
};

/* Begins a session of this process. Returns at once, whether or not the daemon is there; the thread finds it. 0 with
 * *ret_client; -EINVAL, -ENOMEM, -EAGAIN (no thread could be started), -EMFILE; then *ret_client is NULL. */
WEIR_API int weir_client_open(const struct weir_client_options *options, struct weir_client **ret_client);

/* Ends the session: sends what is queued, then the end; waits at most timeout_ms for both; frees the client, always.
 * 0 when the daemon has answered all; -ETIMEDOUT: what was left is lost, and the daemon will take the program's end for
 * a crash. In a child after fork(): frees, sends nothing, -ECHILD. NULL: nothing, 0. */
WEIR_API int weir_client_close(struct weir_client *client, int timeout_ms);

/* Waits until everything told before is answered, at most timeout_ms; a pause between attempts to reach the daemon is
 * cut short. 0 or -ETIMEDOUT (it stays queued). */
WEIR_API int weir_client_flush(struct weir_client *client, int timeout_ms);

/* The main loop lives. Free of cost: one store in memory. Needs WEIR_CLIENT_BEATS_ITSELF, else it does nothing. */
WEIR_API void weir_client_heartbeat(struct weir_client *client);
/* From pause to resume silence is no hang (a debugger, a modal dialog). Both take their place among the operations. */
WEIR_API int weir_client_pause(struct weir_client *client);
WEIR_API int weir_client_resume(struct weir_client *client);

/* --- key and value ----------------------------------------------------------------------------------------------- */

enum weir_kind { WEIR_END, WEIR_TEXT, WEIR_INT, WEIR_NUMBER, WEIR_BOOL, WEIR_NULL, WEIR_JSON };

/* A member of a JSON object; lists of them end with WEIR_END. Made by the functions below. */
struct weir_field {
	const char *key;
	enum weir_kind kind;
	union {
		const char *text; /* WEIR_TEXT (NULL becomes null), WEIR_JSON: any JSON value as text */
		long long integer; /* WEIR_INT, WEIR_BOOL */
		double number;     /* WEIR_NUMBER; not finite becomes null */
	} value;
};

static inline struct weir_field weir_field_of_(const char *key, enum weir_kind kind, long long integer)
{
	struct weir_field f;

	f.key = key;
	f.kind = kind;
	f.value.integer = integer;
	return f;
}

static inline struct weir_field weir_text_as_(const char *key, enum weir_kind kind, const char *text)
{
	struct weir_field f;

	f.key = key;
	f.kind = kind;
	f.value.text = text;
	return f;
}

static inline struct weir_field weir_text(const char *key, const char *text)
{
	return weir_text_as_(key, WEIR_TEXT, text);
}

static inline struct weir_field weir_json(const char *key, const char *json)
{
	return weir_text_as_(key, WEIR_JSON, json);
}

static inline struct weir_field weir_int(const char *key, long long value)
{
	return weir_field_of_(key, WEIR_INT, value);
}

static inline struct weir_field weir_bool(const char *key, int value)
{
	return weir_field_of_(key, WEIR_BOOL, value != 0);
}

static inline struct weir_field weir_null(const char *key) /* in a state: deletes the key */
{
	return weir_field_of_(key, WEIR_NULL, 0);
}

static inline struct weir_field weir_end(void)
{
	return weir_field_of_("", WEIR_END, 0);
}

static inline struct weir_field weir_number(const char *key, double value)
{
	struct weir_field f = weir_field_of_(key, WEIR_NUMBER, 0);

	f.value.number = value;
	return f;
}

/* A list of fields that lives as long as the statement (C: the block) it stands in. */
#ifdef __cplusplus
#define WEIR_FIELDS(...) (std::initializer_list<struct weir_field>{ __VA_ARGS__, weir_end() }.begin())
#define WEIR_TEXTS(...)  (std::initializer_list<const char *>{ __VA_ARGS__, nullptr }.begin())
#else
#define WEIR_FIELDS(...) ((const struct weir_field[]){ __VA_ARGS__, weir_end() })
#define WEIR_TEXTS(...)  ((const char *const[]){ __VA_ARGS__, NULL })
#endif

/* --- state ------------------------------------------------------------------------------------------------------- */

/* Changes the session's state: objects are merged, other values replace, null deletes. The second form takes a JSON
 * object as text. */
WEIR_API int weir_client_state(struct weir_client *client, const struct weir_field *fields);
WEIR_API int weir_client_state_json(struct weir_client *client, const char *json);

/* --- events ------------------------------------------------------------------------------------------------------ */

#define WEIR_STACK_HERE __builtin_frame_address(0) /* GCC and clang */

/* All but the name may be absent (NULL, 0). Lists of texts end with NULL. */
struct weir_event {
	const char *name;
	const char *category; /* debug, info (the default), warning, error, critical: the level */
	const char *group;
	const char *message;
	const char *const *labels;
	const struct weir_field *data; /* or */
	const char *data_json;         /* a JSON object */
	const char *exception_type, *exception_message;
	const char *const *stacktrace; /* innermost first; or */
	const void *stack_here;        /* WEIR_STACK_HERE: the caller's, as of a crash; some 5 microseconds */
	const char *source_file, *source_function;
	int source_line;
	const void *reserved[4];
};

WEIR_API int weir_client_event(struct weir_client *client, const struct weir_event *event);

/* An event with a message made as printf(3) does, cut after 4096 bytes. For the macros below. */
WEIR_API int weir_client_log(struct weir_client *client, const char *category, const char *name, const char *file,
			     int line, const char *function, const char *format, ...) WEIR_PRINTF_(7, 8);

/* weir_warning(client, "disk_low", "%d MiB left", n): an event with its place in the source. */
#define weir_log_(client, category, name, ...) \
	weir_client_log(client, category, name, __FILE__, __LINE__, __func__, __VA_ARGS__)
#define weir_debug(client, name, ...)    weir_log_(client, "debug", name, __VA_ARGS__)
#define weir_info(client, name, ...)     weir_log_(client, "info", name, __VA_ARGS__)
#define weir_warning(client, name, ...)  weir_log_(client, "warning", name, __VA_ARGS__)
#define weir_error(client, name, ...)    weir_log_(client, "error", name, __VA_ARGS__)
#define weir_critical(client, name, ...) weir_log_(client, "critical", name, __VA_ARGS__)

/* C only: weir_event(client, .name = "saved", .data = WEIR_FIELDS(weir_int("slot", 2))): any members, and the place. */
#ifndef __cplusplus
#define weir_event(client, ...)                                                                          \
	weir_client_event(client, &(const struct weir_event){ .source_file = __FILE__,                   \
							      .source_line = __LINE__,                   \
							      .source_function = __func__, __VA_ARGS__ })
#endif

/* --- metrics ----------------------------------------------------------------------------------------------------- */

/* What may be said beside a value; NULL for nothing. */
struct weir_metric {
	const char *unit;
	const char *const *tags;
	long long count;       /* timer: how many runs the time is of; 0: not said */
	const double *buckets; /* histogram: upper bounds, ascending, the last may be INFINITY; NULL: the daemon's */
	size_t bucket_count;
	const void *reserved[4];
};

/* A value as it is now. */
WEIR_API int weir_client_gauge(struct weir_client *client, const char *name, double value,
			       const struct weir_metric *more);
/* Adds to a total that the daemon keeps for each name with its tags. */
WEIR_API int weir_client_counter(struct weir_client *client, const char *name, double delta,
				 const struct weir_metric *more);
/* A sample, which the daemon sorts into buckets. */
WEIR_API int weir_client_histogram(struct weir_client *client, const char *name, double value,
				   const struct weir_metric *more);
/* A time in seconds (unit "seconds" unless said otherwise). */
WEIR_API int weir_client_timer(struct weir_client *client, const char *name, double seconds,
			       const struct weir_metric *more);

WEIR_API double weir_client_clock(void); /* seconds of a clock that never jumps, to take differences of */

struct weir_scope {
	struct weir_client *client;
	const char *name;
	double began;
};

static inline void weir_scope_end_(struct weir_scope *s)
{
	weir_client_timer(s->client, s->name, weir_client_clock() - s->began, (const struct weir_metric *)0);
}

/* Times the rest of the block it stands in, however that is left: WEIR_TIME_SCOPE(client, "load_level");
 * `name` has to live as long. GCC and clang. */
#if defined(__GNUC__)
#define WEIR_PASTE2_(a, b) a##b
#define WEIR_PASTE_(a, b)  WEIR_PASTE2_(a, b)
#define WEIR_TIME_SCOPE(client, name)                                                                           \
	struct weir_scope WEIR_PASTE_(weir_scope_, __LINE__) __attribute__((cleanup(weir_scope_end_), unused)) = \
		{ (client), (name), weir_client_clock() }
#endif

/* --- crashes ----------------------------------------------------------------------------------------------------- */

/* From now on SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS and SIGABRT report an event program_crashed (category critical,
 * exception_type the signal's name, where it was, stack trace, data) before the process ends of them; then whoever
 * handled the signal before gets it, and the process ends as it would have. The handler calls only functions that are
 * safe there: see weir_client(3). It takes a second at most.
 * A report that the daemon did not answer is in a small file in `folder` (NULL: $XDG_STATE_HOME/weir/client, or
 * ~/.local/state/weir/client; made when it is missing), which is opened now, and which the next start of a program with
 * this product sends. What earlier runs left is sent by this call's client.
 * A handler that repairs faults as a part of its work (a runtime's guard pages) has to be installed after this call:
 * what reaches this one is taken for the end, also if the program then lives on.
 * One client of a process at a time; after fork() the child's own may do it, too. The calling thread gets a stack for
 * signals if it has none, so that a stack that is used up is reported too; other threads that want this call
 * sigaltstack(2). close() gives the signals back. 0, -EBUSY (another client does it), -EINVAL, -ENOMEM, or why the
 * folder cannot be used: -EACCES, -ENOSPC, -EROFS ... Nothing is caught then. */
WEIR_API int weir_client_catch_crashes(struct weir_client *client, const char *folder);

/* --- what became of it --------------------------------------------------------------------------------------------*/

enum weir_client_type {
	WEIR_CLIENT_STATE,
	WEIR_CLIENT_EVENT,
	WEIR_CLIENT_METRIC,
	WEIR_CLIENT_PAUSE,
	WEIR_CLIENT_TYPES
};

struct weir_client_stats {
	unsigned long long taken[WEIR_CLIENT_TYPES];    /* by a call that gave 0 */
	unsigned long long answered[WEIR_CLIENT_TYPES]; /* the daemon has them */
	unsigned long long dropped[WEIR_CLIENT_TYPES];  /* queue full, or too large */
	unsigned long long refused[WEIR_CLIENT_TYPES];  /* the daemon would not have them (400, 413 ...) */
	unsigned long long repeated;                    /* sent again as no answer came */
	unsigned long long heartbeats;                  /* answered */
	unsigned long long connects;                    /* made */
	unsigned long long sessions;                    /* registered; more than one: the daemon had forgotten it */
	unsigned long long crash_reports;               /* of earlier runs, delivered */
	unsigned long long queued_entries, queued_bytes;
	int is_connected;
	int last_error;  /* why the daemon was last not reached: -ECONNREFUSED, -ETIMEDOUT, ...; 0: it answered since */
	int last_status; /* of HTTP, of the last answer */
	char session_id[129]; /* "" until the daemon has given one */
};

/* Fills the first `bytes` bytes of *ret, which you say with sizeof: later versions may know more. 0, -EINVAL or
 * -ECHILD. */
WEIR_API int weir_client_stats(struct weir_client *client, struct weir_client_stats *ret, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
