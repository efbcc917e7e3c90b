/* stored.c -- one stored response, made once and then only read.
 *
 * WHAT     The header block with its lines cut, the same lines as C strings for a reply, what policy.h reads of them,
 *          and the body. All that a hit needs is made here, once, so that a hit itself allocates nothing.
 * RULES    1. Nothing changes after stored_new(), but the count of references and the id, which the cache sets before
 *             anybody else sees it.
 *          2. A reply's lines have no CR, LF or NUL: lines that are none of a header are left out of the reply.
 * SEE      RFC 9110 7.6.3 (Via), RFC 9111 5.1 (Age is made anew for each reply) */
#include "mirror/stored.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/obj.h"
#include "store/wholefile.h"

#define STORED_MAGIC      0x73746f72u
#define STORED_MOST_LINES 4096

/* What the front sets itself, and Age. */
static bool is_made_anew(struct slice name)
{
	return slice_ieq_str(name, "Age") || slice_ieq_str(name, "Content-Length") ||
	       slice_ieq_str(name, "X-Request-Id");
}

/* The line as two strings in `text`, at least line.n + 2 bytes; what is used of it, 0 when it is for no reply. */
static size_t reply_line(struct slice line, char *text, struct header_line *ret)
{
	struct slice name, value;

	if (!httplines_split(line, &name, &value) || is_made_anew(name) || slice_has_nul(line) ||
	    slice_find(line, '\r') >= 0)
		return 0;
	memcpy(text, name.p, name.n);
	text[name.n] = '\0';
	if (value.n)
		memcpy(text + name.n + 1, value.p, value.n);
	text[name.n + 1 + value.n] = '\0';
	*ret = (struct header_line){ text, text + name.n + 1 };
	return name.n + value.n + 2;
}

static void make_reply(struct stored *s)
{
	size_t at = 0;

	s->reply_text = xmalloc(s->head.len + s->lines.count + 1); /* each line: LF and colon become NULs, or fewer */
	s->reply = xcalloc(s->lines.count + 1, sizeof(*s->reply));
	for (size_t i = 0; i < s->lines.count; i++) {
		size_t used = reply_line(s->lines.lines[i], s->reply_text + at, &s->reply[s->reply_count]);
		s->reply_count += used > 0;
		at += used;
	}
	s->reply[s->reply_count++] = (struct header_line){ "Via", "1.1 weir" }; /* behind those before us: 7.6.3 */
}

static void copy(struct buf *into, struct slice from)
{
	buf_init(into, 0);
	buf_add_slice(into, from);
}

int stored_new(const struct stored_parts *p, struct stored **ret)
{
	struct blob *body = p->body;
	struct spool *file = p->file;
	struct stored *s;
	struct slice *lines;
	size_t count;

	ENSURE(!body || !file);
	count = p->head.n > STORED_MOST_HEAD ? SIZE_MAX : httplines_cut(p->head, NULL, 0);
	if (count > STORED_MOST_LINES) {
		blob_unref(&body);
		spool_unref(&file);
		return WEIR_E_TOO_LARGE;
	}
	s = xcalloc(1, sizeof(*s));
	s->magic = STORED_MAGIC;
	atomic_init(&s->refs, 1);
	copy(&s->key, p->key);
	copy(&s->vary_key, p->vary_key);
	copy(&s->head, p->head);
	s->status = p->status;
	s->guarded = p->guarded;
	s->request_wall_ms = p->request_wall_ms;
	s->response_wall_ms = p->response_wall_ms;
	lines = xcalloc(count + 1, sizeof(*lines));
	s->lines = (struct httplines){ lines, httplines_cut(buf_slice(&s->head), lines, count) };
	make_reply(s);
	policy_response_read(s->status, &s->lines, s->response_wall_ms / 1000, &s->policy);
	s->body = body;
	s->file = file;
	s->body_bytes = p->body_bytes;
	s->body_crc = p->body_crc;
	if (body)
		s->body_bytes = blob_slice(body).n;
	if (body && !s->body_crc)
		s->body_crc = crc32c(0, blob_slice(body).p, blob_slice(body).n);
	*ret = s;
	return 0;
}

struct stored *stored_ref(struct stored *s)
{
	OBJ_CHECK(s, STORED_MAGIC);
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void stored_unref(struct stored **sp)
{
	struct stored *s = *sp;

	*sp = NULL;
	if (!s)
		return;
	OBJ_CHECK(s, STORED_MAGIC);
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	s->magic = 0;
	buf_fini(&s->key);
	buf_fini(&s->vary_key);
	buf_fini(&s->head);
	free((void *)(uintptr_t)s->lines.lines); /* const for its readers */
	free(s->reply);
	free(s->reply_text);
	blob_unref(&s->body);
	spool_unref(&s->file);
	free(s);
}

size_t stored_memory(const struct stored *s)
{
	size_t n = sizeof(*s) + s->key.cap + s->vary_key.cap + 2 * s->head.cap +
		   s->lines.count * (sizeof(struct slice) + sizeof(struct header_line));

	return n + (s->body ? (size_t)s->body_bytes : 0);
}
