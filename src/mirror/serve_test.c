#include <fcntl.h>

#include "core/front_test_site.h"

#include "mirror/serve.h"

#define MEMORY_BYTES 10000
#define FILE_BYTES (3 * 1024 * 1024)

#define HEAD_BLOCK                                                                                                     \
	"Date: Sun, 06 Nov 1994 08:49:37 GMT\nContent-Type: text/x\nETag: \"v1\"\nAccept-Ranges: none\n"              \
	"Last-Modified: Sun, 06 Nov 1994 08:00:00 GMT\nCache-Control: max-age=60\nVary: Accept\n"                     \
	"Content-Location: /b\nExpires: Sun, 06 Nov 1994 09:49:37 GMT\nContent-Encoding: x\nContent-Language: de\n"    \
	"X-Mine: 1\n"

static struct buf content = BUF_EMPTY; /* FILE_BYTES; a body in memory is its beginning */
static struct stored *in_memory, *in_a_file, *empty, *gone, *no_content;
static struct stored *coming, *announced; /* both grow with: */
static struct spool *growing;
static _Atomic int served;

/* --- the stage --- */

static void serve_now(struct exchange *ex)
{
	struct slice t = exchange_target(ex);
	char age[] = "5"; /* on the stack, as it is borrowed only until serve_stored() returns */
	struct header_line extra[] = { { "Cache-Status", "weir; hit" }, { "Age", age } };
	struct stored *s = slice_ends(t, "/memory") ? in_memory :
			   slice_ends(t, "/file")   ? in_a_file :
			   slice_ends(t, "/empty")  ? empty :
			   slice_ends(t, "/gone")   ? gone :
			   slice_ends(t, "/coming") ? coming :
			   slice_ends(t, "/announced") ? announced :
						      no_content;

	if (slice_starts(t, "/queued/"))
		serve_queued(ex, site.lane, s, extra, ARRAY_LEN(extra));
	else
		serve_stored(ex, site.lane, s, extra, ARRAY_LEN(extra));
	age[0] = 'x';
	atomic_fetch_add(&served, 1);
}

static void serve_it(struct exchange *ex)
{
	if (slice_starts(exchange_target(ex), "/worker/"))
		exchange_to_worker(ex, site.lane, serve_now);
	else
		serve_now(ex);
}

static struct spool *make_file(void)
{
	struct spool *s;
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content.data, FILE_BYTES), FILE_BYTES);
	assert_int_equal(spool_new_complete_take(fd, FILE_BYTES, &s), 0);
	return s;
}

static struct stored *make(int status, struct blob *body, struct spool *file, uint64_t bytes)
{
	const struct stored_parts p = {
		.key = SLICE_LIT("/a"),
		.head = SLICE_LIT(HEAD_BLOCK),
		.status = status,
		.body = body,
		.file = file,
		.body_bytes = bytes,
	};
	struct stored *s;

	assert_int_equal(stored_new(&p, &s), 0);
	return s;
}

static int open_stage(void **state)
{
	for (unsigned i = 0; i < FILE_BYTES / 8; i++)
		buf_addf(&content, "%07u\n", i);
	in_memory = make(200, blob_new_copy(content.data, MEMORY_BYTES), NULL, MEMORY_BYTES);
	in_a_file = make(200, NULL, make_file(), FILE_BYTES);
	empty = make(200, NULL, NULL, 0);
	gone = make(404, blob_new_copy("gone", 4), NULL, 4);
	no_content = make(204, NULL, NULL, 0);
	site_handle = serve_it;
	start();
	assert_int_equal(spool_new(site.dir, 0, &growing), 0);
	coming = make(200, NULL, spool_ref(growing), STORED_GROWING);
	announced = make(200, NULL, spool_ref(growing), MEMORY_BYTES);
	return 0;
}

static int close_stage(void **state)
{
	bool clean = stop();

	stored_unref(&in_memory);
	stored_unref(&in_a_file);
	stored_unref(&empty);
	stored_unref(&gone);
	stored_unref(&no_content);
	stored_unref(&coming);
	stored_unref(&announced);
	spool_unref(&growing);
	buf_fini(&content);
	return clean ? 0 : -1;
}

static int ask(const char *method, const char *target, const char *lines, struct answer *ret)
{
	char request[1000];
	int fd = dial();

	(void)snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", method, target, lines);
	say(fd, request);
	(void)hear(fd, ret, strcmp(method, "HEAD") != 0);
	assert_false(ret->cut);
	close(fd);
	return ret->status;
}

