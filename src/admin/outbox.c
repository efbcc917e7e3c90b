/* outbox.c -- /api/v1/outbox: look at and steer the writes that wait for an upstream.
 *
 *	GET    outbox[?state=&service=&text=&order=&after=&limit=]   entries in queue order
 *	GET    outbox/{id}                              one, with headers, their version, and upstream's answer
 *	GET    outbox/{id}/body                         its bytes
 *	GET    outbox/{id}/theirs                       what upstream has now, asked with weir's own credential
 *	POST   outbox/{id}/retry                        queued, conflict, held: sent again, now
 *	POST   outbox/{id}/resolve {"keep": "ours"}     conflict, held: based on what upstream has now, and sent again
 *	                           {"keep": "theirs"}   conflict, held: given up; upstream's version stays
 *	DELETE outbox/{id}                              queued, conflict, held: given up
 *	POST   outbox/flush [{"service": NAME}]         whatever waits for its time goes now; ends a pause
 *
 * WHY      The outbox belongs to no one service, so its routes are here. Each verb answers with the entry as it is then
 *          and leaves a line `outbox_operator`; who asked is only known by address.
 * RULES    The body of an entry comes from strangers: it is given as an attachment that a browser neither runs nor
 *          guesses the type of.
 * THREADS  All of it on workers, few at a time: listing reads the disk. "ours" and theirs ask the upstream, which may
 *          take long, and have workers of their own, so that nothing else waits for them. */
#include "admin/admin_priv.h"

#include <ctype.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "core/delivery.h"

#define PREFIX "/api/v1/outbox/"
#define THEIRS_MOST_BODY (256 * 1024) /* bytes of upstream's version that are shown */

static struct admin *admin_of(struct exchange *ex)
{
	struct admin *a = exchange_service_arg(ex);

	OBJ_CHECK(a, ADMIN_MAGIC);
	return a;
}

struct outbox *outbox_of(struct exchange *ex)
{
	const struct core *core = admin_of(ex)->core;

	return core->outbox ? *core->outbox : NULL;
}

/* --- one entry ------------------------------------------------------------------------------------------------- */

/* /api/v1/outbox/{id}[/{rest}] */
static struct slice id_of(struct exchange *ex, struct slice *ret_rest)
{
	struct slice rest = slice_from(route_path(exchange_target(ex), NULL), strlen(PREFIX)), id;

	(void)slice_cut(&rest, '/', &id);
	*ret_rest = rest;
	return id;
}

static void reply_no_such_path(struct exchange *ex)
{
	exchange_reply_problem(ex, 404, "No such path", "the paths are listed in weir(1), under ADMIN API");
}

static void reply_not_running(struct exchange *ex, const struct outbox_entry *e)
{
	exchange_reply_problem(ex, 409, "Service not running",
			       "service %s does not run, so its upstream cannot be asked what it has now",
			       e->queue.data);
}

/* 0; or answered. */
static int find(struct exchange *ex, struct slice id, struct outbox_entry *ret)
{
	struct outbox *ob = outbox_of(ex);
	struct buf shown = BUF_EMPTY;
	int err = ob ? outbox_find(ob, id, ret) : -ENOENT;

	str_add_escaped(&shown, id, OUTBOX_ID_ROOM);
	if (!ob)
		exchange_reply_problem(ex, 404, "No such entry",
				       "no configured service queues writes, so there are no entries");
	else if (err == -ENOENT)
		exchange_reply_problem(ex, 404, "No such entry",
				       "no entry has the id %s; weir outbox ls lists them", shown.data);
	else if (err)
		exchange_reply_problem(ex, 503, "Not found out", "the outbox cannot be read: %s", err_text(err));
	buf_fini(&shown);
	return err;
}

/* For a browser that saves it: the last part of the path, without what file systems or shells would mind. */
static void add_file_name(struct buf *out, const struct outbox_entry *e)
{
	struct slice rest = buf_slice(&e->key), part = rest;
	size_t before = out->len;

	while (slice_cut(&rest, '/', &part))
		;
	for (size_t i = 0; i < part.n && i < 100; i++)
		buf_add_char(out, isalnum((unsigned char)part.p[i]) || strchr("._-", part.p[i]) ? part.p[i] : '_');
	if (out->len == before || out->data[before] == '.')
		buf_addf(out, "%s.body", e->id);
}

