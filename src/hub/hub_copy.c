/* hub_copy.c -- all of one database into another, whatever engines they are.
 *
 *   the last number given -> events -> metrics -> history -> states -> doomed -> all sessions in one transaction
 *
 * WHAT     A read of the source, which is one moment of it, is walked row by row; rows are gathered and put into the target
 *          in jobs of some megabytes.
 * RULES    1. Sessions come last, all at once, and only when the source is as it was in the beginning: a target that has any
 *             is whole, or somebody else's, and is left alone.
 *          2. What a copy that was interrupted has brought is not brought again: rows go in order of their keys, so
 *             the target's greatest tells where to go on. That is right only while the source is the same: what it was
 *             (the sum of all that changes in a session when something is written to it) stands in the target from
 *             the beginning on, as the state of session 0, which there is not.
 *          3. A source is not changed: a file that is damaged is left to its hub, which sets it aside.
 * THREADS  The caller's; jobs run on the target's. */
#include "hub/hub_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "core/dirlock.h"
#include "hub/hub_store.h"
#include "io/file.h"

#define SQLITE        "sqlite:"
#define PATIENCE_MS   30000
#define MOST_BYTES    (4 << 20) /* of a job */
#define MOST_ROWS     20000
#define TELL_EVERY    1000 /* sessions */
#define MARK_KEY      0 /* rule 2 */

static const char *const names[HUB_ROWS_COUNT] = { "events", "metrics", "history", "states", "deletions", "sessions" };

struct copy {
	struct hub_store *from, *to;
	int locks[2]; /* of the hubs of files; -1: none */
	uint64_t sum; /* rule 2 */
	struct hub_read *rd; /* of from */
	service_progress_fn *progress;
	void *arg;
	int64_t total[HUB_ROWS_COUNT]; /* of the source */
	int64_t done; /* rows of this kind */
	struct buf bodies; /* gathered: one behind the other */
	struct hub_row *rows; /* body.p is not set yet */
	size_t count;
};

/* --- opening ---------------------------------------------------------------------------------------------------- */

/* A hub that keeps its file where it is by default holds data_dir/hub: then nobody else writes meanwhile. */
static int lock_hub_of(const char *path, int *ret_fd, struct buf *err)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? xstrf("%.*s/hub", (int)(slash - path), path) : xstrdup("hub");
	char *lock = xstrf("%s/lock", dir);
	int r = access(lock, F_OK) == 0 ? dirlock_take(dir, ret_fd, err) : 0;

	if (r == -EBUSY)
		buf_add_str(err, ": stop it first");
	free(lock);
	free(dir);
	return r;
}

static int open_file(const char *path, bool is_source, int *ret_lock, struct hub_store **ret, struct buf *err)
{
	bool damaged = false;
	int r = 0;

	if (is_source && access(path, R_OK) < 0) {
		r = -errno;
		buf_addf(err, "%s: %s", path, err_text(r));
	}
	if (r == 0)
		r = lock_hub_of(path, ret_lock, err);
	if (r == 0 && is_source) {
		r = hub_sqlite_look(path);
		if (r == WEIR_E_DAMAGED)
			buf_addf(err, "%s is damaged: start its hub, which saves what can be read of it, and copy that", path);
		else if (r < 0)
			buf_addf(err, "%s: %s", path, err_text(r));
	}
	return r < 0 ? r : hub_sqlite_open(path, ret, &damaged, err);
}

static int open_url(const char *url, struct hub_store **ret, struct buf *err)
{
	struct buf name = BUF_EMPTY, trouble = BUF_EMPTY;
	const char *why;
	int r = hub_pg_open(url, PATIENCE_MS, NULL, ret, err);

	if (r < 0)
		return r;
	r = (*ret)->t->ready(*ret, &why);
	if (r < 0) {
		(*ret)->t->describe(*ret, &name, &trouble);
		buf_addf(err, "%s: %s", name.data, trouble.data);
		(*ret)->t->close(*ret);
		*ret = NULL;
	}
	buf_fini(&name);
	buf_fini(&trouble);
	return r;
}

static int open_store(const char *database, bool is_source, int *ret_lock, struct hub_store **ret, struct buf *err)
{
	struct slice name = slice_str(database);

	if (slice_starts(name, SQLITE) && name.n > strlen(SQLITE))
		return open_file(database + strlen(SQLITE), is_source, ret_lock, ret, err);
	if (slice_starts(name, "postgresql://") || slice_starts(name, "postgres://"))
		return open_url(database, ret, err);
	buf_addf(err, "--%s is neither sqlite:FILE nor postgresql://USER@HOST/DATABASE", is_source ? "from" : "to");
	return -EINVAL;
}

/* --- what is there ---------------------------------------------------------------------------------------------- */

