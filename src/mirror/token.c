/* token.c -- weir's own credential towards a mirror's upstream, and the token that clients present.
 *
 * RULES    1. Read again when the file changes (its size, times, inode or rights), looked at once a second at most, and
 *             at each use while there is none that can be read: a rotated token counts without a restart.
 *          2. Never logged, never in an error text (invariant 10). */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "core/secret.h"
#include "mirror/mirror_priv.h"

#define LOOK_AGAIN_MS 1000

/* Under token_lock. */
static int read_again(struct mirror *m, const char *path)
{
	struct buf why = BUF_EMPTY, now = BUF_EMPTY;
	bool had_one = m->token != NULL;

	secret_fingerprint(path, &now); /* first: of what changes meanwhile, the next look learns */
	secret_free(m->token);
	m->token = NULL;
	if (secret_read(path, &m->token, &why) < 0)
		log_event(LOG_ERROR, "secret_not_read", LOG_STR("service", m->name), LOG_STR("file", path),
			  LOG_STR("why", why.data), LOG_END);
	/* Else it still cannot be read, and that is no news. */
	if ((!had_one && m->token) || !slice_eq(buf_slice(&now), buf_slice(&m->token_seen)))
		m->token_reading++;
	buf_fini(&m->token_seen);
	m->token_seen = now;
	buf_fini(&why);
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
		secret_fingerprint(path, &now);
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
	secret_wipe(&token);
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
	unsigned reading;
	bool is_another;

	if (!mirror_config(m)->token_file)
		return false;
	reading = mirror_token_reading(m);
	pthread_mutex_lock(&m->token_lock);
	is_another = reading != m->token_refused;
	pthread_mutex_unlock(&m->token_lock);
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
	secret_wipe(&token);
	return r;
}

bool mirror_admits(struct mirror *m, struct slice authorization)
{
	return !m->client_token || secret_is_presented(authorization, m->client_token);
}
