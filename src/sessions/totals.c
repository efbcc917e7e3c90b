/* totals.c -- counters and histograms: samples come in, totals go out, only when they changed, and never go back.
 *
 * WHAT     A total is known by its kind, its name, its tags in order, and (a histogram) its buckets as they were given.
 *          It is one JSON record, which is what sessions.db keeps; a sample changes the record, and is acknowledged
 *          when that is durable.
 *            counter    {"name", "tags", "value"}
 *            histogram  {"name", "unit", "tags", "metadata", "bounds", "counts", "sum", "count"}
 * RULES    1. A sample counts in the first bucket whose bound is not below it, one above all in the last; counts are
 *             not cumulative.
 *          2. Unit, tags and further metadata of a histogram are those of its first sample.
 *          3. A sample counts when sessions.db has it; those that come while a record is written go together into
 *             the next one. So what is answered with an error is nowhere, and a total that is sent never goes back.
 *          4. What goes to the server is an ordinary metric with the time of the flush, which is batch_interval after
 *             the first change: so it goes at once, and what was gathered with it. Then it is clean until the next
 *             sample.
 * SEE      DATACAT_API.md, "Aggregation" */
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "core/json.h"
#include "sessions/sessions_priv.h"

#define MOST_BOUNDS 1000
#define MOST_TOTALS 10000 /* of a session: names and tags are the program's to choose */

struct total {
	char *key;
	json_t *record; /* as sessions.db has it: what is sent */
	json_t *next;   /* the same with `written`, on its way there; NULL: none */
	struct list waiting, written; /* samples */
	bool is_histogram, is_dirty;
};

static const double default_bounds[] = {
	0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60
};

/* --- which total ------------------------------------------------------------------------------------------------ */

static int by_text(const void *a, const void *b)
{
	return strcmp(json_string_value(*(json_t *const *)a), json_string_value(*(json_t *const *)b));
}

static json_t *sorted(const json_t *tags)
{
	size_t n = json_array_size(tags);
	json_t **items = xcalloc(n + 1, sizeof(*items)), *out = json_array();

	for (size_t i = 0; i < n; i++)
		items[i] = json_array_get(tags, i);
	qsort(items, n, sizeof(json_t *), by_text);
	for (size_t i = 0; i < n; i++)
		(void)json_array_append(out, items[i]); /* is a value */
	free(items);
	return out;
}

static json_t *buckets_of(const json_t *metric)
{
	json_t *b = json_object_get(json_object_get(metric, "metadata"), "buckets");

	return json_array_size(b) ? b : NULL;
}

static void write_key(const json_t *metric, bool is_histogram, json_t *tags, struct buf *out)
{
	buf_add_str(out, is_histogram ? "h" : "c");
	json_write_text(slice_str(json_string_value(json_object_get(metric, "name"))), out);
	json_write(tags, out);
	if (is_histogram && buckets_of(metric))
		json_write(buckets_of(metric), out);
}

/* --- histograms ------------------------------------------------------------------------------------------------- */

static bool is_infinity(const json_t *v)
{
	struct slice s = slice_str(json_string_value(v));

	return slice_ieq_str(s, "inf") || slice_ieq_str(s, "infinity") || slice_ieq_str(s, "+inf");
}

static double bound_of(const json_t *v)
{
	return json_is_string(v) ? INFINITY : json_number_value(v);
}

static int by_bound(const void *a, const void *b)
{
	double x = bound_of(*(json_t *const *)a), y = bound_of(*(json_t *const *)b);

	return x < y ? -1 : x > y;
}

