/* secret_test.c -- secrets that come from files. */
#include "core/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

static char path[64];

static int make_file(void **state)
{
	(void)snprintf(path, sizeof(path), "/tmp/weir-secret-XXXXXX");
	return close(mkstemp(path));
}

static int remove_file(void **state)
{
	return unlink(path);
}

static void put(const void *p, size_t n)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void expect_refused(const char *content, size_t n, const char *why)
{
	struct buf said = BUF_EMPTY;
	char *secret = NULL;

	put(content, n);
	assert_int_equal(secret_read(path, &secret, &said), -EINVAL);
	assert_null(secret);
	assert_string_equal(said.data, why);
	buf_fini(&said);
}

static void test_a_secret_is_read_without_the_white_space_at_its_end(void **state)
{
	char *secret = NULL;

	put(" let me in\t \r\n\n", 14);
	assert_int_equal(secret_read(path, &secret, NULL), 0);
	assert_string_equal(secret, " let me in");
	secret_free(secret);
	secret_free(NULL);
}

static void test_what_would_be_an_empty_token_or_two_header_fields_is_refused(void **state)
{
	char *large = xcalloc(1, SECRET_MOST_BYTES + 1);

	memset(large, 'x', SECRET_MOST_BYTES + 1);
	expect_refused("", 0, "is empty");
	expect_refused(" \t\r\n\n", 5, "is empty");
	expect_refused("\0secret\n", 8, "is not one line of text");
	expect_refused("\0", 1, "is not one line of text");
	expect_refused("sec\0ret\n", 8, "is not one line of text");
	expect_refused("one\ntwo\n", 8, "is not one line of text");
	expect_refused("one\rtwo", 7, "is not one line of text");
	expect_refused("on\177e", 4, "is not one line of text");
	expect_refused(large, SECRET_MOST_BYTES + 1, "is larger than 64KiB, hence no secret");
	free(large);
}

static void test_a_file_that_cannot_be_read_says_so(void **state)
{
	struct buf said = BUF_EMPTY;
	char *secret = NULL;

	assert_int_equal(secret_read("/nowhere/at/all", &secret, &said), -ENOENT);
	assert_null(secret);
	assert_string_equal(said.data, "cannot be read: No such file or directory");
	buf_fini(&said);
}

/* Whether what happened since the last call is told by the fingerprint. */
static bool is_another(struct buf *seen)
{
	struct buf now = BUF_EMPTY;
	bool differs;

	secret_fingerprint(path, &now);
	differs = !slice_eq(buf_slice(&now), buf_slice(seen));
	buf_fini(seen);
	*seen = now;
	return differs;
}

/* A token that weir may not read is mended by chmod, which changes neither size nor time of the content. */
static void test_a_change_of_rights_is_a_change_of_the_file(void **state)
{
	struct stat before, now;
	struct buf seen = BUF_EMPTY;

	put("token\n", 6);
	assert_true(is_another(&seen));
	assert_false(is_another(&seen));
	assert_int_equal(stat(path, &before), 0);
	do { /* the kernel's clock has a grain of some milliseconds */
		assert_int_equal(chmod(path, 0600), 0);
		assert_int_equal(stat(path, &now), 0);
	} while (now.st_ctim.tv_sec == before.st_ctim.tv_sec && now.st_ctim.tv_nsec == before.st_ctim.tv_nsec);
	assert_true(is_another(&seen));
	buf_fini(&seen);
}

static void test_only_the_secret_opens(void **state)
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
		assert_int_equal(secret_is_presented(slice_str(rows[i].header), "let-me-in"), rows[i].opens);
	assert_false(secret_is_presented((struct slice){ NULL, 0 }, "let-me-in"));
	assert_true(secret_is_presented(slice_str("Bearer a:b c"), "a:b c"));
}

static void test_nothing_presents_an_empty_secret(void **state)
{
	assert_false(secret_is_presented(slice_str("Basic Og=="), ""));
	assert_false(secret_is_presented(slice_str("Bearer "), ""));
	assert_false(secret_is_presented(slice_str("Bearer  x"), ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_secret_is_read_without_the_white_space_at_its_end),
		cmocka_unit_test(test_what_would_be_an_empty_token_or_two_header_fields_is_refused),
		cmocka_unit_test(test_a_file_that_cannot_be_read_says_so),
		cmocka_unit_test(test_a_change_of_rights_is_a_change_of_the_file),
		cmocka_unit_test(test_only_the_secret_opens),
		cmocka_unit_test(test_nothing_presents_an_empty_secret),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
