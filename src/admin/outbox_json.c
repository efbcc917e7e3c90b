/* outbox_json.c -- an entry of the outbox as the interface contract draws it.
 *
 * RULES    What others said (a path, a header, an upstream's answer) may be no UTF-8, which JSON has to be: it is then
 *          escaped as \xNN, rather than left out. */
#include "admin/admin_priv.h"

#include "base/clock.h"
#include "base/str.h"

json_t *outbox_text_json(const struct buf *b)
{
	json_t *v = json_stringn(b->len ? b->data : "", b->len);
	struct buf escaped = BUF_EMPTY;

	if (v)
		return v;
	str_add_escaped(&escaped, buf_slice(b), b->len);
	v = json_string(escaped.data);
	buf_fini(&escaped);
	return v;
}

static void add(json_t *o, const char *name, json_t *take)
{
	(void)json_object_set_new(o, name, take); /* fails only for a NULL, which none of these is */
}

/* A Last-Modified: whole seconds, as it is no more than that. */
static json_t *seconds_json(int64_t unix_seconds)
{
	struct buf b = BUF_EMPTY;
	json_t *v;

	if (!unix_seconds)
		return json_null();
	clock_format_rfc3339(unix_seconds * 1000, &b);
	v = slice_ends(buf_slice(&b), ".000Z") ? json_sprintf("%.*sZ", (int)(b.len - strlen(".000Z")), b.data)
					       : json_string(b.data);
	buf_fini(&b);
	return v;
}

json_t *outbox_entry_json(const struct outbox_entry *e)
{
	bool is_waiting = e->state == OUTBOX_QUEUED;
	json_t *o = json_object();

	add(o, "id", json_string(e->id));
	add(o, "service", outbox_text_json(&e->queue));
	add(o, "method", outbox_text_json(&e->method));
	add(o, "raw_uri", outbox_text_json(&e->uri));
	add(o, "content_type", outbox_text_json(&e->content_type));
	add(o, "body_bytes", json_integer((json_int_t)e->body_bytes));
	add(o, "base_etag", outbox_text_json(&e->base.etag));
	add(o, "base_mod_time", seconds_json(e->base.mod_time));
	add(o, "base_absent", json_boolean(e->base.known && e->base.absent));
	add(o, "idempotency_key", outbox_text_json(&e->idempotency_key));
	add(o, "queued_at", admin_time_json(e->queued_wall_ms));
	add(o, "state", json_string(outbox_state_text(e->state)));
	add(o, "attempts", json_integer(e->attempts));
	add(o, "next_attempt_at", is_waiting ? admin_time_json(e->next_attempt_wall_ms) : json_null());
	add(o, "settled_at", admin_time_json(e->settled_wall_ms));
	add(o, "last_status", json_integer(e->last_status));
	add(o, "last_error", outbox_text_json(&e->last_error));
	return o;
}

json_t *outbox_base_json(const struct outbox_base *b)
{
	json_t *o = json_object();

	add(o, "known", json_boolean(b->known));
	add(o, "absent", json_boolean(b->known && b->absent));
	add(o, "etag", outbox_text_json(&b->etag));
	add(o, "mod_time", seconds_json(b->mod_time));
	return o;
}

/* Each line as {"name", "value"}, in the order in which they are sent: a name may come more than once. */
static json_t *headers_json(const struct buf *lines)
{
	struct slice rest = buf_slice(lines), line, name;
	json_t *list = json_array();

	while (rest.n) {
		struct buf n = BUF_EMPTY, v = BUF_EMPTY;

		(void)slice_cut(&rest, '\n', &line);
		(void)slice_cut(&line, ':', &name);
		buf_add_slice(&n, name);
		buf_add_slice(&v, slice_trim(line));
		if (n.len)
			(void)json_array_append_new(list, json_pack("{s:o, s:o}", "name", outbox_text_json(&n), "value",
								    outbox_text_json(&v)));
		buf_fini(&n);
		buf_fini(&v);
	}
	return list;
}

json_t *outbox_entry_details_json(struct outbox *ob, const struct outbox_entry *e)
{
	struct outbox_entry parent = { .seq = 0 };
	json_t *o = outbox_entry_json(e);

	add(o, "headers", headers_json(&e->headers));
	add(o, "theirs_etag", outbox_text_json(&e->theirs.etag));
	add(o, "theirs_mod_time", seconds_json(e->theirs.mod_time));
	add(o, "theirs_absent", json_boolean(e->theirs.known && e->theirs.absent));
	if (e->parent && outbox_get(ob, e->parent, &parent) == 0) {
		add(o, "parent", json_string(parent.id));
		outbox_entry_fini(&parent);
	} else {
		add(o, "parent", json_null());
	}
	add(o, "answer", outbox_text_json(&e->answer));
	add(o, "answer_type", outbox_text_json(&e->answer_type));
	add(o, "damaged", json_boolean(e->damaged));
	return o;
}
