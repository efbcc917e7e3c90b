/* lsrefs.c -- ls-refs of protocol v2: names, prefixes, the question, the answer.
 *
 * WHAT     Which names git would accept; sets of prefixes; writing a question; writing one line of an answer; reading
 *          an upstream's answer in pieces.
 * WHY      An upstream's names end up in packed-refs, in arguments and in other answers: they are checked where they
 *          come in. Names that git itself would refuse are passed over and counted, as git's own client does.
 * RULES    1. symref-target:, peeled: and unborn stand on the ref's own line; anything else in a packet of its own
 *             kills git clients ("invalid ls-refs response").
 *          2. An answer without its flush is no answer: a short list must never look like the whole.
 * SEE      gitprotocol-v2(5), "ls-refs"; git-check-ref-format(1) */
#include "proto/lsrefs.h"

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"

#define ERR_TEXT_MAX 1000

/* git check-ref-format's rules for one component (between slashes). */
static bool component_is_valid(struct slice c)
{
	size_t i;

	if (!c.n || c.p[0] == '.' || slice_ends(c, ".lock"))
		return false;
	for (i = 0; i < c.n; i++) {
		unsigned char b = (unsigned char)c.p[i], next = i + 1 < c.n ? (unsigned char)c.p[i + 1] : 0;

		if (b <= ' ' || b == 127 || strchr("~^:?*[\\", b))
			return false;
		if ((b == '.' && next == '.') || (b == '@' && next == '{'))
			return false;
	}
	return true;
}

bool lsrefs_name_is_valid(struct slice name)
{
	struct slice rest = name, c;
	bool more;

	if (slice_eq_str(name, "HEAD"))
		return true;
	if (name.n > LSREFS_MAX_NAME || !slice_starts(name, "refs/") || name.p[name.n - 1] == '.')
		return false;
	do {
		more = slice_cut(&rest, '/', &c);
		if (!component_is_valid(c))
			return false;
	} while (more);
	return true;
}

