/* preconditions.h -- what a delivery sends so that nobody's change is overwritten, and how the answer is read. Pure: no
 * I/O, no clock. Any thread; a lore that several share is guarded by whoever has it.
 *
 *	preconditions_plan(mode, base, headers, lore, now, &plan)
 *	while plan.look_first, or after PRECONDITION_WAIT:   HEAD  ->  preconditions_look()
 *		PRECONDITION_WAIT   look again after PRECONDITIONS_WAIT_MS
 *		PRECONDITION_CLASH  upstream has something else, or nobody can say: applied when that is exactly our
 *		                    content, or nothing and we delete; else a conflict
 *		PRECONDITION_SEND   go on
 *	the write: unless plan.keeps_own without the client's own conditions, with preconditions_line()
 *		2xx   preconditions_learn(lore, &plan, NULL)
 *		412   HEAD, preconditions_learn(lore, &plan, &seen), preconditions_compare(&plan.basis, &seen):
 *		      CHANGED  as PRECONDITION_CLASH
 *		      SAME     upstream refused what it should have taken: later, when a plan is made anew
 *		      UNKNOWN  a conflict, as nobody can say what it is about
 *
 * A look that is not answered, or by 401, 408, 425, 429 or 5xx, says nothing, and the entry is treated as the table of
 * DESIGN.md says; after 405 or 501 a GET may tell more; any other status goes into preconditions_look(). */
#ifndef WEIR_MIRROR_PRECONDITIONS_H
#define WEIR_MIRROR_PRECONDITIONS_H

#include "proto/etag.h"
#include "proto/httplines.h"
#include "store/outbox.h"

#define PRECONDITIONS_MOST_LOOKS 6 /* at a tag that is weak for a moment, */
#define PRECONDITIONS_WAIT_MS 400  /* so long after each other */

enum precondition_mode { /* as the setting's choices */
	PRECONDITIONS_AUTO,
	PRECONDITIONS_IF_MATCH,
	PRECONDITIONS_IF_UNMODIFIED_SINCE,
	PRECONDITIONS_CHECK_FIRST,
	PRECONDITIONS_NONE,
};

enum precondition_kind {
	PRECONDITION_NOTHING,
	PRECONDITION_IF_MATCH,
	PRECONDITION_IF_NONE_MATCH,
	PRECONDITION_IF_UNMODIFIED_SINCE,
	PRECONDITION_KINDS,
};

/* What was learned of one upstream. All zeros: nothing. */
enum precondition_trust {
	PRECONDITION_UNTRIED,
	PRECONDITION_HONOURED, /* it answered 412 where it had to */
	PRECONDITION_USELESS,  /* it answers 412 where it must not */
};
struct precondition_lore {
	enum precondition_trust trust[PRECONDITION_KINDS];
	unsigned doubts[PRECONDITION_KINDS]; /* 412s in a row that a look proved wrong; not saved */
};
/* Adds one line: "if-match=honoured if-none-match=untried if-unmodified-since=useless\n". */
void preconditions_lore_format(const struct precondition_lore *lore, struct buf *out);
/* 0; WEIR_E_PARSE (unknown names or words, a part missing): *ret is not touched. */
int preconditions_lore_parse(struct slice text, struct precondition_lore *ret);

/* What a look found. */
struct precondition_seen {
	int status;
	struct etag etag;              /* borrowed from the lines; opaque.p NULL: none */
	int64_t modified_s, date_s;    /* POLICY_NO_TIME: none */
};
void preconditions_read(int status, const struct httplines *answer, int64_t now_s, struct precondition_seen *ret);

/* What a write is based on: the entry's base, or else what the client's own condition says. */
struct precondition_basis {
	bool known, absent;
	bool not_after;     /* modified_s is the latest that is good (If-Unmodified-Since), not the only one */
	struct etag etag;   /* borrowed */
	int64_t modified_s; /* POLICY_NO_TIME: none */
};

enum precondition_verdict { PRECONDITION_SAME, PRECONDITION_CHANGED, PRECONDITION_UNKNOWN };
/* UNKNOWN: no validator that both have, or a status that says nothing about the representation. */
enum precondition_verdict preconditions_compare(const struct precondition_basis *basis,
						const struct precondition_seen *seen);

struct precondition_plan {
	bool look_first;
	bool keeps_own;              /* the client's own conditions go upstream as they are, if there are any */
	enum precondition_kind kind; /* what preconditions_line() adds */
	/* the rest is for the functions here, but `basis` may be read */
	struct precondition_basis basis;
	enum precondition_mode mode;
	struct precondition_lore lore;
	struct etag tag;
	int64_t modified_s;
	unsigned looks;
};
/* `headers`: the entry's lines, looked at when the base is not known (now_s for their two-digit years). base and
 * headers are borrowed as long as the plan is used; so is what each look found. For PUT, DELETE and PATCH; a POST
 * changes something else than its URI, so its entry has no base, and its own conditions should be left to upstream:
 * mode NONE. */
void preconditions_plan(enum precondition_mode mode, const struct outbox_base *base, const struct httplines *headers,
			const struct precondition_lore *lore, int64_t now_s, struct precondition_plan *ret);

enum precondition_step { PRECONDITION_SEND, PRECONDITION_WAIT, PRECONDITION_CLASH };
enum precondition_step preconditions_look(struct precondition_plan *p, const struct precondition_seen *seen);

/* Adds the line to send, without an end: "If-Match: \"v1\"". False: none is sent. */
bool preconditions_line(const struct precondition_plan *p, struct buf *out);
/* Whether a line of the client is one of those that go when keeps_own is false. */
bool preconditions_is_condition(struct slice name);

/* What the answer to the write teaches: done (seen NULL), or 412 and what the look after it found. True: the lore is
 * another now, to be saved. */
bool preconditions_learn(struct precondition_lore *lore, const struct precondition_plan *sent,
			 const struct precondition_seen *seen);

#endif
