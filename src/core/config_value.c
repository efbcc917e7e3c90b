/* config_value.c -- one scalar of the configuration to one C value, and the words for what is accepted.
 *
 * WHAT     A reader for each setting type. On refusal it writes "what is wrong; accepted: what would be right".
 * WHY      The sentences come from the same table as the checks, so that a message never promises what is refused.
 * RULES    A value in a message is escaped and cut: it may have come from anywhere. A secret never is one, as secrets
 *          stand in files of their own. */
#include "core/config_priv.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "core/secret.h"

#define MOST_SHOWN 80 /* bytes of a refused value in a message */

static const struct unit {
	const char *name;
	uint64_t factor;
} duration_units[] = { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 } },
  byte_units[] = {
	  { "TiB", 1ull << 40 }, { "GiB", 1ull << 30 }, { "MiB", 1ull << 20 }, { "KiB", 1ull << 10 }, { "", 1 }
  };

/* The largest unit that leaves no rest; zero takes the small one. */
static void format_exact(uint64_t v, const struct unit *units, const char *zero, struct buf *out)
{
	if (!v) {
		buf_add_str(out, zero);
		return;
	}
	while (v % units->factor)
		units++;
	buf_addf(out, "%" PRIu64 "%s", v / units->factor, units->name);
}

void config_format_duration(int64_t ms, struct buf *out)
{
	format_exact((uint64_t)ms, duration_units, "0s", out);
}

void config_format_bytes(uint64_t bytes, struct buf *out)
{
	format_exact(bytes, byte_units, "0", out);
}

/* --- what is accepted --- */

static void add_range_value(const struct setting *s, uint64_t v, struct buf *out)
{
	if (s->type == SETTING_DURATION)
		config_format_duration((int64_t)v, out);
	else if (s->type == SETTING_SIZE)
		config_format_bytes(v, out);
	else
		buf_addf(out, "%" PRIu64, v);
}

void config_value_range(const struct setting *s, struct buf *out)
{
	if (s->max) {
		buf_add_str(out, "from ");
		add_range_value(s, s->min, out);
		buf_add_str(out, " to ");
		add_range_value(s, s->max, out);
	} else if (s->min) {
		buf_add_str(out, "at least ");
		add_range_value(s, s->min, out);
	}
}

static void add_range(const struct setting *s, const char *before, struct buf *out)
{
	if (s->min || s->max)
		buf_add_str(out, before);
	config_value_range(s, out);
}

static void add_choices(const struct setting *s, struct buf *out)
{
	for (size_t i = 0; s->choices[i]; i++)
		buf_addf(out, "%s%s", !i ? "" : s->choices[i + 1] ? ", " : " or ", s->choices[i]);
}

static void add_names(const struct setting *table, struct buf *out)
{
	for (const struct setting *t = table; t->name; t++)
		buf_addf(out, "%s%s", t == table ? "" : ", ", t->name);
}

void config_value_accepts(const struct setting *s, struct buf *out)
{
	switch (s->type) {
	case SETTING_STRING: buf_add_str(out, "text on one line"); break;
	case SETTING_PATH: buf_add_str(out, "a path"); break;
	case SETTING_SECRET_FILE: buf_add_str(out, "the path of a readable file that holds the secret"); break;
	case SETTING_LISTEN: buf_add_str(out, "HOST:PORT, as in 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:0"); break;
	case SETTING_URL:
		buf_add_str(
			out,
			"http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH], without user name, query and "
			"fragment");
		break;
	case SETTING_BOOL: buf_add_str(out, "true or false"); break;
	case SETTING_UINT:
		buf_add_str(out, "a whole number");
		add_range(s, s->max ? " " : ", ", out);
		break;
	case SETTING_DURATION:
		buf_add_str(out, "a number with ms, s, m, h or d, as in 90s");
		add_range(s, ", ", out);
		break;
	case SETTING_SIZE:
		buf_add_str(out, "a number of bytes, or with KiB, MiB, GiB or TiB, as in 64MiB");
		add_range(s, ", ", out);
		break;
	case SETTING_CHOICE: add_choices(s, out); break;
	case SETTING_STRINGS: buf_add_str(out, "a list, as in [one, two]"); break;
	case SETTING_MAP:
		buf_add_str(out, "a mapping with ");
		add_names(s->sub, out);
		break;
	case SETTING_MAPS:
		buf_add_str(out, "a list of mappings, each with ");
		add_names(s->sub, out);
		break;
	}
}

/* --- addresses --- */

