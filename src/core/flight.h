/* flight.h -- single flight: identical questions that arrive while one is being answered share the answer, and
 * waiting costs no thread. An exchange that waits is parked here; a client that leaves is taken out (and answered as
 * dropped). When nobody waits any more, the flight's cancel fires. */
#ifndef WEIR_CORE_FLIGHT_H
#define WEIR_CORE_FLIGHT_H

#include "base/buf.h"
#include "core/exchange.h"
#include "io/cancel.h"

struct flights;
struct flight;

/* Runs for each waiter, on the thread that lands the flight, owning ex; `result` is borrowed until it returns. */
typedef void flight_resume_fn(struct exchange *ex, int code, void *result);

struct flights *flights_new(void);
void flights_free(struct flights *f); /* no flight may be under way */

/* Parks ex at the flight for key. When there was none, it is made, *ret_lead is set, and the caller must see to it
 * that flight_land() is called once, whatever happens (usually from a pool job). Otherwise *ret_lead is NULL: joined.
 * Any thread that owns ex. */
void flight_join(struct flights *f, struct slice key, struct exchange *ex, flight_resume_fn *fn,
		 struct flight **ret_lead);
/* The same without an exchange: background work that wants to share (fn gets ex NULL). It counts as a party until the
 * landing. */
void flight_join_background(struct flights *f, struct slice key, flight_resume_fn *fn, struct flight **ret_lead);
/* borrowed; fires when all waiters have left; NULL: descriptors used up */
struct cancel *flight_cancel(struct flight *fl);
/* From here on a new question for the key makes a new flight (the answer to this one may be older than that
 * question). */
void flight_close(struct flight *fl);
void flight_land(struct flight *fl, int code,
		 void *result); /* resumes all waiters, frees fl. Any thread; from a front thread only to refuse, as
 * continuations may be many. */
size_t flights_waiting(struct flights *f, struct slice key);

#endif