static int make_bounds(const json_t *metric, json_t **ret, struct buf *why)
{
	json_t *given = buckets_of(metric), *out;
	size_t n = given ? json_array_size(given) : ARRAY_LEN(default_bounds);
	json_t **items;

	if (n > MOST_BOUNDS) {
		buf_addf(why, "metadata.buckets: at most %d", MOST_BOUNDS);
		return WEIR_E_PARSE;
	}
	for (size_t i = 0; given && i < n; i++)
		if (!json_is_number(json_array_get(given, i)) && !is_infinity(json_array_get(given, i))) {
			buf_add_str(why, "metadata.buckets: each is a number or \"inf\"");
			return WEIR_E_PARSE;
		}
	items = xcalloc(n, sizeof(*items));
	out = json_array();
	for (size_t i = 0; i < n; i++)
		items[i] = !given                                  ? json_real(default_bounds[i])
			   : is_infinity(json_array_get(given, i)) ? json_string("Infinity")
								   : json_incref(json_array_get(given, i));
	qsort(items, n, sizeof(json_t *), by_bound);
	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(out, items[i]); /* is a value */
	free(items);
	*ret = out;
	return 0;
}

static json_t *metadata_without_buckets(const json_t *metric)
{
	json_t *m = json_object_get(metric, "metadata"), *copy = json_is_object(m) ? json_copy(m) : json_object();

	(void)json_object_del(copy, "buckets"); /* it may be absent */
	return copy;
}

static void copy_member(json_t *into, const json_t *from, const char *name)
{
	json_t *v = json_object_get(from, name);

	if (v && !json_is_null(v))
		(void)json_object_set(into, name, v); /* is a value */
}

static int new_histogram(const json_t *metric, json_t **ret, struct buf *why)
{
	json_t *bounds, *counts = json_array(), *o;
	int r = make_bounds(metric, &bounds, why);

	if (r < 0) {
		json_decref(counts);
		return r;
	}
	for (size_t i = 0; i < json_array_size(bounds); i++)
		(void)json_array_append_new(counts, json_integer(0));
	o = json_pack("{s:o, s:o, s:f, s:i, s:o}", "bounds", bounds, "counts", counts, "sum", 0.0, "count", 0,
		      "metadata", metadata_without_buckets(metric));
	copy_member(o, metric, "name");
	copy_member(o, metric, "unit");
	copy_member(o, metric, "tags");
	*ret = o;
	return 0;
}

static void count_up(json_t *integer)
{
	(void)json_integer_set(integer, json_integer_value(integer) + 1);
}

static void add_sample(json_t *record, double value)
{
	json_t *bounds = json_object_get(record, "bounds"), *counts = json_object_get(record, "counts");
	size_t last = json_array_size(bounds) - 1, i = 0;

	while (i < last && !(value <= bound_of(json_array_get(bounds, i))))
		i++;
	count_up(json_array_get(counts, i));
	count_up(json_object_get(record, "count"));
	(void)json_real_set(json_object_get(record, "sum"), json_number_value(json_object_get(record, "sum")) + value);
}

/* --- counters --------------------------------------------------------------------------------------------------- */

static void add_delta(json_t *record, const json_t *delta)
{
	json_t *now = json_object_get(record, "value");
	json_int_t sum;

	if (json_is_integer(now) && json_is_integer(delta) &&
	    !__builtin_add_overflow(json_integer_value(now), json_integer_value(delta), &sum))
		(void)json_object_set_new(record, "value", json_integer(sum));
	else
		(void)json_object_set_new(record, "value",
					  json_real(json_number_value(now) + json_number_value(delta)));
}

/* --- samples ---------------------------------------------------------------------------------------------------- */

static void sample_free(struct sample *x)
{
	json_decref(x->value);
	free(x);
}

static void total_free(struct total *t)
{
	LIST_FOREACH_SAFE (it, next, &t->waiting)
		sample_free(LIST_ENTRY(it, struct sample, node));
	LIST_FOREACH_SAFE (it, next, &t->written)
		sample_free(LIST_ENTRY(it, struct sample, node));
	json_decref(t->next);
	json_decref(t->record);
	free(t->key);
	free(t);
}

static struct total *keep(struct session *s, struct slice key, json_t *record_take)
{
	struct total *t = xcalloc(1, sizeof(*t));

