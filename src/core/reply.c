/* reply.c -- the ways to answer an exchange.
 *
 * RULES    1. Exactly one reply; a second one is a bug and aborts.
 *          2. On the exchange's own front thread, below its connection, the reply is sent when the handler has
 *             returned; from anywhere else it is posted. So no service code ever stands on the stack while its
 *             connection is freed.
 * THREADS  The owner of the exchange, any thread. */
#include "core/front_priv.h"

#include "base/err.h"
#include "base/str.h"

static const struct {
	int status;
	const char *text;
} status_texts[] = {
	{ 102, "Processing" },
	{ 103, "Early Hints" },
	{ 200, "OK" },
	{ 201, "Created" },
	{ 202, "Accepted" },
	{ 203, "Non-Authoritative Information" },
	{ 204, "No Content" },
	{ 205, "Reset Content" },
	{ 206, "Partial Content" },
	{ 207, "Multi-Status" },
	{ 300, "Multiple Choices" },
	{ 301, "Moved Permanently" },
	{ 302, "Found" },
	{ 303, "See Other" },
	{ 304, "Not Modified" },
	{ 307, "Temporary Redirect" },
	{ 308, "Permanent Redirect" },
	{ 400, "Bad Request" },
	{ 401, "Unauthorized" },
	{ 402, "Payment Required" },
	{ 403, "Forbidden" },
	{ 404, "Not Found" },
	{ 405, "Method Not Allowed" },
	{ 406, "Not Acceptable" },
	{ 407, "Proxy Authentication Required" },
	{ 408, "Request Timeout" },
	{ 409, "Conflict" },
	{ 410, "Gone" },
	{ 411, "Length Required" },
	{ 412, "Precondition Failed" },
	{ 413, "Content Too Large" },
	{ 414, "URI Too Long" },
	{ 415, "Unsupported Media Type" },
	{ 416, "Range Not Satisfiable" },
	{ 417, "Expectation Failed" },
	{ 421, "Misdirected Request" },
	{ 422, "Unprocessable Content" },
	{ 423, "Locked" },
	{ 424, "Failed Dependency" },
	{ 425, "Too Early" },
	{ 426, "Upgrade Required" },
	{ 428, "Precondition Required" },
	{ 429, "Too Many Requests" },
	{ 431, "Request Header Fields Too Large" },
	{ 451, "Unavailable For Legal Reasons" },
	{ 500, "Internal Server Error" },
	{ 501, "Not Implemented" },
	{ 502, "Bad Gateway" },
	{ 503, "Service Unavailable" },
	{ 504, "Gateway Timeout" },
	{ 505, "HTTP Version Not Supported" },
	{ 507, "Insufficient Storage" },
	{ 508, "Loop Detected" },
};

const char *http_status_text(int status)
{
	for (size_t i = 0; i < ARRAY_LEN(status_texts); i++)
		if (status_texts[i].status == status)
			return status_texts[i].text;
	return "Status";
}

static void add_plain(struct buf *b, const char *s)
{
	size_t n = strlen(s);

	ENSURE(!memchr(s, '\r', n) && !memchr(s, '\n', n)); /* a split answer is a bug of ours */
	buf_add(b, s, n);
}

static void set_head(struct exchange *ex, int status, const struct header_line *headers, size_t count)
{
	OBJ_CHECK(ex, EXCHANGE_MAGIC);
	ENSURE(status >= 200 && status <= 599);
	ex->status = status;
	buf_reset(&ex->lines);
	for (size_t i = 0; i < count; i++) {
		const char *name = headers[i].name;

		if ((name[0] | 0x20) == 'd' && strcasecmp(name, "Date") == 0)
			ex->has_date = true;
		add_plain(&ex->lines, name);
		buf_add(&ex->lines, ": ", 2);
		add_plain(&ex->lines, headers[i].value);
		buf_add(&ex->lines, "\r\n", 2);
	}
}

void exchange_send_interim(struct exchange *ex, int status, const struct header_line *headers, size_t header_count)
{
	struct interim *i;

	OBJ_CHECK(ex, EXCHANGE_MAGIC);
	ENSURE(status > 101 && status < 200 && !atomic_load(&ex->replied));
	if (ex->head.minor == 0)
		return;
	i = xcalloc(1, sizeof(*i));
	i->ex = ex;
	buf_init(&i->text, 0);
	buf_addf(&i->text, "HTTP/1.1 %d %s\r\n", status, http_status_text(status));
	for (size_t k = 0; k < header_count; k++) {
		add_plain(&i->text, headers[k].name);
		buf_add(&i->text, ": ", 2);
		add_plain(&i->text, headers[k].value);
		buf_add(&i->text, "\r\n", 2);
	}
	buf_add(&i->text, "\r\n", 2);
	loop_post(ex->front->loop, conn_interim, i); /* in the mail before our reply, so the exchange is there */
}

static void deliver(struct exchange *ex)
{
	struct conn *c = ex->conn;

	ENSURE(!atomic_exchange(&ex->replied, true)); /* rule 1 */
	pthread_mutex_lock(&ex->lock);
	ex->gone_hook = NULL; /* the caller is out of it now */
	pthread_mutex_unlock(&ex->lock);
	if (loop_is_current(ex->front->loop) && c->running)
		c->reply_here = true;
	else
		loop_post(ex->front->loop, conn_answer, ex);
}

void exchange_reply(struct exchange *ex, int status, const struct header_line *headers, size_t header_count,
		    struct blob *body)
{
	set_head(ex, status, headers, header_count);
	ex->blob = body;
	deliver(ex);
}

