/* http_parse.c -- where a head ends, and where a body does.
 *
 * WHAT     A state machine over bytes in any portions: finds the end of the head while it refuses what no head may
 *          hold, hands the head over, then takes the body apart.
 *
 *            IN_HEAD --empty line--> HEAD_WHOLE --http_parse_head()--> IN_LENGTH | IN_CHUNKED | OVER
 *                                                                      IN_LENGTH, IN_CHUNKED --end--> OVER
 *
 * WHY      Most heads come whole in one read; then nothing is copied here. One that comes in pieces is gathered in
 *          `partial`, which has memory only meanwhile, so that an idle connection costs none.
 * RULES    1. Chunk framing is read twice: by the switch below, and by llhttp, which gets exactly the same runs of
 *             bytes and must find as much body in each run, and the end in the same place.
 *          2. Trailers are checked, bounded, and dropped: nobody here has a use for them.
 * THREADS  Pure.
 * SEE      RFC 9112 sections 2.2 and 7.1 */
#include "io/http_parse.h"

#include "base/obj.h"
#include "io/http_priv.h"

enum chunk_state {
	CHUNK_SIZE, CHUNK_EXT, CHUNK_SIZE_LF, CHUNK_DATA, CHUNK_DATA_CR, CHUNK_DATA_LF,
	TRAILER_START, TRAILER_NAME, TRAILER_VALUE, TRAILER_LF, TRAILER_END_LF, CHUNK_DONE,
};
/* chunk-ext = *( ";" token [ "=" ( token / quoted-string ) ] ); the optional space of RFC 9112 7.1.1 is "bad
 * whitespace" */
enum ext_state { EXT_NAME_FIRST, EXT_NAME, EXT_VALUE_FIRST, EXT_VALUE, EXT_QUOTED, EXT_QUOTED_PAIR, EXT_QUOTED_END };

static int on_field(llhttp_t *l)
{
	struct http_parse *p = l->data;

	p->second_fields++;
	return 0;
}

static int on_headers(llhttp_t *l)
{
	struct http_parse *p = l->data;

	p->second_headers = true;
	return 0;
}

static int on_body(llhttp_t *l, const char *at, size_t n)
{
	struct http_parse *p = l->data;

	p->second_body += n;
	return 0;
}

static int on_end(llhttp_t *l)
{
	struct http_parse *p = l->data;

	p->second_end = true;
	return 0;
}

const llhttp_settings_t http_second_settings = {
	.on_header_value_complete = on_field,
	.on_headers_complete = on_headers,
	.on_body = on_body,
	.on_message_complete = on_end,
};

void http_parse_init(struct http_parse *p, size_t most_head)
{
	memset(p, 0, sizeof(*p));
	p->most_head = most_head;
	buf_init(&p->partial, 0);
}

void http_parse_fini(struct http_parse *p)
{
	buf_fini(&p->partial);
}

void http_parse_next(struct http_parse *p)
{
	ENSURE(p->phase == HTTP_OVER);
	buf_fini(&p->partial);
	p->phase = HTTP_IN_HEAD;
	p->head_bytes = 0;
	p->line_bytes = p->lines = p->blank_lines = 0;
	p->after_cr = false;
	p->chunk_state = CHUNK_SIZE;
	p->digits = p->chunk_line = 0;
	p->ext_bytes = p->trailer_bytes = 0;
}

bool http_parse_is_idle(const struct http_parse *p)
{
	return p->phase == HTTP_IN_HEAD && p->head_bytes == 0 && !p->blank_lines && !p->after_cr;
}

/* --- the end of the head --- */

/* Takes bytes of a line up to its CR. */
static size_t scan_line(struct http_parse *p, const char *at, size_t n)
{
	size_t i = 0;

	while (i < n && http_is(at[i], HTTP_C_TEXT))
		i++;
	p->line_bytes += (unsigned)i;
	return i;
}

/* Looks for the empty line. 1 with *ret_used bytes seen when it was found, 0 when it was not, -1 refused. *ret_start:
 * where the head begins in `at` (one empty line before it is skipped, RFC 9112 2.2). */
static int scan_head(struct http_parse *p, const char *at, size_t n, size_t *ret_used, size_t *ret_start)
{
	size_t i = 0;

	*ret_start = 0;
	while (i < n) {
		if (p->after_cr) {
			if (at[i++] != '\n')
				return http_bad(p, HTTP_REFUSE_BARE_CR);
			p->after_cr = false;
			if (p->line_bytes) {
				p->lines++;
				p->line_bytes = 0;
			} else if (p->lines) {
				*ret_used = i;
				return 1;
			} else if (p->blank_lines++) {
				return http_bad(p, HTTP_REFUSE_REQUEST_LINE);
			} else {
				*ret_start = i;
			}
			continue;
		}
		i += scan_line(p, at + i, n - i);
		if (p->head_bytes + i > p->most_head)
			return http_bad(p, p->lines ? HTTP_REFUSE_HEAD_LONG : HTTP_REFUSE_LINE_LONG);
		if (i == n)
			break;
		if (at[i] == '\n')
			return http_bad(p, HTTP_REFUSE_BARE_LF);
		if (at[i] != '\r')
			return http_bad(p, HTTP_REFUSE_CONTROL);
		p->after_cr = true;
		i++;
	}
	*ret_used = n;
	return 0;
}

