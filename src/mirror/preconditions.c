/* preconditions.c -- how a write that waited is kept from overwriting somebody else's change.
 *
 * WHAT     An entry of the outbox carries its base: the validators of what its client saw, or that there was nothing.
 *          Before the write goes out, a plan says whether to look first (HEAD) and which precondition to send with it;
 *          after a 412, a second look says whether upstream was right.
 *
 * WHY      Only the upstream can judge a precondition in the same step as the write, so a precondition that it honours
 *          is safe; but which one it honours differs (docs/upstreams.md). lighttpd judges all of them. Apache judges
 *          If-Match, but calls the tag of a file weak while it is younger than a second, and weak tags match nothing;
 *          If-Unmodified-Since it refuses always. nginx ignores all of them and overwrites. Nothing in an answer tells
 *          which kind of server it came from, but a 412 that was called for.
 *
 *          A look costs one HEAD for each write and leaves a window: what somebody writes between the look and our
 *          write is overwritten where preconditions are ignored. So:
 *
 *          setting             | looks first                      | sends
 *          auto                | until the precondition that is   | If-Match with a strong tag; If-None-Match: * where
 *                              | sent has been honoured once; and | nothing was; else If-Unmodified-Since, unless this
 *                              | always without a strong tag      | upstream was seen to refuse it without reason
 *          if_match            | only without a strong tag        | If-Match, If-None-Match: *
 *          if_unmodified_since | only without a Last-Modified     | If-Unmodified-Since, If-None-Match: *
 *          check_first         | always                           | nothing
 *          none                | never                            | nothing: the last write wins
 *
 *          `auto` looks and sends: on a server that honours, the precondition closes the window; on one that ignores,
 *          the look is what there is. That a server honours is learned from a 412 which a look proves right, mostly
 *          when two really met in the window. That it refuses without reason is learned from 412s which a look proves
 *          wrong: one for If-Unmodified-Since (Apache), three in a row without a success for the others, as a cache
 *          within the server may show an old state for a second or two. What was learned is kept in a line of text in
 *          the mirror's folder; whoever changes the server removes the file, or names the setting.
 *
 * RULES    1. Never two preconditions in one request: lighttpd and Apache judge both, against RFC 9110 13.2.2.
 *          2. What cannot be compared (no validator in common, HEAD refused) is written only with the precondition that
 *             the base gives; or where the base has no validators at all, as then nobody could do better.
 *          3. Tags are equal weakly, or but for the suffix that servers add for a content coding ("x-gzip"), unless
 *             Last-Modified differs; and If-Match is sent with the tag that the look gave, of the plain content.
 *          4. With a base, the client's own conditions stay here: they were judged when the write was taken, against
 *             the view that its client had. Without one they go on, and a single tag, "*" or date of theirs is looked
 *             at as a base would be.
 * SEE      RFC 9110 8.8, 13; docs/upstreams.md */
#include "mirror/preconditions.h"

#include "base/err.h"
#include "base/obj.h"
#include "mirror/policy.h"
#include "proto/httpdate.h"
#include "proto/httplist.h"

#define YOUNG_S 3 /* Date - Last-Modified below this: a weak tag may become strong soon */
#define MOST_DOUBTS 3

static const char *const kind_names[PRECONDITION_KINDS] = { "", "if-match", "if-none-match", "if-unmodified-since" };
static const char *const trust_names[] = { "untried", "honoured", "useless" };

/* --- what was learned, as text --- */

void preconditions_lore_format(const struct precondition_lore *lore, struct buf *out)
{
	for (int k = PRECONDITION_NOTHING + 1; k < PRECONDITION_KINDS; k++)
		buf_addf(out, "%s=%s%c", kind_names[k], trust_names[lore->trust[k]],
			 k + 1 < PRECONDITION_KINDS ? ' ' : '\n');
}

