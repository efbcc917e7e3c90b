/* hub_priv.h -- what the files of this folder share: the hub, a request that changes something, an answer that grows.
 * */
#ifndef WEIR_HUB_HUB_PRIV_H
#define WEIR_HUB_HUB_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/service.h"
#include "hub/hub_config.h"
#include "hub/hub_session.h"

#define HUB_MAGIC 0x68756230u

enum hub_refusal {
	HUB_REFUSED_KEY,
	HUB_REFUSED_PATH,
	HUB_REFUSED_METHOD,
	HUB_REFUSED_BODY,
	HUB_REFUSED_SESSION,
	HUB_REFUSED_STORE,
	HUB_REFUSED_BUSY,
	HUB_REFUSAL_COUNT
};

/* Outcomes of operations: applied; repeated (its number or key was known); refused. */
enum hub_outcome { HUB_APPLIED, HUB_REPEATED, HUB_REFUSED, HUB_OUTCOME_COUNT };
#define HUB_OP_CREATE HUB_OP_COUNT /* in the metrics' table only */

struct hub;
struct hub_metrics {
	struct metric *operations[HUB_OP_COUNT + 1][HUB_OUTCOME_COUNT];
	struct metric *refusals[HUB_REFUSAL_COUNT];
	struct metric *duration_write, *duration_read;
	struct metric *forgotten, *cleanups, *crashed;
};
void hub_metrics_init(struct hub_metrics *hm, struct metrics *m);
void hub_metrics_watch_store(struct hub *h); /* until metrics_remove_fn(m, h) */

struct hub {
	unsigned magic;
	const struct core *core;
	_Atomic(const struct hub_config *) config; /* each one given stays good until after stop */
	struct hub_metrics metrics;
	char *dir; /* data_dir/hub: lock, spools */
	struct hub_store *store;
	bool is_damaged; /* the database was set aside at the start */
	atomic_bool store_failed; /* a commit failed otherwise than for lack of room */
	struct lane *bodies; /* workers that wait for clients to send */
	struct lane *parsing; /* and those that read what is large */
	struct lane *looking;
	struct lane *searching; /* text in the events of many sessions */
	struct blob *ok; /* {"status":"ok"} */
	int64_t wall_0_ms, mono_0_ms;
	atomic_int large_answers;

	pthread_mutex_t lock; /* guards key, looks and the keeper's wake-up; nothing blocks under it */
	char *key; /* NULL: none asked for */
	pthread_cond_t wake;
	bool is_woken; /* the keeper is to look again, whatever it does now */
	pthread_t keeper;
	bool keeper_runs;
	atomic_bool stopping;
	unsigned looks; /* reads on workers, which may outlive the exchange that they answer through a spool */
	pthread_cond_t no_looks;
};

static inline const struct hub_config *hub_config(struct hub *h)
{
	return atomic_load_explicit(&h->config, memory_order_acquire);
}

/* Wall clock when the hub started, going on by the monotonic one: setting the clock makes no session look abandoned. */
int64_t hub_clock_ms(const struct hub *h); /* with a store that hubs share: the store's, so that they agree */
void hub_moment_now(struct hub *h, struct hub_moment *ret);

/* One request, in the arena of its exchange, as its data. */
struct hub_request {
	struct hub *h;
	int64_t started_us;
	bool is_write, is_large; /* large: its answer goes through a spool */
	struct slice id, query; /* of the target */
	int what; /* the route's: which list */
	void *write; /* hub_post.c's; NULL: none */
};
struct hub_request *hub_request_of(struct exchange *ex);

