/* admin_client.c -- how commands talk to the daemon.
 *
 * WHAT     Finds the admin listener and its token, sends a request, reads JSON back.
 * RULES    1. No daemon there is exit status 3 and a sentence that says what to do; a daemon that refuses is 1.
 *          2. A token is sent only where it belongs: see admin_client_open().
 *          3. The token is neither in argv nor in any message. */
#include "cli/admin_client.h"

#include <ctype.h>
#include <unistd.h>

#include "base/err.h"
#include "core/secret.h"
#include "io/client.h"

#define CONNECT_TIMEOUT_MS 3000
#define ANSWER_TIMEOUT_MS 600000 /* verifying a large repository takes its time */
#define MOST_ANSWER_BYTES (64 * 1024 * 1024)

struct admin_client {
	struct client *http;
	char *address;       /* HOST:PORT, for messages */
	char *authorization; /* whole header line, or NULL */
};

void admin_answer_fini(struct admin_answer *a)
{
	json_decref(a->json);
	a->json = NULL;
}

const char *admin_answer_reason(const struct admin_answer *a)
{
	const char *words = json_string_value(json_object_get(a->json, "detail"));

	if (!words)
		words = json_string_value(json_object_get(a->json, "title"));
	if (!words)
		words = json_string_value(json_object_get(a->json, "error"));
	return words ? words : http_status_text(a->status);
}

/* --- where, and as whom --- */

/* A wildcard address is one to listen on, not to connect to. */
static char *reachable(const char *listen)
{
	if (!strncmp(listen, "0.0.0.0:", 8))
		return xstrf("127.0.0.1:%s", listen + 8);
	if (!strncmp(listen, "[::]:", 5))
		return xstrf("[::1]:%s", listen + 5);
	return xstrdup(listen);
}

static int read_token(const char *path, char **ret_line)
{
	struct buf why = BUF_EMPTY;
	char *token = NULL;
	int err = secret_read(path, &token, &why);

	if (err)
		cli_complain("the admin token's file %s %s", path, why.data);
	else
		*ret_line = xstrf("Authorization: Bearer %s", token);
	secret_free(token);
	buf_fini(&why);
	return err ? EXIT_USAGE : 0;
}

struct whereabouts {
	char *address; /* may begin with http:// or https:// */
	char *token_file, *ca_file;
	bool tls;
};

static void whereabouts_fini(struct whereabouts *w)
{
	free(w->address);
	free(w->token_file);
	free(w->ca_file);
}

/* What the configuration says; `named` (may be NULL) is the address that the line or the environment gave. */
static int ask_config(const struct cli *cli, const char *named, struct whereabouts *w)
{
	const struct config_admin *admin;
	struct config *c = NULL;
	char *own;
	int status;

	status = cli_load_config(cli, true, &c);
	if (status)
		return status;
	admin = config_admin(c);
	if (!admin && !named) {
		cli_complain(
			"%s has no section `admin`, so commands cannot reach the daemon; name it with --admin "
			"HOST:PORT or WEIR_ADMIN",
			config_file(c));
		config_unref(&c);
		return EXIT_USAGE;
	}
	own = admin ? reachable(admin->listen.listen) : NULL;
	w->address = xstrdup(named ? named : own);
	if (admin && (!named || cli->file || !strcmp(named, own))) {
		w->tls = admin->listen.cert_file;
		w->ca_file = admin->listen.cert_file ? xstrdup(admin->listen.cert_file) : NULL;
		w->token_file = admin->token_file ? xstrdup(admin->token_file) : NULL;
	}
	free(own);
	config_unref(&c);
	return 0;
}

static int find_daemon(const struct cli *cli, struct whereabouts *w)
{
	const char *named = cli->admin ? cli->admin : getenv("WEIR_ADMIN"), *token = getenv("WEIR_ADMIN_TOKEN_FILE");
	int status;

	if (named && !*named)
		named = NULL;
	/* Where the address is given, a configuration lying about (perhaps a broken one) is nobody's concern. */
	if (named && !cli->file && !cli->set_count) {
		w->address = xstrdup(named);
	} else {
		status = ask_config(cli, named, w);
		if (status)
			return status;
	}
	if (token && *token && !w->token_file)
		w->token_file = xstrdup(token);
	return 0;
}

