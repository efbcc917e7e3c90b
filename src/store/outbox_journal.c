/* outbox_journal.c -- commits that a damaged journal hides.
 *
 * SQLite reads its -wal up to the first frame whose sum does not hold, as what follows is mostly the torn end of a
 * transaction that was never told to be durable. But a bit that flips in the middle hides all that was committed after
 * it, and SQLite says nothing. So the journal is looked through before the database is opened: when two or more commits
 * of the same generation stand behind a frame that does not hold, somebody was told that they are durable (one may be
 * the torn end: a transaction is synced before the next begins). Then a copy of the journal goes to damaged/, for
 * whoever can read it, and is counted. SQLite goes on with what holds.
 *
 * A -wal (sqlite.org/fileformat2.html, section 4): 32 bytes of header (magic, version, page size, sequence, two salts,
 * two sums), then frames: 24 bytes (page number, size of the database after a commit or 0, the salts, two sums), and a
 * page. Sums run over the header and all frames before; their words are big-endian when the magic is odd. */
#include "store/outbox_priv.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "io/file.h"
#include "store/wholefile.h"

#define HEADER_BYTES 32
#define FRAME_HEADER_BYTES 24
#define MAGIC 0x377f0682u
#define COMMITS_THAT_WERE_TOLD 2

struct journal {
	int fd;
	size_t frame_bytes;
	uint64_t frames;
	bool is_big_endian;
	unsigned char salts[8];
	uint32_t sum[2];
	unsigned char *frame; /* room for one */
};

static uint32_t word_at(const unsigned char *p, bool is_big_endian)
{
	uint32_t w;

	memcpy(&w, p, sizeof(w));
	return is_big_endian ? be32toh(w) : le32toh(w);
}

static void add_to_sum(struct journal *j, const unsigned char *p, size_t n)
{
	for (size_t i = 0; i + 8 <= n; i += 8) {
		j->sum[0] += word_at(p + i, j->is_big_endian) + j->sum[1];
		j->sum[1] += word_at(p + i + 4, j->is_big_endian) + j->sum[0];
	}
}

static bool sum_is(const struct journal *j, const unsigned char *p)
{
	return word_at(p, true) == j->sum[0] && word_at(p + 4, true) == j->sum[1];
}

static bool read_at(const struct journal *j, uint64_t at, unsigned char *into, size_t n)
{
	return pread(j->fd, into, n, (off_t)at) == (ssize_t)n;
}

/* False: no journal that SQLite would read. */
static bool read_header(struct journal *j)
{
	unsigned char h[HEADER_BYTES];
	struct stat file;
	uint32_t magic, page;

	if (fstat(j->fd, &file) < 0 || !read_at(j, 0, h, sizeof(h)))
		return false;
	magic = word_at(h, true);
	page = word_at(h + 8, true);
	if ((magic & ~1u) != MAGIC || page < 512 || page > 65536 || (page & (page - 1)) != 0)
		return false;
	j->is_big_endian = magic & 1;
	j->frame_bytes = FRAME_HEADER_BYTES + page;
	j->frames = ((uint64_t)file.st_size - HEADER_BYTES) / j->frame_bytes;
	memcpy(j->salts, h + 16, sizeof(j->salts));
	add_to_sum(j, h, 24);
	return sum_is(j, h + 24);
}

static bool read_frame(struct journal *j, uint64_t number)
{
	return read_at(j, HEADER_BYTES + number * j->frame_bytes, j->frame, j->frame_bytes);
}

/* How many frames hold, one after the other from the first on. */
static uint64_t good_frames(struct journal *j)
{
	uint64_t n = 0;

	for (; n < j->frames && read_frame(j, n); n++) {
		if (memcmp(j->frame + 8, j->salts, sizeof(j->salts)) != 0)
			break;
		add_to_sum(j, j->frame, 8);
		add_to_sum(j, j->frame + FRAME_HEADER_BYTES, j->frame_bytes - FRAME_HEADER_BYTES);
		if (!sum_is(j, j->frame + 16))
			break;
	}
	return n;
}

/* Commits of this generation from that frame on. */
static unsigned commits_from(struct journal *j, uint64_t frame)
{
	unsigned char h[FRAME_HEADER_BYTES];
	unsigned n = 0;

	for (; frame < j->frames && read_at(j, HEADER_BYTES + frame * j->frame_bytes, h, sizeof(h)); frame++)
		n += memcmp(h + 8, j->salts, sizeof(j->salts)) == 0 && word_at(h + 4, true) != 0;
	return n;
}

static bool hides_commits(int fd)
{
	struct journal j = { .fd = fd };
	bool hides = false;

	if (read_header(&j)) {
		j.frame = xmalloc(j.frame_bytes);
		hides = commits_from(&j, good_frames(&j)) >= COMMITS_THAT_WERE_TOLD;
		free(j.frame);
	}
	return hides;
}

static int copy_into(struct spool *to, int fd)
{
	size_t room = 256 * 1024;
	char *bytes = xmalloc(room);
	ssize_t n = 0;
	int r = 0;

	for (off_t at = 0; r == 0 && (n = pread(fd, bytes, room, at)) > 0; at += n)
		r = spool_append(to, bytes, (size_t)n);
	if (r == 0 && n < 0)
		r = -errno;
	free(bytes);
	return r;
}

/* A whole copy in damaged/: the journal itself is about to be written on. */
static int keep_copy(struct outbox *ob, int fd)
{
	struct spool *copy = NULL;
	int r = 0;
	char *to = wholefile_aside_path("outbox.db-wal", ob->dir, &r);

	if (r == 0)
		r = spool_new(ob->bodies, 0, &copy);
	if (r == 0)
		r = copy_into(copy, fd);
	if (r == 0) {
		spool_complete(copy);
		r = spool_keep(copy, to);
	}
	spool_unref(&copy);
	free(to);
	return r;
}

int outbox_check_journal(struct outbox *ob, bool *ret_hides)
{
	char *path = xstrf("%s/outbox.db-wal", ob->dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;

	free(path);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (hides_commits(fd)) {
		*ret_hides = true;
		r = keep_copy(ob, fd);
	}
	fd_close(&fd);
	return r;
}
