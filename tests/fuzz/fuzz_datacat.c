/* fuzz_datacat.c -- configuration files of the original: the daemon's, or the server's, as the first byte says.
 *
 * The daemon's clients do not look at what it says: whatever stands in the file, there are settings with which it
 * starts, unless an address or a file name cannot be meant. The server either says what is wrong or starts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "cli/datacat_config.h"
#include "core/config.h"
#include "core/json.h"
#include "hub/hub_service.h"
#include "sessions/sessions_service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A problem may be one of these alone. */
static bool is_about_a_place(struct slice problem)
{
	static const char *const places[] = { "sessions.listen", "sessions.server", "sessions.ca_file", "data_dir",
					      "hub.cert_file",   "hub.key_file" };

	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (memmem(problem.p, problem.n, places[i], strlen(places[i])))
			return true;
	return false;
}

static void try_settings(const struct datacat_sets *sets)
{
	const struct config_section *const sections[] = { sessions_service.section, hub_service.section, NULL };
	const struct config_source src = { .file = DATACAT_NO_FILE, .sets = sets->items, .sections = sections };
	struct buf problems = BUF_EMPTY, warnings = BUF_EMPTY;
	struct slice left, line;
	struct config *c = NULL;

	ENSURE((config_load(&src, &c, &problems, &warnings) == 0) == (problems.len == 0));
	left = buf_slice(&problems);
	while (left.n) {
		(void)slice_cut(&left, '\n', &line);
		if (!is_about_a_place(line))
			(void)fprintf(stderr, "%s", problems.data);
		ENSURE(is_about_a_place(line));
	}
	config_unref(&c);
	buf_fini(&problems);
	buf_fini(&warnings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = { (const char *)data + 1, size ? size - 1 : 0 };
	struct datacat_sets sets = DATACAT_SETS_EMPTY;
	struct buf wrong = BUF_EMPTY;
	json_t *json = NULL;

	if (!size || json_read(text, 0, &json, NULL) < 0 || !json_is_object(json)) {
		json_decref(json);
		return 0;
	}
	if (data[0] & 1)
		datacat_server_settings(json, &sets, &wrong);
	else
		datacat_daemon_settings(json, data[0] & 2, &sets);
	if (!wrong.len)
		try_settings(&sets);
	datacat_sets_fini(&sets);
	buf_fini(&wrong);
	json_decref(json);
	return 0;
}
