/* outbox_print.c -- entries of the outbox for people.
 *
 * WHY      Whoever looks at a conflict at night wants three things on one screen: what we have, what they have, and
 *          the two commands between which to choose. */
#include "cli/outbox.h"

#include "base/clock.h"
#include "base/str.h"
#include "cli/table.h"

#define MOST_ANSWER_SHOWN 2000 /* bytes of upstream's answer on the screen; --json has it all */

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static bool is_in(const json_t *entry, const char *state)
{
	return !strcmp(text_of(entry, "state"), state);
}

/* What others wrote: what could drive a terminal (C0 and C1 controls) is escaped, and what is long is cut. */
static void add_readable(struct buf *out, struct slice s, size_t most)
{
	for (size_t i = 0; i < s.n && i < most; i++) {
		unsigned char c = (unsigned char)s.p[i], next = i + 1 < s.n ? (unsigned char)s.p[i + 1] : 0;

		if (c == 0xc2 && next >= 0x80 && next < 0xa0)
			buf_addf(out, "\\x%02x", (unsigned char)s.p[++i]);
		else if (c < 0x20 || c == 0x7f)
			buf_addf(out, "\\x%02x", c);
		else
			buf_add_char(out, (char)c);
	}
	if (s.n > most)
		buf_add_str(out, "...");
}

void outbox_add_name(const json_t *entry, struct buf *out)
{
	add_readable(out, slice_str(text_of(entry, "method")), 40);
	buf_add_char(out, ' ');
	add_readable(out, slice_str(text_of(entry, "raw_uri")), 500);
}

/* --- the list -------------------------------------------------------------------------------------------------- */

/* What to know first: the reason when there is one, else that it waits for its turn. */
static char *remark(const json_t *entry)
{
	long long status = (long long)json_integer_value(json_object_get(entry, "last_status"));
	const char *error = text_of(entry, "last_error");

	if (is_in(entry, "applied"))
		return xstrdup("");
	if (*error || !status)
		return xstrdup(error);
	return xstrf("status %lld", status);
}

void outbox_print_list(json_t *items, bool is_filtered, struct buf *out)
{
	static const char *const titles[] = { "ID", "SERVICE", "STATE", "METHOD", "URI", "SIZE", "QUEUED", "REMARK" };
	struct table t = TABLE_EMPTY(8);
	const json_t *e;
	size_t i;

	for (i = 0; i < 8; i++)
		table_add(&t, titles[i]);
	json_array_foreach(items, i, e) {
		table_add(&t, text_of(e, "id"));
		table_add(&t, text_of(e, "service"));
		table_add(&t, text_of(e, "state"));
		table_add(&t, text_of(e, "method"));
		table_add(&t, text_of(e, "raw_uri"));
		table_add_take(&t, table_bytes(json_number_value(json_object_get(e, "body_bytes"))));
		table_add_take(&t, table_ago(text_of(e, "queued_at")));
		table_add_take(&t, remark(e));
	}
	if (t.count > 8)
		table_print(&t, "", out);
	else
		buf_add_str(out, is_filtered ? "no entry is like that\n" : "the outbox is empty\n");
	table_fini(&t);
}

/* --- one entry ------------------------------------------------------------------------------------------------- */

/* "2026-01-02T03:04:05.000Z, 3m ago", or "..., in 4s"; malloc'ed; "" for none. */
static char *when(const char *rfc3339)
{
	struct buf b = BUF_EMPTY;
	int64_t then, ahead;
	char *ago;

	if (clock_parse_rfc3339(slice_str(rfc3339), &then) < 0)
		return xstrdup("");
	ahead = then - clock_wall_ms();
	buf_addf(&b, "%s, ", rfc3339);
	if (ahead > 0) {
		buf_add_str(&b, "in ");
		str_format_duration(ahead < 1000 ? ahead : ahead / 1000 * 1000, &b);
		return buf_detach(&b, NULL);
	}
	ago = table_ago(rfc3339);
	buf_add_str(&b, ago);
	free(ago);
	return buf_detach(&b, NULL);
}

/* "  name    value", or nothing. */
static void add_fact(struct buf *out, const char *name, char *take)
{
	if (*take) {
		buf_addf(out, "  %-16s ", name);
		add_readable(out, slice_str(take), 1000);
		buf_add_char(out, '\n');
	}
	free(take);
}

/* A version by its validators: `"v1", of 2026-01-02T03:04:05.000Z, 3m ago`. When none is known: "", or so it says. */
static char *version(const json_t *entry, const char *which, bool always)
{
	struct buf b = BUF_EMPTY;
	char *etag = xstrf("%s_etag", which), *time = xstrf("%s_mod_time", which), *absent = xstrf("%s_absent", which);
	char *changed = when(text_of(entry, time));

	if (json_is_true(json_object_get(entry, absent)))
		buf_add_str(&b, "nothing at that place");
	buf_add_str(&b, text_of(entry, etag));
	if (*changed)
		buf_addf(&b, "%sof %s", b.len ? ", " : "", changed);
	if (!b.len && always)
		buf_add_str(&b, "not known");
	free(etag);
	free(time);
	free(absent);
	free(changed);
	return buf_detach(&b, NULL);
}

static char *body_fact(const json_t *entry)
{
	char *size = table_bytes(json_number_value(json_object_get(entry, "body_bytes")));
	const char *type = text_of(entry, "content_type");
	char *both = xstrf("%s%s%s", size, *type ? ", " : "", type);

	free(size);
	return both;
}

