/* fuzz_range.c -- Range and Content-Range. The first two bytes are the length of the representation.
 *
 * What is resolved lies within the representation, and costs at most twice its bytes; what is written is read again. */
#include "base/err.h"
#include "base/obj.h"
#include "proto/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void resolve(const struct range_set *set, int64_t length)
{
	struct byte_range all[RANGE_MOST];
	struct content_range again;
	int64_t bytes = 0;
	size_t count = 0;
	int r = range_resolve(set, length, all, &count);

	ENSURE(r == 0 || r == -ERANGE || r == -EINVAL);
	ENSURE((r == 0) == (count > 0) && count <= set->count);
	for (size_t i = 0; i < count; i++) {
		struct buf text = BUF_EMPTY;

		ENSURE(all[i].first >= 0 && all[i].first <= all[i].last && all[i].last < length);
		bytes += all[i].last - all[i].first + 1;
		range_format_content(all[i], length, &text);
		ENSURE(range_parse_content(buf_slice(&text), &again) == 0);
		ENSURE(again.first == all[i].first && again.last == all[i].last && again.complete == length);
		buf_fini(&text);
	}
	ENSURE(bytes <= 2 * length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct content_range c;
	struct range_set set;
	struct slice value;

	if (size < 2)
		return 0;
	value = (struct slice){ (const char *)data + 2, size - 2 };
	if (range_parse(value, &set) == 0) {
		ENSURE(set.count >= 1 && set.count <= RANGE_MOST);
		resolve(&set, data[0] | data[1] << 8);
		resolve(&set, INT64_MAX / 4);
	}
	if (range_parse_content(value, &c) == 0) {
		ENSURE((c.first < 0) == (c.last < 0) && c.first <= c.last);
		ENSURE(c.first >= 0 || c.complete >= 0);
		ENSURE(c.complete < 0 || c.last < c.complete);
	}
	return 0;
}
