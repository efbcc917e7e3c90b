/* http_head.c -- the head of a request, whole in memory, into a table of slices.
 *
 * WHAT     Request line, fields, and what they mean for framing. Then the same bytes go through llhttp, and both must
 *          have understood the same.
 * WHY      A cache that reads a request differently than what stands before or behind it serves one client's answer to
 *          another. llhttp is well tested yet lenient in places (it takes differing Content-Lengths in some builds, two
 *          Hosts, bare line feeds); the strict reader here knows fewer things, and says no to everything else.
 * RULES    1. Nothing is corrected: a head is understood or refused.
 *          2. A refusal names one row of http_refuse.h.
 * THREADS  Pure.
 * SEE      RFC 9112 sections 2.2, 3, 5, 6; RFC 9110 sections 5.5, 5.6.2, 7.2, 8.6, 10.1.1 */
#include "io/http_parse.h"

#include "base/obj.h"
#include "base/str.h"
#include "io/http_priv.h"

#define T HTTP_C_TOKEN
#define X HTTP_C_TEXT
#define R HTTP_C_TARGET
#define H HTTP_C_HOST
#define D HTTP_C_DIGIT
const uint8_t http_class[256] = {
	['\t'] = X, [' '] = X,
	['!'] = T | X | R, ['"'] = X | R, ['#'] = T | X, ['$'] = T | X | R, ['%'] = T | X | R | H, ['&'] = T | X | R,
	['\''] = T | X | R, ['('] = X | R, [')'] = X | R, ['*'] = T | X | R, ['+'] = T | X | R, [','] = X | R,
	['-'] = T | X | R | H, ['.'] = T | X | R | H, ['/'] = X | R,
	['0' ... '9'] = T | X | R | H | D,
	[':'] = X | R, [';'] = X | R, ['<'] = X | R, ['='] = X | R, ['>'] = X | R, ['?'] = X | R, ['@'] = X | R,
	['A' ... 'Z'] = T | X | R | H,
	['['] = X | R, ['\\'] = X | R, [']'] = X | R, ['^'] = T | X | R, ['_'] = T | X | R | H, ['`'] = T | X | R,
	['a' ... 'z'] = T | X | R | H,
	['{'] = X | R, ['|'] = T | X | R, ['}'] = X | R, ['~'] = T | X | R | H,
	[0x80 ... 0xff] = X, /* obs-text */
};
#undef T
#undef X
#undef R
#undef H
#undef D

static bool all_are(struct slice s, unsigned classes)
{
	for (size_t i = 0; i < s.n; i++)
		if (!http_is(s.p[i], classes))
			return false;
	return s.n > 0;
}

static bool method_is_known(struct slice m)
{
#define KNOWN(number, name, string) SLICE_LIT(#string),
	static const struct slice known[] = { HTTP_METHOD_MAP(KNOWN) };
#undef KNOWN

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (slice_eq(m, known[i]))
			return true;
	return false;
}

/* uri-host [ ":" port ], RFC 9110 7.2. Narrower than the grammar: no sub-delims, as no host has them and "a,b" is a
 * trick. */
static bool is_authority(struct slice s)
{
	struct slice host, rest;
	ssize_t end;

	if (s.n && s.p[0] == '[') {
		end = slice_find(s, ']');
		if (end < 3)
			return false;
		host = (struct slice){ s.p + 1, (size_t)end - 1 };
		for (size_t i = 0; i < host.n; i++)
			if (!strchr("0123456789abcdefABCDEF:.", host.p[i]))
				return false;
		rest = slice_from(s, (size_t)end + 1);
	} else {
		end = slice_find(s, ':');
		host = (struct slice){ s.p, end < 0 ? s.n : (size_t)end };
		rest = slice_from(s, host.n);
		if (!all_are(host, HTTP_C_HOST))
			return false;
	}
	if (!rest.n)
		return true;
	return rest.p[0] == ':' && rest.n <= 6 && all_are(slice_from(rest, 1), HTTP_C_DIGIT);
}

static size_t scheme_length(struct slice t)
{
	if (t.n > 7 && strncasecmp(t.p, "http://", 7) == 0)
		return 7;
	if (t.n > 8 && strncasecmp(t.p, "https://", 8) == 0)
		return 8;
	return 0;
}

/* RFC 9112 3.2: the four forms, each only where it belongs. */
static int read_target(struct http_head *h)
{
	struct slice t = h->target;
	size_t skip = scheme_length(t), n;

	if (!all_are(t, HTTP_C_TARGET))
		return -1;
	if (slice_eq_str(h->method, "CONNECT")) {
		h->form = HTTP_FORM_AUTHORITY;
		h->authority = t;
		return is_authority(t) && t.p[t.n - 1] != ']' && slice_find(t, ':') >= 0 ? 0 : -1;
	}
	if (t.p[0] == '/') {
		h->form = HTTP_FORM_ORIGIN;
		return 0;
	}
	if (slice_eq_str(t, "*")) {
		h->form = HTTP_FORM_ASTERISK;
		return slice_eq_str(h->method, "OPTIONS") ? 0 : -1;
	}
	if (!skip)
		return -1;
	h->form = HTTP_FORM_ABSOLUTE;
	for (n = skip; n < t.n && t.p[n] != '/' && t.p[n] != '?'; n++)
		;
	h->authority = (struct slice){ t.p + skip, n - skip };
	return is_authority(h->authority) ? 0 : -1; /* no user information: RFC 9110 4.2.4 */
}