/* With spool NULL: a write without a body. */
static void reply_bytes(struct exchange *ex, const struct outbox_entry *e, struct spool *take)
{
	bool is_plain = e->content_type.len && !strpbrk(e->content_type.data, "\r\n") &&
			!slice_has_nul(buf_slice(&e->content_type));
	struct buf disposition = BUF_EMPTY;

	buf_add_str(&disposition, "attachment; filename=\"");
	add_file_name(&disposition, e);
	buf_add_char(&disposition, '"');
	{
		const struct header_line headers[] = {
			{ "Content-Type", is_plain ? e->content_type.data : "application/octet-stream" },
			{ "Content-Disposition", disposition.data },
			{ "Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'" },
			{ "X-Content-Type-Options", "nosniff" },
			{ "Cache-Control", "no-store" },
		};

		if (take)
			exchange_reply_spool(ex, 200, headers, ARRAY_LEN(headers), take, (int64_t)e->body_bytes);
		else
			exchange_reply(ex, 200, headers, ARRAY_LEN(headers), NULL);
	}
	buf_fini(&disposition);
}

static void reply_body(struct exchange *ex, const struct outbox_entry *e)
{
	struct spool *spool = NULL;
	int err = e->body_bytes ? outbox_body(outbox_of(ex), e, &spool) : 0;

	if (!err)
		reply_bytes(ex, e, spool);
	else if (err == -ENOENT)
		exchange_reply_problem(ex, 410, "Body gone", "%s is %s; its body is no longer kept", e->id,
				       outbox_state_text(e->state));
	else
		exchange_reply_problem(ex, 500, "Body not readable", "the body of %s cannot be given: %s", e->id,
				       err_text(err));
}

/* Upstream's version, when it is a text; *ret_why else. */
static json_t *theirs_text(const struct delivery_theirs *t, const char **ret_why)
{
	json_t *text = NULL;

	if (t->is_cut)
		*ret_why = "it is too large to be shown here, or compressed";
	else if (!slice_has_nul(buf_slice(&t->body)))
		text = json_stringn(t->body.data, t->body.len);
	if (!text && !t->is_cut)
		*ret_why = "it is not a text";
	return text ? text : json_null();
}

static json_t *theirs_json(const struct outbox_entry *e, const struct delivery_theirs *t)
{
	const char *why = NULL;
	json_t *o = outbox_base_json(&t->now), *body = theirs_text(t, &why);

	(void)json_object_set_new(o, "id", json_string(e->id));
	(void)json_object_set_new(o, "asked_at", admin_time_json(clock_wall_ms()));
	(void)json_object_set_new(o, "status", json_integer(t->status));
	(void)json_object_set_new(o, "content_type", outbox_text_json(&t->content_type));
	(void)json_object_set_new(o, "body_bytes",
				  t->body_bytes < 0 ? json_null() : json_integer((json_int_t)t->body_bytes));
	(void)json_object_set_new(o, "body", body);
	(void)json_object_set_new(o, "body_omitted", why ? json_string(why) : json_null());
	return o;
}

/* A browser sends a GET for any page that names its address, without an Origin; but it says where that page is from.
 * Another port of this machine is "same-site", and as foreign: a mirror's content may be anybody's. */
static bool is_foreign(struct exchange *ex)
{
	struct slice site = exchange_header(ex, "sec-fetch-site");

	return site.p && !slice_eq_str(site, "same-origin") && !slice_eq_str(site, "none");
}

