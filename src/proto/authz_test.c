/* authz_test.c */
#include "proto/authz.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

static void basic_credentials_are_read(void **state)
{
	static const struct {
		const char *value;
		int r;
		const char *user, *password;
	} rows[] = {
		{ "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", 0, "Aladdin", "open sesame" },
		{ "bASIC   QWxhZGRpbjpvcGVuIHNlc2FtZQ==  ", 0, "Aladdin", "open sesame" },
		{ "Basic Og==", 0, "", "" },
		{ "Basic YTpiOmM=", 0, "a", "b:c" },
		{ "Bearer abc", -ENOENT, "", "" },
		{ "Basic", -ENOENT, "", "" },
		{ "", -ENOENT, "", "" },
		{ "Basic YWJj", WEIR_E_PARSE, "", "" },	    /* no colon */
		{ "Basic YTpiCg==", WEIR_E_PARSE, "", "" }, /* a line end */
		{ "Basic YQA6Yg==", WEIR_E_PARSE, "", "" }, /* a NUL */
		{ "Basic Y!pi", WEIR_E_PARSE, "", "" },
		{ "Basic YTpiOmM", WEIR_E_PARSE, "", "" },
		{ "Basic YTpi YTpi", WEIR_E_PARSE, "", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf user = BUF_EMPTY, password = BUF_EMPTY;

		assert_int_equal(authz_parse_basic(slice_str(rows[i].value), &user, &password), rows[i].r);
		assert_string_equal(user.data, rows[i].user);
		assert_string_equal(password.data, rows[i].password);
		buf_fini(&user);
		buf_fini(&password);
	}
}

static void basic_credentials_are_written(void **state)
{
	struct buf b = BUF_EMPTY;

	(void)state;
	assert_int_equal(authz_add_basic(&b, SLICE_LIT("Aladdin"), SLICE_LIT("open sesame")), 0);
	assert_string_equal(b.data, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
	assert_int_equal(authz_add_basic(&b, SLICE_LIT("a:b"), SLICE_LIT("c")), WEIR_E_PARSE);
	assert_int_equal(authz_add_basic(&b, SLICE_LIT("a"), SLICE_LIT("c\r\nX: y")), WEIR_E_PARSE);
	buf_fini(&b);
}

static void bearer_tokens_are_read_and_written(void **state)
{
	static const char *const bad[] = { "Bearer a b", "Bearer a\tb", "Bearer =", "Bearer a=b", "Bearer \xc3\xa4" };
	struct slice token;
	struct buf b = BUF_EMPTY;

	(void)state;
	assert_int_equal(authz_parse_bearer(SLICE_LIT("bearer ab.c-_~+/1=="), &token), 0);
	assert_true(slice_eq_str(token, "ab.c-_~+/1=="));
	assert_int_equal(authz_parse_bearer(SLICE_LIT("Basic abc"), &token), -ENOENT);
	assert_int_equal(authz_parse_bearer(SLICE_LIT("Bearer"), &token), -ENOENT);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(authz_parse_bearer(slice_str(bad[i]), &token), WEIR_E_PARSE);
	assert_int_equal(authz_add_bearer(&b, SLICE_LIT("tok.en")), 0);
	assert_string_equal(b.data, "Bearer tok.en");
	assert_int_equal(authz_add_bearer(&b, SLICE_LIT("tok\r\nen")), WEIR_E_PARSE);
	buf_fini(&b);
}

static void an_absurd_length_is_refused(void **state)
{
	struct buf value = BUF_EMPTY, a = BUF_EMPTY;
	struct slice token;

	(void)state;
	buf_add_str(&value, "Bearer ");
	while (value.len <= AUTHZ_MAX_BYTES)
		buf_add_char(&value, 'x');
	assert_int_equal(authz_parse_bearer(buf_slice(&value), &token), WEIR_E_TOO_LARGE);
	assert_int_equal(authz_parse_basic(buf_slice(&value), &a, &a), WEIR_E_TOO_LARGE);
	buf_fini(&value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(basic_credentials_are_read),
		cmocka_unit_test(basic_credentials_are_written),
		cmocka_unit_test(bearer_tokens_are_read_and_written),
		cmocka_unit_test(an_absurd_length_is_refused),
	};

	return cmocka_run_group_tests_name("authz", tests, NULL, NULL);
}
