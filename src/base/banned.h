/* banned.h -- calls that have hurt everybody are build errors here. Included by buf.h, hence everywhere. */
#ifndef WEIR_BASE_BANNED_H
#define WEIR_BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok gets atoi atol gmtime localtime ctime

#endif
