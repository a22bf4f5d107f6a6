/*
 * runtime_test.h - what the tests of the runtime share.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h> /* wants the above before it */

#include "runtime/co.h"

#define assert_ok(expression)        assert_err((expression), ERR_OK)
#define assert_err(expression, want) assert_string_equal(err_name(expression), err_name(want))

/** What happened, in order: each step appends one letter. */
typedef struct Story {
    char text[256];
    size_t n;
} Story;

static UNUSED void tell(Story *story, char step) {
    assert_true(story->n + 1 < sizeof story->text);
    story->text[story->n++] = step;
    story->text[story->n] = '\0';
}

/** A loop per test, freed with everything ended: what leaks or still lives fails the test. */
static UNUSED int setup_loop(void **state) {
    Loop *loop = NULL;
    assert_ok(loop_new(&loop));
    *state = loop;
    return 0;
}

static UNUSED int teardown_loop(void **state) {
    Loop *loop = *state;
    assert_int_equal(co_stats(loop).live, 0);
    loop_free(loop);
    assert_null(loop_current());
    return 0;
}

#define LOOP_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup_loop, teardown_loop)
