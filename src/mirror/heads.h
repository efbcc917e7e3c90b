/* heads.h -- header fields on their way through: what a proxy takes out, passes on, and adds (RFC 9110 7.6).
 *
 * Any thread that owns the exchange. */
#ifndef WEIR_MIRROR_HEADS_H
#define WEIR_MIRROR_HEADS_H

#include "base/arena.h"
#include "core/exchange.h"
#include "mirror/fields.h"

#define HEADS_VIA "1.1 weir"
#define HEADS_MOST_LINES 1024 /* of an answer: io/client.h lets 512 in; a Date is added; a 304's join those stored */

/* Lines in an arena, growing. */
struct lines {
	struct slice *items;
	size_t count, room;
	struct arena *arena;
	bool full; /* the arena's ceiling: some are missing; refuse the request with 431 */
};
void lines_init(struct lines *l, struct arena *a);
void lines_add(struct lines *l, struct slice line); /* copied */
void lines_addf(struct lines *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void lines_remove(struct lines *l, const char *name); /* all of that name */
static inline struct httplines lines_view(const struct lines *l) /* good until the next change */
{
	return (struct httplines){ l->items, l->count };
}

/* The request's header fields as they came: for policy_request_read(), vary, conditional. Bytes of the exchange. */
void heads_of_request(struct exchange *ex, struct lines *ret);

enum heads_flags {
	HEADS_WITHOUT_CONDITIONS = 1, /* If-* and Range: weir asks for the whole, or on its own conditions */
	HEADS_WITHOUT_CREDENTIAL = 2, /* Authorization and Cookie: what is kept on disk has none (invariant 10) */
	HEADS_FOR_OUTBOX = 4, /* nothing of ours yet: heads_add_own() adds it when it is sent. The client's own stay */
};
/* What goes upstream of a client's request, `in` being what heads_of_request() gave: without hop-by-hop fields,
 * Proxy-Authorization, Host, Content-Length, Expect; Max-Forwards of OPTIONS and TRACE one less (at 0 it is the caller
 * who answers: RFC 9110 7.6.2); unless HEADS_FOR_OUTBOX with heads_add_own(). Lines are borrowed from `in`. */
void heads_to_upstream(struct exchange *ex, const struct httplines *in, unsigned flags, struct lines *ret);
/* Adds Via, and with ex (NULL: a delivery) Forwarded (RFC 7239: for, host, proto), each behind what is there already,
 * and the exchange's X-Request-Id. */
void heads_add_own(struct exchange *ex, struct lines *l);
/* A stored block or an upstream's lines as exchange_reply() wants them, copied into the arena: without hop-by-hop ones,
 * without Content-Length and X-Request-Id, which the front sets, and with Via. CR and NUL become spaces. room: that
 * many more can be put behind them. NULL when the arena is full. */
struct header_line *heads_for_reply(const struct httplines *in, struct arena *a, size_t room, size_t *ret_count);
/* Whether the request wants to leave HTTP: a Connection that lists upgrade, with Upgrade: websocket or another protocol
 * but h2c. */
bool heads_is_upgrade(const struct httplines *in);

#endif
