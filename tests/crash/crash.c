/* crash.c -- plays every scenario with every fault at every operation.
 *
 *   crash [--quick] [--seeds N] [-j N] [-k WORD]      all that must hold
 *   crash --self-test [-k WORD]                       what must be caught: wrong writers, and disks that do not sync
 *   crash --one SCENARIO FAULT N [SEED]               one play again, its folder kept and named
 *
 * A series is one scenario with one fault, for n = 1, 2, ... until a play ends without having come to an nth operation.
 * It counts as one test. --quick takes every third n for power cuts that forget all, and every few for others.
 * Folders are made in /dev/shm (TMPDIR says otherwise): the disk under the layer matters to nothing but the time. */
#include "crash.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/obj.h"
#include "io/file.h"

#define PLAY_LIMIT_S    60
#define ENOUGH_FAILURES 3
#define MOST_JOBS       64
#define TEXT_ROOM       3000

struct mode {
	const char *name;
	enum disk_fault fault;
	enum platter_survivors survivors;
	bool cut_at_end;
	unsigned quick_step;
	bool has_seeds;
};

static const struct mode modes[] = {
	{ "stop", DISK_STOP, PLATTER_NOTHING, false, 4, false },
	{ "tear", DISK_TEAR, PLATTER_NOTHING, false, 9, false },
	{ "cut", DISK_CUT, PLATTER_NOTHING, false, 3, false },
	{ "cut-names", DISK_CUT, PLATTER_NAMES, false, 11, false },
	{ "cut-bytes", DISK_CUT, PLATTER_BYTES, false, 13, false },
	{ "cut-some", DISK_CUT, PLATTER_SOME, false, 7, true },
	{ "eio", DISK_EIO, PLATTER_NOTHING, false, 13, false },
	{ "eio-cut", DISK_EIO, PLATTER_NOTHING, true, 13, false },
	{ "eio-on", DISK_EIO_ON, PLATTER_NOTHING, false, 17, false },
	{ "enospc", DISK_ENOSPC, PLATTER_NOTHING, false, 11, false },
	{ "enospc-cut", DISK_ENOSPC, PLATTER_NOTHING, true, 17, false },
	{ "emfile", DISK_EMFILE, PLATTER_NOTHING, false, 7, false },
};

struct failure {
	unsigned nth;
	char text[TEXT_ROOM];
};

/* Shared by the workers of a series. */
struct series {
	const struct scenario *scenario;
	const struct mode *mode;
	unsigned step, blind;
	const char *blind_at;
	uint64_t seed;
	atomic_uint next, end, plays;
	atomic_uint failures;
	struct failure failure[MOST_JOBS + ENOUGH_FAILURES];
};

/* Shared by the processes of a play. */
struct notes {
	atomic_bool reached;
	char complaint[TEXT_ROOM];
	_Alignas(16) char room[RUN_ROOM];
};

static struct notes *notes;
static char *base;
static bool keeps_folder;

static void *shared(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ENSURE(p != MAP_FAILED);
	return p;
}

void run_fail(struct run *run, const char *file, int line, const char *fmt, ...)
{
	size_t n;
	va_list ap;

	(void)run;
	(void)snprintf(notes->complaint, TEXT_ROOM, "%s:%d: ", file, line);
	n = strlen(notes->complaint);
	va_start(ap, fmt);
	(void)vsnprintf(notes->complaint + n, TEXT_ROOM - n, fmt, ap);
	va_end(ap);
	_exit(1);
}

const char *run_path(const struct run *run, const char *name)
{
	static __thread char paths[4][4096];
	static __thread unsigned next;
	char *path = paths[next++ % 4];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", run->dir, name);
	return path;
}

/* --- one play --------------------------------------------------------------------------------------------------- */

