/* url.c -- strict reading of http and https URLs, hosts, escapes, queries.
 *
 * WHAT     url_parse() takes a URL apart; url_split_hostport() and url_normalize_hostport() read what stands in Host,
 *          in the path form of a request, and in `match`; the rest is percent-escapes.
 * WHY      A host decides which upstream is asked and with which credential. What a lenient reader would repair (a
 *          blank, a user name, a second colon) another would read as a different host; so it is refused.
 * RULES    1. One spelling for each host: lower case, no default port, no leading zeros in the port.
 *          2. Names keep to letters, digits, '-', '.', '_'; no international ones (they travel as xn--).
 * SEE      RFC 3986 sections 2, 3.2 and 6.2; RFC 9110 section 4.2 */
#include "proto/url.h"

#include <arpa/inet.h>

#include "base/err.h"

static const char hex_upper[] = "0123456789ABCDEF";

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* A name or an IPv4 address: labels of letters, digits, '-', '_' between single dots. */
static bool is_name(struct slice s)
{
	struct slice label;
	size_t i;
	bool more;

	do {
		more = slice_cut(&s, '.', &label);
		if (!label.n || label.p[0] == '-' || label.p[label.n - 1] == '-')
			return false;
		for (i = 0; i < label.n; i++)
			if (!is_alnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
				return false;
	} while (more);
	return true;
}

/* "[v6]" with nothing but the address: no zone. */
static bool is_ipv6_literal(struct slice s)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (s.n < 4 || s.n - 2 >= sizeof(text) || s.p[0] != '[' || s.p[s.n - 1] != ']')
		return false;
	memcpy(text, s.p + 1, s.n - 2);
	text[s.n - 2] = '\0';
	return !slice_has_nul(s) && inet_pton(AF_INET6, text, &address) == 1;
}

static int parse_port(struct slice s, unsigned *ret)
{
	unsigned port = 0;
	size_t i;

	if (!s.n || s.n > 5)
		return WEIR_E_PARSE;
	for (i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return WEIR_E_PARSE;
		port = port * 10 + (unsigned)(s.p[i] - '0');
	}
	if (!port || port > 65535)
		return WEIR_E_PARSE;
	*ret = port;
	return 0;
}

int url_split_hostport(struct slice s, char ret_host[URL_MAX_HOST + 1], unsigned *ret_port)
{
	struct slice host = s, port = { 0 };
	ssize_t end;
	unsigned number = 0;
	size_t i;

	if (s.n && s.p[0] == '[') {
		end = slice_find(s, ']');
		if (end < 0)
			return WEIR_E_PARSE;
		host.n = (size_t)end + 1;
	} else {
		end = slice_find(s, ':');
		if (end >= 0)
			host.n = (size_t)end;
	}
	if (host.n < s.n) {
		port = slice_from(s, host.n);
		if (port.p[0] != ':' || parse_port(slice_from(port, 1), &number) < 0)
			return WEIR_E_PARSE;
	}
	if (host.n > URL_MAX_HOST || !(is_name(host) || is_ipv6_literal(host)))
		return WEIR_E_PARSE;
	for (i = 0; i < host.n; i++)
		ret_host[i] = lower(host.p[i]);
	ret_host[host.n] = '\0';
	*ret_port = number;
	return 0;
}

int url_normalize_hostport(struct slice s, char ret[URL_HOSTPORT_ROOM])
{
	char host[URL_MAX_HOST + 1];
	unsigned port;
	int r;

	r = url_split_hostport(s, host, &port);
	if (r < 0)
		return r;
	if (port && port != 80 && port != 443)
		(void)snprintf(ret, URL_HOSTPORT_ROOM, "%s:%u", host, port);
	else
		(void)snprintf(ret, URL_HOSTPORT_ROOM, "%s", host);
	return 0;
}

