/* vary_test.c */
#include "mirror/vary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"

struct head {
	struct slice lines[64];
	struct httplines h;
};

static const struct httplines *head(struct head *to, const char *block)
{
	to->h = (struct httplines){ to->lines, httplines_cut(slice_str(block), to->lines, 64) };
	assert_true(to->h.count <= 64);
	return &to->h;
}

static void a_key_has_what_vary_names(void **state)
{
	static const struct {
		const char *vary, *request;
		int r;
		const char *key;
	} rows[] = {
		{ "X: y\n", "Accept: a\n", 0, "" },
		{ "Vary: \n", "Accept: a\n", 0, "" },
		{ "Vary: Accept\n", "accept:a\n", 0, "accept:a\n" },
		{ "Vary: Accept\n", "Other: a\n", 0, "accept\n" },
		{ "Vary: Accept\n", "Accept:\n", 0, "accept:\n" },
		{ "Vary: b, A\nVary: a\n", "A: 1\nB: 2\n", 0, "a:1\nb:2\n" },
		/* RFC 9111 4.1: space, and lines that are one list; their order stays */
		{ "Vary: accept\n", "Accept: a , b;q=\"x, y\"\nAccept:c\n", 0, "accept:a,b;q=\"x, y\",c\n" },
		{ "Vary: *\n", "Accept: a\n", -EINVAL, "" },
		{ "Vary: accept\nVary: *\n", "Accept: a\n", -EINVAL, "" },
		{ "Vary: a b\n", "Accept: a\n", -EINVAL, "" },
		/* a field of this connection did not go upstream */
		{ "Vary: Accept\n", "Accept: a\nConnection: accept\n", 0, "accept\n" },
		/* secrets */
		{ "Vary: Authorization\n", "A: b\n", 0, "authorization\n" },
		{ "Vary: Authorization\n", "Authorization: Bearer b\n", -EINVAL, "" },
		{ "Vary: Cookie\n", "Cookie: a=b\n", 0,
		  "cookie:42144f3939c3ffbbf0bf8b1f12affb5c23a4c5bd41e0ff672d54a5754f062058\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct head answer, request;
		struct buf key = BUF_EMPTY;

		head(&answer, rows[i].vary);
		head(&request, rows[i].request);
		assert_int_equal(vary_key(&answer.h, &request.h, &key), rows[i].r);
		assert_string_equal(key.data, rows[i].key);
		if (rows[i].r == 0)
			assert_true(vary_matches(buf_slice(&key), &request.h));
		buf_fini(&key);
	}
}

static void other_requests_match_when_they_say_the_same(void **state)
{
	static const struct {
		const char *request;
		bool fits;
	} rows[] = {
		{ "Accept: a, b\nCookie: k=1\n", true },
		{ "Cookie: k=1\nACCEPT: a\nX: y\naccept:b\n", true },
		{ "Accept: b, a\nCookie: k=1\n", false },
		{ "Accept: a, B\nCookie: k=1\n", false },
		{ "Accept: a\nCookie: k=1\n", false },
		{ "Cookie: k=1\n", false },
		{ "Accept: a, b\n", false },
		{ "Accept: a, b\nCookie: k=2\n", false },
		{ "Accept: a, b\nCookie: k=1\nAccept-Language: de\n", false },
		{ "Accept: a, b\nCookie: k=1\nAccept-Language:\n", false },
		{ "Accept: a, b\nCookie: k=1\nConnection: accept\n", false },
	};
	struct head answer, first;
	struct buf key = BUF_EMPTY;

	(void)state;
	assert_int_equal(vary_key(head(&answer, "Vary: Accept, Accept-Language, Cookie\n"),
				  head(&first, "Accept: a, b\nCookie: k=1\n"), &key),
			 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct head request;

		assert_int_equal(vary_matches(buf_slice(&key), head(&request, rows[i].request)), rows[i].fits);
	}
	assert_true(vary_matches(SLICE_LIT(""), &first.h));
	buf_fini(&key);
}

static void too_many_names_and_too_long_values_are_refused(void **state)
{
	struct buf vary = BUF_EMPTY, request = BUF_EMPTY, key = BUF_EMPTY;
	struct head answer, rq;

	(void)state;
	buf_add_str(&vary, "Vary: n0");
	for (int i = 1; i < VARY_MOST_NAMES; i++)
		buf_addf(&vary, ",n%d", i);
	assert_int_equal(vary_key(head(&answer, vary.data), head(&rq, ""), &key), 0);
	buf_reset(&key);
	buf_add_str(&vary, ",one-more");
	assert_int_equal(vary_key(head(&answer, vary.data), &rq.h, &key), WEIR_E_TOO_LARGE);
	buf_add_str(&request, "A: ");
	while (request.len <= VARY_KEY_BYTES)
		buf_add_char(&request, 'x');
	assert_int_equal(vary_key(head(&answer, "Vary: a"), head(&rq, request.data), &key), WEIR_E_TOO_LARGE);
	assert_int_equal(key.len, 0);
	buf_fini(&vary);
	buf_fini(&request);
	buf_fini(&key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_has_what_vary_names),
		cmocka_unit_test(other_requests_match_when_they_say_the_same),
		cmocka_unit_test(too_many_names_and_too_long_values_are_refused),
	};

	return cmocka_run_group_tests_name("vary", tests, NULL, NULL);
}
