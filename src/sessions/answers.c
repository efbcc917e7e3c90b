/* answers.c -- what a server's answers say: see the header. */
#include "sessions/answers.h"

#include <jansson.h>

#include "base/err.h"
#include "core/json.h"

#define MOST_WHY 500 /* bytes */

bool answer_is_about_us(int status)
{
	return status == 401 || status == 403 || status == 407 || (status >= 300 && status < 400);
}

bool answer_is_for_now(int status)
{
	return status == 408 || status == 425 || status == 429 || status >= 500;
}

bool answer_is_for_good(int status)
{
	return status >= 400 && status < 500 && !answer_is_about_us(status) && !answer_is_for_now(status);
}

bool answer_session_id(struct slice body, char ret[ANSWER_MOST_ID + 1])
{
	json_t *v = NULL;
	const char *id = json_read(body, 0, &v, NULL) == 0 ? json_string_value(json_object_get(v, "session_id")) : NULL;
	/* One of our own ids would be another session's. */
	bool ok = id && *id && strlen(id) <= ANSWER_MOST_ID && !slice_starts(slice_str(id), LOCAL_ID_BEGINS);

	if (ok)
		(void)snprintf(ret, ANSWER_MOST_ID + 1, "%s", id);
	json_decref(v);
	return ok;
}

bool answer_takes_batches(struct slice body)
{
	json_t *v = NULL;
	bool does = json_read(body, 0, &v, NULL) == 0 && json_is_true(json_object_get(v, "batch"));

	json_decref(v);
	return does;
}

/* It says that it is done with this one; a status that it could not mean by that is one of its own mistakes. */
static void refuse(struct answer_part *p, const json_t *refusal)
{
	json_int_t status = json_integer_value(json_object_get(refusal, "status"));
	const char *why = json_string_value(json_object_get(refusal, "error"));

	p->outcome = ANSWER_REFUSED;
	p->status = status >= 400 && status < 500 && answer_is_for_good((int)status) ? (int)status : 400;
	buf_reset(&p->why);
	if (why)
		buf_add(&p->why, why, strnlen(why, MOST_WHY));
}

static void take_refusals(const json_t *list, struct answer_part *parts, size_t n)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *refusal = json_array_get(list, i), *seq = json_object_get(refusal, "seq");

		for (size_t k = 0; json_is_integer(seq) && k < n; k++)
			if ((json_int_t)parts[k].seq == json_integer_value(seq))
				refuse(&parts[k], refusal);
	}
}

int answer_batch(struct slice body, struct answer_part *parts, size_t n)
{
	json_t *v = NULL;
	json_int_t upto;

	if (json_read(body, 0, &v, NULL) < 0 || !json_is_integer(json_object_get(v, "applied_seq"))) {
		json_decref(v);
		return WEIR_E_PARSE;
	}
	upto = json_integer_value(json_object_get(v, "applied_seq"));
	for (size_t i = 0; i < n; i++)
		parts[i].outcome = (json_int_t)parts[i].seq <= upto ? ANSWER_APPLIED : ANSWER_NOT_YET;
	take_refusals(json_object_get(v, "refused"), parts, n);
	json_decref(v);
	return 0;
}
