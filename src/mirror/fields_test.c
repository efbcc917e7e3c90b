/* fields_test.c */
#include "mirror/fields.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/obj.h"

#define SIX_NOV_1994_MS (784111777 * (int64_t)1000)

struct head {
	struct slice lines[16];
	struct httplines h;
};

static const struct httplines *head(struct head *to, const char *block)
{
	to->h = (struct httplines){ to->lines, httplines_cut(slice_str(block), to->lines, 16) };
	assert_true(to->h.count <= 16);
	return &to->h;
}

static void what_is_of_one_connection_is_told(void **state)
{
	static const struct {
		const char *name;
		bool hop;
	} rows[] = {
		{ "Connection", true }, { "KEEP-ALIVE", true }, { "TE", true }, { "Trailer", true },
		{ "Transfer-Encoding", true }, { "Upgrade", true }, { "Proxy-Authorization", true },
		{ "Proxy-Authenticate", true }, { "Proxy-Authentication-Info", true }, { "Proxy-Connection", true },
		{ "X-Named", true }, { "x-too", true }, { "X-Named-Not", false }, { "ETag", false }, { "Via", false },
	};
	struct head h;

	(void)state;
	head(&h, "Connection: close, X-Named\nConnection: X-Too\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(fields_is_hop_by_hop(&h.h, slice_str(rows[i].name)), rows[i].hop);
}

static void an_answer_is_stored_without_its_connection_and_length(void **state)
{
	static const struct {
		const char *answer, *stored;
	} rows[] = {
		/* RFC 9111 3.1 */
		{ "Date: Mon, 07 Nov 1994 08:49:37 GMT\nConnection: X-A\nX-A: 1\nKeep-Alive: 5\nX-B: 2\n"
		  "Content-Length: 5\nContent-Type: text/plain\nSet-Cookie: a=b\nSet-Cookie: c=d\n",
		  "Date: Mon, 07 Nov 1994 08:49:37 GMT\nX-B: 2\nContent-Type: text/plain\nSet-Cookie: a=b\n"
		  "Set-Cookie: c=d\n" },
		/* RFC 9110 6.6.1: the time it came stands for a Date that is missing or cannot be read */
		{ "ETag: \"a\"\n", "ETag: \"a\"\nDate: Sun, 06 Nov 1994 08:49:37 GMT\n" },
		{ "Date: yesterday\nETag: \"a\"\n", "ETag: \"a\"\nDate: Sun, 06 Nov 1994 08:49:37 GMT\n" },
		{ "", "Date: Sun, 06 Nov 1994 08:49:37 GMT\n" },
		{ "Date: Mon, 07 Nov 1994 08:49:37 GMT\nConnection: date\n", "Date: Sun, 06 Nov 1994 08:49:37 GMT\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf got = BUF_EMPTY;
		struct head h;

		fields_to_store(head(&h, rows[i].answer), SIX_NOV_1994_MS, &got);
		assert_string_equal(got.data, rows[i].stored);
		buf_fini(&got);
	}
}

static void a_304_updates_what_it_may(void **state)
{
	static const char stored[] = "Date: Sat, 05 Nov 1994 08:49:37 GMT\nAge: 50\nETag: \"a\"\n"
				     "Content-Type: text/plain\nContent-Encoding: gzip\nCache-Control: max-age=5\n"
				     "X-Old: 1\nX-Two: 1\nX-Two: 2\nSet-Cookie: old\n";
	static const struct {
		const char *answer, *updated; /* what follows the fields that stay */
	} rows[] = {
		/* RFC 9111 3.2: each field that is given replaces all of its name */
		{ "Date: Sun, 06 Nov 1994 08:49:37 GMT\nCache-Control: max-age=9\nx-two: 3\nX-New: 4\n",
		  "ETag: \"a\"\nContent-Type: text/plain\nContent-Encoding: gzip\nX-Old: 1\nSet-Cookie: old\n"
		  "Date: Sun, 06 Nov 1994 08:49:37 GMT\nCache-Control: max-age=9\nx-two: 3\nX-New: 4\n" },
		/* Content-Type is updated, what describes the stored bytes is not, nor what was made for one client */
		{ "Date: Sun, 06 Nov 1994 08:49:37 GMT\nContent-Type: text/html\nContent-Encoding: br\n"
		  "Content-Length: 0\nContent-Range: bytes 0-0/1\nSet-Cookie: new\n",
		  "ETag: \"a\"\nContent-Encoding: gzip\nCache-Control: max-age=5\nX-Old: 1\nX-Two: 1\nX-Two: 2\n"
		  "Set-Cookie: old\nDate: Sun, 06 Nov 1994 08:49:37 GMT\nContent-Type: text/html\n" },
		/* of one connection: not taken over, and it removes nothing */
		{ "Date: Sun, 06 Nov 1994 08:49:37 GMT\nConnection: X-Old\nX-Old: 9\nTransfer-Encoding: chunked\n",
		  "ETag: \"a\"\nContent-Type: text/plain\nContent-Encoding: gzip\nCache-Control: max-age=5\nX-Old: 1\n"
		  "X-Two: 1\nX-Two: 2\nSet-Cookie: old\nDate: Sun, 06 Nov 1994 08:49:37 GMT\n" },
		/* a stored Date or Age is not that of the validation */
		{ "Age: 3\n",
		  "ETag: \"a\"\nContent-Type: text/plain\nContent-Encoding: gzip\nCache-Control: max-age=5\nX-Old: 1\n"
		  "X-Two: 1\nX-Two: 2\nSet-Cookie: old\nAge: 3\nDate: Sun, 06 Nov 1994 08:49:37 GMT\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf got = BUF_EMPTY;
		struct head old, answer;

		fields_update(head(&old, stored), head(&answer, rows[i].answer), SIX_NOV_1994_MS, &got);
		assert_string_equal(got.data, rows[i].updated);
		buf_fini(&got);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_of_one_connection_is_told),
		cmocka_unit_test(an_answer_is_stored_without_its_connection_and_length),
		cmocka_unit_test(a_304_updates_what_it_may),
	};

	return cmocka_run_group_tests_name("fields", tests, NULL, NULL);
}
