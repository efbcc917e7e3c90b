/* work.c -- calls of upstream that are under way, so that a stop need not wait for a silent server. */
#include "mirror/mirror_priv.h"

void work_begin(struct mirror *m, struct work *w, struct cancel *c)
{
	w->cancel = c;
	pthread_mutex_lock(&m->underway_lock);
	list_push_back(&m->works, &w->node);
	pthread_mutex_unlock(&m->underway_lock);
	if (c && atomic_load(&m->stopping))
		cancel_fire(c);
}

void work_end(struct mirror *m, struct work *w)
{
	pthread_mutex_lock(&m->underway_lock);
	list_remove(&w->node);
	pthread_mutex_unlock(&m->underway_lock);
}

void work_cancel_all(struct mirror *m)
{
	pthread_mutex_lock(&m->underway_lock);
	for (struct list *n = m->works.next; n != &m->works; n = n->next) {
		struct work *w = CONTAINER_OF(n, struct work, node);

		if (w->cancel)
			cancel_fire(w->cancel);
	}
	pthread_mutex_unlock(&m->underway_lock);
}

void work_job(struct mirror *m, int more)
{
	pthread_mutex_lock(&m->underway_lock);
	m->jobs += (unsigned)more;
	if (!m->jobs)
		pthread_cond_broadcast(&m->no_jobs);
	pthread_mutex_unlock(&m->underway_lock);
}

void work_wait_none(struct mirror *m)
{
	pthread_mutex_lock(&m->underway_lock);
	while (m->jobs)
		pthread_cond_wait(&m->no_jobs, &m->underway_lock);
	pthread_mutex_unlock(&m->underway_lock);
}
