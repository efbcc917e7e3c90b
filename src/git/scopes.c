/* scopes.c -- the views that different credentials have of one repository.
 *
 * WHY      The repository on disk holds what anybody may read, each view decides who reads what. So a ref is gone from
 *          the main scope only when no view has it any more: else each listing would drop what only others are shown.
 * RULES    1. Scopes are added, replaced and dropped under save_lock; with that held they may be read without the lock.
 *          2. Credentials come and go (a token for each job of a pipeline): only so many views are remembered.
 * THREADS  Workers. */
#include "git/scopes.h"

#include <stdlib.h>

#include "base/obj.h"
#include "git/repo_disk.h"

static void add(struct refs_listing *l, const struct refs_info *at)
{
	struct lsref line = { .name = at->name, .symref = at->seen_symref, .unborn = at->seen_unborn,
			      .has_peeled = at->seen_peeled != NULL };

	if (at->seen)
		line.oid = *at->seen;
	if (at->seen_peeled)
		line.peeled = *at->seen_peeled;
	(void)refs_listing_add(l, &line); /* what is too large here was so before */
}

/* What `of` was shown under the prefixes and own was not, with the main scope's values. */
static void add_others(struct repo *r, const struct scope *own, const struct scope *of, struct slices prefixes,
		       struct refs_listing *l)
{
	struct refs_info at;

	for (size_t i = 0; of->refs && i < refs_count(of->refs); i++) {
		refs_at(of->refs, i, &at);
		if (!lsrefs_match(prefixes, at.name) ||
		    (own->refs && refs_find(own->refs, at.name, &(struct refs_info){ 0 })))
			continue;
		if (refs_find(r->main.refs, at.name, &at))
			add(l, &at);
	}
}

struct refs_listing *scopes_union(struct repo *r, const struct scope *own, struct slices prefixes)
{
	struct refs_listing *l = refs_listing_new(refs_format(own->refs));
	struct refs_info at;
	size_t pos = 0;
	void *scope;

	for (size_t i = 0; i < refs_count(own->refs); i++) {
		refs_at(own->refs, i, &at);
		if (lsrefs_match(prefixes, at.name) && (at.seen || at.seen_unborn))
			add(l, &at);
	}
	while (r->main.refs && map_next(r->scopes, &pos, NULL, &scope))
		if (scope != own)
			add_others(r, own, scope, prefixes, l);
	return l;
}

struct refs *scopes_servable_of(const struct refs *own, const struct refs *main)
{
	struct lsref *items = xcalloc(refs_count(own) + 1, sizeof(*items));
	struct refs_info *infos = xcalloc(refs_count(own) + 1, sizeof(*infos));
	struct refs *made;
	size_t n = 0;

	for (size_t i = 0; i < refs_count(own); i++) {
		struct refs_info *at = &infos[n];

		refs_at(own, i, at);
		if (!at->seen || !(refs_has_oid(main, at->seen) & REFS_HAS_SERVABLE))
			continue;
		items[n++] = (struct lsref){ .name = at->name, .oid = *at->seen, .symref = at->seen_symref,
					     .has_peeled = at->seen_peeled != NULL,
					     .peeled = at->seen_peeled ? *at->seen_peeled : (struct oid){ { 0 } } };
	}
	made = refs_set_servable(own, items, n, true);
	free(items);
	free(infos);
	return made;
}

void scopes_make_room(struct repo *r)
{
	while (map_count(r->scopes) >= SCOPES_MOST) {
		struct slice key, oldest_key = { NULL, 0 };
		struct grant_key dropped;
		int64_t oldest = INT64_MAX;
		struct scope *s;
		size_t pos = 0;
		void *v;

		while (map_next(r->scopes, &pos, &key, &v)) {
			int64_t contact =
				((struct scope *)v)->refs ? refs_contact_wall_ms(((struct scope *)v)->refs) : 0;

			if (contact < oldest) {
				oldest = contact;
				oldest_key = key;
			}
		}
		memcpy(dropped.bytes, oldest_key.p, sizeof(dropped.bytes));
		pthread_mutex_lock(&r->lock);
		s = map_remove(r->scopes, (struct slice){ (const char *)dropped.bytes, sizeof(dropped.bytes) });
		pthread_mutex_unlock(&r->lock);
		repo_disk_drop_scope(r, &dropped);
		repo_scope_free(s);
	}
}
