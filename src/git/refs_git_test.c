/* refs_git_test.c -- a snapshot answers byte by byte as git upload-pack does for the same refs.
 *
 * Makes small repositories with git, SHA-1 and SHA-256, takes a whole listing of each into a snapshot, and compares the
 * answers of both for every combination of arguments. */
#include "git/refs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <unistd.h>

#include "base/err.h"
#include "base/obj.h"
#include "proto/advert.h"

static char *workdir;

/* Runs a line of shell in the work directory; its output, and that it ended well. */
static void shell(const char *line, struct buf *out)
{
	char *whole = xstrf("set -e; cd '%s'; %s", workdir, line);
	char part[4096];
	size_t n;
	FILE *f = popen(whole, "re");

	assert_non_null(f);
	while ((n = fread(part, 1, sizeof(part), f)) > 0)
		if (out)
			buf_add(out, part, n);
	if (pclose(f) != 0)
		fail_msg("failed: %s", line);
	free(whole);
}

static int set_up(void **state)
{
	char path[] = "/tmp/weir-refs-XXXXXX";

	(void)state;
	if (!mkdtemp(path))
		return -1;
	workdir = xstrdup(path);
	setenv("GIT_CONFIG_NOSYSTEM", "1", 1);
	setenv("GIT_CONFIG_GLOBAL", "/dev/null", 1);
	setenv("HOME", workdir, 1);
	setenv("LC_ALL", "C", 1);
	setenv("GIT_AUTHOR_NAME", "a", 1);
	setenv("GIT_AUTHOR_EMAIL", "a@example.com", 1);
	setenv("GIT_COMMITTER_NAME", "a", 1);
	setenv("GIT_COMMITTER_EMAIL", "a@example.com", 1);
	unsetenv("GIT_DIR");
	unsetenv("GIT_WORK_TREE");
	unsetenv("GIT_INDEX_FILE");
	unsetenv("GIT_OBJECT_DIRECTORY");
	unsetenv("GIT_PROTOCOL");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	shell("rm -rf -- \"$PWD\"", NULL);
	free(workdir);
	return 0;
}

struct sample {
	const char *name, *script; /* the script fills the bare repository that is the current folder */
	bool without_refs;
};

#define FILL \
	"t=$(git hash-object -t tree -w /dev/null); c=$(git commit-tree -m one $t); "\
	"d=$(git commit-tree -m two -p $c $t);" \
	"git update-ref refs/heads/main $d; git update-ref refs/heads/a $c; git update-ref refs/heads/a-b $c;" \
	"git update-ref refs/heads/ab/c $d; git update-ref refs/heads/a.b $c; git update-ref refs/heads/ab.c $c;" \
	"git update-ref refs/pull/1/head $d; git update-ref refs/notes/commits $c; git update-ref refs/other $c;" \
	"git config advice.nestedTag false; git tag light $c; git tag -a -m x heavy $c;" \
	"git tag -a -m x heavier heavy; git tag -a -m x treetag $t;"

static const struct sample samples[] = {
	{ "usual", FILL "git symbolic-ref HEAD refs/heads/main", false },
	{ "packed", FILL "git symbolic-ref HEAD refs/heads/main; git pack-refs --all; git update-ref refs/heads/new $c",
	  false },
	{ "symrefs",
	  FILL "git symbolic-ref HEAD refs/heads/main; git symbolic-ref refs/remotes/origin/HEAD refs/heads/a;"
	       "git symbolic-ref refs/heads/link refs/tags/heavy",
	  false },
	{ "detached", FILL "git update-ref --no-deref HEAD $c", false },
	{ "unborn", FILL "git symbolic-ref HEAD refs/heads/nowhere", false },
	{ "empty", "git symbolic-ref HEAD refs/heads/start", true },
};

static const struct {
	const char *items[6];
} prefix_sets[] = {
	{ { NULL } },
	{ { "HEAD", "refs/heads/", "refs/tags/" } },
	{ { "refs/tags/heavy", "refs/tags/heav" } },
	{ { "refs/heads/a" } },
	{ { "refs/heads/a/", "refs/heads/ab/", "refs/heads/main", "main", "refs/main" } },
	{ { "refs/pull/", "refs/heads/ab", "HE" } },
	{ { "refs/nothing" } },
	{ { "", "refs/heads/" } },
	{ { "refs" } },
};

static void make_repository(const struct sample *s, enum oid_format f)
{
	char *line = xstrf("rm -rf repo; git init -q --bare --object-format=%s repo; cd repo; %s", oid_format_text(f),
			   s->script);

	shell(line, NULL);
	free(line);
}

