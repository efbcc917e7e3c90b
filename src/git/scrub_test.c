/* scrub_test.c -- packs made by git, then bent. */
#include "git/scrub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "io/file.h"

static char dir[64];

static void sh(const char *script)
{
	char *line = xstrf("cd %s && export GIT_CONFIG_NOSYSTEM=1 HOME=%s GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b "
			   "GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b && set -e && %s", dir, dir, script);

	assert_int_equal(system(line), 0);
	free(line);
}

static void make(const char *format)
{
	char *script = xstrf(
		"rm -rf r && git init -q --object-format=%s r && cd r && seq 1 5000 >a && git add a && git commit -qm a "
		"&& git repack -adq && chmod -R u+w .git",
		format);

	sh(script);
	free(script);
}

static int setup(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/weir-scrub-XXXXXX");
	assert_non_null(mkdtemp(dir));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return tree_remove(dir);
}

static int scrub(enum oid_format f, struct buf *why)
{
	char *git_dir = xstrf("%s/r/.git", dir);
	int r = scrub_packs(git_dir, f, NULL, why);

	free(git_dir);
	return r;
}

static void whole_packs_are_found_whole(void **state)
{
	struct buf why = BUF_EMPTY;

	(void)state;
	make("sha1");
	assert_int_equal(scrub(OID_SHA1, &why), 0);
	make("sha256");
	assert_int_equal(scrub(OID_SHA256, &why), 0);
	assert_int_equal(why.len, 0);
	buf_fini(&why);
}

static void a_flipped_byte_anywhere_is_found(void **state)
{
	static const char *const suffixes[] = { "pack", "idx" };
	struct buf why = BUF_EMPTY;

	(void)state;
	for (size_t i = 0; i < 2; i++)
		for (int place = 0; place < 3; place++) {
			char *script = xstrf(
				"f=$(ls r/.git/objects/pack/*.%s) && n=$(stat -c %%s $f) && at=$((n * %d / 2 - %d)) && perl -e '"
				"open F, \"+<\", shift; seek F, shift, 0; read F, $b, 1; seek F, -1, 1; print F chr(ord($b) ^ 1)' "
				"$f $at",
				suffixes[i], place, place);

			make("sha1");
			sh(script);
			buf_reset(&why);
			assert_int_equal(scrub(OID_SHA1, &why), WEIR_E_DAMAGED);
			assert_non_null(strstr(why.data, suffixes[i]));
			free(script);
		}
	buf_fini(&why);
}

static void a_file_cut_short_or_empty_is_found(void **state)
{
	struct buf why = BUF_EMPTY;

	(void)state;
	make("sha1");
	sh("truncate -s -1 r/.git/objects/pack/*.pack");
	assert_int_equal(scrub(OID_SHA1, &why), WEIR_E_DAMAGED);
	make("sha1");
	sh("truncate -s 0 r/.git/objects/pack/*.idx");
	assert_int_equal(scrub(OID_SHA1, &why), WEIR_E_DAMAGED);
	buf_fini(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(whole_packs_are_found_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(a_flipped_byte_anywhere_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_cut_short_or_empty_is_found, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
