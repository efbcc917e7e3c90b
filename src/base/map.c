/* map.c -- open addressing with linear probing and backward-shift deletion (no tombstones, so a map that churns
 * stays fast). Load stays at or below 3/4. */
#include "base/map.h"

#include <pthread.h>
#include <sys/random.h>

#include "base/obj.h"

struct slot {
	char *key; /* NULL: free */
	size_t key_len;
	uint64_t hash;
	void *value;
};

struct map {
	struct slot *slots;
	size_t cap; /* a power of two, or 0 */
	size_t count;
};

static uint64_t seed[2];
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void seed_init(void)
{
	ENSURE(getrandom(seed, sizeof(seed), 0) == (ssize_t)sizeof(seed));
}

static inline uint64_t rotl(uint64_t x, int b)
{
	return (x << b) | (x >> (64 - b));
}

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

/* SipHash-1-3 (Aumasson and Bernstein, 2012), the variant that Rust and Python use for maps. */
uint64_t hash_bytes(const void *p, size_t n)
{
	const unsigned char *in = p;
	uint64_t v[4], word = 0;
	size_t left = n;

	(void)pthread_once(&seed_once, seed_init); /* cannot fail with a static control */
	v[0] = 0x736f6d6570736575ULL ^ seed[0];
	v[1] = 0x646f72616e646f6dULL ^ seed[1];
	v[2] = 0x6c7967656e657261ULL ^ seed[0];
	v[3] = 0x7465646279746573ULL ^ seed[1];
	for (; left >= 8; in += 8, left -= 8) {
		memcpy(&word, in, 8);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	word = (uint64_t)n << 56;
	for (size_t i = 0; i < left; i++)
		word |= (uint64_t)in[i] << (8 * i);
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

struct map *map_new(void)
{
	return xcalloc(1, sizeof(struct map));
}

void map_free(struct map *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->cap; i++)
		free(m->slots[i].key);
	free(m->slots);
	free(m);
}

/* The slot that holds key, or the free one where it would go. */
static struct slot *find(const struct map *m, struct slice key, uint64_t hash)
{
	size_t i = hash & (m->cap - 1);

	while (m->slots[i].key) {
		struct slot *s = &m->slots[i];

		if (s->hash == hash && s->key_len == key.n && (key.n == 0 || memcmp(s->key, key.p, key.n) == 0))
			break;
		i = (i + 1) & (m->cap - 1);
	}
	return &m->slots[i];
}

static void grow(struct map *m)
{
	struct slot *old = m->slots;
	size_t old_cap = m->cap;

	m->cap = old_cap ? old_cap * 2 : 16;
	m->slots = xcalloc(m->cap, sizeof(*m->slots));
	for (size_t i = 0; i < old_cap; i++) {
		size_t at = old[i].hash & (m->cap - 1);

		if (!old[i].key)
			continue;
		while (m->slots[at].key)
			at = (at + 1) & (m->cap - 1);
		m->slots[at] = old[i];
	}
	free(old);
}

void *map_get(const struct map *m, struct slice key)
{
	if (!m->count)
		return NULL;
	return find(m, key, hash_bytes(key.p, key.n))->value;
}

void *map_put(struct map *m, struct slice key, void *value)
{
	uint64_t hash = hash_bytes(key.p, key.n);
	struct slot *s;
	void *old;

	ENSURE(value != NULL);
	if ((m->count + 1) * 4 > m->cap * 3)
		grow(m);
	s = find(m, key, hash);
	old = s->value;
	if (!s->key) {
		*s = (struct slot){ slice_dup(key), key.n, hash, NULL };
		m->count++;
	}
	s->value = value;
	return old;
}

void *map_remove(struct map *m, struct slice key)
{
	struct slot *s;
	size_t hole, i;
	void *value;

	if (!m->count)
		return NULL;
	s = find(m, key, hash_bytes(key.p, key.n));
	if (!s->key)
		return NULL;
	value = s->value;
	free(s->key);
	hole = (size_t)(s - m->slots);
	for (i = (hole + 1) & (m->cap - 1); m->slots[i].key; i = (i + 1) & (m->cap - 1)) {
		size_t home = m->slots[i].hash & (m->cap - 1);

		/* Move back only what would otherwise become unreachable behind the hole. */
		if (((i - home) & (m->cap - 1)) >= ((i - hole) & (m->cap - 1))) {
			m->slots[hole] = m->slots[i];
			hole = i;
		}
	}
	m->slots[hole] = (struct slot){ NULL, 0, 0, NULL };
	m->count--;
	return value;
}

size_t map_count(const struct map *m)
{
	return m->count;
}

bool map_next(const struct map *m, size_t *pos, struct slice *ret_key, void **ret_value)
{
	for (; *pos < m->cap; (*pos)++) {
		struct slot *s = &m->slots[*pos];

		if (!s->key)
			continue;
		if (ret_key)
			*ret_key = (struct slice){ s->key, s->key_len };
		*ret_value = s->value;
		(*pos)++;
		return true;
	}
	return false;
}
