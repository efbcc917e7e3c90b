/* upstream.c -- the hosts that may be reached: one link for each entry of git.upstreams.
 *
 * A reload adds new ones, applies `enabled`, and takes removed ones off the list; their structs stay until the end,
 * since repositories point at them. Changing the url of an existing entry needs a restart, and the reload says so. */
#include "git/git_priv.h"

#include "base/err.h"
#include "base/log.h"
#include "proto/url.h"

#define IDLE_CONNECTIONS 16

static char *base_path_of(const char *url)
{
	struct url u;
	struct slice path;

	if (url_parse(slice_str(url), &u))
		return xstrdup("");
	path = u.path;
	while (path.n && path.p[path.n - 1] == '/')
		path.n--;
	return slice_dup(path);
}

static void set_options(struct link_options *o, const struct git_service *g, const struct git_config *c,
			const struct git_upstream_config *uc, const char *match)
{
	const struct config_links *links = config_links(g->core->config);
	unsigned workers = (unsigned)config_limits(g->core->config)->workers;

	*o = (struct link_options){
		.name = match,
		.service = "git",
		.url = uc->url,
		.ca_file = uc->ca_file,
		.proxy = uc->proxy,
		.enabled = uc->enabled,
		.connect_timeout_ms = links->connect_timeout,
		.stall_timeout_ms = links->stall_timeout,
		.probe_first_ms = links->probe_first,
		.probe_max_ms = links->probe_max,
		.probe_patience_ms = c->upstream_patience,
		.most_workers = workers - workers / 4 ? workers - workers / 4 : 1,
	};
}

static int add_upstream(struct git_service *g, const struct git_config *c, const struct git_upstream_config *uc,
			const char *match, struct buf *err)
{
	struct upstream *u = xcalloc(1, sizeof(*u));
	struct link_options o;
	int r;

	set_options(&o, g, c, uc, match);
	r = link_new(&o, g->core->pool, g->core->metrics, &u->link);
	if (r < 0) {
		buf_addf(err, "cannot set up upstream %s (%s): %s", match, uc->url, err_text(r));
		free(u);
		return r;
	}
	link_set_change_hook(u->link, git_on_link_change, g);
	u->g = g;
	u->match = xstrdup(match);
	u->base_path = base_path_of(uc->url);
	u->auth = uc->auth;
	u->secret_file = uc->secret_file ? xstrdup(uc->secret_file) : NULL;
	atomic_init(&u->listed, true);
	pthread_mutex_lock(&g->lock);
	g->upstreams = xrealloc(g->upstreams, (g->upstream_count + 1) * sizeof(*g->upstreams));
	g->upstreams[g->upstream_count++] = u;
	pthread_mutex_unlock(&g->lock);
	return 0;
}

/* Also finds those taken off the list. */
static struct upstream *find_any(struct git_service *g, const char *host)
{
	struct upstream *found = NULL;

	pthread_mutex_lock(&g->lock);
	for (size_t i = 0; i < g->upstream_count && !found; i++)
		if (strcmp(g->upstreams[i]->match, host) == 0)
			found = g->upstreams[i];
	pthread_mutex_unlock(&g->lock);
	return found;
}

struct upstream *upstream_find(struct git_service *g, const char *host)
{
	struct upstream *u = find_any(g, host);

	return u && atomic_load_explicit(&u->listed, memory_order_relaxed) ? u : NULL;
}

static void update_upstream(struct upstream *u, const struct git_upstream_config *uc)
{
	struct link_info info;

	link_info(u->link, &info);
	if (strcmp(info.url, uc->url) != 0 || u->auth != uc->auth)
		log_event(LOG_WARN, "upstream_not_changed", LOG_STR("upstream", u->match),
			  LOG_STR("effect", "url and auth of a known upstream change at the next start"), LOG_END);
	if (info.enabled != uc->enabled)
		link_enable(u->link, uc->enabled);
	atomic_store(&u->listed, true);
}

static bool is_in(const struct git_config *c, const char *match)
{
	const struct git_upstream_config *all = c->upstreams.items;
	char host[URL_HOSTPORT_ROOM];

	for (size_t i = 0; i < c->upstreams.count; i++)
		if (url_normalize_hostport(slice_str(all[i].match), host) == 0 && strcmp(host, match) == 0)
			return true;
	return false;
}

int upstream_load(struct git_service *g, const struct git_config *c, struct buf *err)
{
	const struct git_upstream_config *all = c->upstreams.items;

	for (size_t i = 0; i < c->upstreams.count; i++) {
		char host[URL_HOSTPORT_ROOM];
		struct upstream *known;
		int r;

		if (url_normalize_hostport(slice_str(all[i].match), host)) {
			buf_addf(err, "git.upstreams.%zu.match: \"%s\" is not a host or host:port", i, all[i].match);
			return -EINVAL;
		}
		known = find_any(g, host);
		if (known) {
			update_upstream(known, &all[i]);
			continue;
		}
		r = add_upstream(g, c, &all[i], host, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < g->upstream_count; i++) /* only this thread adds */
		if (!is_in(c, g->upstreams[i]->match))
			atomic_store(&g->upstreams[i]->listed, false);
	return 0;
}

void upstream_free_all(struct git_service *g)
{
	for (size_t i = 0; i < g->upstream_count; i++) {
		struct upstream *u = g->upstreams[i];

		link_free(u->link);
		free(u->match);
		free(u->base_path);
		free(u->secret_file);
		free(u);
	}
	free(g->upstreams);
	g->upstreams = NULL;
	g->upstream_count = 0;
}