/* FNV-1a, of numbers. */
static void add_to_sum(uint64_t *sum, int64_t n)
{
	for (int i = 0; i < 64; i += 8)
		*sum = (*sum ^ ((uint64_t)n >> i & 0xff)) * 0x100000001b3u;
}

static int sum_session(void *arg, const struct hub_row *row)
{
	const struct hub_session *s = row->session;

	add_to_sum(arg, s->number);
	add_to_sum(arg, s->updated_ms);
	add_to_sum(arg, s->heartbeat_ms);
	add_to_sum(arg, s->applied_seq);
	add_to_sum(arg, s->flags);
	for (int i = 0; i < HUB_LIST_COUNT; i++)
		add_to_sum(arg, s->counts[i]);
	return 0;
}

static int sum_up(struct hub_store *st, struct hub_read *rd, uint64_t *ret)
{
	*ret = 0xcbf29ce484222325u;
	return st->t->read_rows(rd, HUB_ROWS_SESSIONS, 0, sum_session, ret);
}

static int count_session(void *arg, const struct hub_row *row)
{
	struct copy *c = arg;

	for (int i = 0; i < HUB_LIST_COUNT; i++)
		c->total[i] += row->session->counts[i];
	c->total[HUB_ROWS_STATES]++;
	c->total[HUB_ROWS_SESSIONS]++;
	return 0;
}

static void write_mark(const struct copy *c, struct buf *out)
{
	buf_addf(out, "{\"copy of\":\"%016llx\"}", (unsigned long long)c->sum);
}

static int take_mark(void *arg, const struct hub_row *row)
{
	if (row->key == MARK_KEY)
		buf_add_slice(arg, row->body);
	return -ECANCELED;
}

/* Rule 2: the target holds nothing, or the beginning of just this copy. */
static int check_mark(struct copy *c, struct hub_read *there, bool is_begun, struct buf *err)
{
	struct buf ours = BUF_EMPTY, theirs = BUF_EMPTY;
	int r = c->to->t->read_rows(there, HUB_ROWS_STATES, MARK_KEY - 1, take_mark, &theirs);

	r = r == -ECANCELED ? 0 : r;
	write_mark(c, &ours);
	if (r == 0 && (is_begun || theirs.len) && !slice_eq(buf_slice(&ours), buf_slice(&theirs))) {
		buf_add_str(err, "the target has rows of another database, or of this one before it was written to again;"
				 " copy into an empty one, with the source's hub stopped");
		r = -EEXIST;
	}
	buf_fini(&ours);
	buf_fini(&theirs);
	return r;
}

static int find_places(struct copy *c, int64_t *after, struct buf *err)
{
	struct hub_read *there = NULL;
	int64_t sessions = 0;
	bool is_begun = false;
	int r = c->to->t->read_begin(c->to, &there);

	if (r == 0)
		r = c->to->t->read_count(there, &sessions);
	if (r == 0 && sessions) {
		buf_addf(err, "the target has %lld sessions already; copy into an empty database", (long long)sessions);
		r = -EEXIST;
	}
	for (int i = 0; i < HUB_ROWS_SESSIONS && r == 0; i++) {
		r = c->to->t->read_last(there, (enum hub_rows)i, &after[i]);
		is_begun = is_begun || after[i] > 0;
	}
	if (r == 0)
		r = check_mark(c, there, is_begun, err);
	c->to->t->read_end(there);
	return r;
}

/* --- rows ------------------------------------------------------------------------------------------------------- */

static int put_rows(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	const struct copy *c = arg;
	const char *at = c->bodies.data;
	int r = 0;

	for (size_t i = 0; i < c->count && r == 0; i++) {
		struct hub_row row = c->rows[i];

		row.body.p = at;
		at += row.body.n;
		r = st->t->put_row(tx, &row);
	}
	return r;
}

static int put_gathered(struct copy *c)
{
	enum hub_rows rows = c->rows[0].rows;
	int r = c->count ? c->to->t->submit_and_wait(c->to, put_rows, c) : 0;

	if (r == 0 && c->count) {
		c->done += (int64_t)c->count;
		c->progress(c->arg, names[rows], c->done, c->done > c->total[rows] ? c->done : c->total[rows]);
	}
	c->count = 0;
	buf_reset(&c->bodies);
	return r;
}

static int gather_row(void *arg, const struct hub_row *row)
{
	struct copy *c = arg;

	c->rows[c->count++] = *row;
	buf_add_slice(&c->bodies, row->body);
	return c->count == MOST_ROWS || c->bodies.len >= MOST_BYTES ? put_gathered(c) : 0;
}

static int count_row(void *arg, const struct hub_row *row)
{
	++*(int64_t *)arg;
	return 0;
}

