/* advert.c -- reads what upstream says of itself at info/refs.
 *
 * WHAT     [SERVICE "# service=..." flush] then one of
 *
 *            "version 2"  CAPS lines        flush                      v2
 *            ["version 1"] FIRST ref NUL caps, REFS, SHALLOWS  flush   v0 and v1
 *
 * WHY      Which capabilities may be promised to clients depends on what upstream keeps; and upstreams that know no v2
 *          list their refs here and only here.
 * RULES    1. A ref waits for the line after it, which may be its peeled value (name^{}).
 *          2. No flush, no listing: what was cut must not look whole. A second flush right after the service line's is
 *             an empty repository, as gits before 2.42 say it; a flush and nothing else is refused.
 *          3. GitHub sends the service line before v2 too, git's own http-backend does not: both are read.
 * SEE      gitprotocol-http(5), "Smart Server Response"; gitprotocol-pack(5), "Reference Discovery";
 *          gitprotocol-v2(5) */
#include "proto/advert.h"

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"

#define ERR_TEXT_MAX 1000

enum state { START, SERVICE_FLUSH, VERSION, V2_CAPS, FIRST, REFS, SHALLOWS, ENDED };

void advert_init(struct advert *a, lsrefs_fn *fn, void *arg)
{
	*a = (struct advert){ .version = -1,
			      .caps = BUF_LIMIT(ADVERT_MAX_CAPS),
			      .err = BUF_EMPTY,
			      .held_name = BUF_EMPTY,
			      .fn = fn,
			      .arg = arg };
	pkt_reader_init(&a->pkts);
}

void advert_fini(struct advert *a)
{
	pkt_reader_fini(&a->pkts);
	buf_fini(&a->caps);
	buf_fini(&a->err);
	buf_fini(&a->held_name);
}

static bool is_printable(struct slice s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 127)
			return false;
	return true;
}

/* Keeps one capability and looks at those that matter for reading on. */
static int keep_cap(struct advert *a, struct slice cap)
{
	if (!is_printable(cap))
		return WEIR_E_PARSE;
	if (slice_starts(cap, "object-format=") &&
	    oid_format_parse(slice_from(cap, strlen("object-format=")), &a->format) < 0)
		return WEIR_E_PARSE;
	buf_add_slice(&a->caps, cap);
	buf_add_char(&a->caps, '\n');
	return buf_error(&a->caps);
}

/* The target that the capabilities symref=NAME:TARGET give for name, or an empty slice. */
static struct slice symref_of(const struct advert *a, struct slice name)
{
	struct slice rest = buf_slice(&a->caps), line, from;

	while (rest.n) {
		(void)slice_cut(&rest, '\n', &line);
		if (!slice_starts(line, "symref="))
			continue;
		line = slice_from(line, strlen("symref="));
		if (slice_cut(&line, ':', &from) && slice_eq(from, name) && lsrefs_name_is_valid(line))
			return line;
	}
	return (struct slice){ 0 };
}

/* Hands the ref that waited on. */
static int release_held(struct advert *a)
{
	if (!a->held_name.len)
		return 0;
	a->held.name = buf_slice(&a->held_name);
	a->held.symref = symref_of(a, a->held.name);
	if (!lsrefs_name_is_valid(a->held.name) || oid_is_null(&a->held.oid)) {
		a->ignored++;
		buf_reset(&a->held_name);
		return 0;
	}
	return a->fn ? a->fn(a->arg, &a->held) : 0;
}

static int ref_line(struct advert *a, struct slice line)
{
	struct slice id, name = line;
	struct oid oid;
	int r;

	if (!slice_cut(&name, ' ', &id) || !name.n || slice_has_nul(name) || oid_parse(id, &a->format, &oid) < 0)
		return WEIR_E_PARSE;
	if (slice_ends(name, "^{}")) {
		name.n -= 3;
		if (!slice_eq(name, buf_slice(&a->held_name)) || a->held.has_peeled)
			return WEIR_E_PARSE;
		a->held.peeled = oid;
		a->held.has_peeled = true;
		return 0;
	}
	if (++a->count > LSREFS_MAX_REFS)
		return WEIR_E_TOO_LARGE;
	r = release_held(a);
	if (r < 0)
		return r;
	a->held = (struct lsref){ .oid = oid };
	buf_reset(&a->held_name);
	buf_add_slice(&a->held_name, name);
	return 0;
}

/* "OID name NUL caps": the capabilities have to be known before the id can be read. */
static int first_line(struct advert *a, struct slice line)
{
	struct slice caps = line, head, word;
	bool more = slice_cut(&caps, '\0', &head);
	int r = 0;

	a->format = OID_SHA1;
	while (more && r == 0) {
		more = slice_cut(&caps, ' ', &word);
		if (word.n)
			r = keep_cap(a, word);
	}
	if (r < 0)
		return r;
	if (slice_ends(head, " capabilities^{}")) {
		a->empty = true;
		a->state = SHALLOWS;
		return oid_parse((struct slice){ head.p, head.n - strlen(" capabilities^{}") }, &a->format,
				 &a->held.oid);
	}
	a->state = REFS;
	return ref_line(a, head);
}

