/* outbox.c -- scenarios of store/outbox.h. */
#include "crash.h"

const struct scenario outbox_scenarios[] = {
	{ 0 },
};
