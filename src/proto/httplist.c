/* httplist.c -- lists, tokens and quoted strings.
 *
 * WHY      A comma within a quoted string divides nothing: private="a,no-store" is one directive. Readers that differ
 *          here disagree about what may be cached.
 * SEE      RFC 9110 sections 5.6.1, 5.6.2, 5.6.4 */
#include "proto/httplist.h"

#include "base/err.h"

static bool is_tchar(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

bool httplist_is_token(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_tchar(s.p[i]))
			return false;
	return s.n > 0;
}

/* Bytes up to the next comma that divides, or all. */
static size_t element_length(struct slice s)
{
	bool quoted = false;
	size_t i;

	for (i = 0; i < s.n && (quoted || s.p[i] != ','); i++) {
		if (s.p[i] == '"')
			quoted = !quoted;
		else if (quoted && s.p[i] == '\\' && i + 1 < s.n)
			i++;
	}
	return i;
}

bool httplist_next(struct slice *rest, struct slice *ret_element)
{
	while (rest->n) {
		size_t n = element_length(*rest);
		struct slice element = slice_trim((struct slice){ rest->p, n });

		*rest = slice_from(*rest, n < rest->n ? n + 1 : n);
		if (element.n) {
			*ret_element = element;
			return true;
		}
	}
	return false;
}

void httplist_cut_argument(struct slice element, struct slice *ret_name, struct slice *ret_argument)
{
	struct slice rest = element, name;
	bool has = slice_cut(&rest, '=', &name);

	*ret_name = slice_trim(name);
	*ret_argument = has ? rest : (struct slice){ 0 };
}

bool httplist_has(const struct httplines *h, const char *name, const char *member)
{
	struct slice value, element;
	size_t at = 0;

	while (httplines_next(h, name, &at, &value))
		while (httplist_next(&value, &element))
			if (slice_ieq_str(element, member))
				return true;
	return false;
}
