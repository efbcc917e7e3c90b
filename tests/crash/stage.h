/* stage.h -- one service in this process, its folder on the faulty disk, and a client that asks it over loopback.
 *
 * What a service promises is what its answers say: so scenarios of services ask as programs do, and note what they
 * were told. No delivery goes out: services are set up with their upstream switched off. */
#ifndef WEIR_CRASH_STAGE_H
#define WEIR_CRASH_STAGE_H

#include "base/buf.h"
#include "core/service.h"
#include "crash.h"
#include "store/outbox.h"

struct stage {
	struct run *run;
	const struct service *service;
	const char *const *sets; /* settings, NULL-terminated */
	struct config *config;
	struct outbox *outbox;
	struct core core;
	void *state;
	char address[64];
};

/* Starts it. 0 or a code with words in err; then nothing is left running. */
int stage_open(struct stage *st, struct buf *err);
/* The same; when it fails, once more on a sound disk, where it has to succeed. */
void stage_open_somehow(struct stage *st);
void stage_close(struct stage *st);
/* One request on a connection of its own; body may be NULL: none. The status, and the answer's body in ret. A service
 * that does not answer within 30 s fails the play. */
int stage_ask(struct stage *st, const char *method, const char *target, const char *body, struct buf *ret);
/* What a client knows of a request. */
enum told {
	NOT_ASKED,
	ASKED, /* no answer came: the process ended */
	DONE,
	REFUSED, /* nothing was kept */
	UNKNOWN, /* a write or a sync failed: nobody knows */
};
static inline bool told_may_be(enum told t)
{
	return t == ASKED || t == DONE || t == UNKNOWN;
}

#endif