static int read_request_line(struct http_parse *p, struct slice line, struct http_head *h)
{
	struct slice version;

	if (slice_starts(line, "PRI * HTTP/2"))
		return http_bad(p, HTTP_REFUSE_PREFACE); /* RFC 9113 3.4 */
	if (!slice_cut(&line, ' ', &h->method) || !all_are(h->method, HTTP_C_TOKEN))
		return http_bad(p, HTTP_REFUSE_REQUEST_LINE);
	if (!slice_cut(&line, ' ', &h->target) || !h->target.n)
		return http_bad(p, HTTP_REFUSE_REQUEST_LINE);
	version = line;
	if (version.n != 8 || memcmp(version.p, "HTTP/", 5) != 0 || !http_is(version.p[5], HTTP_C_DIGIT) ||
	    version.p[6] != '.' || !http_is(version.p[7], HTTP_C_DIGIT))
		return http_bad(p, HTTP_REFUSE_REQUEST_LINE);
	if (version.p[5] != '1' || version.p[7] > '1')
		return http_bad(p, HTTP_REFUSE_VERSION);
	h->minor = (unsigned)(version.p[7] - '0');
	if (!method_is_known(h->method))
		return http_bad(p, HTTP_REFUSE_METHOD);
	if (read_target(h) < 0)
		return http_bad(p, HTTP_REFUSE_TARGET);
	return 0;
}

static int read_field(struct http_parse *p, struct slice line, struct http_head *h)
{
	struct http_field *f;
	size_t n = 0;

	if (line.p[0] == ' ' || line.p[0] == '\t')
		return http_bad(p, HTTP_REFUSE_FOLD); /* RFC 9112 5.2 */
	while (n < line.n && http_is(line.p[n], HTTP_C_TOKEN))
		n++;
	if (n == 0 || n == line.n || line.p[n] != ':')
		return http_bad(p, HTTP_REFUSE_FIELD_NAME); /* RFC 9112 5.1 */
	if (h->count == HTTP_MOST_FIELDS)
		return http_bad(p, HTTP_REFUSE_HEAD_LONG);
	f = &h->fields[h->count++];
	f->name = (struct slice){ line.p, n };
	f->value = slice_trim(slice_from(line, n + 1));
	return 0;
}

/* A comma-separated list of tokens has `wanted` in it. */
static bool list_has(struct slice list, const char *wanted)
{
	struct slice item;
	bool more;

	do {
		more = slice_cut(&list, ',', &item);
		if (slice_ieq_str(slice_trim(item), wanted))
			return true;
	} while (more);
	return false;
}

static int read_length(struct http_parse *p, struct slice v, struct http_head *h)
{
	uint64_t n;

	/* One number, digits only, RFC 9112 6.3 rule 5. "5, 5" may be repaired by that rule, and is refused: somebody
	 * else may not repair it. */
	if (!all_are(v, HTTP_C_DIGIT) || v.n > 19 || str_parse_u64(v, &n) < 0 || n > INT64_MAX)
		return http_bad(p, HTTP_REFUSE_LENGTH);
	h->body = (int64_t)n;
	return 0;
}

static int read_coding(struct http_parse *p, struct slice v, struct http_head *h)
{
	struct slice last = v;
	ssize_t comma;

	if (h->minor == 0)
		return http_bad(p, HTTP_REFUSE_CODING); /* RFC 9112 6.1: HTTP/1.0 does not know it */
	if (slice_ieq_str(v, "chunked")) {
		h->body = -1;
		return 0;
	}
	/* "gzip, chunked" is well-formed and unknown; anything that does not end in one chunked has no length. */
	while ((comma = slice_find(last, ',')) >= 0) {
		struct slice coding = slice_trim((struct slice){ last.p, (size_t)comma });

		if (!all_are(coding, HTTP_C_TOKEN) || slice_ieq_str(coding, "chunked"))
			return http_bad(p, HTTP_REFUSE_CODING);
		last = slice_from(last, (size_t)comma + 1);
	}
	return http_bad(p,
			slice_ieq_str(slice_trim(last), "chunked") ? HTTP_REFUSE_CODING_UNKNOWN : HTTP_REFUSE_CODING);
}