/* How many a copy before this one has brought: they are walked, as nobody has counted them. */
static int count_brought(struct copy *c, enum hub_rows rows, int64_t after)
{
	struct hub_read *there = NULL;
	int r = after ? c->to->t->read_begin(c->to, &there) : 0;

	c->done = 0;
	if (r == 0 && after)
		r = c->to->t->read_rows(there, rows, 0, count_row, &c->done);
	c->to->t->read_end(there);
	return r;
}

static int copy_rows(struct copy *c, enum hub_rows rows, int64_t after)
{
	int r = count_brought(c, rows, after);

	if (r == 0)
		r = c->from->t->read_rows(c->rd, rows, after, gather_row, c);
	return r == 0 ? put_gathered(c) : r;
}

/* --- sessions --------------------------------------------------------------------------------------------------- */

struct session_job {
	struct copy *c;
	struct hub_tx *tx;
	int64_t last;
};

static int put_session(void *arg, const struct hub_row *row)
{
	struct session_job *j = arg;
	int r = j->c->to->t->put_row(j->tx, row);

	if (++j->c->done % TELL_EVERY == 0)
		j->c->progress(j->c->arg, names[HUB_ROWS_SESSIONS], j->c->done, j->c->total[HUB_ROWS_SESSIONS]);
	return r;
}

/* Rule 1: in the very transaction. -ESTALE: the source was written to. */
static int check_unchanged(struct copy *c)
{
	struct hub_read *now = NULL;
	uint64_t sum = 0;
	int r = c->from->t->read_begin(c->from, &now);

	if (r == 0)
		r = sum_up(c->from, now, &sum);
	c->from->t->read_end(now);
	return r == 0 && sum != c->sum ? -ESTALE : r;
}

static int put_sessions(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct session_job *j = arg;
	int r;

	j->tx = tx;
	j->c->done = 0;
	r = j->c->from->t->read_rows(j->c->rd, HUB_ROWS_SESSIONS, 0, put_session, j);
	return r == 0 ? check_unchanged(j->c) : r;
}

/* What everything else comes behind: once done, it does no harm again. */
static int put_beginning(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct session_job *j = arg;
	struct hub_row row = { .rows = HUB_ROWS_STATES, .key = MARK_KEY };
	struct buf mark = BUF_EMPTY;
	int r = st->t->put_last_number(tx, j->last);

	write_mark(j->c, &mark);
	row.body = buf_slice(&mark);
	if (r == 0)
		r = st->t->put_row(tx, &row);
	buf_fini(&mark);
	return r;
}

static int begin_copy(struct copy *c)
{
	struct session_job j = { .c = c };
	int r = c->from->t->read_last(c->rd, HUB_ROWS_SESSIONS, &j.last);

	return r == 0 ? c->to->t->submit_and_wait(c->to, put_beginning, &j) : r;
}

static int copy_sessions(struct copy *c)
{
	struct session_job j = { .c = c };
	int r = c->to->t->submit_and_wait(c->to, put_sessions, &j);

	if (r == 0)
		c->progress(c->arg, names[HUB_ROWS_SESSIONS], c->done, c->done);
	return r;
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

static int copy_all(struct copy *c, struct buf *err)
{
	int64_t after[HUB_ROWS_SESSIONS] = { 0 };
	int r = c->from->t->read_begin(c->from, &c->rd);

	if (r == 0)
		r = sum_up(c->from, c->rd, &c->sum);
	if (r == 0)
		r = find_places(c, after, err);
	if (r == 0)
		r = c->from->t->read_rows(c->rd, HUB_ROWS_SESSIONS, 0, count_session, c);
	if (r == 0)
		r = begin_copy(c);
	for (int i = 0; i < HUB_ROWS_SESSIONS && r == 0; i++)
		r = copy_rows(c, (enum hub_rows)i, after[i]);
	if (r == 0)
		r = copy_sessions(c);
	c->from->t->read_end(c->rd);
	if (r == -ESTALE)
		buf_add_str(err, "the source was written to meanwhile: stop its hub, and copy again into an empty database");
	else if (r < 0 && !err->len)
		buf_addf(err, "%s; run it again, and it goes on from there", err_text(r));
	return r;
}

int hub_copy(const char *from, const char *to, service_progress_fn *progress, void *arg, struct buf *err)
{
	struct copy c = { .progress = progress, .arg = arg, .bodies = BUF_EMPTY, .locks = { -1, -1 } };
	int r = open_store(from, true, &c.locks[0], &c.from, err);

	if (r == 0)
		r = open_store(to, false, &c.locks[1], &c.to, err);
	c.rows = xcalloc(MOST_ROWS, sizeof(*c.rows));
	if (r == 0)
		r = copy_all(&c, err);
	if (c.to)
		c.to->t->close(c.to);
	if (c.from)
		c.from->t->close(c.from);
	fd_close(&c.locks[0]);
	fd_close(&c.locks[1]);
	buf_fini(&c.bodies);
	free(c.rows);
	return r;
}
