/*
 * test_codec.c - parameters on the wire, byte by byte, and numeric both ways. No server needed.
 */
#include <stdlib.h>

#include "../base/unit.h"
#include "pg/pg.h"
#include "pg/pg_numeric.h"

static const struct {
    const char *text, *wire; /* wire: int16s in hexadecimal: digits, weight, sign, scale, digits … */
} numerics[] = {
    {"0", "0000 0000 0000 0000"},
    {"0.00", "0000 0000 0000 0002"},
    {"1", "0001 0000 0000 0000 0001"},
    {"-1", "0001 0000 4000 0000 0001"},
    {"12.5", "0002 0000 0000 0001 000c 1388"},
    {"12.50", "0002 0000 0000 0002 000c 1388"},
    {"12.500000", "0002 0000 0000 0006 000c 1388"},
    {"-12.345", "0002 0000 4000 0003 000c 0d7a"},
    {"10000", "0001 0001 0000 0000 0001"},
    {"100000000", "0001 0002 0000 0000 0001"},
    {"100010000", "0002 0002 0000 0000 0001 0001"},
    {"0.0001", "0001 ffff 0000 0004 0001"},
    {"0.00001", "0001 fffe 0000 0005 03e8"},
    {"9999.9999", "0002 0000 0000 0004 270f 270f"},
    {"0.1234567890123456789012345678", "0007 ffff 0000 001c 04d2 162e 2334 0d80 1ed2 04d2 162e"},
    {"79228162514264337593543950335", "0008 0007 0000 0000 0007 240c 0659 0592 10f1 172f 112b 014f"},
    {"7.9228162514264337593543950335", "0008 0000 0000 001c 0007 240c 0659 0592 10f1 172f 112b 014f"},
};

static size_t wire_bytes(const char *hex, char *out) {
    size_t n = 0;
    for (char *end; *hex != '\0'; hex = end) {
        unsigned long value = strtoul(hex, &end, 16);
        out[n++] = (char)(value >> 8);
        out[n++] = (char)value;
    }
    return n;
}

static void numeric_both_ways(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(numerics); i++) {
        CASE(numerics[i].text);
        Decimal d;
        assert_int_equal(decimal_parse(str_c(numerics[i].text), &d), ERR_OK);
        uint8_t got[PG_NUMERIC_BYTES_MAX];
        size_t n = pg_numeric_encode(d, got);
        char want[64];
        assert_int_equal(n, wire_bytes(numerics[i].wire, want));
        assert_int_equal(memcmp(got, want, n), 0);
        Decimal back;
        assert_int_equal(pg_numeric_decode((Str){(char *)got, n}, &back), ERR_OK);
        assert_int_equal(memcmp(&back, &d, sizeof d), 0);
    }
}

static const struct {
    const char *label, *wire;
    Err want;
    const char *text;
} decoded[] = {
    {"NaN", "0000 0000 c000 0000", ERR_LIMIT, NULL},
    {"infinity", "0000 0000 d000 0000", ERR_LIMIT, NULL},
    {"minus infinity", "0000 0000 f000 0000", ERR_LIMIT, NULL},
    {"one more than the widest", "0008 0007 0000 0000 0007 240c 0659 0592 10f1 172f 112b 0150", ERR_LIMIT, NULL},
    {"10^29", "0001 0007 0000 0000 000a", ERR_LIMIT, NULL},
    {"10^28", "0001 0007 0000 0000 0001", ERR_OK, "10000000000000000000000000000"},
    {"10^28 with two decimals: there is no room for them", "0001 0007 0000 0002 0001", ERR_OK,
     "10000000000000000000000000000"},
    {"weight beyond everything", "0001 7fff 0000 0000 0001", ERR_LIMIT, NULL},
    {"one, shown with 30 decimals", "0001 0000 0000 001e 0001", ERR_OK, "1.0000000000000000000000000000"},
    {"a digit in the 29th decimal is not rounded away", "0001 fff8 0000 001d 03e8", ERR_LIMIT, NULL},
    {"zero with 40 decimals", "0000 0000 0000 0028", ERR_OK, "0.0000000000000000000000000000"},
    {"cut short", "0002 0000 0000 0000 0001", ERR_SYNTAX, NULL},
    {"too long", "0000 0000 0000 0000 0001", ERR_SYNTAX, NULL},
    {"no header", "0000 0000", ERR_SYNTAX, NULL},
    {"a digit of 10000", "0001 0000 0000 0000 2710", ERR_SYNTAX, NULL},
    {"a negative digit", "0001 0000 0000 0000 ffff", ERR_SYNTAX, NULL},
    {"a negative count", "ffff 0000 0000 0000", ERR_SYNTAX, NULL},
};

