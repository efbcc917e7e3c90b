/* err.h -- result codes: 0, or a negative number.
 *
 * Errno values travel as -Exxx. What errno cannot say has a code below -4096, so that the two never meet. Codes
 * travel; the sentence for a person is made once, where the nouns (URL, repository, upstream) are known. */
#ifndef WEIR_BASE_ERR_H
#define WEIR_BASE_ERR_H

#include <errno.h>
#include <stdbool.h>

enum weir_error {
	/* An upstream gave no answer. Invariant 4: only these, and some statuses, may be answered from the cache. */
	WEIR_E_REFUSED = -5000, /* connection refused, or the host or network cannot be reached */
	WEIR_E_DNS = -5001,     /* its name did not resolve */
	WEIR_E_TLS = -5002,     /* handshake or certificate failed */
	WEIR_E_CONNECT_TIMEOUT = -5003,
	WEIR_E_SILENT = -5004,   /* connected, but no answer within the patience or the time-out given */
	WEIR_E_STALLED = -5005,  /* the answer began and then stood still */
	WEIR_E_CUT = -5006,      /* the connection ended before the answer did */
	WEIR_E_DISABLED = -5007, /* an operator switched the upstream off */
	WEIR_E_OPEN = -5008,     /* the breaker is open: known to be away, not asked */
	WEIR_E_LAST_UNAVAILABLE = -5099,

	WEIR_E_PARSE = -5100,     /* bytes that are not what the protocol says */
	WEIR_E_TOO_LARGE = -5101, /* above a stated limit */
	WEIR_E_DAMAGED = -5102,   /* length or checksum do not agree */
	WEIR_E_CANCELLED = -5103, /* nobody waits for it any more */
	WEIR_E_CHILD = -5104,     /* a child process failed; its words are in the buffer given for them */
	WEIR_E_PROTOCOL = -5105,  /* a peer answered, but not in a way that can be used */
	WEIR_E_STATUS = -5106,    /* an HTTP answer that is not a success; the status stands beside it */
};

/* Whether `err` means that an upstream could not be reached or did not finish its answer (not that it said no). */
static inline bool err_is_unavailable(int err)
{
	return err <= WEIR_E_REFUSED && err >= WEIR_E_LAST_UNAVAILABLE;
}

/* Whether `err` opens a breaker at once (invariant 9): nothing answered at the connection level. */
static inline bool err_is_connect_failure(int err)
{
	return err <= WEIR_E_REFUSED && err >= WEIR_E_CONNECT_TIMEOUT;
}

/* A short English phrase for any code above or errno. Static or thread-local storage; never NULL. Any thread. */
const char *err_text(int err);

#endif
