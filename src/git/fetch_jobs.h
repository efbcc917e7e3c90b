/* fetch_jobs.h -- the work behind a fetch, done once for all who wait for it: making an answer, asking for a grant. */
#ifndef WEIR_GIT_FETCH_JOBS_H
#define WEIR_GIT_FETCH_JOBS_H

#include "git/answers.h"
#include "git/request.h"

enum fetch_source {
	FETCH_LOCAL,    /* git upload-pack on the repository here */
	FETCH_UPSTREAM, /* upstream's bytes as they come */
	FETCH_KEPT,     /* a kept answer that is to be verified first */
};

/* What the waiters get. */
struct fetch_result {
	struct answer *answer;        /* borrowed: join it; NULL: there is none, the code tells why */
	const struct ask_result *ask; /* FETCH_UPSTREAM: how upstream refused or failed; may be NULL */
	const char *words;            /* FETCH_LOCAL: what git said of its failure; may be NULL */
};

enum fetch_use {
	FETCH_PASS,    /* the answer is for those who ask */
	FETCH_TAKE_IN, /* FETCH_UPSTREAM: and its pack for the repository, whose sync this is (sync_try_lead()) */
};

struct fetch_job;
/* Copies what it needs of q. key: of the answer; empty: not shared. */
struct fetch_job *fetch_job_new(const struct git_request *q, enum fetch_source source, struct slice key);
/* Starts it for a flight that it lands with a struct fetch_result: code 0, -EAGAIN (the repository is not on disk any
 * more, or somebody else brings its objects just now: look again), or others. */
void fetch_job_start(struct fetch_job *j, struct flight *flight, enum fetch_use use);
void fetch_job_drop_joined(struct fetch_job *j); /* another has led */

/* Shows the credential of q to upstream's info/refs, together with all who ask the same; fn gets a struct
 * ask_result. */
void grant_wait(struct git_request *q, flight_resume_fn *fn);

#endif
