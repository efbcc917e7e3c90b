#include <fcntl.h>

#include "core/front_test_site.h"

#define FILE_BYTES (5 * 1024 * 1024)
#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define HEAD(path) "HEAD " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static unsigned count_lines(const struct answer *a, const char *name)
{
	char wanted[64];
	unsigned n = 0;

	(void)snprintf(wanted, sizeof(wanted), "\r\n%s:", name);
	for (const char *p = a->head; (p = strcasestr(p, wanted)); p++)
		n++;
	return n;
}

static void an_answer_has_one_date(void **state)
{
	struct answer a;
	int fd;

	start();
	fd = dial();
	say(fd, GET("/dated") GET("/other"));
	assert_int_equal(hear(fd, &a, true), 200);
	assert_int_equal(count_lines(&a, "Date"), 1);
	assert_non_null(strstr(a.head, "\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
	assert_string_equal(a.body.data, "dated");
	forget(&a);
	assert_int_equal(hear(fd, &a, true), 200); /* the next one on this connection gets the front's again */
	assert_int_equal(count_lines(&a, "Date"), 1);
	assert_null(strstr(a.head, "1994"));
	forget(&a);
	close(fd);
	assert_true(stop());
}

static void lines_of_the_caller_pass_as_they_are(void **state)
{
	struct answer a;
	int fd;

	start();
	fd = dial();
	say(fd, GET("/dated"));
	assert_int_equal(hear(fd, &a, true), 200);
	assert_non_null(strstr(a.head, "\r\nContent-Encoding: gzip\r\nX-Empty: \r\n"));
	forget(&a);
	close(fd);
	assert_true(stop());
}

/* The file holds the numbers of its own eight-byte pieces. */
static void make_file(void)
{
	char path[64];
	struct buf b = BUF_EMPTY;

	(void)snprintf(path, sizeof(path), "%s/file", site.dir);
	site.file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(site.file >= 0);
	assert_int_equal(unlink(path), 0);
	for (unsigned i = 0; i < FILE_BYTES / 8; i++)
		buf_addf(&b, "%08u", i);
	assert_int_equal(write(site.file, b.data, b.len), FILE_BYTES);
	site.file_bytes = FILE_BYTES;
	buf_fini(&b);
}

static void check_part(const struct answer *a)
{
	char piece[24] = "";

	assert_int_equal(a->body.len, site.part_bytes);
	for (size_t i = 0; i < a->body.len; i++) {
		uint64_t at = site.part_from + i;

		if (!piece[0] || at % 8 == 0)
			(void)snprintf(piece, sizeof(piece), "%08llu", (unsigned long long)at / 8);
		assert_int_equal(a->body.data[i], piece[at % 8]);
	}
}

static void a_part_of_a_file_is_sent_from_where_it_begins(void **state)
{
	static const struct {
		uint64_t from, bytes;
	} rows[] = {
		{ 0, 1 }, { 0, FILE_BYTES }, { 3, 10 }, { 1000001, 3000000 }, { FILE_BYTES - 1, 1 }, { 77, 0 },
	};
	struct answer a;
	int fd;

	start();
	make_file();
	fd = dial();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char announced[64];

		site.part_from = rows[i].from;
		site.part_bytes = rows[i].bytes;
		(void)snprintf(announced, sizeof(announced), "\r\nContent-Length: %llu\r\n",
			       (unsigned long long)rows[i].bytes);
		say(fd, GET("/part"));
		assert_int_equal(hear(fd, &a, true), 206);
		assert_false(a.cut);
		assert_non_null(strstr(a.head, announced));
		check_part(&a);
		forget(&a);
		say(fd, HEAD("/part"));
		assert_int_equal(hear(fd, &a, false), 206);
		assert_non_null(strstr(a.head, announced));
		forget(&a);
	}
	close(fd);
	close(site.file);
	assert_true(stop());
}

static void a_part_beyond_the_end_of_the_file_is_cut(void **state)
{
	struct answer a;
	int fd;

	start();
	make_file();
	site.part_from = FILE_BYTES - 10;
	site.part_bytes = 20;
	fd = dial();
	say(fd, GET("/part"));
	assert_int_equal(hear(fd, &a, true), 206);
	assert_true(a.cut);
	forget(&a);
	close(fd);
	close(site.file);
	assert_true(stop());
}

static void a_head_without_a_body_may_announce_one(void **state)
{
	static const struct {
		const char *request;
		int status;
		bool announced;
	} rows[] = {
		{ HEAD("/length"), 200, true },  { HEAD("/no-length"), 200, false },
		{ HEAD("/length"), 404, true },  { HEAD("/length"), 204, false },
		{ HEAD("/length"), 304, true },  { GET("/length"), 304, true },
		{ GET("/no-length"), 304, false }, { GET("/length"), 204, false },
	};
	struct answer a;
	int fd;

	start();
	fd = dial();
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		site.status = rows[i].status;
		say(fd, rows[i].request);
		assert_int_equal(hear(fd, &a, false), rows[i].status);
		assert_int_equal(count_lines(&a, "Content-Length"), rows[i].announced);
		assert_true(!rows[i].announced || strstr(a.head, "\r\nContent-Length: 7\r\n"));
		assert_int_equal(count_lines(&a, "Transfer-Encoding"), 0);
		assert_int_equal(count_lines(&a, "Connection"), 0); /* it goes on: */
		forget(&a);
	}
	say(fd, HEAD("/dated")); /* the answer of a GET, its body dropped */
	assert_int_equal(hear(fd, &a, false), 200);
	assert_non_null(strstr(a.head, "\r\nContent-Length: 5\r\n"));
	forget(&a);
	say(fd, GET("/nothing"));
	assert_int_equal(hear(fd, &a, true), 204);
	assert_int_equal(count_lines(&a, "Content-Length"), 0);
	forget(&a);
	say(fd, GET("/next"));
	expect(fd, 200, "/next\n");
	close(fd);
	assert_true(stop());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_has_one_date),
		cmocka_unit_test(lines_of_the_caller_pass_as_they_are),
		cmocka_unit_test(a_part_of_a_file_is_sent_from_where_it_begins),
		cmocka_unit_test(a_part_beyond_the_end_of_the_file_is_cut),
		cmocka_unit_test(a_head_without_a_body_may_announce_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
