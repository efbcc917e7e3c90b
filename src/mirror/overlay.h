/* overlay.h -- what readers and writers see of a URI whose writes are queued: their content, before upstream has it. */
#ifndef WEIR_MIRROR_OVERLAY_H
#define WEIR_MIRROR_OVERLAY_H

#include "mirror/stored.h"
#include "store/outbox.h"

struct mirror;

enum overlay { OVERLAY_NONE, OVERLAY_CONTENT, OVERLAY_ABSENT };

/* Whether a write to this path waits, so that overlay_view() has to be asked. Front threads; never blocks. */
bool overlay_may_be(struct mirror *m, struct slice target);
/* CONTENT: *ret (a reference) is the last queued PUT as a response; ABSENT: the last one is a DELETE, of it or of a
 * collection that it is in; NONE: neither waits (or its body is damaged). Blocks. */
enum overlay overlay_view(struct mirror *m, struct slice target, struct stored **ret);
/* The entity tag of a queued write, as overlay_view() shows it: "\"weir-ID\"". */
void overlay_etag(const char *id, struct buf *out);

#endif