/* Runs one part in a process of its own. 0, or the status that waitpid(2) gave; what it said on stderr is added. */
static int in_process(void (*part)(struct run *), struct run *run, const struct disk_plan *plan, struct buf *said)
{
	int status = 0, err = memfd_create("said", MFD_CLOEXEC);
	char text[TEXT_ROOM];
	ssize_t n;
	pid_t pid;

	ENSURE(err >= 0);
	pid = fork();
	ENSURE(pid >= 0);
	if (pid == 0) {
		ENSURE(dup2(err, 2) == 2);
		(void)alarm(PLAY_LIMIT_S);
		if (plan)
			disk_begin(plan);
		part(run);
		disk_end();
	}
	while (waitpid(pid, &status, 0) < 0)
		ENSURE(errno == EINTR);
	n = pread(err, text, sizeof(text), 0);
	if (n > 0)
		buf_add(said, text, (size_t)n);
	(void)close(err);
	return status;
}

static bool is_end(int status)
{
	return status == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == DISK_STOPPED);
}

static void describe(const char *part, int status, struct buf *why)
{
	buf_addf(why, "%s: ", part);
	if (notes->complaint[0])
		buf_add_str(why, notes->complaint);
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		buf_addf(why, "hung for %d s", PLAY_LIMIT_S);
	else if (WIFSIGNALED(status))
		buf_addf(why, "ended by signal %d", WTERMSIG(status));
	else
		buf_addf(why, "ended with status %d", WEXITSTATUS(status));
}

/* Whether all went as it must; `why` says what did not. */
static bool play(const struct series *s, unsigned nth, uint64_t seed, struct buf *why)
{
	char *dir = xstrf("%s/%d-%u", base, (int)getpid(), nth), *grave = xstrf("%s.grave", dir);
	struct run run = {
		.dir = dir, .fault = s->mode->fault, .survivors = s->mode->survivors, .seed = seed, .room = notes->room
	};
	struct disk_plan plan = {
		.dir = dir,
		.fault = s->mode->fault,
		.nth = nth,
		.survivors = s->mode->survivors,
		.seed = seed,
		.cut_at_end = s->mode->cut_at_end,
		.blind = s->blind,
		.blind_at = s->blind_at,
		.is_told = keeps_folder,
		.reached = &notes->reached,
	};
	struct buf said = BUF_EMPTY;
	const char *part = "prepare";
	int status = 0;
	bool good;

	memset(notes, 0, sizeof(*notes));
	ENSURE(dir_make_all(dir, 0700) == 0);
	if (s->scenario->prepare)
		status = in_process(s->scenario->prepare, &run, NULL, &said);
	good = is_end(status);
	if (good) {
		part = "act";
		ENSURE(tree_remove(grave) == 0); /* of a disk that prepare had */
		status = in_process(s->scenario->act, &run, &plan, &said);
		good = is_end(status);
	}
	if (good) {
		part = "check";
		status = in_process(s->scenario->check, &run, NULL, &said);
		good = status == 0;
	}
	if (!good)
		describe(part, status, why);
	if (!good || keeps_folder)
		buf_addf(why, "\n%s", said.data);
	if (!keeps_folder) {
		ENSURE(tree_remove(dir) == 0);
		ENSURE(tree_remove(grave) == 0);
	}
	buf_fini(&said);
	free(dir);
	free(grave);
	return good;
}

/* --- a series --------------------------------------------------------------------------------------------------- */

static _Noreturn void worker(struct series *s)
{
	notes = shared(sizeof(*notes));
	while (atomic_load(&s->failures) < ENOUGH_FAILURES) {
		unsigned n = atomic_fetch_add(&s->next, s->step);
		struct buf why = BUF_EMPTY;
		bool good;
		if (n >= atomic_load(&s->end))
			break;
		good = play(s, n, s->seed * 1000003 + n, &why);
		atomic_fetch_add(&s->plays, 1);
		if (!good) {
			struct failure *f = &s->failure[atomic_fetch_add(&s->failures, 1)];
			f->nth = n;
			(void)snprintf(f->text, TEXT_ROOM, "%s", why.data);
		}
		if (!atomic_load(&notes->reached)) {
			unsigned end = atomic_load(&s->end);
			while (n < end && !atomic_compare_exchange_weak(&s->end, &end, n))
				;
		}
		buf_fini(&why);
	}
	_exit(0);
}

