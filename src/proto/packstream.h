/* packstream.h -- the answer to a fetch, taken apart as it comes: what is pack, and what upstream says beside it
 * (gitprotocol-v2 "fetch", gitprotocol-pack "Packfile Data"). Pure; any thread, one at a time for each struct. */
#ifndef WEIR_PROTO_PACKSTREAM_H
#define WEIR_PROTO_PACKSTREAM_H

#include "proto/pktline.h"

/* Gets bytes of the pack, in order. 0, or a negative code that ends the reading. */
typedef int packstream_fn(void *arg, const char *p, size_t n);

#define PACKSTREAM_MOST_SHALLOW (4u << 20) /* bytes of shallow lines: WEIR_E_TOO_LARGE */

enum packstream_state {
	PACKSTREAM_BEFORE, /* acknowledgments, shallow-info and their kin; an answer without a pack ends here */
	PACKSTREAM_PACK,
	PACKSTREAM_ENDED,  /* the flush behind the pack was seen: it is whole, as far as its sender says */
};

struct packstream {
	int version;            /* 2, or 0 for v0 and v1 with side-band or side-band-64k */
	enum packstream_state state;
	struct buf err;         /* ERR packet or band 3, escaped; at most 1,000 bytes; empty: none */
	struct buf shallow;     /* ids of "shallow" lines, one a line */
	/* private */
	struct pkt_reader pkts;
	packstream_fn *fn;
	void *arg;
	int error;
};

void packstream_init(struct packstream *ps, int version, packstream_fn *fn, void *arg);
void packstream_fini(struct packstream *ps);
/* 0; WEIR_E_PROTOCOL: ERR packet or band 3 (see err), or not such an answer; fn's code. Errors stay. */
int packstream_feed(struct packstream *ps, struct slice bytes);

#endif
