/* crash.h -- what a scenario is: something done on a faulty disk, and what must be true after the restart.
 *
 * crash.c plays each scenario once for every fault and every n. A play is two or three processes, one after the other,
 * that share a folder and a page of notes: prepare (sound disk), act (the nth operation in the folder fails), check
 * (sound disk again). What act learned from the code under test, "this is durable" above all, it writes into the notes
 * at once, as it may end at any moment. */
#ifndef WEIR_CRASH_CRASH_H
#define WEIR_CRASH_CRASH_H

#include <stdbool.h>
#include <stddef.h>

#include "disk.h"

#define RUN_ROOM (1 << 18)

struct run {
	const char *dir; /* the folder, absolute */
	enum disk_fault fault; /* of this play */
	enum platter_survivors survivors;
	uint64_t seed; /* another for each n */
	void *room; /* RUN_ROOM bytes of zeros at first, shared by the processes of this play, for the scenario */
};

enum scenario_kind {
	RIGHT,
	LONG,  /* right; a play takes several times longer, so that fewer are sampled */
	WRONG, /* made to fail: for --self-test, which asks that a kill or a power cut is seen to break it */
	LAW, /* of the layer itself: says something only when a power cut takes all that is not synced */
};

struct scenario {
	const char *name;
	void (*prepare)(struct run *run); /* may be NULL; may end by a disk of its own */
	void (*act)(struct run *run); /* may return with threads under way: they end with the process */
	void (*check)(struct run *run);
	unsigned blind; /* each of these kinds of syncs is needed: played without it, check has to fail somewhere */
	enum scenario_kind kind;
	const char *blind_at; /* and so are those of paths with this in it alone; or NULL */
};

/* Each ends with an empty one. */
extern const struct scenario law_scenarios[], file_scenarios[], db_scenarios[], outbox_scenarios[], many_scenarios[],
	sessions_scenarios[], hub_scenarios[], cache_scenarios[];

/* Ends this process, and the play as failed, with these words. */
_Noreturn void run_fail(struct run *run, const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
#define EXPECT(run, cond, ...) ((cond) ? (void)0 : run_fail((run), __FILE__, __LINE__, __VA_ARGS__))
/* A path below the folder; static storage, a few at a time. */
const char *run_path(const struct run *run, const char *name);

#endif
