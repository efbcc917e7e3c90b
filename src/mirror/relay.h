/* relay.h -- a request passed straight through to upstream, and the answer back, both as streams.
 *
 * What an unsafe request made untrue is dropped from the cache before its answer is passed on, so that who wrote does
 * not read the old; also when the answer cannot be passed on. Workers only; blocks for as long as the exchange lasts.
 * One relay belongs to one worker. */
#ifndef WEIR_MIRROR_RELAY_H
#define WEIR_MIRROR_RELAY_H

#include "mirror/mirror_priv.h"

#define RELAY_ARENA_BYTES (1u << 20)
#define RELAY_MOST_HELD (1u << 20) /* bytes of an answer that is held back */

/* Gets the request's body as it passes, to keep it: put() with each piece; a failure only ends the keeping. */
struct relay_tee {
	void (*put)(void *arg, const char *p, size_t n);
	void *arg;
};

struct relay {
	struct mirror *m;
	struct request *q;      /* NULL once it was replied to: then nothing of it may be touched */
	struct arena arena;
	struct lines lines;     /* what goes upstream, copied; may be changed before relay_run() */
	char *method, *target;
	const struct relay_tee *tee; /* may be NULL */
	bool is_safe;           /* the client leaving ends it; else what was sent is seen to its end */
	bool hold_unavailable;  /* 502, 503 and 504 are not passed on, but kept for relay_reply() */
	bool whole;             /* the answer is wanted whole (r->text or r->spool), as well as passed on */
	bool has_body;
	struct slice fixed;     /* instead of the client's body, when fixed.p: borrowed */
	const char *cache_status; /* instead of "weir; fwd=bypass; fwd-status=N" */
	/* what came of it */
	bool body_done, headed, held, invalidated;
	int body_error;         /* what reading the client's body failed with, or 0 */
	int status;
	int64_t request_wall_ms, response_wall_ms, replied_mono_ms;
	struct buf head;        /* the block, as fields_to_store() makes it */
	struct buf text;        /* the body, when it is small or held */
	struct spool *spool;    /* else */
	uint32_t crc;
	uint64_t bytes;
	bool is_small;
	int64_t announced;
	struct cancel *cancel;
	struct work work; /* from init to fini, so that a stop ends it, and the looks after it, wherever it stands */
	struct client_result result;
};

/* Copies what it needs of q. */
void relay_init(struct relay *r, struct request *q);
/* 0: an answer came, and was passed on unless r->held; else the call's code: then the caller replies if r->q is not
 * NULL. */
int relay_run(struct relay *r);
void relay_reply(struct relay *r); /* passes on an answer that was held */
/* After relay_run() failed. Whether upstream has said that an unsafe request was done, or something that cannot be
 * read. */
bool relay_is_done_unseen(const struct relay *r, int err);
/* Likewise, with r->q: tells the client what is known of its request. */
void relay_reply_failure(struct relay *r, int err);
void relay_fini(struct relay *r);

#endif
