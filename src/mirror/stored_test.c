/* stored_test.c -- what a stored response has ready for a reply, and when it is freed. */
#include "mirror/stored.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "store/wholefile.h"

static struct stored *make(const char *head)
{
	struct stored *s = NULL;
	const struct stored_parts p = { .key = SLICE_LIT("/a?b"),
					.head = slice_str(head),
					.status = 200,
					.request_wall_ms = 1000000,
					.response_wall_ms = 1000100,
					.body = blob_new_copy("hello", 5) };

	assert_int_equal(stored_new(&p, &s), 0);
	return s;
}

static void a_reply_has_the_lines_but_those_made_anew_and_via_behind_them(void **state)
{
	static const struct {
		const char *head, *want;
	} rows[] = {
		{ "", "Via=1.1 weir|" },
		{ "Date: x\nAge: 7\nETag:   \"e\" \n", "Date=x|ETag=\"e\"|Via=1.1 weir|" },
		{ "content-length: 5\nX-Request-ID: 1\nVia: 1.0 far\n", "Via=1.0 far|Via=1.1 weir|" },
		{ "Empty:\nA:b:c\nB: \n", "Empty=|A=b:c|B=|Via=1.1 weir|" },
		{ "no colon\n: no name\nBad: a\rb\nGood: 1", "Good=1|Via=1.1 weir|" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct stored *s = make(rows[i].head);
		struct buf got = BUF_EMPTY;
		for (size_t k = 0; k < s->reply_count; k++)
			buf_addf(&got, "%s=%s|", s->reply[k].name, s->reply[k].value);
		assert_string_equal(got.data, rows[i].want);
		buf_fini(&got);
		stored_unref(&s);
	}
}

static void a_line_with_nul_is_for_no_reply(void **state)
{
	static const char head[] = "A: b\0c\nD: e\n";
	const struct stored_parts p = { .key = SLICE_LIT("/"), .head = { head, sizeof(head) - 1 }, .status = 200 };
	struct stored *s = NULL;

	assert_int_equal(stored_new(&p, &s), 0);
	assert_int_equal(s->reply_count, 2);
	assert_string_equal(s->reply[0].name, "D");
	stored_unref(&s);
}

static void the_policy_is_read_and_the_body_summed(void **state)
{
	struct stored *s = make("ETag: W/\"1\"\nCache-Control: max-age=60\nAge: 3\n"), *other = stored_ref(s);

	assert_true(s->policy.etag.weak);
	assert_int_equal(s->policy.cc.max_age_s, 60);
	assert_int_equal(s->policy.age_s, 3);
	assert_int_equal(s->lines.count, 3);
	assert_int_equal(s->body_bytes, 5);
	assert_int_equal(s->body_crc, crc32c(0, "hello", 5));
	stored_unref(&s);
	assert_null(s);
	assert_true(slice_eq_str(other->policy.etag.opaque, "\"1\""));
	stored_unref(&other);
	stored_unref(&other); /* NULL is fine */
}

static void a_head_beyond_the_limits_is_refused_and_the_body_let_go(void **state)
{
	struct buf head = BUF_EMPTY;
	struct stored *s = NULL;
	struct stored_parts p = { .key = SLICE_LIT("/"), .status = 200 };

	buf_add_str(&head, "A: ");
	while (head.len < STORED_MOST_HEAD)
		buf_add_char(&head, 'a');
	p.head = buf_slice(&head);
	p.body = blob_new_copy("x", 1);
	assert_int_equal(stored_new(&p, &s), 0);
	stored_unref(&s);
	buf_add_char(&head, 'a');
	p.head = buf_slice(&head);
	p.body = blob_new_copy("x", 1);
	assert_int_equal(stored_new(&p, &s), WEIR_E_TOO_LARGE); /* a leak would be reported */
	buf_reset(&head);
	for (int i = 0; i < 5000; i++)
		buf_add_str(&head, "a:b\n");
	p.head = buf_slice(&head);
	p.body = blob_new_copy("x", 1);
	assert_int_equal(stored_new(&p, &s), WEIR_E_TOO_LARGE);
	assert_null(s);
	buf_fini(&head);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reply_has_the_lines_but_those_made_anew_and_via_behind_them),
		cmocka_unit_test(a_line_with_nul_is_for_no_reply),
		cmocka_unit_test(the_policy_is_read_and_the_body_summed),
		cmocka_unit_test(a_head_beyond_the_limits_is_refused_and_the_body_let_go),
	};

	return cmocka_run_group_tests_name("stored", tests, NULL, NULL);
}
