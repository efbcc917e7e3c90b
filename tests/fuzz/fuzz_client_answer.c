/* fuzz_client_answer.c -- what a daemon, or whatever listens on its port, answers to libweir-client.
 *
 * Besides memory errors: the same comes of the bytes whole as in pieces; what is taken has one framing only and keeps
 * the limits; an id that is found in a body can be put into a request as it is. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "client/answer.h"
#include "client/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_id(const struct weirc_answer *a)
{
	char id[129], text[160];
	size_t n;

	if (weirc_json_text_of(a->body, a->body_kept, "session_id", id, sizeof(id)) < 0)
		return;
	n = strlen(id);
	ENSURE(n >= 1 && n < sizeof(id) && !strpbrk(id, "\"\\\r\n"));
	text[0] = '"';
	memcpy(text + 1, id, n);
	text[n + 1] = '"';
	ENSURE(weirc_json_is_value(text, n + 2, false));
}

static void check(const struct weirc_answer *a)
{
	ENSURE(a->status >= 200 && a->status <= 999);
	ENSURE(a->body_bytes == a->length && a->length <= WEIRC_ANSWER_BODY);
	ENSURE(a->body_kept <= sizeof(a->body) && a->body_kept <= a->length);
	ENSURE(a->head_bytes <= WEIRC_ANSWER_HEAD);
	check_id(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weirc_answer *whole = calloc(1, sizeof(*whole)), *pieces = calloc(1, sizeof(*pieces));
	size_t used, at = 0, piece = size ? data[0] % 7 + 1u : 1;
	int r, s = 0;

	ENSURE(whole && pieces);
	if (size) {
		data++;
		size--;
	}
	weirc_answer_init(whole);
	weirc_answer_init(pieces);
	r = weirc_answer_feed(whole, (const char *)data, size, &used);
	while (s == 0 && at < size) {
		size_t n = size - at < piece ? size - at : piece, some;

		s = weirc_answer_feed(pieces, (const char *)data + at, n, &some);
		ENSURE(some <= n && (s != 0 || some == n));
		at += some;
	}
	ENSURE(r == s && (r < 0 || used == at));
	if (r == 1) {
		check(whole);
		ENSURE(whole->status == pieces->status && whole->closes == pieces->closes);
		ENSURE(whole->body_kept == pieces->body_kept &&
		       memcmp(whole->body, pieces->body, whole->body_kept) == 0);
	}
	free(whole);
	free(pieces);
	return 0;
}