	t->key = slice_dup(key);
	t->record = record_take;
	t->is_histogram = t->key[0] == 'h';
	list_init(&t->waiting);
	list_init(&t->written);
	if (!s->totals)
		s->totals = map_new();
	(void)map_put(s->totals, key, t); /* it was not there */
	return t;
}

static int find_or_make(struct session *s, const json_t *metric, bool is_histogram, struct total **ret, struct buf *why)
{
	json_t *tags = sorted(json_object_get(metric, "tags")), *record = NULL;
	struct buf key = BUF_EMPTY;
	int r = 0;

	write_key(metric, is_histogram, tags, &key);
	*ret = s->totals ? map_get(s->totals, buf_slice(&key)) : NULL;
	if (!*ret && s->totals && map_count(s->totals) >= MOST_TOTALS) {
		buf_addf(why, "a session has at most %d counters and histograms", MOST_TOTALS);
		r = WEIR_E_PARSE;
	} else if (!*ret && is_histogram) {
		r = new_histogram(metric, &record, why);
	} else if (!*ret) {
		record =
			json_pack("{s:O, s:i, s:O}", "name", json_object_get(metric, "name"), "value", 0, "tags", tags);
	}
	if (record)
		*ret = keep(s, buf_slice(&key), record);
	json_decref(tags);
	buf_fini(&key);
	return r;
}

int totals_take(struct session *s, const json_t *metric, ledger_fn *cb, void *arg, struct total **ret, struct buf *why)
{
	bool is_histogram = strcmp(json_string_value(json_object_get(metric, "type")), "histogram") == 0;
	int r = find_or_make(s, metric, is_histogram, ret, why);
	struct sample *x;

	if (r < 0)
		return r;
	x = xcalloc(1, sizeof(*x));
	x->value = json_copy(json_object_get(metric, is_histogram ? "value" : "delta")); /* the request's own goes */
	x->cb = cb;
	x->arg = arg;
	list_push_back(&(*ret)->waiting, &x->node);
	return 0;
}

void total_begin(struct total *t, struct buf *ret_record)
{
	t->next = json_deep_copy(t->record);
	list_splice(&t->written, &t->waiting);
	LIST_FOREACH (it, &t->written) {
		const json_t *value = LIST_ENTRY(it, struct sample, node)->value;

		if (t->is_histogram)
			add_sample(t->next, json_number_value(value));
		else
			add_delta(t->next, value);
	}
	json_write(t->next, ret_record);
}

void total_finish(struct total *t, int code, struct list *ret_samples)
{
	if (code == 0) {
		json_decref(t->record);
		t->record = t->next;
		t->is_dirty = true;
	} else {
		json_decref(t->next);
	}
	t->next = NULL;
	list_splice(ret_samples, &t->written);
}

/* --- into sessions.db ------------------------------------------------------------------------------------------- */

struct writing {
	struct sessions *ss;
	struct session *s;
	struct total *t;
};

static void on_written(void *arg, int code);

static int write_total(struct sessions *ss, struct session *s, struct total *t)
{
	struct writing *w = xcalloc(1, sizeof(*w));
	struct buf record = BUF_EMPTY;
	int r;

	*w = (struct writing){ ss, s, t };
	total_begin(t, &record);
	r = ledger_total_start(ss, s, slice_str(t->key), buf_slice(&record), true, on_written, w);
	if (r == 0)
		session_reopen(ss, s);
	else
		free(w);
	buf_fini(&record);
	return r;
}

static void answer(struct list *samples, int code)
{
	LIST_FOREACH_SAFE (it, next, samples) {
		struct sample *x = LIST_ENTRY(it, struct sample, node);

		x->cb(x->arg, code);
		sample_free(x);
	}
}