static void print_facts(const json_t *e, struct buf *out)
{
	long long status = (long long)json_integer_value(json_object_get(e, "last_status"));
	bool is_conflict = is_in(e, "conflict");

	add_fact(out, "service", xstrdup(text_of(e, "service")));
	add_fact(out, "state", xstrf("%s%s", text_of(e, "state"),
				    json_is_true(json_object_get(e, "damaged")) ? ", damaged on disk" : ""));
	add_fact(out, "queued", when(text_of(e, "queued_at")));
	add_fact(out, "settled", when(text_of(e, "settled_at")));
	add_fact(out, "attempts", xstrf("%lld", (long long)json_integer_value(json_object_get(e, "attempts"))));
	add_fact(out, "next attempt", when(text_of(e, "next_attempt_at")));
	add_fact(out, "last status", status ? xstrf("%lld", status) : xstrdup(""));
	add_fact(out, "last error", xstrdup(text_of(e, "last_error")));
	add_fact(out, "body", body_fact(e));
	add_fact(out, "idempotency key", xstrdup(text_of(e, "idempotency_key")));
	add_fact(out, "after entry", xstrdup(text_of(e, "parent")));
	add_fact(out, is_conflict ? "ours is based on" : "based on", version(e, "base", is_conflict));
	add_fact(out, "theirs is now", version(e, "theirs", is_conflict));
}

static void print_headers(const json_t *entry, struct buf *out)
{
	json_t *list = json_object_get(entry, "headers"), *h;
	size_t i;

	if (json_array_size(list))
		buf_add_str(out, "\nHeaders\n");
	json_array_foreach(list, i, h) {
		buf_add_str(out, "  ");
		add_readable(out, slice_str(text_of(h, "name")), 100);
		buf_add_str(out, ": ");
		add_readable(out, slice_str(text_of(h, "value")), 1000);
		buf_add_char(out, '\n');
	}
}

/* Upstream's words: line by line, and nothing in them that could drive a terminal. */
static void print_answer(const json_t *entry, struct buf *out)
{
	struct slice rest = slice_str(text_of(entry, "answer")), line;
	bool is_cut = rest.n > MOST_ANSWER_SHOWN;

	if (!rest.n)
		return;
	buf_add_str(out, "\nUpstream's answer");
	if (*text_of(entry, "answer_type")) {
		buf_add_str(out, " (");
		add_readable(out, slice_str(text_of(entry, "answer_type")), 100);
		buf_add_char(out, ')');
	}
	buf_add_char(out, '\n');
	rest.n = is_cut ? MOST_ANSWER_SHOWN : rest.n;
	while (rest.n) {
		(void)slice_cut(&rest, '\n', &line);
		if (slice_ends(line, "\r"))
			line.n--;
		buf_add_str(out, "  ");
		add_readable(out, line, MOST_ANSWER_SHOWN);
		buf_add_char(out, '\n');
	}
	if (is_cut)
		buf_add_str(out, "  ... (--json has the rest)\n");
}

/* What an operator can do about an entry in this state. %s is its id. */
static const struct {
	const char *state, *words;
} advice[] = {
	{ "queued", "It is sent when the upstream answers and its turn has come.\n"
		    "  weir outbox retry %s                   send it now\n"
		    "  weir outbox drop %s                    give it up: the upstream never gets it\n" },
	{ "conflict", "Somebody else changed it upstream; nothing was overwritten. Choose:\n"
		      "  weir outbox body %s                    look at ours\n"
		      "  weir outbox resolve --keep ours %s     send ours, over what upstream has now\n"
		      "  weir outbox resolve --keep theirs %s   give ours up: upstream's stays\n" },
	{ "held", "It needs a decision, and later writes to the same path wait for it:\n"
		  "  weir outbox body %s                    look at it\n"
		  "  weir outbox retry %s                   send it again, when the reason is gone\n"
		  "  weir outbox drop %s                    give it up\n" },
};

static void print_advice(const json_t *entry, struct buf *out)
{
	const char *id = text_of(entry, "id");

	if (is_in(entry, "held") && json_is_true(json_object_get(entry, "damaged"))) {
		buf_addf(out,
			 "\nWhat to do\n  It cannot be sent, and keeps nobody waiting. Have it written again; then\n"
			 "    weir outbox drop %s\n", id);
		return;
	}
	for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++) {
		struct slice rest = slice_str(advice[i].words), line, head;

		if (!is_in(entry, advice[i].state))
			continue;
		buf_add_str(out, "\nWhat to do\n");
		while (rest.n) {
			(void)slice_cut(&rest, '\n', &line);
			buf_add_str(out, "  ");
			if (slice_cut(&line, '%', &head)) {
				buf_add_slice(out, head);
				buf_add_str(out, id);
				line = slice_from(line, 1);
			} else {
				line = head;
			}
			buf_add_slice(out, line);
			buf_add_char(out, '\n');
		}
	}
	if (is_in(entry, "held") && slice_starts(slice_str(text_of(entry, "last_error")), "outcome_unknown"))
		buf_add_str(out, "  The upstream may have done it already: look there before sending it again.\n");
}

void outbox_print_entry(const json_t *entry, struct buf *out)
{
	buf_add_str(out, text_of(entry, "id"));
	buf_add_str(out, "  ");
	outbox_add_name(entry, out);
	buf_add_char(out, '\n');
	print_facts(entry, out);
	print_headers(entry, out);
	print_answer(entry, out);
	print_advice(entry, out);
}
