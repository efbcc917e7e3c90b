/* client_setup.c -- what is asked of libcurl for one request.
 *
 * WHAT     Checks method, target and header lines, and sets all options. Handles are reset before each call, so this is
 *          the whole truth about a request.
 * WHY      libcurl's defaults suit a person at a terminal. A gateway wants its bytes sent as they are, nothing added,
 *          no proxies from the environment, no signals, no following.
 * RULES    1. The framing of a request is ours: a Content-Length or Transfer-Encoding among the caller's lines is
 *             dropped.
 *          2. No byte of a caller can end a line: CR, LF and NUL are refused, not escaped.
 *          3. Options of integer type are passed as long or curl_off_t, as libcurl takes them through varargs. */
#include "io/client_priv.h"

#include <errno.h>

#include "base/obj.h"

#define DNS_CACHE_S 10L
#define RECEIVE_BYTES 131072L
#define TCP_IDLE_S 30L /* a peer that vanished without a word is noticed even by a call without time-outs */

struct slice client_header(const struct slice *headers, size_t header_count, const char *name)
{
	for (size_t i = 0; i < header_count; i++) {
		struct slice value = headers[i], n;
		if (slice_cut(&value, ':', &n) && slice_ieq_str(n, name))
			return slice_trim(value);
	}
	return (struct slice){ NULL, 0 };
}

static bool is_token(const char *s)
{
	const char *p = s;

	while ((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') || *p == '-')
		p++;
	return p > s && !*p;
}

/* Visible ASCII, as a request target is; no fragment, which never travels. */
static bool is_target(struct slice t)
{
	for (size_t i = 0; i < t.n; i++)
		if (t.p[i] <= ' ' || t.p[i] > '~' || t.p[i] == '#')
			return false;
	return t.n > 0 && t.p[0] == '/';
}

static bool is_header_line(struct slice line)
{
	for (size_t i = 0; i < line.n; i++)
		if (line.p[i] == '\r' || line.p[i] == '\n' || line.p[i] == '\0')
			return false;
	return slice_find(line, ':') > 0;
}

static void add_header(struct call *k, const char *line)
{
	struct curl_slist *more = curl_slist_append(k->headers, line);

	ENSURE(more);
	k->headers = more;
}

static int add_caller_header(struct call *k, struct slice line)
{
	struct slice value = line, name;
	char *text;

	if (!is_header_line(line))
		return -EINVAL;
	(void)slice_cut(&value, ':', &name);
	if (slice_ieq_str(name, "Content-Length") || slice_ieq_str(name, "Transfer-Encoding"))
		return 0; /* rule 1 */
	text = slice_dup(line);
	if (slice_trim(value).n == 0)
		text[name.n] = ';', text[name.n + 1] = '\0'; /* libcurl's way to send an empty one */
	add_header(k, text);
	free(text);
	return 0;
}

/* What libcurl would add by itself is taken back unless the caller gave it. */
static int set_headers(struct call *k)
{
	static const char *const unwanted[] = { "Expect:", "Accept:", "Content-Type:" };
	const struct client_request *rq = k->rq;

	for (size_t i = 0; i < rq->header_count; i++) {
		int r = add_caller_header(k, rq->headers[i]);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < ARRAY_LEN(unwanted); i++) {
		char *name = slice_dup((struct slice){ unwanted[i], strlen(unwanted[i]) - 1 });
		if (!client_header(rq->headers, rq->header_count, name).p)
			add_header(k, unwanted[i]);
		free(name);
	}
	if (rq->body_source && rq->body_bytes < 0)
		add_header(k, "Transfer-Encoding: chunked");
	return 0;
}

static bool has_body(const struct client_request *rq)
{
	return rq->body.n > 0 || rq->body_source;
}

static void set_method_and_body(CURL *e, struct call *k)
{
	const struct client_request *rq = k->rq;
	/* RFC 9110 section 8.6: methods that expect a body say Content-Length: 0 without one. */
	bool expects_body =
		strcmp(rq->method, "POST") == 0 || strcmp(rq->method, "PUT") == 0 || strcmp(rq->method, "PATCH") == 0;

	if (has_body(rq) || expects_body) {
		curl_easy_setopt(e, CURLOPT_POST, 1L);
		if (rq->body_source) { /* read by callback */
			curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE,
					 (curl_off_t)(rq->body_bytes < 0 ? -1 : rq->body_bytes));
		} else {
			curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)rq->body.n);
			curl_easy_setopt(e, CURLOPT_POSTFIELDS, rq->body.n > 0 ? rq->body.p : "");
		}
	} else if (strcmp(rq->method, "HEAD") == 0) {
		curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
	}
	if (strcmp(rq->method, "GET") != 0 || has_body(rq))
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, rq->method);
}

static void set_connection(CURL *e, const struct client *c)
{
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* a cancelled call does not wait for its name lookup */
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_PROXY, c->proxy); /* "": none, whatever the environment says */
	curl_easy_setopt(e, CURLOPT_NOPROXY, "");
	curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(e, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE); /* credentials are not for the proxy */
	curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, TCP_IDLE_S);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, TCP_IDLE_S);
	curl_easy_setopt(e, CURLOPT_DNS_CACHE_TIMEOUT, DNS_CACHE_S);
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, RECEIVE_BYTES);
	if (c->connect_timeout_ms > 0)
		curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)c->connect_timeout_ms);
	if (c->ca_file) {
		curl_easy_setopt(e, CURLOPT_CAINFO, c->ca_file);
		curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
	}
}

int client_setup(CURL *e, const struct client *c, struct call *k)
{
	const struct client_request *rq = k->rq;
	char *url;
	int r;

	if (!is_token(rq->method) || !is_target(rq->target))
		return -EINVAL;
	r = set_headers(k);
	if (r < 0)
		return r;
	set_connection(e, c);
	url = xstrf("%s%.*s", c->base, (int)rq->target.n, rq->target.p);
	curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(e, CURLOPT_URL, url);
	/* Byte for byte, where the form of the target is ours to choose: http through a proxy needs the absolute form.
	 * */
	if (c->is_https || !*c->proxy)
		curl_easy_setopt(e, CURLOPT_REQUEST_TARGET, url + c->path_at);
	free(url); /* libcurl copied it */
	curl_easy_setopt(e, CURLOPT_USERAGENT, c->user_agent);
	curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, rq->fresh_connection ? 1L : 0L);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, k->headers);
	set_method_and_body(e, k);
	return 0;
}