static void play_series(struct series *s, unsigned jobs)
{
	atomic_store(&s->next,
		     1 + (unsigned)(s->mode - modes) % s->step); /* so that, sampled, they meet different ones */
	atomic_store(&s->end, UINT32_MAX);
	atomic_store(&s->plays, 0);
	atomic_store(&s->failures, 0);
	for (unsigned i = 0; i < jobs; i++) {
		pid_t pid = fork();
		ENSURE(pid >= 0);
		if (pid == 0)
			worker(s);
	}
	for (unsigned i = 0; i < jobs; i++) {
		int status = 0;
		ENSURE(wait(&status) > 0);
		if (status != 0) {
			struct failure *f = &s->failure[atomic_fetch_add(&s->failures, 1)];
			f->nth = 0;
			(void)snprintf(f->text, TEXT_ROOM, "a worker ended with status %#x", (unsigned)status);
		}
	}
}

static void tell_failures(const struct series *s)
{
	for (unsigned i = 0; i < atomic_load(&s->failures); i++)
		(void)printf("    n=%u seed=%llu: %s\n", s->failure[i].nth,
			     (unsigned long long)(s->seed * 1000003 + s->failure[i].nth), s->failure[i].text);
}

/* --- everything ------------------------------------------------------------------------------------------------- */

struct options {
	unsigned jobs, seeds;
	bool is_quick, is_self_test;
	const char *word;
};

static unsigned passed, failed;

static void count(bool good, const struct series *s, const char *what, int64_t since_ms)
{
	(void)printf("  %-28s %-22s %6u plays  %s  %.1f s\n", s->scenario->name, what, atomic_load(&s->plays),
		     good ? "ok" : "FAILED", (double)(clock_mono_ms() - since_ms) / 1000);
	*(good ? &passed : &failed) += 1;
}

/* As many plays of another scenario. */
static unsigned length_of(const struct scenario *sc)
{
	return sc->kind == LONG ? 5 : 1;
}

static void must_hold(const struct scenario *sc, const struct options *o, struct series *s)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		bool is_cut = modes[i].fault == DISK_CUT && modes[i].survivors == PLATTER_NOTHING;
		unsigned seeds = sc->kind == LAW && !is_cut ? 0 : modes[i].has_seeds ? o->seeds : 1;
		for (unsigned seed = 1; seed <= seeds; seed++) {
			int64_t begin = clock_mono_ms();
			*s = (struct series){ .scenario = sc, .mode = &modes[i], .seed = seed };
			s->step = o->is_quick ? modes[i].quick_step * length_of(sc) : 1;
			play_series(s, o->jobs);
			count(atomic_load(&s->failures) == 0, s, modes[i].name, begin);
			tell_failures(s);
			(void)fflush(stdout);
		}
	}
}

/* One kill or power cut at least must be seen to break it. */
static void must_be_caught(const struct scenario *sc, const char *what, const struct options *o, struct series *s)
{
	int64_t begin = clock_mono_ms();
	unsigned blind = s->blind;
	const char *blind_at = s->blind_at;

	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		/* A kill loses nothing of what is not synced. */
		if (modes[i].fault == DISK_STOP ? blind != 0 : modes[i].fault != DISK_CUT && !modes[i].cut_at_end)
			continue;
		*s = (struct series){
			.scenario = sc, .mode = &modes[i], .seed = 1, .blind = blind, .blind_at = blind_at
		};
		s->step = blind ? 5 * length_of(sc) : 1; /* nearly every n after the first promise shows it */
		play_series(s, o->jobs);
		if (atomic_load(&s->failures) > 0)
			break;
	}
	count(atomic_load(&s->failures) > 0, s, what, begin);
	(void)printf("    %s\n", atomic_load(&s->failures) > 0 ? s->failure[0].text : "nothing noticed it");
	(void)fflush(stdout);
}

