/* intake_test.c -- packs of honest and of hostile senders against a real git (invariant 11). */
#include "git/intake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"
#include "io/file.h"

static char dir[64];

/* Runs a shell script in the test's folder; $S is the sender's repository, $R the receiver's. */
static void sh(const char *script)
{
	char *line = xstrf(
		"cd %s && export GIT_CONFIG_NOSYSTEM=1 HOME=%s S=%s/s R=%s/r "
		"GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b && set -e && %s",
		dir, dir, dir, dir, script);

	assert_int_equal(system(line), 0);
	free(line);
}

static int setup(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/weir-intake-XXXXXX");
	assert_non_null(mkdtemp(dir));
	sh("git init -q -b main $S && git init -q --bare -b main $R"
	   " && cd $S && echo one >a && mkdir d && echo two >d/b && git add . && git commit -qm first && git rev-parse HEAD >../tip");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return tree_remove(dir);
}

static void read_file(const char *name, struct buf *out)
{
	char *path = xstrf("%s/%s", dir, name);

	assert_int_equal(file_read_all(path, 1 << 20, out), 0);
	free(path);
}

static void read_tip(const char *name, struct oid_list *ret)
{
	struct buf hex = BUF_EMPTY;
	enum oid_format f = OID_SHA1;
	struct oid id;

	read_file(name, &hex);
	assert_int_equal(oid_parse((struct slice){ hex.data, 40 }, &f, &id), 0);
	oid_list_add(ret, &id);
	buf_fini(&hex);
}

/* Takes in the file `pack` with the tip in file `tip`, in pieces of `step` bytes. */
static int take(const char *pack, const char *tip, size_t step, uint64_t most, struct buf *why)
{
	char *git_dir = xstrf("%s/r", dir);
	struct intake_options o = { .git_dir = git_dir, .format = OID_SHA1, .most_bytes = most };
	struct oid_list tips = { 0 };
	struct buf bytes = BUF_EMPTY;
	struct intake *in = NULL;
	int r = 0;

	read_file(pack, &bytes);
	read_tip(tip, &tips);
	assert_int_equal(intake_begin(&o, &in), 0);
	for (size_t at = 0; r == 0 && at < bytes.len; at += step)
		r = intake_write(in, bytes.data + at, bytes.len - at < step ? bytes.len - at : step);
	if (r == 0 || r == WEIR_E_CHILD)
		r = intake_finish(in, &tips, why);
	intake_free(&in);
	assert_null(in);
	oid_list_fini(&tips);
	buf_fini(&bytes);
	free(git_dir);
	return r;
}

static void assert_nothing_came_in(void)
{
	sh("test -z \"$(find $R/objects -type f)\" && test -z \"$(find $R/objects -name 'incoming-*')\"");
}

static void a_whole_pack_comes_in_and_can_be_read(void **state)
{
	struct buf why = BUF_EMPTY;

	(void)state;
	sh("cd $S && git rev-list --objects --all | git pack-objects -q --stdout >../p");
	assert_int_equal(take("p", "tip", 7, 0, &why), 0);
	sh("git -C $R cat-file -e $(cat tip) && git -C $R fsck --full --strict && test -z \"$(find $R/objects -name 'incoming-*')\"");
	buf_fini(&why);
}

static void a_thin_pack_is_completed_from_what_is_here(void **state)
{
	struct buf why = BUF_EMPTY;

	(void)state;
	sh("cd $S && seq 1 2000 >big && git add big && git commit -qm big && git rev-parse HEAD >../base"
	   " && git rev-list --objects --all | git pack-objects -q --stdout >../p0"
	   " && echo more >>big && git commit -qam more && git rev-parse HEAD >../tip"
	   " && printf '%s\\n^%s\\n' $(git rev-parse HEAD HEAD^) | git pack-objects -q --revs --thin --stdout >../p");
	assert_int_equal(take("p0", "base", 4096, 0, &why), 0);
	sh("git -C $R update-ref refs/heads/main $(cat base)");
	assert_int_equal(take("p", "tip", 4096, 0, &why), 0);
	sh("git -C $R fsck --full --strict $(cat tip)");
	buf_fini(&why);
}

static void a_pack_without_an_object_that_it_needs_is_refused(void **state)
{
	struct buf why = BUF_EMPTY;

	(void)state;
	sh("cd $S && git rev-list --objects --all | cut -c1-40 | grep -v $(git rev-parse HEAD:d/b) | git pack-objects -q --stdout >../p");
	assert_int_equal(take("p", "tip", 4096, 0, &why), WEIR_E_DAMAGED);
	assert_true(why.len > 0);
	assert_nothing_came_in();
	buf_fini(&why);
}

static void a_pack_that_lacks_the_tip_is_refused(void **state)
{
	struct buf why = BUF_EMPTY;

	(void)state;
	sh("cd $S && git rev-parse HEAD:a | git pack-objects -q --stdout >../p");
	assert_int_equal(take("p", "tip", 4096, 0, &why), WEIR_E_DAMAGED);
	assert_nothing_came_in();
	buf_fini(&why);
}

