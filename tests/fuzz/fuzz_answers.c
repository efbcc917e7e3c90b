/* fuzz_answers.c -- what a server answers a session daemon: a creation, a batch, /health, Retry-After. The first byte
 * chooses; of a batch, the second says how many operations were sent.
 *
 * A server may say anything. What it says is not believed beyond what was asked: an id that could be one, an outcome
 * for each operation that was sent, a refusal that is for good, a wait of an hour at most. */
#include "sessions/answers.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/obj.h"
#include "core/delivery.h"
#include "proto/httpdate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW_MS      1700000000000
#define MOST_PARTS  64
#define FIRST_SEQ   7
#define MOST_WAIT   (60 * 60 * 1000)

static void try_id(struct slice text)
{
	char id[ANSWER_MOST_ID + 1] = "";
	bool ok = answer_session_id(text, id);

	ENSURE(ok == (id[0] != 0));
	ENSURE(strncmp(id, LOCAL_ID_BEGINS, strlen(LOCAL_ID_BEGINS)) != 0);
}

static void try_batch(struct slice text)
{
	size_t n = text.n ? (unsigned char)text.p[0] % MOST_PARTS + 1 : 1;
	struct answer_part *parts = xcalloc(n, sizeof(*parts));
	bool is_read, has_waiting = false;

	for (size_t i = 0; i < n; i++)
		parts[i] = (struct answer_part){ .seq = FIRST_SEQ + i, .why = BUF_EMPTY };
	is_read = answer_batch(text.n ? slice_from(text, 1) : text, parts, n) == 0;
	for (size_t i = 0; i < n; i++) {
		ENSURE(parts[i].outcome != ANSWER_REFUSED || (is_read && answer_is_for_good(parts[i].status)));
		ENSURE(is_read || !parts[i].why.len);
		ENSURE(!has_waiting || parts[i].outcome != ANSWER_APPLIED || !is_read); /* seqs go up */
		has_waiting = has_waiting || (is_read && parts[i].outcome == ANSWER_NOT_YET);
		buf_fini(&parts[i].why);
	}
	free(parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = { (const char *)data + 1, size ? size - 1 : 0 };
	int64_t ms;

	if (!size)
		return 0;
	switch (data[0] % 4) {
	case 0: try_id(text); break;
	case 1: try_batch(text); break;
	case 2: (void)answer_takes_batches(text); break;
	default:
		ms = httpdate_retry_after_ms(text, NOW_MS, DELIVERY_RETRY_AFTER_MOST_MS);
		ENSURE(ms >= 0 && ms <= MOST_WAIT);
	}
	return 0;
}
