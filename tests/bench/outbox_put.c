/* outbox_put.c -- how many durable writes a second the outbox takes, and what it is compared with.
 *
 *   outbox_put [--log | --files] DIR THREADS SECONDS BYTES
 *
 * Prints puts a second. Each thread puts an entry with a body of BYTES, to a path of its own, as soon as its last is
 * durable. --log    instead: a bare log with group commit. Whoever comes first takes what all have appended so far,
 * writes it with one
 *          pwrite and one fdatasync, and lets the others go: the least that a durable queue can do.
 * --files  instead: for each entry two files (head and body), each synced, in a folder that is synced: a layout of one
 *          entry a folder's name, as ZDDC has it, made durable.
 * DIR is made, and left. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "base/rand.h"
#include "base/str.h"
#include "io/file.h"
#include "store/outbox.h"

#define MOST_THREADS 1024
#define HEAD "PUT /file HTTP/1.1\nContent-Type: application/octet-stream\nIdempotency-Key: 0123456789\n"

static atomic_bool stopping;
static atomic_ullong done;
static const char *dir;
static struct slice body;

static _Noreturn void die(const char *what, int r)
{
	(void)fprintf(stderr, "outbox_put: %s: %s\n", what, err_text(r));
	exit(1);
}

/* --- the outbox ------------------------------------------------------------------------------------------------- */

static struct outbox_queue *queue;

static void put_one(unsigned thread, uint64_t n)
{
	char uri[64];
	struct outbox_receipt got;
	struct outbox_write w = { .method = SLICE_LIT("PUT"),
				  .headers = SLICE_LIT("Content-Type: application/octet-stream\n"),
				  .content_type = SLICE_LIT("application/octet-stream"),
				  .wants_parent = true,
				  .is_base = true,
				  .expect_tail = OUTBOX_ANY };
	int r;

	(void)snprintf(uri, sizeof(uri), "/data/%u/%llu.bin", thread, (unsigned long long)n);
	w.key = w.uri = slice_str(uri);
	if (body.n <= OUTBOX_INLINE_BYTES) {
		w.body = body;
		r = outbox_put(queue, &w, &got);
	} else {
		r = outbox_spool_new(queue, &w.spool);
		if (r == 0)
			r = spool_append(w.spool, body.p, body.n);
		if (r == 0) {
			spool_complete(w.spool);
			r = outbox_put(queue, &w, &got);
		}
		spool_unref(&w.spool);
	}
	if (r < 0)
		die("put", r);
}

/* --- the log ---------------------------------------------------------------------------------------------------- */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t log_synced_more = PTHREAD_COND_INITIALIZER;
static int log_fd = -1;
static struct buf log_waiting = BUF_EMPTY, log_taken = BUF_EMPTY;
static uint64_t log_appended, log_synced; /* records */
static off_t log_end;
static bool log_is_led;

static void log_one(void)
{
	uint64_t mine;

	pthread_mutex_lock(&log_lock);
	buf_add(&log_waiting, HEAD, strlen(HEAD));
	buf_add_slice(&log_waiting, body);
	mine = ++log_appended;
	while (log_synced < mine) {
		uint64_t upto = log_appended;
		struct buf all = log_waiting;

		if (log_is_led) {
			pthread_cond_wait(&log_synced_more, &log_lock);
			continue;
		}
		log_is_led = true;
		log_waiting = log_taken; /* two buffers take turns */
		buf_reset(&log_waiting);
		log_taken = all;
		pthread_mutex_unlock(&log_lock);
		if (pwrite(log_fd, all.data, all.len, log_end) != (ssize_t)all.len || fdatasync(log_fd) < 0)
			die("log", -errno);
		pthread_mutex_lock(&log_lock);
		log_end += (off_t)all.len;
		log_synced = upto;
		log_is_led = false;
		pthread_cond_broadcast(&log_synced_more);
	}
	pthread_mutex_unlock(&log_lock);
}

