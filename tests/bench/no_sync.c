/* no_sync.c -- LD_PRELOAD: files are never synced. What is measured with it shows what durability costs; nothing that
 * is kept so survives a power cut. */
#include <fcntl.h>
#include <unistd.h>

int fsync(int fd)
{
	(void)fd;
	return 0;
}

int fdatasync(int fd)
{
	(void)fd;
	return 0;
}

int sync_file_range(int fd, off64_t offset, off64_t count, unsigned int flags)
{
	(void)fd;
	(void)offset;
	(void)count;
	(void)flags;
	return 0;
}