static int version_line(struct advert *a, struct slice text)
{
	if (slice_eq_str(text, "version 2")) {
		a->version = 2;
		a->format = OID_SHA1;
		a->state = V2_CAPS;
		return 0;
	}
	if (slice_eq_str(text, "version 1")) {
		a->version = 1;
		a->state = FIRST;
		return 0;
	}
	a->version = 0;
	return first_line(a, text);
}

static int shallow_line(struct advert *a, struct slice text)
{
	struct oid id;

	if (!slice_starts(text, "shallow ") || oid_parse(slice_from(text, strlen("shallow ")), &a->format, &id) < 0)
		return WEIR_E_PARSE;
	a->shallows++;
	a->state = SHALLOWS;
	return 0;
}

static int line_in_state(struct advert *a, struct slice text)
{
	switch ((enum state)a->state) {
	case START:
		if (slice_starts(text, "# service=")) {
			a->state = SERVICE_FLUSH;
			return slice_eq_str(text, "# service=git-upload-pack") ||
					       slice_eq_str(text, "# service=git-receive-pack")
				       ? 0
				       : WEIR_E_PARSE;
		}
		return version_line(a, text);
	case VERSION: return version_line(a, text);
	case V2_CAPS: return text.n ? keep_cap(a, text) : WEIR_E_PARSE;
	case FIRST: return first_line(a, text);
	case REFS: return slice_starts(text, "shallow ") ? shallow_line(a, text) : ref_line(a, text);
	case SHALLOWS: return shallow_line(a, text);
	case SERVICE_FLUSH:
	case ENDED: break;
	}
	return WEIR_E_PARSE;
}

static int flush_in_state(struct advert *a)
{
	switch ((enum state)a->state) {
	case SERVICE_FLUSH: a->state = VERSION; return 0;
	case START: return WEIR_E_PARSE;    /* nothing but a flush is too little to believe in an empty repository */
	case VERSION: a->version = 0; /* fall through */
	case FIRST:    /* older gits say no more than this of an empty repository */
		a->empty = true;
		a->format = OID_SHA1;
		break;
	case V2_CAPS:
	case REFS:
	case SHALLOWS: break;
	case ENDED: return WEIR_E_PARSE;
	}
	a->state = ENDED;
	a->complete = true;
	return release_held(a);
}

static int packet(struct advert *a, const struct pkt *pkt)
{
	struct slice text;

	if (pkt->type == PKT_FLUSH)
		return flush_in_state(a);
	if (pkt->type != PKT_DATA)
		return WEIR_E_PARSE;
	text = pkt_text(pkt);
	if (slice_starts(text, "ERR ") && a->state != ENDED) {
		str_add_escaped(&a->err, slice_from(text, 4), ERR_TEXT_MAX);
		return WEIR_E_PROTOCOL;
	}
	return line_in_state(a, text);
}

int advert_feed(struct advert *a, struct slice bytes)
{
	struct pkt pkt;
	int n;

	if (a->error)
		return a->error;
	while ((n = pkt_reader_next(&a->pkts, &bytes, &pkt)) > 0) {
		n = packet(a, &pkt);
		if (n < 0)
			break;
	}
	return a->error = n < 0 ? n : 0;
}

int advert_finish(struct advert *a)
{
	if (a->error)
		return a->error;
	/* Not even one packet: a dumb server's list ("aaaa..." is a length, too) rather than a cut. */
	if (a->state == START && !pkt_reader_is_between(&a->pkts))
		return a->error = WEIR_E_PARSE;
	if (!a->complete || !pkt_reader_is_between(&a->pkts))
		return a->error = WEIR_E_CUT;
	return 0;
}

bool advert_has(const struct advert *a, const char *capability, struct slice *ret_value)
{
	struct slice rest = buf_slice(&a->caps), line, key;

	while (rest.n) {
		(void)slice_cut(&rest, '\n', &line);
		(void)slice_cut(&line, '=', &key);
		if (slice_eq_str(key, capability)) {
			if (ret_value)
				*ret_value = line;
			return true;
		}
	}
	return false;
}

bool advert_has_feature(const struct advert *a, const char *capability, const char *feature)
{
	struct slice value, word;
	bool more;

	if (!advert_has(a, capability, &value))
		return false;
	do {
		more = slice_cut(&value, ' ', &word);
		if (slice_eq_str(word, feature))
			return true;
	} while (more);
	return false;
}

int advert_restore(struct advert *a, int version, struct slice caps)
{
	struct slice line;
	int r = 0;

	if (version < 0 || version > 2)
		return WEIR_E_PARSE;
	a->version = version;
	a->format = OID_SHA1;
	while (caps.n && r == 0) {
		(void)slice_cut(&caps, '\n', &line);
		r = line.n ? keep_cap(a, line) : WEIR_E_PARSE;
	}
	a->complete = r == 0;
	a->state = ENDED;
	return a->error = r;
}