static void a_wrong_checksum_is_refused(void **state)
{
	struct buf why = BUF_EMPTY;

	(void)state;
	sh("cd $S && git rev-list --objects --all | git pack-objects -q --stdout >../p"
	   " && n=$(stat -c %s ../p) && printf x | dd of=../p bs=1 seek=$((n - 3)) conv=notrunc status=none");
	assert_int_equal(take("p", "tip", 4096, 0, &why), WEIR_E_DAMAGED);
	assert_nothing_came_in();
	buf_fini(&why);
}

static void a_pack_cut_short_is_refused(void **state)
{
	struct buf why = BUF_EMPTY;

	(void)state;
	sh("cd $S && git rev-list --objects --all | git pack-objects -q --stdout >../p && truncate -s -30 ../p");
	assert_int_equal(take("p", "tip", 4096, 0, &why), WEIR_E_DAMAGED);
	assert_nothing_came_in();
	buf_fini(&why);
}

static void bytes_that_are_no_pack_are_refused(void **state)
{
	struct buf why = BUF_EMPTY;

	(void)state;
	sh("printf 'HTTP/1.1 200 OK, surprise' >p");
	assert_int_equal(take("p", "tip", 4096, 0, &why), WEIR_E_DAMAGED);
	assert_nothing_came_in();
	buf_fini(&why);
}

static void a_tree_that_would_write_into_dot_git_is_refused(void **state)
{
	static const char *const names[] = { ".git", ".GIT", "..", ".", "git~1", ".git " };
	struct buf why = BUF_EMPTY;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names) - 1; i++) {
		char *script = xstrf(
			"cd $S && b=$(git rev-parse HEAD:a) && t=$( (printf '100644 %s\\0' && echo $b | perl -ne "
			"'chomp; print pack(\"H*\", $_)') | git hash-object -t tree -w --literally --stdin)"
			" && git ls-tree $t && git commit-tree -m evil $t >../evil"
			" && git rev-list --objects $(cat ../evil) | cut -c1-40 | git pack-objects -q --stdout >../p",
			names[i]);

		sh(script);
		buf_reset(&why);
		assert_int_equal(take("p", "evil", 4096, 0, &why), WEIR_E_DAMAGED);
		assert_nothing_came_in();
		free(script);
	}
	buf_fini(&why);
}

static void what_old_histories_contain_is_forgiven(void **state)
{
	struct buf why = BUF_EMPTY;

	(void)state;
	/* A zero-padded mode, a bad time zone and a missing space before the mail address. */
	sh("cd $S && b=$(git rev-parse HEAD:a) && s=$(git rev-parse HEAD:d)"
	   " && t=$( (printf '040000 d\\0' && echo $s | perl -ne 'chomp; print pack(\"H*\", $_)')"
	   " | git hash-object -t tree -w --literally --stdin) && git ls-tree $t"
	   " && printf 'tree %s\\nauthor a<a@b> 1 +51800\\ncommitter a <a@b> 1 +0000\\n\\nold\\n' $t"
	   " | git hash-object -t commit -w --literally --stdin >../old"
	   " && git rev-list --objects $(cat ../old) | cut -c1-40 | git pack-objects -q --stdout >../p");
	assert_int_equal(take("p", "old", 4096, 0, &why), 0);
	buf_fini(&why);
}

static void a_pack_above_the_limit_is_refused(void **state)
{
	struct buf why = BUF_EMPTY;

	(void)state;
	sh("cd $S && head -c 300000 /dev/urandom >r && git add r && git commit -qm r && git rev-parse HEAD >../tip"
	   " && git rev-list --objects --all | git pack-objects -q --stdout >../p");
	assert_int_equal(take("p", "tip", 4096, 100000, &why), WEIR_E_DAMAGED);
	assert_non_null(strstr(why.data, "maximum"));
	assert_nothing_came_in();
	buf_fini(&why);
}

static void an_empty_pack_leaves_no_file(void **state)
{
	struct buf why = BUF_EMPTY;

	(void)state;
	sh("cd $S && git rev-list --objects --all | git pack-objects -q --stdout >../p0 && git pack-objects -q --stdout </dev/null >../p");
	assert_int_equal(take("p0", "tip", 4096, 0, &why), 0);
	sh("ls $R/objects/pack | wc -l >before");
	assert_int_equal(take("p", "tip", 4096, 0, &why), 0);
	sh("test $(ls $R/objects/pack | wc -l) = $(cat before)");
	buf_fini(&why);
}

static void what_a_crash_left_is_swept(void **state)
{
	char *git_dir = xstrf("%s/r", dir);

	(void)state;
	sh("mkdir -p $R/objects/incoming-0123/pack && echo half >$R/objects/incoming-0123/pack/tmp_pack_x");
	intake_sweep(git_dir);
	assert_nothing_came_in();
	free(git_dir);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_whole_pack_comes_in_and_can_be_read),
		TEST(a_thin_pack_is_completed_from_what_is_here),
		TEST(a_pack_without_an_object_that_it_needs_is_refused),
		TEST(a_pack_that_lacks_the_tip_is_refused),
		TEST(a_wrong_checksum_is_refused),
		TEST(a_pack_cut_short_is_refused),
		TEST(bytes_that_are_no_pack_are_refused),
		TEST(a_tree_that_would_write_into_dot_git_is_refused),
		TEST(what_old_histories_contain_is_forgiven),
		TEST(a_pack_above_the_limit_is_refused),
		TEST(an_empty_pack_leaves_no_file),
		TEST(what_a_crash_left_is_swept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
