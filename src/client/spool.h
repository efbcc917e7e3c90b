/* spool.h -- the file in which a crash is kept until the next start, and what earlier runs left there.
 *
 * Opened and given its bytes on the disk beforehand, so that the handler of signals has only to write them. Format and
 * names: docs/formats/client-crash.md. */
#ifndef WEIR_CLIENT_SPOOL_H
#define WEIR_CLIENT_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#define WEIRC_SPOOL_BYTES 16384 /* of a file */
#define WEIRC_SPOOL_FILES 64    /* reports of a product in one folder; beyond, the oldest go */
#define WEIRC_SPOOL_TAKEN 16    /* reports that one start takes up, the oldest first */

struct weirc_report {
	struct weirc_report *next;
	int fd; /* locked: no other start of the program takes it up meanwhile */
	char *path;
	char session_id[129]; /* "": it was not known */
	int64_t wall_ms;      /* of the crash */
	size_t bytes;
	char tail[WEIRC_SPOOL_BYTES]; /* as encode.h makes it */
};

/* What is left of crashes of this product, the oldest first; *ret is NULL when there is none. Empty files of processes
 * that are gone are removed. folder: NULL for the usual one. 0 or a code. */
int weirc_reports_load(const char *folder, const char *product, struct weirc_report **ret);
int64_t weirc_report_age_ms(const struct weirc_report *r);
void weirc_report_done(struct weirc_report *r);  /* delivered: its file goes, and it is freed */
void weirc_reports_free(struct weirc_report *r); /* the whole list; the files stay for the next start */

/* A file for this process. *ret_path is the caller's to free. A descriptor or a code. */
int weirc_spool_open(const char *folder, const char *product, char **ret_path);

/* Writes a report; only calls that are safe in a handler of signals. tail as in weirc_report. 0 or a code. */
int weirc_spool_write(int fd, const char *session_id, int64_t wall_ms, const char *tail, size_t n);

#endif
