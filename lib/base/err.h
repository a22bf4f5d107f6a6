/*
 * err.h - expected failures.
 *
 * A function that can fail in an expected way returns Err and is MUST_USE. Its results go through trailing pointers
 * that are untouched on failure. Words for the caller's eyes go into a Problem (see runtime/ctx.h); Err only says which
 * kind it was. Bugs are not Errs: they are ASSERTs, on in release builds, and end the worker, which the supervisor
 * starts again.
 */
#pragma once
#include "base/macros.h"

/* How to add one: append a line; the enum, the name and the HTTP-facing mapping in api/ follow (api has a unit test for
 * it). */
#define ERR_LIST(X)                                                                                                    \
    X(ERR_OK, "ok")                                                                                                    \
    X(ERR_INVALID, "invalid") /* input breaks a rule */                                                                \
    X(ERR_SYNTAX, "syntax")   /* input is malformed */                                                                 \
    X(ERR_NOT_FOUND, "not_found")                                                                                      \
    X(ERR_CONFLICT, "conflict") /* state forbids it */                                                                 \
    X(ERR_REFUSED, "refused")   /* a policy forbids it */                                                              \
    X(ERR_LIMIT, "limit")       /* a stated bound */                                                                   \
    X(ERR_NO_MEMORY, "no_memory")                                                                                      \
    X(ERR_UNAVAILABLE, "unavailable") /* a dependency is away */                                                       \
    X(ERR_TIMEOUT, "timeout")                                                                                          \
    X(ERR_CANCELLED, "cancelled")                                                                                      \
    X(ERR_RETRY, "retry") /* serialization, deadlock: the same again may succeed */                                    \
    X(ERR_EOF, "eof")                                                                                                  \
    X(ERR_IO, "io")                                                                                                    \
    X(ERR_INTERNAL, "internal")

typedef enum Err {
#define ERR_ENUM(code, name) code,
    ERR_LIST(ERR_ENUM)
#undef ERR_ENUM
} Err;

/** Stable lower-case name of a code, for logs and tests. */
const char *err_name(Err err);

/** Returns from the calling function when the expression is not ERR_OK. */
#define TRY(expression)                                                                                                \
    do {                                                                                                               \
        Err try_err_ = (expression);                                                                                   \
        if (try_err_ != ERR_OK)                                                                                        \
            return try_err_;                                                                                           \
    } while (0)

/** A bug if false. On in every build: prints where and what, then aborts. */
#define ASSERT(condition) ((condition) ? (void)0 : assert_failed(#condition, __FILE__, __LINE__, __func__))

NORETURN void assert_failed(const char *condition, const char *file, int line, const char *function);
