/* metrics.c -- the registry of counters, gauges and histograms.
 *
 * WHAT     Families are declared in const tables; the series of a family are made when it is registered (all
 *          combinations of fixed label values) or when first asked for. Rendering writes the Prometheus text format
 *          0.0.4.
 * WHY      Every refusal, retry and eviction is counted, on front threads too: so counting is one atomic addition, and
 *          finding a series takes no lock.
 * RULES    1. A series lives as long as the registry, at the same address.
 *          2. Series are only ever added: to a bucket of the table (readers follow `next` without a lock) and to the
 *             end of their family (read under the lock alone).
 *          3. Two tables that declare one name are one family, so that HELP and TYPE appear once.
 *          4. A family has at most 1,000 series; beyond that, one more with all values "other" (invariant 8).
 * THREADS  Any. `lock` is for registering, adding, functions and rendering; counting never takes it. */
#include "core/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/obj.h"

#define METRICS_MAGIC 0x6d657472u
#define BUCKETS 1024 /* of the hash table; a daemon has some hundred series */
#define MOST_SERIES 1000

struct family {
	struct list node; /* metrics.families, in order of registration */
	const struct metric_family *decl;
	size_t label_count, bucket_count;
	struct list series;
	unsigned series_count;
};

struct metric {
	struct metric *_Atomic next; /* in its hash bucket */
	struct list node;            /* family.series */
	const struct family *family;
	uint64_t hash;
	char *values[METRIC_MOST_LABELS];
	_Atomic uint64_t count;   /* counters */
	_Atomic double value;     /* gauges; the sum of histograms */
	_Atomic uint64_t *buckets; /* histograms: each bound, then above all bounds; not cumulated */
	metric_fn *fn;            /* instead of a value; under the lock */
	void *fn_arg;
	bool is_hidden;           /* its function has gone */
};

struct metrics {
	unsigned magic;
	pthread_mutex_t lock;
	struct list families;
	struct metric *_Atomic table[BUCKETS];
};

const double metric_latency_buckets[] = { 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
					  0.25,   0.5,     1,      2.5,   5,      10,    30,   60,    -1 };

/* --- families and series ---------------------------------------------------------------------------------------- */

struct metrics *metrics_new(void)
{
	struct metrics *m = xcalloc(1, sizeof(*m));

	m->magic = METRICS_MAGIC;
	ENSURE(pthread_mutex_init(&m->lock, NULL) == 0);
	list_init(&m->families);
	return m;
}

static void series_free(struct metric *s)
{
	for (size_t i = 0; i < METRIC_MOST_LABELS; i++)
		free(s->values[i]);
	free(s->buckets);
	free(s);
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	OBJ_CHECK(m, METRICS_MAGIC);
	LIST_FOREACH_SAFE(it, next, &m->families) {
		struct family *f = LIST_ENTRY(it, struct family, node);
		LIST_FOREACH_SAFE(at, after, &f->series)
			series_free(LIST_ENTRY(at, struct metric, node));
		free(f);
	}
	pthread_mutex_destroy(&m->lock);
	m->magic = 0;
	free(m);
}

static uint64_t hash_text(uint64_t h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3u; /* FNV-1a: the names are ours, the values are bounded */
	return (h ^ 0xff) * 0x100000001b3u;
}

static uint64_t series_hash(const struct metric_family *decl, const char *const *values)
{
	uint64_t h = hash_text(0xcbf29ce484222325u, decl->name);

	for (size_t i = 0; i < METRIC_MOST_LABELS && decl->labels[i].name; i++)
		h = hash_text(h, values[i]);
	return h;
}

static struct metric *series_find(const struct metrics *m, const struct metric_family *decl, const char *const *values,
				  uint64_t hash)
{
	struct metric *s = atomic_load_explicit(&m->table[hash % BUCKETS], memory_order_acquire);

	for (; s; s = atomic_load_explicit(&s->next, memory_order_acquire)) {
		size_t i = 0;
		if (s->hash != hash || (s->family->decl != decl && strcmp(s->family->decl->name, decl->name) != 0))
			continue;
		while (i < s->family->label_count && strcmp(s->values[i], values[i]) == 0)
			i++;
		if (i == s->family->label_count)
			return s;
	}
	return NULL;
}