static bool has(const struct answer *a, const char *line)
{
	char wanted[200];

	(void)snprintf(wanted, sizeof(wanted), "\r\n%s\r\n", line);
	return strstr(a->head, wanted) != NULL;
}

static unsigned count_lines(const struct answer *a, const char *name)
{
	char wanted[64];
	unsigned n = 0;

	(void)snprintf(wanted, sizeof(wanted), "\r\n%s:", name);
	for (const char *p = a->head; (p = strcasestr(p, wanted)); p++)
		n++;
	return n;
}

static void assert_bytes(const struct answer *a, size_t from, size_t n)
{
	assert_int_equal(a->body.len, n);
	assert_memory_equal(a->body.data, content.data + from, n);
}

static const struct {
	const char *target;
	size_t bytes;
} places[] = {
	{ "/memory", MEMORY_BYTES },
	{ "/file", FILE_BYTES },
	{ "/worker/memory", MEMORY_BYTES },
	{ "/worker/file", FILE_BYTES },
};

/* --- the whole --- */

static void check_lines_of_the_whole(const struct answer *a, size_t bytes)
{
	char length[64];

	(void)snprintf(length, sizeof(length), "Content-Length: %zu", bytes);
	assert_true(has(a, length));
	assert_true(has(a, "Date: Sun, 06 Nov 1994 08:49:37 GMT"));
	assert_int_equal(count_lines(a, "Date"), 1);
	assert_true(has(a, "ETag: \"v1\""));
	assert_true(has(a, "Content-Type: text/x"));
	assert_true(has(a, "X-Mine: 1"));
	assert_true(has(a, "Accept-Ranges: bytes")); /* whatever upstream said */
	assert_int_equal(count_lines(a, "Accept-Ranges"), 1);
	assert_true(has(a, "Cache-Status: weir; hit"));
	assert_true(has(a, "Age: 5"));
	assert_true(has(a, "Via: 1.1 weir"));
}

static void the_whole_comes_with_its_lines(void **state)
{
	struct answer a;

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		assert_int_equal(ask("GET", places[i].target, "Accept: a/b\r\n", &a), 200);
		check_lines_of_the_whole(&a, places[i].bytes);
		assert_bytes(&a, 0, places[i].bytes);
		forget(&a);
		assert_int_equal(ask("HEAD", places[i].target, "", &a), 200);
		check_lines_of_the_whole(&a, places[i].bytes);
		forget(&a);
	}
	assert_int_equal(ask("GET", "/empty", "Range: bytes=0-\r\nIf-None-Match: \"other\"\r\n", &a), 416);
	forget(&a);
	assert_int_equal(ask("GET", "/empty", "", &a), 200);
	check_lines_of_the_whole(&a, 0);
	forget(&a);
}

static void other_statuses_have_no_conditions_and_no_ranges(void **state)
{
	struct answer a;

	assert_int_equal(ask("GET", "/gone", "If-None-Match: \"v1\"\r\nRange: bytes=0-1\r\n", &a), 404);
	assert_string_equal(a.body.data, "gone");
	assert_true(has(&a, "Accept-Ranges: none")); /* as it is */
	assert_true(has(&a, "Age: 5"));
	forget(&a);
	assert_int_equal(ask("HEAD", "/gone", "If-Match: \"v0\"\r\n", &a), 404);
	assert_true(has(&a, "Content-Length: 4"));
	forget(&a);
	assert_int_equal(ask("GET", "/no-content", "If-None-Match: *\r\n", &a), 204);
	assert_int_equal(count_lines(&a, "Content-Length"), 0);
	forget(&a);
}

/* --- conditions --- */

