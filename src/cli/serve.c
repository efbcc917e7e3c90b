/* serve.c -- `weir serve` and `weir hub`: from a configuration to a daemon that answers, and back again in good order.
 *
 * WHAT     Brings up, in this order: configuration, folder lock, workers, metrics, front threads, services (which bind
 *          their listeners), then opens all listeners at once. Takes down in the opposite order.
 * WHY      The order is the safety: no listener accepts before everything behind it stands, and nothing is freed
 *          while a request could still reach it.
 * RULES    1. One daemon owns data_dir, or its part of it (invariant 12): the lock is taken before anything in it is
 *             touched.
 *          2. All signals are blocked before the first thread starts; the main thread alone waits for them.
 *          3. SIGHUP: a configuration with a problem changes nothing; what cannot change live is named.
 *          4. Configurations are kept until the end, as services may read the section they were last given without a
 *             lock.
 * THREADS  The main thread. Helpers below run on it unless they say otherwise. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "cli/cli_priv.h"
#include "cli/children.h"
#include "cli/notify.h"
#include "core/dirlock.h"
#include "io/file.h"
#include "store/outbox.h"

#define HEADER_TIMEOUT_MS 30000 /* see struct server_limits */
#define IDLE_TIMEOUT_MS 75000
#define BODY_TIMEOUT_MS 60000
#define SEND_TIMEOUT_MS 60000
#define TICK_MS 250
#define LAST_DRAIN_MS 1000 /* for jobs that are left when the services have stopped, which wait for theirs */

struct daemon {
	const struct cli *cli;
	struct config **configs; /* the first is that of the start, the last the newest */
	size_t config_count;
	int lock_fd;
	struct core core;
	struct outbox *outbox;
	struct services services;
};

static struct config *newest(const struct daemon *d)
{
	return d->configs[d->config_count - 1];
}

static void keep_config(struct daemon *d, struct config *take)
{
	d->configs = xrealloc(d->configs, (d->config_count + 1) * sizeof(struct config *));
	d->configs[d->config_count++] = take;
}

/* --- the ground --- */

static void watched_signals(sigset_t *ret)
{
	(void)sigemptyset(ret); /* these two fail only for numbers that are no signals */
	(void)sigaddset(ret, SIGTERM);
	(void)sigaddset(ret, SIGINT);
	(void)sigaddset(ret, SIGHUP);
}

static void prepare_process(void)
{
	struct rlimit files;
	sigset_t set;

	watched_signals(&set);
	ENSURE(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
	ENSURE(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	(void)umask(077); /* what weir caches is nobody else's business */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE,
				&files); /* fewer connections then, which the limit of connections bounds anyway */
	}
}

static struct server_limits server_limits_of(const struct config *c)
{
	const struct config_limits *l = config_limits(c);

	return (struct server_limits){
		.connections = (unsigned)l->connections,
		.header_bytes = l->header_bytes,
		.request_body = l->request_body,
		.header_timeout_ms = HEADER_TIMEOUT_MS,
		.idle_timeout_ms = IDLE_TIMEOUT_MS,
		.body_timeout_ms = BODY_TIMEOUT_MS,
		.send_timeout_ms = SEND_TIMEOUT_MS,
		.shutdown_grace_ms = config_shutdown_grace_ms(c),
	};
}

static unsigned front_threads(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > 64 ? 64 : (unsigned)n;
}

static int start_core(struct daemon *d)
{
	struct server_limits limits = server_limits_of(newest(d));
	int err;

	d->core.config = d->configs[0];
	d->core.data_dir = config_data_dir(d->core.config);
	d->core.version = WEIR_VERSION;
	d->core.started_mono_ms = clock_mono_ms();
	d->core.started_wall_ms = clock_wall_ms();
	d->core.services = &d->services;
	d->services.core = &d->core;
	d->core.outbox = &d->outbox;
	err = pool_new((unsigned)config_limits(d->core.config)->workers, &d->core.pool);
	if (err) {
		cli_complain("cannot start workers: %s", err_text(err));
		return EXIT_FAILED;
	}
	d->core.metrics = metrics_new();
	metrics_register_process(d->core.metrics, WEIR_VERSION);
	err = server_new(front_threads(), &limits, d->core.metrics, &d->core.server);
	if (err) {
		cli_complain("cannot start front threads: %s", err_text(err));
		return EXIT_FAILED;
	}
	return 0;
}