static bool has_prefix(struct slice s, struct slice prefix)
{
	return s.n >= prefix.n && (!prefix.n || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool lsrefs_match(struct slices prefixes, struct slice name)
{
	size_t i;

	for (i = 0; i < prefixes.count; i++)
		if (has_prefix(name, prefixes.items[i]))
			return true;
	return prefixes.count == 0;
}

bool lsrefs_is_whole(struct slices prefixes)
{
	size_t i;

	if (!prefixes.count || prefixes.count >= LSREFS_MAX_PREFIXES)
		return true;
	for (i = 0; i < prefixes.count; i++)
		if (!prefixes.items[i].n)
			return true;
	return false;
}

static int cmp_slices(const void *a, const void *b)
{
	return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

void lsrefs_minimal(struct slices p, struct slices *ret)
{
	struct slice *items;
	size_t i, kept = 0;

	*ret = (struct slices){ 0 };
	if (lsrefs_is_whole(p))
		return;
	items = xcalloc(p.count, sizeof(*items));
	memcpy(items, p.items, p.count * sizeof(*items));
	qsort(items, p.count, sizeof(*items), cmp_slices);
	/* Sorted, what a prefix covers follows it at once. */
	for (i = 0; i < p.count; i++)
		if (!kept || !has_prefix(items[i], items[kept - 1]))
			items[kept++] = items[i];
	*ret = (struct slices){ items, kept };
}

void lsrefs_add_request(struct buf *out, const struct lsrefs_args *args, enum oid_format format, const char *agent)
{
	size_t i;

	pkt_add_str(out, "command=ls-refs\n");
	if (agent)
		pkt_addf(out, "agent=%s", agent);
	if (format != OID_UNKNOWN)
		pkt_addf(out, "object-format=%s", oid_format_text(format));
	pkt_add_delim(out);
	if (args->peel)
		pkt_add_str(out, "peel\n");
	if (args->symrefs)
		pkt_add_str(out, "symrefs\n");
	if (args->unborn)
		pkt_add_str(out, "unborn\n");
	for (i = 0; !lsrefs_is_whole(args->prefixes) && i < args->prefixes.count; i++) {
		size_t at = pkt_begin(out);

		buf_add_str(out, "ref-prefix ");
		buf_add_slice(out, args->prefixes.items[i]);
		buf_add_char(out, '\n');
		pkt_end(out, at);
	}
	pkt_add_flush(out);
}

static char *put(char *at, const char *p, size_t n)
{
	memcpy(at, p, n);
	return at + n;
}

/* Written in place after one reservation: an answer of 10,000 refs is made of this. */
void lsrefs_add_ref(struct buf *out, enum oid_format f, const struct lsref *ref, const struct lsrefs_args *args)
{
	static const char symref[] = " symref-target:", peeled[] = " peeled:";
	char *start = buf_reserve(out, 4 + 2 * OID_MAX_HEX + ref->name.n + ref->symref.n + sizeof(symref) +
					       sizeof(peeled) + 2),
	     *at;
	size_t begin = out->len;

	if (!start)
		return;
	at = put(start, "0000", 4);
	if (ref->unborn) {
		at = put(at, "unborn", 6);
	} else {
		oid_to_hex(f, &ref->oid, at);
		at += oid_hex_chars(f);
	}
	*at++ = ' ';
	at = put(at, ref->name.p, ref->name.n);
	if (args->symrefs && ref->symref.n) {
		at = put(at, symref, sizeof(symref) - 1);
		at = put(at, ref->symref.p, ref->symref.n);
	}
	if (args->peel && !ref->unborn && ref->has_peeled) {
		at = put(at, peeled, sizeof(peeled) - 1);
		oid_to_hex(f, &ref->peeled, at);
		at += oid_hex_chars(f);
	}
	*at++ = '\n';
	*at = '\0';    /* buf_reserve() keeps room for it */
	out->len += (size_t)(at - start);
	pkt_end(out, begin);
}

void lsrefs_parser_init(struct lsrefs_parser *p, enum oid_format format, lsrefs_fn *fn, void *arg)
{
	*p = (struct lsrefs_parser){ .format = format, .fn = fn, .arg = arg, .err = BUF_EMPTY };
	pkt_reader_init(&p->pkts);
}

void lsrefs_parser_fini(struct lsrefs_parser *p)
{
	pkt_reader_fini(&p->pkts);
	buf_fini(&p->err);
}

/* What follows the name: " symref-target:X", " peeled:OID", and whatever the future brings. */
static int parse_attributes(struct lsrefs_parser *p, struct slice rest, struct lsref *ref)
{
	struct slice word;
	bool more;

	do {
		more = slice_cut(&rest, ' ', &word);
		if (slice_starts(word, "symref-target:")) {
			ref->symref = slice_from(word, strlen("symref-target:"));
		} else if (slice_starts(word, "peeled:")) {
			if (oid_parse(slice_from(word, strlen("peeled:")), &p->format, &ref->peeled) < 0)
				return WEIR_E_PARSE;
			ref->has_peeled = true;
		}
	} while (more);
	return 0;
}

static int parse_line(struct lsrefs_parser *p, struct slice line)
{
	struct lsref ref = { 0 };
	struct slice id, rest = line;
	bool more;

	if (slice_has_nul(line) || !slice_cut(&rest, ' ', &id))
		return WEIR_E_PARSE;
	if (slice_eq_str(id, "unborn"))
		ref.unborn = true;
	else if (oid_parse(id, &p->format, &ref.oid) < 0)
		return WEIR_E_PARSE;
	more = slice_cut(&rest, ' ', &ref.name);
	if (!ref.name.n)
		return WEIR_E_PARSE;
	if (more && parse_attributes(p, rest, &ref) < 0)
		return WEIR_E_PARSE;
	if (p->count + p->ignored >= LSREFS_MAX_REFS)
		return WEIR_E_TOO_LARGE;
	if (ref.symref.n && !lsrefs_name_is_valid(ref.symref))
		ref.symref = (struct slice){ 0 };
	if (!lsrefs_name_is_valid(ref.name) || (ref.unborn && !ref.symref.n) ||
	    (!ref.unborn && oid_is_null(&ref.oid))) {
		p->ignored++;
		return 0;
	}
	p->count++;
	return p->fn(p->arg, &ref);
}

static int parse_packet(struct lsrefs_parser *p, const struct pkt *pkt)
{
	struct slice text;

	if (p->ended && pkt->type != PKT_RESPONSE_END)
		return WEIR_E_PARSE;
	switch (pkt->type) {
	case PKT_FLUSH: p->ended = true; return 0;
	case PKT_RESPONSE_END: return p->ended ? 0 : WEIR_E_PARSE;
	case PKT_DELIM: return WEIR_E_PARSE;
	case PKT_DATA: break;
	}
	text = pkt_text(pkt);
	if (slice_starts(text, "ERR ")) {
		str_add_escaped(&p->err, slice_from(text, 4), ERR_TEXT_MAX);
		return WEIR_E_PROTOCOL;
	}
	return parse_line(p, text);
}

int lsrefs_parser_feed(struct lsrefs_parser *p, struct slice bytes)
{
	struct pkt pkt;
	int n;

	if (p->error)
		return p->error;
	while ((n = pkt_reader_next(&p->pkts, &bytes, &pkt)) > 0) {
		n = parse_packet(p, &pkt);
		if (n < 0)
			break;
	}
	return p->error = n < 0 ? n : 0;
}

int lsrefs_parser_finish(struct lsrefs_parser *p)
{
	if (p->error)
		return p->error;
	if (!p->ended || !pkt_reader_is_between(&p->pkts))
		return p->error = WEIR_E_CUT;
	return 0;
}
