/* url.h -- http and https URLs (RFC 3986), strictly, and their percent-escapes. Pure; any thread. */
#ifndef WEIR_PROTO_URL_H
#define WEIR_PROTO_URL_H

#include "base/buf.h"

#define URL_MAX_HOST 255                  /* bytes of a host, brackets of an IPv6 literal included */
#define URL_HOSTPORT_ROOM (URL_MAX_HOST + 12) /* host, colon, any unsigned, NUL */

struct url {
	bool https;
	char host[URL_MAX_HOST + 1]; /* lower-case, without port; an IPv6 literal with its brackets */
	unsigned port;               /* 1 to 65535, the scheme's default filled in */
	bool port_given;
	struct slice path;  /* borrowed from the input: from '/' up to '?'; empty when there is none */
	struct slice query; /* borrowed: after '?'; p NULL: there is none */
};

/* Scheme, host, optional port, path, query. No user information, no fragment, no blank, control or byte above 126.
 * 0 or WEIR_E_PARSE. */
int url_parse(struct slice s, struct url *ret);
/* "Host", "host:port", "[::1]:port" -> lower case, ports 80 and 443 left out (which of them is meant is the upstream's
 * business: its `url` says), leading zeros of the port removed. Host: letters, digits, '-', '.', '_', none of them
 * leading or trailing but '_' and no empty label; or a bracketed IPv6 address. 0 or WEIR_E_PARSE. */
int url_normalize_hostport(struct slice s, char ret[URL_HOSTPORT_ROOM]);
/* The same, taken apart: *ret_port is 0 when none was given; default ports are kept. */
int url_split_hostport(struct slice s, char ret_host[URL_MAX_HOST + 1], unsigned *ret_port);
/* Whether a normalised host[:port] is localhost or a loopback address. */
bool url_host_is_loopback(const char *hostport);

/* Adds s with every byte but unreserved ones (RFC 3986 2.3) and those in `keep` escaped as %XX. */
void url_encode(struct buf *out, struct slice s, const char *keep);
/* Adds s with its escapes decoded. WEIR_E_PARSE on a broken escape or %00. '+' stays '+'. */
int url_decode(struct slice s, struct buf *out);
/* The decoded value of the first query parameter `name`: 0; -ENOENT; WEIR_E_PARSE; -EEXIST when it is there twice. */
int url_query_get(struct slice query, const char *name, struct buf *ret_value);

#endif
