/* uriref.h -- where a Location or Content-Location leads, seen from the request it answers. Pure; any thread. */
#ifndef WEIR_PROTO_URIREF_H
#define WEIR_PROTO_URIREF_H

#include "base/buf.h"

#define URIREF_MAX_BYTES 8192 /* of a reference: longer is WEIR_E_TOO_LARGE */

/* Resolves a URI reference (RFC 3986 5.2; the fragment is dropped) against `origin` ("https://host[:port]", a path
 * after it is not looked at) and the origin-form `target` that was asked of it. Adds the origin-form target that it
 * names there, always beginning with '/'. 0; -EXDEV: another origin (RFC 9110 4.3.1: scheme, host, port);
 * WEIR_E_PARSE: also another scheme than http or https; WEIR_E_TOO_LARGE. Nothing is added on failure. */
int uriref_resolve(struct slice origin, struct slice target, struct slice reference, struct buf *out);

#endif
