/* client_calls.c -- what a call of libweir-client costs its caller: each is timed alone, in 1 and in 10 threads.
 *
 *      client_calls HOST:PORT THREADS CALLS      prints `KIND NANOSECONDS` for each kind: the median of all calls
 *
 * Beside them a write(2) of as many bytes to /dev/null, the least that a program pays that logs into a file. The daemon
 * is a real one, and the library's thread takes what is told there meanwhile. Two readings of the clock are in every
 * figure (kind `clock`). The queue holds all: a call that drops would be cheaper, and is an error here. */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <weir/client.h>

#define MOST_THREADS 64
#define WARM_UP      200 /* calls of each thread that do not count */
#define FRAMES       60  /* calls with the pause of a frame before each: all caches are cold then */
#define FRAME_US     16667

enum kind { EVENT, LOG, GAUGE, STATE, BEAT, WRITE, CLOCK, FRAME, FRAME_WRITE, KINDS };
static const char *const names[] = { "event", "log",   "gauge", "state",      "heartbeat",
				     "write", "clock", "frame", "frame-write" };

struct worker {
	pthread_t thread;
	enum kind kind;
	int calls;
	uint32_t *ns;
};

static struct weir_client *client;
static pthread_barrier_t start;
static int null_fd, calls;

static int one(enum kind kind, int i)
{
	/* what the event below becomes, about */
	static const char line[] =
		"\"name\":\"enemy_seen\",\"category\":\"info\",\"data\":{\"kind\":\"orc\",\"distance\":12.5,"
		"\"count\":1234},\"source_file\":\"../tests/bench/client_calls.c\",\"source_line\":52,"
		"\"source_function\":\"one\"}";

	switch (kind) {
	case EVENT:
		return weir_event(client, .name = "enemy_seen", .category = "info",
				  .data = WEIR_FIELDS(weir_text("kind", "orc"), weir_number("distance", 12.5),
						      weir_int("count", i)));
	case LOG: return weir_info(client, "enemy_seen", "%s at %d, number %d", "orc", 12, i);
	case GAUGE: return weir_client_gauge(client, "fps", 59.75 + i % 4, NULL);
	case STATE: return weir_client_state(client, WEIR_FIELDS(weir_int("level", i), weir_text("map", "sea")));
	case BEAT: weir_client_heartbeat(client); return 0;
	case FRAME: return weir_client_gauge(client, "fps", 59.75 + i % 4, NULL);
	case FRAME_WRITE:
	case WRITE: return write(null_fd, line, sizeof(line) - 1) > 0 ? 0 : -1;
	default: return 0;
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct timespec a, b;

	pthread_barrier_wait(&start);
	for (int i = w->kind >= FRAME ? -1 : -WARM_UP; i < w->calls; i++) {
		int r;

		if (w->kind >= FRAME)
			usleep(FRAME_US);
		clock_gettime(CLOCK_MONOTONIC, &a);
		r = one(w->kind, i);
		clock_gettime(CLOCK_MONOTONIC, &b);
		if (r < 0) {
			fprintf(stderr, "%s: %s\n", names[w->kind], strerror(-r));
			exit(1);
		}
		if (i >= 0)
			w->ns[i] = (uint32_t)((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec);
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void measure(enum kind kind, int threads)
{
	struct worker workers[MOST_THREADS];
	int each = kind >= FRAME ? FRAMES : calls;
	size_t all = (size_t)threads * (size_t)each;
	uint32_t *ns = calloc(all, sizeof(*ns));

	if (!ns)
		abort();
	pthread_barrier_init(&start, NULL, (unsigned)threads);
	for (int i = 0; i < threads; i++) {
		workers[i] = (struct worker){ .kind = kind, .calls = each, .ns = ns + (size_t)i * (size_t)each };
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			abort();
	}
	for (int i = 0; i < threads; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&start);
	qsort(ns, all, sizeof(*ns), compare);
	printf("%s %u\n", names[kind], ns[all / 2]);
	free(ns);
}

int main(int argc, char **argv)
{
	struct weir_client_options o = { .product = "bench", .version = "1", .queue_bytes = (size_t)256 << 20,
					 .queue_entries = 1000000 };
	struct weir_client_stats s;
	int threads;

	if (argc != 4)
		return 2;
	o.daemon = argv[1];
	threads = (int)strtol(argv[2], NULL, 10);
	calls = (int)strtol(argv[3], NULL, 10);
	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (threads < 1 || threads > MOST_THREADS || null_fd < 0 || weir_client_open(&o, &client) < 0)
		return 1;
	do {
		if (weir_client_stats(client, &s, sizeof(s)) < 0)
			return 1;
		usleep(1000);
	} while (!s.is_connected); /* the queue is being emptied meanwhile */
	for (int kind = 0; kind < KINDS; kind++)
		measure((enum kind)kind, threads);
	(void)weir_client_close(client, 0); /* most of it is not sent: that is not what is measured */
	return 0;
}