static void reply_theirs(struct exchange *ex, const struct outbox_entry *e)
{
	struct delivery *d = delivery_find(outbox_of(ex), e->queue.data);
	struct delivery_theirs t = { .body = BUF_LIMIT(THEIRS_MOST_BODY), .content_type = BUF_EMPTY };
	struct buf words = BUF_EMPTY;
	int err;

	if (is_foreign(ex)) {
		exchange_reply_problem(ex, 403, "Not from elsewhere",
				       "this asks the upstream: only a page of this listener, or a person, may");
		return;
	}
	if (cancel_fired(exchange_cancel(ex))) { /* it has waited for its turn, and nobody is there any more */
		exchange_reply_dropped(ex);
		return;
	}
	err = d ? delivery_theirs(d, e, &t, &words) : -EOPNOTSUPP;
	if (!err)
		admin_reply_json(ex, 200, theirs_json(e, &t));
	else if (!d)
		reply_not_running(ex, e);
	else if (err == -EOPNOTSUPP)
		exchange_reply_problem(ex, 409, "Nothing to compare",
				       "the upstream of %s cannot be asked for one entry", e->queue.data);
	else
		exchange_reply_problem(ex, 503, "Upstream is away", "%s", words.len ? words.data : err_text(err));
	delivery_theirs_fini(&t);
	buf_fini(&words);
}

static void show(struct exchange *ex)
{
	struct outbox_entry e = { .seq = 0 };
	struct slice rest, id = id_of(ex, &rest);

	if (rest.n && !slice_eq_str(rest, "body") && !slice_eq_str(rest, "theirs")) {
		reply_no_such_path(ex);
		return;
	}
	if (find(ex, id, &e) != 0)
		return;
	if (slice_eq_str(rest, "theirs"))
		reply_theirs(ex, &e);
	else if (rest.n)
		reply_body(ex, &e);
	else
		admin_reply_json(ex, 200, outbox_entry_details_json(outbox_of(ex), &e));
	outbox_entry_fini(&e);
}

/* --- verbs ------------------------------------------------------------------------------------------------------ */

/* Log line, and the entry as it is now. `before` is as it was. */
static void reply_done(struct exchange *ex, const char *verb, const struct outbox_entry *before)
{
	struct outbox_entry now = { .seq = 0 };

	log_event(LOG_INFO, "outbox_operator", LOG_STR("verb", verb), LOG_STR("id", before->id),
		  LOG_SLICE("service", buf_slice(&before->queue)), LOG_SLICE("method", buf_slice(&before->method)),
		  LOG_SLICE("key", buf_slice(&before->key)), LOG_STR("was", outbox_state_text(before->state)),
		  LOG_STR("peer", exchange_peer(ex)), LOG_STR("request", exchange_id(ex)), LOG_END);
	if (outbox_get(outbox_of(ex), before->seq, &now) == 0) {
		admin_reply_json(ex, 200, outbox_entry_json(&now));
		outbox_entry_fini(&now);
	} else { /* purged meanwhile */
		admin_reply_json(ex, 200, outbox_entry_json(before));
	}
}

/* words: what is known beyond the code; may be empty. */
static void reply_refused(struct exchange *ex, const char *verb, const struct outbox_entry *e, int err,
			  const char *words)
{
	const char *why = *words ? words : err_text(err);

	if (err == -EBUSY)
		exchange_reply_problem(ex, 409, "Being sent",
				       "%s is being sent; ask again when its answer has come", e->id);
	else if (err == -EINVAL && e->damaged && !outbox_state_is_settled(e->state))
		exchange_reply_problem(ex, 409, "Damaged", "%s is damaged on disk: it can only be dropped", e->id);
	else if (err == -EINVAL)
		exchange_reply_problem(ex, 409, "Not in this state", "%s is %s: %s", e->id, outbox_state_text(e->state),
				       !strcmp(verb, "resolve") ? "resolve is for conflict and held"
								: "this is for queued, conflict and held");
	else if (err == -ENOENT)
		exchange_reply_problem(ex, 404, "No such entry", "%s is not there any more", e->id);
	else if (err == -ENOSPC)
		exchange_reply_problem(ex, 507, "Disk full",
				       "%s is as before: there is no room on the disk to record the change", e->id);
	else if (err_is_unavailable(err))
		exchange_reply_problem(ex, 503, "Upstream is away",
				       "%s is as before: upstream cannot be asked what it has now: %s", e->id, why);
	else
		exchange_reply_problem(ex, 503, "Not done", "%s is as before: %s", e->id, why);
}

static struct delivery *delivery_of(struct exchange *ex, const struct outbox_entry *e)
{
	return delivery_find(outbox_of(ex), e->queue.data);
}

