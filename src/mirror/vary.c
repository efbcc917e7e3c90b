/* vary.c -- keys of variants.
 *
 * WHY      Matching needs the header of the request that fetched a response. A key keeps the part of it that Vary
 *          names, in one spelling, and names its own fields: so it can be matched without the response at hand.
 * SEE      RFC 9111 section 4.1; RFC 9110 section 12.5.5 */
#include "mirror/vary.h"

#include <openssl/sha.h>

#include "base/err.h"
#include "base/str.h"
#include "mirror/fields.h"
#include "proto/httplist.h"

/* "a, b" and "a,b", on one line or two, are one list (RFC 9110 5.3, 5.6.1). */
static void add_list(const struct httplines *request, const char *name, struct buf *out)
{
	struct slice value, element;
	bool first = true;
	size_t at = 0;

	while (httplines_next(request, name, &at, &value))
		while (httplist_next(&value, &element)) {
			buf_add_str(out, first ? "" : ",");
			buf_add_slice(out, element);
			first = false;
		}
}

static void add_hash(const struct httplines *request, const char *name, struct buf *out)
{
	unsigned char hash[SHA256_DIGEST_LENGTH];
	struct buf value = BUF_EMPTY;

	add_list(request, name, &value);
	(void)SHA256((const unsigned char *)value.data, value.len, hash);
	str_hex(hash, sizeof(hash), out);
	buf_fini(&value);
}

static void add_field(const struct httplines *request, const char *name, struct buf *out)
{
	buf_add_str(out, name);
	if (httplines_count(request, name) && !fields_is_hop_by_hop(request, slice_str(name))) {
		buf_add_char(out, ':');
		if (strcmp(name, "cookie") == 0)
			add_hash(request, name, out);
		else
			add_list(request, name, out);
	}
	buf_add_char(out, '\n');
}

struct names {
	char *items[VARY_MOST_NAMES]; /* lower case, unique */
	size_t count;
};

static void free_names(struct names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->items[i]);
}

static int take_name(struct names *n, struct slice name)
{
	if (!httplist_is_token(name) || slice_eq_str(name, "*"))
		return -EINVAL;
	for (size_t i = 0; i < n->count; i++)
		if (slice_ieq_str(name, n->items[i]))
			return 0;
	if (n->count == VARY_MOST_NAMES)
		return WEIR_E_TOO_LARGE;
	n->items[n->count] = slice_dup(name);
	for (char *p = n->items[n->count++]; *p; p++)
		*p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
	return 0;
}

static int read_names(const struct httplines *answer, struct names *ret)
{
	struct slice value, name;
	size_t at = 0;
	int r = 0;

	while (r == 0 && httplines_next(answer, "vary", &at, &value))
		while (r == 0 && httplist_next(&value, &name))
			r = take_name(ret, name);
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int vary_key(const struct httplines *answer, const struct httplines *request, struct buf *out)
{
	struct buf key = BUF_LIMIT(VARY_KEY_BYTES);
	struct names names = { .count = 0 };
	int r = read_names(answer, &names);

	if (r < 0)
		goto out;
	qsort(names.items, names.count, sizeof(names.items[0]), by_name);
	for (size_t i = 0; i < names.count; i++) {
		if (strcmp(names.items[i], "authorization") == 0 && httplines_count(request, "authorization")) {
			r = -EINVAL;
			goto out;
		}
		add_field(request, names.items[i], &key);
	}
	r = buf_error(&key);
	if (r == 0)
		buf_add_slice(out, buf_slice(&key));
out:
	free_names(&names);
	buf_fini(&key);
	return r;
}

bool vary_matches(struct slice key, const struct httplines *request)
{
	struct slice rest = key, line, name;
	struct buf again = BUF_EMPTY;
	char *text;
	bool same;

	while (rest.n) {
		(void)slice_cut(&rest, '\n', &line);
		(void)slice_cut(&line, ':', &name); /* none: the field was absent */
		text = slice_dup(name);
		add_field(request, text, &again);
		free(text);
	}
	same = slice_eq(buf_slice(&again), key);
	buf_fini(&again);
	return same;
}
