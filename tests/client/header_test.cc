// header_test.cc -- weir/client.h is C++, too: it compiles without a warning, and what it tells arrives (story 66).
#include <weir/client.h>

#include <cstdio>
#include <cstring>

static int tell(struct weir_client *client)
{
	struct weir_event saved = {};
	int r;

	saved.name = "saved";
	// WEIR_TEXTS and WEIR_FIELDS live as long as the statement they stand in: for more than one, arrays of your own
	const char *const labels[] = { "disk", "slot", nullptr };
	const struct weir_field data[] = { weir_int("slot", 2), weir_text("by", "c++"), weir_end() };
	saved.labels = labels;
	saved.data = data;
	r = weir_client_event(client, &saved);
	{
		WEIR_TIME_SCOPE(client, "scope");
		r |= weir_client_state(client, WEIR_FIELDS(weir_text("language", "c++"), weir_bool("ok", true)));
	}
	r |= weir_warning(client, "logged", "%d and %s", 1, "two");
	return r;
}

int main(int argc, char **argv)
{
	struct weir_client_options options = {};
	struct weir_client *client = nullptr;
	struct weir_client_stats stats;

	options.product = "cxx";
	options.version = "1";
	options.daemon = argc > 1 ? argv[1] : nullptr;
	if (weir_client_open(&options, &client) != 0 || tell(client) != 0 || weir_client_flush(client, 20000) != 0)
		return 1;
	if (weir_client_stats(client, &stats, sizeof(stats)) != 0)
		return 1;
	std::printf("%s\n", stats.session_id);
	return weir_client_close(client, 20000) == 0 ? 0 : 1;
}