/* --- hub_api.c: where a request goes --- */
void hub_handle(struct exchange *ex);
/* An error: text/plain, one line; counted. */
void hub_refuse(struct exchange *ex, enum hub_refusal why, int status, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void hub_refuse_code(struct exchange *ex, int code); /* of the store, or of looking */
void hub_reply_json(struct exchange *ex, struct buf *take);

/* --- hub_post.c: changes; hub_get.c: looking. They begin on the front thread and take the exchange over. --- */
typedef void hub_route_fn(struct exchange *ex, struct slice id, int what);
hub_route_fn hub_post_create, hub_post_op /* enum hub_op_type */, hub_post_batch;
void hub_write_free(void *write); /* when the answer was sent */
/* enum hub_look; HUB_LOOK_SESSION without a query for the original's path */
hub_route_fn hub_get_original, hub_get_list, hub_get_look;

/* --- hub_list.c --- */
enum hub_look {
	HUB_LOOK_EVENTS, /* these three as enum hub_list has them */
	HUB_LOOK_METRICS,
	HUB_LOOK_HISTORY,
	HUB_LOOK_SESSION,
	HUB_LOOK_STATE,
	HUB_LOOK_TIMELINE,
	HUB_LOOK_SERIES,
	HUB_LOOK_POINTS,
	HUB_LOOK_PRODUCTS,
	HUB_LOOK_SESSIONS,
};
#define HUB_MOST_BUCKETS 2000
#define HUB_MOST_PAGE    255 /* sessions of a page that is looked up with one question */
#define HUB_MOST_TAGS    64 /* in a query */
enum hub_format { HUB_JSON, HUB_CSV };
/* Sessions whole; without their items, with counts; without their state too, with product and version. */
enum hub_view { HUB_VIEW_FULL, HUB_VIEW_SUMMARY, HUB_VIEW_BRIEF };
struct hub_query {
	struct hub_filter filter;
	uint64_t limit; /* 0: all */
	enum hub_view view;
	enum hub_format format;
	int64_t from; /* items: the first place; -1: not said */
	bool is_page, is_ordered; /* events: view=page; there was an order */
	struct slice levels, group, label; /* events; p NULL: any. Levels with commas between */
	struct slice name, type; /* points; p NULL: not said */
	struct slice tags[HUB_MOST_TAGS]; /* points */
	size_t tag_count;
	uint64_t buckets; /* or points; 0: not said */
	bool has_at;
	int64_t at_ms;
	char cursor_sort; /* the letter of after= */
};
/* Reads the query string into *ret, whose slices are in the arena. 0, or -EINVAL with a sentence in why. */
int hub_query_read(struct slice query, enum hub_look look, struct arena *arena, struct hub_query *ret, struct buf *why);
void hub_cursor_write(const struct hub_filter *f, struct buf *out); /* f->after, as after= takes it */

/* --- hub_out.c: an answer that grows: from memory while it is small, then through a spool --- */
struct hub_out {
	struct hub *h;
	struct exchange *ex; /* NULL once the answer is on its way */
	const char *type; /* Content-Type */
	const char *disposition; /* Content-Disposition; NULL: none */
	struct buf *link; /* Link; NULL: none */
	struct buf b;
	struct spool *spool;
	int64_t deadline_ms; /* monotonic: until when the answer has to begin */
	unsigned moves;
	bool was_read; /* the spool has had a reader */
	int error;
};
void hub_out_init(struct hub_out *o, struct hub *h, struct exchange *ex, const char *type);
/* To be called after each item, also of those that are not sent: sends on what has gathered, and looks now and then whether
 * it is wanted. 0, or a code: no need to go on. Workers. */
int hub_out_move(struct hub_out *o);
/* r: 0, or why the answer cannot be whole: then it is an error, or cut off when it has begun. */
/* Whether somebody waits: the hub does not stop, the client is there, and the time is not over. The same codes; -ECANCELED:
 * the client has gone. Workers. */
int hub_out_wanted(struct hub_out *o);
void hub_out_end(struct hub_out *o, int r);

/* --- hub_render.c: sessions as JSON --- */
int hub_render_session(struct hub_read *rd, const struct hub_session *s, int64_t stale_ms, enum hub_view view,
		       struct hub_out *o);
/* The state's history as it is sent: each with the whole state. from: the first place that is written; most 0: all. */
int hub_render_history(struct hub_read *rd, const struct hub_session *s, int64_t from, uint64_t most,
		       struct hub_out *o);
int hub_render_items(struct hub_read *rd, const struct hub_session *s, enum hub_list list, int64_t from, uint64_t most,
		     struct hub_out *o);
/* What a session's state begins as; NULL: its names are no UTF-8. */
json_t *hub_render_first_state(const struct hub_session *s);
void hub_render_time(int64_t ms, struct buf *out); /* as a JSON string */

/* --- looks at one session (at none: products), as their answers in JSON. 0 or a code, as of the store --- */
struct hub_looking {
	enum hub_look which;
	struct hub_read *rd;
	const struct hub_session *s;
	const struct hub_query *query;
	struct hub_moment m;
	struct hub_out *out;
};
typedef int hub_look_fn(const struct hub_looking *l);
hub_look_fn hub_look_products, hub_look_session, hub_look_items, hub_look_state, hub_look_page, hub_look_timeline,
	hub_look_series, hub_look_points;

/* --- hub_csv.c --- */
void hub_csv_session_head(struct buf *out);
void hub_csv_session(const struct hub_session *s, int64_t stale_ms, struct buf *out);
int hub_csv_items(struct hub_read *rd, const struct hub_session *s, enum hub_list list, int64_t from, uint64_t most,
		  struct hub_out *o);

/* --- hub_keep.c: what is too old goes --- */
void hub_get_wait_none(struct hub *h); /* until no read is left; stopping is set. Blocks */
int hub_keep_start(struct hub *h);
void hub_keep_wake(struct hub *h);
void hub_keep_stop(struct hub *h);

#endif