/* With the lock held. */
static struct metric *series_add(struct metrics *m, struct family *f, const char *const *values)
{
	struct metric *s = xcalloc(1, sizeof(*s));
	struct metric *_Atomic *bucket;

	s->family = f;
	s->hash = series_hash(f->decl, values);
	for (size_t i = 0; i < f->label_count; i++)
		s->values[i] = xstrdup(values[i]);
	if (f->decl->type == METRIC_HISTOGRAM)
		s->buckets = xcalloc(f->bucket_count + 1, sizeof(*s->buckets));
	list_push_back(&f->series, &s->node);
	f->series_count++;
	bucket = &m->table[s->hash % BUCKETS];
	atomic_store_explicit(&s->next, atomic_load_explicit(bucket, memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(bucket, s, memory_order_release); /* from here on others see it, whole */
	return s;
}

/* Makes every combination of the fixed values from label `at` on; none when some label has no fixed values. */
static void add_combinations(struct metrics *m, struct family *f, const char **values, size_t at)
{
	if (at == f->label_count) {
		if (!series_find(m, f->decl, values, series_hash(f->decl, values)))
			series_add(m, f, values);
		return;
	}
	for (const char *const *v = f->decl->labels[at].values; v && *v; v++) {
		values[at] = *v;
		add_combinations(m, f, values, at + 1);
	}
}

static struct family *family_find(struct metrics *m, const struct metric_family *decl)
{
	LIST_FOREACH(it, &m->families) {
		struct family *f = LIST_ENTRY(it, struct family, node);
		if (f->decl == decl || strcmp(f->decl->name, decl->name) == 0)
			return f;
	}
	return NULL;
}

static bool is_same_shape(const struct metric_family *a, const struct metric_family *b)
{
	for (size_t i = 0; i < METRIC_MOST_LABELS && (a->labels[i].name || b->labels[i].name); i++)
		if (!a->labels[i].name || !b->labels[i].name || strcmp(a->labels[i].name, b->labels[i].name) != 0)
			return false;
	return a->type == b->type && (a->type != METRIC_HISTOGRAM || a->buckets == b->buckets);
}

static struct family *family_add(struct metrics *m, const struct metric_family *decl)
{
	const char *values[METRIC_MOST_LABELS] = { NULL };
	struct family *f = family_find(m, decl);
	const double *b = decl->buckets;

	if (!f) {
		f = xcalloc(1, sizeof(*f));
		f->decl = decl;
		while (f->label_count < METRIC_MOST_LABELS && decl->labels[f->label_count].name)
			f->label_count++;
		while (decl->type == METRIC_HISTOGRAM && b[f->bucket_count] >= 0)
			f->bucket_count++;
		list_init(&f->series);
		list_push_back(&m->families, &f->node);
	}
	ENSURE(is_same_shape(f->decl, decl)); /* two tables, one name, different things: a bug */
	add_combinations(m, f, values, 0);
	return f;
}

void metrics_register(struct metrics *m, const struct metric_family *f)
{
	OBJ_CHECK(m, METRICS_MAGIC);
	pthread_mutex_lock(&m->lock);
	(void)family_add(m, f);
	pthread_mutex_unlock(&m->lock);
}

struct metric *metrics_get(struct metrics *m, const struct metric_family *decl, const char *const *values)
{
	static const char *const other[METRIC_MOST_LABELS] = { "other", "other", "other", "other" };
	uint64_t hash;
	struct family *f;
	struct metric *s;

	OBJ_CHECK(m, METRICS_MAGIC);
	for (size_t i = 0; i < METRIC_MOST_LABELS && decl->labels[i].name; i++)
		ENSURE(values[i]); /* one for each label */
	hash = series_hash(decl, values);
	s = series_find(m, decl, values, hash);
	if (s)
		return s;
	pthread_mutex_lock(&m->lock);
	f = family_add(m, decl);
	s = series_find(m, decl, values, hash); /* again: somebody else may have been quicker */
	if (!s && f->series_count >= MOST_SERIES) {
		s = series_find(m, decl, other, series_hash(decl, other));
		values = other;
	}
	if (!s)
		s = series_add(m, f, values);
	pthread_mutex_unlock(&m->lock);
	return s;
}

/* --- counting --------------------------------------------------------------------------------------------------- */

void metric_add(struct metric *c, uint64_t n)
{
	atomic_fetch_add_explicit(&c->count, n, memory_order_relaxed);
}

void metric_set(struct metric *g, double value)
{
	atomic_store_explicit(&g->value, value, memory_order_relaxed);
}

void metric_observe(struct metric *h, double value)
{
	const double *bounds = h->family->decl->buckets;
	double sum = atomic_load_explicit(&h->value, memory_order_relaxed);
	size_t i = 0;

	while (i < h->family->bucket_count && value > bounds[i])
		i++;
	atomic_fetch_add_explicit(&h->buckets[i], 1, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&h->value, &sum, sum + value, memory_order_relaxed,
						      memory_order_relaxed))
		;
}

static uint64_t histogram_count(const struct metric *h)
{
	uint64_t n = 0;

	for (size_t i = 0; i <= h->family->bucket_count; i++)
		n += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
	return n;
}

void metric_add_buckets(const struct metric *h, uint64_t *into, size_t n)
{
	ENSURE(h->buckets && n == h->family->bucket_count + 1);
	for (size_t i = 0; i < n; i++)
		into[i] += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
}

double metric_value(const struct metric *c)
{
	switch (c->family->decl->type) {
	case METRIC_COUNTER:
		return (double)atomic_load_explicit(&c->count, memory_order_relaxed);
	case METRIC_HISTOGRAM:
		return (double)histogram_count(c);
	case METRIC_GAUGE:
		break;
	}
	return atomic_load_explicit(&c->value, memory_order_relaxed);
}

/* With the lock held, as functions may go. */
static double value_now(const struct metric *s)
{
	return s->fn ? s->fn(s->fn_arg) : metric_value(s);
}

void metrics_set_fn(struct metrics *m, const struct metric_family *f, const char *const *values, metric_fn *fn,
		    void *arg)
{
	struct metric *s = metrics_get(m, f, values);

	pthread_mutex_lock(&m->lock);
	s->fn = fn;
	s->fn_arg = arg;
	s->is_hidden = false;
	pthread_mutex_unlock(&m->lock);
}

void metrics_remove_fn(struct metrics *m, const void *arg)
{
	OBJ_CHECK(m, METRICS_MAGIC);
	pthread_mutex_lock(&m->lock);
	LIST_FOREACH(it, &m->families)
		LIST_FOREACH(at, &LIST_ENTRY(it, struct family, node)->series) {
			struct metric *s = LIST_ENTRY(at, struct metric, node);
			if (!s->fn || s->fn_arg != arg)
				continue;
			s->fn = NULL;
			s->is_hidden = true; /* rather absent than a stale value */
		}
	pthread_mutex_unlock(&m->lock);
}

double metrics_sum(struct metrics *m, const struct metric_family *decl, const char *label, const char *value)
{
	struct family *f;
	double sum = 0;

	OBJ_CHECK(m, METRICS_MAGIC);
	pthread_mutex_lock(&m->lock);
	f = family_add(m, decl);
	LIST_FOREACH(at, &f->series) {
		const struct metric *s = LIST_ENTRY(at, struct metric, node);
		bool fits = !label;
		for (size_t i = 0; i < f->label_count && !fits; i++)
			fits = strcmp(f->decl->labels[i].name, label) == 0 && strcmp(s->values[i], value) == 0;
		if (fits && !s->is_hidden)
			sum += value_now(s);
	}
	pthread_mutex_unlock(&m->lock);
	return sum;
}

/* --- rendering -------------------------------------------------------------------------------------------------- */

/* Shortest of two forms that reads back as the same number. */
static void add_number(struct buf *out, double v)
{
	char text[32];

	if (isnan(v))
		buf_add_str(out, "NaN");
	else if (isinf(v))
		buf_add_str(out, v > 0 ? "+Inf" : "-Inf");
	else {
		(void)snprintf(text, sizeof(text), "%.15g", v);
		if (strtod(text, NULL) != v)
			(void)snprintf(text, sizeof(text), "%.17g", v);
		buf_add_str(out, text);
	}
}

/* Backslash and line feed are escaped everywhere, quotes in label values. */
static void add_escaped(struct buf *out, const char *s, bool is_label)
{
	for (; *s; s++) {
		if (*s == '\\')
			buf_add_str(out, "\\\\");
		else if (*s == '\n')
			buf_add_str(out, "\\n");
		else if (*s == '"' && is_label)
			buf_add_str(out, "\\\"");
		else
			buf_add_char(out, *s);
	}
}

/* name_suffix{labels,le="bound"} */
static void add_series_name(struct buf *out, const struct metric *s, const char *suffix, const double *le)
{
	const struct metric_family *decl = s->family->decl;
	const char *sep = "{";

	buf_add_str(out, decl->name);
	buf_add_str(out, suffix);
	for (size_t i = 0; i < s->family->label_count; i++) {
		buf_addf(out, "%s%s=\"", sep, decl->labels[i].name);
		add_escaped(out, s->values[i], true);
		buf_add_char(out, '"');
		sep = ",";
	}
	if (le) {
		buf_addf(out, "%sle=\"", sep);
		add_number(out, *le);
		buf_add_char(out, '"');
		sep = ",";
	}
	buf_add_str(out, *sep == ',' ? "} " : " ");
}

static void render_histogram(const struct metric *h, struct buf *out)
{
	const double *bounds = h->family->decl->buckets;
	uint64_t below = 0;

	/* The count is the sum of what was read, so that it agrees with the buckets while others count on. */
	for (size_t i = 0; i <= h->family->bucket_count; i++) {
		double le = i < h->family->bucket_count ? bounds[i] : INFINITY;
		below += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
		add_series_name(out, h, "_bucket", &le);
		buf_addf(out, "%llu\n", (unsigned long long)below);
	}
	add_series_name(out, h, "_sum", NULL);
	add_number(out, atomic_load_explicit(&h->value, memory_order_relaxed));
	buf_add_char(out, '\n');
	add_series_name(out, h, "_count", NULL);
	buf_addf(out, "%llu\n", (unsigned long long)below);
}

static void render_series(const struct metric *s, struct buf *out)
{
	if (s->is_hidden)
		return;
	if (s->family->decl->type == METRIC_HISTOGRAM) {
		render_histogram(s, out);
		return;
	}
	add_series_name(out, s, "", NULL);
	if (s->family->decl->type == METRIC_COUNTER && !s->fn)
		buf_addf(out, "%llu", (unsigned long long)atomic_load_explicit(&s->count, memory_order_relaxed));
	else
		add_number(out, value_now(s));
	buf_add_char(out, '\n');
}

void metrics_render(struct metrics *m, struct buf *out)
{
	static const char *const types[] = { "counter", "gauge", "histogram" };

	OBJ_CHECK(m, METRICS_MAGIC);
	pthread_mutex_lock(&m->lock);
	LIST_FOREACH(it, &m->families) {
		const struct family *f = LIST_ENTRY(it, struct family, node);
		buf_addf(out, "# HELP %s ", f->decl->name);
		add_escaped(out, f->decl->help, false);
		buf_addf(out, "\n# TYPE %s %s\n", f->decl->name, types[f->decl->type]);
		LIST_FOREACH(at, &f->series)
			render_series(LIST_ENTRY(at, struct metric, node), out);
	}
	pthread_mutex_unlock(&m->lock);
}
