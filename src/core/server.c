/* server.c -- front threads, listeners, and how they begin and end.
 *
 * WHAT     server_new() starts a front for each CPU; server_listen() binds one SO_REUSEPORT socket a front for each
 *          listener; server_open() lets them accept; server_stop() ends it all gracefully.
 * WHY      A socket for each front lets the kernel spread connections without a lock between threads. A connection
 *          stays with its front for life, so connections need no locks either.
 * RULES    1. Listeners are added before server_open(); the array of a front is not changed afterwards.
 *          2. When descriptors are used up, the one in reserve is given up to accept and close, so that a client sees
 *             an end rather than silence, and the loop does not spin on a socket that stays readable.
 * THREADS  Public functions: the main thread. on_accept() and below: fronts. */
#include "core/server.h"

#include "core/front_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/rand.h"

#define MOST_FRONTS 64

static const char *const refusal_labels[] = {
#define LABEL(id, status, label, text) label,
	HTTP_REFUSE_MAP(LABEL)
#undef LABEL
	NULL,
};
static const char *const class_labels[] = { "1xx", "2xx", "3xx", "4xx", "5xx", NULL };

static const struct metric_family family_connections = {
	.name = "weir_http_connections", .help = "Client connections that are open.", .type = METRIC_GAUGE,
};
static const struct metric_family family_requests = {
	.name = "weir_http_requests_total",
	.help = "Requests answered, by listener and class of status.",
	.type = METRIC_COUNTER,
	.labels = { { "listener", NULL }, { "code", class_labels } },
};
static const struct metric_family family_duration = {
	.name = "weir_http_request_duration_seconds",
	.help = "Time from the head of a request to the last byte of its answer, by listener.",
	.type = METRIC_HISTOGRAM,
	.labels = { { "listener", NULL } },
	.buckets = metric_latency_buckets,
};
static const struct metric_family family_refused = {
	.name = "weir_http_refusals_total", .help = "Requests and connections that the HTTP front itself refused.",
	.type = METRIC_COUNTER, .labels = { { "reason", refusal_labels } },
};
static const struct metric_family family_gone = {
	.name = "weir_http_clients_gone_total",
	.help = "Clients that left before their answer was sent.",
	.type = METRIC_COUNTER,
};

/* --- beginning --- */

static double count_connections(void *arg)
{
	struct server *s = arg;

	return atomic_load(&s->connections);
}

static void set_up_metrics(struct server *s)
{
	struct metrics *m = s->metrics;

	if (!m)
		return;
	metrics_register(m, &family_connections);
	metrics_register(m, &family_requests);
	metrics_register(m, &family_duration);
	metrics_register(m, &family_refused);
	metrics_register(m, &family_gone);
	metrics_set_fn(m, &family_connections, (const char *const[]){ NULL }, count_connections, s);
	for (size_t i = 0; i < HTTP_REFUSE_COUNT; i++)
		s->refused[i] = METRIC(m, &family_refused, refusal_labels[i]);
	s->gone = METRIC(m, &family_gone);
}

static int front_init(struct front *f, struct server *s, unsigned index)
{
	int r;

	f->server = s;
	list_init(&f->conns);
	list_init(&f->closed);
	buf_init(&f->head, 0);
	buf_init(&f->date, 0);
	f->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	f->id_state = rand_u64();
	r = loop_new(index, &f->loop);
	if (r == 0)
		f->read_buf = xmalloc(FRONT_READ_BYTES);
	return r;
}

static void front_fini(struct front *f)
{
	loop_free(f->loop);
	while (f->spare) {
		struct exchange *next = f->spare->next_spare;

		exchange_discard(f->spare);
		f->spare = next;
	}
	LIST_FOREACH_SAFE(it, next, &f->closed) {
		list_remove(it);
		free(LIST_ENTRY(it, struct conn, link));
	}
	if (f->reserve_fd >= 0)
		(void)close(f->reserve_fd);
	buf_fini(&f->head);
	buf_fini(&f->date);
	free(f->accepts);
	free(f->read_buf);
}

