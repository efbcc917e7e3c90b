/* target.h -- what a request to the git listener is about: host, repository, service.
 *
 * Path form `/<host>[:port]/<path>[.git]/<suffix>` and absolute form `http://<host>[:port]/<path>[.git]/<suffix>`. The
 * raw target is read, never a decoded one; whatever could mean two things is refused. Names are canonical: variants of
 * one repository get one name. Pure; any thread. */
#ifndef WEIR_PROTO_TARGET_H
#define WEIR_PROTO_TARGET_H

#include "proto/url.h"

#define TARGET_MAX_BYTES 2048   /* of the raw target, query included: WEIR_E_TOO_LARGE */
#define TARGET_MAX_SEGMENTS 32  /* of the repository's path: WEIR_E_TOO_LARGE */
#define TARGET_MAX_SEGMENT 255  /* bytes of a canonical segment: WEIR_E_TOO_LARGE */
#define TARGET_PATH_ROOM (3 * TARGET_MAX_BYTES + 1) /* escaping a byte triples it */

enum target_kind {
	TARGET_INFO_REFS,    /* .../info/refs: see service */
	TARGET_UPLOAD_PACK,  /* .../git-upload-pack */
	TARGET_RECEIVE_PACK, /* .../git-receive-pack */
	TARGET_OTHER,        /* files of the dumb protocol, info/lfs, archives, or no git at all */
};

enum target_service { /* the query's service= */
	TARGET_SERVICE_NONE, /* absent: a dumb client */
	TARGET_SERVICE_UPLOAD_PACK,
	TARGET_SERVICE_RECEIVE_PACK,
	TARGET_SERVICE_OTHER,
};

struct target {
	enum target_kind kind;
	enum target_service service; /* INFO_REFS only, else NONE */
	bool absolute;
	char host[URL_HOSTPORT_ROOM]; /* canonical: see url_normalize_hostport() */
	/* Repository without host: "org/repo". One trailing ".git" removed; escapes upper case, those of unreserved
	 * bytes decoded; case kept; no empty, "." or ".." segment, none begins with '-'. OTHER: up to the segment that
	 * ends in ".git" when there is one, otherwise all of the path. */
	char path[TARGET_PATH_ROOM];
	/* The same with ".git" as it was sent: what upstream is asked for. */
	char sent_path[TARGET_PATH_ROOM];
	char rest[TARGET_PATH_ROOM];  /* OTHER: canonical path below the repository, without leading '/'; else empty */
	struct slice query;           /* borrowed from the raw target: after '?', p NULL: none */
	struct slice origin_form;     /* borrowed: path and query, as an origin server would have been sent them */
};

/* 0; WEIR_E_PARSE; WEIR_E_TOO_LARGE; with *ret_why (may be NULL) a static English sentence. *ret is undefined then. */
int target_parse(struct slice raw, struct target *ret, const char **ret_why);
/* "host/org/repo": the repository's one name everywhere (keys, logs, metrics of one repository, admin API). */
void target_repo_key(const struct target *t, struct buf *out);
/* Reads such a name as people type it (host/path with or without .git, or a URL of it) into host, path and sent_path;
 * kind is OTHER. Same rules and errors as target_parse(). */
int target_parse_repo(struct slice name, struct target *ret, const char **ret_why);

#endif
