/*
 * test_buf.c - growing bytes: the maximum, the sticky error, and what each append writes.
 */
#include "base/buf.h"
#include "base/heap.h"

#include "unit.h"

static void what_appends_write(void **state) {
    (void)state;
    Buf buf = buf_new(NULL, 1000);
    assert_true(buf_str(&buf).p != NULL && buf_str(&buf).n == 0);
    buf_add(&buf, STR("a"));
    buf_add(&buf, (Str){NULL, 0});
    buf_add_c(&buf, "bc");
    buf_add_char(&buf, 'd');
    buf_add_bytes(&buf, "e\0f", 3);
    buf_printf(&buf, "%d|%s", 42, "x");
    buf_add_be16(&buf, 0x3132);
    buf_add_be32(&buf, 0x33343536);
    buf_add_be64(&buf, 0x3738394142434445);
    Str got;
    assert_int_equal(buf_finish(&buf, &got), ERR_OK);
    assert_true(str_eq(got, STR("abcde\0f42|x123456789ABCDE")));
    buf_consume(&buf, 0);
    buf_consume(&buf, 11);
    assert_true(str_eq(buf_str(&buf), STR("123456789ABCDE")));
    buf_clear(&buf);
    assert_int_equal(buf.n, 0);
    buf_done(&buf);
    buf_done(&buf); /* again is harmless */
}

static const struct {
    const char *label;
    int64_t value;
} numbers[] = {
    {"0", 0},
    {"9", 9},
    {"10", 10},
    {"99", 99},
    {"100", 100},
    {"-1", -1},
    {"12345", 12345},
    {"-100", -100},
    {"9223372036854775807", INT64_MAX},
    {"-9223372036854775808", INT64_MIN},
};

static void numbers_in_decimal(void **state) {
    (void)state;
    Buf buf = buf_new(NULL, 1000);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        CASE(numbers[i].label);
        buf_clear(&buf);
        buf_add_i64(&buf, numbers[i].value);
        assert_true(str_eq_c(buf_str(&buf), numbers[i].label));
    }
    buf_clear(&buf);
    buf_add_u64(&buf, UINT64_MAX);
    assert_true(str_eq_c(buf_str(&buf), "18446744073709551615"));
    for (uint64_t v = 1; v < UINT64_MAX / 11; v = v * 11 + v % 7) {
        char want[24];
        (void)snprintf(want, sizeof want, "%llu", (unsigned long long)v);
        buf_clear(&buf);
        buf_add_u64(&buf, v);
        assert_true(str_eq_c(buf_str(&buf), want));
    }
    buf_done(&buf);
}

static void the_maximum_is_exact_and_the_error_sticks(void **state) {
    (void)state;
    CLEANUP(arena_freep) Arena *arena = arena_new(1 << 16);
    for (int heap = 0; heap < 2; heap++) {
        Buf buf = buf_new(heap ? NULL : arena, 10);
        buf_add_c(&buf, "12345");
        buf_printf(&buf, "%s", "67890"); /* exactly full, though printf wants a NUL */
        Str got = STR("untouched");
        assert_int_equal(buf_finish(&buf, &got), ERR_OK);
        assert_true(str_eq_c(got, "1234567890"));
        buf_add_char(&buf, 'x');
        assert_int_equal(buf.err, ERR_LIMIT);
        assert_int_equal(buf.n, 10);
        buf_clear(&buf);
        buf_add_c(&buf, "12345678901");
        buf_add_char(&buf, 'x'); /* would fit, but something is missing already */
        assert_true(buf_reserve(&buf, 1) == NULL);
        buf_printf(&buf, "%d", 1);
        got = STR("untouched");
        assert_int_equal(buf_finish(&buf, &got), ERR_LIMIT);
        assert_true(str_eq_c(got, "untouched") && buf.n == 0);
        buf_clear(&buf);
        buf_printf(&buf, "%11d", 1);
        assert_int_equal(buf.err, ERR_LIMIT);
        buf_clear(&buf);
        assert_true(buf_reserve(&buf, SIZE_MAX) == NULL && buf.err == ERR_LIMIT);
        buf_done(&buf);
    }
    Buf none = buf_new(NULL, 0);
    buf_add_c(&none, "");
    assert_int_equal(none.err, ERR_OK);
    buf_add_char(&none, 'x');
    assert_int_equal(none.err, ERR_LIMIT);
    buf_done(&none);
}

static void refused_memory_is_an_error(void **state) {
    (void)state;
    Buf buf = buf_new(NULL, 1 << 20);
    buf_add_c(&buf, "kept");
    heap_fail_nth(1);
    for (int i = 0; i < 1000; i++)
        buf_add_char(&buf, 'x');
    heap_fail_nth(0);
    assert_int_equal(buf.err, ERR_NO_MEMORY);
    assert_true(str_starts_with(buf_str(&buf), STR("keptxxx")));
    buf_done(&buf);
    Arena *arena = arena_new(200);
    buf = buf_new(arena, 1 << 20);
    for (int i = 0; i < 1000; i++)
        buf_add_char(&buf, 'x');
    assert_int_equal(buf.err, ERR_NO_MEMORY);
    buf_done(&buf);
    arena_free(arena);
}

static void large_contents_survive_growing(void **state) {
    (void)state;
    Arena *arena = arena_new(8 << 20);
    for (int heap = 0; heap < 2; heap++) {
        Buf buf = buf_new(heap ? NULL : arena, 1 << 20);
        for (uint32_t i = 0; i < 1 << 18; i++)
            buf_add_be32(&buf, i);
        assert_int_equal(buf.err, ERR_OK);
        assert_int_equal(buf.n, 1 << 20);
        for (uint32_t i = 0; i < 1 << 18; i++) {
            uint32_t got;
            memcpy(&got, buf.p + (size_t)i * 4, 4);
            assert_true(__builtin_bswap32(got) == i);
        }
        buf_done(&buf);
    }
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_appends_write),
        cmocka_unit_test(numbers_in_decimal),
        cmocka_unit_test(the_maximum_is_exact_and_the_error_sticks),
        cmocka_unit_test(refused_memory_is_an_error),
        cmocka_unit_test(large_contents_survive_growing),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
