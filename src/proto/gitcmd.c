/* gitcmd.c -- reads what a git client asks of upload-pack.
 *
 * WHAT     One state machine over packets:
 *
 *            v2     KEYS --delim--> ARGS --flush--> END          (KEYS --flush--> END when there are no arguments)
 *            v0/v1  WANTS --flush--> HAVES --done--> END         (HAVES stays over further flushes)
 *            both   a flush as the first packet of all is git's probe
 *
 * WHY      Whether a request can be answered from the cache, joined to another or stored depends on every line of it.
 *          Ids are kept in binary, since a request may have 20,000 wants.
 * RULES    1. A trailing LF may be there or not: git sends "command=ls-refs\n" but "command=fetch".
 *          2. What git's own upload-pack refuses may be refused here; what it accepts must be accepted. Lines with NUL
 *             or LF inside and values that are given twice are refused, since two readers may differ.
 *          3. Unknown arguments are kept, not refused: a newer upload-pack may know them.
 * SEE      gitprotocol-v2(5), "Command Request"; gitprotocol-pack(5), "Packfile Negotiation"; gitprotocol-http(5) */
#include "proto/gitcmd.h"

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"

enum state { V2_KEYS, V2_ARGS, V0_WANTS, V0_HAVES, ENDED };

int gitcmd_protocol_version(struct slice header)
{
	struct slice word;
	int version = 0;
	bool more;

	do {
		more = slice_cut(&header, ':', &word);
		if (slice_eq_str(word, "version=1") && version < 1)
			version = 1;
		else if (slice_eq_str(word, "version=2"))
			version = 2;
	} while (more);
	return version;
}

void gitcmd_init(struct gitcmd *c, int version)
{
	*c = (struct gitcmd){ .version = version == 2 ? 2 : 0, .state = version == 2 ? V2_KEYS : V0_WANTS };
	pkt_reader_init(&c->pkts);
	arena_init(&c->text, GITCMD_MAX_TEXT);
}

void gitcmd_fini(struct gitcmd *c)
{
	pkt_reader_fini(&c->pkts);
	arena_fini(&c->text);
	free(c->prefixes.items);
	free(c->want_refs.items);
	free(c->deepen_nots.items);
	free(c->server_options.items);
	free(c->unknown.items);
	oid_list_fini(&c->wants);
	oid_list_fini(&c->haves);
	oid_list_fini(&c->shallows);
	*c = (struct gitcmd){ 0 };
}

static int refuse(struct gitcmd *c, const char *why)
{
	c->why = why;
	return WEIR_E_PARSE;
}

static int too_large(struct gitcmd *c, const char *why)
{
	c->why = why;
	return WEIR_E_TOO_LARGE;
}

static int keep_text(struct gitcmd *c, struct slice s, struct slice *ret)
{
	char *p = arena_dup(&c->text, s);

	if (!p)
		return too_large(c, "the request holds too much text");
	*ret = (struct slice){ p, s.n };
	return 0;
}

static int keep_in_list(struct gitcmd *c, struct slice_list *l, struct slice s)
{
	struct slice kept;
	int r = keep_text(c, s, &kept);

	if (r < 0)
		return r;
	if (l->count == l->room) {
		l->room = l->room ? 2 * l->room : 8;
		l->items = xrealloc(l->items, l->room * sizeof(*l->items));
	}
	l->items[l->count++] = kept;
	return 0;
}

static int keep_once(struct gitcmd *c, struct slice *where, struct slice s)
{
	if (where->n)
		return refuse(c, "a value is given twice");
	if (!s.n)
		return refuse(c, "a value is empty");
	return keep_text(c, s, where);
}

static int keep_oid(struct gitcmd *c, struct oid_list *l, struct slice hex)
{
	struct oid id;

	if (oid_parse(hex, &c->format, &id) < 0)
		return refuse(c, "an object id is malformed or of another object format");
	oid_list_add(l, &id);
	return 0;
}

