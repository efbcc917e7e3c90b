/* rand.c -- getrandom(2), which cannot fail once the kernel has started. */
#include "base/rand.h"

#include <errno.h>
#include <sys/random.h>

#include "base/obj.h"

void rand_bytes(void *p, size_t n)
{
	char *at = p;

	while (n) {
		ssize_t got = getrandom(at, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		ENSURE(got > 0);
		at += got;
		n -= (size_t)got;
	}
}

uint64_t rand_u64(void)
{
	uint64_t v;

	rand_bytes(&v, sizeof(v));
	return v;
}

int64_t rand_jitter_ms(int64_t most_ms)
{
	if (most_ms <= 0)
		return 0;
	return (int64_t)(rand_u64() % ((uint64_t)most_ms + 1));
}
