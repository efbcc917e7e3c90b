/* fuzz_range.c -- Range. The first two bytes are the length of the representation.
 *
 * What is resolved lies within the representation, and costs at most twice its bytes. */
#include "base/err.h"
#include "base/obj.h"
#include "proto/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void resolve(const struct range_set *set, int64_t length)
{
	struct byte_range all[RANGE_MOST];
	int64_t bytes = 0;
	size_t count = 0;
	int r = range_resolve(set, length, all, &count);

	ENSURE(r == 0 || r == -ERANGE || r == -EINVAL);
	ENSURE((r == 0) == (count > 0) && count <= set->count);
	for (size_t i = 0; i < count; i++) {
		ENSURE(all[i].first >= 0 && all[i].first <= all[i].last && all[i].last < length);
		bytes += all[i].last - all[i].first + 1;
	}
	ENSURE(bytes <= 2 * length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
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
	return 0;
}
