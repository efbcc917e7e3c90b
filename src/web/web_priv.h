/* web_priv.h -- what web_assets.c, which `embed` writes, has for web.c. */
#ifndef WEIR_WEB_WEB_PRIV_H
#define WEIR_WEB_WEB_PRIV_H

#include "base/buf.h"
#include "web/web.h"

struct web_file {
	const char *path; /* "/assets/hub-Q3ZK7A2B.js"; of a page: NULL */
	const char *type; /* Content-Type */
	const char *etag, *packed_etag; /* with their quotes: other bytes, another tag */
	struct slice plain, packed; /* packed: the same by gzip; empty when that is not shorter */
};

extern const struct web_file web_pages[]; /* by enum web_app */
extern const struct web_file web_assets[];
extern const size_t web_asset_count;

/* Whether a value of Accept-Encoding takes gzip (RFC 9110 12.5.3): named, or by "*", and not with a weight of 0. */
bool web_takes_gzip(struct slice accept_encoding);

#endif