/* --- two files -------------------------------------------------------------------------------------------------- */

static void file_one(const char *path, struct slice s)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), r;

	if (fd < 0)
		die(path, -errno);
	r = fd_write_all(fd, s.p, s.n);
	if (r < 0 || fsync(fd) < 0)
		die(path, r < 0 ? r : -errno);
	fd_close(&fd);
}

static void files_one(unsigned thread, uint64_t n)
{
	char *head = xstrf("%s/%u-%llu.head", dir, thread, (unsigned long long)n);
	char *content = xstrf("%s/%u-%llu.body", dir, thread, (unsigned long long)n);
	int r;

	file_one(content, body);
	file_one(head, slice_str(HEAD));
	r = dir_sync(dir);
	if (r < 0)
		die(dir, r);
	free(head);
	free(content);
}

/* --- all -------------------------------------------------------------------------------------------------------- */

static enum { OUTBOX, LOG, FILES } kind;

static void *run(void *arg)
{
	unsigned thread = *(const unsigned *)arg;

	for (uint64_t n = 0; !atomic_load(&stopping); n++) {
		if (kind == OUTBOX)
			put_one(thread, n);
		else if (kind == LOG)
			log_one();
		else
			files_one(thread, n);
		atomic_fetch_add(&done, 1);
	}
	return NULL;
}

static void prepare(struct outbox **ret)
{
	static const struct outbox_limits none = { 0 };
	struct buf err = BUF_EMPTY;
	char *path = xstrf("%s/log", dir);
	int r = dir_make_all(dir, 0700);

	if (r == 0 && kind == OUTBOX)
		r = outbox_open(dir, ret, &err);
	if (r < 0)
		die(err.len ? err.data : dir, r);
	if (kind == OUTBOX)
		queue = outbox_queue(*ret, "bench", &none);
	if (kind == LOG)
		log_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	free(path);
}

static double measure(unsigned threads, unsigned seconds)
{
	static pthread_t id[MOST_THREADS];
	static unsigned number[MOST_THREADS];
	int64_t began = clock_mono_us();
	uint64_t n;
	double took;

	for (unsigned i = 0; i < threads; i++) {
		number[i] = i;
		if (pthread_create(&id[i], NULL, run, &number[i]) != 0)
			die("thread", -EAGAIN);
	}
	sleep(seconds);
	n = atomic_load(&done);
	took = (double)(clock_mono_us() - began) / 1e6;
	atomic_store(&stopping, true);
	for (unsigned i = 0; i < threads; i++)
		(void)pthread_join(id[i], NULL);
	return (double)n / took;
}

int main(int argc, char **argv)
{
	struct outbox *ob = NULL;
	uint64_t threads, seconds, bytes;
	struct buf content = BUF_EMPTY;
	int at = 1;

	if (argc > at && argv[at][0] == '-')
		kind = strcmp(argv[at++], "--log") == 0 ? LOG : FILES;
	if (argc != at + 4 || str_parse_u64(slice_str(argv[at + 1]), &threads) < 0 ||
	    str_parse_u64(slice_str(argv[at + 2]), &seconds) < 0 ||
	    str_parse_u64(slice_str(argv[at + 3]), &bytes) < 0 || threads == 0 || threads > MOST_THREADS) {
		(void)fprintf(stderr, "usage: outbox_put [--log | --files] DIR THREADS SECONDS BYTES\n");
		return 2;
	}
	dir = argv[at];
	rand_bytes(buf_reserve(&content, bytes), bytes); /* nothing that a disk could compress */
	content.len = bytes;
	body = buf_slice(&content);
	prepare(&ob);
	printf("%.0f\n", measure((unsigned)threads, (unsigned)seconds));
	outbox_close(ob);
	fd_close(&log_fd);
	buf_fini(&log_waiting);
	buf_fini(&log_taken);
	buf_fini(&content);
	return 0;
}