/* Cuts HOST:PORT; *ret_host is without brackets. False when it is none. */
static bool cut_address(struct slice s, struct slice *ret_host, struct slice *ret_port, bool *ret_v6)
{
	*ret_v6 = s.n && s.p[0] == '[';
	if (*ret_v6) {
		ssize_t end = slice_find(s, ']');

		if (end < 0 || (size_t)end + 1 >= s.n || s.p[end + 1] != ':')
			return false;
		*ret_host = (struct slice){ s.p + 1, (size_t)end - 1 };
		*ret_port = slice_from(s, (size_t)end + 2);
	} else {
		if (!slice_cut(&s, ':', ret_host))
			return false;
		*ret_port = s;
	}
	return true;
}

static bool host_is_plausible(struct slice host, bool v6)
{
	for (size_t i = 0; i < host.n; i++) {
		unsigned char c = (unsigned char)host.p[i];

		if (v6 ? !(isxdigit(c) || c == ':' || c == '.' || c == '%')
		       : !(isalnum(c) || c == '.' || c == '-' || c == '_'))
			return false;
	}
	return host.n > 0 && host.n <= 253;
}

static bool port_parse(struct slice port, uint64_t *ret)
{
	return port.n <= 5 && str_parse_u64(port, ret) == 0 && *ret <= 65535;
}

static const char *listen_fault(struct slice s)
{
	struct slice host, port;
	uint64_t number;
	bool v6;

	if (!cut_address(s, &host, &port, &v6))
		return slice_find(s, ':') < 0 ? "has no port" : "is not HOST:PORT";
	if (!host.n)
		return "names no host (0.0.0.0 is all of IPv4, [::] all of IPv6)";
	if (!v6 && slice_find(port, ':') >= 0)
		return "is not HOST:PORT (an IPv6 address stands in brackets)";
	if (!slice_eq_str(host, "*") && !host_is_plausible(host, v6)) /* all addresses of both kinds */
		return "is not HOST:PORT";
	if (!port_parse(port, &number))
		return "has a port that is not 0 to 65535";
	return NULL;
}

bool config_listen_is_loopback(const char *listen)
{
	struct slice host, port;
	bool v6;

	if (!cut_address(slice_str(listen), &host, &port, &v6))
		return false;
	if (v6)
		return slice_eq_str(host, "::1");
	/* 127.evil.example is a name, not an address: digits and dots only. */
	for (size_t i = 0; slice_starts(host, "127.") && i < host.n; i++) {
		if (!isdigit((unsigned char)host.p[i]) && host.p[i] != '.')
			return false;
	}
	return slice_starts(host, "127.") || slice_ieq_str(host, "localhost");
}

int config_listen_port(const char *listen)
{
	struct slice host, port;
	uint64_t number;
	bool v6;

	return cut_address(slice_str(listen), &host, &port, &v6) && port_parse(port, &number) ? (int)number : -1;
}

static const char *url_fault(struct slice s)
{
	struct slice rest, host, authority;
	uint64_t port;
	bool v6;

	for (size_t i = 0; i < s.n; i++) {
		if ((unsigned char)s.p[i] <= 0x20 || (unsigned char)s.p[i] >= 0x7f || strchr("\"<>\\^`{|}", s.p[i]))
			return "holds a character that no URL may hold";
	}
	if (slice_starts(s, "http://"))
		rest = slice_from(s, 7);
	else if (slice_starts(s, "https://"))
		rest = slice_from(s, 8);
	else
		return "does not begin with http:// or https://";
	if (slice_find(rest, '?') >= 0)
		return "has a query";
	if (slice_find(rest, '#') >= 0)
		return "has a fragment";
	(void)slice_cut(&rest, '/', &authority);
	if (slice_find(authority, '@') >= 0)
		return "holds a user name or password";
	v6 = authority.n && authority.p[0] == '[';
	if (v6 ? !slice_ends(authority, "]") : slice_find(authority, ':') >= 0) {
		struct slice digits;

		if (!cut_address(authority, &host, &digits, &v6) || !port_parse(digits, &port) || port == 0)
			return "has a port that is not 1 to 65535";
	} else {
		host = v6 ? (struct slice){ authority.p + 1, authority.n - 2 } : authority;
	}
	return host_is_plausible(host, v6) ? NULL : "names no host";
}

/* --- paths --- */

