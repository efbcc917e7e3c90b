/* httplist.h -- tokens, quoted strings and comma lists in field values (RFC 9110 5.6). Pure; any thread. */
#ifndef WEIR_PROTO_HTTPLIST_H
#define WEIR_PROTO_HTTPLIST_H

#include "proto/httplines.h"

bool httplist_is_token(struct slice s); /* RFC 9110 5.6.2 */
/* The next element of a comma list: trimmed, not empty. Commas within quoted strings do not divide; a quoted string
 * that does not end takes the rest of the value. *rest moves behind it. False: no more (RFC 9110 5.6.1.2). */
bool httplist_next(struct slice *rest, struct slice *ret_element);
/* Divides "name=argument" at the first '='. ret_argument as written, quotes included, and not trimmed, as no space may
 * stand there; its p is NULL when there is no '='. The name is trimmed, and may be no token. */
void httplist_cut_argument(struct slice element, struct slice *ret_name, struct slice *ret_argument);
/* Whether a list field, over all its lines, has `member` as an element; case ignored (Connection, Vary, ...). */
bool httplist_has(const struct httplines *h, const char *name, const char *member);

#endif
