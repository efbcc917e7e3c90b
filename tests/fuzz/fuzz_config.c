/* fuzz_config.c -- configurations. The first line is a --set and a variable at once, the rest is the file.
 *
 * Either there is a configuration and no problem, or problems and no configuration; and none differs from itself. */
#include <sys/mman.h>
#include <unistd.h>

#include "base/obj.h"
#include "core/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every type of setting; core's own sections come by themselves. */
struct toy_item {
	char *name, *url;
	bool on;
};
struct toy {
	struct listen_settings listen;
	char *secret_file;
	char **words;
	struct setting_list items;
	struct {
		uint64_t max, low;
	} disk;
};

static const struct setting item_settings[] = {
	{ .name = "name", .type = SETTING_STRING, .offset = offsetof(struct toy_item, name), .required = true },
	{ .name = "url", .type = SETTING_URL, .offset = offsetof(struct toy_item, url) },
	{ .name = "on", .type = SETTING_BOOL, .offset = offsetof(struct toy_item, on), .fallback = "true" },
	{ .name = NULL },
};
static const struct setting disk_settings[] = {
	{ .name = "max", .type = SETTING_SIZE, .offset = 0, .fallback = "10GiB", .min = 1 },
	{ .name = "low", .type = SETTING_SIZE, .offset = sizeof(uint64_t), .fallback = "9GiB" },
	{ .name = NULL },
};
static const struct setting toy_settings[] = {
	SETTINGS_LISTEN(struct toy, listen, "127.0.0.1:8080"),
	{ .name = "secret_file", .type = SETTING_SECRET_FILE, .offset = offsetof(struct toy, secret_file) },
	{ .name = "words", .type = SETTING_STRINGS, .offset = offsetof(struct toy, words), .fallback = "[a, b]" },
	{ .name = "items", .type = SETTING_MAPS, .offset = offsetof(struct toy, items), .sub = item_settings,
	  .sub_size = sizeof(struct toy_item), .fallback = "[{name: x}]" },
	{ .name = "disk", .type = SETTING_MAP, .offset = offsetof(struct toy, disk), .sub = disk_settings },
	{ .name = NULL },
};
static const struct config_section toy_section = {
	.name = "toy",
	.settings = toy_settings,
	.size = sizeof(struct toy),
};
static const struct config_section *const sections[] = { &toy_section, NULL };

/* A file that is nowhere on disk. */
static void put(struct slice text, char *ret_path, size_t room)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("config", MFD_CLOEXEC);
	ENSURE(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, text.p, text.n, 0) == (ssize_t)text.n);
	(void)snprintf(ret_path, room, "/proc/self/fd/%d", fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice file = { (const char *)data, size }, first = { "", 0 };
	struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY, differs = BUF_EMPTY;
	struct config *c = NULL;
	char path[64], *set;
	int err;

	if (slice_find(file, '\n') >= 0)
		(void)slice_cut(&file, '\n', &first);
	put(file, path, sizeof(path));
	set = slice_dup(first);
	{
		const char *const sets[] = { *set ? set : NULL, NULL }, *const env[] = { set, NULL };
		const struct config_source src = { .file = path, .sets = sets, .env = env, .sections = sections };

		err = config_load(&src, &c, &problems, &warnings);
	}
	ENSURE((err == 0) == (c != NULL) && (err == 0) == (problems.len == 0));
	if (c)
		config_diff_not_live(c, c, &differs);
	ENSURE(!differs.len);
	config_unref(&c);
	free(set);
	buf_fini(&differs);
	buf_fini(&problems);
	buf_fini(&warnings);
	return 0;
}
