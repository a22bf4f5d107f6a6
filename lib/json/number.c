/*
 * number.c - are two numbers the same, exactly?
 *
 * By their digits as written, never through a rounded binary or decimal type: 1e2 is 100 is 100.00, and nothing else
 * is.
 */
#include "json/json.h"

/** ±0.d1d2… × 10^exponent: the significant digits lie in text[first..end), a point among them is passed over. */
typedef struct Number {
    Str text;
    bool negative, simple; /* simple: exponent is small enough to be reckoned with */
    size_t first, end;     /* first == end: zero */
    int64_t exponent;
} Number;

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static int64_t exponent_of(Str text, size_t at, bool *ret_simple) {
    bool negative = text.p[at] == '-';
    if (negative || text.p[at] == '+')
        at++;
    uint64_t value = 0;
    *ret_simple = str_to_u64(str_slice(text, at, text.n), 1000000000, &value) == ERR_OK;
    return negative ? -(int64_t)value : (int64_t)value;
}

static Number number_of(Str text) {
    Number n = {.text = text, .simple = true};
    size_t at = 0, point = SIZE_MAX;
    n.negative = text.p[0] == '-';
    n.first = SIZE_MAX;
    for (at = n.negative; at < text.n && (text.p[at] | 0x20) != 'e'; at++) {
        if (text.p[at] == '.')
            point = at;
        else if (text.p[at] != '0') {
            n.first = MIN_OF(n.first, at);
            n.end = at + 1;
        }
    }
    size_t digits_end = MIN_OF(at, point);
    if (n.first == SIZE_MAX) { /* zero, whatever its sign and exponent */
        n.first = n.end = 0;
        n.negative = false;
        return n;
    }
    if (at < text.n)
        n.exponent = exponent_of(text, at + 1, &n.simple);
    n.exponent += n.first < digits_end ? (int64_t)(digits_end - n.first) : -(int64_t)(n.first - digits_end - 1);
    return n;
}

bool json_number_same(Str a, Str b) {
    if (str_eq(a, b))
        return true;
    Number x = number_of(a), y = number_of(b);
    if (!x.simple || !y.simple || x.negative != y.negative || x.exponent != y.exponent)
        return false;
    size_t i = x.first, j = y.first;
    for (;;) {
        i += i < x.end && !is_digit(a.p[i]);
        j += j < y.end && !is_digit(b.p[j]);
        if (i >= x.end || j >= y.end)
            return i >= x.end && j >= y.end;
        if (a.p[i++] != b.p[j++])
            return false;
    }
}
