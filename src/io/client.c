/* client.c -- HTTP requests to one upstream.
 *
 * WHAT     A pool of slots for each upstream, each an easy handle with a multi handle of its own, which keeps one
 *          connection alive. A call takes a slot, drives it with curl_multi_poll(3), and gives it back.
 * WHY      A multi handle for a single transfer, since only curl_multi_poll() waits for another descriptor too: the
 *          cancel's. A progress callback would notice a cancel only once a second.
 * RULES    1. libcurl's own time-out is used for connecting alone. Patience, stalls and the total are watched here,
 *             since "no answer yet" and "the answer stands still" mean different things (invariant 9).
 *          2. libcurl repeats a request by itself when a kept-alive connection turns out to be closed before the first
 *             byte of an answer. It can do so for fixed bodies; a body from a source cannot be replayed, and the call
 *             ends with WEIR_E_CUT when some of it was gone.
 *          3. After anything but a whole answer the connection is closed, never kept. After silence or a failure to
 *             connect so are the idle ones: what swallowed one (a router that lost its state) has likely swallowed all,
 *             and each would cost a caller his patience.
 *          4. A failure that comes of our own lack of descriptors is told as that, since it must not open a breaker.
 * THREADS  Any number of workers; the lock guards the list of idle slots only.
 * TRIED    One multi handle for all calls of an upstream would share its certificate store, but needs a thread of its
 *          own and a hand-over of every block of data. */
#include "io/client.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "io/client_priv.h"
#include "io/file.h"

#define CLIENT_MAGIC 0x636c6e74u
#define IDLE_MS 60000 /* most servers close sooner */

struct slot {
	struct list node; /* client.idle */
	CURL *easy;
	CURLM *multi;
	int64_t used_ms; /* when it was given back */
};

/* --- making one ------------------------------------------------------------------------------------------------- */

static bool has_part(CURLU *u, CURLUPart what)
{
	char *s = NULL;
	bool is_there = curl_url_get(u, what, &s, 0) == CURLUE_OK && *s;

	curl_free(s);
	return is_there;
}

/* Accepts http and https with a host, and no secret, query or fragment. */
static int parse_base(struct client *c, const char *base_url)
{
	char *scheme = NULL, *after;
	CURLU *u = curl_url();
	int r = -EINVAL;

	ENSURE(u);
	if (curl_url_set(u, CURLUPART_URL, base_url, CURLU_PATH_AS_IS) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
		goto out;
	c->is_https = strcmp(scheme, "https") == 0;
	if (!c->is_https && strcmp(scheme, "http") != 0)
		goto out;
	if (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD) || has_part(u, CURLUPART_QUERY) ||
	    has_part(u, CURLUPART_FRAGMENT))
		goto out;
	c->base = xstrdup(base_url);
	for (size_t n = strlen(c->base); n > 0 && c->base[n - 1] == '/'; n--)
		c->base[n - 1] = '\0';
	after = strstr(c->base, "://");
	if (!after)
		goto out;
	c->path_at = (size_t)(after + 3 - c->base) + strcspn(after + 3, "/");
	r = 0;
out:
	curl_free(scheme);
	curl_url_cleanup(u);
	return r;
}

int client_new(const struct client_options *o, struct client **ret)
{
	struct client *c = xcalloc(1, sizeof(*c));
	int r;

	c->magic = CLIENT_MAGIC;
	list_init(&c->idle);
	ENSURE(pthread_mutex_init(&c->lock, NULL) == 0);
	c->ca_file = o->ca_file ? xstrdup(o->ca_file) : NULL;
	c->proxy = xstrdup(o->proxy ? o->proxy : "");
	c->user_agent = o->user_agent ? xstrdup(o->user_agent) : NULL;
	c->connect_timeout_ms = o->connect_timeout_ms;
	c->stall_timeout_ms = o->stall_timeout_ms;
	c->most_idle = o->most_idle;
	r = parse_base(c, o->base_url);
	if (r < 0)
		client_free(c);
	else
		*ret = c;
	return r;
}

static void slot_free(struct slot *s)
{
	curl_multi_cleanup(s->multi);
	curl_easy_cleanup(s->easy);
	free(s);
}

static void slots_free(struct list *slots)
{
	LIST_FOREACH_SAFE(it, next, slots)
		slot_free(LIST_ENTRY(it, struct slot, node));
}

