/* token_test.c -- the bearer token of the admin listener. */
#include "admin/admin_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

static void test_only_the_token_opens(void **state)
{
	static const struct {
		const char *header;
		bool opens;
	} rows[] = {
		{ "Bearer let-me-in", true },
		{ "bearer  let-me-in ", true },
		{ "Basic YW5uOmxldC1tZS1pbg==", true },  /* ann:let-me-in */
		{ "Basic OmxldC1tZS1pbg==", true },      /* :let-me-in */
		{ "Basic bGV0LW1lLWlu", false },         /* let-me-in, without a colon */
		{ "Basic bGV0LW1lLWluOg==", false },     /* let-me-in as the user */
		{ "Basic !!!", false },
		{ "Bearer let-me-i", false },
		{ "Bearer let-me-inn", false },
		{ "Bearer", false },
		{ "Bearer ", false },
		{ "let-me-in", false },
		{ "Digest let-me-in", false },
		{ "", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(token_is_presented(slice_str(rows[i].header), "let-me-in"), rows[i].opens);
	assert_false(token_is_presented((struct slice){ NULL, 0 }, "let-me-in"));
}

static void test_a_token_is_read_without_its_line_end(void **state)
{
	char path[] = "/tmp/weir-token-XXXXXX", *token = NULL;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "let me-in\r\n", 11), 11);
	assert_int_equal(token_read(path, &token), 0);
	assert_string_equal(token, "let me-in");
	token_free(token);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(token_read(path, &token), -EINVAL);
	assert_int_equal(close(fd), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(token_read(path, &token), -ENOENT);
	token_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_the_token_opens),
		cmocka_unit_test(test_a_token_is_read_without_its_line_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