/* What git says to a question, in the folder `repo`. */
static void ask_git(const char *repo, enum oid_format f, const struct lsrefs_args *args, struct buf *answer)
{
	struct buf question = BUF_EMPTY;
	char *path = xstrf("%s/question", workdir), *line;
	FILE *out = fopen(path, "we");

	assert_non_null(out);
	lsrefs_add_request(&question, args, f, "test");
	assert_int_equal(fwrite(question.data, 1, question.len, out), question.len);
	assert_int_equal(fclose(out), 0);
	line = xstrf("GIT_PROTOCOL=version=2 git upload-pack --stateless-rpc %s <question", repo);
	shell(line, answer);
	free(line);
	free(path);
	buf_fini(&question);
}

static struct refs *learn(const char *repo, enum oid_format f)
{
	struct lsrefs_args all = { .peel = true, .symrefs = true, .unborn = true };
	struct refs_listing *l = refs_listing_new(f);
	struct buf answer = BUF_EMPTY;
	struct lsrefs_parser p;
	struct refs *r;

	ask_git(repo, f, &all, &answer);
	lsrefs_parser_init(&p, f, refs_listing_add, l);
	assert_int_equal(lsrefs_parser_feed(&p, buf_slice(&answer)), 0);
	assert_int_equal(lsrefs_parser_finish(&p), 0);
	assert_int_equal(p.ignored, 0);
	lsrefs_parser_fini(&p);
	r = refs_merge(NULL, l, (struct slices){ 0 }, 1);
	refs_listing_free(l);
	buf_fini(&answer);
	return r;
}

/* The same snapshot with all that was seen being servable. */
static struct refs *all_servable(const struct refs *r)
{
	struct lsref *items = xcalloc(refs_count(r), sizeof(*items));
	struct refs_info info;
	struct refs *made;
	size_t n = 0;

	for (size_t i = 0; i < refs_count(r); i++) {
		refs_at(r, i, &info);
		if (info.seen_unborn)
			continue;
		items[n] = (struct lsref){ .name = info.name, .oid = *info.seen, .symref = info.seen_symref };
		items[n].has_peeled = info.seen_peeled != NULL;
		if (info.seen_peeled)
			items[n].peeled = *info.seen_peeled;
		n++;
	}
	made = refs_set_servable(r, items, n, true);
	free(items);
	return made;
}

static void compare_answers(const char *what, const struct refs *r, enum refs_view v, const char *repo,
			    enum oid_format f)
{
	for (size_t set = 0; set < ARRAY_LEN(prefix_sets); set++) {
		for (unsigned flags = 0; flags < 8; flags++) {
			struct slice items[6];
			struct lsrefs_args args = { .peel = flags & 1, .symrefs = flags & 2, .unborn = flags & 4 };
			struct buf ours = BUF_EMPTY, gits = BUF_EMPTY;

			args.prefixes = (struct slices){ items, 0 };
			while (args.prefixes.count < 6 && prefix_sets[set].items[args.prefixes.count]) {
				items[args.prefixes.count] = slice_str(prefix_sets[set].items[args.prefixes.count]);
				args.prefixes.count++;
			}
			ask_git(repo, f, &args, &gits);
			refs_answer_v2(r, &args, v, &ours);
			if (!slice_eq(buf_slice(&ours), buf_slice(&gits)))
				fail_msg("%s, prefix set %zu, flags %u: got\n%s\ngit says\n%s", what, set, flags,
					 ours.data, gits.data);
			buf_fini(&ours);
			buf_fini(&gits);
		}
	}
}

static void ls_refs_is_answered_as_git_does(void **state)
{
	(void)state;
	for (enum oid_format f = OID_SHA1; f <= OID_SHA256; f++) {
		for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
			struct refs *r, *served;

			make_repository(&samples[i], f);
			r = learn("repo", f);
			assert_int_equal(refs_listed_count(r, REFS_SEEN) == 0, samples[i].without_refs);
			compare_answers(samples[i].name, r, REFS_SEEN, "repo", f);
			served = all_servable(r);
			if (f == OID_SHA1)    /* the views differ only in where values come from */
				compare_answers(samples[i].name, served, REFS_SERVABLE, "repo", f);
			refs_unref(&r);
			refs_unref(&served);
		}
	}
}

/* One line for each packet; the capabilities of the first left out, but for symref. */
static void text_of_v0(struct slice wire, struct buf *out)
{
	struct slice line, caps;
	struct pkt pkt;

	while (pkt_next(&wire, &pkt) == 1) {
		if (pkt.type == PKT_FLUSH) {
			buf_add_str(out, "flush\n");
			continue;
		}
		caps = pkt_text(&pkt);
		(void)slice_cut(&caps, '\0', &line);
		buf_add_slice(out, line);
		while (caps.n) {
			(void)slice_cut(&caps, ' ', &line);
			if (slice_starts(line, "symref=")) {
				buf_add_char(out, ' ');
				buf_add_slice(out, line);
			}
		}
		buf_add_char(out, '\n');
	}
	assert_int_equal(wire.n, 0);
}

