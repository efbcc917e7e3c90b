/* admin.c -- the admin service: who may ask, and where a request goes.
 *
 *   / /assets/...                the dashboard, which holds no data: everybody who reaches the listener
 *   /livez /readyz /healthz      likewise
 *   /metrics /api/v1/...         with the token, when one is configured
 *
 * RULES    1. Host and Origin are checked by the front before a request comes here (invariant 13).
 *          2. The token is checked before any other path is looked at, so that a stranger does not even learn what
 *             exists.
 *          3. Every error is application/problem+json (RFC 9457) and says what to do next.
 * THREADS  Front threads; services' routes hand over to workers themselves when they must. */
#include "admin/admin.h"

#include "admin/admin_priv.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "core/health.h"
#include "web/web.h"
#include "core/secret.h"

#define MOST_WORKERS 4 /* for the outbox: looked at by people and scripts, and each question is short */
#define MOST_ASKING 4  /* for what asks an upstream */
#define MOST_LOOKING 2 /* of these, for who only looks */

static bool is_allowed(struct admin *a, const struct exchange *ex)
{
	bool yes;

	pthread_mutex_lock(&a->lock);
	yes = !a->token || secret_is_presented(exchange_header(ex, "authorization"), a->token);
	pthread_mutex_unlock(&a->lock);
	return yes;
}

static bool is_open_to_all(struct slice path)
{
	return slice_eq_str(path, "/livez") || slice_eq_str(path, "/readyz") || slice_eq_str(path, "/healthz");
}

/* A browser that is told of Basic asks with a window of its own, over the page that wants to ask itself: so it is told
 * only when it goes to an address. Programs that send no Sec-Fetch-Mode know what to do with it. */
static void reply_unauthorized(struct exchange *ex)
{
	struct slice mode = exchange_header(ex, "sec-fetch-mode");
	bool is_script = mode.p && !slice_eq_str(mode, "navigate");
	const char *ways = is_script ? "Bearer realm=\"weir\"" : "Bearer realm=\"weir\", Basic realm=\"weir\"";

	admin_reply_problem_with(
		ex, 401, "A token is needed",
		"send Authorization: Bearer with the token of admin.token_file; a browser may send it as password",
		"WWW-Authenticate", ways);
}

static void hand_on(struct admin *a, struct exchange *ex, struct slice path)
{
	struct route_match m;

	route_find(a->core->services, admin_api_routes, a, exchange_method(ex), path, &m);
	if (m.route) {
		exchange_set_service_arg(ex, m.state);
		m.route->handle(ex);
	} else if (m.path_known) {
		admin_reply_problem_with(ex, 405, "Method not allowed",
					 "the Allow header lists the methods of this path", "Allow", m.allow);
	} else {
		exchange_reply_problem(ex, 404, "No such path", "the paths are listed in weir(1), under ADMIN API");
	}
}

static void handle(struct exchange *ex)
{
	struct admin *a = exchange_service_arg(ex);
	struct slice query, path = route_path(exchange_target(ex), &query), whole = path;

	OBJ_CHECK(a, ADMIN_MAGIC);
	if (query.n)
		whole.n = (size_t)(query.p + query.n - path.p);
	if (web_handle(ex, WEB_DASHBOARD, path))
		return;
	if (!is_open_to_all(path) && !is_allowed(a, ex))
		reply_unauthorized(ex);
	else if (!health_handle_path(ex, whole, a->core->services))
		hand_on(a, ex, path);
}

/* --- life --- */

static int load_token(const struct config_admin *section, char **ret, struct buf *err)
{
	struct buf why = BUF_EMPTY;
	int r;

	if (!section->token_file)
		return 0;
	r = secret_read(section->token_file, ret, &why);
	if (r < 0)
		buf_addf(err, "admin.token_file: %s %s", section->token_file, why.data);
	buf_fini(&why);
	return r;
}

static void unref_lanes(struct admin *a)
{
	lane_unref(&a->looking);
	lane_unref(&a->asking);
	lane_unref(&a->lane);
}

static int start_sampler(struct admin *a, struct buf *err)
{
	int r = sampler_start(a->core->services, HISTORY_STEP_MS, &a->sampler);

	if (r < 0)
		buf_addf(err, "cannot start the thread that samples for the history: %s", err_text(r));
	return r;
}

static int start(const struct core *core, const void *section, void **ret_state, struct buf *err)
{
	const struct config_admin *s = section;
	struct admin *a = xcalloc(1, sizeof(*a));
	const struct listener_options o = {
		.name = "admin",
		.where = &s->listen,
		.handle = handle,
		.arg = a,
		.check_host = true,
		.check_origin = true,
		.problem_json = true,
	};
	int r;

	a->magic = ADMIN_MAGIC;
	a->core = core;
	a->lane = lane_new(core->pool, NULL, MOST_WORKERS);
	a->asking = lane_new(core->pool, NULL, MOST_ASKING);
	a->looking = lane_new(core->pool, a->asking, MOST_LOOKING);
	ENSURE(pthread_mutex_init(&a->lock, NULL) == 0);
	r = load_token(s, &a->token, err);
	if (!r)
		r = server_listen(core->server, &o, err);
	if (!r)
		r = start_sampler(a, err);
	if (r < 0) {
		secret_free(a->token);
		unref_lanes(a);
		(void)pthread_mutex_destroy(&a->lock); /* nobody has it */
		free(a);
		return r;
	}
	*ret_state = a;
	return 0;
}

/* Takes a new token over. One that cannot be read, or is no longer configured, leaves the old one in force until a
 * restart: the address that needs a token does not change live either. */
static void reload(void *state, const void *section)
{
	struct admin *a = state;
	struct buf err = BUF_EMPTY;
	char *token = NULL, *old;

	OBJ_CHECK(a, ADMIN_MAGIC);
	if (load_token(section, &token, &err) < 0) {
		log_event(LOG_ERROR, "admin_token_kept", LOG_STR("problem", err.data), LOG_END);
		buf_fini(&err);
		return;
	}
	if (token) {
		pthread_mutex_lock(&a->lock);
		old = a->token;
		a->token = token;
		pthread_mutex_unlock(&a->lock);
		secret_free(old);
	}
	buf_fini(&err);
}

static void stop(void *state)
{
	struct admin *a = state;

	OBJ_CHECK(a, ADMIN_MAGIC);
	a->magic = 0;
	sampler_stop(a->sampler);
	secret_free(a->token);
	unref_lanes(a);
	(void)pthread_mutex_destroy(&a->lock); /* no exchange is left that could hold it */
	free(a);
}

const struct service admin_service = {
	.name = "admin",
	.section = &config_admin_section,
	.start = start,
	.reload = reload,
	.stop = stop,
};
