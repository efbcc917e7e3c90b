/* replay_main.c -- runs a fuzz target over files, without a fuzzer.
 *
 * WHAT     main() for the replay_X programs: each argument is a file, or a folder whose files are all run, in the
 *          order of their names. Ends with the line "N inputs".
 * WHY      What a fuzzer once found must stay found, on every machine: this needs neither clang nor time.
 * RULES    1. An input that cannot be read is a failure, and so is having no input at all: silence proves nothing.
 *          2. Each input is handed over in a block of exactly its size, so that the address sanitizer sees an overread.
 * SEE      tests/README.md; https://llvm.org/docs/LibFuzzer.html, "Using libFuzzer as a library". */

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A seed is small by nature; a huge file in the folder is there by mistake. */
#define INPUT_MAX_BYTES (16 * 1024 * 1024)

static int run_file(const char *path)
{
	struct stat st;
	uint8_t *data = NULL;
	FILE *f;
	int r = -1;

	f = fopen(path, "rbe");
	if (!f || fstat(fileno(f), &st) < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		goto out;
	}
	if (st.st_size > INPUT_MAX_BYTES) {
		fprintf(stderr, "%s: more than %d bytes\n", path, INPUT_MAX_BYTES);
		goto out;
	}
	data = malloc((size_t)st.st_size);
	if ((!data && st.st_size > 0) || fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size) {
		fprintf(stderr, "%s: cannot read it\n", path);
		goto out;
	}
	fprintf(stderr, "%s\n", path);    /* so that the last line names the input that brought us down */
	(void)LLVMFuzzerTestOneInput(data, (size_t)st.st_size);    /* libFuzzer's answer -1 only steers its corpus */
	r = 0;
out:
	free(data);
	if (f)
		fclose(f);
	return r;
}

static int not_hidden(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

/* Returns the number of inputs run, or -1. */
static long run_path(const char *path)
{
	struct dirent **entries = NULL;
	struct stat st;
	char *name;
	long done = 0;
	int i, n, r;

	if (stat(path, &st) < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	if (!S_ISDIR(st.st_mode))
		return run_file(path) < 0 ? -1 : 1;

	n = scandir(path, &entries, not_hidden, alphasort);
	if (n < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	for (i = 0; i < n; i++) {
		if (done >= 0 && asprintf(&name, "%s/%s", path, entries[i]->d_name) >= 0) {
			r = run_file(name);
			done = r < 0 ? -1 : done + 1;
			free(name);
		}
		free(entries[i]);
	}
	free(entries);
	return done;
}

int main(int argc, char **argv)
{
	long done = 0, n;
	int i;

	for (i = 1; i < argc; i++) {
		n = run_path(argv[i]);
		if (n < 0)
			return 1;
		done += n;
	}
	printf("%ld inputs\n", done);
	return done > 0 ? 0 : 1;
}
