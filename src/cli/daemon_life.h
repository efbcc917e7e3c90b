/* daemon_life.h -- how long a daemon lives that belongs to one program: the rules of datacat-daemon, and nothing that
 * acts. */
#ifndef WEIR_CLI_DAEMON_LIFE_H
#define WEIR_CLI_DAEMON_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#define LIFE_AFTER_LAST_MS 3000  /* from the end of the last session */
#define LIFE_NO_PROGRESS_MS 5000 /* nothing was delivered for so long: it will be at the next start */
#define LIFE_MOST_LEAVING_MS 30000
#define LIFE_MOST_ASKED_MS 3000  /* after SIGTERM: who sent it kills after 5 s */
#define LIFE_SETTLE_MS 1000      /* what a daemon that took over finds undelivered shows within this */

struct life_facts {
	int64_t now_ms;    /* monotonic */
	uint64_t live;     /* sessions of this start that have not ended */
	uint64_t ended;    /* how many have, since the start */
	uint64_t waiting;  /* undelivered operations that need no person */
	bool owner_gone;   /* the process that started us is not there any more */
	bool asked_to_end; /* SIGTERM */
};

enum life_verdict {
	LIFE_GOES_ON,
	LIFE_OWNER_GONE, /* once: tell the service, and go on asking */
	LIFE_ENDS,
};

struct life { /* all zeros at the start */
	bool delivers_only; /* set: it took a folder over, and is for nothing else */
	bool is_orphan;
	int64_t began_ms;
	uint64_t ended;         /* as last seen */
	int64_t last_end_ms;
	int64_t leaving_ms;     /* since when it delivers only what is left; 0: it does not */
	int64_t progress_ms;
	uint64_t least_waiting;
};

/* To be asked a few times a second. */
enum life_verdict life_look(struct life *l, const struct life_facts *f);

#endif