static void compare_v0(const struct sample *s, const struct refs *r, int version)
{
	struct buf gits = BUF_EMPTY, ours = BUF_EMPTY, gits_text = BUF_EMPTY, our_text = BUF_EMPTY;
	char *line = xstrf("GIT_PROTOCOL=version=%d git upload-pack --stateless-rpc --advertise-refs repo", version);

	shell(line, &gits);
	free(line);
	refs_advertise_v0(r, version, SLICE_LIT("ofs-delta agent=x"), REFS_SEEN, &ours);
	text_of_v0(buf_slice(&gits), &gits_text);
	text_of_v0(buf_slice(&ours), &our_text);
	if (s->without_refs) {
		/* git before 2.42 says nothing of its capabilities here, later ones say them as we do. */
		assert_non_null(strstr(our_text.data, " capabilities^{}\nflush\n"));
		assert_non_null(strstr(gits_text.data, "flush\n"));
	} else if (!slice_eq(buf_slice(&our_text), buf_slice(&gits_text))) {
		fail_msg("%s, version %d: got\n%s\ngit says\n%s", s->name, version, our_text.data, gits_text.data);
	}
	buf_fini(&gits);
	buf_fini(&ours);
	buf_fini(&gits_text);
	buf_fini(&our_text);
}

static void older_clients_are_told_what_git_tells_them(void **state)
{
	(void)state;
	for (enum oid_format f = OID_SHA1; f <= OID_SHA256; f++) {
		for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
			struct refs *r;

			make_repository(&samples[i], f);
			r = learn("repo", f);
			compare_v0(&samples[i], r, 0);
			compare_v0(&samples[i], r, 1);
			refs_unref(&r);
		}
	}
}

static int hear(void *arg, const struct lsref *ref)
{
	return refs_listing_add(arg, ref);
}

static void an_older_upstreams_advertisement_makes_the_same_snapshot(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
		struct refs_listing *l = refs_listing_new(OID_SHA1);
		struct buf wire = BUF_EMPTY;
		struct refs *v2, *v0;
		struct advert a;

		if (strcmp(samples[i].name, "symrefs") == 0 || strcmp(samples[i].name, "unborn") == 0 ||
		    samples[i].without_refs) {
			refs_listing_free(l);    /* v0 tells of no symbolic ref but HEAD, and of no unborn one */
			continue;
		}
		make_repository(&samples[i], OID_SHA1);
		v2 = learn("repo", OID_SHA1);
		shell("git upload-pack --advertise-refs repo", &wire);
		advert_init(&a, hear, l);
		for (size_t at = 0; at < wire.len; at++)
			assert_int_equal(advert_feed(&a, (struct slice){ wire.data + at, 1 }), 0);
		assert_int_equal(advert_finish(&a), 0);
		v0 = refs_merge(NULL, l, (struct slices){ 0 }, 1);
		assert_false(refs_seen_differs(v0, v2));
		advert_fini(&a);
		refs_listing_free(l);
		refs_unref(&v0);
		refs_unref(&v2);
		buf_fini(&wire);
	}
}

static void write_file(const char *name, struct slice content)
{
	char *path = xstrf("%s/%s", workdir, name);
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(content.p, 1, content.n, f), content.n);
	assert_int_equal(fclose(f), 0);
	free(path);
}

static void git_reads_the_files_that_a_snapshot_makes(void **state)
{
	(void)state;
	for (enum oid_format f = OID_SHA1; f <= OID_SHA256; f++) {
		for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
			struct buf packed = BUF_EMPTY, head = BUF_EMPTY;
			struct refs *r, *served;
			char *line;

			if (strcmp(samples[i].name, "symrefs") == 0)
				continue;    /* packed-refs has none */
			make_repository(&samples[i], f);
			r = learn("repo", f);
			served = all_servable(r);
			line = xstrf("rm -rf made; git init -q --bare --object-format=%s made;"
				     "echo ../../repo/objects >made/objects/info/alternates", oid_format_text(f));
			shell(line, NULL);
			free(line);
			refs_packed_refs(served, &packed);
			assert_int_equal(refs_head_file(served, &head), 0);
			write_file("made/packed-refs", buf_slice(&packed));
			write_file("made/HEAD", buf_slice(&head));
			compare_answers(samples[i].name, r, REFS_SEEN, "made", f);
			shell("git --git-dir=made fsck --strict --no-dangling 2>&1", NULL);
			refs_unref(&r);
			refs_unref(&served);
			buf_fini(&packed);
			buf_fini(&head);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ls_refs_is_answered_as_git_does),
		cmocka_unit_test(older_clients_are_told_what_git_tells_them),
		cmocka_unit_test(an_older_upstreams_advertisement_makes_the_same_snapshot),
		cmocka_unit_test(git_reads_the_files_that_a_snapshot_makes),
	};

	return cmocka_run_group_tests_name("refs_git", tests, set_up, tear_down);
}
