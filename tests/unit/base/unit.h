/*
 * unit.h - cmocka with the headers it wants, and assertions that name the row of the table they failed in.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

/* The row under test. */
UNUSED static const char *unit_row = "";
#define CASE(label) (unit_row = (label))

#undef assert_true
#define assert_true(condition)                                                                                         \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            fail_msg("[%s] %s is false", unit_row, #condition);                                                        \
    } while (0)

#undef assert_int_equal
#define assert_int_equal(a, b)                                                                                         \
    do {                                                                                                               \
        long long got_ = (long long)(a), want_ = (long long)(b);                                                       \
        if (got_ != want_)                                                                                             \
            fail_msg("[%s] %s is %lld, not %lld", unit_row, #a, got_, want_);                                          \
    } while (0)

#undef assert_string_equal
#define assert_string_equal(a, b)                                                                                      \
    do {                                                                                                               \
        const char *got_ = (a), *want_ = (b);                                                                          \
        if (strcmp(got_, want_) != 0)                                                                                  \
            fail_msg("[%s] %s is \"%s\", not \"%s\"", unit_row, #a, got_, want_);                                      \
    } while (0)
