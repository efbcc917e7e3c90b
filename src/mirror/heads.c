/* heads.c -- header fields on their way through.
 *
 * WHAT     Lists of lines in an arena; the request's head made ready for upstream, upstream's made ready for a client.
 * WHY      A proxy stands in the middle of two connections: what belongs to one of them must not leak into the other
 *          (RFC 9110 7.6.1), everything else passes untouched, unknown fields too.
 * RULES    1. Nothing is copied that the exchange keeps anyway: a line is the head's own bytes, from the name to the
 *             end of the value.
 *          2. CR and NUL, which some upstreams let slip into a value, become spaces before a client sees them
 *             (RFC 9110 5.5): a bare CR is a line end to some readers. A line whose name is no token is left out.
 * SEE      RFC 9110 7.6, 7.8; RFC 7239 */
#include "mirror/heads.h"

#include <stdio.h>

#include "base/obj.h"
#include "base/str.h"
#include "proto/httplist.h"

#define FIRST_ROOM 24

/* --- lists of lines --- */

void lines_init(struct lines *l, struct arena *a)
{
	*l = (struct lines){ .arena = a };
}

static void put(struct lines *l, struct slice line)
{
	if (l->count == l->room) {
		size_t room = l->room ? l->room * 2 : FIRST_ROOM;
		struct slice *more = arena_alloc(l->arena, room * sizeof(*more));

		if (!more) {
			l->full = true;
			return;
		}
		if (l->count)
			memcpy(more, l->items, l->count * sizeof(*more));
		l->items = more;
		l->room = room;
	}
	l->items[l->count++] = line;
}

void lines_add(struct lines *l, struct slice line)
{
	char *p = arena_dup(l->arena, line);

	if (p)
		put(l, (struct slice){ p, line.n });
	else
		l->full = true;
}

void lines_addf(struct lines *l, const char *fmt, ...)
{
	va_list ap, again;
	char *p;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	ENSURE(n >= 0);
	p = arena_alloc(l->arena, (size_t)n + 1);
	if (p) {
		(void)vsnprintf(p, (size_t)n + 1, fmt, again); /* measured above */
		put(l, (struct slice){ p, (size_t)n });
	} else {
		l->full = true;
	}
	va_end(again);
	va_end(ap);
}

void lines_remove(struct lines *l, const char *name)
{
	struct slice found, value;
	size_t kept = 0;

	for (size_t i = 0; i < l->count; i++)
		if (!httplines_split(l->items[i], &found, &value) || !slice_ieq_str(found, name))
			l->items[kept++] = l->items[i];
	l->count = kept;
}

/* --- the request --- */

void heads_of_request(struct exchange *ex, struct lines *ret)
{
	struct slice name, value;

	lines_init(ret, exchange_arena(ex));
	for (size_t i = 0; i < exchange_header_count(ex); i++) {
		exchange_header_at(ex, i, &name, &value);
		/* rule 1: name, colon and value stand in one line of the head */
		put(ret, (struct slice){ name.p, value.n ? (size_t)(value.p - name.p) + value.n : name.n + 1 });
	}
}

static bool is_one_of(struct slice name, const char *const *names)
{
	for (; *names; names++)
		if (slice_ieq_str(name, *names))
			return true;
	return false;
}

static bool stays_here(const struct httplines *in, struct slice name, unsigned flags)
{
	static const char *const ours[] = { "Host", "Content-Length", "Expect", NULL };
	static const char *const conditions[] = {
		"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range", NULL,
	};
	static const char *const credentials[] = { "Authorization", "Cookie", NULL };

	return fields_is_hop_by_hop(in, name) || is_one_of(name, ours) ||
	       ((flags & HEADS_WITHOUT_CONDITIONS) && is_one_of(name, conditions)) ||
	       ((flags & HEADS_WITHOUT_CREDENTIAL) && is_one_of(name, credentials));
}