static int keep_number(struct gitcmd *c, uint64_t *where, struct slice s, uint64_t most)
{
	uint64_t n;

	if (*where)
		return refuse(c, "a number is given twice");
	if (str_parse_u64(s, &n) < 0 || !n || n > most)
		return refuse(c, "a number is malformed or out of range");
	*where = n;
	return 0;
}

static bool skip(struct slice *s, const char *prefix)
{
	if (!slice_starts(*s, prefix))
		return false;
	*s = slice_from(*s, strlen(prefix));
	return true;
}

struct word_flag {
	const char *word;
	unsigned flag;
};

/* The flag of an argument that is one word, or 0. */
static unsigned flag_of(const struct word_flag *table, struct slice word)
{
	for (; table->word; table++)
		if (slice_eq_str(word, table->word))
			return table->flag;
	return 0;
}

static int set_format(struct gitcmd *c, struct slice value)
{
	enum oid_format f;

	if (oid_format_parse(value, &f) < 0)
		return refuse(c, "object-format is neither sha1 nor sha256");
	if (c->format != OID_UNKNOWN && c->format != f)
		return refuse(c, "object-format does not fit what went before");
	c->format = f;
	return 0;
}

static int set_command(struct gitcmd *c, struct slice name)
{
	int r = keep_once(c, &c->command_name, name);

	if (r < 0)
		return r;
	c->kind = slice_eq_str(name, "ls-refs")	    ? GITCMD_LS_REFS
		  : slice_eq_str(name, "fetch")	    ? GITCMD_FETCH
		  : slice_eq_str(name, "object-info") ? GITCMD_OBJECT_INFO
						      : GITCMD_OTHER;
	return 0;
}

static int v2_key(struct gitcmd *c, struct slice line)
{
	struct slice s = line;

	if (skip(&s, "command="))
		return set_command(c, s);
	if (skip(&s, "agent="))
		return keep_once(c, &c->agent, s);
	if (skip(&s, "session-id="))
		return keep_once(c, &c->session_id, s);
	if (skip(&s, "server-option="))
		return keep_in_list(c, &c->server_options, s);
	if (skip(&s, "object-format="))
		return set_format(c, s);
	return keep_in_list(c, &c->unknown, line);
}

static int lsrefs_arg(struct gitcmd *c, struct slice line)
{
	struct slice s = line;

	if (slice_eq_str(line, "peel")) {
		c->ls.peel = true;
	} else if (slice_eq_str(line, "symrefs")) {
		c->ls.symrefs = true;
	} else if (slice_eq_str(line, "unborn")) {
		c->ls.unborn = true;
	} else if (skip(&s, "ref-prefix ")) {
		if (c->prefixes_dropped)
			return 0;
		if (c->prefixes.count + 1 >= LSREFS_MAX_PREFIXES) {
			c->prefixes_dropped = true;
			c->prefixes.count = 0;
			return 0;
		}
		return keep_in_list(c, &c->prefixes, s);
	} else {
		return keep_in_list(c, &c->unknown, line);
	}
	return 0;
}

/* Lines that v2 and v0/v1 have in common. 1: it was one of them; 0: it was not. */
static int shallow_arg(struct gitcmd *c, struct slice line)
{
	struct slice s = line;
	int r;

	if (skip(&s, "shallow ")) {
		r = keep_oid(c, &c->shallows, s);
	} else if (skip(&s, "deepen-since ")) {
		r = keep_number(c, &c->deepen_since, s, INT64_MAX);
		c->flags |= GITCMD_DEEPEN_SINCE;
	} else if (skip(&s, "deepen-not ")) {
		r = keep_in_list(c, &c->deepen_nots, s);
	} else if (skip(&s, "deepen ")) {
		r = keep_number(c, &c->deepen, s, INT32_MAX);
	} else if (skip(&s, "filter ")) {
		r = keep_once(c, &c->filter, s);
	} else {
		return 0;
	}
	return r < 0 ? r : 1;
}

