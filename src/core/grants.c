/* grants.c -- who upstream has accepted for what.
 *
 * WHAT     A set of keyed hashes with the wall time of upstream's last yes: in memory for lookups, in a SQLite table
 *          so that what a client was allowed survives a restart during an outage.
 * WHY      Content that was fetched with a credential is served only to credentials that upstream itself accepted for
 *          it (invariant 6). Who steals the database learns neither a credential nor, without the key file, who asked
 *          for what.
 * RULES    1. The hash covers length and bytes of each part, so that parts cannot be shifted into one another.
 *          2. Memory is changed first and answers lookups; the table follows, in the same order.
 *          3. A repeated yes is written at most every ten seconds: after a crash a grant is at most that much older
 *             than it was, and a busy client does not cost a sync for each request. A no is always written.
 *          4. A new key makes all old rows meaningless: they are removed.
 *          5. What is damaged is set aside; then nobody is granted anything until upstream says yes again.
 * THREADS  Any. `lock` guards map and list; the database's queue is entered under it (which never blocks), for rule 2.
 *          */
#include "core/grants.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <pthread.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/obj.h"
#include "base/rand.h"
#include "io/file.h"
#include "store/wholefile.h"

#define GRANTS_MAGIC 0x6772616eu
#define MOST_GRANTS 1000000
#define WRITE_EVERY_MS 10000
#define KEY_NAME "grants-key"
#define KEY_VERSION 1

struct grant {
	struct list node; /* grants.by_time, the oldest yes first */
	struct grant_key key;
	int64_t at_wall_ms, written_wall_ms;
};

struct grants {
	unsigned magic;
	unsigned char secret[32];
	int64_t keep_ms;
	struct db *db;
	pthread_mutex_t lock;
	struct map *by_key;
	struct list by_time;
};

/* A change on its way to the table. */
struct change {
	struct grant_key key;
	int64_t at_wall_ms;
};

static struct slice key_slice(const struct grant_key *k)
{
	return (struct slice){ (const char *)k->bytes, sizeof(k->bytes) };
}

/* --- the table -------------------------------------------------------------------------------------------------- */

static const char schema[] =
	"CREATE TABLE grants (key BLOB PRIMARY KEY, at_ms INTEGER NOT NULL, crc32c INTEGER NOT NULL)"
	" WITHOUT ROWID";

static uint32_t row_sum(const struct grant_key *k, int64_t at_wall_ms)
{
	return crc32c(crc32c(0, k->bytes, sizeof(k->bytes)), &at_wall_ms, sizeof(at_wall_ms));
}

/* Runs one statement with the key as ?1, the time as ?2 and the sum as ?3, as far as it has them. */
static int run(sqlite3 *conn, const char *text, const struct change *c)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(conn, text, -1, &st, NULL), wanted = st ? sqlite3_bind_parameter_count(st) : 0;

	if (rc == SQLITE_OK && wanted >= 1)
		rc = sqlite3_bind_blob(st, 1, c->key.bytes, sizeof(c->key.bytes), SQLITE_STATIC);
	if (rc == SQLITE_OK && wanted >= 2)
		rc = sqlite3_bind_int64(st, 2, c->at_wall_ms);
	if (rc == SQLITE_OK && wanted >= 3)
		rc = sqlite3_bind_int64(st, 3, row_sum(&c->key, c->at_wall_ms));
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	(void)sqlite3_finalize(st); /* repeats the failure of the step */
	return db_code(rc);
}

static int write_row(sqlite3 *conn, void *arg)
{
	return run(conn, "INSERT OR REPLACE INTO grants VALUES (?1, ?2, ?3)", arg);
}

static int delete_row(sqlite3 *conn, void *arg)
{
	return run(conn, "DELETE FROM grants WHERE key = ?1", arg);
}

static int delete_all(sqlite3 *conn, void *arg)
{
	return run(conn, "DELETE FROM grants", arg);
}

static int delete_older(sqlite3 *conn, void *arg)
{
	return run(conn, "DELETE FROM grants WHERE at_ms < ?2", arg);
}

static void changed(void *arg, int code)
{
	if (code < 0)
		log_event(LOG_WARN, "grants_not_durable", LOG_ERR("error", code), LOG_END);
	free(arg);
}

/* With the lock held. */
static void submit(struct grants *g, db_job_fn *job, const struct grant_key *k, int64_t at_wall_ms)
{
	struct change *c = xmalloc(sizeof(*c));
	int r;

	c->key = *k;
	c->at_wall_ms = at_wall_ms;
	r = db_submit(g->db, job, changed, c);
	if (r < 0)
		changed(c, r);
}

