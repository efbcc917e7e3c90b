/* policy_test.c -- each row names the section that it is about. */
#include "mirror/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/obj.h"

#define NOON 784123200 /* Sun, 06 Nov 1994 12:00:00 GMT */
#define NOON_MS (NOON * (int64_t)1000)
#define DATE "Date: Sun, 06 Nov 1994 12:00:00 GMT\n"
#define HOUR_MS (3600 * (int64_t)1000)

struct pair {
	struct slice rq_lines[8], rs_lines[8];
	struct policy_request rq;
	struct policy_response rs;
};

static void read_request(struct pair *p, const char *method, const char *block)
{
	struct httplines h = { p->rq_lines, httplines_cut(slice_str(block), p->rq_lines, 8) };

	assert_true(h.count <= 8);
	policy_request_read(slice_str(method), &h, &p->rq);
}

static void read_response(struct pair *p, int status, const char *block)
{
	struct httplines h = { p->rs_lines, httplines_cut(slice_str(block), p->rs_lines, 8) };

	assert_true(h.count <= 8);
	policy_response_read(status, &h, NOON, &p->rs);
}

static void methods_are_told_apart(void **state)
{
	static const struct {
		const char *name;
		enum policy_method method;
	} rows[] = {
		{ "GET", POLICY_GET },	   { "HEAD", POLICY_HEAD },   { "OPTIONS", POLICY_SAFE },
		{ "PROPFIND", POLICY_SAFE }, { "PUT", POLICY_UNSAFE },  { "POST", POLICY_UNSAFE },
		{ "MKCOL", POLICY_UNSAFE },  { "WHAT", POLICY_UNSAFE }, { "get", POLICY_UNSAFE },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(policy_method(slice_str(rows[i].name)), rows[i].method);
}

static void requests_are_read(void **state)
{
	struct pair p;

	(void)state;
	read_request(&p, "HEAD", "authorization: Basic Og==\nRange: bytes=0-\nIf-None-Match: *\nPragma: no-cache\n");
	assert_int_equal(p.rq.method, POLICY_HEAD);
	assert_true(p.rq.has_authorization && p.rq.has_range && p.rq.has_conditions && !p.rq.has_origin_conditions);
	assert_int_equal(p.rq.cc.flags, CC_NO_CACHE);
	read_request(&p, "GET", "If-Unmodified-Since: x\n");
	assert_true(!p.rq.has_authorization && !p.rq.has_range && !p.rq.has_conditions && p.rq.has_origin_conditions);
}

static void responses_are_read(void **state)
{
	struct pair p;

	(void)state;
	read_response(&p, 200, DATE "Age: 7\nExpires: 0\nLast-Modified: Sun, 06 Nov 1994 11:00:00 GMT\nETag: W/\"a\"\n"
				    "Vary: a, *\nSet-Cookie: a=b\nContent-Range: bytes 0-0/1\n");
	assert_int_equal(p.rs.date_s, NOON);
	assert_int_equal(p.rs.last_modified_s, NOON - 3600);
	assert_int_equal(p.rs.age_s, 7);
	assert_true(p.rs.has_expires && p.rs.has_vary_any && p.rs.has_set_cookie && p.rs.has_content_range);
	assert_true(p.rs.expires_s == POLICY_NO_TIME && p.rs.etag.weak && slice_eq_str(p.rs.etag.opaque, "\"a\""));
	read_response(&p, 404, "Age: 5, 6\nDate: now\n");
	assert_int_equal(p.rs.age_s, 5);
	assert_true(p.rs.date_s == POLICY_NO_TIME && !p.rs.has_expires && !p.rs.etag.opaque.p);
	read_response(&p, 200, "Age: -5\n");
	assert_int_equal(p.rs.age_s, 0);
	read_response(&p, 200, "Age: 99999999999999999999\n");
	assert_int_equal(p.rs.age_s, CC_MOST_SECONDS);
}

#define NOT POLICY_KEEP_NOT
#define GUARDED POLICY_KEEP_GUARDED
#define SHARED POLICY_KEEP_SHARED

static const struct store_row {
	const char *section, *method, *request;
	int status;
	const char *response;
	enum policy_keep keep;
} store_rows[] = {
	{ "3", "GET", "", 200, "", SHARED },
	{ "3", "GET", "", 200, "Cache-Control: max-age=60\n", SHARED },
	{ "3", "GET", "", 200, "Cache-Control: no-cache\n", SHARED }, /* to be validated each time */
	{ "3", "GET", "", 200, "Cache-Control: max-age=0\n", SHARED }, /* stale at once, and there when offline */
	{ "3", "GET", "Range: bytes=0-1\nIf-None-Match: \"x\"\n", 200, "", SHARED }, /* the whole came */
	/* method, understood */
	{ "3", "HEAD", "", 200, "Cache-Control: max-age=60\n", NOT },
	{ "3", "POST", "", 200, "Cache-Control: max-age=60\n", NOT },
	{ "3", "PROPFIND", "", 207, "Cache-Control: max-age=60\n", NOT },
	{ "3", "get", "", 200, "Cache-Control: max-age=60\n", NOT },
	/* status codes: with and without an explicit lifetime */
	{ "9110 15.1", "GET", "", 203, "", SHARED },
	{ "9110 15.1", "GET", "", 204, "", SHARED },
	{ "9110 15.1", "GET", "", 300, "", SHARED },
	{ "9110 15.1", "GET", "", 301, "", SHARED },
	{ "9110 15.1", "GET", "", 308, "", SHARED },
	{ "9110 15.1", "GET", "", 404, "", SHARED },
	{ "9110 15.1", "GET", "", 405, "", SHARED },
	{ "9110 15.1", "GET", "", 410, "", SHARED },
	{ "9110 15.1", "GET", "", 414, "", SHARED },
	{ "9110 15.1", "GET", "", 501, "", SHARED },
	{ "3", "GET", "", 302, "", NOT },
	{ "3", "GET", "", 302, "Cache-Control: max-age=60\n", SHARED },
	{ "3", "GET", "", 302, "Cache-Control: s-maxage=60\n", SHARED },
	{ "3", "GET", "", 302, "Cache-Control: public\n", SHARED },
	{ "3", "GET", "", 302, "Expires: Sun, 06 Nov 1994 13:00:00 GMT\n", SHARED },
	{ "3", "GET", "", 302, "CDN-Cache-Control: max-age=60\n", SHARED },
	{ "9213 2.1", "GET", "", 302, "CDN-Cache-Control: none\nExpires: Sun, 06 Nov 1994 13:00:00 GMT\n", NOT },
	{ "3", "GET", "", 307, "", NOT },
	{ "3", "GET", "", 299, "Cache-Control: max-age=60\n", SHARED }, /* final, not known: the lifetime will do */
	{ "3", "GET", "", 403, "", NOT },
	{ "3", "GET", "", 103, "Cache-Control: max-age=60\n", NOT },
	/* parts, and answers that are for one request or one moment */
	{ "3.3", "GET", "Range: bytes=0-0\n", 206, "Content-Range: bytes 0-0/5\nCache-Control: max-age=60\n", NOT },
	{ "3.3", "GET", "", 200, "Content-Range: bytes 0-0/5\nCache-Control: max-age=60\n", NOT },
	{ "4.3.4", "GET", "If-None-Match: \"a\"\n", 304, "Cache-Control: max-age=60\n", NOT },
	{ "9110 15.5.2", "GET", "", 401, "Cache-Control: max-age=60\n", NOT },
	{ "9110 15.5.17", "GET", "Range: bytes=9-\n", 416, "Cache-Control: max-age=60\n", NOT },
	{ "6585 4", "GET", "", 429, "Cache-Control: max-age=60\n", NOT },
	{ "6585 6", "GET", "", 511, "Cache-Control: max-age=60\n", NOT },
	{ "rule 2", "GET", "", 503, "Cache-Control: max-age=60\n", NOT },
	/* no-store, private */
	{ "5.2.1.5", "GET", "Cache-Control: no-store\n", 200, "Cache-Control: max-age=60\n", NOT },
	{ "5.2.2.5", "GET", "", 200, "Cache-Control: no-store, max-age=60\n", NOT },
	{ "5.2.2.5", "GET", "", 200, "Cache-Control: max-age=60\nCache-Control: NO-STORE\n", NOT },
	{ "5.2.2.7", "GET", "", 200, "Cache-Control: private, max-age=60\n", NOT },
	{ "5.2.2.7", "GET", "", 200, "Cache-Control: private=\"x-a\", max-age=60\n", NOT },
	{ "5.2.2.7", "GET", "Authorization: x\n", 200, "Cache-Control: private\n", NOT }, /* not guarded either */
	{ "5.2.2.5", "GET", "Authorization: x\n", 200, "Cache-Control: no-store\n", NOT },
	/* must-understand */
	{ "5.2.2.3", "GET", "", 200, "Cache-Control: must-understand, no-store, max-age=60\n", SHARED },
	{ "5.2.2.3", "GET", "", 299, "Cache-Control: must-understand, no-store, max-age=60\n", NOT },
	{ "5.2.2.3", "GET", "", 299, "Cache-Control: must-understand, max-age=60\n", NOT },
	/* Authorization */
	{ "3.5", "GET", "Authorization: x\n", 200, "Cache-Control: max-age=60\n", GUARDED },
	{ "3.5", "GET", "Authorization: x\n", 200, "", GUARDED },
	{ "3.5", "GET", "Authorization: x\n", 200, "Cache-Control: proxy-revalidate, max-age=60\n", GUARDED },
	{ "3.5", "GET", "Authorization: x\n", 200, "Cache-Control: public\n", SHARED },
	{ "3.5", "GET", "Authorization: x\n", 200, "Cache-Control: must-revalidate\n", SHARED },
	{ "3.5", "GET", "Authorization: x\n", 200, "Cache-Control: s-maxage=0\n", SHARED },
	{ "3.5", "GET", "Authorization: x\n", 200, "Cache-Control: public\nCDN-Cache-Control: max-age=5\n", GUARDED },
	/* Vary */
	{ "4.1", "GET", "", 200, "Vary: Accept\nCache-Control: max-age=60\n", SHARED },
	{ "4.1", "GET", "", 200, "Vary: Accept, *\nCache-Control: max-age=60\n", NOT },
	/* Set-Cookie */
	{ "7.3", "GET", "", 200, "Set-Cookie: a=b\nCache-Control: max-age=60\n", NOT },
	{ "7.3", "GET", "", 200, "Set-Cookie: a=b\nCache-Control: max-age=60, public\n", SHARED },
	{ "7.3", "GET", "", 200, "Set-Cookie: a=b\nCache-Control: s-maxage=60\n", SHARED },
	/* CDN-Cache-Control stands in the place of Cache-Control, unless it is malformed */
	{ "9213 2.2", "GET", "", 200, "CDN-Cache-Control: max-age=60\nCache-Control: no-store\n", SHARED },
	{ "9213 2.2", "GET", "", 200, "CDN-Cache-Control: no-store\nCache-Control: max-age=60\n", NOT },
	{ "9213 2.2", "GET", "", 200, "CDN-Cache-Control: max-age=60,\nCache-Control: no-store\n", NOT },
	{ "9213 2.2", "GET", "", 200, "CDN-Cache-Control:\nCache-Control: no-store\n", NOT },
};

static void what_may_be_stored(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(store_rows); i++) {
		const struct store_row *row = &store_rows[i];
		const char *why = NULL;
		enum policy_keep keep;
		struct pair p;

		read_request(&p, row->method, row->request);
		read_response(&p, row->status, row->response);
		keep = policy_may_store(&p.rq, &p.rs, &why);
		if (keep != row->keep || (keep == NOT) != (why != NULL))
			fail_msg("RFC %s: %s %d %s gives %d (%s)", row->section, row->method, row->status,
				 row->response, keep, why ? why : "");
		assert_int_equal(policy_may_store(&p.rq, &p.rs, NULL), keep);
	}
}

