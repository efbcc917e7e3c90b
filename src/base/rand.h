/* rand.h -- randomness from the kernel. Any thread. */
#ifndef WEIR_BASE_RAND_H
#define WEIR_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

void rand_bytes(void *p, size_t n);
uint64_t rand_u64(void);
/* Full jitter: uniform in [0, most_ms]. */
int64_t rand_jitter_ms(int64_t most_ms);

#endif
