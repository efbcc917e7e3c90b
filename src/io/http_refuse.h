/* http_refuse.h -- everything that the HTTP front refuses by itself: one table of reason, status and sentence.
 *
 * The label is what `weir_http_refusals_total` counts by, the status and the sentence are what the client gets. A
 * refusal of framing closes the connection, as nobody can say any more where the next request begins. */
#ifndef WEIR_IO_HTTP_REFUSE_H
#define WEIR_IO_HTTP_REFUSE_H

#define HTTP_REFUSE_MAP(X)                                                                                             \
	/* framing: RFC 9112; http_parse.c */                                                                          \
	X(BARE_CR, 400, "bare_cr", "a carriage return without a line feed")                                            \
	X(BARE_LF, 400, "bare_lf", "a line feed without a carriage return")                                            \
	X(CONTROL, 400, "control", "a control character or NUL in the head of the request")                            \
	X(REQUEST_LINE, 400, "request_line", "a malformed request line")                                               \
	X(TARGET, 400, "target", "a malformed request target")                                                         \
	X(PREFACE, 400, "http2_preface", "HTTP/2 is not spoken here")                                                  \
	X(VERSION, 505, "version", "only HTTP/1.1 and HTTP/1.0 are spoken here")                                       \
	X(METHOD, 501, "method", "the method is not known here")                                                       \
	X(FIELD_NAME, 400, "field_name", "a malformed field name, or space before the colon")                          \
	X(FOLD, 400, "fold", "a folded header line")                                                                   \
	X(HOST, 400, "host", "Host must be given once, as a name or address with an optional port")                    \
	X(HOST_DIFFERS, 400, "host_differs", "Host and the request target name different hosts")                       \
	X(LENGTH, 400, "content_length", "Content-Length must be given at most once, in plain digits")                 \
	X(LENGTH_AND_CODING, 400, "length_and_coding", "Content-Length and Transfer-Encoding exclude each other")      \
	X(CODING, 400, "transfer_coding", "the only transfer coding is a single chunked, in HTTP/1.1")                 \
	X(CODING_UNKNOWN, 501, "transfer_coding_unknown", "the only transfer coding known here is chunked")            \
	X(CHUNK, 400, "chunk", "malformed chunked framing")                                                            \
	X(TRAILER, 400, "trailer", "a malformed trailer line")                                                         \
	X(DISAGREE, 400, "disagree", "the request cannot be read in one way only")                                     \
	X(LINE_LONG, 414, "target_long", "the request target is too long")                                             \
	X(HEAD_LONG, 431, "head_long", "the header section is too large")                                              \
	X(LENGTH_REQUIRED, 411, "length_required", "a body needs a Content-Length")                                    \
	X(EXPECT, 417, "expect", "the only expectation that can be met is 100-continue")                               \
	/* limits and rules of the front: core/conn.c */                                                               \
	X(BODY_LARGE, 413, "body_large", "the request body is larger than limits.request_body")                        \
	X(BODY_MALFORMED, 400, "body_malformed", "the request body is not what its headers say")                       \
	X(BODY_CODING, 415, "body_coding", "the only content coding known here is gzip")                               \
	X(HEAD_SLOW, 408, "head_slow", "the head of the request did not arrive in time")                               \
	X(BODY_SLOW, 408, "body_slow", "the body of the request did not arrive in time")                               \
	X(CONNECT, 405, "connect", "CONNECT is not supported: this is not a tunnelling proxy")                         \
	X(MISDIRECTED, 421, "misdirected", "this listener does not answer for that Host; add it to `hosts`")           \
	X(ORIGIN, 403, "origin", "requests made by pages of other origins are refused")                                \
	X(CONNECTIONS, 503, "connections", "too many connections; raise limits.connections or try again later")        \
	X(DESCRIPTORS, 503, "descriptors", "file descriptors are used up")                                             \
	X(BUSY, 503, "busy", "too many requests are waiting, or weir is shutting down; try again later")

enum http_refuse {
#define HTTP_REFUSE_ENUM(id, status, label, text) HTTP_REFUSE_##id,
	HTTP_REFUSE_MAP(HTTP_REFUSE_ENUM)
#undef HTTP_REFUSE_ENUM
	HTTP_REFUSE_COUNT,
};

/* Static storage. Any thread. */
int http_refuse_status(enum http_refuse r);
const char *http_refuse_label(enum http_refuse r);
const char *http_refuse_text(enum http_refuse r);

#endif
