/* packstream.c -- which bytes of a fetch's answer are pack.
 *
 * v2:   sections of lines, each ended by a delimiter; "packfile", then packets with a band in their first byte, flush.
 * v0:   "NAK" and "ACK ..." lines, then packets with a band, flush.
 * shallow ID lines say where the history is cut.
 * Bands: 1 pack, 2 progress (dropped), 3 the sender gives up. */
#include "proto/packstream.h"

#include "base/err.h"
#include "base/str.h"

#define AS_BAND 1 /* this packet belongs to the pack already */

void packstream_init(struct packstream *ps, int version, packstream_fn *fn, void *arg)
{
	*ps = (struct packstream){ .version = version, .err = BUF_LIMIT(1024), .shallow = BUF_LIMIT(PACKSTREAM_MOST_SHALLOW), .fn = fn, .arg = arg };
	pkt_reader_init(&ps->pkts);
}

void packstream_fini(struct packstream *ps)
{
	pkt_reader_fini(&ps->pkts);
	buf_fini(&ps->err);
	buf_fini(&ps->shallow);
}

static int note_error(struct packstream *ps, struct slice text)
{
	while (text.n && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\0'))
		text.n--;
	buf_reset(&ps->err);
	str_add_escaped(&ps->err, text, 240); /* an escape is four bytes */
	return WEIR_E_PROTOCOL;
}

static bool is_band(struct slice data)
{
	return data.n && data.p[0] >= 1 && data.p[0] <= 3;
}

/* One packet before the pack. */
static int take_line(struct packstream *ps, const struct pkt *p)
{
	struct slice text = pkt_text(p);

	if (p->type != PKT_DATA)
		return 0; /* sections of v2 end so; an answer without a pack, too */
	if (slice_starts(text, "ERR "))
		return note_error(ps, slice_from(text, 4));
	if (slice_starts(text, "shallow ")) {
		buf_add_slice(&ps->shallow, slice_from(text, strlen("shallow ")));
		buf_add_char(&ps->shallow, '\n');
		return buf_error(&ps->shallow);
	}
	if (ps->version == 2) {
		if (slice_eq_str(text, "packfile"))
			ps->state = PACKSTREAM_PACK;
		return 0;
	}
	if (slice_eq_str(text, "NAK") || slice_starts(text, "ACK ") || slice_starts(text, "unshallow "))
		return 0;
	if (!is_band(p->data))
		return WEIR_E_PROTOCOL;
	ps->state = PACKSTREAM_PACK;
	return AS_BAND;
}

static int take_band(struct packstream *ps, const struct pkt *p)
{
	if (p->type == PKT_FLUSH) {
		ps->state = PACKSTREAM_ENDED;
		return 0;
	}
	if (p->type != PKT_DATA || !p->data.n)
		return 0;
	if (!is_band(p->data))
		return WEIR_E_PROTOCOL;
	if (p->data.p[0] == 3)
		return note_error(ps, slice_from(p->data, 1));
	return p->data.p[0] == 1 ? ps->fn(ps->arg, p->data.p + 1, p->data.n - 1) : 0;
}

int packstream_feed(struct packstream *ps, struct slice bytes)
{
	struct pkt p;
	int more = 0;

	while (!ps->error && (more = pkt_reader_next(&ps->pkts, &bytes, &p)) > 0) {
		int r = ps->state == PACKSTREAM_BEFORE ? take_line(ps, &p) : AS_BAND;

		if (r == AS_BAND)
			/* nothing comes behind the end */
			r = ps->state == PACKSTREAM_PACK ? take_band(ps, &p) : WEIR_E_PROTOCOL;
		ps->error = r;
	}
	if (more < 0)
		ps->error = WEIR_E_PROTOCOL;
	return ps->error;
}
