/* delivery_priv.h -- what delivery.c (the machine) and delivery_show.c (what is told of it) share. */
#ifndef WEIR_CORE_DELIVERY_PRIV_H
#define WEIR_CORE_DELIVERY_PRIV_H

#include "core/delivery.h"

#include <pthread.h>

#include "base/list.h"

#define DELIVERY_MAGIC 0x64656c76u
#define DELIVERY_FIGURES (2 * OUTBOX_STATES + 5)

enum delivery_outcome { OUTCOME_APPLIED, OUTCOME_CONFLICT, OUTCOME_HELD, OUTCOME_DEFERRED, OUTCOMES };

struct delivery_figure { /* what a metric function is given */
	struct delivery *d;
	unsigned which;
};

struct delivery {
	unsigned magic;
	struct delivery_options o;
	char *service;
	struct lane *lane;
	struct cancel *cancel;
	pthread_t thread;
	struct list registered;
	struct metric *outcomes[OUTCOMES];
	struct delivery_figure figures[DELIVERY_FIGURES];

	pthread_mutex_t lock; /* guards what follows; a leaf */
	pthread_cond_t wake;  /* of the thread, and of delivery_stop() waiting for `users` */
	bool stopping;
	bool look;            /* something may have changed since the thread last looked */
	bool came_back;       /* the link did, and the thread has not taken note yet */
	unsigned returns;     /* how often it did */
	unsigned running;     /* entries that workers have */
	unsigned users;       /* callers of delivery_rebase_entry() and delivery_theirs(), and a purge */
	bool is_purging;
	unsigned window;      /* most that may run now */
	int64_t widened_mono_ms;
	int64_t not_before_mono_ms;
	bool is_paused;
	char pause_reason[200];
	bool disk_trouble;    /* told already */
	int64_t retry_first_ms, retry_max_ms;
};

/* --- delivery_settle.c --- */
#define DELIVERY_REST_MS 1000
/* Records and tells what came of an entry that was lent. Workers. */
void delivery_settle(struct delivery *d, const struct outbox_entry *e, const struct carried *c);
/* Trouble of this machine's own: nothing is lent for DELIVERY_REST_MS. err: of the disk, said once; 0: of another
 * kind. */
void delivery_rest(struct delivery *d, int err);

/* --- delivery_show.c --- */
void delivery_show_start(struct delivery *d); /* metrics and registry */
void delivery_show_stop(struct delivery *d);

#endif
