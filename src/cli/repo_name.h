/* repo_name.h -- what people type for a repository, as the admin API names it. Pure; any thread. */
#ifndef WEIR_CLI_REPO_NAME_H
#define WEIR_CLI_REPO_NAME_H

#include "base/buf.h"

/* "https://github.com/org/repo.git", "git@github.com:org/repo", "github.com/org/repo" -> "github.com/org/repo". The
 * URL through weir itself ("http://127.0.0.1:8080/github.com/org/repo") is not known as such here. 0, or WEIR_E_PARSE
 * for what has no host and path; out is appended to. */
int repo_name_parse(struct slice typed, struct buf *out);

#endif