static void conditions_are_judged_in_their_order(void **state)
{
	static const struct {
		const char *lines;
		int of_queued, of_cached;
	} rows[] = {
		{ "If-None-Match: \"v1\"\r\n", 304, 304 },
		{ "If-None-Match: W/\"v1\"\r\n", 304, 304 }, /* weak comparison */
		{ "If-None-Match: \"v0\", \"v1\"\r\n", 304, 304 },
		{ "If-None-Match: *\r\n", 304, 304 },
		{ "If-None-Match: \"v2\"\r\n", 200, 200 },
		{ "If-Modified-Since: Sun, 06 Nov 1994 08:00:00 GMT\r\n", 304, 304 },
		{ "If-Modified-Since: Sun, 06 Nov 1994 07:59:59 GMT\r\n", 200, 200 },
		{ "If-None-Match: \"v2\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:00:00 GMT\r\n", 200, 200 },
		{ "If-Match: \"v1\"\r\n", 200, 200 },
		{ "If-Match: *\r\n", 200, 200 },
		{ "If-Match: W/\"v1\"\r\n", 412, 200 }, /* strong comparison */
		{ "If-Match: \"v2\"\r\n", 412, 200 },
		{ "If-Match: \"v1\"\r\nIf-None-Match: \"v1\"\r\n", 304, 304 },
		{ "If-Unmodified-Since: Sun, 06 Nov 1994 08:00:00 GMT\r\n", 200, 200 },
		{ "If-Unmodified-Since: Sun, 06 Nov 1994 07:59:59 GMT\r\n", 412, 200 },
		{ "If-Match: \"v1\"\r\nIf-Unmodified-Since: Sun, 06 Nov 1994 07:59:59 GMT\r\n", 200, 200 },
		{ "If-None-Match: \"v1\"\r\nRange: bytes=0-1\r\n", 304, 304 },
		{ "If-Match: \"v2\"\r\nIf-None-Match: \"v1\"\r\n", 412, 304 },
	};
	struct answer a;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(ask("GET", "/memory", rows[i].lines, &a), rows[i].of_cached);
		assert_true(has(&a, "Cache-Status: weir; hit"));
		forget(&a);
		assert_int_equal(ask("HEAD", "/file", rows[i].lines, &a), rows[i].of_cached);
		forget(&a);
		assert_int_equal(ask("GET", "/queued/memory", rows[i].lines, &a), rows[i].of_queued);
		assert_true(has(&a, "Cache-Status: weir; hit"));
		forget(&a);
		assert_int_equal(ask("HEAD", "/queued/file", rows[i].lines, &a), rows[i].of_queued);
		forget(&a);
	}
}

static void a_304_has_what_updates_a_copy_and_nothing_that_describes_a_body(void **state)
{
	static const char *const there[] = {
		"Date: Sun, 06 Nov 1994 08:49:37 GMT", "ETag: \"v1\"", "Cache-Control: max-age=60", "Vary: Accept",
		"Content-Location: /b", "Expires: Sun, 06 Nov 1994 09:49:37 GMT",
		"Last-Modified: Sun, 06 Nov 1994 08:00:00 GMT", "X-Mine: 1", "Age: 5", "Via: 1.1 weir",
	};
	static const char *const away[] = {
		"Content-Type",     "Content-Length", "Content-Encoding",
		"Content-Language", "Content-Range",  "Accept-Ranges",
	};
	struct answer a;

	assert_int_equal(ask("GET", "/file", "If-None-Match: \"v1\"\r\n", &a), 304);
	for (size_t i = 0; i < ARRAY_LEN(there); i++)
		assert_true(has(&a, there[i]));
	for (size_t i = 0; i < ARRAY_LEN(away); i++)
		assert_int_equal(count_lines(&a, away[i]), 0);
	forget(&a);
}

/* --- one range --- */

static void one_range_is_a_part(void **state)
{
	static const struct {
		const char *range;
		int64_t first, last; /* negative: from the end */
	} rows[] = {
		{ "bytes=0-0", 0, 0 },       { "bytes=0-9", 0, 9 },          { "bytes=7-9990", 7, 9990 },
		{ "bytes=9000-", 9000, -1 }, { "bytes=-1", -1, -1 },         { "bytes=-3000", -3000, -1 },
		{ "bytes=0-", 0, -1 },       { "bytes=5-99999999", 5, -1 },  { "bytes=-99999999", 0, -1 },
		{ "bytes=3-4,99999999-", 3, 4 }, /* of two, one can be had */
	};
	struct answer a;

	for (size_t i = 0; i < ARRAY_LEN(rows) * ARRAY_LEN(places); i++) {
		const int64_t bytes = (int64_t)places[i % ARRAY_LEN(places)].bytes;
		int64_t first = rows[i / ARRAY_LEN(places)].first, last = rows[i / ARRAY_LEN(places)].last;
		char line[100], wanted[100];

		first = first < 0 ? bytes + first : first;
		last = last < 0 ? bytes + last : last;
		(void)snprintf(line, sizeof(line), "Range: %s\r\n", rows[i / ARRAY_LEN(places)].range);
		(void)snprintf(wanted, sizeof(wanted), "Content-Range: bytes %lld-%lld/%lld", (long long)first,
			       (long long)last, (long long)bytes);
		assert_int_equal(ask("GET", places[i % ARRAY_LEN(places)].target, line, &a), 206);
		assert_true(has(&a, wanted));
		assert_true(has(&a, "ETag: \"v1\""));
		assert_true(has(&a, "Content-Type: text/x"));
		assert_bytes(&a, (size_t)first, (size_t)(last - first + 1));
		forget(&a);
	}
}

