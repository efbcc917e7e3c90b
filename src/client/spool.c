/* spool.c -- see spool.h.
 *
 * RULES    1. Whose file it is, and whether that process lives, is told by its lock (fcntl(2), F_SETLK): the kernel
 *             drops it when the process ends, however that happens, and a child after fork() does not have it. A file
 *             without a lock that is empty may be one that is just being made: it is left alone while the process in
 *             its name lives.
 *          2. A report is whole (length and CRC agree) or it does not exist.
 *          3. A file goes when its report was answered, and not before. Only more than WEIRC_SPOOL_FILES of them make
 *             the oldest go unsent.
 *          4. Nothing here is synced: a report outlives its process, which is what crashes, and not a power cut.
 * SEE      docs/formats/client-crash.md */
#include "client/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/text.h"

#define MAGIC        "weir-client-crash 1 "
#define FIRST_LINE   (sizeof(MAGIC) - 1 + 8 + 1 + 8 + 1)
#define SUFFIX       ".crash"
#define MOST_PRODUCT 64 /* bytes of it in a name */
#define MOST_PATH    4096

/* --- names ------------------------------------------------------------------------------------------------------- */

static void plain_product(const char *product, char out[MOST_PRODUCT + 1])
{
	size_t n = 0;

	for (; product[n] && n < MOST_PRODUCT; n++) {
		char c = product[n];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
			     (c == '.' && n);

		out[n] = plain ? c : '_';
	}
	out[n] = '\0';
}

/* PRODUCT-PID-8 hex digits.crash: the pid, or 0: it is no name of this product's. */
static long pid_of(const char *name, const char *plain)
{
	size_t n = strlen(plain), all = strlen(name);
	const char *rest;
	char *end;
	long pid;

	if (all < n + sizeof("-1-00000000" SUFFIX) - 1 || memcmp(name, plain, n) != 0 || name[n] != '-' ||
	    name[n + 1] < '1' || name[n + 1] > '9')
		return 0;
	errno = 0;
	pid = strtol(name + n + 1, &end, 10);
	rest = end;
	if (errno || pid <= 0 || *rest++ != '-' || strlen(rest) != 8 + sizeof(SUFFIX) - 1 ||
	    strspn(rest, "0123456789abcdef") != 8 || strcmp(rest + 8, SUFFIX) != 0)
		return 0;
	return pid;
}