static void retry(struct exchange *ex, const struct outbox_entry *e)
{
	struct delivery *d = delivery_of(ex, e);
	int err = outbox_retry(outbox_of(ex), e->seq);

	if (err) {
		reply_refused(ex, "retry", e, err, "");
		return;
	}
	if (d)
		delivery_resume(d); /* who says "again" does not mean "when the pause is over" */
	reply_done(ex, "retry", e);
}

static void keep_ours(struct exchange *ex, const struct outbox_entry *e)
{
	struct delivery *d = delivery_of(ex, e);
	struct buf words = BUF_EMPTY;
	int err;

	if (e->state != OUTBOX_CONFLICT && e->state != OUTBOX_HELD) {
		reply_refused(ex, "resolve", e, e->state == OUTBOX_SENDING ? -EBUSY : -EINVAL, "");
		return;
	}
	if (!d) {
		reply_not_running(ex, e);
		return;
	}
	err = delivery_rebase_entry(d, e, &words);
	if (err)
		reply_refused(ex, "resolve", e, err, words.data);
	else
		reply_done(ex, "resolve_ours", e);
	buf_fini(&words);
}

static void keep_theirs(struct exchange *ex, const struct outbox_entry *e)
{
	int err = outbox_resolve(outbox_of(ex), e->seq);

	if (err)
		reply_refused(ex, "resolve", e, err, "");
	else
		reply_done(ex, "resolve_theirs", e);
}

/* The body as an object, a new reference; NULL: there is none, or it is no object (*ret_empty tells). */
static json_t *read_object(struct exchange *ex, bool *ret_empty)
{
	struct buf text = BUF_LIMIT(ADMIN_MOST_BODY);
	int err = exchange_body_read_all(ex, &text);
	json_t *o = err ? NULL : json_loadb(text.data, text.len, 0, NULL);

	*ret_empty = !err && !text.len;
	buf_fini(&text);
	if (json_is_object(o))
		return o;
	json_decref(o);
	return NULL;
}

static void resolve(struct exchange *ex, const struct outbox_entry *e)
{
	bool is_empty;
	json_t *o = read_object(ex, &is_empty);
	const char *keep = json_string_value(json_object_get(o, "keep"));

	if (keep && json_object_size(o) == 1 && !strcmp(keep, "ours"))
		keep_ours(ex, e);
	else if (keep && json_object_size(o) == 1 && !strcmp(keep, "theirs"))
		keep_theirs(ex, e);
	else
		exchange_reply_problem(ex, 400, "Bad request",
				       "accepted: {\"keep\": \"ours\"} or {\"keep\": \"theirs\"}, and nothing else");
	json_decref(o);
}

static void act(struct exchange *ex)
{
	struct outbox_entry e = { .seq = 0 };
	struct slice verb, id = id_of(ex, &verb);
	bool is_retry = slice_eq_str(verb, "retry");

	if (!is_retry && !slice_eq_str(verb, "resolve")) {
		reply_no_such_path(ex);
		return;
	}
	if (find(ex, id, &e) != 0)
		return;
	if (is_retry)
		retry(ex, &e);
	else
		resolve(ex, &e);
	outbox_entry_fini(&e);
}

static void drop(struct exchange *ex)
{
	struct outbox_entry e = { .seq = 0 };
	struct slice rest, id = id_of(ex, &rest);
	int err;

	if (rest.n) {
		reply_no_such_path(ex);
		return;
	}
	if (find(ex, id, &e) != 0)
		return;
	err = outbox_drop(outbox_of(ex), e.seq);
	if (err)
		reply_refused(ex, "drop", &e, err, "");
	else
		reply_done(ex, "drop", &e);
	outbox_entry_fini(&e);
}

/* --- flush ------------------------------------------------------------------------------------------------------ */

struct flushing {
	const char *service; /* NULL: all */
	struct delivery **found;
	size_t count;
};

static void note_wanted(void *arg, struct delivery *d)
{
	struct flushing *f = arg;

	if (f->service && strcmp(f->service, outbox_queue_name(delivery_queue(d))) != 0)
		return;
	f->found = xrealloc(f->found, (f->count + 1) * sizeof(*f->found));
	f->found[f->count++] = d;
}

