/* admin_client.h -- how commands talk to the daemon: requests to the admin listener, JSON both ways. */
#ifndef WEIR_CLI_ADMIN_CLIENT_H
#define WEIR_CLI_ADMIN_CLIENT_H

#include <stdio.h>

#include "cli/cli_priv.h"

struct admin_client;

struct admin_answer {
	int status;   /* HTTP */
	json_t *json; /* NULL: none, or not JSON; owned, see admin_answer_fini() */
};
void admin_answer_fini(struct admin_answer *a);
/* What went wrong, for a person: problem+json's detail or title, else the status. Borrowed from the answer. */
const char *admin_answer_reason(const struct admin_answer *a);

/* Finds out where the daemon is: --admin, WEIR_ADMIN, or admin.listen of the configuration; and the token: the
 * configuration's admin.token_file (or WEIR_ADMIN_TOKEN_FILE, which is the same key). A token of the configuration
 * goes to no other address than the configuration's, unless -c named it in the same line. 0, or an exit status with a
 * line on standard error. */
int admin_client_open(const struct cli *cli, struct admin_client **ret);
void admin_client_close(struct admin_client *c); /* NULL is fine */
const char *admin_client_address(const struct admin_client *c);

/* 0 when there is an answer, whatever its status; EXIT_NO_DAEMON, or EXIT_FAILED (401, not an admin listener), with a
 * line on standard error. body may be NULL. Blocks. */
int admin_call(struct admin_client *c, const char *method, const char *target, json_t *body, struct admin_answer *ret);
/* A GET whose answer, when it is 200, goes to `to` as it comes, whatever it is; another one's JSON is in *ret. As
 * admin_call(); also EXIT_FAILED when it was cut. What could not be written shows in ferror(to). */
int admin_download(struct admin_client *c, const char *target, FILE *to, struct admin_answer *ret);
/* The items of all pages of a list, in one array; path may have a query. 0, or an exit status with a line on standard
 * error. */
int admin_list(struct admin_client *c, const char *path, json_t **ret_items);

#endif