static const struct {
	const char *section;
	int status;
	const char *response;
	int64_t lifetime_s;
} lifetime_rows[] = {
	{ "4.2.1", 200, DATE "Cache-Control: s-maxage=1, max-age=2\nExpires: Sun, 06 Nov 1994 13:00:00 GMT\n", 1 },
	{ "4.2.1", 200, DATE "Cache-Control: max-age=2\nExpires: Sun, 06 Nov 1994 13:00:00 GMT\n", 2 },
	{ "4.2.1", 200, DATE "Expires: Sun, 06 Nov 1994 13:00:00 GMT\n", 3600 },
	{ "4.2.1", 200, "Expires: Sun, 06 Nov 1994 13:00:00 GMT\n", 3600 - 10 }, /* no Date: since it came */
	{ "4.2.1", 200, DATE "Expires: Sun, 06 Nov 1994 11:00:00 GMT\n", 0 },
	{ "5.3", 200, DATE "Expires: 0\nLast-Modified: Sun, 06 Nov 1994 02:00:00 GMT\n", 0 },
	{ "5.3", 200, DATE "Expires: Sun, 06 Nov 1994 13:00:00 GMT\nExpires: Sun, 06 Nov 1994 13:00:00 GMT\n", 0 },
	{ "4.2.1", 200, DATE "Cache-Control: max-age=x\nExpires: Sun, 06 Nov 1994 13:00:00 GMT\n", 0 },
	{ "1.2.2", 200, DATE "Cache-Control: max-age=99999999999999999999\n", CC_MOST_SECONDS },
	/* 4.2.2 heuristics: a tenth, at most a day, only where allowed */
	{ "4.2.2", 200, DATE "Last-Modified: Sun, 06 Nov 1994 02:00:00 GMT\n", 3600 },
	{ "4.2.2", 200, "Last-Modified: Sun, 06 Nov 1994 02:00:00 GMT\n", 3601 },
	{ "4.2.2", 200, DATE "Last-Modified: Wed, 06 Nov 1974 12:00:00 GMT\n", 86400 },
	{ "4.2.2", 200, DATE "Last-Modified: Sun, 06 Nov 1994 13:00:00 GMT\n", 0 },
	{ "4.2.2", 200, DATE "Last-Modified: x\n", 0 },
	{ "4.2.2", 200, DATE, 0 },
	{ "4.2.2", 404, DATE "Last-Modified: Sun, 06 Nov 1994 02:00:00 GMT\n", 3600 },
	{ "4.2.2", 302, DATE "Last-Modified: Sun, 06 Nov 1994 02:00:00 GMT\n", 0 },
	{ "4.2.2", 302, DATE "Last-Modified: Sun, 06 Nov 1994 02:00:00 GMT\nCache-Control: public\n", 3600 },
	{ "4.2.2", 200, DATE "Last-Modified: Sun, 06 Nov 1994 02:00:00 GMT\nCache-Control: max-age=5\n", 5 },
	/* RFC 9213 2.1: Cache-Control and Expires are not looked at */
	{ "9213 2.1", 200, DATE "CDN-Cache-Control: max-age=9\nCache-Control: s-maxage=1\n", 9 },
	{ "9213 2.1", 200, DATE "CDN-Cache-Control: public\nExpires: Sun, 06 Nov 1994 13:00:00 GMT\n", 0 },
};

