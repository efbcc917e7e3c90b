/* wall_clock.c -- LD_PRELOAD: the wall clock of one program, set by a story while it runs.
 *
 * WHAT     CLOCK_REALTIME is ahead by as many milliseconds as the 8 bytes of the file STORY_WALL_CLOCK say, in the byte
 *          order of the machine. All other clocks are as they were: that is what setting the clock does.
 * SEE      lab/clock.py */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead_ms;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("STORY_WALL_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *p = fd >= 0 ? mmap(NULL, sizeof(*ahead_ms), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (p != MAP_FAILED)
		ahead_ms = p;
	if (fd >= 0)
		(void)close(fd); /* it was only read */
}

int clock_gettime(clockid_t id, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, id, ret);

	if (r == 0 && id == CLOCK_REALTIME && ahead_ms) {
		int64_t ns = ret->tv_nsec + *ahead_ms % 1000 * 1000000;

		ret->tv_sec += *ahead_ms / 1000 + (ns >= 1000000000) - (ns < 0);
		ret->tv_nsec = ns - (ns >= 1000000000 ? 1000000000 : 0) + (ns < 0 ? 1000000000 : 0);
	}
	return r;
}
