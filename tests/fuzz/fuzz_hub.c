/* fuzz_hub.c -- what a hub is sent about sessions. The first byte chooses the endpoint, a batch, a state's merge, or a
 * list's query.
 *
 * What is kept is JSON that reads back; a batch is taken whole or refused with a sentence; a merge takes away what the
 * patch says. */
#include "base/arena.h"
#include "base/err.h"
#include "base/obj.h"
#include "core/json_merge.h"
#include "hub/hub_priv.h"
#include "hub/hub_points.h"
#include "hub/hub_scan.h"
#include "hub/hub_series.h"
#include "hub/hub_text.h"
#include "hub/hub_timeline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW SLICE_LIT("2026-01-01T00:00:00.000Z")

/* What the scanner says of an object that was kept is what a reader of JSON says; of anything else it says something. */
static void check_scan(struct slice kept, const json_t *v)
{
	struct hub_scan s = hub_scan_of(kept);
	struct slice name, value;
	size_t n = 0;

	while (hub_scan_member(&s, &name, &value)) {
		struct buf list = BUF_EMPTY;
		json_t *one = NULL;

		buf_addf(&list, "[\"%.*s\",%.*s]", (int)name.n, name.p, (int)value.n, value.p);
		ENSURE(json_read(buf_slice(&list), JSON_READ_KEPT, &one, NULL) == 0);
		ENSURE(json_equal(json_array_get(one, 1),
				  json_object_get(v, json_string_value(json_array_get(one, 0)))));
		json_decref(one);
		buf_fini(&list);
		n++;
	}
	ENSURE(!s.broken && n == json_object_size(v));
}

static void check_drawn(struct buf *drawn, bool was_kept)
{
	json_t *v = NULL;

	ENSURE(!was_kept || json_read(buf_slice(drawn), JSON_READ_KEPT, &v, NULL) == 0);
	json_decref(v);
	buf_reset(drawn);
}

/* What was kept can be drawn, and is JSON then; anything else does no harm. */
static void try_drawing(struct slice item, enum hub_op_type type, bool was_kept)
{
	struct hub_span span = hub_span_of(1767322800000, 1767322900000, 7);
	struct hub_timeline *timeline = hub_timeline_new(span);
	struct hub_series_set *series = hub_series_new();
	struct hub_points *points = hub_points_new(span, SLICE_LIT("m"), (struct slice){ NULL, 0 }, SLICE_LIT("[]"));
	struct buf drawn = BUF_EMPTY;

	for (int i = 0; i < 2; i++) {
		bool event = hub_timeline_event(timeline, item), update = hub_timeline_update(timeline, item);
		bool metric = hub_series_take(series, item), point = hub_points_take(points, item);

		ENSURE(!was_kept || update);
		ENSURE(!was_kept || (type != HUB_OP_EVENT && type != HUB_OP_CRASH) || event);
		ENSURE(!was_kept || type != HUB_OP_METRIC || (metric && point));
	}
	hub_timeline_write(timeline, &drawn);
	check_drawn(&drawn, was_kept);
	hub_series_write(series, &drawn);
	check_drawn(&drawn, was_kept);
	hub_points_write(points, &drawn);
	check_drawn(&drawn, was_kept);
	buf_fini(&drawn);
	hub_timeline_free(timeline);
	hub_series_free(series);
	hub_points_free(points);
}

static void check_kept(const struct hub_op *op)
{
	json_t *v = NULL;

	ENSURE(op->status == 0 || (op->status == 400 && op->error.len));
	if (op->status == 0 && op->body.len) {
		ENSURE(json_read(buf_slice(&op->body), 0, &v, NULL) == 0);
		ENSURE(json_is_string(json_object_get(v, "timestamp")));
		check_scan(buf_slice(&op->body), v);
		try_drawing(buf_slice(&op->body), op->type, true);
		(void)hub_text_occurs(buf_slice(&op->body), SLICE_LIT("a\"B"));
	}
	json_decref(v);
}

static void try_scan(struct slice text)
{
	struct hub_scan s = hub_scan_of(text);
	struct slice name, value;
	struct buf out = BUF_EMPTY;
	double number;
	int64_t ms;

	try_drawing(text, HUB_OP_EVENT, false);
	while (hub_scan_member(&s, &name, &value)) {
		(void)hub_scan_number(value, &number);
		(void)hub_scan_time(value, &ms);
		(void)hub_scan_text(value, &out);
	}
	buf_fini(&out);
}

static void try_batch(json_t *body)
{
	struct buf why = BUF_EMPTY;
	struct hub_op *ops = NULL;
	size_t n = 0;
	int r = hub_op_read_batch(body, NOW, &ops, &n, &why);

	ENSURE((r == 0) == (why.len == 0));
	for (size_t i = 0; i < n; i++) {
		ENSURE(ops[i].seq > (i ? ops[i - 1].seq : 0));
		check_kept(&ops[i]);
	}
	hub_ops_free(ops, n);
	buf_fini(&why);
}

/* Of two objects in a list: the first becomes the state. */
static void try_merge(json_t *list)
{
	json_t *base = json_array_get(list, 0), *patch = json_array_get(list, 1), *value;
	const char *name;
	struct buf out = BUF_EMPTY;

	if (!json_is_object(base) || !json_is_object(patch))
		return;
	json_merge(base, patch);
	json_object_foreach(patch, name, value) ENSURE(json_is_null(value) == !json_object_get(base, name));
	json_write(base, &out);
	buf_fini(&out);
}

/* Its first byte chooses the look. */
static void try_query(struct slice text)
{
	unsigned look = text.n ? (unsigned char)text.p[0] % (HUB_LOOK_SESSIONS + 1) : HUB_LOOK_SESSIONS;
	struct buf why = BUF_EMPTY;
	struct hub_query q;
	struct arena a;

	arena_init(&a, 65536);
	ENSURE((hub_query_read(slice_from(text, text.n ? 1 : 0), (enum hub_look)look, &a, &q, &why) == 0) ==
	       (why.len == 0));
	arena_fini(&a);
	buf_fini(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = { (const char *)data + 1, size ? size - 1 : 0 };
	unsigned what = size ? data[0] % (HUB_OP_COUNT + 4) : 0;
	json_t *body = NULL;
	struct hub_op op;

	if (!size)
		return 0;
	if (what == HUB_OP_COUNT + 2) {
		try_query(text);
		return 0;
	}
	if (what == HUB_OP_COUNT + 3) {
		try_scan(text);
		return 0;
	}
	(void)json_read(text, 0, &body, NULL); /* some endpoints do not mind */
	if (what == HUB_OP_COUNT) {
		try_batch(body);
	} else if (what == HUB_OP_COUNT + 1) {
		try_merge(body);
	} else {
		hub_op_read((enum hub_op_type)what, body, data[0] & 0x80, NOW, &op);
		check_kept(&op);
		hub_op_fini(&op);
	}
	json_decref(body);
	return 0;
}