static void how_long_it_is_fresh(void **state)
{
	const struct policy_times t = { NOON_MS + 9000, NOON_MS + 10000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lifetime_rows); i++) {
		struct pair p;
		int64_t ms;

		read_response(&p, lifetime_rows[i].status, lifetime_rows[i].response);
		ms = policy_lifetime_ms(&p.rs, &t);
		if (ms != lifetime_rows[i].lifetime_s * 1000)
			fail_msg("RFC %s: %s gives %lld ms", lifetime_rows[i].section, lifetime_rows[i].response,
				 (long long)ms);
	}
}

/* RFC 9111 4.2.3 */
static void how_old_it_is(void **state)
{
	static const struct {
		const char *response;
		int64_t request_ms, response_ms, now_ms, age_ms; /* times after noon */
	} rows[] = {
		{ DATE, 0, 0, 0, 0 },
		{ DATE, 0, 0, 5000, 5000 },
		{ DATE, 0, 900, 900, 900 },	   /* the delay; a Date has no fractions to hold against it */
		{ DATE, 1500, 2000, 5000, 5000 },  /* apparent age 2 s, resident 3 s */
		{ DATE "Age: 10\n", 0, 300, 1300, 11300 },
		{ DATE "Age: 1\n", 50000, 50000, 51000, 51000 }, /* the older of the two counts */
		{ "Age: 10\n", 0, 0, 1000, 11000 },
		{ "", 5000, 6000, 7000, 2000 },
		{ DATE, -60000, -60000, -50000, 10000 },  /* upstream's clock is ahead */
		{ DATE "Age: 3\n", 5000, 6000, 4000, 6000 }, /* ours went back after it came */
		{ "", 6000, 5000, 5000, 0 },		     /* and here while we waited */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct policy_times t = { NOON_MS + rows[i].request_ms, NOON_MS + rows[i].response_ms };
		struct pair p;

		read_response(&p, 200, rows[i].response);
		assert_int_equal(policy_age_ms(&p.rs, &t, NOON_MS + rows[i].now_ms), rows[i].age_ms);
	}
}

