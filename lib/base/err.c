/*
 * err.c - names of failures, and the end of a process that found a bug in itself.
 */
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

const char *err_name(Err err) {
    switch (err) {
#define ERR_NAME(code, name)                                                                                           \
    case code:                                                                                                         \
        return name;
        ERR_LIST(ERR_NAME)
#undef ERR_NAME
    }
    return "unknown";
}

/* Straight to stderr: the log may be what is broken. */
void assert_failed(const char *condition, const char *file, int line, const char *function) {
    fprintf(stderr, "%s:%d: %s: assertion failed: %s\n", file, line, function, condition);
    fflush(stderr);
    abort();
}
