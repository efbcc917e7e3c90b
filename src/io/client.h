/* client.h -- HTTP requests to one upstream, on kept-alive connections, by blocking calls on worker threads.
 *
 * libcurl underneath: http and https only, HTTP/1.1, no redirects followed, path as it is (no dot squashing, no
 * re-encoding), no signals, no automatic decoding of content, no proxy variables (only `proxy` as configured), no
 * .netrc. A client may be used by any number of workers at once; each call takes a handle from its pool. */
#ifndef WEIR_IO_CLIENT_H
#define WEIR_IO_CLIENT_H

#include "base/buf.h"
#include "io/cancel.h"

struct client;

struct client_options {
	const char *base_url;    /* "https://github.com" or with a path; no trailing slash needed; copied */
	const char *ca_file;     /* PEM bundle instead of the system's; NULL: the system's */
	const char *proxy;       /* "http://host:port"; NULL: none */
	const char *user_agent;  /* "weir/0.1.0" */
	int64_t connect_timeout_ms;
	int64_t stall_timeout_ms; /* an answer that began gives no byte, or none of ours is taken: WEIR_E_STALLED */
	unsigned most_idle;       /* kept-alive connections kept while unused */
};

int client_new(const struct client_options *o, struct client **ret); /* 0, -EINVAL (URL), -errno */
void client_free(struct client *c); /* no call may be running */

/* What a call sends. All borrowed until the call returns. */
struct client_request {
	const char *method;       /* "GET" */
	struct slice target;      /* appended to base_url as it is: begins with '/' */
	/* Whole lines "Name: value" without line ends. Content-Length and Transfer-Encoding are left out, as the
	 * framing follows from the body below. Nothing is added but Host, User-Agent and framing, where missing. */
	const struct slice *headers;
	size_t header_count;
	/* Body: either fixed bytes, or a source called until it gives 0. body_bytes -1: length unknown, sent chunked;
	 * 0 with no source: no body. The source gives bytes read (> 0), 0 at the end, or a negative code, which
	 * aborts; it may block, and should then mind the cancel itself. When a kept-alive connection turns out to be
	 * closed before a byte of the answer came, the request is repeated once on a fresh one, unless some of a
	 * source was sent. */
	struct slice body;
	ssize_t (*body_source)(void *body_arg, char *into, size_t room);
	void *body_arg;
	int64_t body_bytes;
	/* Interim answers (RFC 9110 15.2), but 100: with the sink's arg, as its on_head. NULL: they are skipped. */
	int (*on_interim)(void *arg, int status, const struct slice *headers, size_t header_count);
	/* not on a kept-alive one: to find out whether connecting works; or it must not be repeated */
	bool fresh_connection;
	int64_t stall_ms;         /* instead of the client's stall_timeout_ms; 0: that */
	int64_t first_byte_ms; /* patience: no head so long after the request went out: WEIR_E_SILENT; 0: none */
	int64_t total_ms;      /* for the whole exchange: WEIR_E_SILENT or WEIR_E_STALLED after it; 0: none */
};

/* What comes back, told on the calling thread. on_head runs once, with the final response head (for 1xx see
 * on_interim): `headers` are whole lines without line ends, borrowed until it returns. on_data gets the body as it came
 * (still chunk-decoded). A negative return ends the call with that code. Both may be NULL (data dropped). */
struct client_sink {
	int (*on_head)(void *arg, int status, const struct slice *headers, size_t header_count);
	int (*on_data)(void *arg, const char *p, size_t n);
	void *arg;
};

struct client_result {
	int status;              /* 0 when no head came */
	bool request_sent;       /* some of it went out on an established connection: it may have had an effect */
	uint64_t body_bytes;     /* received */
	int64_t elapsed_us;
	char detail[200];        /* what libcurl said, for logs; never a secret */
};

/* 0 when a whole answer came, whatever its status; else a code of base/err.h: unavailable ones; WEIR_E_PROTOCOL (not
 * HTTP/1, or ambiguous framing) and WEIR_E_TOO_LARGE (head above 64 KiB or 512 lines); WEIR_E_CANCELLED; what a sink or
 * source returned; -EINVAL (method, target or header line that cannot be sent); -errno when this machine lacks
 * descriptors or memory. *ret is filled in any case. Blocks: workers only. */
int client_call(struct client *c, const struct client_request *rq, const struct client_sink *sink,
		struct cancel *cancel, struct client_result *ret);

/* Finds the value of header `name` (case ignored) among lines; empty slice with p NULL when absent. */
struct slice client_header(const struct slice *headers, size_t header_count, const char *name);

#endif