static enum http_event step_head(struct http_parse *p, const char *at, size_t n, size_t *ret_used,
				 struct slice *ret_piece)
{
	size_t used = 0, start = 0;
	int r;

	r = scan_head(p, at, n, &used, &start);
	if (r < 0) {
		buf_fini(&p->partial);
		return HTTP_EV_REFUSED;
	}
	*ret_used = used;
	if (!p->lines && !p->line_bytes)
		return HTTP_EV_MORE; /* an empty line before the request, or half of one: the state remembers it */
	p->head_bytes += used - start;
	if (r > 0 && !p->partial.len) {
		*ret_piece = (struct slice){ at + start, used - start };
	} else {
		buf_add(&p->partial, at + start, used - start);
		*ret_piece = buf_slice(&p->partial);
	}
	if (r == 0)
		return HTTP_EV_MORE;
	p->phase = HTTP_HEAD_WHOLE;
	return HTTP_EV_HEAD;
}

/* --- chunked --- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int chunk_size(struct http_parse *p, char c)
{
	int digit = hex_digit(c);

	if (digit >= 0) {
		/* 16 digits of which the first is below 8: no sum with it can overflow 64 signed bits in anybody's
		 * code */
		if (++p->digits > 16 || p->left > (INT64_MAX >> 4))
			return http_bad(p, HTTP_REFUSE_CHUNK);
		p->left = p->left << 4 | (unsigned)digit;
		return 0;
	}
	if (!p->digits || (c != ';' && c != '\r'))
		return http_bad(p, HTTP_REFUSE_CHUNK);
	p->chunk_state = c == ';' ? CHUNK_EXT : CHUNK_SIZE_LF;
	p->ext_state = EXT_NAME_FIRST;
	return 0;
}

/* After a value has ended: another extension, or the end of the line. */
static int ext_after(struct http_parse *p, char c)
{
	if (c == '\r')
		p->chunk_state = CHUNK_SIZE_LF;
	else if (c == ';')
		p->ext_state = EXT_NAME_FIRST;
	else
		return http_bad(p, HTTP_REFUSE_CHUNK);
	return 0;
}

static int chunk_ext(struct http_parse *p, char c)
{
	bool token = http_is(c, HTTP_C_TOKEN);

	if (++p->ext_bytes > HTTP_MOST_CHUNK_EXT)
		return http_bad(p, HTTP_REFUSE_CHUNK);
	switch ((enum ext_state)p->ext_state) {
	case EXT_NAME_FIRST:
		p->ext_state = EXT_NAME;
		return token ? 0 : http_bad(p, HTTP_REFUSE_CHUNK);
	case EXT_NAME:
		if (token)
			return 0;
		if (c != '=')
			return ext_after(p, c);
		p->ext_state = EXT_VALUE_FIRST;
		return 0;
	case EXT_VALUE_FIRST:
		p->ext_state = c == '"' ? EXT_QUOTED : EXT_VALUE;
		return token || c == '"' ? 0 : http_bad(p, HTTP_REFUSE_CHUNK);
	case EXT_VALUE:
		return token ? 0 : ext_after(p, c);
	case EXT_QUOTED:
		if (c == '"')
			p->ext_state = EXT_QUOTED_END;
		else if (c == '\\')
			p->ext_state = EXT_QUOTED_PAIR;
		return http_is(c, HTTP_C_TEXT) ? 0 : http_bad(p, HTTP_REFUSE_CHUNK);
	case EXT_QUOTED_PAIR:
		p->ext_state = EXT_QUOTED;
		return http_is(c, HTTP_C_TEXT) ? 0 : http_bad(p, HTTP_REFUSE_CHUNK);
	case EXT_QUOTED_END:
		return ext_after(p, c);
	}
	return http_bad(p, HTTP_REFUSE_CHUNK);
}

static int expect_char(struct http_parse *p, char c, char wanted, enum chunk_state next, enum http_refuse why)
{
	if (c != wanted)
		return http_bad(p, why);
	p->chunk_state = next;
	return 0;
}

