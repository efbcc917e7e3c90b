/* transfer.h -- fetching objects from upstream into an intake: weir as a git client, for protocols v2, v1 and v0.
 *
 * One request: all wants, some haves, done. Upstream answers with one pack, which goes to index-pack as it comes. */
#ifndef WEIR_GIT_TRANSFER_H
#define WEIR_GIT_TRANSFER_H

#include "git/ask.h"
#include "git/intake.h"

struct transfer {
	const struct oid_list *wants, *haves;
	enum oid_format format;
	int upstream_version;  /* as advertised: 0, 1, 2 */
	struct intake *intake; /* takes the pack */
};

/* Blocks: workers only. The intake is to be finished when this gives ASK_OK; otherwise it is to be freed. ret->text has
 * upstream's words for a refusal ("upload-pack: not our ref ..."). An answer without a whole pack is ASK_UNAVAILABLE
 * with WEIR_E_CUT. When index-pack ended early err is WEIR_E_CHILD: intake_finish() then tells why. */
void transfer_run(const struct ask *a, const struct transfer *t, struct ask_result *ret);

#endif