/* --- memory, all with the lock held ------------------------------------------------------------------------------ */

static void grant_drop(struct grants *g, struct grant *it)
{
	(void)map_remove(g->by_key, key_slice(&it->key)); /* which is it */
	list_remove(&it->node);
	free(it);
}

static struct grant *grant_add(struct grants *g, const struct grant_key *k)
{
	struct grant *it = xcalloc(1, sizeof(*it));

	it->key = *k;
	list_init(&it->node);
	(void)map_put(g->by_key, key_slice(k), it); /* it was not there */
	return it;
}

/* Makes room, and lets go of what is too old, two at a time. */
static void grants_trim(struct grants *g, int64_t now)
{
	for (int i = 0; i < 2 && !list_is_empty(&g->by_time); i++) {
		struct grant *oldest = LIST_ENTRY(g->by_time.next, struct grant, node);
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it does not see that the dropped one has left the list */
		if (oldest->at_wall_ms >= now - g->keep_ms && map_count(g->by_key) <= MOST_GRANTS)
			return;
		submit(g, delete_row, &oldest->key, 0);
		grant_drop(g, oldest);
	}
}

/* --- opening ---------------------------------------------------------------------------------------------------- */

static int open_secret(struct grants *g, const char *dir, bool *ret_is_new, struct buf *err)
{
	char *path = xstrf("%s/grants.key", dir);
	struct buf b = BUF_EMPTY;
	int r;

	*ret_is_new = false;
	r = wholefile_read_checked(path, KEY_NAME, KEY_VERSION, sizeof(g->secret), &b);
	if (r == 0 && b.len != sizeof(g->secret))
		r = WEIR_E_DAMAGED;
	if (r == WEIR_E_DAMAGED || r == WEIR_E_TOO_LARGE) {
		log_event(LOG_WARN, "grants_damaged", LOG_STR("file", path),
			  LOG_STR("effect", "set aside; grants start empty"), LOG_END);
		r = wholefile_set_aside(path, dir);
		if (r == 0)
			r = -ENOENT;
	}
	if (r == 0) {
		memcpy(g->secret, b.data, sizeof(g->secret));
	} else if (r == -ENOENT) {
		*ret_is_new = true;
		rand_bytes(g->secret, sizeof(g->secret));
		r = wholefile_write_checked(path, KEY_NAME, KEY_VERSION,
					    (struct slice){ (const char *)g->secret, sizeof(g->secret) });
	}
	if (r < 0)
		buf_addf(err, "cannot read or make %s: %s", path, err_text(r));
	OPENSSL_cleanse(b.data, b.len);
	buf_fini(&b);
	free(path);
	return r;
}

/* Newest first, so that the limit keeps those. */
static int load_rows(struct grants *g, sqlite3 *conn, unsigned *ret_bad)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(conn, "SELECT key, at_ms, crc32c FROM grants ORDER BY at_ms DESC", -1, &st, NULL);

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		struct grant_key k;
		struct grant *it;
		int64_t at;

		rc = sqlite3_step(st);
		if (rc != SQLITE_ROW || map_count(g->by_key) >= MOST_GRANTS)
			break;
		at = sqlite3_column_int64(st, 1);
		if (sqlite3_column_bytes(st, 0) == sizeof(k.bytes))
			memcpy(k.bytes, sqlite3_column_blob(st, 0), sizeof(k.bytes));
		if (sqlite3_column_bytes(st, 0) != sizeof(k.bytes) || sqlite3_column_int64(st, 2) != row_sum(&k, at)) {
			(*ret_bad)++;
			continue;
		}
		it = grant_add(g, &k);
		it->at_wall_ms = it->written_wall_ms = at;
		list_push_front(&g->by_time, &it->node);
	}
	(void)sqlite3_finalize(st); /* repeats the failure of the step */
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : db_code(rc);
}

static int load(struct grants *g, bool is_new_secret)
{
	struct change limit = { .at_wall_ms = clock_wall_ms() - g->keep_ms };
	unsigned bad = 0;
	sqlite3 *conn;
	int r;

	r = db_do(g->db, is_new_secret ? delete_all : delete_older, &limit);
	if (r < 0)
		return r;
	r = db_reader(g->db, &conn);
	if (r < 0)
		return r;
	r = load_rows(g, conn, &bad);
	(void)sqlite3_close(conn);
	if (bad > 0)
		log_event(LOG_WARN, "grants_damaged", LOG_INT("rows", bad), LOG_STR("effect", "not believed"), LOG_END);
	return r;
}

