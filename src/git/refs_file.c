/* refs_file.c -- a refs snapshot on disk: docs/formats/refs-snapshot.md.
 *
 * WHAT     One line for each fact, one for each ref, and a last line with their number.
 * WHY      A repository outlives a restart only if what upstream said does. Text, as an operator may want to look at
 *          it; whole-file writes and the checksum are store/wholefile's business.
 * RULES    1. The reader believes nothing: names, order, ids, the count; a file that does not hold is refused whole.
 *          2. Freshness is not in it: after a restart nothing is fresh.
 * SEE      git/cover.h for freshness; store/wholefile.h */
#include "git/refs.h"

#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"
#include "git/refs_priv.h"

static void add_id(struct buf *out, const struct refs *r, uint32_t number, uint32_t same_as)
{
	struct oid id = { { 0 } };

	buf_add_char(out, ' ');
	if (!number) {
		buf_add_char(out, '-');
	} else if (number == same_as) {
		buf_add_char(out, '=');
	} else {
		memcpy(id.bytes, refs_id(r, number), r->id_bytes);
		oid_add_hex(out, r->format, &id);
	}
}

static void add_target(struct buf *out, const struct refs *r, uint32_t offset, uint32_t same_as)
{
	buf_add_char(out, ' ');
	if (offset && offset == same_as)
		buf_add_char(out, '=');
	else if (offset)
		buf_add_slice(out, refs_string(r, offset));
	else
		buf_add_char(out, '-');
}

static void add_ref(struct buf *out, const struct refs *r, const struct refs_entry *e)
{
	buf_add_str(out, "ref");
	if (e->unborn)
		buf_add_str(out, " unborn");
	else
		add_id(out, r, e->seen, 0);
	add_id(out, r, e->seen_peeled, 0);
	add_id(out, r, e->servable, e->seen);
	add_id(out, r, e->servable_peeled, e->seen_peeled);
	add_target(out, r, e->seen_symref, 0);
	add_target(out, r, e->servable_symref, e->seen_symref);
	buf_add_char(out, ' ');
	buf_add_slice(out, refs_name(r, e));
	buf_add_char(out, '\n');
}

void refs_save(const struct refs *r, struct buf *out)
{
	struct slice caps = refs_upstream_caps(r), line;
	size_t i;

	buf_addf(out, "format %s\ncontact %lld\n", oid_format_text(r->format), (long long)r->contact_wall_ms);
	if (r->upstream_version >= 0)
		buf_addf(out, "upstream %d\n", r->upstream_version);
	while (caps.n) {
		(void)slice_cut(&caps, '\n', &line);
		buf_add_str(out, "cap ");
		buf_add_slice(out, line);
		buf_add_char(out, '\n');
	}
	if (r->whole_since_wall_ms)
		buf_addf(out, "covered %lld\n", (long long)r->whole_since_wall_ms);
	for (i = 0; i < r->covered_count; i++) {
		buf_addf(out, "covered %lld ", (long long)r->covered[i].since_wall_ms);
		buf_add(out, r->covered[i].prefix, r->covered[i].n);
		buf_add_char(out, '\n');
	}
	for (i = 0; i < r->count; i++)
		add_ref(out, r, &r->entries[i]);
	buf_addf(out, "end %zu\n", r->count);
}

/* What is read so far. Ids live in `ids`, which has room for all from the start, so that drafts may point there. */
struct reading {
	enum oid_format format;
	int64_t contact, whole_since;
	int version;
	struct buf caps;
	struct refs_covered *covered;
	size_t covered_count;
	struct refs_draft *drafts;
	struct oid *ids;
	size_t count, room, ids_count;
	bool ended;
};

static bool skip(struct slice *s, const char *prefix)
{
	if (!slice_starts(*s, prefix))
		return false;
	*s = slice_from(*s, strlen(prefix));
	return true;
}

static int parse_time(struct slice s, int64_t *ret)
{
	uint64_t n;

	if (str_parse_u64(s, &n) < 0 || n > INT64_MAX)
		return WEIR_E_PARSE;
	*ret = (int64_t)n;
	return 0;
}

/* An id, "-" (none) or "=" (the same as another). */
static int parse_id(struct reading *rd, struct slice s, const unsigned char *same_as, const unsigned char **ret)
{
	struct oid *id = &rd->ids[rd->ids_count];

	*ret = NULL;
	if (slice_eq_str(s, "-"))
		return 0;
	if (slice_eq_str(s, "=")) {
		*ret = same_as;
		return same_as ? 0 : WEIR_E_PARSE;
	}
	if (rd->format == OID_UNKNOWN || oid_parse(s, &rd->format, id) < 0)
		return WEIR_E_PARSE;
	rd->ids_count++;
	*ret = id->bytes;
	return 0;
}

static int parse_target(struct slice s, struct slice same_as, struct slice *ret)
{
	*ret = (struct slice){ 0 };
	if (slice_eq_str(s, "-"))
		return 0;
	*ret = slice_eq_str(s, "=") ? same_as : s;
	return lsrefs_name_is_valid(*ret) ? 0 : WEIR_E_PARSE;
}

