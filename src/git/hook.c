/* hook.c -- POST /hooks/push: "make this repository fresh now", from GitHub or GitLab.
 *
 * RULES    1. Nothing is believed before the secret is proven: GitHub signs the body (X-Hub-Signature-256:
 *             HMAC-SHA-256), GitLab sends the secret itself (X-Gitlab-Token). Comparisons take the same time whatever
 *             differs.
 *          2. A repository that weir does not have is not fetched because of a webhook: 200, with a word that says so.
 * THREADS  Front for small bodies, a worker for large ones. */
#include <openssl/hmac.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "git/request.h"
#include "git/sync.h"

#define HOOK_MOST_BYTES (25u << 20) /* what GitHub sends at most */

static bool github_signature_is_right(const struct git_service *g, struct slice given, struct slice body)
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned int n = 0;
	struct buf want = BUF_EMPTY;
	bool ok;

	if (!HMAC(EVP_sha256(), g->webhook_secret, (int)strlen(g->webhook_secret), (const unsigned char *)body.p,
		  body.n, mac, &n))
		return false;
	buf_add_str(&want, "sha256=");
	str_hex(mac, n, &want);
	ok = str_eq_const_time(given, buf_slice(&want));
	buf_fini(&want);
	return ok;
}

static bool is_proven(struct exchange *ex, const struct git_service *g, struct slice body)
{
	struct slice github = exchange_header(ex, "x-hub-signature-256"),
		     gitlab = exchange_header(ex, "x-gitlab-token");

	if (github.p)
		return github_signature_is_right(g, github, body);
	return gitlab.p && str_eq_const_time(gitlab, slice_str(g->webhook_secret));
}

/* repository.clone_url (GitHub), project.git_http_url (GitLab). */
static const char *clone_url(const json_t *root)
{
	const char *url = json_string_value(json_object_get(json_object_get(root, "repository"), "clone_url"));

	return url ? url : json_string_value(json_object_get(json_object_get(root, "project"), "git_http_url"));
}

static void refresh(struct repo *r)
{
	struct credential own;

	repo_forget_fresh(r);
	/* A private repository with passthrough waits for its next reader: weir has no credential for it. */
	if (credential_init_own(&own, r->up, r->key) == 0 &&
	    (r->up->auth != GIT_AUTH_PASSTHROUGH || access_is_granted(r->g, &own, true)))
		sync_start(r, &own, NULL);
	credential_fini(&own);
	log_event(LOG_INFO, "webhook_push", LOG_STR("repository", r->key), LOG_END);
}

static void take(struct exchange *ex, struct git_service *g, const char *url)
{
	struct target t;
	struct buf key = BUF_EMPTY;
	struct repo *r = NULL;

	if (target_parse_repo(slice_str(url), &t, NULL) < 0) {
		exchange_reply_text(ex, 400, "weir: the repository's address in this webhook is not one");
		return;
	}
	target_repo_key(&t, &key);
	r = repo_find(g, key.data);
	if (r) {
		refresh(r);
		exchange_reply_text(ex, 200, "weir: %s is looked at again", key.data);
	} else {
		exchange_reply_text(ex, 200, "weir: %s is not cached; nothing to do", key.data);
	}
	repo_unref(&r);
	buf_fini(&key);
}

static void with_body(struct exchange *ex, struct git_service *g, struct slice body)
{
	json_t *root;

	if (!is_proven(ex, g, body)) {
		metric_add(g->metrics.refusals[GIT_REFUSED_HOOK], 1);
		exchange_reply_text(ex, 401, "weir: the webhook's signature or token is not right");
		return;
	}
	root = json_loadb(body.p, body.n, 0, NULL);
	if (root && clone_url(root))
		take(ex, g, clone_url(root));
	else if (root && json_object_get(root, "zen")) /* GitHub's greeting when a webhook is set up */
		exchange_reply_text(ex, 200, "weir: hello");
	else
		exchange_reply_text(ex, 400, "weir: this is not a push webhook of GitHub or GitLab");
	json_decref(root);
}

static void read_large(struct exchange *ex)
{
	struct buf body = BUF_LIMIT(HOOK_MOST_BYTES);
	int r = exchange_body_read_all(ex, &body);

	if (r < 0)
		exchange_reply_body_error(ex, r);
	else
		with_body(ex, exchange_service_arg(ex), buf_slice(&body));
	buf_fini(&body);
}

void hook_handle(struct exchange *ex, struct git_service *g)
{
	struct slice body;
	int r;

	if (!g->webhook_secret) {
		exchange_reply_text(ex, 404, "weir: webhooks are not enabled here; set git.webhook_secret_file");
		return;
	}
	if (!slice_eq_str(exchange_method(ex), "POST")) {
		exchange_reply_text(ex, 405, "weir: webhooks are POSTed");
		return;
	}
	r = exchange_body_peek(ex, &body);
	if (r == 0)
		with_body(ex, g, body);
	else if (r == -EAGAIN)
		exchange_to_worker(ex, g->sync_lane, read_large);
	else
		exchange_reply_body_error(ex, r);
}
