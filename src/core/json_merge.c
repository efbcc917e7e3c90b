/* json_merge.c -- see json_merge.h. */
#include "core/json_merge.h"

void json_merge(json_t *base, const json_t *patch)
{
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)patch, name, v)
	{ /* jansson's macro asks for one that may change */
		json_t *old = json_object_get(base, name);

		if (json_is_null(v))
			(void)json_object_del(base, name); /* it may be absent */
		else if (json_is_object(v) && json_is_object(old))
			json_merge(old, v);
		else
			(void)json_object_set_new(base, name, json_deep_copy(v)); /* fails only for what is no value */
	}
}