static void numeric_at_its_edges(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(decoded); i++) {
        CASE(decoded[i].label);
        char wire[64];
        size_t n = wire_bytes(decoded[i].wire, wire);
        Decimal d = {.lo = 77};
        assert_int_equal(pg_numeric_decode((Str){wire, n}, &d), decoded[i].want);
        if (decoded[i].want != ERR_OK) {
            assert_int_equal(d.lo, 77); /* untouched */
            continue;
        }
        char text[DECIMAL_TEXT_MAX + 1] = {0};
        decimal_format(d, text);
        assert_string_equal(text, decoded[i].text);
    }
}

static void minus_zero_is_zero(void **state) {
    (void)state;
    uint8_t got[PG_NUMERIC_BYTES_MAX];
    assert_int_equal(pg_numeric_encode((Decimal){.negative = 1, .scale = 1}, got), 8);
    assert_int_equal(memcmp(got, "\0\0\0\0\0\0\0\1", 8), 0);
}

static void arrays_on_the_wire(void **state) {
    (void)state;
    Arena *arena = arena_new(1 << 20);
    PgParams params;
    pg_params_init(&params, arena);
    pg_array_begin(&params, OID_INT4_ARRAY);
    pg_array_end(&params);
    pg_array_begin(&params, OID_TEXT_ARRAY);
    pg_array_text(&params, STR("a"));
    pg_array_text(&params, (Str){NULL, 0});
    pg_array_text(&params, STR(""));
    pg_array_end(&params);
    pg_add_null(&params, OID_UUID);

    static const char empty[] = "\0\0\0\0\0\0\0\0\0\0\0\x17";
    static const char texts[] = "\0\0\0\1\0\0\0\1\0\0\0\x19\0\0\0\3\0\0\0\1\0\0\0\1a\xff\xff\xff\xff\0\0\0\0";
    assert_int_equal(params.n, 3);
    assert_int_equal(params.lengths[0], sizeof empty - 1);
    assert_int_equal(memcmp(params.data.p + params.at[0], empty, sizeof empty - 1), 0);
    assert_int_equal(params.lengths[1], sizeof texts - 1);
    assert_int_equal(memcmp(params.data.p + params.at[1], texts, sizeof texts - 1), 0);
    assert_true(params.nulls[2] && !params.nulls[1]);
    arena_free(arena);
}

static void refused_memory_is_remembered(void **state) {
    (void)state;
    Arena *arena = arena_new(1 << 20);
    for (uint64_t n = 1; n <= 2; n++) {
        PgParams params;
        pg_params_init(&params, arena);
        arena_fail_nth(n);
        pg_array_begin(&params, OID_UUID_ARRAY);
        for (int i = 0; i < 4000; i++)
            pg_array_id(&params, (Id){0});
        pg_array_end(&params);
        arena_fail_nth(0);
        assert_int_equal(params.data.err, ERR_NO_MEMORY);
    }
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numeric_both_ways),
        cmocka_unit_test(numeric_at_its_edges),
        cmocka_unit_test(minus_zero_is_zero),
        cmocka_unit_test(arrays_on_the_wire),
        cmocka_unit_test(refused_memory_is_remembered),
    };
    return cmocka_run_group_tests_name("pg: values on the wire", tests, NULL, NULL);
}
