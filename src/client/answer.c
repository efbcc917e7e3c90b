/* answer.c -- see answer.h.
 *
 *      STATUS_LINE --line--> FIELDS --empty line--> BODY --length bytes--> DONE
 *           ^                   |
 *           '------ 1xx --------'
 */
#include "client/answer.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

enum { STATUS_LINE, FIELDS, BODY, DONE, BROKEN };

void weirc_answer_init(struct weirc_answer *a)
{
	a->status = 0;
	a->state = STATUS_LINE;
	a->closes = a->has_length = a->is_old = false;
	a->body_kept = a->line_len = a->head_bytes = 0;
	a->length = a->body_bytes = 0;
}

/* "HTTP/1.1 200 OK", the reason being optional. */
static bool status_line(struct weirc_answer *a)
{
	const char *l = a->line;

	if (a->line_len < 12 || memcmp(l, "HTTP/1.", 7) != 0 || (l[7] != '0' && l[7] != '1') || l[8] != ' ')
		return false;
	for (int i = 9; i < 12; i++)
		if (l[i] < '0' || l[i] > '9')
			return false;
	if (a->line_len > 12 && l[12] != ' ')
		return false;
	a->status = (l[9] - '0') * 100 + (l[10] - '0') * 10 + (l[11] - '0');
	a->is_old = l[7] == '0';
	a->closes = a->is_old;
	return a->status >= 100;
}

static bool content_length(struct weirc_answer *a, const char *v, size_t n)
{
	uint64_t length = 0;

	if (n == 0 || n > 18)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (v[i] < '0' || v[i] > '9')
			return false;
		length = length * 10 + (uint64_t)(v[i] - '0');
	}
	if (a->has_length && a->length != length)
		return false;
	a->has_length = true;
	a->length = length;
	return true;
}

/* Does a list name this word? Connection: keep-alive, close */
static bool names(const char *v, size_t n, const char *wanted)
{
	size_t len = strlen(wanted);

	for (size_t from = 0; from < n;) {
		size_t to = from, end;

		while (to < n && v[to] != ',')
			to++;
		end = to;
		while (from < end && (v[from] == ' ' || v[from] == '\t'))
			from++;
		while (end > from && (v[end - 1] == ' ' || v[end - 1] == '\t'))
			end--;
		if (end - from == len && strncasecmp(v + from, wanted, len) == 0)
			return true;
		from = to + 1;
	}
	return false;
}

static bool is_token(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool field(struct weirc_answer *a)
{
	size_t name = 0, from, to = a->line_len;
	const char *l = a->line;

	while (name < a->line_len && is_token((unsigned char)l[name]))
		name++;
	if (name == 0 || name == a->line_len || l[name] != ':')
		return false; /* also a folded line, which begins with a space (RFC 9112 section 5.2) */
	for (from = name + 1; from < to && (l[from] == ' ' || l[from] == '\t'); from++)
		;
	while (to > from && (l[to - 1] == ' ' || l[to - 1] == '\t'))
		to--;
	if (name == 14 && strncasecmp(l, "content-length", 14) == 0)
		return content_length(a, l + from, to - from);
	if (name == 17 && strncasecmp(l, "transfer-encoding", 17) == 0)
		return false;
	if (name == 10 && strncasecmp(l, "connection", 10) == 0) {
		if (names(l + from, to - from, "close"))
			a->closes = true;
	}
	return true;
}

static bool end_of_head(struct weirc_answer *a)
{
	if (a->status < 200) {
		if (a->status == 101 || a->has_length)
			return false;
		a->state = STATUS_LINE;
		return true;
	}
	if (a->status == 204 || a->status == 304)
		a->length = 0;
	else if (!a->has_length || a->length > WEIRC_ANSWER_BODY)
		return false;
	a->state = a->length ? BODY : DONE;
	return true;
}

static bool line_is_whole(struct weirc_answer *a)
{
	bool ok;

	if (a->line_len == 0 || a->line[a->line_len - 1] != '\r')
		return false; /* a bare line feed */
	a->line_len--;
	for (size_t i = 0; i < a->line_len; i++)
		if (((unsigned char)a->line[i] < 0x20 && a->line[i] != '\t') || a->line[i] == 0x7f)
			return false;
	if (a->state == STATUS_LINE) {
		ok = status_line(a);
		a->state = FIELDS;
	} else {
		ok = a->line_len ? field(a) : end_of_head(a);
	}
	a->line_len = 0;
	return ok;
}

static bool head_byte(struct weirc_answer *a, char c)
{
	if (++a->head_bytes > WEIRC_ANSWER_HEAD)
		return false;
	if (c == '\n')
		return line_is_whole(a);
	if (a->line_len == sizeof(a->line))
		return false;
	a->line[a->line_len++] = c;
	return true;
}

static size_t body_bytes(struct weirc_answer *a, const char *p, size_t n)
{
	size_t room = sizeof(a->body) - a->body_kept;

	if (n > a->length - a->body_bytes)
		n = (size_t)(a->length - a->body_bytes);
	if (room > n)
		room = n;
	memcpy(a->body + a->body_kept, p, room);
	a->body_kept += room;
	a->body_bytes += n;
	if (a->body_bytes == a->length)
		a->state = DONE;
	return n;
}

int weirc_answer_feed(struct weirc_answer *a, const char *p, size_t n, size_t *ret_used)
{
	size_t at = 0;

	while (at < n && a->state < DONE) {
		if (a->state == BODY)
			at += body_bytes(a, p + at, n - at);
		else if (!head_byte(a, p[at++]))
			a->state = BROKEN;
	}
	*ret_used = at;
	return a->state == DONE ? 1 : a->state == BROKEN ? -EPROTO : 0;
}
