/* hub_pg_conn.c -- a connection to PostgreSQL that never waits for ever.
 *
 * WHAT     libpq without its blocking calls: what is sent is queued, what is waited for is waited for with poll, and a
 *          server that says nothing for patience_ms is lost, as one is whose machine was unplugged. In pipeline mode
 *          (libpq 14) many statements go out together and are answered together: one journey for a transaction's
 *          writes and its commit.
 * RULES    1. A lost connection is not used again: what it had begun may still be done by the server, or not.
 *          2. Neither the user's name nor the password leaves this file: what libpq says is cut, and what it says of a
 *             URL that it does not understand (all of it) is not passed on.
 * THREADS  A connection is one thread's at a time. */
#include "hub/hub_store.h"

#include <endian.h>
#include <poll.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/obj.h"
#include "hub/hub_pg_priv.h"

#define LOOK_MS         200 /* how soon a wait sees given_up */
#define MOST_CONNECT_MS 5000
#define HURRY_MS        3000
#define MOST_SAID       400

/* --- names ------------------------------------------------------------------------------------------------------ */

static const char *option(const PQconninfoOption *o, const char *keyword)
{
	for (; o->keyword; o++)
		if (strcmp(o->keyword, keyword) == 0)
			return o->val;
	return NULL;
}

static char *dup_or_null(const char *s)
{
	return s && *s ? xstrdup(s) : NULL;
}

int hub_pg_name_init(struct hub_pg_name *n, const char *url)
{
	char *why = NULL;
	PQconninfoOption *o = PQconninfoParse(url, &why);
	const char *host, *port, *db;

	PQfreemem(why); /* it quotes the password */
	if (!o)
		return -EINVAL;
	host = option(o, "host") ? option(o, "host") : option(o, "hostaddr");
	port = option(o, "port");
	port = port && strpbrk(port, "0123456789") ? port : NULL; /* of several hosts it is "," */
	db = option(o, "dbname");
	*n = (struct hub_pg_name){
		.url = xstrdup(url),
		.shown = xstrf("%s%s%s/%s", host && *host ? host : "local", port ? ":" : "", port ? port : "",
			       db ? db : ""),
		.user = dup_or_null(option(o, "user")),
		.password = dup_or_null(option(o, "password")),
	};
	PQconninfoFree(o);
	return 0;
}

