/* host_check.c -- invariant 13: web pages of others cannot drive us.
 *
 * WHAT     Whether a request names us as its host, and whether its Origin is ourselves.
 * WHY      A page on the Internet may send requests to 127.0.0.1 from its reader's browser. It cannot choose Host
 *          freely: either it uses our address, and then the browser adds a foreign Origin; or it uses a name of its own
 *          that it makes resolve to 127.0.0.1 (DNS rebinding), and then that name is in Host.
 * THREADS  Pure. */
#include <arpa/inet.h>

#include "core/front_priv.h"

static struct slice without_port(struct slice authority)
{
	ssize_t end;

	if (authority.n && authority.p[0] == '[') {
		end = slice_find(authority, ']');
		return end < 0 ? authority : (struct slice){ authority.p, (size_t)end + 1 };
	}
	end = slice_find(authority, ':');
	return end < 0 ? authority : (struct slice){ authority.p, (size_t)end };
}

static bool is_loopback_literal(struct slice host)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr six;
	struct in_addr four;
	bool brackets = host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']';

	if (brackets)
		host = (struct slice){ host.p + 1, host.n - 2 };
	if (!host.n || host.n >= sizeof(text))
		return false;
	memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	if (brackets)
		return inet_pton(AF_INET6, text, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
	return inet_pton(AF_INET, text, &four) == 1 && ntohl(four.s_addr) >> 24 == 127;
}

bool host_is_ours(const struct listener *l, struct slice authority)
{
	struct slice host = without_port(authority);

	if (slice_ieq_str(host, "localhost") || is_loopback_literal(host))
		return true;
	for (char **h = l->hosts; h && *h; h++)
		if (slice_ieq_str(host, *h) || slice_ieq_str(authority, *h))
			return true;
	return false;
}

bool origin_is_ours(struct slice origin, struct slice authority)
{
	if (slice_starts(origin, "http://"))
		origin = slice_from(origin, 7);
	else if (slice_starts(origin, "https://"))
		origin = slice_from(origin, 8);
	else
		return false; /* "null", and schemes of others */
	return authority.n && origin.n == authority.n && strncasecmp(origin.p, authority.p, origin.n) == 0;
}