static int fetch_arg(struct gitcmd *c, struct slice line)
{
	static const struct word_flag words[] = {
		{ "done", GITCMD_DONE },
		{ "thin-pack", GITCMD_THIN_PACK },
		{ "no-progress", GITCMD_NO_PROGRESS },
		{ "include-tag", GITCMD_INCLUDE_TAG },
		{ "ofs-delta", GITCMD_OFS_DELTA },
		{ "sideband-all", GITCMD_SIDEBAND_ALL },
		{ "wait-for-done", GITCMD_WAIT_FOR_DONE },
		{ "deepen-relative", GITCMD_DEEPEN_RELATIVE },
		{ NULL, 0 },
	};
	struct slice s = line;
	unsigned flag;
	int r;

	if (skip(&s, "want "))
		return keep_oid(c, &c->wants, s);
	if (skip(&s, "have "))
		return keep_oid(c, &c->haves, s);
	flag = flag_of(words, line);
	if (flag) {
		c->flags |= flag;
		return 0;
	}
	if (skip(&s, "want-ref "))
		return keep_in_list(c, &c->want_refs, s);
	if (skip(&s, "packfile-uris "))
		return keep_once(c, &c->packfile_uris, s);
	r = shallow_arg(c, line);
	if (r)
		return r < 0 ? r : 0;
	return keep_in_list(c, &c->unknown, line);
}

static int object_info_arg(struct gitcmd *c, struct slice line)
{
	struct slice s = line;

	if (slice_eq_str(line, "size")) {
		c->flags |= GITCMD_OBJECT_SIZE;
		return 0;
	}
	if (skip(&s, "oid "))
		return keep_oid(c, &c->wants, s);
	return keep_in_list(c, &c->unknown, line);
}

static int v2_arg(struct gitcmd *c, struct slice line)
{
	switch (c->kind) {
	case GITCMD_LS_REFS: return lsrefs_arg(c, line);
	case GITCMD_FETCH: return fetch_arg(c, line);
	case GITCMD_OBJECT_INFO: return object_info_arg(c, line);
	default: return keep_in_list(c, &c->unknown, line);
	}
}

static int v0_capability(struct gitcmd *c, struct slice word)
{
	static const struct word_flag words[] = {
		{ "multi_ack", GITCMD_MULTI_ACK },
		{ "multi_ack_detailed", GITCMD_MULTI_ACK_DETAILED },
		{ "no-done", GITCMD_NO_DONE },
		{ "side-band", GITCMD_SIDE_BAND },
		{ "side-band-64k", GITCMD_SIDE_BAND_64K },
		{ "thin-pack", GITCMD_THIN_PACK },
		{ "no-progress", GITCMD_NO_PROGRESS },
		{ "include-tag", GITCMD_INCLUDE_TAG },
		{ "ofs-delta", GITCMD_OFS_DELTA },
		{ "deepen-relative", GITCMD_DEEPEN_RELATIVE },
		{ NULL, 0 },
	};
	/* Said by clients as "I know this"; the lines that use them say the rest. */
	static const struct word_flag idle[] = {
		{ "shallow", 1 },
		{ "deepen-since", 1 },
		{ "deepen-not", 1 },
		{ "filter", 1 },
		{ "allow-tip-sha1-in-want", 1 },
		{ "allow-reachable-sha1-in-want", 1 },
		{ NULL, 0 },
	};
	struct slice s = word;

	if (!word.n || flag_of(idle, word))
		return 0;
	if (flag_of(words, word)) {
		c->flags |= flag_of(words, word);
		return 0;
	}
	if (skip(&s, "agent="))
		return c->agent.n ? 0 : keep_text(c, s, &c->agent);
	if (skip(&s, "session-id="))
		return c->session_id.n ? 0 : keep_text(c, s, &c->session_id);
	if (skip(&s, "object-format="))
		return set_format(c, s);
	return keep_in_list(c, &c->unknown, word);
}