#define FRESH POLICY_FRESH
#define SWR POLICY_STALE_WHILE_REVALIDATE
#define VALIDATE POLICY_MUST_VALIDATE

/* Each answer came at noon. */
static const struct reuse_row {
	const char *section, *request, *response;
	int64_t age_s;
	enum policy_reuse reuse;
	bool offline; /* with serve_stale: forever and no override */
} reuse_rows[] = {
	{ "4", "", "Cache-Control: max-age=60\n", 0, FRESH, true },
	{ "4", "", "Cache-Control: max-age=60\n", 59, FRESH, true },
	{ "4.2", "", "Cache-Control: max-age=60\n", 60, VALIDATE, true }, /* fresh while the lifetime exceeds the age */
	{ "4", "", "Cache-Control: max-age=60\n", 61, VALIDATE, true },
	{ "4", "", "", 0, VALIDATE, true },
	{ "4", "", "Last-Modified: Sun, 06 Nov 1994 02:00:00 GMT\n", 3599, FRESH, true },
	{ "4", "", "Last-Modified: Sun, 06 Nov 1994 02:00:00 GMT\n", 3600, VALIDATE, true },
	/* what forbids the stale */
	{ "5.2.2.4", "", "Cache-Control: no-cache, max-age=60\n", 5, VALIDATE, false },
	{ "5.2.2.4", "Cache-Control: max-stale\n", "Cache-Control: no-cache=\"x\", max-age=60\n", 5, VALIDATE, false },
	{ "5.2.2.2", "", "Cache-Control: must-revalidate, max-age=60\n", 59, FRESH, true },
	{ "5.2.2.2", "", "Cache-Control: must-revalidate, max-age=60\n", 61, VALIDATE, false },
	{ "5.2.2.8", "", "Cache-Control: proxy-revalidate, max-age=60\n", 61, VALIDATE, false },
	{ "5.2.2.10", "", "Cache-Control: s-maxage=60\n", 59, FRESH, true },
	{ "5.2.2.10", "", "Cache-Control: s-maxage=60\n", 61, VALIDATE, false },
	/* the request's wishes: they ask for validation, and never forbid what is served offline */
	{ "5.2.1.1", "Cache-Control: max-age=10\n", "Cache-Control: max-age=60\n", 10, FRESH, true },
	{ "5.2.1.1", "Cache-Control: max-age=10\n", "Cache-Control: max-age=60\n", 11, VALIDATE, true },
	{ "5.2.1.1", "Cache-Control: max-age=0\n", "Cache-Control: max-age=60\n", 1, VALIDATE, true },
	{ "5.2.1.1", "Cache-Control: max-age=0\n", "Cache-Control: max-age=60\n", 0, VALIDATE, true },
	{ "5.2.1.1", "Cache-Control: max-age=100\n", "Cache-Control: max-age=60\n", 61, VALIDATE, true },
	{ "5.2.1.1", "Cache-Control: max-age=100, max-stale\n", "Cache-Control: max-age=60\n", 99, FRESH, true },
	{ "5.2.1.1", "Cache-Control: max-age=100, max-stale\n", "Cache-Control: max-age=60\n", 101, VALIDATE, true },
	{ "5.2.1.2", "Cache-Control: max-stale=10\n", "Cache-Control: max-age=60\n", 70, FRESH, true },
	{ "5.2.1.2", "Cache-Control: max-stale=10\n", "Cache-Control: max-age=60\n", 71, VALIDATE, true },
	{ "5.2.1.2", "Cache-Control: max-stale\n", "Cache-Control: max-age=60\n", 99999, FRESH, true },
	{ "4.2.4", "Cache-Control: max-stale\n", "Cache-Control: must-revalidate, max-age=60\n", 61, VALIDATE, false },
	{ "4.2.4", "Cache-Control: max-stale\n", "Cache-Control: s-maxage=60\n", 61, VALIDATE, false },
	{ "5.2.1.3", "Cache-Control: min-fresh=10\n", "Cache-Control: max-age=60\n", 50, FRESH, true },
	{ "5.2.1.3", "Cache-Control: min-fresh=10\n", "Cache-Control: max-age=60\n", 51, VALIDATE, true },
	{ "5.2.1.3", "Cache-Control: min-fresh=x\n", "Cache-Control: max-age=60\n", 0, VALIDATE, true },
	{ "5.2.1.4", "Cache-Control: no-cache\n", "Cache-Control: max-age=60\n", 1, VALIDATE, true },
	{ "5.4", "Pragma: no-cache\n", "Cache-Control: max-age=60\n", 1, VALIDATE, true },
	{ "8246 2", "Cache-Control: no-cache\n", "Cache-Control: max-age=60, immutable\n", 1, VALIDATE, true },
	{ "5.2.1.5", "Cache-Control: no-store\n", "Cache-Control: max-age=60\n", 1, FRESH, true },
	{ "5.2.1.7", "Cache-Control: only-if-cached\n", "Cache-Control: max-age=60\n", 1, FRESH, true },
	{ "5.2.1.7", "Cache-Control: only-if-cached\n", "Cache-Control: max-age=60\n", 61, VALIDATE, true },
	/* RFC 5861 3 */
	{ "5861 3", "", "Cache-Control: max-age=60, stale-while-revalidate=30\n", 59, FRESH, true },
	{ "5861 3", "", "Cache-Control: max-age=60, stale-while-revalidate=30\n", 61, SWR, true },
	{ "5861 3", "", "Cache-Control: max-age=60, stale-while-revalidate=30\n", 90, SWR, true },
	{ "5861 3", "", "Cache-Control: max-age=60, stale-while-revalidate=30\n", 91, VALIDATE, true },
	{ "5861 3", "Cache-Control: no-cache\n", "Cache-Control: max-age=60, stale-while-revalidate=30\n", 61, VALIDATE,
	  true },
	{ "5861 3", "Cache-Control: max-age=90\n", "Cache-Control: max-age=60, stale-while-revalidate=30\n", 61,
	  VALIDATE, true },
	{ "4.2.4", "", "Cache-Control: must-revalidate, max-age=60, stale-while-revalidate=30\n", 61, VALIDATE, false },
	{ "4.2.4", "", "Cache-Control: s-maxage=60, stale-while-revalidate=30\n", 61, VALIDATE, false },
	{ "4.2.4", "", "Cache-Control: s-maxage=60, stale-if-error=30\n", 61, VALIDATE, false },
	/* RFC 9213 */
	{ "9213", "", "CDN-Cache-Control: max-age=60\nCache-Control: s-maxage=0, no-cache\n", 59, FRESH, true },
	{ "9213", "", "CDN-Cache-Control: max-age=60, stale-while-revalidate=9\nCache-Control: no-cache\n", 61, SWR,
	  true },
};

