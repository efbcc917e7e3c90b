/* table.c -- columns for people.
 *
 * WHY      What the daemon tells may hold names that others chose; escaped, they cannot drive the reader's terminal. */
#include "cli/table.h"

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"

#define MOST_CELL_BYTES 200

void table_fini(struct table *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->cells[i]);
	free(t->cells);
	t->cells = NULL;
	t->count = 0;
}

void table_add(struct table *t, const char *cell)
{
	struct buf b = BUF_EMPTY;

	ENSURE(t->columns && t->columns <= TABLE_MOST_COLUMNS);
	if (cell && *cell)
		str_add_escaped(&b, slice_str(cell), MOST_CELL_BYTES);
	else
		buf_add_char(&b, '-');
	if ((t->count & (t->count - 1)) == 0)
		t->cells = xrealloc(t->cells, (t->count ? 2 * t->count : 1) * sizeof(*t->cells));
	t->cells[t->count++] = buf_detach(&b, NULL);
}

void table_add_take(struct table *t, char *cell)
{
	table_add(t, cell);
	free(cell);
}

void table_print(const struct table *t, const char *indent, struct buf *out)
{
	size_t widths[TABLE_MOST_COLUMNS] = { 0 }, rows = t->count / t->columns;

	for (size_t i = 0; i < rows * t->columns; i++) {
		size_t n = strlen(t->cells[i]);

		if (n > widths[i % t->columns])
			widths[i % t->columns] = n;
	}
	for (size_t i = 0; i < rows * t->columns; i++) {
		bool last = i % t->columns == t->columns - 1;

		buf_addf(out, "%s%-*s%s", i % t->columns ? "" : indent, last ? 0 : (int)widths[i % t->columns],
			 t->cells[i], last ? "\n" : "  ");
	}
}

char *table_ago(const char *rfc3339)
{
	struct buf b = BUF_EMPTY;
	int64_t then, age;

	if (!rfc3339 || clock_parse_rfc3339(slice_str(rfc3339), &then) < 0)
		return xstrdup("-");
	age = clock_wall_ms() - then;
	if (age < 1000)
		return xstrdup("now");
	str_format_duration(age / 1000 * 1000, &b); /* whole seconds; the larger units are whole anyway */
	buf_add_str(&b, " ago");
	return buf_detach(&b, NULL);
}

char *table_bytes(double bytes)
{
	struct buf b = BUF_EMPTY;

	str_format_bytes(bytes > 0 ? (uint64_t)bytes : 0, &b);
	return buf_detach(&b, NULL);
}
