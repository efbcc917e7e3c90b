/* check.c -- `weir check`, and the hidden command that prints the settings for weir.yaml(5). */
#include <stdio.h>

#include "cli/cli_priv.h"

static const char *listen_of(const struct config_section *s, const void *item)
{
	for (const struct setting *t = s->settings; t->name; t++) {
		if (t->type == SETTING_LISTEN)
			return *(char *const *)(const void *)((const char *)item + t->offset);
	}
	return NULL;
}

static void print_section(const struct config *c, const struct config_section *s)
{
	const void *section = config_section(c, s->name);
	const struct setting_list *list = section;

	if (!section)
		return;
	for (size_t i = 0; i < (s->is_list ? list->count : 1); i++) {
		const char *listen = listen_of(s, s->is_list ? (const char *)list->items + i * s->size : section);

		printf("  %-12s %s\n", s->name, listen ? listen : "");
	}
}

int cmd_check(const struct cli *cli)
{
	struct config *c = NULL;
	int status = cli_load_config(cli, false, &c);

	if (status)
		return status;
	printf("%s: no problem found\n", config_file(c) ? config_file(c) : "no file, built-in defaults");
	printf("  %-12s %s\n", "data", config_data_dir(c));
	for (size_t i = 0; cli->sections[i]; i++)
		print_section(c, cli->sections[i]);
	config_unref(&c);
	return EXIT_DONE;
}

int cmd_describe_settings(const struct cli *cli)
{
	struct buf out = BUF_EMPTY;

	config_describe(cli->sections, &out);
	(void)fwrite(out.data, 1, out.len, stdout); /* finish() of cli.c looks for errors */
	buf_fini(&out);
	return EXIT_DONE;
}