int admin_client_open(const struct cli *cli, struct admin_client **ret)
{
	struct client_options o = { .user_agent = "weir/" WEIR_VERSION, .connect_timeout_ms = CONNECT_TIMEOUT_MS,
				    .stall_timeout_ms = ANSWER_TIMEOUT_MS, .most_idle = 1 };
	struct admin_client *c = xcalloc(1, sizeof(*c));
	struct whereabouts w = { .address = NULL };
	int status = find_daemon(cli, &w);
	char *url = NULL;

	if (!status && w.token_file)
		status = read_token(w.token_file, &c->authorization);
	if (!status) {
		bool whole = !strncmp(w.address, "http://", 7) || !strncmp(w.address, "https://", 8);

		url = whole ? xstrdup(w.address) : xstrf("http%s://%s", w.tls ? "s" : "", w.address);
		o.base_url = url;
		o.ca_file = w.ca_file;
		c->address = xstrdup(w.address);
		if (client_new(&o, &c->http) < 0) {
			cli_complain(
				"\"%s\" is no address of an admin listener; accepted: HOST:PORT, as in 127.0.0.1:8070",
				w.address);
			status = EXIT_USAGE;
		}
	}
	whereabouts_fini(&w);
	free(url);
	if (status)
		admin_client_close(c);
	else
		*ret = c;
	return status;
}

void admin_client_close(struct admin_client *c)
{
	if (!c)
		return;
	if (c->http)
		client_free(c->http);
	if (c->authorization)
		explicit_bzero(c->authorization, strlen(c->authorization));
	free(c->authorization);
	free(c->address);
	free(c);
}

const char *admin_client_address(const struct admin_client *c)
{
	return c->address;
}

/* --- calls --- */

static int gather(void *arg, const char *p, size_t n)
{
	struct buf *b = arg;

	buf_add(b, p, n);
	return buf_error(b);
}

static int check_answer(const struct admin_client *c, const struct admin_answer *a)
{
	if (a->status == 401) {
		cli_complain(
			"the daemon at %s asks for a token, and %s; name its file by admin.token_file in the "
			"configuration or "
			"WEIR_ADMIN_TOKEN_FILE",
			c->address, c->authorization ? "does not know this one" : "none was given");
		return EXIT_FAILED;
	}
	if (a->status == 200 && !a->json) {
		cli_complain("what answers at %s is not weir's admin listener", c->address);
		return EXIT_FAILED;
	}
	return 0;
}

static int no_daemon(const struct admin_client *c, int err, const struct client_result *result)
{
	if (err == WEIR_E_REFUSED || err == WEIR_E_DNS || err == WEIR_E_CONNECT_TIMEOUT)
		cli_complain(
			"no daemon answers at %s: %s; start one with `weir serve`, or name it with --admin HOST:PORT "
			"or WEIR_ADMIN",
			c->address, err_text(err));
	else
		cli_complain("the daemon at %s gave no answer: %s%s%s", c->address, err_text(err),
			     result->detail[0] ? ", " : "", result->detail);
	return EXIT_NO_DAEMON;
}

