/* err.c -- phrases for result codes. */
#include "base/err.h"

#include <string.h>

static const struct {
	int code;
	const char *text;
} phrases[] = {
	{ WEIR_E_REFUSED, "connection refused or host unreachable" },
	{ WEIR_E_DNS, "host name does not resolve" },
	{ WEIR_E_TLS, "TLS handshake or certificate failed" },
	{ WEIR_E_CONNECT_TIMEOUT, "connecting timed out" },
	{ WEIR_E_SILENT, "no answer in time" },
	{ WEIR_E_STALLED, "the answer stalled" },
	{ WEIR_E_CUT, "the connection was cut off in mid-answer" },
	{ WEIR_E_DISABLED, "switched off by an operator" },
	{ WEIR_E_OPEN, "known to be away" },
	{ WEIR_E_PARSE, "malformed data" },
	{ WEIR_E_TOO_LARGE, "larger than the limit" },
	{ WEIR_E_DAMAGED, "damaged data" },
	{ WEIR_E_CANCELLED, "cancelled" },
	{ WEIR_E_CHILD, "a child process failed" },
	{ WEIR_E_PROTOCOL, "an answer that cannot be used" },
	{ WEIR_E_STATUS, "refused by the server" },
};

const char *err_text(int err)
{
	if (err == 0)
		return "success";
	for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
		if (phrases[i].code == err)
			return phrases[i].text;
	return strerror(err < 0 ? -err : err); /* glibc: thread-local since 2.32 */
}