static int parse_part(struct slice part, int kind, struct precondition_lore *ret)
{
	struct slice name;

	if (!slice_cut(&part, '=', &name) || !slice_eq_str(name, kind_names[kind]))
		return WEIR_E_PARSE;
	for (size_t i = 0; i < ARRAY_LEN(trust_names); i++)
		if (slice_eq_str(part, trust_names[i])) {
			ret->trust[kind] = (enum precondition_trust)i;
			return 0;
		}
	return WEIR_E_PARSE;
}

int preconditions_lore_parse(struct slice text, struct precondition_lore *ret)
{
	struct precondition_lore lore = { 0 };
	struct slice line, part;

	(void)slice_cut(&text, '\n', &line);
	for (int k = PRECONDITION_NOTHING + 1; k < PRECONDITION_KINDS; k++) {
		(void)slice_cut(&line, ' ', &part);
		if (parse_part(part, k, &lore) < 0)
			return WEIR_E_PARSE;
	}
	if (line.n || text.n)
		return WEIR_E_PARSE;
	*ret = lore;
	return 0;
}

/* --- comparing --- */

static int64_t date_of(const struct httplines *h, const char *name, int64_t now_s)
{
	int64_t s;

	if (httplines_count(h, name) != 1 || httpdate_parse(httplines_get(h, name), now_s, &s) < 0)
		return POLICY_NO_TIME;
	return s;
}

void preconditions_read(int status, const struct httplines *answer, int64_t now_s, struct precondition_seen *ret)
{
	*ret = (struct precondition_seen){
		.status = status,
		.etag = etag_of(answer),
		.modified_s = date_of(answer, "Last-Modified", now_s),
		.date_s = date_of(answer, "Date", now_s),
	};
}

/* The tag within its quotes, without what is added for a content coding. */
static struct slice plain_words(struct etag tag)
{
	static const char *const codings[] = { "--gzip", "-gzip", ";gzip", "-br", "-deflate", "-zstd" };
	struct slice s = { tag.opaque.p + 1, tag.opaque.n - 2 };

	for (size_t i = 0; i < ARRAY_LEN(codings); i++)
		if (slice_ends(s, codings[i]))
			return (struct slice){ s.p, s.n - strlen(codings[i]) };
	return s;
}

static bool is_plain(struct etag tag)
{
	return plain_words(tag).n + 2 == tag.opaque.n;
}

static bool has_tag(struct etag tag)
{
	return tag.opaque.p != NULL;
}

static bool has_strong_tag(struct etag tag)
{
	return has_tag(tag) && !tag.weak && is_plain(tag);
}

static enum precondition_verdict compare_dates(const struct precondition_basis *b, const struct precondition_seen *seen)
{
	if (b->modified_s == POLICY_NO_TIME || seen->modified_s == POLICY_NO_TIME)
		return PRECONDITION_UNKNOWN;
	if (b->not_after ? seen->modified_s <= b->modified_s : seen->modified_s == b->modified_s)
		return PRECONDITION_SAME;
	return PRECONDITION_CHANGED;
}

enum precondition_verdict preconditions_compare(const struct precondition_basis *b,
						const struct precondition_seen *seen)
{
	enum precondition_verdict by_date;

	if (!b->known)
		return PRECONDITION_UNKNOWN;
	if (seen->status == 404 || seen->status == 410)
		return b->absent ? PRECONDITION_SAME : PRECONDITION_CHANGED;
	if (seen->status < 200 || seen->status > 299)
		return PRECONDITION_UNKNOWN;
	if (b->absent)
		return PRECONDITION_CHANGED;
	by_date = compare_dates(b, seen);
	if (!has_tag(b->etag) || !has_tag(seen->etag))
		return by_date;
	if (etag_eq_strong(b->etag, seen->etag))
		return PRECONDITION_SAME;
	if (!slice_eq(plain_words(b->etag), plain_words(seen->etag)))
		return PRECONDITION_CHANGED;
	return by_date == PRECONDITION_CHANGED ? PRECONDITION_CHANGED : PRECONDITION_SAME; /* rule 3 */
}

/* --- the plan --- */

