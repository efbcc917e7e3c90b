/* blob.h -- immutable bytes shared by counting: answers kept in memory and sent by many connections at once.
 * Any thread; the bytes never change after blob_new_take(). */
#ifndef WEIR_BASE_BLOB_H
#define WEIR_BASE_BLOB_H

#include "base/buf.h"

struct blob;

struct blob *blob_new_take(struct buf *b);           /* takes b's memory; b is empty afterwards; one reference */
struct blob *blob_new_copy(const void *p, size_t n); /* one reference */
/* Bytes that are there for ever, such as those of the program itself: not copied. One reference. */
struct blob *blob_new_static(const void *p, size_t n);
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob **b); /* *b may be NULL; *b is NULL afterwards */
struct slice blob_slice(const struct blob *b); /* valid while a reference is held */

#endif