/* Closes all connections that are not in use just now. */
static void slots_drop(struct client *c)
{
	struct list dropped;

	list_init(&dropped);
	pthread_mutex_lock(&c->lock);
	list_splice(&dropped, &c->idle);
	c->idle_count = 0;
	pthread_mutex_unlock(&c->lock);
	slots_free(&dropped);
}

void client_free(struct client *c)
{
	if (!c)
		return;
	OBJ_CHECK(c, CLIENT_MAGIC);
	slots_drop(c);
	pthread_mutex_destroy(&c->lock);
	free(c->base);
	free(c->ca_file);
	free(c->proxy);
	free(c->user_agent);
	c->magic = 0;
	free(c);
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

/* With the first request, not the first client: this brings OpenSSL up, 2 MiB that an idle daemon can do without. */
static void curl_start(void)
{
	ENSURE(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

static struct slot *slot_take(struct client *c)
{
	struct slot *s = NULL;

	pthread_mutex_lock(&c->lock);
	if (!list_is_empty(&c->idle)) {
		s = LIST_ENTRY(c->idle.next, struct slot, node);
		list_remove(&s->node);
		c->idle_count--;
	}
	pthread_mutex_unlock(&c->lock);
	if (s) {
		curl_easy_reset(s->easy); /* options go, the connection stays */
		return s;
	}
	(void)pthread_once(&curl_once, curl_start); /* cannot fail with these arguments */
	s = xcalloc(1, sizeof(*s));
	list_init(&s->node);
	s->easy = curl_easy_init();
	s->multi = curl_multi_init();
	ENSURE(s->easy && s->multi);
	(void)curl_multi_setopt(s->multi, CURLMOPT_MAXCONNECTS, 1L);
	return s;
}

/* Gives a slot back, and lets go of those that nobody has needed for a minute: after a rush each would hold a
 * connection that its peer has closed by now, and about 1 MiB of certificates. */
static void slot_put(struct client *c, struct slot *s)
{
	struct list dropped;

	list_init(&dropped);
	s->used_ms = clock_mono_ms();
	pthread_mutex_lock(&c->lock);
	list_push_front(&c->idle, &s->node);
	c->idle_count++;
	while (!list_is_empty(&c->idle)) {
		struct slot *oldest = LIST_ENTRY(c->idle.prev, struct slot, node);
		if (c->idle_count <= c->most_idle && s->used_ms - oldest->used_ms < IDLE_MS)
			break;
		list_remove(&oldest->node);
		list_push_back(&dropped, &oldest->node);
		c->idle_count--;
	}
	pthread_mutex_unlock(&c->lock);
	slots_free(&dropped);
}

/* --- what libcurl calls ----------------------------------------------------------------------------------------- */

/* libcurl's own sockets are not close-on-exec. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct call *k = arg;
	int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);

	/* Ours to mend: it says nothing about the upstream. */
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
		k->socket_err = -errno;
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int call_interim(struct call *k)
{
	struct slice *lines;
	int r;

	if (!k->sink || !k->rq->on_interim)
		return 0;
	lines = xcalloc(k->head.count + 1, sizeof(*lines));
	client_head_lines(&k->head, lines);
	r = k->rq->on_interim(k->sink->arg, k->head.interim, lines, k->head.count);
	free(lines);
	return r;
}

static int call_head(struct call *k)
{
	struct slice *lines;
	int r = 0;

	k->result->status = k->head.status;
	if (!k->sink || !k->sink->on_head)
		return 0;
	lines = xcalloc(k->head.count + 1, sizeof(*lines));
	client_head_lines(&k->head, lines);
	r = k->sink->on_head(k->sink->arg, k->head.status, lines, k->head.count);
	free(lines);
	return r;
}

static size_t on_header_line(char *p, size_t size, size_t n, void *arg)
{
	struct call *k = arg;
	int r = client_head_add(&k->head, (struct slice){ p, n });

	if (r > 0)
		r = r == 1 ? call_head(k) : call_interim(k);
	k->moved_ms = clock_mono_ms();
	if (r >= 0)
		return n;
	k->own_err = r;
	return 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct call *k = arg;
	int r = 0;

	k->result->body_bytes += n;
	if (k->sink && k->sink->on_data)
		r = k->sink->on_data(k->sink->arg, p, n);
	k->moved_ms = clock_mono_ms(); /* after the sink: its time is not the upstream's */
	if (r >= 0)
		return n;
	k->own_err = r;
	return 0;
}

static size_t on_read(char *into, size_t size, size_t n, void *arg)
{
	struct call *k = arg;
	ssize_t r = k->rq->body_source(k->rq->body_arg, into, size * n);

	k->moved_ms = clock_mono_ms();
	if (r == 0)
		k->source_ended = true;
	if (r >= 0)
		return (size_t)r;
	k->own_err = (int)r;
	return CURL_READFUNC_ABORT;
}

static void set_callbacks(CURL *e, struct call *k)
{
	curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, k);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header_line);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, k);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, k);
	curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(e, CURLOPT_READDATA, k);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, k->message);
}

