/* Problems and W3C trace context. */
#include "runtime_test.h"

static void the_first_problem_stays(void **state) {
    (void)state;
    Arena *arena CLEANUP(arena_freep) = arena_new(65536);
    Ctx ctx;
    ctx_init(&ctx, arena, 123);
    assert_int_equal(ctx.deadline_ms, 123);
    assert_true(ctx.now.ticks > 0);
    assert_int_equal(ctx.problem.code, ERR_OK);
    assert_err(ctx_problem(&ctx, ERR_INVALID, "name", "%s has %d letters", "name", 7), ERR_INVALID);
    assert_err(ctx_problem(&ctx, ERR_CONFLICT, NULL, "later"), ERR_CONFLICT);
    assert_int_equal(ctx.problem.code, ERR_INVALID);
    assert_true(str_eq_c(ctx.problem.message, "name has 7 letters"));
    assert_true(str_eq_c(ctx.problem.field, "name"));
    assert_null(ctx.problem.hint.p);
    problem_clear(&ctx);
    assert_err(ctx_problem(&ctx, ERR_CONFLICT, NULL, "later"), ERR_CONFLICT);
    assert_true(str_eq_c(ctx.problem.message, "later"));
    assert_null(ctx.problem.field.p);
}

static void a_problem_without_memory_still_has_its_kind(void **state) {
    (void)state;
    Arena *arena CLEANUP(arena_freep) = arena_new(64);
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    assert_err(ctx_problem(&ctx, ERR_LIMIT, NULL, "%01000d", 0), ERR_LIMIT);
    assert_int_equal(ctx.problem.code, ERR_LIMIT);
    assert_true(str_eq_c(ctx.problem.message, "limit"));
}

#define ID     "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static void traceparent_is_read_strictly(void **state) {
    (void)state;
    static const struct {
        const char *label, *text;
        Err want;
        int flags;
    } cases[] = {
        {"sampled", "00-" ID "-" PARENT "-01", ERR_OK, 1},
        {"not sampled", "00-" ID "-" PARENT "-00", ERR_OK, 0},
        {"unknown flags are dropped", "00-" ID "-" PARENT "-ff", ERR_OK, 1},
        {"a higher version of the same length", "cc-" ID "-" PARENT "-01", ERR_OK, 1},
        {"a higher version with more behind a dash", "01-" ID "-" PARENT "-01-what-else", ERR_OK, 1},
        {"a higher version with a bare dash", "01-" ID "-" PARENT "-01-", ERR_OK, 1},
        {"a higher version with more and no dash", "01-" ID "-" PARENT "-01x", ERR_SYNTAX, 0},
        {"version 00 with more", "00-" ID "-" PARENT "-01-x", ERR_SYNTAX, 0},
        {"version ff", "ff-" ID "-" PARENT "-01", ERR_SYNTAX, 0},
        {"upper-case id", "00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01", ERR_SYNTAX, 0},
        {"upper-case parent", "00-" ID "-B7AD6B7169203331-01", ERR_SYNTAX, 0},
        {"upper-case version", "0A-" ID "-" PARENT "-01", ERR_SYNTAX, 0},
        {"zero trace id", "00-00000000000000000000000000000000-" PARENT "-01", ERR_SYNTAX, 0},
        {"zero parent id", "00-" ID "-0000000000000000-01", ERR_SYNTAX, 0},
        {"not hexadecimal", "00-" ID "-" PARENT "-0g", ERR_SYNTAX, 0},
        {"a wrong separator", "00_" ID "-" PARENT "-01", ERR_SYNTAX, 0},
        {"the second separator", "00-" ID "_" PARENT "-01", ERR_SYNTAX, 0},
        {"the third separator", "00-" ID "-" PARENT "_01", ERR_SYNTAX, 0},
        {"one byte short", "00-" ID "-" PARENT "-0", ERR_SYNTAX, 0},
        {"a space before", " 00-" ID "-" PARENT "-01", ERR_SYNTAX, 0},
        {"empty", "", ERR_SYNTAX, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Trace trace;
        Err err = trace_parse(str_c(cases[i].text), &trace);
        if (err != cases[i].want)
            fail_msg("%s: %s", cases[i].label, err_name(err));
        static const uint8_t zero[16];
        assert_memory_not_equal(trace.trace_id, zero, 16);
        assert_memory_not_equal(trace.span_id, zero, 8);
        if (err == ERR_OK) {
            char out[TRACEPARENT_LEN];
            trace_format(&trace, out);
            assert_memory_equal(out, "00-" ID "-", 36);
            assert_memory_not_equal(out + 36, PARENT, 16); /* a new span … */
            assert_int_equal(trace.parent_id[0], 0xb7);    /* … below the caller's */
            assert_int_equal(trace.flags, cases[i].flags);
        } else {
            assert_memory_equal(trace.parent_id, zero, 8); /* a new root, sampled */
            assert_int_equal(trace.flags, 1);
        }
    }
}

static void a_prefix_is_never_read_past(void **state) {
    (void)state;
    const char *whole = "00-" ID "-" PARENT "-01";
    for (size_t n = 0; n < TRACEPARENT_LEN; n++) {
        char *exact = malloc(n + 1); /* to the byte, for the sanitizers */
        memcpy(exact, whole, n);
        Trace trace;
        assert_err(trace_parse((Str){exact, n}, &trace), ERR_SYNTAX);
        free(exact);
    }
}

static void what_is_written_can_be_read(void **state) {
    (void)state;
    for (int i = 0; i < 100; i++) {
        Trace trace;
        Trace child;
        trace_new(&trace);
        char text[TRACEPARENT_LEN];
        trace_format(&trace, text);
        assert_ok(trace_parse((Str){text, sizeof text}, &child));
        assert_memory_equal(child.trace_id, trace.trace_id, 16);
        assert_memory_equal(child.parent_id, trace.span_id, 8);
        assert_int_equal(child.flags, trace.flags);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_problem_stays),      cmocka_unit_test(a_problem_without_memory_still_has_its_kind),
        cmocka_unit_test(traceparent_is_read_strictly), cmocka_unit_test(a_prefix_is_never_read_past),
        cmocka_unit_test(what_is_written_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
