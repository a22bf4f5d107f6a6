/*
 * test_copies.c - an exchange as bytes and back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "api_gateway/copies.h"

static const Header REQUEST_HEADERS[] = {{STR_INIT("Host"), STR_INIT("x")}, {STR_INIT("Empty"), STR_INIT("")}};
static const Header ANSWER_HEADERS[] = {{STR_INIT("Location"), STR_INIT("/users/7")}};
static const Copy COPY = {.kind = COPY_EXCHANGE,
                          .route = 3,
                          .primary = BOARD_NEW,
                          .status = 201,
                          .at_us = 123456789,
                          .answer_ns = 987,
                          .method = STR_INIT("POST"),
                          .target = STR_INIT("/users?a=b"),
                          .body = STR_INIT("\"7\""),
                          .caller = STR_INIT("somebody"),
                          .request_body = STR_INIT("{\"Email\":\"a@x.io\"}"),
                          .trace = {.trace_id = {1, 2, 3}, .span_id = {4, 5}, .flags = TRACE_SAMPLED},
                          .sides = {STR_INIT("old"), STR_INIT("archive")}};

static void all_of_it_comes_back(void **state) {
    (void)state;
    Arena *arena = arena_new(1 << 20);
    Buf out = buf_new(arena, 4096);
    Copy got;
    const Header *headers;
    size_t n;
    assert_int_equal(copy_write(&out, &COPY, REQUEST_HEADERS, 2, ANSWER_HEADERS, 1), ERR_OK);
    assert_int_equal(copy_read(buf_str(&out), &got), ERR_OK);
    assert_true(got.kind == COPY.kind && got.route == COPY.route && got.primary == COPY.primary);
    assert_true(got.status == COPY.status && got.at_us == COPY.at_us && got.answer_ns == COPY.answer_ns);
    assert_true(str_eq(got.method, COPY.method) && str_eq(got.target, COPY.target) && str_eq(got.body, COPY.body));
    assert_true(str_eq(got.caller, COPY.caller) && str_eq(got.request_body, COPY.request_body));
    assert_memory_equal(got.trace.trace_id, COPY.trace.trace_id, sizeof got.trace.trace_id);
    assert_memory_equal(got.trace.span_id, COPY.trace.span_id, sizeof got.trace.span_id);
    assert_int_equal(got.trace.flags, TRACE_SAMPLED);
    assert_true(str_eq(got.sides[0], COPY.sides[0]) && str_eq(got.sides[1], COPY.sides[1]));
    assert_int_equal(copy_headers(arena, got.request_lines, &headers, &n), ERR_OK);
    assert_int_equal(n, 2);
    assert_true(str_eq_c(headers[1].name, "Empty") && headers[1].value.n == 0);
    assert_int_equal(copy_headers(arena, got.answer_lines, &headers, &n), ERR_OK);
    assert_true(n == 1 && str_eq_c(headers[0].value, "/users/7"));
    arena_free(arena);
}

static void what_is_cut_is_no_record(void **state) {
    (void)state;
    Arena *arena = arena_new(1 << 20);
    Buf out = buf_new(arena, 4096);
    Copy got;
    assert_int_equal(copy_write(&out, &COPY, REQUEST_HEADERS, 2, ANSWER_HEADERS, 1), ERR_OK);
    for (size_t n = 0; n < out.n; n++)
        assert_int_equal(copy_read(str_slice(buf_str(&out), 0, n), &got), ERR_SYNTAX);
    buf_add_char(&out, 'x');
    assert_int_equal(copy_read(buf_str(&out), &got), ERR_SYNTAX);
    arena_free(arena);
}

static void what_has_no_room_is_said_so(void **state) {
    (void)state;
    Arena *arena = arena_new(1 << 20);
    Buf out = buf_new(arena, 128);
    assert_int_equal(copy_write(&out, &COPY, REQUEST_HEADERS, 2, ANSWER_HEADERS, 1), ERR_LIMIT);
    arena_free(arena);
}

/* Otherwise a change of the record would leave the fuzzer nothing to begin with, unnoticed. */
static void seeds_of_the_fuzzer_are_records(void **state) {
    (void)state;
    static const char *const seeds[] = {"exchange", "write", "caller"};
    for (size_t i = 0; i < ARRAY_LEN(seeds); i++) {
        char path[128], bytes[4096];
        Copy got;
        (void)snprintf(path, sizeof path, "fuzz/corpus/gateway_copy/%s", seeds[i]);
        FILE *file = fopen(path, "rb");
        assert_non_null(file);
        size_t n = fread(bytes, 1, sizeof bytes, file);
        (void)fclose(file);
        assert_int_equal(copy_read((Str){bytes, n}, &got), ERR_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_it_comes_back),
        cmocka_unit_test(what_is_cut_is_no_record),
        cmocka_unit_test(what_has_no_room_is_said_so),
        cmocka_unit_test(seeds_of_the_fuzzer_are_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
