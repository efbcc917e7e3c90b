/* obj.c -- how a bug ends: with a line and an abort. */
#include "base/obj.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void obj_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "weir: bug: %s:%d: %s does not hold\n", file, line, what);
	abort();
}
