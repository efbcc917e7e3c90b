/* advert_format.c -- writes what weir says of itself at info/refs.
 *
 * WHAT     The v2 capability advertisement, the capabilities of a v0/v1 one, and the lines of the latter.
 * WHY      A request may be answered by the local upload-pack or passed on to upstream, and the client must not notice
 *          which: only what both keep is promised.
 * RULES    1. Never ref-in-want (the answer would depend on where a ref stands later), packfile-uris and bundle-uri
 *             (the client would go past us), session-id.
 *          2. object-format is always said: without it a client takes SHA-1.
 * SEE      docs/DESIGN.md, "Git, in depth"; gitprotocol-capabilities(5); gitprotocol-v2(5), "Capabilities" */
#include "proto/advert.h"

/* Features of the v2 fetch command that may be promised, and the v0 capability that shows the same of an upstream
 * without v2 (NULL: none does). */
static const struct {
	const char *name, *in_v0;
} fetch_features[] = {
	{ "shallow", "shallow" },
	{ "wait-for-done", NULL },
	{ "filter", "filter" },
	{ "sideband-all", NULL },
};

void advert_add_service(struct buf *out, const char *service)
{
	pkt_addf(out, "# service=%s\n", service);
	pkt_add_flush(out);
}

static bool keeps_feature(const struct advert *a, size_t i)
{
	if (!a || a->version < 0)
		return true;
	if (a->version == 2)
		return advert_has_feature(a, "fetch", fetch_features[i].name);
	return fetch_features[i].in_v0 && advert_has(a, fetch_features[i].in_v0, NULL);
}

/* A whole v2 capability; upstreams without v2 have none of those asked for here. */
static bool keeps(const struct advert *a, const char *capability)
{
	if (!a || a->version < 0)
		return true;
	return a->version == 2 && advert_has(a, capability, NULL);
}

static bool keeps_unborn(const struct advert *a)
{
	if (!a || a->version < 0)
		return true;
	return a->version == 2 && advert_has_feature(a, "ls-refs", "unborn");
}

void advert_add_v2(struct buf *out, const struct advert *upstream, const struct advert *local, enum oid_format format,
		   const char *agent)
{
	size_t i, at;
	char before = '=';

	pkt_add_str(out, "version 2\n");
	pkt_addf(out, "agent=%s\n", agent);
	pkt_add_str(out, keeps_unborn(upstream) && keeps_unborn(local) ? "ls-refs=unborn\n" : "ls-refs\n");
	at = pkt_begin(out);
	buf_add_str(out, "fetch");
	for (i = 0; i < sizeof(fetch_features) / sizeof(fetch_features[0]); i++) {
		if (!keeps_feature(upstream, i) || !keeps_feature(local, i))
			continue;
		buf_add_char(out, before);
		buf_add_str(out, fetch_features[i].name);
		before = ' ';
	}
	buf_add_char(out, '\n');
	pkt_end(out, at);
	if (keeps(upstream, "server-option") && keeps(local, "server-option"))
		pkt_add_str(out, "server-option\n");
	pkt_addf(out, "object-format=%s\n", oid_format_text(format == OID_UNKNOWN ? OID_SHA1 : format));
	if (keeps(upstream, "object-info") && keeps(local, "object-info"))
		pkt_add_str(out, "object-info\n");
	pkt_add_flush(out);
}

/* Whether upstream, of whatever version, goes along with a capability that the local v0 upload-pack offers. */
static bool upstream_keeps_v0(const struct advert *up, struct slice word)
{
	bool shallow = slice_eq_str(word, "shallow") || slice_starts(word, "deepen-");

	if (slice_eq_str(word, "multi_ack") || slice_eq_str(word, "side-band") || slice_eq_str(word, "no-progress"))
		return true;    /* what every server that is still alive knows */
	if (!up || up->version < 0)
		return true;
	if (up->version < 2) {
		struct buf name = BUF_EMPTY;
		bool has;

		buf_add_slice(&name, word);
		has = advert_has(up, name.data, NULL);
		buf_fini(&name);
		return has;
	}
	if (shallow)
		return advert_has_feature(up, "fetch", "shallow");
	if (slice_eq_str(word, "filter"))
		return advert_has_feature(up, "fetch", "filter");
	return true;
}

void advert_add_v0_caps(struct buf *out, const struct advert *upstream, const struct advert *local,
			enum oid_format format, const char *agent)
{
	/* What upload-pack keeps since git 2.11, for when there is no v0 advertisement of the local one to read it off:
	 * git before 2.42 names none in a repository without refs, and a v2 advertisement speaks of v2. */
	static const char since_2_11[] =
		"multi_ack\nthin-pack\nside-band\nside-band-64k\nofs-delta\nshallow\ndeepen-since\n"
		"deepen-not\ndeepen-relative\nno-progress\ninclude-tag\nmulti_ack_detailed\nno-done\n";
	bool listed = local && local->version >= 0 && local->version < 2 && local->caps.len;
	struct slice rest = listed ? buf_slice(&local->caps) : slice_str(since_2_11), word;

	while (rest.n) {
		(void)slice_cut(&rest, '\n', &word);
		/* Words with a value (agent, session-id, symref, object-format) speak of local, not of us. */
		if (slice_find(word, '=') >= 0 || !upstream_keeps_v0(upstream, word))
			continue;
		buf_add_slice(out, word);
		buf_add_char(out, ' ');
	}
	if (!listed && local && advert_has_feature(local, "fetch", "filter") &&
	    upstream_keeps_v0(upstream, slice_str("filter")))
		buf_add_str(out, "filter ");
	buf_addf(out, "object-format=%s agent=%s", oid_format_text(format == OID_UNKNOWN ? OID_SHA1 : format), agent);
}

void advert_add_v0_version(struct buf *out, int version)
{
	if (version == 1)
		pkt_add_str(out, "version 1\n");
}

static void add_v0_line(struct buf *out, enum oid_format f, const struct oid *id, struct slice name, const char *suffix,
			struct slice caps)
{
	size_t at = pkt_begin(out);

	oid_add_hex(out, f, id);
	buf_add_char(out, ' ');
	buf_add_slice(out, name);
	buf_add_str(out, suffix);
	if (caps.n) {
		buf_add_char(out, '\0');
		buf_add_slice(out, caps);
	}
	buf_add_char(out, '\n');
	pkt_end(out, at);
}

void advert_add_v0_ref(struct buf *out, enum oid_format f, const struct lsref *ref, struct slice caps)
{
	add_v0_line(out, f, &ref->oid, ref->name, "", caps);
	if (ref->has_peeled)
		add_v0_line(out, f, &ref->peeled, ref->name, "^{}", (struct slice){ 0 });
}

void advert_add_v0_empty(struct buf *out, enum oid_format f, struct slice caps)
{
	static const struct oid null;

	add_v0_line(out, f, &null, slice_str("capabilities"), "^{}", caps);
}
