/* pktline.h -- git's packet lines (gitprotocol-common, "pkt-line Format"): four hexadecimal digits of length, which
 * count themselves, then data; 0000 flush, 0001 delimiter, 0002 response end. Pure; any thread. */
#ifndef WEIR_PROTO_PKTLINE_H
#define WEIR_PROTO_PKTLINE_H

#include "base/buf.h"

#define PKT_MAX_BYTES 65520 /* LARGE_PACKET_MAX: with the four digits */
#define PKT_MAX_DATA (PKT_MAX_BYTES - 4)

enum pkt_type { PKT_DATA, PKT_FLUSH, PKT_DELIM, PKT_RESPONSE_END };

struct pkt {
	enum pkt_type type;
	struct slice data; /* PKT_DATA only; may be empty ("0004") */
};

/* Cuts the first packet off *in without copying. 1: *ret is filled and points into *in's bytes. 0: *in is empty or
 * holds only the beginning of a packet, and is left as it is. WEIR_E_PARSE: length not hexadecimal, 0003, or above
 * PKT_MAX_BYTES. */
int pkt_next(struct slice *in, struct pkt *ret);
/* data without one trailing LF, which senders add or not. */
struct slice pkt_text(const struct pkt *p);

/* The same over a stream that comes in pieces. Holds at most one packet. */
struct pkt_reader {
	struct buf part; /* beginning of the packet under way */
	bool given;      /* part is the packet that the last call gave out */
	int error;
};
void pkt_reader_init(struct pkt_reader *r);
void pkt_reader_fini(struct pkt_reader *r);
/* Takes bytes off *in until a packet is complete: 1, and ret->data is valid until the next call and as long as the
 * bytes of *in are. 0: *in is used up. WEIR_E_PARSE, for good. So: while ((n = pkt_reader_next(&r, &in, &p)) > 0) */
int pkt_reader_next(struct pkt_reader *r, struct slice *in, struct pkt *ret);
/* Whether all that was taken were whole packets: false at the end of a stream means it was cut. */
bool pkt_reader_is_between(const struct pkt_reader *r);

/* Writers. Data above PKT_MAX_DATA sets the buf's error WEIR_E_TOO_LARGE. */
void pkt_add(struct buf *out, struct slice data);
void pkt_add_str(struct buf *out, const char *s);
void pkt_addf(struct buf *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void pkt_add_flush(struct buf *out);
void pkt_add_delim(struct buf *out);
void pkt_add_response_end(struct buf *out);
/* "ERR <text>" as git shows to a person; control characters become spaces; cut at 4096 bytes. */
void pkt_add_err(struct buf *out, struct slice text);
/* Sideband `band` (1 data, 2 progress, 3 fatal error), cut into as many packets as needed. */
void pkt_add_band(struct buf *out, int band, struct slice data);
/* For lines written in place: reserves the four digits and returns their offset; pkt_end() fills them in. */
size_t pkt_begin(struct buf *out);
void pkt_end(struct buf *out, size_t at);

#endif
