/* inflate_test.c -- gzip bodies in pieces of every size, bombs, damage, and bytes after the end. */
#include "io/inflate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <zlib.h>

#include <cmocka.h>

#include "base/err.h"

static struct buf packed = BUF_EMPTY;

static void pack(const void *p, size_t n, int window)
{
	z_stream z = { 0 };

	buf_reset(&packed);
	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (Bytef *)(uintptr_t)p; /* only read */
	z.avail_in = (uInt)n;
	z.next_out = (Bytef *)buf_reserve(&packed, n + 1000);
	z.avail_out = (uInt)n + 1000;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	packed.len = z.total_out;
	deflateEnd(&z);
}

/* Feeds `packed` in pieces; the first failure, or that of finish. */
static int feed(size_t piece, uint64_t most, struct buf *out)
{
	struct inflate *i = inflate_new(most);
	int r = 0;

	for (size_t at = 0; at < packed.len && r == 0; at += piece)
		r = inflate_feed(i, packed.data + at, packed.len - at < piece ? packed.len - at : piece, out);
	if (r == 0)
		r = inflate_finish(i);
	else
		assert_int_equal(inflate_finish(i), r); /* it is remembered */
	inflate_free(&i);
	assert_null(i);
	return r;
}

static void pieces_of_every_size_give_the_same(void **state)
{
	char text[2000];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i * i % 23);
	pack(text, sizeof(text), 31);
	for (size_t piece = 1; piece <= packed.len; piece++) {
		struct buf out = BUF_EMPTY;

		assert_int_equal(feed(piece, sizeof(text), &out), 0);
		assert_int_equal(out.len, sizeof(text));
		assert_memory_equal(out.data, text, sizeof(text));
		buf_fini(&out);
	}
}

static void an_empty_body_is_a_body(void **state)
{
	struct buf out = BUF_EMPTY;

	pack("", 0, 31);
	assert_int_equal(feed(100, 0, &out), 0);
	assert_int_equal(out.len, 0);
	buf_fini(&out);
}

static void a_bomb_is_refused_and_not_stored(void **state)
{
	char *zeros = xcalloc(1, 10000000);
	struct buf out = BUF_EMPTY, small = BUF_LIMIT(500);

	pack(zeros, 10000000, 31);
	assert_true(packed.len < 20000);
	assert_int_equal(feed(SIZE_MAX / 2, 5000, &out), WEIR_E_TOO_LARGE);
	assert_true(out.len <= 5000);
	assert_int_equal(feed(7, 10000000, &small), WEIR_E_TOO_LARGE); /* the buffer's own limit */
	assert_true(small.len <= 500);
	buf_fini(&small);
	buf_reset(&out);
	assert_int_equal(feed(1000, 10000000, &out), 0); /* exactly the limit is within it */
	assert_int_equal(out.len, 10000000);
	buf_reset(&out);
	assert_int_equal(feed(1000, 9999999, &out), WEIR_E_TOO_LARGE);
	buf_fini(&out);
	free(zeros);
}

static void damage_is_noticed(void **state)
{
	struct buf out = BUF_EMPTY;

	pack("hello hello hello", 17, 31);
	for (size_t i = 0; i < packed.len; i++) {
		if (i >= 4 && i <= 9)
			continue; /* time, flags for the level, operating system: not checked by anybody */
		packed.data[i] ^= 0x55;
		buf_reset(&out);
		assert_int_equal(feed(3, 1000, &out), WEIR_E_PARSE);
		packed.data[i] ^= 0x55;
	}
	for (packed.len--; packed.len; packed.len--) {
		buf_reset(&out);
		assert_int_equal(feed(5, 1000, &out), WEIR_E_PARSE); /* cut short */
	}
	buf_fini(&out);
}

static void only_one_gzip_member_is_taken(void **state)
{
	struct buf out = BUF_EMPTY;
	char *copy;

	pack("abc", 3, 31);
	buf_add_char(&packed, 'x');
	assert_int_equal(feed(100, 1000, &out), WEIR_E_PARSE);
	packed.len--;
	copy = slice_dup(buf_slice(&packed));
	buf_add(&packed, copy, packed.len); /* two members */
	free(copy);
	assert_int_equal(feed(1, 1000, &out), WEIR_E_PARSE);
	pack("abc", 3, 15); /* zlib's own format is not gzip */
	assert_int_equal(feed(100, 1000, &out), WEIR_E_PARSE);
	buf_fini(&out);
}

static void room_bounds_each_step(void **state)
{
	char *text = xcalloc(1, 100000);
	struct inflate *i = inflate_new(100000);
	struct buf out = BUF_EMPTY;
	size_t at = 0, taken;

	pack(text, 100000, 31);
	while (at < packed.len) {
		size_t before = out.len;

		assert_int_equal(inflate_feed_some(i, packed.data + at, packed.len - at, 1000, &out, &taken), 0);
		assert_true(out.len - before <= 1000);
		assert_true(taken > 0 || out.len > before);
		at += taken;
	}
	assert_int_equal(inflate_finish(i), 0);
	assert_int_equal(out.len, 100000);
	inflate_free(&i);
	buf_fini(&out);
	free(text);
}

static int teardown(void **state)
{
	buf_fini(&packed);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_of_every_size_give_the_same),
		cmocka_unit_test(an_empty_body_is_a_body),
		cmocka_unit_test(a_bomb_is_refused_and_not_stored),
		cmocka_unit_test(damage_is_noticed),
		cmocka_unit_test(only_one_gzip_member_is_taken),
		cmocka_unit_test(room_bounds_each_step),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
