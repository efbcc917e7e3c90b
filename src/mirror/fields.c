/* fields.c -- header fields to store, and to update.
 *
 * WHY      What is stored is served to others, for a long time: so nothing of one connection or of one client stays in
 *          it. And a 304 speaks for bytes that it does not carry: it may renew what is said of them, not how they are
 *          framed or coded.
 * SEE      RFC 9111 sections 3.1, 3.2, 4.3.4, 4.3.5; RFC 9110 sections 6.6.1, 7.6.1 */
#include "mirror/fields.h"

#include "base/obj.h"
#include "proto/httpdate.h"
#include "proto/httplist.h"

static bool is_one_of(struct slice name, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (slice_ieq_str(name, names[i]))
			return true;
	return false;
}

static bool connection_names(const struct httplines *h, struct slice name)
{
	struct slice value, option;
	size_t at = 0;

	while (httplines_next(h, "connection", &at, &value))
		while (httplist_next(&value, &option))
			if (option.n == name.n && strncasecmp(option.p, name.p, name.n) == 0)
				return true;
	return false;
}

bool fields_is_hop_by_hop(const struct httplines *h, struct slice name)
{
	static const char *const names[] = {
		"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
		"proxy-authenticate", "proxy-authorization", "proxy-authentication-info",
	};

	return is_one_of(name, names, ARRAY_LEN(names)) || connection_names(h, name);
}

static void add_line(struct buf *out, struct slice line)
{
	buf_add_slice(out, line);
	buf_add_char(out, '\n');
}

/* One Date that can be read, and stays. */
static bool has_date(const struct httplines *h, int64_t now_s)
{
	int64_t ignored;

	return httplines_count(h, "date") == 1 && httpdate_parse(httplines_get(h, "date"), now_s, &ignored) == 0 &&
	       !connection_names(h, SLICE_LIT("date"));
}

static void add_date(struct buf *out, int64_t response_ms)
{
	buf_add_str(out, "Date: ");
	httpdate_format(response_ms / 1000, out);
	buf_add_char(out, '\n');
}

/* The lines of an answer but those of hop-by-hop fields and of `without`, and a Date. */
static void add_answer(const struct httplines *answer, const char *const *without, size_t count, int64_t response_ms,
		       struct buf *out)
{
	bool dated = has_date(answer, response_ms / 1000);
	struct slice name, value;

	for (size_t i = 0; i < answer->count; i++)
		if (httplines_split(answer->lines[i], &name, &value) && !is_one_of(name, without, count) &&
		    !fields_is_hop_by_hop(answer, name) && (dated || !slice_ieq_str(name, "date")))
			add_line(out, answer->lines[i]);
	if (!dated)
		add_date(out, response_ms);
}

void fields_to_store(const struct httplines *answer, int64_t response_ms, struct buf *out)
{
	static const char *const without[] = { "content-length" };

	add_answer(answer, without, ARRAY_LEN(without), response_ms, out);
}

static const char *const not_updated[] = { "content-length", "content-encoding", "content-range", "set-cookie" };

/* Whether a stored field gives way to what `answer` says. */
static bool is_replaced(const struct httplines *answer, struct slice name)
{
	struct slice theirs, value;

	if (slice_ieq_str(name, "date") || slice_ieq_str(name, "age"))
		return true;
	if (is_one_of(name, not_updated, ARRAY_LEN(not_updated)) || fields_is_hop_by_hop(answer, name))
		return false;
	for (size_t i = 0; i < answer->count; i++)
		if (httplines_split(answer->lines[i], &theirs, &value) && theirs.n == name.n &&
		    strncasecmp(theirs.p, name.p, name.n) == 0)
			return true;
	return false;
}

void fields_update(const struct httplines *stored, const struct httplines *answer, int64_t response_ms,
		   struct buf *out)
{
	struct slice name, value;

	for (size_t i = 0; i < stored->count; i++)
		if (httplines_split(stored->lines[i], &name, &value) && !is_replaced(answer, name))
			add_line(out, stored->lines[i]);
	add_answer(answer, not_updated, ARRAY_LEN(not_updated), response_ms, out);
}