static int start_services(struct daemon *d)
{
	struct buf words = BUF_EMPTY;
	size_t n = 0;
	int err = 0;

	while (d->cli->services[n])
		n++;
	d->services.items = xcalloc(n + 1, sizeof(*d->services.items));
	for (size_t i = 0; i < n && !err; i++) {
		const struct service *s = d->cli->services[i];
		const void *section = config_section(newest(d), s->name);
		void *state = NULL;

		if (!section)
			continue;
		err = s->start(&d->core, section, &state, &words);
		if (!err)
			d->services.items[d->services.count++] = (struct service_instance){ s, state };
		else
			cli_complain("%s: %s", s->name, words.len ? words.data : err_text(err));
	}
	buf_fini(&words);
	if (!err && !d->services.count) {
		cli_complain("%s names no service to run: add a section, as in `git:`", config_file(newest(d)));
		return EXIT_USAGE;
	}
	return !err ? 0 : err == -EINVAL ? EXIT_USAGE : EXIT_FAILED; /* such as a certificate that cannot be used */
}

/* All at once, and only then is the world told: who reads `ready` may connect to any of them. */
static void open_listeners(struct daemon *d)
{
	server_open(d->core.server);
	for (size_t i = 0; i < server_listener_count(d->core.server); i++) {
		char address[128];
		const char *name;

		server_listener_at(d->core.server, i, &name, address, sizeof(address));
		printf("listening %s %s\n", name, address);
	}
	printf("ready\n");
	if (fflush(stdout) != 0)
		clearerr(stdout); /* nobody listens any more: no reason not to serve, nor to end with a failure */
	notify_manager("READY=1");
	if (d->cli->extra && d->cli->extra->ready)
		d->cli->extra->ready(d->cli->extra->arg);
}

/* --- SIGHUP --- */

static void log_lines(enum log_level level, const char *event, const char *key, const struct buf *lines)
{
	struct slice rest = buf_slice(lines), line;

	while (rest.n) {
		(void)slice_cut(&rest, '\n', &line);
		if (line.n)
			log_event(level, event, LOG_SLICE(key, line), LOG_END);
	}
}

static void take_over(struct daemon *d, struct config *c)
{
	struct server_limits limits = server_limits_of(c);
	struct buf fixed = BUF_EMPTY;

	log_configure(config_log_level(c), config_log_format(c));
	server_set_limits(d->core.server, &limits);
	for (size_t i = 0; i < d->services.count; i++) {
		const struct service_instance *s = &d->services.items[i];
		const void *section = config_section(c, s->service->name);

		if (section && s->service->reload)
			s->service->reload(s->state, section);
	}
	/* Against the start, not the last reload: what needed a restart then needs it still. */
	config_diff_not_live(d->configs[0], c, &fixed);
	log_lines(LOG_WARN, "config_needs_restart", "key", &fixed);
	buf_fini(&fixed);
}

static void say_reloaded(const struct config *c)
{
	static const char *const levels[] = {
		[LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"
	};

	log_event(LOG_INFO, "config_reloaded", LOG_STR("file", config_file(c) ? config_file(c) : "none"),
		  LOG_STR("log_level", levels[config_log_level(c)]), LOG_END);
}

static void reload(struct daemon *d)
{
	struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;
	struct config_source src = {
		.file = d->cli->file ? d->cli->file : config_file(d->configs[0]),
		.sets = d->cli->sets,
		.env = (const char *const *)environ,
		.sections = d->cli->sections,
		.always = d->cli->command->section,
	};
	struct config *c = NULL;
	bool quieter;

	if (config_load(&src, &c, &problems, &warnings) < 0) {
		log_lines(LOG_ERROR, "config_rejected", "problem", &problems);
	} else {
		quieter = config_log_level(c) > LOG_INFO; /* then say it while it can still be heard */
		if (quieter)
			say_reloaded(c);
		take_over(d, c);
		if (!quieter)
			say_reloaded(c);
		keep_config(d, c);
	}
	buf_fini(&problems);
	buf_fini(&warnings);
}

/* --- the end --- */

/* A thread of its own: while the main thread waits for the last requests, another signal ends everything. Nothing is
 * lost by that: what was acknowledged is on disk, and what is half done is cleaned up at the next start, as after a
 * crash. */
static void *end_at_second_signal(void *arg)
{
	sigset_t set;
	int number;

	(void)arg;
	watched_signals(&set);
	(void)sigdelset(&set, SIGHUP); /* stays blocked: nothing is left to be reloaded */
	while (sigwait(&set, &number) != 0)
		;
	(void)children_kill(); /* however many there were */
	_exit(EXIT_DONE);
}

static void watch_for_second_signal(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, end_at_second_signal, NULL) == 0)
		(void)pthread_detach(thread); /* fails only for what is no thread */
}

