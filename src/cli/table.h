/* table.h -- columns for people: cells are gathered, then printed as wide as the widest of each column. */
#ifndef WEIR_CLI_TABLE_H
#define WEIR_CLI_TABLE_H

#include "base/buf.h"

#define TABLE_MOST_COLUMNS 8

struct table {
	size_t columns, count;
	char **cells; /* count of them, row by row */
};

#define TABLE_EMPTY(n) { .columns = (n) }
void table_fini(struct table *t);
void table_add(
	struct table *t,
	const char *cell); /* the next cell, left to right; NULL or "": "-"; copied, control characters escaped */
void table_add_take(struct table *t, char *cell);  /* the same, taking a malloc'ed one */
void table_print(const struct table *t, const char *indent, struct buf *out); /* whole rows only */

/* "3m ago" for an RFC 3339 time, "-" for NULL or what is none. malloc'ed. */
char *table_ago(const char *rfc3339);
char *table_bytes(double bytes); /* "145.2 MiB"; malloc'ed */

#endif
