/* arena_test.c */
#include "base/arena.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/blob.h"

static void an_arena_hands_out_aligned_memory_up_to_its_ceiling(void **state)
{
	struct arena a;
	size_t given = 0;

	(void)state;
	arena_init(&a, 100000);
	for (size_t n = 1; ; n = n * 3 % 5000 + 1) {
		char *p = arena_alloc(&a, n);

		if (!p)
			break;
		assert_int_equal((uintptr_t)p % alignof(max_align_t), 0);
		memset(p, 0x5a, n);
		given += n;
	}
	assert_true(given <= 100000 && given > 90000);
	assert_null(arena_alloc(&a, SIZE_MAX));
	arena_fini(&a);
	assert_string_equal(arena_dup(&a, SLICE_LIT("again")), "again");
	arena_fini(&a);
}

static void a_blob_lives_until_its_last_reference(void **state)
{
	struct buf b = BUF_EMPTY;
	struct blob *one, *two;

	(void)state;
	buf_add_str(&b, "bytes");
	one = blob_new_take(&b);
	assert_int_equal(b.len, 0);
	two = blob_ref(one);
	blob_unref(&one);
	assert_null(one);
	assert_true(slice_eq_str(blob_slice(two), "bytes"));
	blob_unref(&two);
	blob_unref(&two);
	one = blob_new_static("for ever", 8);
	two = blob_new_static(blob_slice(one).p, 3);
	assert_ptr_equal(blob_slice(one).p, blob_slice(two).p); /* nothing was copied */
	blob_unref(&one);
	assert_true(slice_eq_str(blob_slice(two), "for"));
	blob_unref(&two);
	two = blob_new_copy(NULL, 0);
	assert_int_equal(blob_slice(two).n, 0);
	blob_unref(&two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_arena_hands_out_aligned_memory_up_to_its_ceiling),
		cmocka_unit_test(a_blob_lives_until_its_last_reference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
