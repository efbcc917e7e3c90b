/* http_priv.h -- what http_parse.c and http_head.c share. */
#ifndef WEIR_IO_HTTP_PRIV_H
#define WEIR_IO_HTTP_PRIV_H

#include <llhttp.h>
#include <stdint.h>

#include "io/http_parse.h"

enum { HTTP_C_TOKEN = 1, HTTP_C_TEXT = 2, HTTP_C_TARGET = 4, HTTP_C_HOST = 8, HTTP_C_DIGIT = 16 };
/* TOKEN: RFC 9110 5.6.2; TEXT: what a field value may hold, HTAB and SP included */
extern const uint8_t http_class[256];

static inline bool http_is(char c, unsigned classes)
{
	return (http_class[(uint8_t)c] & classes) != 0;
}

/* The second reader's callbacks; `data` of its llhttp_t is the struct http_parse. */
extern const llhttp_settings_t http_second_settings;

_Static_assert(sizeof(llhttp_t) <= sizeof(((struct http_parse *)0)->second), "more room for llhttp_t in http_parse.h");

static inline llhttp_t *http_second(struct http_parse *p)
{
	return (llhttp_t *)(void *)&p->second;
}

static inline int http_bad(struct http_parse *p, enum http_refuse why)
{
	p->phase = HTTP_BAD;
	p->refusal = why;
	return -1;
}

#endif
