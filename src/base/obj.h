/* obj.h -- magic numbers for long-lived objects, checked wherever a `void *` comes back to us, and assertions that
 * stay in release builds: a stale pointer dies at the door with a line that says where. */
#ifndef WEIR_BASE_OBJ_H
#define WEIR_BASE_OBJ_H

#include <stddef.h>

/* Prints file, line and expression to standard error and aborts. */
_Noreturn void obj_fail(const char *file, int line, const char *what);

#define ENSURE(cond) ((cond) ? (void)0 : obj_fail(__FILE__, __LINE__, #cond))
#define OBJ_CHECK(ptr, wanted) ENSURE((ptr) && (ptr)->magic == (wanted))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#endif
