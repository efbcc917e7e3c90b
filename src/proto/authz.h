/* authz.h -- the Authorization header (RFC 9110 section 11, RFC 7617 Basic, RFC 6750 Bearer). Pure; any thread. Compare
 * secrets with str_eq_const_time() of base/str.h only. */
#ifndef WEIR_PROTO_AUTHZ_H
#define WEIR_PROTO_AUTHZ_H

#include "base/buf.h"

#define AUTHZ_MAX_BYTES 16384 /* of a value: longer is WEIR_E_TOO_LARGE */

/* "Basic <base64>": user and password, appended. WEIR_E_PARSE: another scheme, not Base64, no colon, a control
 * character or NUL within. -ENOENT: another scheme. */
int authz_parse_basic(struct slice value, struct buf *ret_user, struct buf *ret_password);
/* "Bearer <token>": the token, borrowed. -ENOENT: another scheme; WEIR_E_PARSE: not a token68. */
int authz_parse_bearer(struct slice value, struct slice *ret_token);
/* Adds "Basic <base64 of user:password>" (the value alone). WEIR_E_PARSE when user has a colon or either a control. */
int authz_add_basic(struct buf *out, struct slice user, struct slice password);
/* Adds "Bearer <token>". WEIR_E_PARSE when it is not a token68. */
int authz_add_bearer(struct buf *out, struct slice token);

#endif