static void what_may_be_served(void **state)
{
	const struct policy_times t = { NOON_MS, NOON_MS };
	const struct policy_operator op = { POLICY_STALE_FOREVER, 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(reuse_rows); i++) {
		const struct reuse_row *row = &reuse_rows[i];
		struct policy_verdict v;
		struct pair p;

		read_request(&p, "GET", row->request);
		read_response(&p, 200, row->response);
		policy_reuse(&p.rq, &p.rs, &t, &op, NOON_MS + row->age_s * 1000, &v);
		assert_int_equal(v.age_ms, row->age_s * 1000);
		if (v.reuse != row->reuse || v.stale_allowed != row->offline)
			fail_msg("RFC %s, row %zu: %s%s gives %d, offline %d", row->section, i, row->request,
				 row->response, v.reuse, v.stale_allowed);
	}
}

/* RFC 9111 4.2.4, and what the operator says to it. The answer was fresh for an hour and is three hours old. */
static void what_may_be_served_stale_while_upstream_is_away(void **state)
{
	static const struct {
		int64_t serve_stale_ms;
		unsigned override;
		const char *request, *response;
		bool allowed;
	} rows[] = {
		{ POLICY_STALE_FOREVER, 0, "", "Cache-Control: max-age=3600\n", true },
		{ 2 * HOUR_MS, 0, "", "Cache-Control: max-age=3600\n", true },
		{ 2 * HOUR_MS - 1, 0, "", "Cache-Control: max-age=3600\n", false },
		{ 0, 0, "", "Cache-Control: max-age=3600\n", false },
		{ 0, 0, "", "Cache-Control: max-age=36000\n", true }, /* not stale */
		{ 0, 0, "", "Cache-Control: max-age=36000, must-revalidate, proxy-revalidate\n", true },
		{ 0, 0, "", "Cache-Control: max-age=36000, no-cache\n", false },
		/* RFC 5861 4: of the response and of the request */
		{ 1, 0, "", "Cache-Control: max-age=3600, stale-if-error=7200\n", true },
		{ 1, 0, "", "Cache-Control: max-age=3600, stale-if-error=7199\n", false },
		{ 1, 0, "Cache-Control: stale-if-error=7200\n", "Cache-Control: max-age=3600\n", true },
		{ 1, 0, "Cache-Control: stale-if-error=7199\n", "Cache-Control: max-age=3600\n", false },
		{ 0, 0, "", "Cache-Control: max-age=3600, stale-if-error=7200\n", false }, /* never is never */
		{ POLICY_STALE_FOREVER, 0, "", "Cache-Control: max-age=3600, stale-if-error=1\n", true },
		/* overrides, each by its name */
		{ POLICY_STALE_FOREVER, POLICY_FORBIDS_MUST_REVALIDATE, "",
		  "Cache-Control: must-revalidate, max-age=3600\n", true },
		{ POLICY_STALE_FOREVER, POLICY_FORBIDS_PROXY_REVALIDATE, "",
		  "Cache-Control: must-revalidate, max-age=3600\n", false },
		{ POLICY_STALE_FOREVER, POLICY_FORBIDS_PROXY_REVALIDATE, "",
		  "Cache-Control: proxy-revalidate, max-age=3600\n", true },
		{ POLICY_STALE_FOREVER, POLICY_FORBIDS_S_MAXAGE, "", "Cache-Control: s-maxage=3600\n", true },
		{ POLICY_STALE_FOREVER, POLICY_FORBIDS_NO_CACHE, "", "Cache-Control: no-cache\n", true },
		{ POLICY_STALE_FOREVER, POLICY_FORBIDS_NO_CACHE, "", "Cache-Control: no-cache, must-revalidate\n",
		  false },
		{ 0, POLICY_FORBIDS_NO_CACHE, "", "Cache-Control: no-cache, max-age=36000\n", true },
		{ HOUR_MS, POLICY_FORBIDS_MUST_REVALIDATE, "", "Cache-Control: must-revalidate, max-age=3600\n",
		  false },
	};
	const struct policy_times t = { NOON_MS, NOON_MS };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct policy_operator op = { rows[i].serve_stale_ms, rows[i].override };
		struct policy_verdict v;
		struct pair p;

		read_request(&p, "GET", rows[i].request);
		read_response(&p, 200, rows[i].response);
		policy_reuse(&p.rq, &p.rs, &t, &op, NOON_MS + 3 * HOUR_MS, &v);
		if (v.stale_allowed != rows[i].allowed)
			fail_msg("row %zu: %s%s gives %d", i, rows[i].request, rows[i].response, v.stale_allowed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(methods_are_told_apart),
		cmocka_unit_test(requests_are_read),
		cmocka_unit_test(responses_are_read),
		cmocka_unit_test(what_may_be_stored),
		cmocka_unit_test(how_long_it_is_fresh),
		cmocka_unit_test(how_old_it_is),
		cmocka_unit_test(what_may_be_served),
		cmocka_unit_test(what_may_be_served_stale_while_upstream_is_away),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
