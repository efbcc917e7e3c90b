/* crash_text.c -- see crash_text.h.
 *
 * WHY      No backtrace(3): it takes locks of the dynamic linker and may load libgcc, and a program that crashed inside
 *          either would hang for ever instead of ending. What is done here is arithmetic, and one system call,
 *          process_vm_readv(2) on ourselves, which answers EFAULT where reading through a pointer would fault again.
 *          The price: the chain of frame pointers is whole only in programs built with -fno-omit-frame-pointer. Where
 *          it gives little, the stack is searched for values that point into code, as the kernel does in an oops; these
 *          are marked with '?', since some are only left over.
 * SEE      signal-safety(7), sigaction(2) for si_code */
#include "client/crash_text.h"

#include <link.h>
#include <string.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#define MOST_FRAME_BYTES 0x100000 /* between two frames of a chain that is believed */
#define FEW_FRAMES       4
#define SEARCHED_WORDS   256
#define MOST_GUESSED     12

/* --- what is loaded ---------------------------------------------------------------------------------------------- */

static void name_module(struct weirc_module *m, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t n = strnlen(name, sizeof(m->name) - 1);

	memcpy(m->name, name, n);
	m->name[n] = '\0';
}

static int note_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct weirc_modules *m = arg;
	char self[512];
	ssize_t n;

	for (int i = 0; i < info->dlpi_phnum && m->count < WEIRC_MODULES; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		struct weirc_module *one = &m->all[m->count];

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X))
			continue;
		one->base = info->dlpi_addr;
		one->from = info->dlpi_addr + p->p_vaddr;
		one->to = one->from + p->p_memsz;
		if (info->dlpi_name && *info->dlpi_name) {
			name_module(one, info->dlpi_name);
		} else {
			n = readlink("/proc/self/exe", self, sizeof(self) - 1);
			self[n > 0 ? n : 0] = '\0';
			name_module(one, n > 0 ? self : "program");
		}
		m->count++;
	}
	return 0;
}

void weirc_modules_load(struct weirc_modules *m)
{
	m->count = 0;
	(void)dl_iterate_phdr(note_module, m);
}

static const struct weirc_module *module_of(const struct weirc_modules *m, uintptr_t at)
{
	for (size_t i = 0; i < m->count; i++)
		if (at >= m->all[i].from && at < m->all[i].to)
			return &m->all[i];
	return NULL;
}

/* --- where it was ------------------------------------------------------------------------------------------------ */

struct place {
	uintptr_t pc, frame, stack;
};

static struct place place_of(const void *context)
{
	const ucontext_t *u = context;
	struct place p = { 0 };

#if defined(__x86_64__)
	p.pc = (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
	p.frame = (uintptr_t)u->uc_mcontext.gregs[REG_RBP];
	p.stack = (uintptr_t)u->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
	p.pc = (uintptr_t)u->uc_mcontext.pc;
	p.frame = (uintptr_t)u->uc_mcontext.regs[29];
	p.stack = (uintptr_t)u->uc_mcontext.sp;
#else
	(void)u; /* another machine: the signal and the address have to do */
#endif
	return p;
}

/* Bytes that could be read there: maybe fewer, maybe none. */
static size_t read_own(uintptr_t from, void *to, size_t n)
{
	struct iovec local = { to, n }, remote = { (void *)from, n }; /* NOLINT: an address is what it is */
	ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);

	return got > 0 ? (size_t)got : 0;
}

static size_t walk(const struct place *p, const struct weirc_modules *m, uintptr_t *frames)
{
	uintptr_t at = p->frame, low = p->stack, pair[2]; /* the next frame, and where its function goes on */
	size_t n = 0;

	frames[n++] = p->pc;
	while (n < WEIRC_FRAMES && at >= low && at - low < MOST_FRAME_BYTES && at % sizeof(at) == 0 &&
	       read_own(at, pair, sizeof(pair)) == sizeof(pair) && module_of(m, pair[1])) {
		frames[n++] = pair[1];
		low = at + 1;
		at = pair[0];
	}
	return n;
}

static size_t search(const struct place *p, const struct weirc_modules *m, uintptr_t *frames, size_t n)
{
	uintptr_t words[SEARCHED_WORDS];
	size_t got = read_own(p->stack & ~(sizeof(uintptr_t) - 1), words, sizeof(words)) / sizeof(words[0]);
	size_t most = n + MOST_GUESSED;

	for (size_t i = 0; i < got && n < most && n < WEIRC_FRAMES; i++)
		if (module_of(m, words[i]))
			frames[n++] = words[i];
	return n;
}

size_t weirc_frames(const void *context, const struct weirc_modules *m, uintptr_t frames[WEIRC_FRAMES],
		    size_t *ret_guessed_from)
{
	struct place p = place_of(context);
	size_t n = p.pc ? walk(&p, m, frames) : 0; /* a call of what is no function leaves the frame to its caller */

	*ret_guessed_from = n;
	if (p.stack && n < FEW_FRAMES)
		n = search(&p, m, frames, n);
	return n;
}

size_t weirc_frames_from(uintptr_t pc, const void *frame, const struct weirc_modules *m, uintptr_t frames[WEIRC_FRAMES])
{
	const struct place p = { pc, (uintptr_t)frame, (uintptr_t)frame };

	return walk(&p, m, frames);
}