/* What has changed goes when the interval is over, as it may change again; of a session that has ended at once. */
static void flush_later(struct sessions *ss, struct session *s)
{
	bool has_ended = s->flags & SESSION_ENDED;

	if (s->flush_mono_ms && !has_ended)
		return;
	s->flush_mono_ms = clock_mono_ms() + (has_ended ? 0 : sessions_config(ss)->batch_interval) + 1;
	watcher_poke(ss);
}

static void on_written(void *arg, int code)
{
	struct writing *w = arg;
	struct list done, lost;
	int r = 0;

	list_init(&done);
	list_init(&lost);
	pthread_mutex_lock(&w->ss->lock);
	total_finish(w->t, code, &done);
	if (code == 0)
		flush_later(w->ss, w->s);
	if (!list_is_empty(&w->t->waiting))
		r = write_total(w->ss, w->s, w->t);
	if (r < 0)
		total_finish(w->t, r, &lost);
	pthread_mutex_unlock(&w->ss->lock);
	answer(&done, code);
	answer(&lost, r);
	free(w);
}

int totals_add(struct sessions *ss, struct session *s, const json_t *metric, ledger_fn *cb, void *arg, struct buf *why)
{
	struct total *t;
	struct list lost;
	int r = totals_take(s, metric, cb, arg, &t, why);

	if (r < 0 || t->next) /* it goes with the next record */
		return r;
	r = write_total(ss, s, t);
	if (r < 0) {
		list_init(&lost);
		total_finish(t, r, &lost);
		LIST_FOREACH_SAFE (it, next, &lost)
			sample_free(LIST_ENTRY(it, struct sample, node)); /* this one; the caller is told */
	}
	return r;
}

int totals_load(struct session *s, struct slice key, struct slice record, bool is_dirty)
{
	json_t *v = NULL;
	int r = key.n && (key.p[0] == 'h' || key.p[0] == 'c') ? json_read(record, 0, &v, NULL) : WEIR_E_PARSE;

	if (r == 0)
		keep(s, key, v)->is_dirty = is_dirty;
	return r;
}

/* --- what goes out ---------------------------------------------------------------------------------------------- */

static json_t *shown_buckets(const json_t *record)
{
	json_t *bounds = json_object_get(record, "bounds"), *counts = json_object_get(record, "counts"),
	       *out = json_array();

	for (size_t i = 0; i < json_array_size(bounds); i++)
		(void)json_array_append_new(out, json_pack("{s:O, s:O}", "le", json_array_get(bounds, i), "count",
							   json_array_get(counts, i)));
	return out;
}

static json_t *shown_histogram(const json_t *record)
{
	double sum = json_number_value(json_object_get(record, "sum"));
	json_int_t count = json_integer_value(json_object_get(record, "count"));
	json_t *o = json_object(), *metadata = json_copy(json_object_get(record, "metadata"));

	copy_member(o, record, "name");
	(void)json_object_set_new(o, "type", json_string("histogram"));
	(void)json_object_set_new(o, "value", json_real(count ? sum / (double)count : 0));
	copy_member(o, record, "unit");
	copy_member(o, record, "tags");
	(void)json_object_set_new(metadata, "buckets", shown_buckets(record));
	(void)json_object_set_new(metadata, "sum", json_real(sum));
	(void)json_object_set_new(metadata, "count", json_integer(count));
	(void)json_object_set_new(o, "metadata", metadata);
	return o;
}

static json_t *shown_counter(const json_t *record)
{
	return json_pack("{s:O, s:s, s:O, s:O}", "name", json_object_get(record, "name"), "type", "counter", "value",
			 json_object_get(record, "value"), "tags", json_object_get(record, "tags"));
}

static void add_body(const struct total *t, struct buf *out)
{
	json_t *o = t->is_histogram ? shown_histogram(t->record) : shown_counter(t->record);
	struct buf text = BUF_EMPTY;

	json_write(o, &text);
	json_decref(o);
	buf_add_char(out, '{');
	op_add_now(out);
	buf_add_char(out, ',');
	buf_add_slice(out, slice_from(buf_slice(&text), 1));
	buf_fini(&text);
}

