/* lsrefs.h -- the question and the answer of protocol v2's ls-refs (gitprotocol-v2, "ls-refs"). Pure; any thread. */
#ifndef WEIR_PROTO_LSREFS_H
#define WEIR_PROTO_LSREFS_H

#include "proto/oid.h"
#include "proto/pktline.h"

#define LSREFS_MAX_NAME 4096        /* bytes of a ref's name; longer ones are ignored and counted */
#define LSREFS_MAX_REFS 4000000     /* lines in one answer; more are WEIR_E_TOO_LARGE */
#define LSREFS_MAX_PREFIXES 65536   /* as git: from so many on, none counts and the question is for everything */

struct slices { /* borrowed list of borrowed slices */
	const struct slice *items;
	size_t count;
};

struct lsrefs_args {
	bool peel, symrefs, unborn;
	struct slices prefixes; /* none: everything */
};

/* One ref as listed. Slices are borrowed: in callbacks, while the callback lasts. */
struct lsref {
	struct slice name;
	bool unborn;      /* oid has no meaning; symref says what it will be */
	bool has_peeled;
	struct oid oid, peeled;
	struct slice symref; /* n 0: not symbolic */
};

/* 0, or a negative code that ends the parsing. */
typedef int lsrefs_fn(void *arg, const struct lsref *ref);

/* Whether git would accept it as a ref's full name: HEAD or refs/..., by the rules of git check-ref-format. Only such
 * names are handed on, so that none is a path, an option or a line of its own. */
bool lsrefs_name_is_valid(struct slice name);
/* Whether `name` begins with one of the prefixes; none of them: yes. Linear. */
bool lsrefs_match(struct slices prefixes, struct slice name);
/* Whether the question is for everything: no prefix, an empty one among them, or LSREFS_MAX_PREFIXES of them. */
bool lsrefs_is_whole(struct slices prefixes);
/* The least equal set: sorted, none a prefix of another (empty: everything). Slices are borrowed from p; the caller
 * frees ret->items, which may be NULL. */
void lsrefs_minimal(struct slices p, struct slices *ret);

/* Adds the request body of a question. format: what the repository has; agent may be NULL. */
void lsrefs_add_request(struct buf *out, const struct lsrefs_args *args, enum oid_format format, const char *agent);
/* Adds one packet with one ref, byte by byte as git's upload-pack does. */
void lsrefs_add_ref(struct buf *out, enum oid_format f, const struct lsref *ref, const struct lsrefs_args *args);

/* An upstream's answer, in pieces. */
struct lsrefs_parser {
	struct pkt_reader pkts;
	enum oid_format format; /* OID_UNKNOWN at first: the first id decides */
	lsrefs_fn *fn;
	void *arg;
	bool ended;            /* the flush was seen */
	size_t count, ignored; /* lines handed on; lines with names that lsrefs_name_is_valid() refuses */
	struct buf err;        /* text of an ERR packet, escaped; at most 1,000 bytes */
	int error;
};
void lsrefs_parser_init(struct lsrefs_parser *p, enum oid_format format, lsrefs_fn *fn, void *arg);
void lsrefs_parser_fini(struct lsrefs_parser *p);
/* 0; WEIR_E_PARSE; WEIR_E_TOO_LARGE; WEIR_E_PROTOCOL: an ERR packet, see p->err; or fn's code. Errors stay. */
int lsrefs_parser_feed(struct lsrefs_parser *p, struct slice bytes);
/* At the end of the body: 0 when it was whole, WEIR_E_CUT when not (an empty body included), or the error kept. */
int lsrefs_parser_finish(struct lsrefs_parser *p);

#endif
