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

#define CHARS_64     "k234567890123456789012345678901234567890123456789012345678901234"
#define KEY_256      CHARS_64 CHARS_64 CHARS_64 CHARS_64
#define MEMBERS_8(c) c "1=v," c "2=v," c "3=v," c "4=v," c "5=v," c "6=v," c "7=v," c "8=v"
#define MEMBERS_32   MEMBERS_8("a") "," MEMBERS_8("b") "," MEMBERS_8("c") "," MEMBERS_8("d")

static void tracestate_is_read_strictly(void **state) {
    (void)state;
    static const struct {
        const char *label, *text;
        bool want;
    } cases[] = {
        {"one member", "rojo=00f067aa0ba902b7", true},
        {"two", "rojo=1,congo=2", true},
        {"white space around", " rojo=1 ,\tcongo=2\t", true},
        {"empty members", "rojo=1,,congo=2,", true},
        {"a tenant", "fw529a3039@dt=FfAA", true},
        {"a key that begins with a digit", "0aa=1", true},
        {"every key character", "a_-*/0=1", true},
        {"a space within a value", "a=b c", true},
        {"every other value character", "a=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~", true},
        {"the longest key", KEY_256 "=v", true},
        {"32 members", MEMBERS_32, true},
        {"33 members", MEMBERS_32 ",e=v", false},
        {"a longer key", KEY_256 "x=v", false},
        {"a longer value", "a=" KEY_256 "x", false},
        {"nothing", "", false},
        {"only commas", ", ,", false},
        {"no equals sign", "rojo", false},
        {"no key", "=1", false},
        {"no value", "rojo=", false},
        {"upper-case key", "Rojo=1", false},
        {"a key that begins with a dash", "-a=1", false},
        {"a space in a key", "a b=1", false},
        {"a second equals sign", "a=b=c", false},
        {"a control byte", "a=b\x7f", false},
        {"a tab in a value", "a=b\tc", false},
        {"a byte over 0x7F", "a=\xc3\xa9", false},
        {"the same key twice", "a=1,b=2,a=3", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (trace_state_is_valid(str_c(cases[i].text)) != cases[i].want)
            fail_msg("%s: %s", cases[i].label, cases[i].text);
    assert_false(trace_state_is_valid((Str){NULL, 0}));
    assert_false(trace_state_is_valid((Str){"a\0b=1", 6}));
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
        cmocka_unit_test(traceparent_is_read_strictly), cmocka_unit_test(tracestate_is_read_strictly),
        cmocka_unit_test(a_prefix_is_never_read_past),  cmocka_unit_test(what_is_written_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