static void stop_services(struct daemon *d)
{
	while (d->services.count) {
		const struct service_instance *s = &d->services.items[d->services.count - 1];

		s->service->stop(s->state);
		d->services.count--;
	}
}

/* Frees what stands, however much of it that is. False: jobs are still running, so that nothing more may be freed. */
static bool tear_down(struct daemon *d)
{
	stop_services(d);
	if (d->core.pool && pool_drain(d->core.pool, LAST_DRAIN_MS) < 0)
		return false;
	outbox_close(d->outbox);
	if (d->core.server)
		server_free(d->core.server);
	if (d->core.pool)
		pool_free(d->core.pool);
	metrics_free(d->core.metrics);
	free(d->services.items);
	while (d->config_count)
		config_unref(&d->configs[--d->config_count]);
	free(d->configs);
	fd_close(&d->lock_fd);
	return true;
}

static void stop(struct daemon *d, int number)
{
	int64_t began = clock_mono_ms();
	bool whole;

	watch_for_second_signal();
	notify_manager("STOPPING=1");
	log_event(LOG_INFO, "stopping", LOG_STR("signal", number == SIGTERM ? "SIGTERM" : "SIGINT"), LOG_END);
	atomic_store(&d->services.stopping, true);
	whole = server_stop(d->core.server);
	log_event(whole ? LOG_INFO : LOG_WARN, whole ? "stopped" : "stopped_with_cut_requests",
		  LOG_INT("took_ms", clock_mono_ms() - began), LOG_END);
	if (d->cli->extra && d->cli->extra->closed)
		d->cli->extra->closed(d->cli->extra->arg, &d->core);
}

/* The next signal; 0: it is time for a tick. */
static int next_signal(const struct serve_extra *x, const sigset_t *set)
{
	const struct timespec tick = { .tv_nsec = TICK_MS * 1000000 };
	int number;

	if (x && x->tick)
		number = sigtimedwait(set, NULL, &tick);
	else
		number = sigwaitinfo(set, NULL);
	return number < 0 ? 0 : number;
}

static void wait_for_signals(struct daemon *d)
{
	const struct serve_extra *x = d->cli->extra;
	bool is_leaving = false;
	sigset_t set;
	int number;

	watched_signals(&set);
	for (;;) {
		number = next_signal(x, &set);
		if (number == SIGHUP)
			reload(d);
		else if (number && (is_leaving || !x || !x->asked_to_end))
			break;
		else if (number)
			x->asked_to_end(x->arg);
		is_leaving = is_leaving || (number && number != SIGHUP);
		if (x && x->tick && x->tick(x->arg, &d->core)) {
			number = number ? number : SIGTERM;
			break;
		}
	}
	stop(d, number);
}

/* What a daemon of one section keeps is below a folder of its own: two with one data_dir do not meet. */
static int take_lock(struct daemon *d, struct buf *words)
{
	const char *data_dir = config_data_dir(newest(d)), *own = d->cli->command->section;
	char *dir;
	int r;

	if (d->cli->extra) {
		d->lock_fd = d->cli->extra->lock_fd;
		return 0;
	}
	dir = own ? xstrf("%s/%s", data_dir, own) : xstrdup(data_dir);
	r = dirlock_take(dir, &d->lock_fd, words);
	free(dir);
	return r;
}

static int run(struct daemon *d)
{
	struct buf words = BUF_EMPTY;
	int status;

	if (take_lock(d, &words) < 0) {
		cli_complain("%s", words.data);
		buf_fini(&words);
		return EXIT_USAGE;
	}
	buf_fini(&words);
	status = start_core(d);
	if (!status)
		status = start_services(d);
	if (status) {
		if (d->core.server)
			(void)server_stop(d->core.server); /* no connection was taken yet: nothing to cut */
		return status;
	}
	open_listeners(d);
	log_event(LOG_INFO, "started", LOG_STR("version", WEIR_VERSION), LOG_STR("data_dir", d->core.data_dir),
		  LOG_INT("took_ms", clock_mono_ms() - d->core.started_mono_ms), LOG_END);
	wait_for_signals(d);
	return EXIT_DONE;
}

int cmd_serve(const struct cli *cli)
{
	struct daemon d = { .cli = cli, .lock_fd = -1 };
	struct config *c = NULL;
	int status = cli_load_config(cli, false, &c);

	if (status)
		return status;
	keep_config(&d, c);
	log_configure(config_log_level(c), config_log_format(c));
	prepare_process();
	status = run(&d);
	if (!tear_down(&d)) {
		log_event(LOG_WARN, "stopped_with_running_jobs", LOG_END);
		log_flush();
		(void)children_kill(); /* however many there were */
		_exit(status);
	}
	log_flush();
	return status;
}
