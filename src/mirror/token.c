/* token.c -- weir's own credential towards a mirror's upstream, and the token that clients present.
 *
 * RULES    1. Read again when the file changes (its size, times or inode), looked at once a second at most: a rotated
 *             token counts without a restart.
 *          2. Never logged, never in an error text (invariant 10). */
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "io/file.h"
#include "mirror/mirror_priv.h"
#include "proto/authz.h"

#define TOKEN_MOST_BYTES 65536
#define LOOK_AGAIN_MS 1000

/* What tells one state of the file from another. */
static void fingerprint(const char *path, struct buf *out)
{
	struct stat st;

	if (stat(path, &st) < 0)
		buf_add_str(out, "missing");
	else
		buf_addf(out, "%lld %lld.%09ld %llu", (long long)st.st_size, (long long)st.st_mtim.tv_sec,
			 st.st_mtim.tv_nsec, (unsigned long long)st.st_ino);
}

/* A line end within would make another header of it. */
static bool is_plain(struct slice token)
{
	for (size_t i = 0; i < token.n; i++)
		if ((unsigned char)token.p[i] < ' ' || token.p[i] == 0x7f)
			return false;
	return token.n > 0;
}

/* Under token_lock. */
static int read_again(struct mirror *m, const char *path)
{
	struct buf text = BUF_EMPTY, now = BUF_EMPTY;
	int r;

	fingerprint(path, &now);
	if (!slice_eq(buf_slice(&now), buf_slice(&m->token_seen)))
		m->token_reading++; /* else it still cannot be read, and that is no news */
	buf_fini(&m->token_seen);
	m->token_seen = now;
	r = file_read_all(path, TOKEN_MOST_BYTES, &text);
	while (r == 0 && text.len && strchr("\r\n \t", text.data[text.len - 1]))
		buf_truncate(&text, text.len - 1);
	if (m->token)
		explicit_bzero(m->token, strlen(m->token));
	free(m->token);
	m->token = NULL;
	if (r == 0 && is_plain(buf_slice(&text)))
		m->token = xstrdup(text.data);
	else
		log_event(LOG_ERROR, "secret_not_read", LOG_STR("service", m->name), LOG_STR("file", path),
			  LOG_STR("why", r < 0 ? err_text(r) : "it is empty, or more than one line"), LOG_END);
	if (text.cap)
		explicit_bzero(text.data, text.len);
	buf_fini(&text);
	return m->token ? 0 : -ENOKEY;
}

int mirror_token(struct mirror *m, struct buf *ret)
{
	const char *path = mirror_config(m)->token_file;
	struct buf now = BUF_EMPTY;
	int64_t mono = clock_mono_ms();
	int r = 0;

	if (!path)
		return 0;
	pthread_mutex_lock(&m->token_lock);
	if (!m->token || mono - m->token_checked_mono_ms >= LOOK_AGAIN_MS) {
		fingerprint(path, &now);
		if (!m->token || !slice_eq(buf_slice(&now), buf_slice(&m->token_seen)))
			r = read_again(m, path);
		m->token_checked_mono_ms = mono;
	}
	if (r == 0)
		buf_add_str(ret, m->token);
	pthread_mutex_unlock(&m->token_lock);
	buf_fini(&now);
	return r;
}

unsigned mirror_token_reading(struct mirror *m)
{
	struct buf token = BUF_EMPTY;
	unsigned reading;

	(void)mirror_token(m, &token); /* so that it is the newest; a failure is said there */
	if (token.cap)
		explicit_bzero(token.data, token.len);
	buf_fini(&token);
	pthread_mutex_lock(&m->token_lock);
	reading = m->token_reading;
	pthread_mutex_unlock(&m->token_lock);
	return reading;
}

void mirror_token_refused(struct mirror *m, unsigned reading)
{
	pthread_mutex_lock(&m->token_lock);
	m->token_refused = reading;
	pthread_mutex_unlock(&m->token_lock);
}

bool mirror_token_is_another(struct mirror *m)
{
	const char *path = mirror_config(m)->token_file;
	struct buf now = BUF_EMPTY;
	bool is_another;

	if (!path)
		return false;
	fingerprint(path, &now);
	pthread_mutex_lock(&m->token_lock);
	/* Somebody online may have read the new one already. */
	is_another = m->token_reading != m->token_refused || !slice_eq(buf_slice(&now), buf_slice(&m->token_seen));
	pthread_mutex_unlock(&m->token_lock);
	buf_fini(&now);
	return is_another;
}

int mirror_authorize(struct mirror *m, struct lines *l)
{
	struct buf token = BUF_EMPTY;
	int r = mirror_token(m, &token);

	if (r == 0 && token.len) {
		lines_remove(l, "authorization");
		lines_addf(l, "Authorization: Bearer %s", token.data);
	}
	if (token.cap)
		explicit_bzero(token.data, token.len);
	buf_fini(&token);
	return r;
}

bool mirror_admits(struct mirror *m, struct slice authorization)
{
	struct buf user = BUF_EMPTY, password = BUF_EMPTY;
	struct slice token;
	bool ok = false;

	if (!m->client_token)
		return true;
	if (authz_parse_bearer(authorization, &token) == 0)
		ok = str_eq_const_time(token, slice_str(m->client_token));
	else if (authz_parse_basic(authorization, &user, &password) == 0)
		ok = str_eq_const_time(buf_slice(&password), slice_str(m->client_token));
	if (password.cap)
		explicit_bzero(password.data, password.len);
	buf_fini(&user);
	buf_fini(&password);
	return ok;
}
