/* client_actor.c -- a program that reports by libweir-client and does what a story says, a line of standard input at a
 * time.
 *
 * Each command is answered by one line on standard output: a code of the library, or JSON. The stories' side is
 * tests/lib/lab/client.py; the table at the end lists the commands. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/client.h>

#define MOST_ARGS    16
#define MOST_THREADS 64

static struct weir_client *client;

static int number(char **args, int i)
{
	return args[i] ? (int)strtol(args[i], NULL, 10) : 0;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static int do_open(char **args) /* PRODUCT ADDRESS HEARTBEAT_MS ANSWER_MS QUEUE_BYTES QUEUE_ENTRIES FLAGS */
{
	const struct weir_client_options o = {
		.product = args[1],
		.version = "1.0",
		.daemon = args[2],
		.heartbeat_ms = number(args, 3),
		.answer_ms = number(args, 4),
		.queue_bytes = (size_t)number(args, 5),
		.queue_entries = (size_t)number(args, 6),
		.flags = (unsigned)number(args, 7),
	};

	return weir_client_open(&o, &client);
}

static int do_close(char **args)
{
	int r = weir_client_close(client, number(args, 1));

	client = NULL;
	return r;
}

static int do_flush(char **args)
{
	return weir_client_flush(client, number(args, 1));
}

static int do_stats(char **args)
{
	struct weir_client_stats s;
	int r = weir_client_stats(client, &s, sizeof(s));
	const struct {
		const char *name;
		const unsigned long long *of;
	} lists[] = {
		{ "taken", s.taken }, { "answered", s.answered }, { "dropped", s.dropped }, { "refused", s.refused }
	};

	if (r < 0)
		return r;
	printf("{");
	for (size_t i = 0; i < 4; i++)
		printf("\"%s\": [%llu, %llu, %llu, %llu], ", lists[i].name, lists[i].of[0], lists[i].of[1],
		       lists[i].of[2], lists[i].of[3]);
	printf("\"repeated\": %llu, \"heartbeats\": %llu, \"connects\": %llu, \"sessions\": %llu, "
	       "\"crash_reports\": %llu, "
	       "\"queued_entries\": %llu, \"queued_bytes\": %llu, \"is_connected\": %d, \"last_error\": %d, "
	       "\"last_status\": %d, \"session_id\": \"%s\"}\n",
	       s.repeated, s.heartbeats, s.connects, s.sessions, s.crash_reports, s.queued_entries, s.queued_bytes,
	       s.is_connected, s.last_error, s.last_status, s.session_id);
	return 1;
}

/* --- telling ----------------------------------------------------------------------------------------------------- */

static int do_state(char **args)
{
	return weir_client_state_json(client, args[1]);
}

static int do_event(char **args) /* NAME N */
{
	return weir_event(client, .name = args[1], .data = WEIR_FIELDS(weir_int("n", number(args, 2))));
}

static int do_log(char **args)
{
	return weir_warning(client, args[1], "%s of %d", args[2], 7);
}

static int do_exception(char **args)
{
	return weir_event(client, .name = args[1], .category = "error", .group = "io",
			  .labels = WEIR_TEXTS("disk", "b\xff"), .exception_type = "OSError",
			  .exception_message = "no space", .stacktrace = WEIR_TEXTS("write_all", "save", "main"));
}

static __attribute__((noinline)) int inner(const char *name)
{
	return weir_event(client, .name = name, .stack_here = WEIR_STACK_HERE) + 0 * getpid(); /* no tail call */
}

static int do_stack(char **args)
{
	return inner(args[1]) + 0 * getpid();
}

static int do_metric(char **args) /* KIND NAME VALUE */
{
	static const double buckets[] = { 0.5, 1, 5 };
	const struct weir_metric tagged = { .tags = WEIR_TEXTS("b", "a") },
				 sorted = { .unit = "ms", .buckets = buckets, .bucket_count = 3 };
	double v = strtod(args[3], NULL);

	switch (*args[1]) {
	case 'g': return weir_client_gauge(client, args[2], v, NULL);
	case 'c': return weir_client_counter(client, args[2], v, &tagged);
	case 'h': return weir_client_histogram(client, args[2], v, &sorted);
	default: return weir_client_timer(client, args[2], v, NULL);
	}
}

static int do_heartbeat(char **args)
{
	weir_client_heartbeat(client);
	return 0;
}

static int do_pause(char **args)
{
	return weir_client_pause(client);
}

static int do_resume(char **args)
{
	return weir_client_resume(client);
}

struct worker {
	pthread_t thread;
	int number, each;
};

static atomic_int taken;

static void *work(void *arg)
{
	const struct worker *w = arg;

	for (int i = 0; i < w->each; i++) {
		int r = weir_event(client, .name = "step",
				   .data = WEIR_FIELDS(weir_int("thread", w->number), weir_int("n", i)));

		if (r == 0)
			atomic_fetch_add(&taken, 1);
		(void)weir_client_gauge(client, "load", i, NULL);
		weir_client_heartbeat(client);
		if (i % 1000 == 0)
			(void)weir_client_state(client, WEIR_FIELDS(weir_int("at", i)));
	}
	return NULL;
}

static int do_threads(char **args) /* COUNT EACH: how many events were taken */
{
	struct worker workers[MOST_THREADS];
	int count = number(args, 1);

	atomic_store(&taken, 0);
	for (int i = 0; i < count; i++) {
		workers[i].number = i;
		workers[i].each = number(args, 2);
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			abort();
	}
	for (int i = 0; i < count; i++)
		pthread_join(workers[i].thread, NULL);
	printf("%d\n", atomic_load(&taken));
	return 1;
}

