/* log.c -- one event a line.
 *
 * WHAT     A line is built on the stack of the caller and leaves by one write(2), so lines of threads never mix.
 * WHY      An upstream that is away makes the same line a thousand times a second. The line that repeats the one
 *          before within a second is counted instead, and the count leaves with the next line or log_flush().
 * RULES    Values are escaped; what a peer sent can never make a line of its own.
 * THREADS  Any; one mutex guards the comparison with the last line and keeps the order. */
#include "base/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

#define VALUE_MOST_BYTES 512
#define REPEAT_WINDOW_MS 1000

static _Atomic int configured_level = LOG_INFO;
static _Atomic int configured_format = LOG_TEXT;

static pthread_mutex_t repeat_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	struct buf line; /* the last line, without its time */
	enum log_level level;
	int64_t at_ms;
	unsigned held_back;
} last = { .line = BUF_EMPTY };

static const char *const level_names[] = { "debug", "info", "warn", "error" };
static const char *const format_names[] = { "text", "json" };

void log_configure(enum log_level level, enum log_format format)
{
	atomic_store(&configured_level, level);
	atomic_store(&configured_format, format);
}

bool log_enabled(enum log_level level)
{
	return (int)level >= atomic_load_explicit(&configured_level, memory_order_relaxed);
}

static bool is_plain(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= 32 || s.p[i] > 126 || s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == '=')
			return false;
	return s.n > 0 && s.n <= VALUE_MOST_BYTES;
}

static void add_text_value(struct buf *out, const struct log_field *f, struct slice value)
{
	if (f->type == LOG_F_INT)
		buf_addf(out, "%lld", (long long)f->number);
	else if (is_plain(value)) {
		buf_add_slice(out, value);
	} else {
		buf_add_char(out, '"');
		str_add_escaped(out, value, VALUE_MOST_BYTES);
		buf_add_char(out, '"');
	}
}

static void add_json_value(struct buf *out, const struct log_field *f, struct slice value)
{
	if (f->type == LOG_F_INT) {
		buf_addf(out, "%lld", (long long)f->number);
		return;
	}
	buf_add_char(out, '"');
	str_add_json(out, value.n > VALUE_MOST_BYTES ? (struct slice){ value.p, VALUE_MOST_BYTES } : value);
	buf_add_char(out, '"');
}

/* Everything of the line behind its time. */
static void build(struct buf *out, enum log_format format, enum log_level level, const char *event,
		  const struct log_field *fields)
{
	buf_addf(out, format == LOG_JSON ? "\"level\":\"%s\",\"event\":\"%s\"" : "%s %s", level_names[level], event);
	for (const struct log_field *f = fields; f->key; f++) {
		struct slice value = f->type == LOG_F_ERR ? slice_str(err_text((int)f->number)) : f->slice;

		if (format == LOG_JSON) {
			buf_addf(out, ",\"%s\":", f->key);
			add_json_value(out, f, value);
		} else {
			buf_addf(out, " %s=", f->key);
			add_text_value(out, f, value);
		}
	}
}

static void emit(enum log_format format, struct slice rest, unsigned repeated)
{
	struct buf line = BUF_EMPTY;
	size_t done = 0;

	buf_add_str(&line, format == LOG_JSON ? "{\"time\":\"" : "");
	clock_format_rfc3339(clock_wall_ms(), &line);
	buf_add_str(&line, format == LOG_JSON ? "\"," : " ");
	buf_add_slice(&line, rest);
	if (repeated)
		buf_addf(&line, format == LOG_JSON ? ",\"repeated\":%u" : " repeated=%u", repeated);
	buf_add_str(&line, format == LOG_JSON ? "}\n" : "\n");
	while (done < line.len) {
		ssize_t n = write(STDERR_FILENO, line.data + done, line.len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break; /* nobody to tell */
		done += (size_t)n;
	}
	buf_fini(&line);
}

static void flush_locked(void)
{
	if (last.held_back)
		emit((enum log_format)atomic_load(&configured_format), buf_slice(&last.line), last.held_back);
	last.held_back = 0;
}

void log_fields(enum log_level level, const char *event, const struct log_field *fields)
{
	enum log_format format = (enum log_format)atomic_load(&configured_format);
	struct buf line = BUF_EMPTY;
	int64_t now = clock_mono_ms();

	build(&line, format, level, event, fields);
	pthread_mutex_lock(&repeat_lock);
	if (slice_eq(buf_slice(&line), buf_slice(&last.line)) && now - last.at_ms < REPEAT_WINDOW_MS) {
		last.held_back++;
		buf_fini(&line);
	} else {
		flush_locked();
		emit(format, buf_slice(&line), 0);
		buf_fini(&last.line);
		last.line = line;
		last.level = level;
		last.at_ms = now;
	}
	pthread_mutex_unlock(&repeat_lock);
}

void log_flush(void)
{
	pthread_mutex_lock(&repeat_lock);
	flush_locked();
	pthread_mutex_unlock(&repeat_lock);
}

static int parse_name(struct slice s, const char *const *names, size_t count, int *ret)
{
	for (size_t i = 0; i < count; i++)
		if (slice_eq_str(s, names[i])) {
			*ret = (int)i;
			return 0;
		}
	return -EINVAL;
}

int log_parse_level(struct slice s, enum log_level *ret)
{
	int i, r = parse_name(s, level_names, 4, &i);

	if (r == 0)
		*ret = (enum log_level)i;
	return r;
}

int log_parse_format(struct slice s, enum log_format *ret)
{
	int i, r = parse_name(s, format_names, 2, &i);

	if (r == 0)
		*ret = (enum log_format)i;
	return r;
}