static void free_secret(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

void hub_pg_name_fini(struct hub_pg_name *n)
{
	free_secret(n->url);
	free(n->shown);
	free_secret(n->user);
	free_secret(n->password);
	*n = (struct hub_pg_name){ .url = NULL };
}

/* --- what the server says ---------------------------------------------------------------------------------------- */

static void add_without(struct buf *out, const char *text, const char *secret)
{
	size_t n = secret ? strlen(secret) : 0;

	while (*text && out->len < MOST_SAID) {
		if (n && strncmp(text, secret, n) == 0) {
			buf_add_str(out, "...");
			text += n;
		} else {
			buf_add_char(out, (unsigned char)*text < ' ' ? ' ' : *text);
			text++;
		}
	}
	while (out->len && out->data[out->len - 1] == ' ')
		buf_truncate(out, out->len - 1);
}

static void keep_words(struct hub_pg_conn *c, const char *text, const struct hub_pg_name *name)
{
	char *quoted = name && name->user ? xstrf("\"%s\"", name->user) : NULL; /* alone it might be any word */
	struct buf once = BUF_EMPTY;

	add_without(&once, text, name ? name->password : NULL);
	buf_reset(&c->said);
	add_without(&c->said, once.data, quoted);
	buf_fini(&once);
	free(quoted);
}

/* By the first letters of SQLSTATE: a row fits when its letters do. */
static int code_of_state(const char *state)
{
	static const struct {
		const char *begins;
		int code;
	} rows[] = {
		{ "08", WEIR_E_CUT },      { "57P", WEIR_E_CUT },      { "25006", WEIR_E_CUT }, /* a standby now */
		{ "25P03", WEIR_E_CUT },   { "40", -EAGAIN },
		{ "55P03", -EBUSY }, /* somebody's lock */
		{ "22012", WEIR_E_CUT }, /* our row of weir_writers is not ours any more: hub_pg_writer.c, rule 3 */
		{ "23505", -EAGAIN }, /* the same key elsewhere: looked up again, it is known */
		{ "53100", -ENOSPC },      { "57014", -ETIMEDOUT },    { "53", WEIR_E_CUT },
		{ "58", WEIR_E_CUT },      { "XX001", WEIR_E_DAMAGED }, { "XX002", WEIR_E_DAMAGED },
	};

	for (size_t i = 0; state && i < ARRAY_LEN(rows); i++)
		if (strncmp(state, rows[i].begins, strlen(rows[i].begins)) == 0)
			return rows[i].code;
	return WEIR_E_PROTOCOL;
}

static int lose(struct hub_pg_conn *c, int code)
{
	if (!c->is_lost)
		keep_words(c, code == WEIR_E_SILENT ? "the server does not answer" : PQerrorMessage(c->pg), NULL);
	c->is_lost = true;
	return code;
}

static int code_of(struct hub_pg_conn *c, const PGresult *res)
{
	int code;

	switch (PQresultStatus(res)) {
	case PGRES_FATAL_ERROR:
		code = code_of_state(PQresultErrorField(res, PG_DIAG_SQLSTATE));
		keep_words(c, PQresultErrorMessage(res), NULL);
		c->is_lost = c->is_lost || PQstatus(c->pg) == CONNECTION_BAD || err_is_unavailable(code);
		return c->is_lost ? WEIR_E_CUT : code;
	case PGRES_PIPELINE_ABORTED: /* the one before it told why */
	default:
		return 0;
	}
}

/* --- waiting ---------------------------------------------------------------------------------------------------- */

/* Until something can be read; what is queued is sent meanwhile. */
static int wait_some(struct hub_pg_conn *c, int64_t *heard_ms)
{
	bool hurries = c->hurries && atomic_load(c->hurries) && c->patience_ms > HURRY_MS;
	int unsent = PQflush(c->pg), n;
	struct pollfd p = { .fd = PQsocket(c->pg), .events = (short)(POLLIN | (unsent == 1 ? POLLOUT : 0)) };

	if (unsent < 0 || p.fd < 0)
		return lose(c, WEIR_E_CUT);
	n = poll(&p, 1, LOOK_MS);
	if (n > 0) {
		*heard_ms = clock_mono_ms();
		if ((p.revents & ~POLLOUT) && !PQconsumeInput(c->pg))
			return lose(c, WEIR_E_CUT);
	} else if (clock_mono_ms() - *heard_ms > (hurries ? HURRY_MS : c->patience_ms)) {
		return lose(c, WEIR_E_SILENT);
	}
	return c->given_up && atomic_load(c->given_up) ? lose(c, WEIR_E_OPEN) : 0;
}

/* The next result, which may be NULL: the end of a statement. */
static int next_result(struct hub_pg_conn *c, PGresult **ret)
{
	int64_t heard_ms = clock_mono_ms();

	while (PQflush(c->pg) == 1 || PQisBusy(c->pg)) {
		int r = wait_some(c, &heard_ms);

		if (r < 0)
			return r;
	}
	*ret = PQgetResult(c->pg);
	return 0;
}

/* --- life ------------------------------------------------------------------------------------------------------- */

static int wait_connected(struct hub_pg_conn *c, int64_t most_ms)
{
	int64_t deadline_ms = clock_mono_ms() + (most_ms < MOST_CONNECT_MS ? most_ms : MOST_CONNECT_MS);
	PostgresPollingStatusType what = PGRES_POLLING_WRITING;

	while (what != PGRES_POLLING_OK) {
		struct pollfd p = { .fd = PQsocket(c->pg), .events = what == PGRES_POLLING_READING ? POLLIN : POLLOUT };

		if (what == PGRES_POLLING_FAILED)
			return WEIR_E_REFUSED;
		if (clock_mono_ms() > deadline_ms)
			return WEIR_E_CONNECT_TIMEOUT;
		if (c->given_up && atomic_load(c->given_up))
			return WEIR_E_OPEN;
		if (poll(&p, 1, LOOK_MS) != 0) /* libpq finds out what an error was */
			what = PQconnectPoll(c->pg);
	}
	return 0;
}

int hub_pg_connect(struct hub_pg_conn *c, const struct hub_pg_name *name, int64_t patience_ms)
{
	/* What the URL says comes later, and wins. */
	static const char *const words[] = { "target_session_attrs", "application_name", "keepalives_idle",
					     "client_encoding",	     "dbname",		 NULL };
	const char *values[] = { "read-write", "weir hub", "30", "UTF8", name->url, NULL };
	int r = WEIR_E_REFUSED;

	hub_pg_disconnect(c);
	c->patience_ms = patience_ms;
	c->pg = PQconnectStartParams(words, values, 1);
	ENSURE(c->pg); /* else memory is out */
	if (PQstatus(c->pg) != CONNECTION_BAD)
		r = wait_connected(c, patience_ms);
	if (r == 0 && PQsetnonblocking(c->pg, 1) < 0)
		r = WEIR_E_REFUSED;
	if (r == 0)
		return 0;
	keep_words(c, r == WEIR_E_CONNECT_TIMEOUT ? "the server does not answer" : PQerrorMessage(c->pg), name);
	PQfinish(c->pg);
	c->pg = NULL;
	return r;
}

void hub_pg_disconnect(struct hub_pg_conn *c)
{
	if (c->pg)
		PQfinish(c->pg); /* does not wait: it sends what fits, and closes */
	c->pg = NULL;
	c->is_lost = false;
	buf_reset(&c->said);
}

int hub_pg_prepare(struct hub_pg_conn *c, const struct hub_pg_statement *list)
{
	if (PQenterPipelineMode(c->pg) != 1)
		return lose(c, WEIR_E_CUT);
	for (; list->text; list++)
		if (PQsendPrepare(c->pg, list->name, list->text, 0, NULL) != 1)
			return lose(c, WEIR_E_CUT);
	return hub_pg_finish(c, NULL);
}

/* --- statements ------------------------------------------------------------------------------------------------- */

void hub_pg_add_number(struct hub_pg_params *p, int64_t n)
{
	int i = p->count++;

	ENSURE(i < HUB_PG_MOST_PARAMS);
	p->numbers[i] = htobe64((uint64_t)n);
	p->values[i] = (const char *)&p->numbers[i];
	p->lengths[i] = sizeof(p->numbers[i]);
	p->formats[i] = 1;
}

void hub_pg_add_text(struct hub_pg_params *p, struct slice s)
{
	int i = p->count++;

	ENSURE(i < HUB_PG_MOST_PARAMS && s.n < INT32_MAX);
	p->values[i] = s.p;
	p->lengths[i] = (int)s.n;
	p->formats[i] = 1;
}

int hub_pg_run(struct hub_pg_conn *c, const char *sql, PGresult **ret)
{
	PGresult *res = NULL, *last = NULL;
	int r = 0, failed = 0;

	if (PQsendQuery(c->pg, sql) != 1)
		return lose(c, WEIR_E_CUT);
	while (r == 0 && (r = next_result(c, &res)) == 0 && res) {
		if (failed == 0)
			failed = code_of(c, res);
		if (PQresultStatus(res) == PGRES_TUPLES_OK) {
			PQclear(last);
			last = res;
		} else {
			PQclear(res);
		}
	}
	r = r < 0 ? r : failed;
	if (r == 0 && ret)
		*ret = last;
	else
		PQclear(last);
	return r;
}

static void sent(struct hub_pg_conn *c, int ok)
{
	if (ok != 1)
		(void)lose(c, WEIR_E_CUT); /* finish() tells */
}

void hub_pg_send(struct hub_pg_conn *c, const char *statement, const struct hub_pg_params *p)
{
	sent(c, PQsendQueryPrepared(c->pg, statement, p ? p->count : 0, p ? p->values : NULL, p ? p->lengths : NULL,
				    p ? p->formats : NULL, 1));
}

void hub_pg_send_sql(struct hub_pg_conn *c, const char *sql, const struct hub_pg_params *p)
{
	sent(c, PQsendQueryParams(c->pg, sql, p ? p->count : 0, NULL, p ? p->values : NULL, p ? p->lengths : NULL,
				  p ? p->formats : NULL, 1));
}

/* Reads what the statements since the last time are answered, up to the sync behind them. */
static int read_all(struct hub_pg_conn *c, PGresult **ret, hub_pg_row_fn *fn, void *arg)
{
	PGresult *res = NULL, *last = NULL;
	int failed = 0, ended = 0, r;
	bool is_synced = false;

	while (!is_synced) {
		r = next_result(c, &res);
		if (r < 0) {
			failed = r;
			break;
		}
		if (!res) { /* between two statements; on a dead connection it would go on like this */
			if (PQstatus(c->pg) == CONNECTION_BAD) {
				failed = lose(c, WEIR_E_CUT);
				break;
			}
			continue;
		}
		is_synced = PQresultStatus(res) == PGRES_PIPELINE_SYNC;
		if (failed == 0)
			failed = code_of(c, res);
		if (fn && ended == 0 && failed == 0)
			for (int i = 0; i < PQntuples(res) && ended == 0; i++)
				ended = fn(arg, res, i);
		if (is_synced || (fn && !c->is_lost)) {
			PQclear(res);
		} else {
			PQclear(last);
			last = res;
		}
		if (c->is_lost)
			break;
	}
	if (failed == 0 && ret)
		*ret = last;
	else
		PQclear(last);
	return failed < 0 ? failed : ended;
}

int hub_pg_finish(struct hub_pg_conn *c, PGresult **ret)
{
	if (c->is_lost || PQpipelineSync(c->pg) != 1)
		return lose(c, WEIR_E_CUT);
	return read_all(c, ret, NULL, NULL);
}

int hub_pg_ask(struct hub_pg_conn *c, const char *statement, const struct hub_pg_params *p, PGresult **ret)
{
	hub_pg_send(c, statement, p);
	return hub_pg_finish(c, ret);
}

int hub_pg_each(struct hub_pg_conn *c, const char *statement, const struct hub_pg_params *p, hub_pg_row_fn *fn,
		void *arg)
{
	hub_pg_send(c, statement, p);
	if (c->is_lost || PQsetSingleRowMode(c->pg) != 1 || PQpipelineSync(c->pg) != 1)
		return lose(c, WEIR_E_CUT);
	return read_all(c, NULL, fn, arg);
}

/* --- values ----------------------------------------------------------------------------------------------------- */

int64_t hub_pg_number(const PGresult *res, int row, int column)
{
	uint64_t n = 0;

	if (PQgetlength(res, row, column) == (int)sizeof(n))
		memcpy(&n, PQgetvalue(res, row, column), sizeof(n));
	return (int64_t)be64toh(n);
}

struct slice hub_pg_text(const PGresult *res, int row, int column)
{
	return (struct slice){ PQgetvalue(res, row, column), (size_t)PQgetlength(res, row, column) };
}

static void take_text(const PGresult *res, int row, int column, struct buf *into)
{
	buf_reset(into);
	buf_add_slice(into, hub_pg_text(res, row, column));
}

void hub_pg_take_session(const PGresult *res, int row, struct hub_session *ret)
{
	ret->number = hub_pg_number(res, row, 0);
	(void)snprintf(ret->id, sizeof(ret->id), "%s", PQgetvalue(res, row, 1));
	take_text(res, row, 2, &ret->product);
	take_text(res, row, 3, &ret->version);
	take_text(res, row, 4, &ret->machine_id);
	take_text(res, row, 5, &ret->hostname);
	ret->created_ms = hub_pg_number(res, row, 6);
	ret->updated_ms = hub_pg_number(res, row, 7);
	ret->ended_ms = hub_pg_number(res, row, 8);
	ret->heartbeat_ms = hub_pg_number(res, row, 9);
	ret->beat_ms = hub_pg_number(res, row, 10);
	ret->flags = (unsigned)hub_pg_number(res, row, 11);
	ret->applied_seq = hub_pg_number(res, row, 12);
	for (int i = 0; i < HUB_LIST_COUNT; i++)
		ret->counts[i] = hub_pg_number(res, row, 13 + i);
	take_text(res, row, 16, &ret->extra);
}

/* One dimension, no nulls, indexes from 1; then each element behind its length. src/backend/utils/adt/arrayfuncs.c */
#define ARRAY_HEAD 5

void hub_pg_array_init(struct hub_pg_array *a, unsigned type)
{
	*a = (struct hub_pg_array){ .b = BUF_EMPTY, .type = type };
	hub_pg_array_reset(a);
}

void hub_pg_array_reset(struct hub_pg_array *a)
{
	static const uint32_t head[ARRAY_HEAD];

	a->count = 0;
	buf_reset(&a->b);
	buf_add(&a->b, head, sizeof(head));
}

static void add_element(struct hub_pg_array *a, const void *p, size_t n)
{
	uint32_t length = htobe32((uint32_t)n);

	buf_add(&a->b, &length, sizeof(length));
	buf_add(&a->b, p, n);
	a->count++;
}

void hub_pg_array_number(struct hub_pg_array *a, int64_t n)
{
	uint64_t there = htobe64((uint64_t)n);

	add_element(a, &there, sizeof(there));
}

void hub_pg_array_text(struct hub_pg_array *a, struct slice s)
{
	add_element(a, s.p, s.n);
}

void hub_pg_add_array(struct hub_pg_params *p, struct hub_pg_array *a)
{
	uint32_t head[ARRAY_HEAD] = { htobe32(1), 0, htobe32(a->type), htobe32(a->count), htobe32(1) };

	memcpy(a->b.data, head, sizeof(head));
	hub_pg_add_text(p, buf_slice(&a->b));
}
