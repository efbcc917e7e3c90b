/* token_test.c -- when a token counts as another one. */
#include "mirror/mirror_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/obj.h"
#include "core/secret.h"

static char path[] = "/tmp/weir-mirror-token-XXXXXX";
static struct mirror_config config = { .token_file = path };
static char name[] = "files";
static struct mirror mirror = { .name = name, .token_seen = BUF_EMPTY };

static int make(void **state)
{
	int fd = mkstemp(path);

	assert_int_equal(write(fd, "one\n", 4), 4);
	atomic_init(&mirror.config, &config);
	pthread_mutex_init(&mirror.token_lock, NULL);
	return close(fd);
}

static int clear(void **state)
{
	secret_free(mirror.token);
	buf_fini(&mirror.token_seen);
	pthread_mutex_destroy(&mirror.token_lock);
	return unlink(path);
}

/* The file stays as it is; it only cannot be opened for a while. Whoever was paused for that goes on by himself. */
static void test_a_token_that_can_be_read_again_is_another(void **state)
{
	struct rlimit before, none;
	struct buf token = BUF_EMPTY;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(mirror_token(&mirror, &token), -ENOKEY);
	mirror_token_refused(&mirror, mirror_token_reading(&mirror));
	assert_false(mirror_token_is_another(&mirror)); /* that it still cannot be read is no news */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(mirror_token_is_another(&mirror));
	assert_int_equal(mirror_token(&mirror, &token), 0);
	assert_string_equal(token.data, "one");
	secret_wipe(&token);
	mirror_token_refused(&mirror, mirror_token_reading(&mirror));
	assert_false(mirror_token_is_another(&mirror));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_token_that_can_be_read_again_is_another),
	};

	return cmocka_run_group_tests(tests, make, clear);
}
