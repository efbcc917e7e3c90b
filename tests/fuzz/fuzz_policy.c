/* fuzz_policy.c -- what the mirror makes of a request and its answer: two heads, divided by an empty line.
 *
 * What is stored has nothing of one connection, one Date, and stays the same when stored again; a variant fits the
 * request that fetched it; where a reference leads stays there. */
#include "base/obj.h"
#include "mirror/conditional.h"
#include "mirror/fields.h"
#include "mirror/invalidate.h"
#include "mirror/policy.h"
#include "mirror/vary.h"
#include "proto/uriref.h"

#define MOST_LINES 64
#define NOW_S 1795000000 /* November 2026 */
#define ORIGIN SLICE_LIT("https://up.example:8443")

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_vary(const struct httplines *request, const struct httplines *answer)
{
	struct buf key = BUF_EMPTY;

	if (vary_key(answer, request, &key) == 0)
		ENSURE(vary_matches(buf_slice(&key), request));
	else
		ENSURE(key.len == 0);
	ENSURE(key.len <= VARY_KEY_BYTES);
	buf_fini(&key);
}

static void check_fields(const struct httplines *one, const struct httplines *two)
{
	struct slice lines[2 * MOST_LINES + 1];
	struct buf stored = BUF_EMPTY, again = BUF_EMPTY, updated = BUF_EMPTY;
	struct policy_response rs;
	struct httplines h;

	fields_to_store(one, NOW_S * (int64_t)1000, &stored);
	h = (struct httplines){ lines, httplines_cut(buf_slice(&stored), lines, ARRAY_LEN(lines)) };
	ENSURE(h.count <= one->count + 1 && httplines_count(&h, "date") == 1 && !httplines_count(&h, "connection"));
	fields_to_store(&h, 0, &again);
	ENSURE(slice_eq(buf_slice(&stored), buf_slice(&again)));

	fields_update(&h, two, NOW_S * (int64_t)1000, &updated);
	h = (struct httplines){ lines, httplines_cut(buf_slice(&updated), lines, ARRAY_LEN(lines)) };
	ENSURE(h.count <= ARRAY_LEN(lines) && httplines_count(&h, "date") == 1 && !httplines_count(&h, "connection"));
	policy_response_read(200, &h, NOW_S, &rs);
	ENSURE(rs.date_s != POLICY_NO_TIME);
	buf_fini(&stored);
	buf_fini(&again);
	buf_fini(&updated);
}

static void check_policy(const struct httplines *request, const struct httplines *answer)
{
	const struct policy_times t = { NOW_S * (int64_t)1000 - 500, NOW_S * (int64_t)1000 };
	const struct policy_operator forever = { POLICY_STALE_FOREVER, 0 }, never = { 0, 0 };
	struct policy_verdict lenient, strict;
	struct policy_request rq;
	struct policy_response rs;
	const char *why = NULL;

	policy_request_read(SLICE_LIT("GET"), request, &rq);
	policy_response_read(200, answer, NOW_S, &rs);
	ENSURE((policy_may_store(&rq, &rs, &why) == POLICY_KEEP_NOT) == (why != NULL));
	policy_reuse(&rq, &rs, &t, &forever, t.response_ms + 1000, &lenient);
	policy_reuse(&rq, &rs, &t, &never, t.response_ms + 1000, &strict);
	ENSURE(lenient.age_ms >= 1000 && lenient.lifetime_ms >= 0);
	ENSURE(lenient.stale_allowed || !strict.stale_allowed);
	ENSURE(lenient.reuse == strict.reuse);
	if (strict.stale_allowed)
		ENSURE(strict.age_ms < strict.lifetime_ms);
}

static void check_conditions(const struct httplines *request, const struct httplines *answer)
{
	struct conditional_view view = { .exists = true, .etag = etag_of(answer) };
	struct policy_response rs;

	policy_response_read(200, answer, NOW_S, &rs);
	view.last_modified_s = rs.last_modified_s;
	view.date_s = rs.date_s;
	ENSURE(conditional_judge(SLICE_LIT("PUT"), request, &view, NOW_S) != CONDITIONAL_NOT_MODIFIED);
	ENSURE(conditional_judge_cached(SLICE_LIT("GET"), request, &view, NOW_S) != CONDITIONAL_FAILED);
	(void)conditional_range_applies(request, &view, NOW_S);
}

static void ensure_stays(void *arg, struct slice target)
{
	struct buf whole = BUF_EMPTY, again = BUF_EMPTY;

	ENSURE(slice_starts(target, "/"));
	buf_add_slice(&whole, ORIGIN);
	buf_add_slice(&whole, target);
	if (whole.len <= URIREF_MAX_BYTES) {
		ENSURE(uriref_resolve(ORIGIN, SLICE_LIT("/"), buf_slice(&whole), &again) == 0);
		ENSURE(slice_eq(buf_slice(&again), target));
	}
	buf_fini(&whole);
	buf_fini(&again);
}

static struct httplines take_head(struct slice block, struct slice *lines)
{
	size_t count = httplines_cut(block, lines, MOST_LINES);

	return (struct httplines){ lines, count < MOST_LINES ? count : MOST_LINES };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice all = { (const char *)data, size }, first = all, second = { 0 };
	struct slice lines[2][MOST_LINES];
	const char *gap = size ? memmem(data, size, "\n\n", 2) : NULL;
	struct httplines request, answer;

	if (gap) {
		first.n = (size_t)(gap - all.p);
		second = slice_from(all, first.n + 2);
	}
	request = take_head(first, lines[0]);
	answer = take_head(second, lines[1]);
	check_vary(&request, &answer);
	check_fields(&request, &answer);
	check_policy(&request, &answer);
	check_conditions(&request, &answer);
	invalidate_after(SLICE_LIT("PUT"), 200, ORIGIN, SLICE_LIT("/dir/file?q"), &answer, ensure_stays, NULL);
	return 0;
}
