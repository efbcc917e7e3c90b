/* client_priv.h -- what the files of the upstream client share. For them alone. */
#ifndef WEIR_IO_CLIENT_PRIV_H
#define WEIR_IO_CLIENT_PRIV_H

#include <curl/curl.h>
#include <pthread.h>

#include "base/list.h"
#include "io/client.h"
#include "io/client_head.h"

struct client {
	unsigned magic;
	char *base; /* without trailing slash */
	size_t path_at; /* where the path begins in base, or its end */
	char *ca_file, *proxy, *user_agent;
	bool is_https;
	int64_t connect_timeout_ms, stall_timeout_ms;
	unsigned most_idle, idle_count;
	pthread_mutex_t lock;
	struct list idle; /* slots, the last used in front */
};

/* One call under way. */
struct call {
	const struct client_request *rq;
	const struct client_sink *sink;
	struct client_result *result;
	struct client_head head;
	struct curl_slist *headers;
	CURL *easy;
	int own_err;       /* why a callback ended it */
	int socket_err;    /* why no socket could be made here */
	bool source_ended;
	int64_t start_ms, moved_ms, sent_ms; /* begun; last byte either way; request gone out (0: not yet) */
	curl_off_t uploaded;
	char message[CURL_ERROR_SIZE];
};

/* Checks the request and tells libcurl everything about it but the callbacks. Fills k->headers, which must live as long
 * as the exchange. 0 or -EINVAL. */
int client_setup(CURL *e, const struct client *c, struct call *k);

#endif