static int parse_ref(struct reading *rd, struct slice s)
{
	struct refs_draft d = { 0 };
	struct slice field[6];
	size_t i;

	for (i = 0; i < 6; i++)
		if (!slice_cut(&s, ' ', &field[i]))
			return WEIR_E_PARSE;
	d.name = s;
	if (rd->count >= rd->room || rd->count >= REFS_MAX_COUNT || !lsrefs_name_is_valid(d.name) ||
	    (rd->count && slice_cmp(rd->drafts[rd->count - 1].name, d.name) >= 0))
		return WEIR_E_PARSE;
	d.unborn = slice_eq_str(field[0], "unborn");
	if ((!d.unborn && parse_id(rd, field[0], NULL, &d.seen) < 0) ||
	    parse_id(rd, field[1], NULL, &d.seen_peeled) < 0 || parse_id(rd, field[2], d.seen, &d.servable) < 0 ||
	    parse_id(rd, field[3], d.seen_peeled, &d.servable_peeled) < 0 ||
	    parse_target(field[4], (struct slice){ 0 }, &d.seen_symref) < 0 ||
	    parse_target(field[5], d.seen_symref, &d.servable_symref) < 0)
		return WEIR_E_PARSE;
	if ((!d.seen && !d.unborn) || (d.unborn && !d.seen_symref.n))
		return WEIR_E_PARSE;
	rd->drafts[rd->count++] = d;
	return 0;
}

static int parse_covered(struct reading *rd, struct slice s)
{
	struct slice time;
	int64_t since;
	bool has_prefix = slice_cut(&s, ' ', &time);

	if (parse_time(time, &since) < 0 || !since)
		return WEIR_E_PARSE;
	if (!has_prefix) {
		rd->whole_since = since;
		return 0;
	}
	if (!s.n || rd->covered_count >= REFS_MAX_COVERED)
		return WEIR_E_PARSE;
	rd->covered = xrealloc(rd->covered, (rd->covered_count + 1) * sizeof(*rd->covered));
	rd->covered[rd->covered_count++] = (struct refs_covered){ slice_dup(s), s.n, since };
	return 0;
}

static int parse_line(struct reading *rd, struct slice s)
{
	uint64_t n;

	if (rd->ended || slice_has_nul(s))
		return WEIR_E_PARSE;
	if (skip(&s, "ref "))
		return parse_ref(rd, s);
	if (skip(&s, "format "))
		return slice_eq_str(s, "unknown") ? 0 : oid_format_parse(s, &rd->format);
	if (skip(&s, "contact "))
		return parse_time(s, &rd->contact);
	if (skip(&s, "upstream ")) {
		if (str_parse_u64(s, &n) < 0 || n > 2)
			return WEIR_E_PARSE;
		rd->version = (int)n;
		return 0;
	}
	if (skip(&s, "cap ")) {
		buf_add_slice(&rd->caps, s);
		buf_add_char(&rd->caps, '\n');
		return buf_error(&rd->caps);
	}
	if (skip(&s, "covered "))
		return parse_covered(rd, s);
	if (skip(&s, "end ")) {
		rd->ended = true;
		return str_parse_u64(s, &n) < 0 || n != rd->count ? WEIR_E_PARSE : 0;
	}
	return WEIR_E_PARSE;
}

static struct refs *finish(struct reading *rd)
{
	struct refs *r = refs_freeze(rd->format, rd->drafts, rd->count);

	r->contact_wall_ms = rd->contact;
	r->whole_since_wall_ms = rd->whole_since;
	r->covered = rd->covered;
	r->covered_count = rd->covered_count;
	rd->covered = NULL;
	rd->covered_count = 0;
	refs_set_caps(r, rd->version, buf_slice(&rd->caps));
	return r;
}

static size_t count_lines(struct slice s)
{
	struct slice line;
	size_t n = 0;

	while (s.n) {
		(void)slice_cut(&s, '\n', &line);
		n++;
	}
	return n;
}

int refs_load(struct slice data, struct refs **ret)
{
	struct reading rd = { .version = -1, .caps = BUF_LIMIT(REFS_MAX_TEXT) };
	struct slice line;
	size_t i;
	int r = 0;

	if (data.n > REFS_TEXT_LIMIT)
		return WEIR_E_TOO_LARGE;
	rd.room = count_lines(data);
	rd.drafts = xcalloc(rd.room, sizeof(*rd.drafts));
	rd.ids = xcalloc(rd.room, 4 * sizeof(*rd.ids));
	while (r == 0 && data.n)
		r = slice_cut(&data, '\n', &line) ? parse_line(&rd, line) : WEIR_E_PARSE;
	if (r == 0 && !rd.ended)
		r = WEIR_E_PARSE;
	if (r == 0)
		*ret = finish(&rd);
	for (i = 0; i < rd.covered_count; i++)
		free(rd.covered[i].prefix);
	free(rd.covered);
	free(rd.drafts);
	free(rd.ids);
	buf_fini(&rd.caps);
	return r;
}
