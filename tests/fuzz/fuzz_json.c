/* fuzz_json.c -- JSON of peers. The first byte says whether Infinity is admitted; the rest is the text.
 *
 * What is read and written reads back equal, and is written the same again. */
#include "base/obj.h"
#include "core/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = { (const char *)data + 1, size ? size - 1 : 0 };
	struct buf once = BUF_EMPTY, twice = BUF_EMPTY, why = BUF_EMPTY;
	json_t *v = NULL, *again = NULL;
	int r;

	if (!size)
		return 0;
	r = json_read(text, data[0] & 1 ? JSON_READ_INFINITY : 0, &v, &why);
	ENSURE((r == 0) == (v != NULL) && (r < 0) == (why.len > 0));
	if (v) {
		json_write(v, &once);
		ENSURE(json_read(buf_slice(&once), 0, &again, NULL) == 0 && json_equal(v, again));
		json_write(again, &twice);
		ENSURE(slice_eq(buf_slice(&once), buf_slice(&twice)));
	}
	json_decref(v);
	json_decref(again);
	buf_fini(&once);
	buf_fini(&twice);
	buf_fini(&why);
	return 0;
}
