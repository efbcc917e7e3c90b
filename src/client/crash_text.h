/* crash_text.h -- what a crash looks like, written with calls that are safe in a handler of signals. */
#ifndef WEIR_CLIENT_CRASH_TEXT_H
#define WEIR_CLIENT_CRASH_TEXT_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "client/text.h"

#define WEIRC_MODULES 128 /* executable pieces of the program and its libraries that have names */
#define WEIRC_FRAMES  32

struct weirc_module {
	uintptr_t from, to, base; /* base: what to take off an address for addr2line(1) */
	char name[64];
};

struct weirc_modules {
	size_t count;
	struct weirc_module all[WEIRC_MODULES];
};

/* What is loaded now. Not safe in a handler: before. */
void weirc_modules_load(struct weirc_modules *m);

/* Where the thread was: the place itself, then return addresses. context: of a SA_SIGINFO handler. Safe in
 * one. From *ret_guessed_from on they are only values on the stack that point into code. */
size_t weirc_frames(const void *context, const struct weirc_modules *m, uintptr_t frames[WEIRC_FRAMES],
		    size_t *ret_guessed_from);

/* The same from a place in a function whose frame is given, without guesses. */
size_t weirc_frames_from(uintptr_t pc, const void *frame, const struct weirc_modules *m,
			 uintptr_t frames[WEIRC_FRAMES]);
/* "game+0x12b4", without quotes and with nothing that JSON would have to escape. */
void weirc_frame_text(struct weirc_text *t, const struct weirc_modules *m, uintptr_t frame);

const char *weirc_signal_name(int sig); /* "SIGSEGV"; NULL: not one that is caught */
/* The event, as encode.h makes one: the tail of its JSON. */
void weirc_crash_text(struct weirc_text *t, const siginfo_t *info, const void *context, const struct weirc_modules *m,
		      long pid, long tid);

#endif