void exchange_reply_spool(struct exchange *ex, int status, const struct header_line *headers, size_t header_count,
			  struct spool *spool, int64_t total_bytes)
{
	set_head(ex, status, headers, header_count);
	ex->spool = spool;
	ex->total_bytes = total_bytes < 0 ? -1 : total_bytes;
	deliver(ex);
}

void exchange_reply_spool_part(struct exchange *ex, int status, const struct header_line *headers, size_t header_count,
			       struct spool *spool, uint64_t from, uint64_t bytes)
{
	ENSURE(bytes <= INT64_MAX && from <= INT64_MAX - bytes);
	ex->spool_from = from;
	exchange_reply_spool(ex, status, headers, header_count, spool, (int64_t)bytes);
}

void exchange_reply_head(struct exchange *ex, int status, const struct header_line *headers, size_t header_count,
			 int64_t bytes)
{
	ENSURE(exchange_is_head(ex) || status == 204 || status == 304);
	set_head(ex, status, headers, header_count);
	ex->head_only = true;
	ex->total_bytes = bytes;
	deliver(ex);
}

void exchange_reply_dropped(struct exchange *ex)
{
	OBJ_CHECK(ex, EXCHANGE_MAGIC);
	ex->dropped = true;
	deliver(ex);
}

static void reply_text(struct exchange *ex, int status, const struct header_line *extra, size_t extra_count,
		       struct buf *text)
{
	struct header_line lines[4] = { { "Content-Type", "text/plain; charset=utf-8" },
					{ "Cache-Control", "no-store" } };

	ENSURE(extra_count <= 2);
	for (size_t i = 0; i < extra_count; i++)
		lines[2 + i] = extra[i];
	buf_add_char(text, '\n');
	exchange_reply(ex, status, lines, 2 + extra_count, blob_new_take(text));
}

static void reply_problem(struct exchange *ex, int status, const struct header_line *extra, size_t extra_count,
			  const char *title, struct slice detail)
{
	struct header_line lines[2 + EXCHANGE_PROBLEM_LINES] = { { "Content-Type", "application/problem+json" },
								 { "Cache-Control", "no-store" } };
	struct buf b = BUF_EMPTY;

	ENSURE(extra_count <= EXCHANGE_PROBLEM_LINES);
	for (size_t i = 0; i < extra_count; i++)
		lines[2 + i] = extra[i];
	buf_add_str(&b, "{\"title\": \"");
	str_add_json(&b, slice_str(title));
	buf_addf(&b, "\", \"status\": %d, \"detail\": \"", status);
	str_add_json(&b, detail);
	buf_add_str(&b, "\"}\n");
	exchange_reply(ex, status, lines, 2 + extra_count, blob_new_take(&b));
}

void exchange_reply_text(struct exchange *ex, int status, const char *fmt, ...)
{
	struct buf b = BUF_EMPTY;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&b, fmt, ap);
	va_end(ap);
	reply_text(ex, status, NULL, 0, &b);
}

void exchange_reply_problem(struct exchange *ex, int status, const char *title, const char *fmt, ...)
{
	struct buf b = BUF_EMPTY;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&b, fmt, ap);
	va_end(ap);
	reply_problem(ex, status, NULL, 0, title, buf_slice(&b));
	buf_fini(&b);
}

void exchange_reply_problem_with(struct exchange *ex, int status, const struct header_line *headers,
				 size_t header_count, const char *title, const char *fmt, ...)
{
	struct buf b = BUF_EMPTY;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&b, fmt, ap);
	va_end(ap);
	reply_problem(ex, status, headers, header_count, title, buf_slice(&b));
	buf_fini(&b);
}

void reply_refusal(struct exchange *ex, enum http_refuse why)
{
	struct header_line extra[2];
	size_t count = 0;
	int status = http_refuse_status(why);
	struct buf b = BUF_EMPTY;

	server_count(ex->front->server->refused[why]);
	if (status == 503)
		extra[count++] = (struct header_line){ "Retry-After", "1" };
	if (status == 405)
		extra[count++] = (struct header_line){ "Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" };
	if (status == 415)
		extra[count++] = (struct header_line){ "Accept-Encoding", "gzip" }; /* RFC 9110 15.5.16 */
	if (ex->listener->problem_json) {
		reply_problem(ex, status, extra, count, http_status_text(status), slice_str(http_refuse_text(why)));
		return;
	}
	buf_addf(&b, "weir: %s", http_refuse_text(why));
	reply_text(ex, status, extra, count, &b);
}

bool exchange_refuse_foreign(struct exchange *ex)
{
	struct slice origin = http_head_get(&ex->head, "origin");

	if (!origin.p || origin_is_ours(origin, ex->head.authority))
		return false;
	reply_refusal(ex, HTTP_REFUSE_ORIGIN);
	return true;
}

void exchange_reply_body_error(struct exchange *ex, int err)
{
	switch (err) {
	case WEIR_E_CANCELLED:
		exchange_reply_dropped(ex);
		break;
	case WEIR_E_TOO_LARGE:
		reply_refusal(ex, HTTP_REFUSE_BODY_LARGE);
		break;
	case WEIR_E_PROTOCOL:
		reply_refusal(ex, HTTP_REFUSE_BODY_CODING);
		break;
	case -ETIMEDOUT:
		reply_refusal(ex, HTTP_REFUSE_BODY_SLOW);
		break;
	default:
		reply_refusal(ex, HTTP_REFUSE_BODY_MALFORMED);
		break;
	}
}
