/* json_merge_test.c -- the deep merge of states. */
#include "core/json_merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/obj.h"
#include "core/json.h"

static json_t *json_of(const char *text)
{
	json_t *v = NULL;

	assert_int_equal(json_read(slice_str(text), 0, &v, NULL), 0);
	return v;
}

static void states_merge_deeply(void **state)
{
	static const struct {
		const char *base, *patch, *want;
	} rows[] = {
		{ "{\"a\":1}", "{\"b\":2}", "{\"a\":1,\"b\":2}" },
		{ "{\"a\":1}", "{\"a\":null}", "{}" },
		{ "{\"a\":1}", "{\"z\":null}", "{\"a\":1}" },
		{ "{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"b\":null,\"d\":3}}", "{\"a\":{\"c\":2,\"d\":3}}" },
		{ "{\"a\":{\"b\":1}}", "{\"a\":5}", "{\"a\":5}" },
		{ "{\"a\":5}", "{\"a\":{\"b\":null}}", "{\"a\":{\"b\":null}}" },
		{ "{}", "{\"n\":{\"x\":null,\"y\":{\"z\":null}}}", "{\"n\":{\"x\":null,\"y\":{\"z\":null}}}" },
		{ "{\"a\":[1,2]}", "{\"a\":[3]}", "{\"a\":[3]}" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_t *base = json_of(rows[i].base), *patch = json_of(rows[i].patch);
		struct buf out = BUF_EMPTY;

		json_merge(base, patch);
		json_write(base, &out);
		assert_string_equal(out.data, rows[i].want);
		json_decref(base);
		json_decref(patch);
		buf_fini(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_merge_deeply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
