/* http_refuse.c -- the table of http_refuse.h, to look things up in. */
#include "io/http_refuse.h"

#include "base/obj.h"

static const struct {
	int status;
	const char *label, *text;
} refusals[] = {
#define ROW(id, status, label, text) { (status), (label), (text) },
	HTTP_REFUSE_MAP(ROW)
#undef ROW
};

int http_refuse_status(enum http_refuse r)
{
	ENSURE((unsigned)r < ARRAY_LEN(refusals));
	return refusals[r].status;
}

const char *http_refuse_label(enum http_refuse r)
{
	ENSURE((unsigned)r < ARRAY_LEN(refusals));
	return refusals[r].label;
}

const char *http_refuse_text(enum http_refuse r)
{
	ENSURE((unsigned)r < ARRAY_LEN(refusals));
	return refusals[r].text;
}