char *config_path_absolute(const char *base_dir, const char *path)
{
	struct buf b = BUF_EMPTY;
	struct slice rest = slice_str(path), part;
	bool more = true;

	if (path[0] != '/') {
		buf_add_str(&b, base_dir);
		while (b.len && b.data[b.len - 1] == '/')
			buf_truncate(&b, b.len - 1);
	}
	while (more) {
		more = slice_cut(&rest, '/', &part);
		/* ".." stays: with symbolic links only the kernel knows where it leads. */
		if (part.n && !slice_eq_str(part, "."))
			buf_addf(&b, "/%.*s", (int)part.n, part.p);
	}
	if (!b.len)
		buf_add_char(&b, '/');
	return buf_detach(&b, NULL);
}

/* NULL, or why the secret cannot be used. */
static const char *secret_fault(const char *path, struct buf *room)
{
	char *secret = NULL;
	int err = secret_read(path, &secret, room);

	secret_free(secret);
	return err ? room->data : NULL;
}

/* --- reading --- */

static int refuse(const struct setting *s, const char *text, const char *fault, struct buf *why)
{
	/* A URL with a password in it must not come out again in a log. */
	if (s->type == SETTING_URL && strchr(text, '@')) {
		buf_addf(why, "%s; accepted: ", fault);
	} else {
		buf_add_char(why, '"');
		str_add_escaped(why, slice_str(text), MOST_SHOWN);
		buf_addf(why, "\" %s; accepted: ", fault);
	}
	config_value_accepts(s, why);
	return -EINVAL;
}

static int check_range(const struct setting *s, const char *text, uint64_t v, struct buf *why)
{
	if (v < s->min)
		return refuse(s, text, "is too small", why);
	if (s->max && v > s->max)
		return refuse(s, text, "is too large", why);
	return 0;
}

static int parse_number(const struct setting *s, const char *text, union config_value *ret, struct buf *why)
{
	struct slice t = slice_str(text);
	uint64_t v = 0;
	int64_t ms;
	int err;

	if (s->type == SETTING_DURATION) {
		if (str_parse_duration_ms(t, &ms) < 0)
			return refuse(s, text, str_parse_u64(t, &v) == 0 ? "has no unit" : "is not a time", why);
		err = check_range(s, text, (uint64_t)ms, why);
		if (!err)
			ret->ms = ms;
		return err;
	}
	if (s->type == SETTING_SIZE ? str_parse_bytes(t, &v) < 0 : str_parse_u64(t, &v) < 0)
		return refuse(s, text, s->type == SETTING_SIZE ? "is not a size" : "is not a whole number", why);
	err = check_range(s, text, v, why);
	if (!err)
		ret->number = v;
	return err;
}

static int parse_choice(const struct setting *s, const char *text, union config_value *ret, struct buf *why)
{
	for (int i = 0; s->choices[i]; i++) {
		if (!strcmp(s->choices[i], text)) {
			ret->choice = i;
			return 0;
		}
	}
	return refuse(s, text, "is none of the choices", why);
}

static int parse_bool(const struct setting *s, const char *text, union config_value *ret, struct buf *why)
{
	if (strcmp(text, "true") && strcmp(text, "false"))
		return refuse(s, text, "is neither true nor false", why);
	ret->yes = text[0] == 't';
	return 0;
}

static int parse_text(const struct setting *s, const char *text, const char *base_dir, union config_value *ret,
		      struct buf *why)
{
	struct buf room = BUF_EMPTY;
	const char *fault = NULL;
	char *value;

	value = s->type == SETTING_PATH || s->type == SETTING_SECRET_FILE ? config_path_absolute(base_dir, text)
									  : xstrdup(text);
	if (s->type == SETTING_LISTEN)
		fault = listen_fault(slice_str(text));
	else if (s->type == SETTING_URL)
		fault = url_fault(slice_str(text));
	else if (s->type == SETTING_SECRET_FILE)
		fault = secret_fault(value, &room);
	if (fault) {
		(void)refuse(s, s->type == SETTING_SECRET_FILE ? value : text, fault,
			     why); /* the caller gets -EINVAL below */
		free(value);
	} else {
		ret->text = value;
	}
	buf_fini(&room);
	return fault ? -EINVAL : 0;
}

int config_value_parse(const struct setting *s, const char *text, const char *base_dir, union config_value *ret,
		       struct buf *why)
{
	switch (s->type) {
	case SETTING_BOOL: return parse_bool(s, text, ret, why);
	case SETTING_CHOICE: return parse_choice(s, text, ret, why);
	case SETTING_UINT:
	case SETTING_DURATION:
	case SETTING_SIZE: return parse_number(s, text, ret, why);
	default: return parse_text(s, text, base_dir, ret, why);
	}
}
