/* pool.h -- worker threads, and lanes that keep any one repository, upstream or client from taking them all.
 *
 * A job belongs to a lane; a lane may have a parent (a repository's lane below its upstream's). A job starts when a
 * worker is free and neither its lane nor the parent runs its maximum. Lanes with waiting jobs take turns; jobs of a
 * lane start in the order given. Workers are started when needed and end after 60 s idle. Jobs may block. */
#ifndef WEIR_IO_POOL_H
#define WEIR_IO_POOL_H

#include <stdbool.h>
#include <stddef.h>

struct pool;
struct lane;
typedef void pool_fn(void *arg);

int pool_new(unsigned most_workers, struct pool **ret);
/* Refuses new jobs (pool_submit gives -ESHUTDOWN), waits at most limit_ms for the running and queued ones.
 * 0, or -ETIMEDOUT with jobs still running. */
int pool_drain(struct pool *p, int limit_ms);
void pool_free(struct pool *p); /* after a successful drain; joins the threads */

/* One reference. parent may be NULL; it is referenced, and its maximum holds for all below it together. */
struct lane *lane_new(struct pool *p, struct lane *parent, unsigned most_running);
struct lane *lane_ref(struct lane *l);
void lane_unref(struct lane **l); /* freed when unreferenced and empty */
size_t lane_waiting(struct lane *l);

/* Runs fn(arg) later on a worker. 0; -ESHUTDOWN while draining; -EAGAIN when more than 65,536 jobs wait (limit of
 * invariant 8): then fn will not run; also when not a single thread could be started. Any thread; never blocks. */
int pool_submit(struct lane *l, pool_fn *fn, void *arg);
bool pool_is_worker(void); /* whether the calling thread is a worker of any pool */
unsigned pool_running(struct pool *p);
unsigned pool_queued(struct pool *p);
unsigned pool_workers(struct pool *p);         /* threads there are, idle ones included */
void pool_set_idle_ms(struct pool *p, int ms); /* instead of 60,000; for tests. Counts from a worker's next rest */

#endif
