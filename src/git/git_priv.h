/* git_priv.h -- what the files of this folder share: the service, its upstreams, its repositories.
 *
 * Locks, in order (take left before right): repo.save_lock < service.lock < repo.lock. The last two are never held
 * across I/O or a callback. A repository's pointer stays good while a reference is held; its `dir` never changes. */
#ifndef WEIR_GIT_GIT_PRIV_H
#define WEIR_GIT_GIT_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/blob.h"
#include "base/map.h"
#include "core/budget.h"
#include "core/flight.h"
#include "core/grants.h"
#include "core/link.h"
#include "core/service.h"
#include "git/cover.h"
#include "git/git_config.h"
#include "git/git_metrics.h"
#include "git/refs.h"
#include "proto/advert.h"
#include "proto/target.h"

struct answers;
struct keeper;
struct kept;

/* What the disk budget counts: a repository, or a kept answer. Embedded first in neither: see CONTAINER_OF in their
 * files. */
struct git_item {
	struct budget_item budget;
	bool (*evict)(struct git_item *it); /* as budget_evict_fn */
};

/* A host that may be reached. Made at start or reload, freed at stop. */
struct upstream {
	struct git_service *g;
	char *match;        /* normalised host[:port] */
	char *base_path;    /* path of its url, without trailing slash: "" mostly */
	int auth;           /* enum git_auth */
	char *secret_file;
	struct link *link;
	atomic_bool listed; /* false: a reload took it off the list */
};

struct git_service {
	unsigned magic;
	const struct core *core;
	_Atomic(const struct git_config *) config;
	struct git_metrics metrics;
	struct grants *grants;
	struct budget *budget;
	struct flights *flights;
	struct answers *answers; /* fetch answers under way */
	struct kept *kept;       /* and those kept as files */
	struct keeper *_Atomic keeper; /* background thread: warm, maintenance, use times */
	char *dir, *repos_dir, *spool_dir, *damaged_dir, *answers_dir;
	char *webhook_secret, *client_token; /* NULL: not configured */
	struct advert local_v2, local_v0;    /* what the installed git upload-pack offers */
	struct lane *pack_lane;  /* all upload-pack children */
	struct lane *sync_lane;  /* all syncs and other long background work */
	struct lane *relay_lane; /* all fetches that pass through to an upstream */
	atomic_int children;     /* upload-pack children running */
	atomic_uint recoveries;  /* times that some upstream came back */
	atomic_bool scrubbing;   /* a repository's packs are being read: one at a time */
	atomic_bool stopping;
	struct cancel *stop;     /* fires when the service stops: ends background work */

	pthread_mutex_t lock;    /* guards the two below */
	struct map *repos;       /* key -> struct repo; all that are in memory */
	struct upstream **upstreams;
	size_t upstream_count;
};

#define GIT_SERVICE_MAGIC 0x57474954u
#define REPO_MAGIC 0x57524550u

static inline const struct git_config *git_config(const struct git_service *g)
{
	return atomic_load_explicit(&g->config, memory_order_acquire);
}

enum repo_state {
	REPO_UNKNOWN,     /* upstream has not confirmed it yet; not on disk */
	REPO_READY,       /* on disk */
	REPO_QUARANTINED, /* moved aside as damaged; not on disk until it is fetched anew */
};

/* What upstream shows to whom: one for a repository, or one for each credential with refs_scope: credential. */
struct scope {
	struct refs *refs;       /* newest snapshot; NULL: nothing known */
	struct cover cover;      /* how fresh */
	struct {
		struct blob *key, *answer; /* formatted answers of `refs`, most recently made first */
	} made[8];
};

struct repo_progress { /* of the sync under way */
	uint64_t bytes, objects;
	int64_t started_mono_ms;
	char stage[40]; /* "waiting", "listing", "receiving", "checking", ... */
};

struct repo {
	unsigned magic;
	_Atomic unsigned refs;   /* references to this struct */
	struct git_service *g;
	struct upstream *up;
	char *key;               /* "host/org/repo" */
	char *path;              /* "org/repo" */
	char *dir, *git_dir;     /* <repos_dir>/<name>, and the bare repository below it */
	struct lane *ask_lane;   /* short upstream questions, below the upstream's lane */
	struct lane *pack_lane;  /* local children, below the service's */
	struct lane *sync_lane;  /* one at a time: sync, maintenance, verification */
	/* Fetches and pushes passing through, below the service's: long ones leave the questions their places. */
	struct lane *relay_lane;
	struct git_item item;