/* What the fields say about framing and the connection. */
static int read_meaning(struct http_parse *p, struct http_head *h)
{
	unsigned hosts = 0, lengths = 0, codings = 0;
	bool close = false, keep = false;
	struct slice host = { NULL, 0 };

	h->body = 0;
	h->expect_continue = false;
	for (unsigned i = 0; i < h->count; i++) {
		struct slice name = h->fields[i].name, value = h->fields[i].value;

		if (slice_ieq_str(name, "host")) {
			hosts++;
			host = value;
		} else if (slice_ieq_str(name, "content-length")) {
			if (lengths++)
				return http_bad(p, HTTP_REFUSE_LENGTH);
			if (read_length(p, value, h) < 0)
				return -1;
		} else if (slice_ieq_str(name, "transfer-encoding")) {
			if (codings++)
				return http_bad(p, HTTP_REFUSE_CODING);
			if (read_coding(p, value, h) < 0)
				return -1;
		} else if (slice_ieq_str(name, "connection")) {
			close = close || list_has(value, "close");
			keep = keep || list_has(value, "keep-alive");
		} else if (slice_ieq_str(name, "expect") && h->minor == 1) {
			if (!slice_ieq_str(value, "100-continue"))
				return http_bad(p, HTTP_REFUSE_EXPECT);
			h->expect_continue = true;
		}
	}
	if (lengths && codings)
		return http_bad(p, HTTP_REFUSE_LENGTH_AND_CODING); /* RFC 9112 6.3 rule 3 */
	if (hosts > 1 || (hosts == 0 && h->minor == 1) || (hosts && !is_authority(host)))
		return http_bad(p, HTTP_REFUSE_HOST); /* RFC 9112 3.2 */
	if (h->form == HTTP_FORM_ABSOLUTE && hosts &&
	    (host.n != h->authority.n || strncasecmp(host.p, h->authority.p, host.n) != 0))
		return http_bad(p, HTTP_REFUSE_HOST_DIFFERS); /* RFC 9112 3.2.2 lets us choose; we do not */
	if (h->form == HTTP_FORM_ORIGIN || h->form == HTTP_FORM_ASTERISK)
		h->authority = host;
	if (h->minor == 0 && !lengths &&
	    (slice_eq_str(h->method, "POST") || slice_eq_str(h->method, "PUT") || slice_eq_str(h->method, "PATCH")))
		return http_bad(p, HTTP_REFUSE_LENGTH_REQUIRED); /* its body would end with the connection */
	h->keep_alive = h->minor == 1 ? !close : keep && !close;
	return 0;
}

/* llhttp reads the same bytes, and must come to the same result. */
static int ask_second(struct http_parse *p, struct slice bytes, const struct http_head *h)
{
	llhttp_t *l = http_second(p);
	llhttp_errno_t r;

	llhttp_init(l, HTTP_REQUEST, &http_second_settings);
	l->data = p;
	p->second_headers = p->second_end = false;
	p->second_fields = 0;
	p->second_body = 0;
	r = llhttp_execute(l, bytes.p, bytes.n);
	if (r == HPE_PAUSED_UPGRADE && llhttp_get_error_pos(l) == bytes.p + bytes.n)
		r = HPE_OK; /* CONNECT, or Upgrade without a body: an offer that we do not take */
	if (r != HPE_OK || !p->second_headers || p->second_body || p->second_fields != h->count ||
	    !slice_eq_str(h->method, llhttp_method_name(llhttp_get_method(l))) || llhttp_get_http_minor(l) != h->minor)
		return http_bad(p, HTTP_REFUSE_DISAGREE);
	if (h->form == HTTP_FORM_AUTHORITY)
		return 0; /* what follows is not HTTP, and the connection is closed after the answer */
	if (p->second_end != (h->body == 0) || (h->body > 0 && l->content_length != (uint64_t)h->body) ||
	    ((l->flags & F_CHUNKED) != 0) != (h->body < 0))
		return http_bad(p, HTTP_REFUSE_DISAGREE);
	return 0;
}

int http_parse_head(struct http_parse *p, struct slice bytes, struct http_head *ret)
{
	struct slice rest = bytes, line;
	bool first = true;

	ENSURE(p->phase == HTTP_HEAD_WHOLE);
	ret->method = ret->target = ret->authority = (struct slice){ NULL, 0 };
	ret->count = 0;
	ret->minor = 1;
	ret->keep_alive = false;
	/* The step before has seen that each line ends in CR LF and that the last one is empty. */
	while (slice_cut(&rest, '\r', &line) && line.n) {
		rest = slice_from(rest, 1);
		if ((first ? read_request_line(p, line, ret) : read_field(p, line, ret)) < 0)
			return -1;
		first = false;
	}
	if (read_meaning(p, ret) < 0 || ask_second(p, bytes, ret) < 0)
		return -1;
	if (ret->form == HTTP_FORM_AUTHORITY) { /* RFC 9110 9.3.6: no content; and no request may follow */
		ret->body = 0;
		ret->keep_alive = false;
	}
	if (bytes.p != p->partial.data)
		buf_fini(&p->partial);
	p->left = ret->body > 0 ? (uint64_t)ret->body : 0;
	p->phase = ret->body > 0 ? HTTP_IN_LENGTH : ret->body < 0 ? HTTP_IN_CHUNKED : HTTP_OVER;
	return 0;
}

struct slice http_head_get(const struct http_head *h, const char *lower_name)
{
	for (unsigned i = 0; i < h->count; i++)
		if (slice_ieq_str(h->fields[i].name, lower_name))
			return h->fields[i].value;
	return (struct slice){ NULL, 0 };
}
