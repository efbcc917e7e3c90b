/* hub_copy.c -- all of one database into another, whatever engines they are.
 *
 *   the last number given -> events -> metrics -> history -> states -> doomed -> all sessions in one transaction
 *
 * WHAT     A read of the source, which is one moment of it, is walked row by row; rows are gathered and put into the target
 *          in jobs of some megabytes.
 * RULES    1. Sessions come last, all at once: a target that has any is whole, or somebody else's, and is left alone.
 *          2. What a copy that was interrupted has brought is not brought again: rows go in order of their keys, so
 *             the target's greatest tells where to go on. It has to be the same row in the source, or the target
 *             holds something else.
 *          3. A source that was written meanwhile is said: the copy lacks what came later.
 * THREADS  The caller's; jobs run on the target's. */
#include "hub/hub_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "hub/hub_store.h"

#define SQLITE        "sqlite:"
#define PATIENCE_MS   30000
#define MOST_BYTES    (4 << 20) /* of a job */
#define MOST_ROWS     20000
#define TELL_EVERY    1000 /* sessions */

static const char *const names[HUB_ROWS_COUNT] = { "events", "metrics", "history", "states", "deletions", "sessions" };

struct copy {
	struct hub_store *from, *to;
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

static int open_file(const char *path, bool is_source, struct hub_store **ret, struct buf *err)
{
	bool damaged = false;
	int r;

	if (is_source && access(path, R_OK) < 0) {
		r = -errno;
		buf_addf(err, "%s: %s", path, err_text(r));
		return r;
	}
	r = hub_sqlite_open(path, ret, &damaged, err);
	if (r == 0 && damaged && is_source) {
		buf_addf(err, "%s is damaged, and was moved to damaged/ beside it; see there", path);
		(*ret)->t->close(*ret);
		*ret = NULL;
		r = WEIR_E_DAMAGED;
	}
	return r;
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

static int open_store(const char *database, bool is_source, struct hub_store **ret, struct buf *err)
{
	struct slice name = slice_str(database);

	if (slice_starts(name, SQLITE) && name.n > strlen(SQLITE))
		return open_file(database + strlen(SQLITE), is_source, ret, err);
	if (slice_starts(name, "postgresql://") || slice_starts(name, "postgres://"))
		return open_url(database, ret, err);
	buf_addf(err, "--%s is neither sqlite:FILE nor postgresql://USER@HOST/DATABASE", is_source ? "from" : "to");
	return -EINVAL;
}

/* --- what is there ---------------------------------------------------------------------------------------------- */

static int count_session(void *arg, const struct hub_row *row)
{
	struct copy *c = arg;

	for (int i = 0; i < HUB_LIST_COUNT; i++)
		c->total[i] += row->session->counts[i];
	c->total[HUB_ROWS_STATES]++;
	c->total[HUB_ROWS_SESSIONS]++;
	return 0;
}

struct first {
	struct hub_row row;
	struct buf body;
	bool is_there;
};

static int take_first(void *arg, const struct hub_row *row)
{
	struct first *f = arg;

	f->row = *row;
	buf_add_slice(&f->body, row->body);
	f->is_there = true;
	return -ECANCELED;
}

static int read_one(struct hub_store *st, struct hub_read *rd, enum hub_rows rows, int64_t key, struct first *ret)
{
	int r = st->t->read_rows(rd, rows, key - 1, take_first, ret);

	return r == -ECANCELED ? 0 : r;
}

/* Rule 2. *ret_after: the key behind which to go on. */
static int find_place(struct copy *c, struct hub_read *there, enum hub_rows rows, int64_t *ret_after, struct buf *err)
{
	struct first ours = { .body = BUF_EMPTY }, theirs = { .body = BUF_EMPTY };
	int r = c->to->t->read_last(there, rows, ret_after);

	if (r == 0 && *ret_after) {
		r = read_one(c->from, c->rd, rows, *ret_after, &ours);
		if (r == 0)
			r = read_one(c->to, there, rows, *ret_after, &theirs);
		if (r == 0 && (!ours.is_there || !theirs.is_there || ours.row.key != *ret_after ||
			       !slice_eq(buf_slice(&ours.body), buf_slice(&theirs.body)))) {
			buf_addf(err, "the target has %s of another database; copy into an empty one", names[rows]);
			r = -EEXIST;
		}
	}
	buf_fini(&ours.body);
	buf_fini(&theirs.body);
	return r;
}

static int find_places(struct copy *c, int64_t *after, struct buf *err)
{
	struct hub_read *there = NULL;
	int64_t sessions = 0;
	int r = c->to->t->read_begin(c->to, &there);

	if (r == 0)
		r = c->to->t->read_count(there, &sessions);
	if (r == 0 && sessions) {
		buf_addf(err, "the target has %lld sessions already; copy into an empty database", (long long)sessions);
		r = -EEXIST;
	}
	for (int i = 0; i < HUB_ROWS_SESSIONS && r == 0; i++)
		r = find_place(c, there, (enum hub_rows)i, &after[i], err);
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

static int put_sessions(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct session_job *j = arg;

	j->tx = tx;
	j->c->done = 0;
	return j->c->from->t->read_rows(j->c->rd, HUB_ROWS_SESSIONS, 0, put_session, j);
}

static int put_number(struct hub_store *st, struct hub_tx *tx, void *arg)
{
	struct session_job *j = arg;

	return st->t->put_last_number(tx, j->last);
}

static int put_last_number(struct copy *c)
{
	struct session_job j = { .c = c };
	int r = c->from->t->read_last(c->rd, HUB_ROWS_SESSIONS, &j.last);

	return r == 0 ? c->to->t->submit_and_wait(c->to, put_number, &j) : r;
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

/* Rule 3: the last that was written to, and how many there are, are as they were. */
static int look_last(struct hub_store *st, struct hub_read *rd, int64_t *ret_updated_ms)
{
	const struct hub_filter f = { .sort = HUB_BY_UPDATED, .order = HUB_DESCENDING };
	struct hub_session s = HUB_SESSION_EMPTY;
	size_t n = 0;
	int r = st->t->read_list(rd, &f, &s, 1, &n);

	if (r == 0)
		*ret_updated_ms = n ? s.updated_ms : 0;
	hub_session_fini(&s);
	return r;
}

static int check_unchanged(struct copy *c, struct buf *err)
{
	struct hub_read *now = NULL;
	int64_t before_ms = 0, now_ms = 0, before = 0, count = 0;
	int r = c->from->t->read_begin(c->from, &now);

	if (r == 0)
		r = look_last(c->from, c->rd, &before_ms);
	if (r == 0)
		r = look_last(c->from, now, &now_ms);
	if (r == 0)
		r = c->from->t->read_count(c->rd, &before);
	if (r == 0)
		r = c->from->t->read_count(now, &count);
	c->from->t->read_end(now);
	if (r == 0 && (before_ms != now_ms || before != count)) {
		buf_add_str(err, "the source was written to meanwhile, and the copy lacks that: stop its hub, and copy again"
				 " into an empty database");
		r = -EBUSY;
	}
	return r;
}

static int copy_all(struct copy *c, struct buf *err)
{
	int64_t after[HUB_ROWS_SESSIONS] = { 0 };
	int r = c->from->t->read_begin(c->from, &c->rd);

	if (r == 0)
		r = find_places(c, after, err);
	if (r == 0)
		r = c->from->t->read_rows(c->rd, HUB_ROWS_SESSIONS, 0, count_session, c);
	if (r == 0)
		r = put_last_number(c);
	for (int i = 0; i < HUB_ROWS_SESSIONS && r == 0; i++)
		r = copy_rows(c, (enum hub_rows)i, after[i]);
	if (r == 0)
		r = copy_sessions(c);
	if (r == 0)
		r = check_unchanged(c, err);
	c->from->t->read_end(c->rd);
	if (r < 0 && !err->len)
		buf_addf(err, "%s; run it again, and it goes on from there", err_text(r));
	return r;
}

int hub_copy(const char *from, const char *to, service_progress_fn *progress, void *arg, struct buf *err)
{
	struct copy c = { .progress = progress, .arg = arg, .bodies = BUF_EMPTY };
	int r = open_store(from, true, &c.from, err);

	if (r == 0)
		r = open_store(to, false, &c.to, err);
	c.rows = xcalloc(MOST_ROWS, sizeof(*c.rows));
	if (r == 0)
		r = copy_all(&c, err);
	if (c.to)
		c.to->t->close(c.to);
	if (c.from)
		c.from->t->close(c.from);
	buf_fini(&c.bodies);
	free(c.rows);
	return r;
}
