/* httpdate.h -- dates in header fields (RFC 9110 5.6.7). No locale, no time zone of this machine. Pure; any thread. */
#ifndef WEIR_PROTO_HTTPDATE_H
#define WEIR_PROTO_HTTPDATE_H

#include "base/buf.h"

#define HTTPDATE_FIRST_S (-62167219200) /* year 0000 begins; */
#define HTTPDATE_LAST_S 253402300799    /* and 9999 ends */

/* One of the three forms, exactly as the grammar has it (case included), nothing around it:
 *
 *	Sun, 06 Nov 1994 08:49:37 GMT     IMF-fixdate
 *	Sunday, 06-Nov-94 08:49:37 GMT    RFC 850: two digits that seem more than 50 years after `now_s` are the past
 *	Sun Nov  6 08:49:37 1994          asctime
 *
 * The name of the day need not fit the date: old servers err there and mean the date. A leap second (:60) is the first
 * second of the next minute. 0 with seconds since 1970 UTC; WEIR_E_PARSE. */
int httpdate_parse(struct slice s, int64_t now_s, int64_t *ret_unix_s);
/* How long a Retry-After in either form (RFC 9110 10.2.3) asks to wait from now on: at most `most_ms`; 0: not at all,
 * or nothing that can be read (p NULL too). */
int64_t httpdate_retry_after_ms(struct slice value, int64_t now_ms, int64_t most_ms);
/* Adds the IMF-fixdate. Years beyond 0000 to 9999 are written as the nearest second that has one. */
void httpdate_format(int64_t unix_s, struct buf *out);

#endif