bool url_host_is_loopback(const char *hostport)
{
	char host[URL_MAX_HOST + 1], text[INET6_ADDRSTRLEN];
	struct in6_addr v6;
	struct in_addr v4;
	struct slice s;
	unsigned port;

	if (url_split_hostport(slice_str(hostport), host, &port) < 0)
		return false;
	if (strcmp(host, "localhost") == 0)
		return true;
	if (host[0] != '[')
		return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
	s = slice_str(host);
	memcpy(text, s.p + 1, s.n - 2);
	text[s.n - 2] = '\0';
	return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* Printable ASCII without the blank and '#', and only whole escapes. */
static bool is_clean(struct slice s)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c <= ' ' || c > 126 || c == '#' || c == '\\')
			return false;
		if (c == '%' && (i + 2 >= s.n || hex_value(s.p[i + 1]) < 0 || hex_value(s.p[i + 2]) < 0))
			return false;
	}
	return true;
}

int url_parse(struct slice s, struct url *ret)
{
	struct url u = { 0 };
	struct slice rest = s, authority, scheme;
	size_t i;
	ssize_t at;

	at = slice_find(s, ':');
	if (at < 0)
		return WEIR_E_PARSE;
	scheme = (struct slice){ s.p, (size_t)at };
	u.https = slice_ieq_str(scheme, "https");
	if (!u.https && !slice_ieq_str(scheme, "http"))
		return WEIR_E_PARSE;
	rest = slice_from(rest, (size_t)at + 1);
	if (!slice_starts(rest, "//") || !is_clean(rest))
		return WEIR_E_PARSE;
	rest = slice_from(rest, 2);
	for (i = 0; i < rest.n && rest.p[i] != '/' && rest.p[i] != '?'; i++)
		;
	authority = (struct slice){ rest.p, i };
	if (url_split_hostport(authority, u.host, &u.port) < 0)    /* '@' is in no host: no user information */
		return WEIR_E_PARSE;
	u.port_given = u.port != 0;
	if (!u.port)
		u.port = u.https ? 443 : 80;
	u.path = slice_from(rest, i);
	at = slice_find(u.path, '?');
	if (at >= 0) {
		u.query = slice_from(u.path, (size_t)at + 1);
		u.path.n = (size_t)at;
	}
	*ret = u;
	return 0;
}

void url_encode(struct buf *out, struct slice s, const char *keep)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c && (is_alnum((char)c) || strchr("-._~", c) || strchr(keep, c))) {
			buf_add_char(out, (char)c);
		} else {
			buf_add_char(out, '%');
			buf_add_char(out, hex_upper[c >> 4]);
			buf_add_char(out, hex_upper[c & 15]);
		}
	}
}

int url_decode(struct slice s, struct buf *out)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '%') {
			int high = i + 2 < s.n ? hex_value(s.p[i + 1]) : -1,
			    low = high < 0 ? -1 : hex_value(s.p[i + 2]);

			if (low < 0 || !(high | low))
				return WEIR_E_PARSE;
			c = (char)(high << 4 | low);
			i += 2;
		}
		buf_add_char(out, c);
	}
	return 0;
}

int url_query_get(struct slice query, const char *name, struct buf *ret_value)
{
	struct buf found = BUF_EMPTY, key = BUF_EMPTY;
	struct slice pair, k;
	bool more, seen = false;
	int r = 0;

	do {
		more = slice_cut(&query, '&', &pair);
		(void)slice_cut(&pair, '=', &k);
		buf_reset(&key);
		r = url_decode(k, &key);
		if (r < 0 || !slice_eq_str(buf_slice(&key), name))
			continue;
		r = seen ? -EEXIST : url_decode(pair, &found);
		seen = true;
	} while (r == 0 && more);
	if (r == 0 && !seen)
		r = -ENOENT;
	if (r == 0)
		buf_add_slice(ret_value, buf_slice(&found));
	buf_fini(&found);
	buf_fini(&key);
	return r;
}
