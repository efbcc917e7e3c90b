/* command-line-tool.c -- counts the lines of files, and reports how that went: a program that lives for milliseconds.
 *
 *      cc -O2 command-line-tool.c -o command-line-tool $(pkg-config --cflags --libs weir-client)
 *      ./command-line-tool FILE...         WEIR_SESSIONS_LISTEN=127.0.0.1:PORT says where the daemon is
 *
 * SHOWS    A session that ends properly on every way out, by atexit(3); errors as events with exception and place; a
 *          tool that is as quick when no daemon is there: it waits for one half a second at most, and says nothing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/client.h>

#define PATIENCE_MS 500

static struct weir_client *weir;

static void end_session(void)
{
	(void)weir_client_close(weir, PATIENCE_MS); /* a tool's own work is not less done when nobody took its report */
}

static int report_failure(const char *path, int code)
{
	weir_event(weir, .name = "file_unreadable", .category = "error", .message = path,
		   .exception_type = "OSError", .exception_message = strerror(code),
		   .data = WEIR_FIELDS(weir_text("path", path), weir_int("errno", code)));
	fprintf(stderr, "%s: %s\n", path, strerror(code));
	return -1;
}

static int count_lines(const char *path, long *total)
{
	FILE *f = fopen(path, "r");
	long lines = 0;
	int c;

	if (!f)
		return report_failure(path, errno);
	errno = 0;
	while ((c = getc(f)) != EOF)
		lines += c == '\n';
	if (ferror(f)) {
		int code = errno;

		fclose(f);
		return report_failure(path, code);
	}
	fclose(f);
	printf("%8ld %s\n", lines, path);
	*total += lines;
	return 0;
}

int main(int argc, char **argv)
{
	const struct weir_client_options options = { .product = "command-line-tool", .version = "1.0" };
	double began = weir_client_clock();
	int failed = 0;
	long total = 0;

	(void)weir_client_open(&options, &weir); /* without one, all calls do nothing */
	atexit(end_session);
	weir_client_state(weir, WEIR_FIELDS(weir_int("files", argc - 1)));
	for (int i = 1; i < argc; i++)
		if (count_lines(argv[i], &total) < 0)
			failed++;
	weir_client_counter(weir, "lines", (double)total, NULL);
	weir_client_timer(weir, "run", weir_client_clock() - began, &(struct weir_metric){ .count = argc - 1 });
	weir_info(weir, "finished", "%d of %d files, %ld lines", argc - 1 - failed, argc - 1, total);
	return failed ? 1 : 0;
}