void totals_again(struct sessions *ss, struct session *s, const json_t *metric)
{
	const json_t *name = json_object_get(metric, "name"), *tags = json_object_get(metric, "tags");
	bool is_histogram = slice_eq_str(slice_str(json_string_value(json_object_get(metric, "type"))), "histogram");
	struct buf record = BUF_EMPTY;
	struct slice key;
	size_t pos = 0;
	void *p;

	while (s->totals && map_next(s->totals, &pos, &key, &p)) {
		struct total *t = p;

		if (t->is_dirty || t->is_histogram != is_histogram ||
		    !json_equal(json_object_get(t->record, "name"), name) ||
		    (tags && !json_equal(json_object_get(t->record, "tags"), tags)))
			continue;
		t->is_dirty = true;
		flush_later(ss, s);
		buf_reset(&record);
		json_write(t->record, &record);
		if (!t->next) /* what is on its way there says the same */
			(void)ledger_total_start(ss, s, key, buf_slice(&record), true, NULL,
						 NULL); /* else it is wanted as long as this daemon runs */
	}
	buf_fini(&record);
}

struct flushed {
	struct sessions *ss;
	struct session *s;
	struct buf key, record;
};

/* It is in the queue: the row says so, unless there is more to be sent by now. */
static void on_queued(void *arg, int code, uint64_t seq)
{
	struct flushed *f = arg;
	struct total *t;

	pthread_mutex_lock(&f->ss->lock);
	t = map_get(f->s->totals, buf_slice(&f->key));
	if (t && code < 0) {
		t->is_dirty = true;
		f->s->flush_mono_ms = clock_mono_ms() + sessions_config(f->ss)->batch_interval;
	} else if (t && !t->is_dirty && !t->next) { /* else a newer record is there, or is on its way */
		/* When it cannot be written now, the same total goes once more after a restart. */
		(void)ledger_total_start(f->ss, f->s, buf_slice(&f->key), buf_slice(&f->record), false, NULL, NULL);
	}
	pthread_mutex_unlock(&f->ss->lock);
	buf_fini(&f->key);
	buf_fini(&f->record);
	free(f);
}

static void flush_one(struct sessions *ss, struct session *s, struct total *t)
{
	struct flushed *f = xcalloc(1, sizeof(*f));
	struct buf body = BUF_EMPTY;

	*f = (struct flushed){ .ss = ss, .s = s, .key = BUF_EMPTY, .record = BUF_EMPTY };
	buf_add_str(&f->key, t->key);
	json_write(t->record, &f->record);
	add_body(t, &body);
	if (op_put(ss, s, OP_METRIC, buf_slice(&body), true, on_queued, f) == 0) {
		t->is_dirty = false;
	} else {
		buf_fini(&f->key);
		buf_fini(&f->record);
		free(f);
	}
	buf_fini(&body);
}

bool totals_is_dirty(const struct session *s)
{
	struct slice key;
	size_t pos = 0;
	void *t;

	while (s->totals && map_next(s->totals, &pos, &key, &t))
		if (((struct total *)t)->is_dirty)
			return true;
	return false;
}

void totals_flush(struct sessions *ss, struct session *s)
{
	struct slice key;
	size_t pos = 0;
	void *t;

	s->flush_mono_ms = 0;
	while (s->totals && map_next(s->totals, &pos, &key, &t))
		if (((struct total *)t)->is_dirty)
			flush_one(ss, s, t);
	if (totals_is_dirty(s)) /* the queue is full */
		s->flush_mono_ms = clock_mono_ms() + sessions_config(ss)->batch_interval + 1;
}

void totals_free(struct session *s)
{
	struct slice key;
	size_t pos = 0;
	void *t;

	while (s->totals && map_next(s->totals, &pos, &key, &t))
		total_free(t);
	map_free(s->totals);
	s->totals = NULL;
}
