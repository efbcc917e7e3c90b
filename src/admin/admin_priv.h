/* admin_priv.h -- what the files of this folder share. */
#ifndef WEIR_ADMIN_ADMIN_PRIV_H
#define WEIR_ADMIN_ADMIN_PRIV_H

#include <pthread.h>

#include "admin/history.h"
#include "core/service.h"
#include "store/outbox.h"

#define ADMIN_MAGIC 0x41444d4eu
#define ADMIN_MOST_BODY (64 * 1024) /* bytes of a JSON request body */

struct admin {
	unsigned magic;
	const struct core *core;
	struct lane *lane;    /* of workers, for what reads the disk: each question is short */
	/* For what asks an upstream, which may take its time: so that nothing above waits for it. The second is a part
	 * of the first, so that looking leaves room for deciding. */
	struct lane *asking, *looking;
	struct sampler *sampler;
	pthread_mutex_t lock; /* guards token; nothing blocks under it */
	char *token;          /* NULL: none asked for */
};

/* --- route.c: pure, so that it can be tested without a server --- */
/* The path of a target, origin-form or absolute-form, without query; *ret_query (may be NULL) is what follows '?'. */
struct slice route_path(struct slice target, struct slice *ret_query);
struct route_match {
	const struct admin_route *route; /* NULL: see path_known */
	void *state;                     /* of the service whose route it is */
	bool path_known;                 /* the path exists, but not for this method */
	char allow[80];                  /* then: "GET, HEAD, PUT" */
};
/* A GET route serves HEAD as well. path is whole: "/api/v1/repos". Routes that end in '/' take everything below. */
void route_find(const struct services *services, const struct admin_route *own, void *own_state, struct slice method,
		struct slice path, struct route_match *ret);
/* Undoes %XX. 0, or WEIR_E_PARSE for a broken one or a NUL. */
int route_decode(struct slice s, struct buf *out);

/* --- api.c --- */
extern const struct admin_route admin_api_routes[];

/* --- sampler.c --- */
/* Its thread runs from here on, and ends a slot every step_ms (HISTORY_STEP_MS; tests have less patience); services are
 * those that stand now. 0 or -errno. */
int sampler_start(const struct services *services, int64_t step_ms, struct sampler **ret);
void sampler_stop(struct sampler *s);     /* before the services stop; NULL is fine */
json_t *sampler_json(struct sampler *s);  /* see history_json() */

/* --- outbox.c --- */
struct outbox *outbox_of(struct exchange *ex); /* NULL: no service queues writes */
exchange_fn outbox_handle_list, outbox_handle_show, outbox_handle_act, outbox_handle_drop, outbox_handle_flush;
/* For /api/v1/status: figures over all queues, and a list of these. */
json_t *outbox_status_json(void);

/* --- outbox_list.c --- */
exchange_fn outbox_list_entries; /* on a worker */

/* --- outbox_json.c --- */
json_t *outbox_text_json(const struct buf *b); /* as it is, or escaped where it is no UTF-8 */
json_t *outbox_base_json(const struct outbox_base *b); /* {"known", "absent", "etag", "mod_time"} */
json_t *outbox_entry_json(const struct outbox_entry *e);
/* The same with what only one entry's page has. Reads its parent: workers. */
json_t *outbox_entry_details_json(struct outbox *ob, const struct outbox_entry *e);

/* --- answers --- */
void admin_reply_json(struct exchange *ex, int status, json_t *take);
/* application/problem+json with one more header (name NULL: none). */
void admin_reply_problem_with(struct exchange *ex, int status, const char *title, const char *detail, const char *name,
			      const char *value);
json_t *admin_time_json(int64_t wall_ms); /* 0: null */
json_t *admin_link_json(struct link *l);
/* fn(arg, link) for every link of every service. */
void admin_each_link(const struct services *services, void (*fn)(void *arg, struct link *l), void *arg);

#endif
