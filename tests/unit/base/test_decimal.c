/*
 * test_decimal.c - prices as the recordings have them (contracts/http/05-events-price.json), and the edges of
 * System.Decimal.
 */
#include "base/decimal.h"

#include "unit.h"

static Decimal dec(const char *text) {
    Decimal d;
    assert_int_equal(decimal_parse(str_c(text), &d), ERR_OK);
    return d;
}

static const char *shown(Decimal d) {
    static char text[DECIMAL_TEXT_MAX + 1];
    size_t n = decimal_format(d, text);
    assert_true(n <= DECIMAL_TEXT_MAX);
    text[n] = '\0';
    return text;
}

/* ticket: what the message carried and the tickets show; event: the same after numeric(18,2). */
static const struct {
    const char *sent, *ticket, *event;
} recorded[] = {
    {"0", "0", "0.00"},
    {"-1", "-1", "-1.00"},
    {"-0", "0", "0.00"},
    {"-0.0", "0.0", "0.00"},
    {"12.5", "12.5", "12.50"},
    {"12.50", "12.50", "12.50"},
    {"12.500", "12.500", "12.50"},
    {"12.345", "12.345", "12.35"},
    {"12.355", "12.355", "12.36"},
    {"12.335", "12.335", "12.34"},
    {"-12.345", "-12.345", "-12.35"},
    {"0.005", "0.005", "0.01"},
    {"0.015", "0.015", "0.02"},
    {"0.004", "0.004", "0.00"},
    {"1e2", "100", "100.00"},
    {"1E2", "100", "100.00"},
    {"1e+2", "100", "100.00"},
    {"1.5e1", "15", "15.00"},
    {"125e-1", "12.5", "12.50"},
    {"1e-2", "0.01", "0.01"},
    {"1e-3", "0.001", "0.00"},
    {"100", "100", "100.00"},
    {"100.0", "100.0", "100.00"},
    {"100.00", "100.00", "100.00"},
    {"9999999999999999.99", "9999999999999999.99", "9999999999999999.99"},
    {"9999999999999999.994", "9999999999999999.994", "9999999999999999.99"},
    {"0.1234567890123456789012345678", "0.1234567890123456789012345678", "0.12"},
    {"0.12345678901234567890123456789", "0.1234567890123456789012345679", "0.12"},
    {"12.34567890123456789012345678901234567890", "12.345678901234567890123456789", "12.35"},
};

static void recorded_prices(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(recorded); i++) {
        CASE(recorded[i].sent);
        Decimal d = dec(recorded[i].sent), rounded;
        assert_string_equal(shown(d), recorded[i].ticket);
        assert_int_equal(decimal_rescale(d, 2, &rounded), ERR_OK);
        assert_string_equal(shown(rounded), recorded[i].event);
    }
}

static const struct {
    const char *text, *want;
} edges[] = {
    {"79228162514264337593543950335", "79228162514264337593543950335"},
    {"-79228162514264337593543950335", "-79228162514264337593543950335"},
    {"79228162514264337593543950335.4", "79228162514264337593543950335"},
    {"7.9228162514264337593543950335", "7.9228162514264337593543950335"},
    {"7.9228162514264337593543950336", "7.922816251426433759354395034"},
    {"7.92281625142643375935439503355", "7.922816251426433759354395034"},
    {"1e28", "10000000000000000000000000000"},
    {"0.00", "0.00"},
    {"00012.50", "12.50"},
    {"0e5", "0"},
    {"0e400", "0"},
    {"0e-5", "0.00000"},
    {"0e-400", "0.0000000000000000000000000000"},
    {"1e-28", "0.0000000000000000000000000001"},
    {"5e-29", "0.0000000000000000000000000000"},        /* half, to even */
    {"15e-29", "0.0000000000000000000000000002"},       /* half, to even */
    {"25e-29", "0.0000000000000000000000000002"},       /* half, to even */
    {"2500e-31", "0.0000000000000000000000000002"},     /* half with zeros behind */
    {"25000001e-35", "0.0000000000000000000000000003"}, /* over half by a distant digit */
    {"6e-29", "0.0000000000000000000000000001"},
    {"9e-30", "0.0000000000000000000000000000"},
    {"1e-400", "0.0000000000000000000000000000"},
    {"1e-99999999999999999999", "0.0000000000000000000000000000"},
    {"-1e-400", "0.0000000000000000000000000000"},
    {".5", "0.5"}, /* only strings carry these four to us */
    {"5.", "5"},
    {"+5", "5"},
    {"-.5", "-0.5"},
};

static void edges_of_the_range(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        CASE(edges[i].text);
        assert_string_equal(shown(dec(edges[i].text)), edges[i].want);
    }
}

