/* fuzz_httpdate.c -- dates of header fields.
 *
 * A date that is read can be written, and is then the same; one with two digits for the year lies near. */
#include "base/obj.h"
#include "proto/httpdate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses when it is read: 1970 to 2480 in steps of two years. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf text = BUF_EMPTY;
	int64_t now_s, s, again;

	if (size < 1)
		return 0;
	now_s = data[0] * (int64_t)2 * 365 * 86400;
	if (httpdate_parse((struct slice){ (const char *)data + 1, size - 1 }, now_s, &s) == 0) {
		ENSURE(s >= HTTPDATE_FIRST_S && s <= HTTPDATE_LAST_S + 1); /* the last of all leap seconds */
		httpdate_format(s, &text);
		ENSURE(httpdate_parse(buf_slice(&text), now_s, &again) == 0);
		ENSURE(again == (s > HTTPDATE_LAST_S ? HTTPDATE_LAST_S : s));
		/* of two digits: the window of a century around now, and a day for what a leap year moves */
		if (slice_find((struct slice){ (const char *)data + 1, size - 1 }, '-') >= 0)
			ENSURE(s <= now_s + 51 * (int64_t)366 * 86400 && s >= now_s - 101 * (int64_t)366 * 86400);
	}
	buf_fini(&text);
	return 0;
}
