/* push.c -- pushes pass through as a stream, with the credential that `auth` says, and make the cache look again.
 *
 * RULES    1. Nothing of a push is kept or repeated: while upstream is away it is refused with a message that says so.
 *          2. After upstream took a push the listing is not fresh any more and a sync starts.
 * THREADS  A worker for each push, for as long as it lasts: of those for streams, so that questions about refs keep
 *          their places. */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "git/request.h"
#include "git/sync.h"

static const char *const passed_on[] = { "Content-Type", "WWW-Authenticate", "Retry-After" };

struct relay {
	struct git_request *q;  /* not to be touched once `replied` */
	struct spool *spool;
	bool body_done;         /* the client's body has been read to its end */
	bool headed, replied;
	int status;
	char *values[ARRAY_LEN(passed_on)]; /* of upstream's head; NULL: absent */
};

static bool refuse(struct git_request *q)
{
	enum link_state state = link_state(q->repo->up->link);
	const char *host = q->repo->up->match;

	q->cache = GIT_CACHE_PASSTHROUGH;
	if (link_state_is_open(state)) {
		metric_add(q->g->metrics.refusals[GIT_REFUSED_PUSH], 1);
		request_reply_error(q, 503,
				    "upstream %s is %s; pushes are not kept for later. Push again when it is back",
				    host, link_state_text(state));
		return true;
	}
	return false;
}

/* Answers the client with upstream's status and the spool that its body goes to. */
static void reply(struct relay *rl)
{
	struct header_line lines[ARRAY_LEN(passed_on) + 2];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(passed_on); i++)
		if (rl->values[i])
			lines[n++] = (struct header_line){ passed_on[i], rl->values[i] };
	lines[n++] = (struct header_line){ "Cache-Control", "no-cache" };
	lines[n++] = (struct header_line){ "Cache-Status", "weir; fwd=bypass" };
	rl->replied = true;
	exchange_reply_spool(rl->q->ex, rl->status, lines, n, spool_ref(rl->spool), -1);
}

static int on_head(void *arg, int status, const struct slice *headers, size_t n)
{
	struct relay *rl = arg;

	if (link_status_is_unavailable(status, false) && status != 500)
		return 0; /* answered when the call has ended, in our words */
	for (size_t i = 0; i < ARRAY_LEN(passed_on); i++) {
		struct slice v = client_header(headers, n, passed_on[i]);

		rl->values[i] = v.p ? slice_dup(v) : NULL;
	}
	rl->status = status;
	rl->headed = true;
	/* An answer that comes before the request has been read waits for that: the exchange is still being read
	 * from. */
	if (rl->body_done)
		reply(rl);
	return 0;
}

static int on_data(void *arg, const char *p, size_t n)
{
	struct relay *rl = arg;

	return rl->headed ? spool_append(rl->spool, p, n) : 0;
}

static ssize_t read_body(void *arg, char *into, size_t room)
{
	struct relay *rl = arg;
	ssize_t n = exchange_body_read_raw(rl->q->ex, into, room);

	rl->body_done = n == 0;
	return n;
}

static void add_header(struct git_request *q, const char *name, const char *shown, struct slice *headers,
		       struct buf *bufs, size_t *n)
{
	struct slice v = exchange_header(q->ex, name);

	if (!v.p || slice_has_nul(v))
		return;
	buf_addf(&bufs[*n], "%s: ", shown);
	buf_add_slice(&bufs[*n], v);
	headers[*n] = buf_slice(&bufs[*n]);
	(*n)++;
}

#define MOST_HEADERS 5
#define PUSH_PATIENCE_MS 600000 /* hooks of the upstream may think for long, but not for ever */

static void relay(struct git_request *q, const char *method, const char *suffix, bool with_body)
{
	struct relay rl = { .q = q, .body_done = !with_body };
	struct cancel *left = exchange_cancel(q->ex), *gone = left ? cancel_ref(left) : NULL; /* outlives the reply */
	struct repo *repo = repo_ref(q->repo);
	struct credential cred;
	char *sent_path = xstrdup(q->target.sent_path);
	struct buf bufs[MOST_HEADERS] = { BUF_EMPTY, BUF_EMPTY, BUF_EMPTY, BUF_EMPTY, BUF_EMPTY };
	struct slice headers[MOST_HEADERS];
	struct ask_result result = ASK_RESULT_EMPTY;
	struct client_result call;
	struct ask_stream stream = { .method = method, .suffix = suffix, .headers = headers,
				     .sink = { on_head, on_data, &rl } };
	int r;

	credential_copy(&cred, &q->cred);
	add_header(q, "git-protocol", "Git-Protocol", headers, bufs, &stream.header_count);
	if (with_body) {
		add_header(q, "content-type", "Content-Type", headers, bufs, &stream.header_count);
		add_header(q, "content-encoding", "Content-Encoding", headers, bufs, &stream.header_count);
		add_header(q, "accept", "Accept", headers, bufs, &stream.header_count);
		stream.body_source = read_body;
		stream.body_bytes = exchange_body_announced(q->ex);
	}
	r = spool_new(q->g->spool_dir, 0, &rl.spool);
	if (r < 0) {
		request_reply_error(q, 507, "cannot make a file in %s: %s", q->g->spool_dir, err_text(r));
	} else {
		struct ask a = { .repo = repo,
				 .cred = &cred,
				 .sent_path = sent_path,
				 .cancel = gone,
				 .is_push = true,
				 .patience_ms = PUSH_PATIENCE_MS,
				 .total_ms = with_body ? 0 : git_config(q->g)->upstream_timeout };

		ask_stream(&a, &stream, &result, &call);
		if (result.err == 0 || result.err == WEIR_E_STATUS)
			spool_complete(rl.spool);
		else
			spool_fail(rl.spool, result.err);
		if (!rl.replied && rl.headed)
			reply(&rl);
		else if (!rl.replied)
			request_reply_ask(q, &result);
		if (with_body && result.outcome == ASK_OK) {
			repo_forget_fresh(repo);
			sync_start(repo, &cred, sent_path);
		}
	}
	spool_unref(&rl.spool);
	cancel_unref(&gone);
	for (size_t i = 0; i < ARRAY_LEN(rl.values); i++)
		free(rl.values[i]);
	ask_result_fini(&result);
	for (size_t i = 0; i < MOST_HEADERS; i++)
		buf_fini(&bufs[i]);
	credential_fini(&cred);
	free(sent_path);
	repo_unref(&repo);
}

static void relay_info_refs(struct exchange *ex)
{
	relay(request_of(ex), "GET", "/info/refs?service=git-receive-pack", false);
}

static void relay_receive_pack(struct exchange *ex)
{
	relay(request_of(ex), "POST", "/git-receive-pack", true);
}

void push_handle_info_refs(struct git_request *q)
{
	if (!refuse(q))
		exchange_to_worker(q->ex, q->repo->ask_lane, relay_info_refs);
}

void push_handle_receive_pack(struct git_request *q)
{
	if (!refuse(q))
		exchange_to_worker(q->ex, q->repo->relay_lane, relay_receive_pack);
}
