/* crash_text_test.c -- what is said of a crash: as a signal that is caught, looked at, and survived. */
#include "client/crash_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <cmocka.h>

#include "client/json.h"

static struct weirc_modules modules;
static char storage[16384], text[20000];
static struct weirc_text t;
static sigjmp_buf back;
static uintptr_t frames[WEIRC_FRAMES];
static size_t frame_count, guessed_from;

static void look(int sig, siginfo_t *info, void *context)
{
	weirc_text_init(&t, storage, sizeof(storage), sizeof(storage));
	weirc_crash_text(&t, info, context, &modules, 12, 34);
	frame_count = weirc_frames(context, &modules, frames, &guessed_from);
	siglongjmp(back, 1);
}

/* In the test: cmocka has its own handlers until then. */
static void catch_signals(void)
{
	struct sigaction sa = { .sa_sigaction = look, .sa_flags = SA_SIGINFO };

	weirc_modules_load(&modules);
	assert_int_equal(sigaction(SIGSEGV, &sa, NULL) | sigaction(SIGABRT, &sa, NULL), 0);
}

/* The event as a whole object of JSON, in `text`. */
static void expect_event(const char *part)
{
	int n = snprintf(text, sizeof(text), "{\"session_id\":\"x\",%.*s", (int)t.len, t.data);

	assert_int_equal(t.failed, 0);
	assert_true(weirc_json_is_value(text, (size_t)n, true));
	assert_non_null(strstr(text, part));
}

static __attribute__((noinline, no_sanitize("address", "undefined"))) void follow(volatile int *nowhere)
{
	*nowhere = 1;
}

static void a_pointer_that_leads_nowhere(void **state)
{
	int *volatile nowhere = (int *)16;

	(void)state;
	catch_signals();
	if (sigsetjmp(back, 1) == 0)
		follow(nowhere);
	expect_event("\"message\":\"SIGSEGV: nothing is mapped at the address\"");
	expect_event("\"exception_type\":\"SIGSEGV\"");
	expect_event("\"address\":\"0x10\"");
	expect_event("\"signal\":11,\"code\":1,");
	expect_event("\"pid\":12,\"tid\":34}");
	expect_event("\"stacktrace\":[\"client_crash_text_test+0x");
#if defined(__x86_64__) || defined(__aarch64__)
	assert_true(frame_count >= 1);
	assert_true(frames[0] >= (uintptr_t)follow && frames[0] < (uintptr_t)follow + 256);
#endif
}

static void an_address_that_may_not_be_written(void **state)
{
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	catch_signals();
	if (sigsetjmp(back, 1) == 0)
		follow(page);
	expect_event("the address may not be used so");
	munmap(page, 4096);
}

static void a_signal_that_was_sent(void **state)
{
	(void)state;
	catch_signals();
	if (sigsetjmp(back, 1) == 0)
		kill(getpid(), SIGSEGV);
	expect_event("SIGSEGV: sent by a process");
	assert_null(strstr(text, "\"address\""));
	if (sigsetjmp(back, 1) == 0)
		raise(SIGABRT);
	expect_event("SIGABRT: the program called abort");
}

/* Whatever is in the registers, it neither faults nor runs on for ever. */
static void registers_that_hold_nonsense(void **state)
{
	static const uintptr_t nonsense[] = {
		0, 1, 8, 4096, UINTPTR_MAX, UINTPTR_MAX - 7, (uintptr_t)1 << 63, (uintptr_t)&modules
	};
	const size_t n = sizeof(nonsense) / sizeof(nonsense[0]);

	(void)state;
	catch_signals();
	for (size_t i = 0; i < n * n * n; i++) {
		ucontext_t u = { 0 };
		uintptr_t pc = nonsense[i % n], frame = nonsense[i / n % n], stack = nonsense[i / n / n];

#if defined(__x86_64__)
		u.uc_mcontext.gregs[REG_RIP] = (greg_t)pc;
		u.uc_mcontext.gregs[REG_RBP] = (greg_t)frame;
		u.uc_mcontext.gregs[REG_RSP] = (greg_t)stack;
#elif defined(__aarch64__)
		u.uc_mcontext.pc = pc;
		u.uc_mcontext.regs[29] = frame;
		u.uc_mcontext.sp = stack;
#endif
		assert_true(weirc_frames(&u, &modules, frames, &guessed_from) <= WEIRC_FRAMES);
	}
}

/* A chain that goes around, and one that is longer than there is room. */
static void chains_of_frames_that_lie(void **state)
{
	uintptr_t chain[256], pc = (uintptr_t)follow;
	ucontext_t u = { 0 };
	size_t n;

	(void)state;
	catch_signals();
	for (size_t i = 0; i < 256; i += 2) {
		chain[i] = (uintptr_t)&chain[(i + 2) % 256];
		chain[i + 1] = pc;
	}
#if defined(__x86_64__)
	u.uc_mcontext.gregs[REG_RIP] = (greg_t)pc;
	u.uc_mcontext.gregs[REG_RBP] = (greg_t)(uintptr_t)&chain[0];
	u.uc_mcontext.gregs[REG_RSP] = (greg_t)(uintptr_t)&chain[0];
#elif defined(__aarch64__)
	u.uc_mcontext.pc = pc;
	u.uc_mcontext.regs[29] = (uintptr_t)&chain[0];
	u.uc_mcontext.sp = (uintptr_t)&chain[0];
#else
	skip();
#endif
	assert_int_equal(weirc_frames(&u, &modules, frames, &guessed_from), WEIRC_FRAMES);
	chain[2] = (uintptr_t)&chain[0]; /* back: the stack only grows upwards from callee to caller */
	n = weirc_frames(&u, &modules, frames, &guessed_from);
	assert_int_equal(guessed_from, 3);
	assert_true(n >= 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pointer_that_leads_nowhere),
		cmocka_unit_test(an_address_that_may_not_be_written),
		cmocka_unit_test(a_signal_that_was_sent),
		cmocka_unit_test(registers_that_hold_nonsense),
		cmocka_unit_test(chains_of_frames_that_lie),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
