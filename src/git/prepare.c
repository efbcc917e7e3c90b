/* prepare.c -- warm repositories have their first clone ready.
 *
 * git 2.39 without a terminal sends: thin-pack, no-progress, ofs-delta, a want for each branch, tag and HEAD, done.
 * Other gits and options ask differently; then this was in vain, and the first of them makes his own answer. */
#include "git/prepare.h"

#include <openssl/sha.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "git/kept.h"
#include "git/packer.h"

void fetch_answer_key(const char *repo_key, int version, const struct gitcmd *cmd, struct buf *key)
{
	struct buf form = BUF_EMPTY;
	unsigned char sha[SHA256_DIGEST_LENGTH];

	if (cmd->kind != GITCMD_FETCH || gitcmd_fetch_names_refs(cmd))
		return;
	buf_addf(&form, "%s\n%d\n", repo_key, version);
	gitcmd_fetch_key(cmd, &form);
	SHA256((const unsigned char *)form.data, form.len, sha);
	buf_add(key, sha, sizeof(sha));
	buf_fini(&form);
}

static void add_wants(const struct refs *refs, struct buf *out)
{
	struct oid_list wants = { 0 };
	struct refs_info info;
	char hex[OID_MAX_HEX + 1];

	for (size_t i = 0; i < refs_count(refs); i++) {
		refs_at(refs, i, &info);
		if (info.servable && (slice_eq_str(info.name, "HEAD") || slice_starts(info.name, "refs/heads/") ||
				      slice_starts(info.name, "refs/tags/")))
			oid_list_add(&wants, info.servable);
	}
	oid_list_sort_unique(&wants);
	for (size_t i = 0; i < wants.count; i++) {
		oid_to_hex(refs_format(refs), &wants.items[i], hex);
		pkt_addf(out, "want %s\n", hex);
	}
	oid_list_fini(&wants);
}

static void make_request(const struct refs *refs, struct buf *out)
{
	static const char *const arguments[] = { "thin-pack", "no-progress", "ofs-delta" };

	pkt_add_str(out, "command=fetch");
	pkt_addf(out, "object-format=%s", oid_format_text(refs_format(refs)));
	pkt_add_delim(out);
	for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++)
		pkt_add_str(out, arguments[i]);
	add_wants(refs, out);
	pkt_add_str(out, "done\n");
	pkt_add_flush(out);
}

static void nobody_reads(void *arg)
{
	(void)arg;
}

static int make(struct repo *r, struct slice body, struct slice key)
{
	struct spool *spool = NULL;
	struct buf words = BUF_EMPTY;
	unsigned pin;
	int err = repo_pin(r, &pin) ? 0 : -ENOENT;

	if (err < 0)
		return err;
	err = spool_new(r->g->spool_dir, 0, &spool);
	if (err == 0)
		err = packer_run(&(struct packer){ .repo = r,
						   .version = 2,
						   .body = body,
						   .spool = spool,
						   .cancel = r->g->stop,
						   .begun = nobody_reads },
				 &words);
	if (err == 0)
		kept_store(r->g->kept, r, key, spool);
	repo_unpin(r, pin);
	spool_unref(&spool);
	buf_fini(&words);
	return err;
}

static bool is_kept(struct repo *r, struct slice key)
{
	bool unverified = false;
	struct answer *a = kept_find(r->g->kept, key, &unverified);
	bool is = a != NULL;

	answer_leave(&a);
	return is || (unverified && kept_verify(r->g->kept, key));
}

void prepare_clone(struct repo *r)
{
	struct refs *refs = repo_refs(r, NULL);
	struct buf body = BUF_EMPTY, key = BUF_EMPTY;
	struct gitcmd cmd;
	int64_t started = clock_mono_ms();
	int err = 0;

	if (!refs)
		return;
	make_request(refs, &body);
	gitcmd_init(&cmd, 2);
	if (gitcmd_feed(&cmd, buf_slice(&body)) == 0 && gitcmd_finish(&cmd) == 0 && cmd.wants.count)
		fetch_answer_key(r->key, 2, &cmd, &key);
	gitcmd_fini(&cmd);
	if (key.len && !is_kept(r, buf_slice(&key))) {
		err = make(r, buf_slice(&body), buf_slice(&key));
		log_event(err ? LOG_WARN : LOG_INFO, err ? "clone_not_prepared" : "clone_prepared",
			  LOG_STR("repository", r->key), LOG_ERR("result", err),
			  LOG_INT("ms", clock_mono_ms() - started), LOG_END);
	}
	buf_fini(&body);
	buf_fini(&key);
	refs_unref(&refs);
}
