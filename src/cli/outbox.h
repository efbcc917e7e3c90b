/* outbox.h -- what is printed of the outbox's entries. */
#ifndef WEIR_CLI_OUTBOX_H
#define WEIR_CLI_OUTBOX_H

#include <jansson.h>

#include "base/buf.h"

/* A table of the entries, or a sentence when there are none. */
void outbox_print_list(json_t *items, bool is_filtered, struct buf *out);
/* One entry: what is known of it, both versions of a conflict, upstream's answer, and what to do next. */
void outbox_print_entry(const json_t *entry, struct buf *out);
/* "PUT /a/b.txt", escaped. */
void outbox_add_name(const json_t *entry, struct buf *out);

#endif
