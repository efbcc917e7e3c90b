/* ask.c -- what is asked of an upstream, and what its answers mean.
 *
 * WHAT     info/refs and ls-refs by HTTP; answers parsed as they come, merged into the snapshot when whole.
 * WHY      git fetch could do it, but it would need the credential, its own knowledge of proxies and certificates, and
 *          a process for each question; and the bytes of an answer under way could not be shared.
 * RULES    1. An answer cut short changes nothing.
 *          2. 401, 403, 404 and 410 are answers: they end the credential's grant, but when a push was asked for: git
 *             asks for that without a credential first, and every upstream says 401. 429 and 5xx are none.
 *          3. We always ask for peeled values, symbolic refs and the unborn HEAD, whatever the client wants to know.
 * THREADS  The calling worker only. */
#include "git/ask.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "base/str.h"

#define MAX_REDIRECTS 3
#define MAX_HEADERS 16
#define TEXT_MOST 1000

void ask_result_fini(struct ask_result *r)
{
	buf_fini(&r->authenticate);
	buf_fini(&r->retry_after);
	buf_fini(&r->text);
}

void ask_result_reason(const struct ask_result *r, struct buf *out)
{
	if (r->status)
		buf_addf(out, "answered %d", r->status);
	else
		buf_add_str(out, err_text(r->err));
	if (r->text.len)
		buf_addf(out, ": %s", r->text.data);
}

/* --- silence --- */

/* Lock held. */
static bool is_silent(const struct repo *r)
{
	return r->silent && r->silent_epoch == atomic_load(&r->g->recoveries);
}

bool ask_was_silence(const struct ask_result *r)
{
	return r->outcome == ASK_UNAVAILABLE && (r->err == WEIR_E_SILENT || r->err == WEIR_E_STALLED);
}

bool ask_note_silence(struct repo *r)
{
	bool was;

	pthread_mutex_lock(&r->lock);
	was = is_silent(r);
	r->silent = true;
	r->silent_epoch = atomic_load(&r->g->recoveries);
	if (!was)
		r->silent_asked_ms = clock_mono_ms();
	pthread_mutex_unlock(&r->lock);
	return !was;
}

bool ask_is_silent(struct repo *r, bool *ret_due)
{
	int64_t now = clock_mono_ms();
	bool silent, due;

	pthread_mutex_lock(&r->lock);
	silent = is_silent(r);
	due = ret_due && silent && now - r->silent_asked_ms >= config_links(r->g->core->config)->probe_max;
	if (due)
		r->silent_asked_ms = now;
	pthread_mutex_unlock(&r->lock);
	if (ret_due)
		*ret_due = due;
	return silent;
}

/* --- one exchange --- */

struct exchange_state {
	const struct ask *a;
	struct client_sink inner;
	struct ask_result *ret;
	struct buf location;
	struct buf words; /* beginning of an error's body */
	bool is_text;
};

static void keep_header(struct buf *out, const struct slice *headers, size_t n, const char *name)
{
	struct slice v = client_header(headers, n, name);

	buf_reset(out);
	buf_add_slice(out, v);
}

static int on_head(void *arg, int status, const struct slice *headers, size_t n)
{
	struct exchange_state *x = arg;
	struct slice type = client_header(headers, n, "content-type");

	x->ret->status = status;
	x->is_text = slice_starts(type, "text/plain");
	keep_header(&x->ret->authenticate, headers, n, "www-authenticate");
	keep_header(&x->ret->retry_after, headers, n, "retry-after");
	keep_header(&x->location, headers, n, "location");
	if (x->a->on_head)
		x->a->on_head(x->a->arg);
	return x->inner.on_head ? x->inner.on_head(x->inner.arg, status, headers, n) : 0;
}

static int on_data(void *arg, const char *p, size_t n)
{
	struct exchange_state *x = arg;
	size_t room = TEXT_MOST - x->words.len;

	if (x->ret->status >= 400)
		buf_add(&x->words, p, n < room ? n : room);
	return x->inner.on_data ? x->inner.on_data(x->inner.arg, p, n) : 0;
}

/* "/org/repo.git" + suffix; the client puts the upstream's url before it. */
static void make_target(const char *path, const char *suffix, struct buf *out)
{
	buf_addf(out, "%s%s%s", path[0] == '/' ? "" : "/", path, suffix);
}

