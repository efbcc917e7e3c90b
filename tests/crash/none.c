/* none.c -- stands for outbox.c until store/outbox.h has its code. */
#include "crash.h"

const struct scenario outbox_scenarios[] = {
	{ 0 },
};