static const struct {
    const char *text;
    Err want;
} refused[] = {
    {"79228162514264337593543950336", ERR_LIMIT},
    {"79228162514264337593543950335.5", ERR_LIMIT},
    {"1e29", ERR_LIMIT},
    {"1e400", ERR_LIMIT},
    {"1e99999999999999999999", ERR_LIMIT},
    {"123456789012345678901234567890", ERR_LIMIT},
    {"", ERR_SYNTAX},
    {"abc", ERR_SYNTAX},
    {"NaN", ERR_SYNTAX},
    {"Infinity", ERR_SYNTAX},
    {"-", ERR_SYNTAX},
    {".", ERR_SYNTAX},
    {"-.", ERR_SYNTAX},
    {"--1", ERR_SYNTAX},
    {"1.2.3", ERR_SYNTAX},
    {"1e", ERR_SYNTAX},
    {"1e+", ERR_SYNTAX},
    {"1e1.5", ERR_SYNTAX},
    {"1_000", ERR_SYNTAX},
    {"1,000", ERR_SYNTAX},
    {"0x10", ERR_SYNTAX},
    {" 1", ERR_SYNTAX},
    {"1 ", ERR_SYNTAX},
};

static void what_is_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        CASE(refused[i].text);
        Decimal d = decimal_from_i64(7);
        assert_int_equal(decimal_parse(str_c(refused[i].text), &d), refused[i].want);
        assert_string_equal(shown(d), "7"); /* untouched */
    }
}

static const struct {
    const char *a, *b;
    int want;
} orders[] = {
    {"12.50", "12.5", 0},
    {"-0", "0.00", 0},
    {"1", "2", -1},
    {"-1", "-2", 1},
    {"-1", "1", -1},
    {"0.1", "0.01", 1},
    {"79228162514264337593543950335", "0.0000000000000000000000000001", 1},
    {"-79228162514264337593543950335", "79228162514264337593543950335", -1},
    {"1.0000000000000000000000000001", "1", 1},
};

static void ordered_by_value(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        CASE(orders[i].a);
        assert_int_equal(decimal_compare(dec(orders[i].a), dec(orders[i].b)), orders[i].want);
        assert_int_equal(decimal_compare(dec(orders[i].b), dec(orders[i].a)), -orders[i].want);
    }
}

static const struct {
    const char *text;
    uint8_t scale;
    Err want;
    const char *shown;
} rescales[] = {
    {"1.005", 2, ERR_OK, "1.01"},
    {"-1.005", 2, ERR_OK, "-1.01"},
    {"1.0049999", 2, ERR_OK, "1.00"},
    {"0.5", 0, ERR_OK, "1"},
    {"0", 28, ERR_OK, "0.0000000000000000000000000000"},
    {"7", 28, ERR_OK, "7.0000000000000000000000000000"},
    {"8", 28, ERR_LIMIT, NULL},
    {"79228162514264337593543950335", 1, ERR_LIMIT, NULL},
    {"1", 29, ERR_LIMIT, NULL},
    {"7.9228162514264337593543950335", 0, ERR_OK, "8"},
};

static void rescaled_half_away_from_zero(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rescales); i++) {
        CASE(rescales[i].text);
        Decimal d;
        assert_int_equal(decimal_rescale(dec(rescales[i].text), rescales[i].scale, &d), rescales[i].want);
        if (rescales[i].want == ERR_OK)
            assert_string_equal(shown(d), rescales[i].shown);
    }
}

static void small_helpers(void **state) {
    (void)state;
    assert_int_equal(decimal_whole_digits(dec("0.99")), 0);
    assert_int_equal(decimal_whole_digits(dec("9999999999999999.99")), 16);
    assert_int_equal(decimal_whole_digits(dec("-79228162514264337593543950335")), 29);
    assert_string_equal(shown(decimal_normalize(dec("100.00"))), "100");
    assert_string_equal(shown(decimal_normalize(dec("0.000"))), "0");
    assert_string_equal(shown(decimal_normalize(dec("12.340"))), "12.34");
    assert_string_equal(shown(decimal_from_i64(INT64_MIN)), "-9223372036854775808");
    Buf buf = buf_new(NULL, 100);
    buf_add_decimal(&buf, dec("12.50"));
    buf_add_decimal(&buf, dec("-79228162514264337593.543950335"));
    assert_true(str_eq_c(buf_str(&buf), "12.50-79228162514264337593.543950335"));
    buf_done(&buf);
}

/* A lexeme of any length costs no memory and ends. */
static void a_very_long_lexeme(void **state) {
    (void)state;
    static char text[100001];
    memset(text, '0', 100000);
    text[1] = '.';
    text[99999] = '9';
    assert_string_equal(shown(dec(text)), "0.0000000000000000000000000000");
    memset(text, '9', 100000);
    Decimal d;
    assert_int_equal(decimal_parse(str_c(text), &d), ERR_LIMIT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_prices),
        cmocka_unit_test(edges_of_the_range),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(ordered_by_value),
        cmocka_unit_test(rescaled_half_away_from_zero),
        cmocka_unit_test(small_helpers),
        cmocka_unit_test(a_very_long_lexeme),
    };
    return cmocka_run_group_tests_name("decimal", tests, NULL, NULL);
}