/* What the outcome means for the credential and for the caller. */
static void judge(const struct ask *a, int r, struct exchange_state *x)
{
	struct ask_result *ret = x->ret;

	ret->err = r;
	if (r == 0 && ret->status >= 200 && ret->status < 300)
		ret->outcome = ASK_OK;
	else if (err_is_unavailable(r) || (r == 0 && link_status_is_unavailable(ret->status, true)))
		ret->outcome = ASK_UNAVAILABLE;
	else if (r == 0 && ret->status >= 400 && ret->status < 500)
		ret->outcome = ASK_REFUSED;
	else
		ret->outcome = ASK_FAILED;
	if (ret->outcome == ASK_REFUSED && !a->is_push &&
	    (ret->status == 401 || ret->status == 403 || ret->status == 404 || ret->status == 410))
		access_revoke(a->repo->g, a->cred);
	buf_reset(&ret->text);
	if (ret->outcome != ASK_OK && x->is_text)
		str_add_escaped(&ret->text, slice_trim(buf_slice(&x->words)), 900);
	if (r == 0 && !ret->err && ret->outcome != ASK_OK)
		ret->err = WEIR_E_STATUS;
}

static void call_path(const struct ask *a, const char *path, const struct ask_stream *s, struct ask_result *ret,
		      struct client_result *ret_call, struct buf *ret_location)
{
	struct exchange_state x = {
		.a = a, .inner = s->sink, .ret = ret, .location = BUF_LIMIT(4096), .words = BUF_LIMIT(TEXT_MOST)
	};
	struct client_sink sink = { on_head, on_data, &x };
	struct slice headers[MAX_HEADERS];
	struct buf target = BUF_EMPTY, authorization = BUF_EMPTY;
	struct client_request rq;
	size_t n = 0;
	int r;

	ENSURE(s->header_count + 1 < MAX_HEADERS);
	for (; n < s->header_count; n++)
		headers[n] = s->headers[n];
	if (a->cred->value.len) {
		buf_addf(&authorization, "Authorization: %s", a->cred->value.data);
		headers[n++] = buf_slice(&authorization);
	}
	make_target(path, s->suffix, &target);
	rq = (struct client_request){ .method = s->method,
				      .target = buf_slice(&target),
				      .headers = headers,
				      .header_count = n,
				      .body = s->body,
				      .body_source = s->body_source,
				      .body_arg = s->sink.arg,
				      .body_bytes = s->body_source ? s->body_bytes : (int64_t)s->body.n,
				      .first_byte_ms = a->patience_ms,
				      .stall_ms = a->patience_ms,
				      .total_ms = a->total_ms };
	ret->status = 0;
	r = link_call(a->repo->up->link, &rq, &sink, a->cancel, ret_call);
	judge(a, r, &x);
	if (ret_location)
		buf_add_slice(ret_location, buf_slice(&x.location));
	if (authorization.len)
		explicit_bzero(authorization.data, authorization.len);
	buf_fini(&authorization);
	buf_fini(&target);
	buf_fini(&x.location);
	buf_fini(&x.words);
}

/* The path to ask under: what worked before, else what the client wrote. malloc'ed. */
static char *path_to_ask(const struct ask *a)
{
	char *path;

	pthread_mutex_lock(&a->repo->lock);
	path = a->repo->ask_path ? xstrdup(a->repo->ask_path) : NULL;
	pthread_mutex_unlock(&a->repo->lock);
	return path ? path : xstrdup(a->sent_path ? a->sent_path : a->repo->path);
}

void ask_stream(const struct ask *a, const struct ask_stream *s, struct ask_result *ret, struct client_result *ret_call)
{
	char *path = path_to_ask(a);

	call_path(a, path, s, ret, ret_call, NULL);
	free(path);
}

/* --- info/refs --- */

struct advert_state {
	struct advert advert;
	struct refs_listing *listing;
	struct ask_result *ret;
	int err;
};

static int feed_advert(void *arg, const char *p, size_t n)
{
	struct advert_state *s = arg;

	/* The body of an error is not an advertisement; a body that is none is an answer we cannot use, read to its
	 * end. */
	if (s->ret->status == 200 && !s->err)
		s->err = advert_feed(&s->advert, (struct slice){ p, n });
	return 0;
}

#define INFO_REFS "/info/refs"