static void a_range_that_does_not_apply_gives_the_whole(void **state)
{
	static const struct {
		const char *lines;
		int status;
	} rows[] = {
		{ "Range: bytes=0-1\r\nIf-Range: \"v1\"\r\n", 206 },
		{ "Range: bytes=0-1\r\nIf-Range: \"v2\"\r\n", 200 },
		{ "Range: bytes=0-1\r\nIf-Range: W/\"v1\"\r\n", 200 },
		{ "Range: bytes=0-1\r\nIf-Range: Sun, 06 Nov 1994 08:00:00 GMT\r\n", 206 },
		{ "Range: bytes=0-1\r\nIf-Range: Sun, 06 Nov 1994 09:00:00 GMT\r\n", 200 },
		{ "Range: bytes=0-1\r\nIf-Match: \"v1\"\r\n", 206 },
		{ "Range: bytes=99999999-\r\nIf-Range: \"v2\"\r\n", 200 },
		{ "Range: lines=0-1\r\n", 200 },
		{ "Range: bytes=5-1\r\n", 200 },
		{ "Range: bytes=x\r\n", 200 },
		{ "Range: bytes=0-1\r\nRange: bytes=3-4\r\n", 200 },
		{ "Range: bytes=0-5,1-6,2-7,3-8\r\n", 200 }, /* nobody needs this */
	};
	struct answer a;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(ask("GET", "/memory", rows[i].lines, &a), rows[i].status);
		assert_bytes(&a, 0, rows[i].status == 206 ? 2 : MEMORY_BYTES);
		forget(&a);
	}
	assert_int_equal(ask("HEAD", "/memory", "Range: bytes=0-1\r\n", &a), 200); /* RFC 9110 14.2: of GET only */
	assert_int_equal(count_lines(&a, "Content-Range"), 0);
	forget(&a);
}

static void a_range_beyond_the_end_is_416(void **state)
{
	struct answer a;

	assert_int_equal(ask("GET", "/memory", "Range: bytes=10000-\r\n", &a), 416);
	assert_true(has(&a, "Content-Range: bytes */10000"));
	assert_true(has(&a, "Content-Type: application/problem+json"));
	assert_true(has(&a, "Cache-Status: weir; hit"));
	assert_non_null(strstr(a.body.data, "10000 bytes"));
	forget(&a);
	assert_int_equal(ask("GET", "/file", "Range: bytes=-0\r\n", &a), 416);
	forget(&a);
}

/* --- several --- */

static void check_two_parts(const char *target, size_t bytes)
{
	struct buf wanted = BUF_EMPTY;
	struct answer a;
	char boundary[64], type[120];
	const char *at;

	assert_int_equal(ask("GET", target, "Range: bytes=5-6,-4\r\n", &a), 206);
	at = field(&a, "boundary=");
	assert_non_null(at);
	assert_int_equal(sscanf(at, "boundary=%60s", boundary), 1);
	(void)snprintf(type, sizeof(type), "Content-Type: multipart/byteranges; boundary=%s", boundary);
	assert_true(has(&a, type));
	assert_int_equal(count_lines(&a, "Content-Type"), 1);
	assert_int_equal(count_lines(&a, "Content-Range"), 0);
	assert_true(has(&a, "ETag: \"v1\""));
	assert_true(has(&a, "Age: 5"));
	buf_addf(&wanted, "--%s\r\nContent-Type: text/x\r\nContent-Range: bytes 5-6/%zu\r\n\r\n%.2s\r\n", boundary,
		 bytes, content.data + 5);
	buf_addf(&wanted, "--%s\r\nContent-Type: text/x\r\nContent-Range: bytes %zu-%zu/%zu\r\n\r\n%.4s\r\n--%s--\r\n",
		 boundary, bytes - 4, bytes - 1, bytes, content.data + bytes - 4, boundary);
	assert_string_equal(a.body.data, wanted.data);
	forget(&a);
	buf_fini(&wanted);
}

static void several_ranges_are_the_parts_of_one_answer(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		check_two_parts(places[i].target, places[i].bytes);
}