/* --- driving it ------------------------------------------------------------------------------------------------- */

static int code_of_connect(struct call *k)
{
	long err = 0;

	if (k->socket_err < 0)
		return k->socket_err;
	(void)curl_easy_getinfo(k->easy, CURLINFO_OS_ERRNO, &err);
	return err == ETIMEDOUT ? WEIR_E_CONNECT_TIMEOUT : WEIR_E_REFUSED;
}

/* Only connecting has a time-out of libcurl's. */
static int code_of_timeout(struct call *k)
{
	curl_off_t looked_up = 0;

	(void)curl_easy_getinfo(k->easy, CURLINFO_NAMELOOKUP_TIME_T, &looked_up);
	return looked_up > 0 ? WEIR_E_CONNECT_TIMEOUT : WEIR_E_DNS;
}

static int code_of(struct call *k, CURLcode code)
{
	if (k->own_err < 0 && code != CURLE_OK)
		return k->own_err;
	switch (code) {
	case CURLE_OK:
		return 0;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return WEIR_E_DNS;
	case CURLE_COULDNT_CONNECT:
		return code_of_connect(k);
	case CURLE_PROXY:
		return WEIR_E_REFUSED;
	case CURLE_OPERATION_TIMEDOUT:
		return code_of_timeout(k);
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CRL_BADFILE:
	case CURLE_SSL_ENGINE_INITFAILED:
	case CURLE_SSL_ENGINE_NOTFOUND:
	case CURLE_SSL_ENGINE_SETFAILED:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
	case CURLE_SSL_CLIENTCERT:
	case CURLE_USE_SSL_FAILED:
		return WEIR_E_TLS;
	case CURLE_PARTIAL_FILE:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_SEND_FAIL_REWIND:
	case CURLE_GOT_NOTHING:
		return WEIR_E_CUT;
	case CURLE_OUT_OF_MEMORY: /* our own small sizes abort; libcurl says so of a header line above 100 KiB */
		return WEIR_E_TOO_LARGE;
	case CURLE_URL_MALFORMAT:
		return -EINVAL;
	default:
		return WEIR_E_PROTOCOL;
	}
}

/* Notes how far the request has got. */
static void note_progress(struct call *k, int64_t now)
{
	const struct client_request *rq = k->rq;
	curl_off_t up = 0;
	long head_bytes = 0;
	bool is_body_sent;

	(void)curl_easy_getinfo(k->easy, CURLINFO_REQUEST_SIZE, &head_bytes);
	(void)curl_easy_getinfo(k->easy, CURLINFO_SIZE_UPLOAD_T, &up);
	if (head_bytes > 0 && !k->result->request_sent) {
		k->result->request_sent = true;
		k->moved_ms = now;
	}
	if (up != k->uploaded) {
		k->uploaded = up;
		k->moved_ms = now;
	}
	if (!rq->body_source)
		is_body_sent = up >= (curl_off_t)rq->body.n;
	else
		is_body_sent = k->source_ended || (rq->body_bytes >= 0 && up >= rq->body_bytes);
	if (k->result->request_sent && is_body_sent && k->sent_ms == 0)
		k->sent_ms = now;
}

static void limit_to(int64_t *left, int64_t now, int64_t since, int64_t limit_ms)
{
	if (limit_ms > 0 && since + limit_ms - now < *left)
		*left = since + limit_ms - now;
}