bool preconditions_is_condition(struct slice name)
{
	return slice_ieq_str(name, "If-Match") || slice_ieq_str(name, "If-None-Match") ||
	       slice_ieq_str(name, "If-Modified-Since") || slice_ieq_str(name, "If-Unmodified-Since");
}

static void take_base(const struct outbox_base *base, struct precondition_basis *b)
{
	b->known = true;
	b->absent = base->absent;
	if (base->mod_time)
		b->modified_s = base->mod_time;
	if (etag_parse(buf_slice(&base->etag), &b->etag) < 0)
		b->etag = (struct etag){ 0 }; /* none, or one that no list could hold */
}

/* Rule 4. In the order of RFC 9110 13.2.2. */
static void take_clients(const struct httplines *h, int64_t now_s, struct precondition_basis *b)
{
	struct slice match = httplines_get(h, "If-Match"), none_match = httplines_get(h, "If-None-Match");

	if (match.p) {
		b->known = httplines_count(h, "If-Match") == 1 && etag_parse(match, &b->etag) == 0;
		return;
	}
	if (none_match.p) {
		b->known = b->absent = slice_eq_str(none_match, "*");
		return;
	}
	b->modified_s = date_of(h, "If-Unmodified-Since", now_s);
	b->known = b->not_after = b->modified_s != POLICY_NO_TIME;
}

static bool may_send(const struct precondition_plan *p, enum precondition_kind kind)
{
	switch (p->mode) {
	case PRECONDITIONS_AUTO:
		return p->lore.trust[kind] != PRECONDITION_USELESS;
	case PRECONDITIONS_IF_MATCH:
		return kind != PRECONDITION_IF_UNMODIFIED_SINCE;
	case PRECONDITIONS_IF_UNMODIFIED_SINCE:
		return kind != PRECONDITION_IF_MATCH;
	case PRECONDITIONS_CHECK_FIRST:
	case PRECONDITIONS_NONE:
		break;
	}
	return false;
}

/* The best that may be sent, knowing these validators. */
static void choose(struct precondition_plan *p, struct etag tag, int64_t modified_s)
{
	p->kind = PRECONDITION_NOTHING;
	p->tag = tag;
	p->modified_s = modified_s;
	if (p->basis.absent) {
		if (may_send(p, PRECONDITION_IF_NONE_MATCH))
			p->kind = PRECONDITION_IF_NONE_MATCH;
	} else if (has_strong_tag(tag) && may_send(p, PRECONDITION_IF_MATCH)) {
		p->kind = PRECONDITION_IF_MATCH;
	} else if (modified_s != POLICY_NO_TIME && may_send(p, PRECONDITION_IF_UNMODIFIED_SINCE)) {
		p->kind = PRECONDITION_IF_UNMODIFIED_SINCE;
	}
}

static bool wants_look(const struct precondition_plan *p)
{
	if (p->kind == PRECONDITION_NOTHING)
		return true;
	if (p->mode != PRECONDITIONS_AUTO)
		return false; /* the operator vouches for it */
	return p->kind == PRECONDITION_IF_UNMODIFIED_SINCE || p->lore.trust[p->kind] != PRECONDITION_HONOURED;
}

void preconditions_plan(enum precondition_mode mode, const struct outbox_base *base, const struct httplines *headers,
			const struct precondition_lore *lore, int64_t now_s, struct precondition_plan *ret)
{
	struct precondition_plan *p = ret;

	*p = (struct precondition_plan){ .mode = mode, .lore = *lore, .modified_s = POLICY_NO_TIME };
	p->basis.modified_s = POLICY_NO_TIME;
	p->keeps_own = !base->known;
	if (mode == PRECONDITIONS_NONE)
		return;
	if (base->known)
		take_base(base, &p->basis);
	else
		take_clients(headers, now_s, &p->basis);
	if (!p->basis.known)
		return;
	p->keeps_own = false; /* what they say is said by our own line */
	choose(p, p->basis.etag, p->basis.modified_s);
	p->look_first = wants_look(p);
}

