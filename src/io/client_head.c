/* client_head.c -- the response head of one upstream exchange.
 *
 * WHAT     Gathers the lines that libcurl hands over, tells of interim answers (1xx), joins folded lines, and refuses
 *          what two readers could understand differently.
 * WHY      libcurl is lenient: it takes a Content-Length beside chunked, or the last of several lengths. We pass
 *          answers on to clients that share connections, so a doubtful length must end here (RFC 9112 section 11.2).
 * RULES    1. Transfer-Encoding is absent or exactly "chunked", and then there is no Content-Length.
 *          2. All Content-Lengths are the same decimal number.
 *          3. A folded line becomes one line with a single space (RFC 9112 section 5.2).
 *          4. 101 is refused: we never ask to switch.
 *          5. Spaces between a field's name and its colon go (RFC 9112 section 5.1): some end the head there. A name
 *             that is no token is refused. */
#include "io/client_head.h"

#include <string.h>

#include "base/err.h"
#include "base/obj.h"

void client_head_init(struct client_head *h)
{
	*h = (struct client_head){ .raw = BUF_EMPTY };
}

void client_head_fini(struct client_head *h)
{
	buf_fini(&h->raw);
	free(h->ends);
	h->ends = NULL;
	h->count = h->room = 0;
}

void client_head_lines(const struct client_head *h, struct slice *ret)
{
	size_t start = 0;

	for (size_t i = 0; i < h->count; i++) {
		ret[i] = (struct slice){ h->raw.data + start, h->ends[i] - start };
		start = h->ends[i];
	}
}

static bool is_digits(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return s.n > 0 && s.n < 19;
}

/* "HTTP/1.1 200 OK" */
static int parse_status(struct slice line)
{
	struct slice version, code;

	if (!slice_cut(&line, ' ', &version) || !slice_starts(version, "HTTP/1."))
		return WEIR_E_PROTOCOL;
	(void)slice_cut(&line, ' ', &code); /* a reason phrase is not needed */
	if (code.n != 3 || !is_digits(code) || code.p[0] < '1' || code.p[0] > '5') /* RFC 9110 15 */
		return WEIR_E_PROTOCOL;
	return (code.p[0] - '0') * 100 + (code.p[1] - '0') * 10 + (code.p[2] - '0');
}

static bool is_name(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", s.p[i]))
			return false;
	return s.n > 0;
}

static int check_framing(const struct client_head *h, const struct slice *lines)
{
	struct slice length = { NULL, 0 };
	bool is_chunked = false;

	for (size_t i = 0; i < h->count; i++) {
		struct slice value = lines[i], name;

		if (!slice_cut(&value, ':', &name) || !is_name(name))
			return WEIR_E_PROTOCOL;
		value = slice_trim(value);
		if (slice_ieq_str(name, "Transfer-Encoding")) {
			if (is_chunked || !slice_ieq_str(value, "chunked"))
				return WEIR_E_PROTOCOL;
			is_chunked = true;
		} else if (slice_ieq_str(name, "Content-Length")) {
			if (!is_digits(value) || (length.p && !slice_eq(length, value)))
				return WEIR_E_PROTOCOL;
			length = value;
		}
	}
	return is_chunked && length.p ? WEIR_E_PROTOCOL : 0;
}

static int head_end(struct client_head *h)
{
	struct slice *lines;
	int r;

	if (h->status == 101 || h->status == 0)
		return WEIR_E_PROTOCOL;
	if (h->status < 200) { /* interim: the final head is still to come */
		h->interim = h->status;
		h->status = 0;
		return h->interim == 100 ? 0 : 2; /* a 100 is for us, who asked for it */
	}
	lines = xcalloc(h->count + 1, sizeof(*lines));
	client_head_lines(h, lines);
	r = check_framing(h, lines);
	free(lines);
	if (r < 0)
		return r;
	h->is_complete = true;
	return 1;
}

static void add_without_space(struct buf *raw, struct slice line)
{
	struct slice value = line, name;

	if (slice_cut(&value, ':', &name)) {
		while (name.n > 0 && (name.p[name.n - 1] == ' ' || name.p[name.n - 1] == '\t'))
			name.n--;
		buf_add_slice(raw, name);
		buf_add_char(raw, ':');
		line = value;
	}
	buf_add_slice(raw, line);
}

static int add_field_line(struct client_head *h, struct slice line)
{
	bool is_folded = line.p[0] == ' ' || line.p[0] == '\t';

	if (is_folded) {
		if (h->count == 0)
			return WEIR_E_PROTOCOL;
		buf_add_char(&h->raw, ' ');
		h->count--;
		line = slice_trim(line);
	}
	if (h->count == CLIENT_HEAD_LINES)
		return WEIR_E_TOO_LARGE;
	if (h->count == h->room) {
		h->room = h->room ? h->room * 2 : 32;
		h->ends = xrealloc(h->ends, h->room * sizeof(*h->ends));
	}
	if (is_folded)
		buf_add_slice(&h->raw, line);
	else
		add_without_space(&h->raw, line);
	h->ends[h->count++] = h->raw.len;
	return 0;
}

int client_head_add(struct client_head *h, struct slice line)
{
	if (h->is_complete)
		return 0;
	h->seen_bytes += line.n;
	if (h->seen_bytes > CLIENT_HEAD_BYTES)
		return WEIR_E_TOO_LARGE;
	while (line.n > 0 && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
		line.n--;
	if (h->status == 0) {
		int status = parse_status(line);
		if (status < 0)
			return status;
		h->status = status;
		buf_reset(&h->raw);
		h->count = 0;
		return 0;
	}
	if (line.n == 0)
		return head_end(h);
	return add_field_line(h, line);
}