/* Milliseconds until the first of the time-outs that apply now, or its code when it has passed. */
static int check_times(const struct client *c, struct call *k, int64_t now)
{
	bool has_head = k->head.is_complete;
	int64_t silent = 3600000, stalled = 3600000, total = 3600000;

	if (!has_head && k->sent_ms > 0)
		limit_to(&silent, now, k->sent_ms, k->rq->first_byte_ms);
	/* While the answer is awaited only patience counts; upload-pack may think for long. */
	if (has_head || (k->result->request_sent && k->sent_ms == 0))
		limit_to(&stalled, now, k->moved_ms, k->rq->stall_ms ? k->rq->stall_ms : c->stall_timeout_ms);
	limit_to(&total, now, k->start_ms, k->rq->total_ms);
	if (silent <= 0 || (total <= 0 && !has_head)) {
		(void)snprintf(k->message, sizeof(k->message), "no answer within %lld ms",
			       (long long)(now - k->start_ms));
		return WEIR_E_SILENT;
	}
	if (stalled <= 0 || total <= 0) {
		(void)snprintf(k->message, sizeof(k->message), "%s for %lld ms, after %llu bytes of its answer",
			       stalled <= 0 ? "stood still" : "not finished",
			       (long long)(now - (stalled <= 0 ? k->moved_ms : k->start_ms)),
			       (unsigned long long)k->result->body_bytes);
		return WEIR_E_STALLED;
	}
	silent = silent < stalled ? silent : stalled;
	return (int)(silent < total ? silent : total);
}

static int drive(struct client *c, struct slot *s, struct call *k, struct cancel *cancel)
{
	struct curl_waitfd fired = { .fd = cancel_fd(cancel), .events = CURL_WAIT_POLLIN };

	for (;;) {
		int running = 0, queued, left;
		CURLMsg *m;
		int64_t now;

		if (cancel_fired(cancel))
			return WEIR_E_CANCELLED;
		if (curl_multi_perform(s->multi, &running) != CURLM_OK)
			return -ENOMEM; /* its only failure on a handle that is ours alone */
		while ((m = curl_multi_info_read(s->multi, &queued)))
			if (m->msg == CURLMSG_DONE) {
				CURLcode done = m->data.result;
				note_progress(k, clock_mono_ms());
				return code_of(k, done);
			}
		now = clock_mono_ms();
		note_progress(k, now);
		left = check_times(c, k, now);
		if (left < 0)
			return left;
		(void)curl_multi_poll(s->multi, &fired, cancel ? 1 : 0, left, NULL);
	}
}

/* Name lookup and TLS fail in their own words when they get no descriptor. */
static bool descriptors_are_used_up(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	bool used_up = fd < 0 && (errno == EMFILE || errno == ENFILE);

	fd_close(&fd);
	return used_up;
}

int client_call(struct client *c, const struct client_request *rq, const struct client_sink *sink,
		struct cancel *cancel, struct client_result *ret)
{
	struct call k = { .rq = rq, .sink = sink, .result = ret };
	int64_t start_us = clock_mono_us();
	struct slot *s;
	int r;

	OBJ_CHECK(c, CLIENT_MAGIC);
	*ret = (struct client_result){ .status = 0 };
	client_head_init(&k.head);
	k.start_ms = k.moved_ms = clock_mono_ms();
	s = slot_take(c);
	k.easy = s->easy;
	r = client_setup(s->easy, c, &k);
	if (r == 0) {
		set_callbacks(s->easy, &k);
		ENSURE(curl_multi_add_handle(s->multi, s->easy) == CURLM_OK);
		r = drive(c, s, &k, cancel);
		/* Without a whole answer this closes the connection. */
		(void)curl_multi_remove_handle(s->multi, s->easy);
	}
	if (r == 0 && !k.head.is_complete)
		r = WEIR_E_CUT; /* libcurl is content with half a head */
	if (err_is_connect_failure(r) && descriptors_are_used_up())
		r = -EMFILE;
	if (err_is_connect_failure(r) || r == WEIR_E_SILENT)
		slots_drop(c);
	if (r < 0)
		(void)snprintf(ret->detail, sizeof(ret->detail), "%.199s",
			       k.message[0] ? k.message : err_text(r));
	ret->elapsed_us = clock_mono_us() - start_us;
	(void)curl_easy_setopt(s->easy, CURLOPT_ERRORBUFFER, NULL); /* it points into this call */
	slot_put(c, s);
	curl_slist_free_all(k.headers);
	client_head_fini(&k.head);
	return r;
}