	pthread_mutex_t
		save_lock; /* one writer of this repository's small files at a time; workers only, held across I/O */
	pthread_mutex_t lock;    /* guards all below */
	enum repo_state state;
	char *ask_path;          /* path that upstream last answered under, with leading '/' */
	struct scope main;       /* refs_scope: repository; and what is on disk in any case */
	struct map *scopes;      /* refs_scope: credential: hex of the grant key -> struct scope; else NULL */
	/* Upstream was silent about this one: memory speaks until it answers a question in the background. */
	bool silent;
	unsigned silent_epoch;   /* service.recoveries when it was marked: a recovery ends the mark */
	int64_t silent_asked_ms; /* monotonic: when that was last asked */
	struct oid_list wanted;  /* ids that clients want beyond what sync_refs covers */
	bool syncing, maintaining;
	struct repo_progress progress;
	char last_error[256];    /* of the last sync; empty when it went well */
	unsigned readers[2];     /* children reading the packs, by the generation they began in */
	unsigned generation;     /* 0 or 1: of those who begin now; a repack flips it and waits for the others */
	pthread_cond_t readers_left;
	unsigned packs_since_repack;
	bool scrubbed;           /* since the start; when: */
	int64_t scrubbed_mono_ms;
	int64_t used_wall_ms, used_saved_ms;
	int64_t seen_at_ms, servable_at_ms; /* wall: last contact, last time that all of sync_refs was servable */
	bool suspect;            /* a child failed over it: to be verified */
	int64_t found_whole_ms;  /* monotonic: when a verification last found nothing; 0: none has */
	int64_t fallback_logged_ms; /* monotonic; one line a second for each repository, with the number left out */
	uint64_t fallbacks_unlogged;
};

/* --- repo.c --- */
/* The repository of that name, made in memory when it is not there; one reference. Never NULL. Front threads too. */
struct repo *repo_get(struct git_service *g, struct upstream *up, const char *key, const char *path);
/* Only if it is in memory; NULL otherwise. */
struct repo *repo_find(struct git_service *g, const char *key);
void repo_scope_free(struct scope *s);
struct repo *repo_ref(struct repo *r);
void repo_unref(struct repo **r);
/* Reads what is on disk at start. 0 or -errno with a sentence in err. */
int repo_load_all(struct git_service *g, struct buf *err);
void repo_free_all(struct git_service *g);
/* All repositories that are on disk or being filled, one reference each; the caller unrefs them and frees the array. */
size_t repo_list(struct git_service *g, struct repo ***ret);

/* Newest snapshot of a scope, one reference; NULL: nothing known. cred: key of the credential (used with refs_scope:
 * credential). */
struct refs *repo_refs(struct repo *r, const struct grant_key *cred);
/* Takes in a listing that upstream gave for prefixes, asked at asked_mono_ms. Returns whether seen values changed.
 * Saves it when the repository is on disk. Workers only. */
bool repo_merge(struct repo *r, const struct grant_key *cred, const struct refs_listing *listing,
		struct slices prefixes, int64_t asked_mono_ms);
void repo_set_upstream_caps(struct repo *r, const struct grant_key *cred, const struct advert *a,
			    struct slice ask_path);
/* After an intake: the ids in `got` are here whole. Writes packed-refs and HEAD, then the snapshot. 0 or -errno.
 * Workers only. */
int repo_note_servable(struct repo *r, const struct oid_list *got);
bool repo_is_fresh(struct repo *r, const struct grant_key *cred, struct slices prefixes, int64_t ttl_ms);
void repo_forget_fresh(struct repo *r);
/* What sync_refs names, and HEAD; room for SYNC_MOST_PREFIXES. Further ones are fetched when wanted. */
#define SYNC_MOST_PREFIXES 64
struct slices sync_prefixes(const struct git_config *c, struct slice *room);
/* Answers formatted before for this very snapshot: one reference, or NULL. */
struct blob *repo_made_answer(struct repo *r, const struct grant_key *cred, const struct refs *of, struct slice key);
void repo_keep_answer(struct repo *r, const struct grant_key *cred, const struct refs *of, struct slice key,
		      struct blob *answer);

/* Makes the bare repository on disk when it is not there. 0 or -errno. Workers only. */
int repo_make_on_disk(struct repo *r, enum oid_format f);
/* In use by a child: not evicted, and no pack that it may have opened goes. False: not on disk. *ret_pin goes to
 * repo_unpin(). */
bool repo_pin(struct repo *r, unsigned *ret_pin);
void repo_unpin(struct repo *r, unsigned pin);
/* Waits until all who began before this call have left, the pin of the caller excepted. False after limit_ms, or when
 * the service stops. */
bool repo_wait_for_readers(struct repo *r, unsigned own_pin, int64_t limit_ms);
void repo_used(struct repo *r);
void repo_measure(struct repo *r); /* disk usage into the budget. Workers only. */
/* Moves a damaged repository aside and forgets what it could serve. Workers only. */
int repo_quarantine(struct repo *r, const char *why);
/* Waits until nobody reads or fills it. False after limit_ms. Workers only. */
bool repo_wait_idle(struct repo *r, int64_t limit_ms);
/* Drops it from disk; -EBUSY: in use. Workers only. */
int repo_evict(struct repo *r);

/* --- git_service.c --- */
void git_on_link_change(void *arg, bool up); /* link_change_fn; arg: the service */

/* --- upstream.c --- */
int upstream_load(struct git_service *g, const struct git_config *c, struct buf *err); /* start and reload */
void upstream_free_all(struct git_service *g);
struct upstream *upstream_find(struct git_service *g, const char *host); /* NULL: not listed */



#endif