int server_new(unsigned threads, const struct server_limits *limits, struct metrics *m, struct server **ret)
{
	struct server *s = xcalloc(1, sizeof(*s));
	int r = 0;

	s->front_count = threads < 1 ? 1 : threads > MOST_FRONTS ? MOST_FRONTS : threads;
	s->fronts = xcalloc(s->front_count, sizeof(*s->fronts));
	s->metrics = m;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->none_left, NULL);
	atomic_store(&s->most_connections, limits->connections);
	atomic_store(&s->grace_ms, limits->shutdown_grace_ms);
	for (unsigned i = 0; i < s->front_count; i++) {
		s->fronts[i].limits = *limits;
		s->fronts[i].reserve_fd = -1;
	}
	set_up_metrics(s);
	r = read_ahead_new(&s->read_ahead);
	for (unsigned i = 0; i < s->front_count && r == 0; i++)
		r = front_init(&s->fronts[i], s, i);
	for (unsigned i = 0; i < s->front_count && r == 0; i++)
		r = loop_start(s->fronts[i].loop);
	if (r < 0) {
		server_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

/* --- accepting --- */

static void give_up_reserve(struct front *f, int listener_fd)
{
	char peer[LISTENER_ADDRESS_ROOM];
	int fd;

	server_count(f->server->refused[HTTP_REFUSE_DESCRIPTORS]);
	if (f->reserve_fd >= 0)
		(void)close(f->reserve_fd);
	fd = listener_accept(listener_fd, peer);
	if (fd >= 0)
		(void)close(fd);
	f->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_accept(void *arg, unsigned events)
{
	struct front_accept *a = arg;
	char peer[LISTENER_ADDRESS_ROOM];

	for (int i = 0; i < FRONT_ACCEPT_AT_ONCE && a->fd >= 0; i++) {
		int fd = listener_accept(a->fd, peer);

		if (fd == -EMFILE || fd == -ENFILE)
			give_up_reserve(a->front, a->fd);
		if (fd < 0)
			break;
		conn_new(a->front, a->listener, fd, peer);
	}
}

static char **dup_hosts(char **hosts)
{
	size_t n = 0;
	char **copy;

	while (hosts && hosts[n])
		n++;
	copy = xcalloc(n + 1, sizeof(*copy));
	for (size_t i = 0; i < n; i++)
		copy[i] = xstrdup(hosts[i]);
	return copy;
}

static void listener_free(struct listener *l, unsigned fronts)
{
	for (unsigned i = 0; l->fds && i < fronts; i++)
		if (l->fds[i] >= 0)
			(void)close(l->fds[i]);
	for (char **h = l->hosts; h && *h; h++)
		free(*h);
	tls_context_free(&l->tls);
	free(l->hosts);
	free(l->fds);
	free(l->name);
	free(l);
}

static int open_sockets(struct listener *l, const struct listener_options *o, unsigned fronts, struct buf *err)
{
	const struct listen_settings *w = o->where;
	int r;

	if (!w->cert_file != !w->key_file) {
		buf_addf(err, "%s: cert_file and key_file go together", o->name);
		return -EINVAL;
	}
	if (w->cert_file) {
		r = tls_context_new(w->cert_file, w->key_file, &l->tls, err);
		if (r < 0)
			return r;
	}
	l->fds = xmalloc(fronts * sizeof(*l->fds));
	for (unsigned i = 0; i < fronts; i++)
		l->fds[i] = -1;
	r = listener_bind(w->listen, fronts, l->fds, l->address, &l->loopback, err);
	/* They listen at once, and who connects waits for server_open(): a socket that is only bound does not keep
	 * another program from sharing the address. */
	for (unsigned i = 0; i < fronts && r == 0; i++)
		r = listener_open(l->fds[i]);
	if (r < 0 && !err->len)
		buf_addf(err, "cannot listen on %s: %s", w->listen, strerror(-r));
	return r;
}

int server_listen(struct server *s, const struct listener_options *o, struct buf *err)
{
	struct listener *l = xcalloc(1, sizeof(*l));
	int r;

	l->server = s;
	l->name = xstrdup(o->name);
	l->check_host = o->check_host;
	l->check_origin = o->check_origin;
	l->absolute_form = o->absolute_form;
	l->problem_json = o->problem_json;
	l->hosts = dup_hosts(o->where->hosts);
	l->handle = o->handle;
	l->arg = o->arg;
	r = open_sockets(l, o, s->front_count, err);
	if (r < 0) {
		listener_free(l, s->front_count);
		return r;
	}
	for (size_t i = 0; s->metrics && i < ARRAY_LEN(l->requests); i++)
		l->requests[i] = METRIC(s->metrics, &family_requests, l->name, class_labels[i]);
	if (s->metrics)
		l->duration = METRIC(s->metrics, &family_duration, l->name);
	s->listeners = xrealloc(s->listeners, (s->listener_count + 1) * sizeof(struct listener *));
	s->listeners[s->listener_count++] = l;
	return 0;
}

void server_add_traffic(const struct server *s, const char *name, struct traffic *into)
{
	for (size_t i = 0; s->metrics && i < s->listener_count; i++) {
		const struct listener *l = s->listeners[i];

		if (strcmp(l->name, name) != 0)
			continue;
		for (size_t k = 0; k < ARRAY_LEN(l->requests); k++) {
			uint64_t n = (uint64_t)metric_value(l->requests[k]);

			into->requests += n;
			into->errors += k >= 3 ? n : 0; /* 4xx, 5xx */
		}
		metric_add_buckets(l->duration, into->latency, TRAFFIC_BUCKETS);
	}
}

size_t server_listener_count(const struct server *s)
{
	return s->listener_count;
}

void server_listener_at(const struct server *s, size_t i, const char **ret_name, char *ret_address, size_t room)
{
	ENSURE(i < s->listener_count);
	*ret_name = s->listeners[i]->name;
	(void)snprintf(ret_address, room, "%s", s->listeners[i]->address);
}

static void open_front(void *arg)
{
	struct front *f = arg;
	struct server *s = f->server;

	f->accepts = xcalloc(s->listener_count, sizeof(*f->accepts));
	for (size_t i = 0; i < s->listener_count; i++) {
		struct front_accept *a = &f->accepts[i];

		*a = (struct front_accept){ .front = f,
					    .listener = s->listeners[i],
					    .fd = s->listeners[i]->fds[loop_index(f->loop)] };
		ENSURE(loop_watch_open(f->loop, a->fd, on_accept, a, &a->watch) == 0);
		loop_watch_set(a->watch, LOOP_READ);
	}
	f->accept_count = s->listener_count;
}

void server_open(struct server *s)
{
	for (unsigned k = 0; k < s->front_count; k++)
		loop_post(s->fronts[k].loop, open_front, &s->fronts[k]);
}

/* --- limits --- */

struct limits_mail {
	struct front *front;
	struct server_limits limits;
};

static void take_limits(void *arg)
{
	struct limits_mail *m = arg;

	m->front->limits = m->limits;
	free(m);
}

void server_set_limits(struct server *s, const struct server_limits *limits)
{
	atomic_store(&s->most_connections, limits->connections);
	atomic_store(&s->grace_ms, limits->shutdown_grace_ms);
	for (unsigned i = 0; i < s->front_count; i++) {
		struct limits_mail *m = xmalloc(sizeof(*m));

		*m = (struct limits_mail){ &s->fronts[i], *limits };
		loop_post(s->fronts[i].loop, take_limits, m);
	}
}

/* --- the end --- */

static void stop_front(void *arg)
{
	struct front *f = arg;

	f->stopping = true;
	for (size_t i = 0; i < f->accept_count; i++) {
		struct front_accept *a = &f->accepts[i];

		on_accept(a, LOOP_READ); /* who has connected is served */
		loop_watch_close(&a->watch);
		a->fd = -1;
	}
	for (size_t i = 0; i < f->server->listener_count; i++) {
		int *fd = &f->server->listeners[i]->fds[loop_index(f->loop)];

		if (*fd >= 0)
			(void)close(*fd);
		*fd = -1;
	}
	conn_stop_all(f, false);
}

static void cut_front(void *arg)
{
	conn_stop_all(arg, true);
}

/* Waits until no connection is left; until_ms is monotonic, 0: for ever. False when time was up. */
static bool wait_none_left(struct server *s, int64_t until_ms)
{
	struct timespec ts;
	bool none;

	pthread_mutex_lock(&s->lock);
	while (atomic_load(&s->connections)) {
		int64_t left = until_ms - clock_mono_ms();

		if (!until_ms) {
			pthread_cond_wait(&s->none_left, &s->lock);
			continue;
		}
		if (left <= 0)
			break;
		/* cannot fail; a step of the clock only moves the next look */
		(void)clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_nsec += (left > 500 ? 500 : left) * 1000000;
		if (ts.tv_nsec >= 1000000000) {
			ts.tv_sec++;
			ts.tv_nsec -= 1000000000;
		}
		(void)pthread_cond_timedwait(&s->none_left, &s->lock, &ts);
	}
	none = atomic_load(&s->connections) == 0;
	pthread_mutex_unlock(&s->lock);
	return none;
}

struct barrier_mail {
	struct server *server;
	unsigned left;
};

static void pass_barrier(void *arg)
{
	struct barrier_mail *b = arg;

	pthread_mutex_lock(&b->server->lock);
	b->left--;
	pthread_cond_broadcast(&b->server->none_left);
	pthread_mutex_unlock(&b->server->lock);
}

/* Runs fn(front) on each front and waits until all have done so. */
static void on_all_fronts(struct server *s, loop_fn *fn)
{
	struct barrier_mail b = { s, s->front_count };

	for (unsigned i = 0; i < s->front_count; i++) {
		loop_post(s->fronts[i].loop, fn, &s->fronts[i]);
		loop_post(s->fronts[i].loop, pass_barrier, &b);
	}
	pthread_mutex_lock(&s->lock);
	while (b.left)
		pthread_cond_wait(&s->none_left, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void server_on_cut(struct server *s, server_cut_fn *fn, void *arg)
{
	s->cut_hooks = xrealloc(s->cut_hooks, (s->cut_hook_count + 1) * sizeof(*s->cut_hooks));
	s->cut_hooks[s->cut_hook_count++] = (struct cut_hook){ fn, arg };
}

bool server_stop(struct server *s)
{
	ENSURE(!loop_is_front());
	on_all_fronts(s, stop_front);
	if (!wait_none_left(s, clock_mono_ms() + atomic_load(&s->grace_ms))) {
		on_all_fronts(s, cut_front);
		for (size_t i = 0; i < s->cut_hook_count; i++)
			s->cut_hooks[i].fn(s->cut_hooks[i].arg);
		(void)wait_none_left(s, 0); /* without a limit it can only end well */
	}
	return !atomic_load(&s->was_cut);
}

void server_free(struct server *s)
{
	if (!s)
		return;
	ENSURE(atomic_load(&s->connections) == 0);
	read_ahead_free(s->read_ahead); /* posts its last mail */
	for (unsigned i = 0; i < s->front_count; i++)
		if (s->fronts[i].loop)
			loop_stop(s->fronts[i].loop);
	for (unsigned i = 0; i < s->front_count; i++)
		front_fini(&s->fronts[i]);
	for (size_t i = 0; i < s->listener_count; i++)
		listener_free(s->listeners[i], s->front_count);
	if (s->metrics)
		metrics_remove_fn(s->metrics, s);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->none_left);
	free(s->listeners);
	free(s->fronts);
	free(s->cut_hooks);
	free(s);
}