/* --- misfortune -------------------------------------------------------------------------------------------------- */

static int do_catch(char **args)
{
	return weir_client_catch_crashes(client, args[1]);
}

static void earlier_handler(int sig)
{
	static const char text[] = "the earlier handler\n";

	(void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
	_exit(7);
}

static int do_handler(char **args)
{
	return signal(SIGSEGV, earlier_handler) == SIG_ERR ? -errno : 0;
}

static __attribute__((noinline, no_sanitize("address", "undefined"))) long overflow(long depth)
{
	volatile char much[4096];

	much[0] = (char)depth;
	return depth > 1000000000 ? 0 : overflow(depth + 1) + much[0];
}

static void *crash_here(void *arg)
{
	int *volatile nowhere = (int *)16;

	*nowhere = 1;
	return NULL;
}

/* A system call that a filter of the program forbids. */
static void forbidden(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(1);
	(void)getppid();
}

static int do_crash(char **args)
{
	pthread_t thread;

	switch (*args[1]) {
	case 's': crash_here(NULL); break;
	case 'a': abort();
	case 'o': return (int)overflow(1);
	case 'r': return kill(getpid(), SIGSEGV);
	case 'f': forbidden(); break;
	default: /* in another thread */
		if (pthread_create(&thread, NULL, crash_here, NULL) == 0)
			pthread_join(thread, NULL);
	}
	return 0;
}

/* What a child may do: nothing with its parent's, everything with its own. */
static int do_fork(char **args) /* ADDRESS */
{
	struct weir_client *own;
	const struct weir_client_options o = { .product = "child", .version = "1", .daemon = args[1] };
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int wrong = 0;

		wrong |= weir_info(client, "from_the_child", "no") != -ECHILD;
		wrong |= (weir_client_flush(client, 10000) != -ECHILD) << 1;
		wrong |= (weir_client_close(client, 10000) != -ECHILD) << 2;
		client = NULL;
		wrong |= (weir_client_open(&o, &own) != 0) << 3;
		wrong |= (weir_info(own, "childs_own", "yes") != 0) << 4;
		wrong |= (weir_client_close(own, 20000) != 0) << 5;
		_exit(wrong);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

/* The child dies of a signal; the parent is told of which. */
static int do_fork_crash(char **args)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		crash_here(NULL);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		return -errno;
	printf("%d\n", WTERMSIG(status));
	return 1;
}

/* The child gives its parent's client back, has one of its own, and dies of a signal. */
static int do_fork_own_crash(char **args) /* ADDRESS FOLDER */
{
	const struct weir_client_options o = { .product = "child", .version = "1", .daemon = args[1] };
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct weir_client *own;

		if (weir_client_close(client, 0) != -ECHILD || weir_client_open(&o, &own) != 0 ||
		    weir_client_catch_crashes(own, args[2]) != 0 || weir_info(own, "childs_own", "yes") != 0 ||
		    weir_client_flush(own, 20000) != 0)
			_exit(1);
		crash_here(NULL);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		return -ECANCELED;
	printf("%d\n", WTERMSIG(status));
	return 1;
}

static int do_exit(char **args)
{
	exit(number(args, 1));
}

/* --- the loop ---------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int (*fn)(char **args); /* 1: it has printed its answer */
	int args; /* the last takes the rest of the line */
} commands[] = {
	{ "open", do_open, 7 },       { "close", do_close, 1 },         { "flush", do_flush, 1 },
	{ "stats", do_stats, 0 },     { "state", do_state, 1 },         { "event", do_event, 2 },
	{ "log", do_log, 2 },         { "exception", do_exception, 1 }, { "metric", do_metric, 3 },
	{ "pause", do_pause, 0 },     { "resume", do_resume, 0 },       { "heartbeat", do_heartbeat, 0 },
	{ "threads", do_threads, 2 }, { "catch", do_catch, 1 },         { "crash", do_crash, 1 },
	{ "handler", do_handler, 0 }, { "fork", do_fork, 1 },           { "fork_crash", do_fork_crash, 0 },
	{ "stack", do_stack, 1 },     { "exit", do_exit, 1 },           { "fork_own_crash", do_fork_own_crash, 2 },
};

static void split(char *line, char **args)
{
	size_t n = 0;
	int most = 0;

	line[strcspn(line, "\n")] = '\0';
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcspn(line, " ") == strlen(commands[i].name) &&
		    strncmp(line, commands[i].name, strcspn(line, " ")) == 0)
			most = commands[i].args;
	memset(args, 0, (MOST_ARGS + 1) * sizeof(*args));
	for (char *at = line; at && n <= (size_t)most; n++) {
		args[n] = at;
		at = n < (size_t)most ? strchr(at, ' ') : NULL;
		if (at)
			*at++ = '\0';
	}
}

int main(void)
{
	static char line[1024 * 1024];
	char *args[MOST_ARGS + 1];

	while (fgets(line, sizeof(line), stdin)) {
		int r = -ENOSYS;

		split(line, args);
		for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
			if (strcmp(args[0], commands[i].name) == 0)
				r = commands[i].fn(args);
		if (r <= 0 || strcmp(args[0], "fork") == 0)
			printf("%d\n", r);
		fflush(stdout);
	}
	return 0;
}
