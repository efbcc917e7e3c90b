/* metrics_process.c -- what the process itself takes: memory and descriptors, and which build it is.
 *
 * Asked of /proc when metrics are rendered. The file system is the kernel's memory, so this does not wait for a disk.
 * */
#include <dirent.h>
#include <unistd.h>

#include "core/metrics.h"
#include "io/file.h"

static const struct metric_family resident = {
	.name = "weir_process_resident_memory_bytes",
	.help = "Memory of the daemon that is in RAM.",
	.type = METRIC_GAUGE,
};
static const struct metric_family open_fds = {
	.name = "weir_process_open_fds", .help = "Open file descriptors.", .type = METRIC_GAUGE,
};
static const struct metric_family build_info = {
	.name = "weir_build_info", .help = "Always 1; the label tells which build runs.", .type = METRIC_GAUGE,
	.labels = { { .name = "version" } },
};

static double resident_now(void *arg)
{
	struct buf b = BUF_EMPTY;
	unsigned long long pages = 0;

	/* size resident shared ...: pages (proc(5)) */
	if (file_read_all("/proc/self/statm", 4096, &b) == 0 && strchr(b.data, ' '))
		pages = strtoull(strchr(b.data, ' '), NULL, 10);
	buf_fini(&b);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double open_fds_now(void *arg)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	double n = 0;

	if (!d)
		return 0;
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	(void)closedir(d);
	return n - 1; /* without the one that looked */
}

void metrics_register_process(struct metrics *m, const char *version)
{
	metrics_set_fn(m, &resident, (const char *const[]){ NULL }, resident_now, NULL);
	metrics_set_fn(m, &open_fds, (const char *const[]){ NULL }, open_fds_now, NULL);
	metric_set(METRIC(m, &build_info, version), 1);
}