static int v0_want(struct gitcmd *c, struct slice rest)
{
	struct slice id, word;
	bool more;
	int r;

	more = slice_cut(&rest, ' ', &id);
	r = keep_oid(c, &c->wants, id);
	while (r == 0 && more) {
		more = slice_cut(&rest, ' ', &word);
		r = v0_capability(c, word);
	}
	return r;
}

static int v0_line(struct gitcmd *c, struct slice line)
{
	struct slice s = line;
	int r;

	if (c->state == V0_HAVES) {
		if (skip(&s, "have "))
			return keep_oid(c, &c->haves, s);
		if (!slice_eq_str(line, "done"))
			return refuse(c, "expected a have line or done");
		c->flags |= GITCMD_DONE;
		c->state = ENDED;
		return 0;
	}
	if (skip(&s, "want "))
		return v0_want(c, s);
	r = shallow_arg(c, line);
	if (!r)
		return refuse(c, "expected a want line");
	return r < 0 ? r : 0;
}

static int flush(struct gitcmd *c)
{
	c->last_flush = true;
	if (c->lines == 1) {
		c->kind = GITCMD_PROBE;
		c->state = ENDED;
		return 0;
	}
	switch ((enum state)c->state) {
	case V2_KEYS:
	case V2_ARGS:
		if (!c->command_name.n)
			return refuse(c, "the request names no command");
		c->state = ENDED;
		return 0;
	case V0_WANTS:
		if (!c->wants.count)
			return refuse(c, "the request wants nothing");
		c->kind = GITCMD_FETCH;
		c->state = V0_HAVES;
		return 0;
	case V0_HAVES:
	case ENDED: break;
	}
	return 0;
}

static int delim(struct gitcmd *c)
{
	if (c->state != V2_KEYS)
		return refuse(c, "a delimiter packet where none belongs");
	if (!c->command_name.n)
		return refuse(c, "the request names no command");
	c->state = V2_ARGS;
	return 0;
}

static int packet(struct gitcmd *c, const struct pkt *pkt)
{
	struct slice line;

	if (c->state == ENDED)
		return refuse(c, "bytes after the end of the request");
	if (++c->lines > GITCMD_MAX_LINES)
		return too_large(c, "the request has too many lines");
	switch (pkt->type) {
	case PKT_FLUSH: return flush(c);
	case PKT_DELIM: return delim(c);
	case PKT_RESPONSE_END: return refuse(c, "a response-end packet in a request");
	case PKT_DATA: break;
	}
	c->last_flush = false;
	line = pkt_text(pkt);
	if (slice_has_nul(line) || slice_find(line, '\n') >= 0)
		return refuse(c, "NUL or a second line in a packet");
	switch ((enum state)c->state) {
	case V2_KEYS: return v2_key(c, line);
	case V2_ARGS: return v2_arg(c, line);
	default: return v0_line(c, line);
	}
}

int gitcmd_feed(struct gitcmd *c, struct slice bytes)
{
	struct pkt pkt;
	int n;

	if (c->error)
		return c->error;
	while ((n = pkt_reader_next(&c->pkts, &bytes, &pkt)) > 0) {
		n = packet(c, &pkt);
		if (n < 0)
			break;
	}
	if (n < 0 && !c->why)
		c->why = "not packet lines";
	return c->error = n < 0 ? n : 0;
}

int gitcmd_finish(struct gitcmd *c)
{
	if (c->error)
		return c->error;
	if (!pkt_reader_is_between(&c->pkts))
		return c->error = refuse(c, "the request ends within a packet");
	/* v0/v1: wants and a flush alone are whole (a shallow client's first round); haves need a flush or done
	 * behind. */
	if (c->state != ENDED && !(c->state == V0_HAVES && c->last_flush))
		return c->error = refuse(c, c->lines ? "the request is not whole" : "the request is empty");
	c->ls.prefixes = (struct slices){ c->prefixes.items, c->prefixes.count };
	return 0;
}
