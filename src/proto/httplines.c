/* httplines.c -- field lines of a message. */
#include "proto/httplines.h"

#include "base/str.h"

bool httplines_split(struct slice line, struct slice *ret_name, struct slice *ret_value)
{
	ssize_t colon = slice_find(line, ':');

	if (colon <= 0)
		return false;
	*ret_name = (struct slice){ line.p, (size_t)colon };
	*ret_value = slice_trim(slice_from(line, (size_t)colon + 1));
	return true;
}

bool httplines_next(const struct httplines *h, const char *name, size_t *at, struct slice *ret_value)
{
	struct slice found, value;

	while (*at < h->count) {
		if (!httplines_split(h->lines[(*at)++], &found, &value) || !slice_ieq_str(found, name))
			continue;
		*ret_value = value;
		return true;
	}
	return false;
}

struct slice httplines_get(const struct httplines *h, const char *name)
{
	struct slice value = { 0 };
	size_t at = 0;

	(void)httplines_next(h, name, &at, &value); /* absent: stays empty */
	return value;
}

int64_t httplines_content_length(const struct httplines *h)
{
	uint64_t n = 0;

	return str_parse_u64(httplines_get(h, "content-length"), &n) == 0 && n <= INT64_MAX ? (int64_t)n : -1;
}

size_t httplines_count(const struct httplines *h, const char *name)
{
	struct slice value;
	size_t at = 0, n = 0;

	while (httplines_next(h, name, &at, &value))
		n++;
	return n;
}

size_t httplines_cut(struct slice block, struct slice *ret, size_t most)
{
	struct slice line;
	size_t n = 0;

	while (block.n) {
		(void)slice_cut(&block, '\n', &line); /* the last line may lack its end */
		if (n < most)
			ret[n] = line;
		n++;
	}
	return n;
}