int admin_call(struct admin_client *c, const char *method, const char *target, json_t *body, struct admin_answer *ret)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct slice headers[3];
	struct client_request rq = {
		.method = method, .target = slice_str(target), .headers = headers, .total_ms = ANSWER_TIMEOUT_MS
	};
	struct buf got = BUF_LIMIT(MOST_ANSWER_BYTES);
	struct client_sink sink = { .on_data = gather, .arg = &got };
	struct client_result result = { .status = 0 };
	int err, status;

	headers[rq.header_count++] = SLICE_LIT("Accept: application/json");
	if (c->authorization)
		headers[rq.header_count++] = slice_str(c->authorization);
	if (text) {
		headers[rq.header_count++] = SLICE_LIT("Content-Type: application/json");
		rq.body = slice_str(text);
		rq.body_bytes = (int64_t)rq.body.n;
	}
	err = client_call(c->http, &rq, &sink, NULL, &result);
	free(text);
	if (err) {
		buf_fini(&got);
		return no_daemon(c, err, &result);
	}
	*ret = (struct admin_answer){ result.status, json_loadb(got.data, got.len, 0, NULL) };
	buf_fini(&got);
	status = check_answer(c, ret);
	if (status)
		admin_answer_fini(ret);
	return status;
}

struct download {
	FILE *to;
	int status;
	struct buf words; /* of an answer that is not 200 */
};

static int take_head(void *arg, int status, const struct slice *headers, size_t header_count)
{
	struct download *d = arg;

	d->status = status;
	return 0;
}

static int take_data(void *arg, const char *p, size_t n)
{
	struct download *d = arg;

	if (d->status == 200)
		return fwrite(p, 1, n, d->to) == n ? 0 : -EIO;
	buf_add(&d->words, p, n);
	return buf_error(&d->words);
}

int admin_download(struct admin_client *c, const char *target, FILE *to, struct admin_answer *ret)
{
	struct slice header = slice_str(c->authorization);
	const struct client_request rq = { .method = "GET", .target = slice_str(target), .headers = &header,
					   .header_count = c->authorization ? 1 : 0 };
	struct download d = { .to = to, .words = BUF_LIMIT(MOST_ANSWER_BYTES) };
	const struct client_sink sink = { .on_head = take_head, .on_data = take_data, .arg = &d };
	struct client_result result = { .status = 0 };
	int err = client_call(c->http, &rq, &sink, NULL, &result), status = 0;

	if (err && d.status == 200) {
		cli_complain("only a part came: %s", err_text(err));
		status = EXIT_FAILED;
	} else if (err) {
		status = no_daemon(c, err, &result);
	} else {
		*ret = (struct admin_answer){ d.status, json_loadb(d.words.data, d.words.len, 0, NULL) };
		status = d.status == 401 ? check_answer(c, ret) : 0;
	}
	if (status)
		admin_answer_fini(ret);
	buf_fini(&d.words);
	return status;
}

/* All but letters, digits and what may stand in a query as it is (RFC 3986 section 3.4) becomes %XX. */
static void add_encoded(struct buf *out, const char *s)
{
	for (; *s; s++) {
		if (isalnum((unsigned char)*s) || strchr("-._~/:@", *s))
			buf_add_char(out, *s);
		else
			buf_addf(out, "%%%02X", (unsigned char)*s);
	}
}

int admin_list(struct admin_client *c, const char *path, json_t **ret_items)
{
	struct buf target = BUF_EMPTY;
	json_t *all = json_array();
	int status = 0;

	buf_add_str(&target, path);
	for (;;) {
		struct admin_answer a = { 0, NULL };
		json_t *items, *next;

		status = admin_call(c, "GET", target.data, NULL, &a);
		if (status)
			break;
		items = json_object_get(a.json, "items");
		if (a.status != 200 || !json_is_array(items)) {
			cli_complain("%s: %s", path, admin_answer_reason(&a));
			admin_answer_fini(&a);
			status = EXIT_FAILED;
			break;
		}
		(void)json_array_extend(all, items); /* fails only for what is no array */
		next = json_object_get(a.json, "next");
		buf_reset(&target);
		if (json_is_string(next) && json_string_length(next)) {
			buf_addf(&target, "%s%cafter=", path, strchr(path, '?') ? '&' : '?');
			add_encoded(&target, json_string_value(next));
		}
		admin_answer_fini(&a);
		if (!target.len)
			break;
	}
	buf_fini(&target);
	if (status)
		json_decref(all);
	else
		*ret_items = all;
	return status;
}
