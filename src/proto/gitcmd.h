/* gitcmd.h -- the body of POST .../git-upload-pack: a v2 command (gitprotocol-v2, "Command Request") or a v0/v1
 * request (gitprotocol-pack, "Packfile Negotiation"). Parsed in pieces; keeps what matters in binary.
 *
 * Memory follows the limits below, whatever a peer sends; bytes after the end of the request are refused, as another
 * reader might take them for something. Pure; any thread, one at a time for each struct. */
#ifndef WEIR_PROTO_GITCMD_H
#define WEIR_PROTO_GITCMD_H

#include "base/arena.h"
#include "proto/lsrefs.h"

#define GITCMD_MAX_LINES 1000000          /* packets in one request: WEIR_E_TOO_LARGE */
#define GITCMD_MAX_TEXT (16 * 1024 * 1024) /* bytes of prefixes, filters and other text kept: WEIR_E_TOO_LARGE */

enum gitcmd_kind {
	GITCMD_NONE,
	GITCMD_PROBE,       /* just "0000": git's question whether a large body is welcome. Answer 200, empty. */
	GITCMD_LS_REFS,
	GITCMD_FETCH,       /* v2, and v0/v1 (then version is 0) */
	GITCMD_OBJECT_INFO,
	GITCMD_OTHER,       /* v2: command_name says which; arguments are kept in `unknown` */
};

enum gitcmd_flag {
	GITCMD_DONE = 1 << 0,
	GITCMD_THIN_PACK = 1 << 1,
	GITCMD_NO_PROGRESS = 1 << 2,
	GITCMD_INCLUDE_TAG = 1 << 3,
	GITCMD_OFS_DELTA = 1 << 4,
	GITCMD_SIDEBAND_ALL = 1 << 5,
	GITCMD_WAIT_FOR_DONE = 1 << 6,
	GITCMD_DEEPEN_RELATIVE = 1 << 7,
	GITCMD_DEEPEN_SINCE = 1 << 8, /* deepen_since holds it */
	GITCMD_OBJECT_SIZE = 1 << 9,  /* object-info: size */
	/* v0/v1 capabilities of the first want */
	GITCMD_MULTI_ACK = 1 << 10,
	GITCMD_MULTI_ACK_DETAILED = 1 << 11,
	GITCMD_NO_DONE = 1 << 12,
	GITCMD_SIDE_BAND = 1 << 13,
	GITCMD_SIDE_BAND_64K = 1 << 14,
};

struct slice_list {
	struct slice *items; /* the bytes live in the command's arena */
	size_t count, room;
};

struct gitcmd {
	int version; /* 2, or 0 for v0 and v1 */
	enum gitcmd_kind kind;
	struct slice command_name;
	enum oid_format format; /* as sent, or what the ids show; OID_UNKNOWN: neither (git then means SHA-1) */
	unsigned flags;         /* enum gitcmd_flag */
	struct lsrefs_args ls;  /* ls-refs; points into prefixes */
	struct slice_list prefixes;
	bool prefixes_dropped;  /* too many: the question is for everything */
	struct oid_list wants, haves, shallows; /* as sent, repetition kept; object-info: wants are its oids */
	struct slice_list want_refs, deepen_nots;
	uint64_t deepen;        /* 0: none */
	uint64_t deepen_since;
	struct slice filter, packfile_uris; /* n 0: none */
	struct slice agent, session_id;
	struct slice_list server_options;
	struct slice_list unknown; /* arguments and capabilities that this parser does not know */
	const char *why;           /* static English sentence for the first error, or NULL */

	/* private */
	struct pkt_reader pkts;
	struct arena text;
	size_t lines;
	bool last_flush; /* the last packet was a flush */
	int state, error;
};

/* The highest version named in a Git-Protocol header ("version=2", "foo:version=1:bar"); 0 when none is known. */
int gitcmd_protocol_version(struct slice header);

/* version: from gitcmd_protocol_version(). */
void gitcmd_init(struct gitcmd *c, int version);
void gitcmd_fini(struct gitcmd *c);
/* 0; WEIR_E_PARSE or WEIR_E_TOO_LARGE with c->why. Errors stay. */
int gitcmd_feed(struct gitcmd *c, struct slice bytes);
/* At the end of the body: 0 and c->kind is set; WEIR_E_PARSE when the request was not whole. */
int gitcmd_finish(struct gitcmd *c);

/* Normal form of an ls-refs command: equal for questions with equal answers. */
void gitcmd_canonical_lsrefs(const struct gitcmd *c, struct buf *key);
/* Normal form of a fetch: wants, haves and shallows sorted and unique, all that changes bytes kept; agent, session-id
 * and server-option dropped. As long as the ids in hexadecimal: hash it for use as a name. */
void gitcmd_fetch_key(const struct gitcmd *c, struct buf *key);
/* deepen-not, want-ref, or a filter that names a blob by anything but a full id: the answer depends on refs that move,
 * so it is never stored or joined. True also when there are unknown arguments. */
bool gitcmd_fetch_names_refs(const struct gitcmd *c);
/* Neither filter nor shallow or deepen in any form: the pack is whole, given the haves. */
bool gitcmd_fetch_is_plain(const struct gitcmd *c);

#endif
