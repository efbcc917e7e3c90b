/* body_pipe.c -- a byte queue with back-pressure.
 *
 * RULES    1. What was put before a failure is lost with it: half a body is of no use to anybody.
 *          2. "Full" is told once, and answered by one resume when half is free: no ping-pong over each read.
 * THREADS  One putter, one taker. */
#include "core/body_pipe.h"

#include "base/obj.h"

void body_pipe_init(struct body_pipe *p)
{
	*p = (struct body_pipe){ .data = BUF_EMPTY };
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
}

void body_pipe_fini(struct body_pipe *p)
{
	buf_fini(&p->data);
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->lock);
}

void body_pipe_reset(struct body_pipe *p)
{
	if (p->data.cap > 4096)
		buf_fini(&p->data);
	else
		buf_reset(&p->data);
	p->at = 0;
	p->ended = p->full_told = false;
	p->error = 0;
}

bool body_pipe_put(struct body_pipe *p, struct slice s)
{
	bool full;

	pthread_mutex_lock(&p->lock);
	ENSURE(!p->ended);
	if (p->at > 65536 || p->at == p->data.len) {
		buf_consume(&p->data, p->at);
		p->at = 0;
	}
	if (!p->error)
		buf_add_slice(&p->data, s);
	full = p->full_told = p->data.len - p->at >= BODY_PIPE_BYTES;
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
	return full;
}

void body_pipe_end(struct body_pipe *p)
{
	pthread_mutex_lock(&p->lock);
	p->ended = true;
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
}

void body_pipe_fail(struct body_pipe *p, int err)
{
	pthread_mutex_lock(&p->lock);
	if (!p->ended && !p->error) {
		p->error = err;
		buf_fini(&p->data);
		p->at = 0;
	}
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
}

bool body_pipe_peek(struct body_pipe *p, struct slice *ret)
{
	bool whole;

	pthread_mutex_lock(&p->lock);
	*ret = slice_from(buf_slice(&p->data), p->at);
	whole = p->ended;
	pthread_mutex_unlock(&p->lock);
	return whole;
}

ssize_t body_pipe_take(struct body_pipe *p, char *into, size_t room, bool *ret_resume)
{
	size_t n;
	ssize_t r;

	*ret_resume = false;
	pthread_mutex_lock(&p->lock);
	while (!p->error && p->at == p->data.len && !p->ended)
		pthread_cond_wait(&p->more, &p->lock);
	if (p->error) {
		r = p->error;
	} else {
		n = p->data.len - p->at < room ? p->data.len - p->at : room;
		memcpy(into, p->data.data + p->at, n);
		p->at += n;
		r = (ssize_t)n;
		if (p->full_told && p->data.len - p->at <= BODY_PIPE_BYTES / 2) {
			p->full_told = false;
			*ret_resume = true;
		}
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}