static int open_table(struct grants *g, const char *dir, bool is_new_secret, struct buf *err)
{
	char *path = xstrf("%s/grants.db", dir);
	const struct db_options o = { .path = path, .schema = schema, .version = 1 };
	bool damaged = false;
	int r;

	r = db_open(&o, &g->db, &damaged);
	if (r == 0 && damaged)
		log_event(LOG_WARN, "grants_damaged", LOG_STR("file", path),
			  LOG_STR("effect", "set aside; grants start empty"), LOG_END);
	if (r == 0)
		r = load(g, is_new_secret);
	if (r == -EPROTO)
		buf_addf(err, "%s was written by a newer weir; move it away to start without grants", path);
	else if (r < 0)
		buf_addf(err, "cannot open %s: %s", path, err_text(r));
	free(path);
	return r;
}

int grants_open(const char *dir, int64_t keep_ms, struct grants **ret, struct buf *err)
{
	struct grants *g = xcalloc(1, sizeof(*g));
	bool is_new_secret;
	int r;

	g->magic = GRANTS_MAGIC;
	g->keep_ms = keep_ms;
	g->by_key = map_new();
	list_init(&g->by_time);
	ENSURE(pthread_mutex_init(&g->lock, NULL) == 0);
	r = dir_make_all(dir, 0700);
	if (r < 0)
		buf_addf(err, "cannot make the folder %s: %s", dir, err_text(r));
	if (r == 0)
		r = open_secret(g, dir, &is_new_secret, err);
	if (r == 0)
		r = open_table(g, dir, is_new_secret, err);
	if (r < 0)
		grants_close(g);
	else
		*ret = g;
	return r;
}

void grants_close(struct grants *g)
{
	if (!g)
		return;
	OBJ_CHECK(g, GRANTS_MAGIC);
	db_close(g->db);
	LIST_FOREACH_SAFE(it, next, &g->by_time)
		grant_drop(g, LIST_ENTRY(it, struct grant, node));
	map_free(g->by_key);
	pthread_mutex_destroy(&g->lock);
	OPENSSL_cleanse(g, sizeof(*g));
	free(g);
}

/* --- use -------------------------------------------------------------------------------------------------------- */

static void add_part(struct buf *b, struct slice s)
{
	uint64_t n = s.n;

	buf_add(b, &n, sizeof(n));
	buf_add_slice(b, s);
}

void grants_key(struct grants *g, struct slice upstream, struct slice resource, struct slice credential,
		struct grant_key *ret)
{
	struct buf b = BUF_EMPTY;

	OBJ_CHECK(g, GRANTS_MAGIC);
	(void)buf_reserve(&b, upstream.n + resource.n + credential.n + 24); /* at once: growing would leave copies */
	add_part(&b, upstream);
	add_part(&b, resource);
	add_part(&b, credential);
	ENSURE(HMAC(EVP_sha256(), g->secret, sizeof(g->secret), (const unsigned char *)b.data, b.len, ret->bytes,
		    NULL));
	OPENSSL_cleanse(b.data, b.len);
	buf_fini(&b);
}

bool grants_has(struct grants *g, const struct grant_key *k, int64_t max_age_ms)
{
	int64_t now = clock_wall_ms(), age = -1;
	struct grant *it;

	OBJ_CHECK(g, GRANTS_MAGIC);
	pthread_mutex_lock(&g->lock);
	it = map_get(g->by_key, key_slice(k));
	if (it)
		age = now - it->at_wall_ms;
	pthread_mutex_unlock(&g->lock);
	return age >= 0 && age <= max_age_ms;
}

void grants_note(struct grants *g, const struct grant_key *k)
{
	int64_t now = clock_wall_ms();
	struct grant *it;

	OBJ_CHECK(g, GRANTS_MAGIC);
	pthread_mutex_lock(&g->lock);
	it = map_get(g->by_key, key_slice(k));
	if (!it)
		it = grant_add(g, k);
	list_remove(&it->node);
	list_push_back(&g->by_time, &it->node);
	it->at_wall_ms = now;
	/* The clock may have been set back since. */
	if (it->written_wall_ms == 0 || now - it->written_wall_ms >= WRITE_EVERY_MS || now < it->written_wall_ms) {
		it->written_wall_ms = now;
		submit(g, write_row, k, now);
	}
	grants_trim(g, now);
	pthread_mutex_unlock(&g->lock);
}

void grants_revoke(struct grants *g, const struct grant_key *k)
{
	struct grant *it;

	OBJ_CHECK(g, GRANTS_MAGIC);
	pthread_mutex_lock(&g->lock);
	it = map_get(g->by_key, key_slice(k));
	if (it)
		grant_drop(g, it);
	submit(g, delete_row, k, 0);
	pthread_mutex_unlock(&g->lock);
}
