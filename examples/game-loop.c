/* game-loop.c -- a game, as far as its session goes: sixty frames a second, and not one of them waits for a network.
 *
 *      cc -O2 game-loop.c -o game-loop $(pkg-config --cflags --libs weir-client)
 *      ./game-loop 300             so many frames; WEIR_SESSIONS_LISTEN=127.0.0.1:PORT says where the daemon is
 *      ./game-loop 300 hang        the main loop hangs: the daemon notices, as only the loop itself sends heartbeats
 *      ./game-loop 300 crash       it follows a pointer to nowhere: the hub shows signal, place and a crashed session
 *
 * SHOWS    State that changes level by level, an event with data for what a player did, frame times as a histogram with
 *          buckets around the 16.7 ms that a frame has, a counter, a timer over a block, heartbeats from the loop. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <weir/client.h>

#define FRAMES_OF_A_LEVEL 60

struct game {
	struct weir_client *weir;
	int level, lives;
	double ball, speed;
};

static volatile sig_atomic_t leaving;

static void on_interrupt(int sig)
{
	(void)sig;
	leaving = 1;
}

/* Anything that takes a while. */
static void load_level(struct game *g, int level)
{
	const struct timespec disk = { .tv_nsec = 3000000 };

	WEIR_TIME_SCOPE(g->weir, "load_level");
	nanosleep(&disk, NULL);
	g->level = level;
	g->speed = 1 + level / 10.0;
	weir_client_state(g->weir, WEIR_FIELDS(weir_int("level", level), weir_int("lives", g->lives),
					       weir_json("window", "{\"width\": 1280, \"height\": 720}")));
	weir_info(g->weir, "level_started", "level %d with %d lives", level, g->lives);
}

static void play_frame(struct game *g)
{
	g->ball += g->speed;
	if ((int)g->ball % 40 < (int)g->speed)
		weir_client_counter(g->weir, "bounces", 1, &(struct weir_metric){ .tags = WEIR_TEXTS("ball") });
	if (g->ball > 100) {
		g->ball = 0;
		g->lives--;
		weir_event(g->weir, .name = "ball_lost", .category = "warning", .labels = WEIR_TEXTS("player", "loss"),
			   .data = WEIR_FIELDS(weir_int("lives", g->lives), weir_number("speed", g->speed)));
	}
}

static void misbehave(const char *how)
{
	if (strcmp(how, "crash") == 0) {
		int *volatile nowhere = (int *)16;

		*nowhere = 1; /* what this example is about */
	}
	while (strcmp(how, "hang") == 0 && !leaving)
		sleep(1);
}

static void run(struct game *g, int frames, const char *how)
{
	static const double buckets[] = { 1, 4, 8, 16.7, 33.4, INFINITY };
	const struct weir_metric frame_time = { .unit = "ms", .buckets = buckets, .bucket_count = 6 };

	for (int frame = 0; frame < frames && !leaving; frame++) {
		double began = weir_client_clock(), took;

		if (frame % FRAMES_OF_A_LEVEL == 0)
			load_level(g, frame / FRAMES_OF_A_LEVEL + 1);
		play_frame(g);
		weir_client_heartbeat(g->weir); /* the loop lives */
		took = weir_client_clock() - began;
		weir_client_histogram(g->weir, "frame", took * 1000, &frame_time);
		if (took < 1 / 60.0)
			usleep((useconds_t)((1 / 60.0 - took) * 1e6));
		if (frame == frames / 2)
			misbehave(how);
	}
}

int main(int argc, char **argv)
{
	const struct weir_client_options options = {
		.product = "game-loop",
		.version = "1.0",
		.flags = WEIR_CLIENT_BEATS_ITSELF,
		.heartbeat_ms = 500,
	};
	struct game g = { .lives = 3 };
	int frames = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 300, r;

	signal(SIGINT, on_interrupt);
	signal(SIGTERM, on_interrupt);
	r = weir_client_open(&options, &g.weir);
	if (r < 0) /* a game goes on without: every call takes NULL */
		fprintf(stderr, "no session: %s\n", strerror(-r));
	r = weir_client_catch_crashes(g.weir, NULL);
	if (r < 0)
		fprintf(stderr, "crashes are not reported: %s\n", strerror(-r));
	run(&g, frames, argc > 2 ? argv[2] : "");
	weir_client_state(g.weir, WEIR_FIELDS(weir_text("left_by", leaving ? "signal" : "the end")));
	r = weir_client_close(g.weir, 2000);
	if (r < 0)
		fprintf(stderr, "the session's end has not reached the daemon: %s\n", strerror(-r));
	return 0;
}
