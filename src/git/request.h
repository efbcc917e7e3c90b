/* request.h -- one git request: what it is about, how it is answered, what is counted of it. Lives in its exchange's
 * arena; ends with the exchange's done hook, which counts it. */
#ifndef WEIR_GIT_REQUEST_H
#define WEIR_GIT_REQUEST_H

#include "git/access.h"
#include "git/ask.h"
#include "proto/gitcmd.h"

struct answer;

struct git_request {
	struct exchange *ex;
	struct git_service *g;
	struct target target;
	struct repo *repo;          /* one reference; NULL until the target was understood */
	struct credential cred;
	enum git_operation op;
	enum git_cache cache;
	int version;                /* protocol, from Git-Protocol: 0, 1, 2 */
	struct gitcmd cmd;          /* upload-pack requests */
	bool has_cmd;
	struct buf body;            /* fetch: the command as sent, inflated */
	struct answer *reading;     /* fetch: the answer being read, one reference and one party of its cancel */
	bool failed;                /* answered with an error */
	int64_t ttl_ms;             /* HIT within refs_ttl: what is left of it; 0: does not apply */
	bool was_known;             /* the repository was, when the request came */
	int tries;                  /* syncs waited for */
};

/* Made on a front thread, in handle(). NULL: the exchange has been answered. */
struct git_request *request_new(struct exchange *ex, struct git_service *g);
static inline struct git_request *request_of(struct exchange *ex)
{
	return exchange_data(ex);
}

/* An error for git's user: text/plain before git speaks its protocol (info/refs, and HTTP errors on POST, which git
 * shows by status only), naming weir, the upstream and what to do. */
void request_reply_error(struct git_request *q, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* An ERR packet with status 200: on POST the only words that git shows to its user. */
void request_reply_err_packet(struct git_request *q, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Passes upstream's no on: status, WWW-Authenticate, Retry-After and its words. Or, for failures: 502, 503, 504 with
 * the reason. On POST requests words of our own come as an ERR packet. */
void request_reply_ask(struct git_request *q, const struct ask_result *r);
/* A git answer from memory; takes the reference. */
void request_reply_blob(struct git_request *q, const char *content_type, struct blob *body);
/* A git answer from a spool; takes the reference. */
void request_reply_spool(struct git_request *q, const char *content_type, struct spool *s);

/* Whether the cache may stand in for upstream now, and for this credential; when so, says so in log and counters:
 * offline_fallback, and stale_serve when the snapshot is old. `why`: the reason, for the log. */
bool request_may_fall_back(struct git_request *q);
void request_note_fallback(struct git_request *q, const struct refs *refs, const char *why);

/* handle() of the listener and its continuations */
void git_handle(struct exchange *ex);                 /* git_service.c: routes */
void listing_handle_info_refs(struct git_request *q); /* listing.c */
void listing_handle_ls_refs(struct git_request *q);
void fetch_handle(struct git_request *q);             /* fetch.c; front thread or worker */
void push_handle_info_refs(struct git_request *q);    /* push.c */
void push_handle_receive_pack(struct git_request *q);
void hook_handle(struct exchange *ex, struct git_service *g); /* hook.c */

#define TYPE_ADVERTISEMENT "application/x-git-upload-pack-advertisement"
#define TYPE_RESULT "application/x-git-upload-pack-result"

#endif