static void self_test(const struct scenario *sc, const struct options *o, struct series *s)
{
	static const struct {
		unsigned blind;
		const char *what;
	} kinds[] = { { DISK_BLIND_FILES, "needs synced files" }, { DISK_BLIND_DIRS, "needs synced folders" } };
	char what[64];

	*s = (struct series){ 0 };
	if (sc->kind == WRONG)
		must_be_caught(sc, "is caught", o, s);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (!(sc->blind & kinds[i].blind))
			continue;
		*s = (struct series){ .blind = kinds[i].blind };
		must_be_caught(sc, kinds[i].what, o, s);
		if (!sc->blind_at)
			continue;
		*s = (struct series){ .blind = kinds[i].blind, .blind_at = sc->blind_at };
		(void)snprintf(what, sizeof(what), "%s in %s", kinds[i].what, sc->blind_at);
		must_be_caught(sc, what, o, s);
	}
}

static const struct scenario *const all[] = { law_scenarios, file_scenarios, db_scenarios, outbox_scenarios,
					      many_scenarios, sessions_scenarios, hub_scenarios,
					      cache_scenarios };

static int once(char **argv, int argc)
{
	struct series *s = shared(sizeof(*s));
	struct buf why = BUF_EMPTY;
	bool good;

	ENSURE(argc >= 3);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		for (const struct scenario *sc = all[i]; sc->name; sc++)
			if (strcmp(sc->name, argv[0]) == 0)
				s->scenario = sc;
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (strcmp(modes[i].name, argv[1]) == 0)
			s->mode = &modes[i];
	if (!s->scenario || !s->mode) {
		(void)fprintf(stderr, "no such scenario or fault\n");
		return 2;
	}
	keeps_folder = true;
	notes = shared(sizeof(*notes));
	good = play(s, (unsigned)strtoul(argv[2], NULL, 10), argc > 3 ? strtoull(argv[3], NULL, 10) : 1, &why);
	(void)printf("%s%s%s\n%s\n", good ? "ok" : "", why.data, atomic_load(&notes->reached) ? "" : " (not reached)",
		     base);
	buf_fini(&why);
	return good ? 0 : 1;
}

static unsigned number(const char *text)
{
	unsigned long n = strtoul(text, NULL, 10);

	return n < 1 ? 1 : n > MOST_JOBS ? MOST_JOBS : (unsigned)n;
}

static int usage(void)
{
	(void)fprintf(stderr, "usage: crash [--quick] [--seeds N] [-j N] [-k WORD] | --self-test [-k WORD] | "
			      "--one SCENARIO FAULT N [SEED]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "quick", no_argument, NULL, 'q' },
		{ "self-test", no_argument, NULL, 't' },
		{ "seeds", required_argument, NULL, 's' },
		{ "one", no_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	struct options o = { .jobs = number(""), .seeds = 1 };
	const char *tmp = getenv("TMPDIR");
	bool is_one = false;
	int c, r = 0;

	o.jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	while ((c = getopt_long(argc, argv, "j:k:", longs, NULL)) != -1) {
		switch (c) {
		case 'q': o.is_quick = true; break;
		case 't': o.is_self_test = true; break;
		case 's': o.seeds = number(optarg); break;
		case 'o': is_one = true; break;
		case 'j': o.jobs = number(optarg); break;
		case 'k': o.word = optarg; break;
		default: return usage();
		}
	}
	base = xstrf("%s/weir-crash-XXXXXX", tmp ? tmp : access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	ENSURE(mkdtemp(base));
	(void)setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	if (is_one) {
		r = argc - optind >= 3 ? once(argv + optind, argc - optind) : usage();
	} else {
		struct series *s = shared(sizeof(*s));
		for (size_t i = 0; i < ARRAY_LEN(all); i++)
			for (const struct scenario *sc = all[i]; sc->name; sc++) {
				if (o.word && !strstr(sc->name, o.word))
					continue;
				if (o.is_self_test)
					self_test(sc, &o, s);
				else if (sc->kind != WRONG)
					must_hold(sc, &o, s);
			}
		ENSURE(tree_remove(base) == 0);
		(void)printf("%u passed, %u failed\n", passed, failed);
		r = failed || !passed ? 1 : 0;
	}
	free(base);
	return r;
}