/* --- what it was ------------------------------------------------------------------------------------------------- */

struct word {
	int sig, code; /* code 0: of the signal itself */
	const char *text;
};

static const struct word names[] = {
	{ SIGSEGV, 0, "SIGSEGV" }, { SIGBUS, 0, "SIGBUS" }, { SIGFPE, 0, "SIGFPE" },
	{ SIGILL, 0, "SIGILL" },   { SIGSYS, 0, "SIGSYS" }, { SIGABRT, 0, "SIGABRT" },
};

static const struct word reasons[] = {
	{ SIGSEGV, SEGV_MAPERR, "nothing is mapped at the address" },
	{ SIGSEGV, SEGV_ACCERR, "the address may not be used so" },
	{ SIGBUS, BUS_ADRALN, "the address is not aligned" },
	{ SIGBUS, BUS_ADRERR, "the address is behind the end of a mapped file, or its disk is full" },
	{ SIGFPE, FPE_INTDIV, "an integer was divided by zero" },
	{ SIGFPE, FPE_INTOVF, "an integer is too large" },
	{ SIGSYS, 1 /* SYS_SECCOMP */, "a system call that is forbidden here" },
	{ SIGILL, ILL_ILLOPC, "an instruction that does not exist" },
	{ SIGILL, ILL_ILLOPN, "an instruction with an operand that does not exist" },
};

static const char *look_up(const struct word *words, size_t n, int sig, int code)
{
	for (size_t i = 0; i < n; i++)
		if (words[i].sig == sig && words[i].code == code)
			return words[i].text;
	return NULL;
}

const char *weirc_signal_name(int sig)
{
	return look_up(names, sizeof(names) / sizeof(names[0]), sig, 0);
}

static const char *reason_of(const siginfo_t *info)
{
	const char *reason = look_up(reasons, sizeof(reasons) / sizeof(reasons[0]), info->si_signo, info->si_code);

	if (reason && info->si_code > 0)
		return reason;
	if (info->si_signo == SIGABRT)
		return "the program called abort, or an assertion of its own failed";
	return info->si_code <= 0 ? "sent by a process" : "a fault";
}

static int has_address(const siginfo_t *info)
{
	return info->si_code > 0 && (info->si_signo == SIGSEGV || info->si_signo == SIGBUS ||
				     info->si_signo == SIGFPE || info->si_signo == SIGILL);
}

static void add_address(struct weirc_text *t, uintptr_t at)
{
	weirc_text_str(t, "0x");
	weirc_text_hex(t, at, 1);
}

void weirc_frame_text(struct weirc_text *t, const struct weirc_modules *m, uintptr_t at)
{
	const struct weirc_module *module = module_of(m, at);

	if (module) {
		/* the name may hold what JSON does not take as it is */
		for (const char *p = module->name; *p; p++)
			weirc_text_char(t, *p < 0x20 || *p == 0x7f || *p == '"' || *p == '\\' ? '_' : *p);
		weirc_text_char(t, '+');
		add_address(t, at - module->base);
	} else {
		add_address(t, at);
	}
}

static void add_stacktrace(struct weirc_text *t, const void *context, const struct weirc_modules *m)
{
	uintptr_t frames[WEIRC_FRAMES];
	size_t guessed, n = weirc_frames(context, m, frames, &guessed);

	weirc_text_str(t, ",\"stacktrace\":[");
	for (size_t i = 0; i < n; i++) {
		weirc_text_str(t, i ? ",\"" : "\"");
		weirc_text_str(t, i >= guessed ? "? " : "");
		weirc_frame_text(t, m, frames[i]);
		weirc_text_char(t, '"');
	}
	weirc_text_char(t, ']');
}

static void add_number(struct weirc_text *t, const char *name, long long v)
{
	weirc_text_str(t, name);
	weirc_text_int(t, v);
}

void weirc_crash_text(struct weirc_text *t, const siginfo_t *info, const void *context, const struct weirc_modules *m,
		      long pid, long tid)
{
	const char *name = weirc_signal_name(info->si_signo), *reason = reason_of(info);

	name = name ? name : "signal";
	weirc_text_str(t, "\"name\":\"program_crashed\",\"category\":\"critical\",\"group\":\"weir.client\","
			  "\"labels\":[\"crash\",\"signal\"],\"message\":\"");
	weirc_text_str(t, name);
	weirc_text_str(t, ": ");
	weirc_text_str(t, reason);
	weirc_text_str(t, "\",\"exception_type\":\"");
	weirc_text_str(t, name);
	weirc_text_str(t, "\",\"exception_msg\":\"");
	weirc_text_str(t, reason);
	weirc_text_char(t, '"');
	add_stacktrace(t, context, m);
	add_number(t, ",\"data\":{\"signal\":", info->si_signo);
	add_number(t, ",\"code\":", info->si_code);
	if (has_address(info)) {
		weirc_text_str(t, ",\"address\":\"");
		add_address(t, (uintptr_t)info->si_addr);
		weirc_text_char(t, '"');
	}
	add_number(t, ",\"pid\":", pid);
	add_number(t, ",\"tid\":", tid);
	weirc_text_str(t, "}}");
}
