/* advert.h -- the answer to info/refs?service=git-upload-pack: v2 capabilities (gitprotocol-v2, "Capability
 * Advertisement") or v0/v1 refs (gitprotocol-pack, "Reference Discovery"), with or without the smart HTTP line
 * "# service=git-upload-pack". Pure; any thread, one at a time for each struct. */
#ifndef WEIR_PROTO_ADVERT_H
#define WEIR_PROTO_ADVERT_H

#include "proto/lsrefs.h"

#define ADVERT_MAX_CAPS (64 * 1024) /* bytes of capability text kept: WEIR_E_TOO_LARGE */

struct advert {
	int version;            /* 0, 1, 2; -1: nothing seen yet */
	enum oid_format format; /* object-format; OID_SHA1 when it is not said; OID_UNKNOWN before any line */
	struct buf caps;        /* v2: one capability a line ("fetch=shallow filter\n"); v0/v1: the words, one a line */
	bool complete;          /* the flush was seen */
	bool empty;             /* v0/v1: no ref at all ("capabilities^{}", or only a flush) */
	size_t shallows;        /* v0/v1: shallow lines: upstream's own history is cut */
	size_t ignored;         /* names that lsrefs_name_is_valid() refuses */
	struct buf err;         /* text of an ERR packet, escaped; at most 1,000 bytes */

	/* private */
	struct pkt_reader pkts;
	lsrefs_fn *fn;
	void *arg;
	struct buf held_name; /* a ref waits for its ^{} line */
	struct lsref held;
	size_t count;
	int state, error;
};

/* v0/v1: fn (or NULL) gets each ref, peeled and symref filled in as far as they were told. v2: it is not called. */
void advert_init(struct advert *a, lsrefs_fn *fn, void *arg);
void advert_fini(struct advert *a);
/* 0; WEIR_E_PARSE (a dumb server's answer included); WEIR_E_TOO_LARGE; WEIR_E_PROTOCOL: an ERR packet; fn's code.
 * Errors stay. */
int advert_feed(struct advert *a, struct slice bytes);
/* 0 when whole; WEIR_E_CUT when not (nothing at all included); WEIR_E_PARSE when not even one packet came; the error
 * kept. */
int advert_finish(struct advert *a);

/* Whether a capability is there; *ret_value (may be NULL) is what follows its '=', borrowed from a. */
bool advert_has(const struct advert *a, const char *capability, struct slice *ret_value);
/* v2: whether `feature` is among the words of the capability's value, as ("fetch", "filter"). */
bool advert_has_feature(const struct advert *a, const char *capability, const char *feature);
/* Makes an advert of what was kept from another: its version and its caps text. 0, WEIR_E_PARSE, WEIR_E_TOO_LARGE. a:
 * fresh from advert_init(). */
int advert_restore(struct advert *a, int version, struct slice caps);

/* Adds "# service=NAME\n" and a flush: goes before v0 and v1 advertisements over HTTP, not before v2 (as git does). */
void advert_add_service(struct buf *out, const char *service);
/* The v2 advertisement: what both upstream and the local git upload-pack (both parsed adverts) keep, for `format`.
 * upstream may be v0/v1: then what follows from its capabilities. NULL: as if it kept all that local does. Never
 * ref-in-want, packfile-uris, bundle-uri, session-id. */
void advert_add_v2(struct buf *out, const struct advert *upstream, const struct advert *local, enum oid_format format,
		   const char *agent);
/* The capability words of a v0/v1 advertisement, separated by spaces, without symref. local: the local upload-pack's
 * advertisement, best of v0 in a repository that has refs; of v2, or NULL: what every upload-pack since git 2.11 keeps,
 * with filter as in v2. upstream: of any version, or NULL. */
void advert_add_v0_caps(struct buf *out, const struct advert *upstream, const struct advert *local,
			enum oid_format format, const char *agent);
/* Pieces of a v0/v1 advertisement: "version 1" (version 0: nothing), then each ref (HEAD first, then sorted; caps
 * belong to the first, others have n 0) with its ^{} line, or instead the line of an empty repository; then
 * pkt_add_flush(). */
void advert_add_v0_version(struct buf *out, int version);
void advert_add_v0_ref(struct buf *out, enum oid_format f, const struct lsref *ref, struct slice caps);
void advert_add_v0_empty(struct buf *out, enum oid_format f, struct slice caps);

#endif