/* The folder, made when it is missing. 0 or a code. */
static int find_folder(const char *said, char *ret, size_t room)
{
	const char *state = secure_getenv("XDG_STATE_HOME"), *home = secure_getenv("HOME");
	int n;

	if (said && *said)
		n = snprintf(ret, room, "%s", said);
	else if (state && *state == '/')
		n = snprintf(ret, room, "%s/weir/client", state);
	else if (home && *home == '/')
		n = snprintf(ret, room, "%s/.local/state/weir/client", home);
	else
		return -ENOENT;
	if (n < 0 || (size_t)n >= room)
		return -ENAMETOOLONG;
	for (char *slash = strchr(ret + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(ret, 0700); /* it may be there; if it cannot be made, the last says so */
		*slash = '/';
	}
	return mkdir(ret, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* --- one file ---------------------------------------------------------------------------------------------------- */

static int lock(int fd)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_SETLK, &whole) < 0 ? -errno : 0;
}

static uint32_t crc32_of(const char *p, size_t n, uint32_t crc)
{
	crc = ~crc;
	for (size_t i = 0; i < n; i++) {
		crc ^= (unsigned char)p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

int weirc_spool_open(const char *folder, const char *product, char **ret_path)
{
	char plain[MOST_PRODUCT + 1], path[MOST_PATH];
	uint32_t random;
	int fd, n, r = find_folder(folder, path, sizeof(path));

	if (r < 0)
		return r;
	if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return -errno;
	plain_product(product, plain);
	n = (int)strlen(path);
	r = snprintf(path + n, sizeof(path) - (size_t)n, "/%s-%ld-%08x" SUFFIX, plain, (long)getpid(), random);
	if (r < 0 || (size_t)n + (size_t)r >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = lock(fd);
	if (r == 0)
		r = -posix_fallocate(fd, 0, WEIRC_SPOOL_BYTES); /* a disk that is full later keeps it */
	*ret_path = r == 0 ? strdup(path) : NULL;
	if (*ret_path)
		return fd;
	(void)unlink(path); /* of no use to anybody */
	close(fd);
	return r < 0 ? r : -ENOMEM;
}

int weirc_spool_write(int fd, const char *session_id, int64_t wall_ms, const char *tail, size_t n)
{
	char storage[256], first[FIRST_LINE + 1];
	struct weirc_text middle, line;
	uint32_t crc;

	weirc_text_init(&middle, storage, sizeof(storage), sizeof(storage));
	weirc_text_str(&middle, *session_id ? session_id : "-");
	weirc_text_char(&middle, '\n');
	weirc_text_int(&middle, wall_ms);
	weirc_text_char(&middle, '\n');
	if (middle.failed || FIRST_LINE + middle.len + n > WEIRC_SPOOL_BYTES)
		return -EMSGSIZE;
	crc = crc32_of(tail, n, crc32_of(middle.data, middle.len, 0));
	weirc_text_init(&line, first, sizeof(first), sizeof(first));
	weirc_text_str(&line, MAGIC);
	weirc_text_hex(&line, middle.len + n, 8);
	weirc_text_char(&line, ' ');
	weirc_text_hex(&line, crc, 8);
	weirc_text_char(&line, '\n');
	if (pwrite(fd, middle.data, middle.len, FIRST_LINE) != (ssize_t)middle.len ||
	    pwrite(fd, tail, n, (off_t)(FIRST_LINE + middle.len)) != (ssize_t)n ||
	    pwrite(fd, line.data, line.len, 0) != (ssize_t)line.len)
		return -EIO;
	return 0;
}

/* --- what is left ------------------------------------------------------------------------------------------------ */

static int read_hex(const char *p, uint32_t *ret)
{
	*ret = 0;
	for (int i = 0; i < 8; i++) {
		const char *digit = p[i] ? strchr("0123456789abcdef", p[i]) : NULL;

		if (!digit)
			return -EPROTO;
		*ret = *ret << 4 | (uint32_t)(digit - "0123456789abcdef");
	}
	return 0;
}

/* text is NUL-terminated behind n bytes. 0, or -EPROTO. */
static int parse(const char *text, size_t n, struct weirc_report *r)
{
	const char *at = text + FIRST_LINE, *end;
	uint32_t bytes, crc;
	size_t id;

	if (n < FIRST_LINE || memcmp(text, MAGIC, sizeof(MAGIC) - 1) != 0 || text[FIRST_LINE - 1] != '\n' ||
	    text[FIRST_LINE - 10] != ' ' || read_hex(text + sizeof(MAGIC) - 1, &bytes) < 0 ||
	    read_hex(text + sizeof(MAGIC) + 8, &crc) < 0 || bytes > n - FIRST_LINE || crc32_of(at, bytes, 0) != crc)
		return -EPROTO;
	end = at + bytes;
	id = strcspn(at, "\n");
	if (id == 0 || id >= sizeof(r->session_id) || at[id] != '\n')
		return -EPROTO;
	memcpy(r->session_id, at, id);
	r->session_id[id] = '\0';
	if (strcmp(r->session_id, "-") == 0)
		r->session_id[0] = '\0';
	at += id + 1;
	r->wall_ms = strtoll(at, NULL, 10);
	at += strcspn(at, "\n") + 1;
	if (at >= end)
		return -EPROTO;
	r->bytes = (size_t)(end - at);
	memcpy(r->tail, at, r->bytes);
	return 0;
}

static void unlink_and_close(const char *path, int fd)
{
	(void)unlink(path); /* if it cannot be, the next start tries again */
	close(fd);
}

/* Takes it up when it is a report that nobody else has. NULL: it is none; then an empty one of nobody is removed. */
static struct weirc_report *take_up(const char *path, long pid)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct weirc_report *r = NULL;
	char text[WEIRC_SPOOL_BYTES + 1];
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || lock(fd) < 0) {
		close(fd);
		return NULL;
	}
	n = pread(fd, text, WEIRC_SPOOL_BYTES, 0);
	if (n > 0 && text[0] != '\0') {
		text[n] = '\0';
		r = calloc(1, sizeof(*r));
		if (r && parse(text, (size_t)n, r) == 0 && (r->path = strdup(path))) {
			r->fd = fd;
			return r;
		}
		free(r);
		close(fd); /* damaged: of no use to us, but whoever looks for the reason may want it */
	} else if (pid == getpid() || (kill((pid_t)pid, 0) < 0 && errno == ESRCH)) {
		unlink_and_close(path, fd);
	} else {
		close(fd);
	}
	return NULL;
}

/* Into the list, the oldest first; beyond WEIRC_SPOOL_FILES the oldest goes. */
static void sort_in(struct weirc_report **list, struct weirc_report *r, size_t *count)
{
	struct weirc_report **at = list, *oldest;

	while (*at && (*at)->wall_ms <= r->wall_ms)
		at = &(*at)->next;
	r->next = *at;
	*at = r;
	if (++*count <= WEIRC_SPOOL_FILES)
		return;
	oldest = *list;
	*list = oldest->next;
	weirc_report_done(oldest);
	--*count;
}

/* The rest is for the next start. */
static void leave_all_behind(struct weirc_report *list, size_t taken)
{
	for (; list; list = list->next) {
		if (--taken > 0)
			continue;
		weirc_reports_free(list->next);
		list->next = NULL;
	}
}

int weirc_reports_load(const char *folder, const char *product, struct weirc_report **ret)
{
	char plain[MOST_PRODUCT + 1], path[MOST_PATH];
	const struct dirent *e;
	size_t at, count = 0;
	int r = find_folder(folder, path, sizeof(path));
	DIR *dir;

	*ret = NULL;
	if (r < 0)
		return r;
	plain_product(product, plain);
	dir = opendir(path);
	if (!dir)
		return -errno;
	at = strlen(path);
	while ((e = readdir(dir))) {
		long pid = pid_of(e->d_name, plain);
		struct weirc_report *report = NULL;

		if (pid && (size_t)snprintf(path + at, sizeof(path) - at, "/%s", e->d_name) < sizeof(path) - at)
			report = take_up(path, pid);
		if (report)
			sort_in(ret, report, &count);
	}
	closedir(dir);
	leave_all_behind(*ret, WEIRC_SPOOL_TAKEN);
	return 0;
}

int64_t weirc_report_age_ms(const struct weirc_report *r)
{
	struct timespec t;
	int64_t age;

	clock_gettime(CLOCK_REALTIME, &t); /* the only clock that means the same in two runs */
	age = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 - r->wall_ms;
	return age > 0 ? age : 0;
}

static void free_report(struct weirc_report *r)
{
	close(r->fd);
	free(r->path);
	free(r);
}

void weirc_report_done(struct weirc_report *r)
{
	(void)unlink(r->path); /* if it cannot be, it is sent once more by the next start */
	free_report(r);
}

void weirc_reports_free(struct weirc_report *r)
{
	for (struct weirc_report *next; r; r = next) {
		next = r->next;
		free_report(r);
	}
}