static void more_than_one_likes_to_hold_in_memory_is_sent_whole(void **state)
{
	struct answer a;

	assert_int_equal(ask("GET", "/file", "Range: bytes=0-999999,2000000-2999999\r\n", &a), 200);
	assert_bytes(&a, 0, FILE_BYTES);
	forget(&a);
	assert_int_equal(ask("GET", "/file", "Range: bytes=0-1999999\r\n", &a), 206); /* one range has no limit */
	assert_bytes(&a, 0, 2000000);
	forget(&a);
}

/* --- what is still coming --- */

static int begin(const char *target, const char *lines)
{
	char request[200];
	int fd = dial();

	(void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", target, lines);
	say(fd, request);
	return fd;
}

static void end(int fd, int status, size_t from, size_t n)
{
	struct answer a;

	assert_int_equal(hear(fd, &a, true), status);
	assert_false(a.cut);
	assert_bytes(&a, from, n);
	assert_int_equal(count_lines(&a, "Content-Range"), status == 206);
	forget(&a);
	close(fd);
}

static void what_is_still_coming_is_sent_as_it_comes(void **state)
{
	struct answer a;
	int whole, part, unknown, several, before;

	assert_int_equal(spool_append(growing, content.data, 5000), 0);
	assert_int_equal(ask("HEAD", "/announced", "", &a), 200);
	assert_true(has(&a, "Content-Length: 10000"));
	assert_true(has(&a, "Accept-Ranges: none")); /* as upstream says: it may be nothing that is kept */
	forget(&a);
	assert_int_equal(ask("HEAD", "/coming", "", &a), 200);
	assert_int_equal(count_lines(&a, "Content-Length"), 0);
	forget(&a);
	assert_int_equal(ask("GET", "/coming", "If-None-Match: \"v1\"\r\n", &a), 304);
	forget(&a);
	assert_int_equal(ask("GET", "/announced", "Range: bytes=10-4009\r\n", &a), 206); /* it is there already */
	assert_bytes(&a, 10, 4000);
	forget(&a);
	before = atomic_load(&served);
	whole = begin("/announced", "");
	part = begin("/announced", "Range: bytes=4000-8999\r\n");
	unknown = begin("/coming", "Range: bytes=4000-8999\r\n");
	several = begin("/announced", "Range: bytes=0-0,8000-8001\r\n");
	wait_for(&served, before + 4); /* what is sent is decided */
	assert_int_equal(spool_append(growing, content.data + 5000, 5000), 0);
	end(part, 206, 4000, 5000);
	spool_complete(growing);
	end(whole, 200, 0, MEMORY_BYTES);
	end(unknown, 200, 0, MEMORY_BYTES);
	end(several, 200, 0, MEMORY_BYTES);
	assert_int_equal(ask("GET", "/coming", "Range: bytes=-5\r\n", &a), 206); /* its end is known now */
	assert_bytes(&a, MEMORY_BYTES - 5, 5);
	forget(&a);
}

static void without_a_worker_several_ranges_of_a_file_are_the_whole(void **state)
{
	struct answer a;

	assert_int_equal(pool_drain(site.pool, LIMIT_MS), 0); /* it takes no more jobs; so this test comes last */
	assert_int_equal(ask("GET", "/file", "Range: bytes=0-1,5-6\r\n", &a), 200);
	check_lines_of_the_whole(&a, FILE_BYTES);
	assert_bytes(&a, 0, FILE_BYTES);
	forget(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_whole_comes_with_its_lines),
		cmocka_unit_test(other_statuses_have_no_conditions_and_no_ranges),
		cmocka_unit_test(conditions_are_judged_in_their_order),
		cmocka_unit_test(a_304_has_what_updates_a_copy_and_nothing_that_describes_a_body),
		cmocka_unit_test(one_range_is_a_part),
		cmocka_unit_test(a_range_that_does_not_apply_gives_the_whole),
		cmocka_unit_test(a_range_beyond_the_end_is_416),
		cmocka_unit_test(several_ranges_are_the_parts_of_one_answer),
		cmocka_unit_test(more_than_one_likes_to_hold_in_memory_is_sent_whole),
		cmocka_unit_test(what_is_still_coming_is_sent_as_it_comes),
		cmocka_unit_test(without_a_worker_several_ranges_of_a_file_are_the_whole),
	};

	return cmocka_run_group_tests(tests, open_stage, close_stage);
}
