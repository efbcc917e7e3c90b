/* web.h -- the pages that are built into the program.
 *
 * A page is `/` of its listener; what it loads is `/assets/NAME-HASH.EXT`, whose bytes never change under that name.
 * Pages hold no data: they are served to anybody who may reach the listener, before any key is asked for, and get what
 * they show from the API, with the key that the reader gives. */
#ifndef WEIR_WEB_WEB_H
#define WEIR_WEB_WEB_H

#include "core/exchange.h"

enum web_app { WEB_HUB, WEB_DASHBOARD };

/* Whether `path` (of the target, without query) is one of the pages': then `ex` was answered with it, 304, 404 (no such
 * asset) or 405, and is no longer the caller's. False: nothing was done. Front threads; never blocks. */
bool web_handle(struct exchange *ex, enum web_app app, struct slice path);

#endif