/* One byte of chunk framing: everything but the data. */
static int chunk_byte(struct http_parse *p, char c)
{
	enum chunk_state s = p->chunk_state;

	if (s <= CHUNK_SIZE_LF && ++p->chunk_line > HTTP_MOST_CHUNK_LINE)
		return http_bad(p, HTTP_REFUSE_CHUNK);
	if (s >= TRAILER_START && ++p->trailer_bytes > p->most_head)
		return http_bad(p, HTTP_REFUSE_HEAD_LONG);
	switch (s) {
	case CHUNK_SIZE:
		return chunk_size(p, c);
	case CHUNK_EXT:
		return chunk_ext(p, c);
	case CHUNK_SIZE_LF:
		p->chunk_line = p->digits = 0;
		return expect_char(p, c, '\n', p->left ? CHUNK_DATA : TRAILER_START, HTTP_REFUSE_CHUNK);
	case CHUNK_DATA_CR:
		return expect_char(p, c, '\r', CHUNK_DATA_LF, HTTP_REFUSE_CHUNK);
	case CHUNK_DATA_LF:
		return expect_char(p, c, '\n', CHUNK_SIZE, HTTP_REFUSE_CHUNK);
	case TRAILER_START:
		if (c == '\r')
			p->chunk_state = TRAILER_END_LF;
		else if (http_is(c, HTTP_C_TOKEN))
			p->chunk_state = TRAILER_NAME;
		else
			return http_bad(p, HTTP_REFUSE_TRAILER);
		return 0;
	case TRAILER_NAME:
		if (c == ':')
			p->chunk_state = TRAILER_VALUE;
		return c == ':' || http_is(c, HTTP_C_TOKEN) ? 0 : http_bad(p, HTTP_REFUSE_TRAILER);
	case TRAILER_VALUE:
		if (c == '\r')
			p->chunk_state = TRAILER_LF;
		return c == '\r' || http_is(c, HTTP_C_TEXT) ? 0 : http_bad(p, HTTP_REFUSE_TRAILER);
	case TRAILER_LF:
		return expect_char(p, c, '\n', TRAILER_START, HTTP_REFUSE_TRAILER);
	case TRAILER_END_LF:
		return expect_char(p, c, '\n', CHUNK_DONE, HTTP_REFUSE_TRAILER);
	case CHUNK_DATA:
	case CHUNK_DONE:
		break;
	}
	return http_bad(p, HTTP_REFUSE_CHUNK);
}

/* Gives a run to llhttp, which must find `body` bytes of body in it. */
static int ask_second(struct http_parse *p, const char *at, size_t n, size_t body)
{
	p->second_body = 0;
	if (n && llhttp_execute(http_second(p), at, n) != HPE_OK)
		return http_bad(p, HTTP_REFUSE_DISAGREE);
	if (p->second_body != body || p->second_end != (p->chunk_state == CHUNK_DONE))
		return http_bad(p, HTTP_REFUSE_DISAGREE);
	return 0;
}

static enum http_event step_chunked(struct http_parse *p, const char *at, size_t n, size_t *ret_used,
				    struct slice *ret_piece)
{
	size_t i = 0, run;

	while (i < n && p->chunk_state != CHUNK_DATA && p->chunk_state != CHUNK_DONE)
		if (chunk_byte(p, at[i++]) < 0)
			return HTTP_EV_REFUSED;
	if (i && ask_second(p, at, i, 0) < 0)
		return HTTP_EV_REFUSED;
	*ret_used = i;
	if (p->chunk_state == CHUNK_DONE) {
		p->phase = HTTP_OVER;
		return HTTP_EV_END;
	}
	if (i == n)
		return HTTP_EV_MORE;
	run = n - i < p->left ? n - i : (size_t)p->left;
	if (ask_second(p, at + i, run, run) < 0)
		return HTTP_EV_REFUSED;
	p->left -= run;
	if (!p->left)
		p->chunk_state = CHUNK_DATA_CR;
	*ret_used = i + run;
	*ret_piece = (struct slice){ at + i, run };
	return HTTP_EV_BODY;
}

enum http_event http_parse_step(struct http_parse *p, const char *at, size_t n, size_t *ret_used,
				struct slice *ret_piece)
{
	size_t run;

	*ret_used = 0;
	*ret_piece = (struct slice){ NULL, 0 };
	switch (p->phase) {
	case HTTP_IN_HEAD:
		return step_head(p, at, n, ret_used, ret_piece);
	case HTTP_HEAD_WHOLE:
		return HTTP_EV_HEAD; /* http_parse_head() has to come first; the piece was given */
	case HTTP_IN_LENGTH:
		if (!n)
			return HTTP_EV_MORE;
		run = n < p->left ? n : (size_t)p->left;
		p->left -= run;
		if (!p->left)
			p->phase = HTTP_OVER;
		*ret_used = run;
		*ret_piece = (struct slice){ at, run };
		return HTTP_EV_BODY;
	case HTTP_IN_CHUNKED:
		return step_chunked(p, at, n, ret_used, ret_piece);
	case HTTP_OVER:
		return HTTP_EV_END;
	case HTTP_BAD:
		break;
	}
	return HTTP_EV_REFUSED;
}