/* --- looks --- */

/* A server that calls a tag weak because the file is so young, as Apache does, and not for ever. */
static bool is_weak_for_a_moment(const struct precondition_seen *seen)
{
	return has_tag(seen->etag) && seen->etag.weak && seen->date_s != POLICY_NO_TIME &&
	       seen->modified_s != POLICY_NO_TIME && seen->date_s - seen->modified_s < YOUNG_S;
}

static bool has_no_validator(const struct precondition_basis *b)
{
	return !b->absent && !has_tag(b->etag) && b->modified_s == POLICY_NO_TIME;
}

enum precondition_step preconditions_look(struct precondition_plan *p, const struct precondition_seen *seen)
{
	int64_t modified_s = p->basis.modified_s != POLICY_NO_TIME ? p->basis.modified_s : seen->modified_s;

	p->looks++;
	switch (preconditions_compare(&p->basis, seen)) {
	case PRECONDITION_CHANGED:
		return PRECONDITION_CLASH;
	case PRECONDITION_UNKNOWN: /* rule 2 */
		return p->kind != PRECONDITION_NOTHING || has_no_validator(&p->basis) ? PRECONDITION_SEND :
											PRECONDITION_CLASH;
	case PRECONDITION_SAME:
		break;
	}
	if (p->looks < PRECONDITIONS_MOST_LOOKS && may_send(p, PRECONDITION_IF_MATCH) && is_weak_for_a_moment(seen))
		return PRECONDITION_WAIT;
	choose(p, has_tag(seen->etag) ? seen->etag : p->basis.etag, modified_s); /* rule 3 */
	return PRECONDITION_SEND;
}

bool preconditions_line(const struct precondition_plan *p, struct buf *out)
{
	switch (p->kind) {
	case PRECONDITION_IF_MATCH:
		buf_add_str(out, "If-Match: ");
		buf_add_slice(out, p->tag.opaque);
		return true;
	case PRECONDITION_IF_NONE_MATCH:
		buf_add_str(out, "If-None-Match: *");
		return true;
	case PRECONDITION_IF_UNMODIFIED_SINCE:
		buf_add_str(out, "If-Unmodified-Since: ");
		httpdate_format(p->modified_s, out);
		return true;
	case PRECONDITION_NOTHING:
	case PRECONDITION_KINDS:
		break;
	}
	return false;
}

/* --- what an answer teaches --- */

static bool set_trust(struct precondition_lore *lore, enum precondition_kind kind, enum precondition_trust trust)
{
	bool differs = lore->trust[kind] != trust;

	lore->trust[kind] = trust;
	return differs;
}

static bool doubt(struct precondition_lore *lore, enum precondition_kind kind)
{
	unsigned most = kind == PRECONDITION_IF_UNMODIFIED_SINCE ? 1 : MOST_DOUBTS;

	if (++lore->doubts[kind] >= most)
		return set_trust(lore, kind, PRECONDITION_USELESS);
	/* and looks again until then */
	return lore->trust[kind] == PRECONDITION_HONOURED && set_trust(lore, kind, PRECONDITION_UNTRIED);
}

bool preconditions_learn(struct precondition_lore *lore, const struct precondition_plan *sent,
			 const struct precondition_seen *seen)
{
	enum precondition_kind kind = sent->kind;

	if (kind == PRECONDITION_NOTHING || lore->trust[kind] == PRECONDITION_USELESS)
		return false;
	if (!seen) {
		lore->doubts[kind] = 0; /* it does not refuse always */
		return false;
	}
	switch (preconditions_compare(&sent->basis, seen)) {
	case PRECONDITION_CHANGED:
		lore->doubts[kind] = 0;
		return set_trust(lore, kind, PRECONDITION_HONOURED);
	case PRECONDITION_SAME:
		return is_weak_for_a_moment(seen) ? false : doubt(lore, kind);
	case PRECONDITION_UNKNOWN:
		break;
	}
	return false;
}