static json_t *queue_json(struct delivery *d)
{
	json_t *o = json_pack("{s:s}", "service", outbox_queue_name(delivery_queue(d)));

	delivery_status(d, o);
	return o;
}

/* What is wrong with the body; NULL: nothing. *ret_service is borrowed from the body, NULL: all. */
static const char *read_flush(const json_t *o, bool is_empty, const char **ret_service)
{
	const json_t *service = json_object_get(o, "service");

	*ret_service = json_string_value(service);
	if (is_empty || (o && !json_object_size(o)) || (*ret_service && json_object_size(o) == 1))
		return NULL;
	return "accepted: no body, or {\"service\": NAME}";
}

static void flush(struct exchange *ex)
{
	struct flushing f = { .count = 0 };
	bool is_empty;
	json_t *o = read_object(ex, &is_empty), *items = json_array();
	const char *fault = read_flush(o, is_empty, &f.service);

	if (!fault)
		delivery_each(note_wanted, &f);
	for (size_t i = 0; i < f.count; i++) {
		delivery_flush(f.found[i]);
		(void)json_array_append_new(items, queue_json(f.found[i]));
	}
	if (fault) {
		exchange_reply_problem(ex, 400, "Bad request", "%s", fault);
	} else if (f.service && !f.count) {
		exchange_reply_problem(ex, 404, "No such service",
				       "no running service of that name queues writes; GET /api/v1/status lists them");
	} else {
		log_event(LOG_INFO, "outbox_operator", LOG_STR("verb", "flush"),
			  LOG_STR("service", f.service ? f.service : "all"), LOG_STR("peer", exchange_peer(ex)),
			  LOG_STR("request", exchange_id(ex)), LOG_END);
		admin_reply_json(ex, 200, json_pack("{s:O, s:n}", "items", items, "next"));
	}
	json_decref(items);
	json_decref(o);
	free(f.found);
}

/* --- routes: front threads -------------------------------------------------------------------------------------- */

static void hand_over(struct exchange *ex, exchange_fn *fn)
{
	exchange_to_worker(ex, admin_of(ex)->lane, fn);
}

static bool is_about(struct exchange *ex, const char *what)
{
	struct slice rest;

	(void)id_of(ex, &rest);
	return slice_eq_str(rest, what);
}

void outbox_handle_list(struct exchange *ex)
{
	hand_over(ex, outbox_list_entries);
}

void outbox_handle_show(struct exchange *ex)
{
	if (is_about(ex, "theirs"))
		exchange_to_worker(ex, admin_of(ex)->looking, show);
	else
		hand_over(ex, show);
}

void outbox_handle_act(struct exchange *ex)
{
	if (is_about(ex, "resolve"))
		exchange_to_worker(ex, admin_of(ex)->asking, act);
	else
		hand_over(ex, act);
}

void outbox_handle_drop(struct exchange *ex)
{
	hand_over(ex, drop);
}

void outbox_handle_flush(struct exchange *ex)
{
	hand_over(ex, flush);
}

/* --- status ----------------------------------------------------------------------------------------------------- */

static void add_queue(void *arg, struct delivery *d)
{
	(void)json_array_append_new(arg, queue_json(d));
}

json_t *outbox_status_json(void)
{
	json_t *queues = json_array();
	struct delivery_sum sum;

	delivery_sum(&sum);
	delivery_each(add_queue, queues);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:i, s:I, s:b, s:o}", "queued",
			 (json_int_t)sum.entries[OUTBOX_QUEUED], "sending", (json_int_t)sum.entries[OUTBOX_SENDING],
			 "conflict", (json_int_t)sum.entries[OUTBOX_CONFLICT], "held",
			 (json_int_t)sum.entries[OUTBOX_HELD], "applied", (json_int_t)sum.entries[OUTBOX_APPLIED],
			 "dropped", (json_int_t)sum.entries[OUTBOX_DROPPED], "resolved",
			 (json_int_t)sum.entries[OUTBOX_RESOLVED], "bytes", (json_int_t)sum.bytes, "oldest_at",
			 admin_time_json(sum.oldest_wall_ms), "paused", (int)sum.paused, "damaged",
			 (json_int_t)sum.damaged, "readonly", (int)sum.is_readonly, "queues", queues);
}
