/* machine.c -- what tells this machine, this boot, and this process from others. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/str.h"
#include "io/file.h"
#include "sessions/sessions_priv.h"

#define NET "/sys/class/net"

static bool read_line(const char *path, struct buf *out)
{
	int r = file_read_all(path, 4096, out);

	while (r == 0 && out->len && strchr("\n ", out->data[out->len - 1]))
		buf_truncate(out, out->len - 1);
	return r == 0 && out->len > 0;
}

static int by_index(const struct dirent **a, const struct dirent **b)
{
	const struct dirent **of[2] = { a, b };
	uint64_t index[2] = { UINT64_MAX, UINT64_MAX };

	for (int i = 0; i < 2; i++) {
		char *path = xstrf(NET "/%s/ifindex", (*of[i])->d_name);
		struct buf text = BUF_EMPTY;

		if (read_line(path, &text))
			(void)str_parse_u64(buf_slice(&text), &index[i]); /* else it stays last */
		buf_fini(&text);
		free(path);
	}
	return index[0] < index[1] ? -1 : index[0] > index[1];
}

static void md5_hex(struct slice s, char ret[40])
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned int n = 0;
	struct buf text = BUF_EMPTY;

	if (EVP_Digest(s.p, s.n, sum, &n, EVP_md5(), NULL) == 1) /* a name, not a proof: DataCat's machine ids are so */
		str_hex(sum, n, &text);
	(void)snprintf(ret, 40, "%s", text.data);
	buf_fini(&text);
}

void machine_id(char ret[40])
{
	struct dirent **list = NULL;
	int n = scandir(NET, &list, NULL, by_index);

	ret[0] = 0;
	for (int i = 0; i < n; i++) {
		char *path = xstrf(NET "/%s/address", list[i]->d_name);
		struct buf mac = BUF_EMPTY;

		if (!ret[0] && list[i]->d_name[0] != '.' && strcmp(list[i]->d_name, "lo") != 0 &&
		    read_line(path, &mac) && mac.len == 17 && strcmp(mac.data, "00:00:00:00:00:00") != 0)
			md5_hex(buf_slice(&mac), ret);
		buf_fini(&mac);
		free(path);
		free(list[i]);
	}
	free(list);
}

void machine_boot_id(char ret[64])
{
	struct buf text = BUF_EMPTY;

	(void)snprintf(ret, 64, "%s", read_line("/proc/sys/kernel/random/boot_id", &text) ? text.data : "unknown");
	buf_fini(&text);
}

uint64_t machine_process_start(int64_t pid)
{
	char *path = xstrf("/proc/%lld/stat", (long long)pid);
	struct buf text = BUF_EMPTY;
	uint64_t start = 0;
	const char *p;

	if (file_read_all(path, 4096, &text) == 0 && (p = strrchr(text.data, ')')) != NULL) {
		/* proc(5): the name may have blanks and brackets; field 3 is behind it, the start is field 22 */
		struct slice rest = slice_trim(slice_str(p + 1)), field = rest;

		bool is_dead = rest.n && strchr("ZXx", rest.p[0]); /* a zombie, which nobody has waited for */

		for (int i = 3; i <= 22; i++)
			(void)slice_cut(&rest, ' ', &field);
		if (!is_dead)
			(void)str_parse_u64(field, &start); /* 0: not known */
	}
	buf_fini(&text);
	free(path);
	return start;
}

uint64_t machine_now_as_start(void)
{
	struct timespec ts = { 0 };
	long ticks = sysconf(_SC_CLK_TCK);

	(void)clock_gettime(CLOCK_BOOTTIME, &ts); /* cannot fail: since Linux 2.6.39 */
	return (uint64_t)ts.tv_sec * (uint64_t)ticks + (uint64_t)ts.tv_nsec / (1000000000u / (uint64_t)ticks);
}