/* The repository path in a Location below the same upstream's url, as "/org/new.git"; NULL when it leads elsewhere. */
static char *redirected_path(const struct ask *a, struct slice location)
{
	const char *base_path = a->repo->up->base_path;
	struct link_info info;
	struct slice origin, path;

	link_info(a->repo->up->link, &info);
	origin = slice_str(info.url);
	while (origin.n && origin.p[origin.n - 1] == '/')
		origin.n--;
	origin.n -= strlen(base_path);
	if (location.n && location.p[0] == '/' && !slice_starts(location, "//"))
		path = location;
	else if (location.n > origin.n && memcmp(location.p, origin.p, origin.n) == 0 && location.p[origin.n] == '/')
		path = slice_from(location, origin.n);
	else
		return NULL;
	(void)slice_cut(&path, '?', &location);
	path = location;
	if (!slice_starts(path, base_path) || !slice_ends(path, INFO_REFS) || slice_find(path, '#') >= 0)
		return NULL;
	path = slice_from(path, strlen(base_path));
	if (path.n <= strlen(INFO_REFS) || path.p[0] != '/')
		return NULL;
	path.n -= strlen(INFO_REFS);
	return slice_dup(path);
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* A complete advertisement came from `path`. */
static void take_advert(const struct ask *a, struct advert_state *s, const char *path, int64_t asked_ms)
{
	struct ask_result *ret = s->ret;
	struct buf learned = BUF_EMPTY;

	make_target(path, "", &learned);
	repo_set_upstream_caps(a->repo, &a->cred->key, &s->advert, buf_slice(&learned));
	buf_fini(&learned);
	access_note(a->repo->g, a->cred);
	if (s->advert.version < 2) {
		refs_listing_set_format(s->listing, s->advert.format);
		ret->moved = repo_merge(a->repo, &a->cred->key, s->listing, (struct slices){ NULL, 0 }, asked_ms);
	}
}

static void ask_info_refs_at(const struct ask *a, const char *path, struct ask_result *ret, struct buf *ret_location)
{
	static const struct slice headers[] = { SLICE_LIT("Git-Protocol: version=2") };
	struct advert_state s = { .ret = ret, .listing = refs_listing_new(OID_UNKNOWN) };
	struct ask_stream stream = { .method = "GET",
				     .suffix = INFO_REFS "?service=git-upload-pack",
				     .headers = headers,
				     .header_count = ARRAY_LEN(headers),
				     .sink = { NULL, feed_advert, &s } };
	struct client_result call;
	int64_t asked_ms = clock_mono_ms();

	advert_init(&s.advert, refs_listing_add, s.listing);
	call_path(a, path, &stream, ret, &call, ret_location);
	if (ret->outcome == ASK_OK) {
		int r = s.err ? s.err : advert_finish(&s.advert);

		if (r == 0) {
			take_advert(a, &s, path, asked_ms);
		} else {
			ret->outcome = r == WEIR_E_CUT ? ASK_UNAVAILABLE : ASK_FAILED;
			ret->err = r;
			buf_add_slice(&ret->text, buf_slice(&s.advert.err));
		}
	}
	advert_fini(&s.advert);
	refs_listing_free(s.listing);
}

/* Asks under `path` (taken), and where that leads to. */
static void follow(const struct ask *a, char *path, struct ask_result *ret)
{
	for (int i = 0; i <= MAX_REDIRECTS; i++) {
		struct buf location = BUF_EMPTY;
		char *next = NULL;

		ask_info_refs_at(a, path, ret, &location);
		if (is_redirect(ret->status))
			next = redirected_path(a, buf_slice(&location));
		if (is_redirect(ret->status) && !next)
			buf_addf(&ret->text, "upstream redirects to %.300s; use that address", location.data);
		buf_fini(&location);
		if (!next)
			break;
		free(path);
		path = next;
	}
	free(path);
}

/* Whether upstream's no may be about a path that was learned, not about the one that the client wrote: after a
 * repository had moved, another may have taken its place. The learned one is forgotten then. */
static bool forget_learned_path(const struct ask *a, const struct ask_result *ret)
{
	struct repo *r = a->repo;
	struct buf sent = BUF_EMPTY;
	bool other;

	if (ret->outcome != ASK_REFUSED ||
	    !(ret->status == 404 || ret->status == 410 || (ret->status == 401 && !a->cred->value.len)))
		return false;
	make_target(a->sent_path ? a->sent_path : r->path, "", &sent);
	pthread_mutex_lock(&r->lock);
	other = r->ask_path && strcmp(r->ask_path, sent.data) != 0;
	if (other) {
		free(r->ask_path);
		r->ask_path = NULL;
	}
	pthread_mutex_unlock(&r->lock);
	buf_fini(&sent);
	return other;
}

void ask_info_refs(const struct ask *a, struct ask_result *ret)
{
	follow(a, path_to_ask(a), ret);
	if (!forget_learned_path(a, ret))
		return;
	ask_result_fini(ret);
	*ret = (struct ask_result)ASK_RESULT_EMPTY;
	follow(a, path_to_ask(a), ret);
}

/* --- ls-refs --- */

struct lsrefs_state {
	struct lsrefs_parser parser;
	struct ask_result *ret;
	int err;
};

static int feed_lsrefs(void *arg, const char *p, size_t n)
{
	struct lsrefs_state *s = arg;

	if (s->ret->status == 200 && !s->err)
		s->err = lsrefs_parser_feed(&s->parser, (struct slice){ p, n });
	return 0;
}

static void ask_v2(const struct ask *a, struct slices prefixes, const struct refs *known, struct ask_result *ret)
{
	static const struct slice headers[] = {
		SLICE_LIT("Git-Protocol: version=2"),
		SLICE_LIT("Content-Type: application/x-git-upload-pack-request"),
		SLICE_LIT("Accept: application/x-git-upload-pack-result"),
	};
	struct refs_listing *listing = refs_listing_new(refs_format(known));
	struct lsrefs_state s = { .ret = ret };
	struct lsrefs_args args = { .peel = true, .symrefs = true, .prefixes = prefixes };
	struct ask_stream stream = { .method = "POST", .suffix = "/git-upload-pack", .headers = headers,
				     .header_count = ARRAY_LEN(headers), .sink = { NULL, feed_lsrefs, &s } };
	struct client_result call;
	struct buf body = BUF_EMPTY;
	struct advert upstream;
	int64_t asked_ms = clock_mono_ms();
	int r;

	advert_init(&upstream, NULL, NULL);
	if (advert_restore(&upstream, refs_upstream_version(known), refs_upstream_caps(known)) == 0)
		args.unborn = advert_has_feature(&upstream, "ls-refs", "unborn");
	lsrefs_add_request(&body, &args, refs_format(known), NULL);
	stream.body = buf_slice(&body);
	lsrefs_parser_init(&s.parser, refs_format(known), refs_listing_add, listing);
	ask_stream(a, &stream, ret, &call);
	if (ret->outcome == ASK_OK) {
		r = s.err ? s.err : lsrefs_parser_finish(&s.parser);
		if (r == 0) {
			access_note(a->repo->g, a->cred);
			ret->moved = repo_merge(a->repo, &a->cred->key, listing, prefixes, asked_ms);
		} else {
			ret->outcome = r == WEIR_E_CUT ? ASK_UNAVAILABLE : ASK_FAILED;
			ret->err = r;
			buf_add_slice(&ret->text, buf_slice(&s.parser.err));
		}
	}
	lsrefs_parser_fini(&s.parser);
	refs_listing_free(listing);
	advert_fini(&upstream);
	buf_fini(&body);
}

/* A repository that was made anew with ids of another kind has no answer to who asks for the old: *known is
 * replaced. */
static bool has_become_another(const struct ask *a, struct refs **known)
{
	struct ask_result result = ASK_RESULT_EMPTY;
	struct refs *now = NULL;
	bool other;

	ask_info_refs(a, &result);
	if (result.outcome == ASK_OK)
		now = repo_refs(a->repo, &a->cred->key);
	ask_result_fini(&result);
	other = now && refs_upstream_version(now) == 2 && refs_format(now) != refs_format(*known);
	if (other) {
		refs_unref(known);
		*known = refs_ref(now);
	}
	refs_unref(&now);
	return other;
}

void ask_ls_refs(const struct ask *a, struct slices prefixes, struct ask_result *ret)
{
	struct refs *known = repo_refs(a->repo, &a->cred->key);

	if (!known || refs_upstream_version(known) < 2) {
		/* Not known yet, or an upstream that answers this question with all its refs. */
		ask_info_refs(a, ret);
		refs_unref(&known);
		known = ret->outcome == ASK_OK ? repo_refs(a->repo, &a->cred->key) : NULL;
		if (!known || refs_upstream_version(known) < 2) {
			refs_unref(&known);
			return;
		}
		buf_reset(&ret->authenticate);
	}
	ask_v2(a, prefixes, known, ret);
	/* Such a one ends its answer at once; who stands still in the middle of it is not asked more. */
	if (ret->outcome != ASK_OK && ret->status == 200 && ret->err != WEIR_E_STALLED && ret->err != WEIR_E_SILENT &&
	    ret->err != WEIR_E_CANCELLED && has_become_another(a, &known)) {
		ask_result_fini(ret);
		*ret = (struct ask_result)ASK_RESULT_EMPTY;
		ask_v2(a, prefixes, known, ret);
	}
	refs_unref(&known);
}
