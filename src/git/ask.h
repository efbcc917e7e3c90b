/* ask.h -- questions to upstream about one repository: its capabilities, its refs, and streams of other kinds.
 *
 * Blocking: workers only. Each question notes what it means for the credential's grant and merges what it learned into
 * the repository's snapshot. */
#ifndef WEIR_GIT_ASK_H
#define WEIR_GIT_ASK_H

#include "git/access.h"
#include "io/client.h"

enum ask_outcome {
	ASK_OK,
	ASK_UNAVAILABLE, /* no answer, or as good as none (invariant 4): the cache may speak */
	ASK_REFUSED,     /* upstream said no: status is 4xx, to be passed on */
	ASK_FAILED,      /* an answer that cannot be used, or trouble of our own */
};

struct ask_result {
	enum ask_outcome outcome;
	int err;                 /* UNAVAILABLE, FAILED: code */
	int status;              /* HTTP status; 0: none came */
	struct buf authenticate; /* REFUSED: WWW-Authenticate as it came */
	struct buf retry_after;  /* Retry-After as it came */
	struct buf text;         /* what upstream said (text/plain, ERR), at most 1,000 bytes, escaped; may be empty */
	bool moved;              /* OK: seen values of refs changed */
};

#define ASK_RESULT_EMPTY                                                                                               \
	{ .authenticate = BUF_LIMIT(4096), .retry_after = BUF_LIMIT(128), .text = BUF_LIMIT(1024) }
void ask_result_fini(struct ask_result *r);
/* "connection refused (git.corp)" for messages and logs. */
void ask_result_reason(const struct ask_result *r, struct buf *out);

struct ask {
	struct repo *repo;
	const struct credential *cred;
	const char *sent_path;      /* "org/repo.git" as the client wrote it */
	/* Silence allowed before the first byte and between any two; 0: the link's stall time-out. */
	int64_t patience_ms;
	int64_t total_ms;           /* 0: no bound */
	struct cancel *cancel;      /* may be NULL */
	bool is_push;               /* upstream's no to a push ends no grant: who may not write may read all the same */
	void (*on_head)(void *arg); /* may be NULL: runs when the answer began */
	void *arg;
};

/* GET info/refs for git-upload-pack, with protocol v2. A v0 or v1 upstream answers with all refs, which are merged. */
void ask_info_refs(const struct ask *a, struct ask_result *ret);
/* The refs under the prefixes (none: all), merged. Asks for the capabilities first when they are not known. */
void ask_ls_refs(const struct ask *a, struct slices prefixes, struct ask_result *ret);

/* Whether patience was exceeded. */
bool ask_was_silence(const struct ask_result *r);
/* Upstream was silent about this repository for as long as patience goes. True: it was not known to be. */
bool ask_note_silence(struct repo *r);
/* Whether it is silent, as far as is known: then the cache speaks. *ret_due (may be NULL): it is time to ask again,
 * which the caller does; told to one caller in each links.probe_max. Front threads too. */
bool ask_is_silent(struct repo *r, bool *ret_due);

/* Any request below the repository: `suffix` as "/git-receive-pack". headers: further lines. Redirects of info/refs
 * within the same upstream are followed by ask_info_refs only. What comes back goes to sink; *ret tells how it ended
 * (head and data were given to the sink whatever the status). */
struct ask_stream {
	const char *method, *suffix;
	const struct slice *headers;
	size_t header_count;
	struct slice body;
	ssize_t (*body_source)(void *arg, char *into, size_t room); /* gets sink.arg */
	int64_t body_bytes;
	struct client_sink sink;
};
void ask_stream(const struct ask *a, const struct ask_stream *s, struct ask_result *ret,
		struct client_result *ret_call);

#endif