/* One hop less, for the two methods where it counts hops (RFC 9110 7.6.2). At 0 the caller has answered. */
static bool add_max_forwards(struct exchange *ex, struct slice name, struct slice value, struct lines *ret)
{
	struct slice method = exchange_method(ex);
	uint64_t hops;

	if (!slice_ieq_str(name, "Max-Forwards") || str_parse_u64(value, &hops) < 0 || !hops ||
	    !(slice_eq_str(method, "OPTIONS") || slice_eq_str(method, "TRACE")))
		return false;
	lines_addf(ret, "Max-Forwards: %llu", (unsigned long long)hops - 1);
	return true;
}

void heads_to_upstream(struct exchange *ex, const struct httplines *in, unsigned flags, struct lines *ret)
{
	struct slice name, value;

	lines_init(ret, exchange_arena(ex));
	for (size_t i = 0; i < in->count; i++)
		if (httplines_split(in->lines[i], &name, &value) && !stays_here(in, name, flags) &&
		    !add_max_forwards(ex, name, value, ret))
			put(ret, in->lines[i]);
	if (!(flags & HEADS_FOR_OUTBOX))
		heads_add_own(ex, ret);
}

/* --- what a proxy adds --- */

static void add_parameter(struct buf *b, const char *name, struct slice value)
{
	if (b->len)
		buf_add_char(b, ';');
	buf_addf(b, "%s=", name);
	if (httplist_is_token(value)) {
		buf_add_slice(b, value);
		return;
	}
	buf_add_char(b, '"'); /* RFC 7239 4: colons and brackets only in quotes */
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] == '"' || value.p[i] == '\\')
			buf_add_char(b, '\\');
		buf_add_char(b, value.p[i]);
	}
	buf_add_char(b, '"');
}

static void add_forwarded(struct exchange *ex, struct lines *l)
{
	struct slice host = exchange_authority(ex);
	struct buf b = BUF_EMPTY;

	add_parameter(&b, "for", slice_str(exchange_peer(ex)));
	if (host.n)
		add_parameter(&b, "host", host);
	add_parameter(&b, "proto", slice_str(exchange_is_tls(ex) ? "https" : "http"));
	lines_addf(l, "Forwarded: %s", b.data);
	buf_fini(&b);
}

void heads_add_own(struct exchange *ex, struct lines *l)
{
	put(l, slice_str("Via: " HEADS_VIA)); /* a further line continues the list (RFC 9110 5.3) */
	if (ex) {
		add_forwarded(ex, l);
		lines_remove(l, "X-Request-Id");
		lines_addf(l, "X-Request-Id: %s", exchange_id(ex));
	}
}

/* --- the answer --- */

static char *dup_plain(struct arena *a, struct slice s)
{
	char *p = arena_dup(a, s);

	for (size_t i = 0; p && i < s.n; i++)
		if (p[i] == '\r' || p[i] == '\n' || p[i] == '\0')
			p[i] = ' '; /* rule 2 */
	return p;
}

struct header_line *heads_for_reply(const struct httplines *in, struct arena *a, size_t room, size_t *ret_count)
{
	static const char *const ours[] = { "Content-Length", "X-Request-Id", NULL };
	struct header_line *lines = arena_alloc(a, (in->count + 1 + room) * sizeof(*lines));
	struct slice name, value;
	size_t n = 0;

	if (!lines)
		return NULL;
	for (size_t i = 0; i < in->count; i++) {
		if (!httplines_split(in->lines[i], &name, &value) || !httplist_is_token(name) ||
		    fields_is_hop_by_hop(in, name) || is_one_of(name, ours))
			continue;
		lines[n] = (struct header_line){ dup_plain(a, name), dup_plain(a, value) };
		if (!lines[n].name || !lines[n].value)
			return NULL;
		n++;
	}
	lines[n++] = (struct header_line){ "Via", HEADS_VIA };
	*ret_count = n;
	return lines;
}

bool heads_is_upgrade(const struct httplines *in)
{
	struct slice value, element;
	size_t at = 0;

	if (!httplist_has(in, "Connection", "upgrade"))
		return false;
	while (httplines_next(in, "Upgrade", &at, &value))
		while (httplist_next(&value, &element))
			if (!slice_ieq_str(element, "h2c"))
				return true;
	return false;
}
