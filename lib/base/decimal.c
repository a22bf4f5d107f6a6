/*
 * decimal.c - System.Decimal's numbers: a 96-bit mantissa and a scale.
 *
 * The parser follows .NET's Number.TryNumberToDecimal, whose rounding is not the textbook's: digits are taken while
 * they fit, then one half-even rounding looks at all that is left. It works on the digits in place, so a lexeme of any
 * length costs no memory. 128-bit integers replace .NET's pairs of words; the limits are the same.
 */
#include "base/decimal.h"

__extension__ typedef unsigned __int128 U128;

#define MANTISSA_MAX ((((U128)1) << 96) - 1)
#define PRECISION    29 /* digits of MANTISSA_MAX */

static U128 mantissa(Decimal d) {
    return (U128)d.hi << 64 | (uint64_t)d.mid << 32 | d.lo;
}

static Decimal make(U128 m, int scale, bool negative) {
    return (Decimal){
        .lo = (uint32_t)m,
        .mid = (uint32_t)(m >> 32),
        .hi = (uint32_t)(m >> 64),
        .scale = (uint8_t)scale,
        .negative = negative,
    };
}

/* 10^n for n ≤ 28, below 2^94. */
static U128 power10(unsigned n) {
    /* clang-format off */
    static const uint64_t low[] = {
        1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000, 100000000000,
        1000000000000, 10000000000000, 100000000000000,
    };
    /* clang-format on */
    return n < ARRAY_LEN(low) ? low[n] : (U128)low[14] * low[n - 14];
}

/* A number's text taken apart: value = 0.d1d2d3… × 10^point, the d being the digits from `at` without leading zeros. */
typedef struct Lexeme {
    const char *at, *end; /* digits, perhaps with one point among them */
    int64_t point;
    bool negative;
} Lexeme;

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* [e[±]digits]. One past 32 bits is taken as 32 bits (as Utf8Parser does): far beyond any scale, and `point` cannot
 * overflow. */
static Err read_exponent(Str s, Lexeme *ret) {
    if (s.n < 2 || (s.p[0] | 0x20) != 'e')
        return ERR_SYNTAX;
    bool sign = s.p[1] == '-' || s.p[1] == '+';
    uint64_t exponent;
    Err err = str_to_u64(str_slice(s, sign ? 2 : 1, s.n), UINT32_MAX, &exponent);
    if (err == ERR_LIMIT)
        exponent = UINT32_MAX;
    else if (err != ERR_OK)
        return err;
    ret->point += s.p[1] == '-' ? -(int64_t)exponent : (int64_t)exponent;
    return ERR_OK;
}

static Err read_lexeme(Str s, Lexeme *ret) {
    size_t i = 0;
    if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+'))
        ret->negative = s.p[i++] == '-';
    size_t digits = 0, whole = 0;
    bool fraction = false, leading = true;
    ret->at = s.p + i;
    for (; i < s.n && (is_digit(s.p[i]) || (s.p[i] == '.' && !fraction)); i++) {
        if (s.p[i] == '.') {
            fraction = true;
            continue;
        }
        digits++;
        if (leading && s.p[i] == '0') {
            ret->point -= fraction;
            ret->at = s.p + i + 1;
            continue;
        }
        leading = false;
        whole += !fraction;
    }
    if (digits == 0)
        return ERR_SYNTAX;
    ret->end = s.p + i;
    ret->point += (int64_t)whole;
    return i == s.n ? ERR_OK : read_exponent(str_slice(s, i, s.n), ret);
}

/* The next digit, or -1 behind the last. */
static int next_digit(Lexeme *lexeme) {
    if (lexeme->at < lexeme->end && *lexeme->at == '.')
        lexeme->at++;
    return lexeme->at < lexeme->end ? *lexeme->at++ - '0' : -1;
}

/* True when what is cut off makes m go up: more than half, or half and m odd. `digit` is the first one cut. */
static bool rounds_up(Lexeme *rest, int digit, U128 m) {
    if (digit != 5 || m % 2 == 1)
        return digit >= 5;
    while ((digit = next_digit(rest)) >= 0)
        if (digit != 0)
            return true;
    return false;
}

Err decimal_parse(Str text, Decimal *ret) {
    Lexeme lexeme = {0};
    TRY(read_lexeme(text, &lexeme));
    int digit = next_digit(&lexeme);
    if (digit < 0) { /* zero keeps the scale it was written with: 0.00 */
        int64_t scale = MIN_OF(MAX_OF(-lexeme.point, 0), DECIMAL_SCALE_MAX);
        *ret = make(0, (int)scale, lexeme.negative);
        return ERR_OK;
    }
    int64_t e = lexeme.point; /* digits still to come before the point; negative: decimals taken */
    if (e > PRECISION)
        return ERR_LIMIT;
    U128 m = 0;
    while (e > 0 || (digit >= 0 && e > -DECIMAL_SCALE_MAX)) {
        U128 next = m * 10 + (unsigned)MAX_OF(digit, 0);
        if (next > MANTISSA_MAX)
            break;
        m = next;
        e--;
        digit = next_digit(&lexeme);
    }
    if (rounds_up(&lexeme, digit, m) && ++m > MANTISSA_MAX) {
        m = MANTISSA_MAX / 10 + 1; /* …0335.5 became …0336, one digit too wide: drop the last, which rounds up */
        e++;
    }
    if (e > 0)
        return ERR_LIMIT;
    *ret = e < -DECIMAL_SCALE_MAX ? make(0, DECIMAL_SCALE_MAX, lexeme.negative) : make(m, (int)-e, lexeme.negative);
    return ERR_OK;
}

/* The decimal digits of m ending before `end`; returns where they begin. At least one. */
static char *write_digits(U128 m, char *end) {
    while (m > UINT64_MAX) {
        *--end = (char)('0' + (int)(m % 10));
        m /= 10;
    }
    uint64_t low = (uint64_t)m;
    do {
        *--end = (char)('0' + low % 10);
        low /= 10;
    } while (low != 0);
    return end;
}

size_t decimal_format(Decimal d, char out[DECIMAL_TEXT_MAX]) {
    char digits[PRECISION + 1 + DECIMAL_SCALE_MAX], *end = digits + sizeof digits;
    U128 m = mantissa(d);
    char *at = write_digits(m, end);
    while (end - at <= d.scale) /* a digit before the point */
        *--at = '0';
    size_t n = 0;
    if (d.negative && m != 0)
        out[n++] = '-';
    size_t whole = (size_t)(end - at) - d.scale;
    memcpy(out + n, at, whole);
    n += whole;
    if (d.scale > 0) {
        out[n++] = '.';
        memcpy(out + n, at + whole, d.scale);
        n += d.scale;
    }
    return n;
}

void buf_add_decimal(Buf *buf, Decimal d) {
    char text[DECIMAL_TEXT_MAX];
    buf_add_bytes(buf, text, decimal_format(d, text));
}

int decimal_compare(Decimal a, Decimal b) {
    U128 ma = mantissa(a), mb = mantissa(b);
    bool na = a.negative && ma != 0, nb = b.negative && mb != 0;
    if (na != nb)
        return na ? -1 : 1;
    /* Whole parts first, then the fractions widened to 28 digits: 10^56 would not fit in 128 bits. */
    U128 pa = power10(a.scale), pb = power10(b.scale);
    U128 wa = ma / pa, wb = mb / pb;
    if (wa == wb) {
        wa = ma % pa * power10(DECIMAL_SCALE_MAX - a.scale);
        wb = mb % pb * power10(DECIMAL_SCALE_MAX - b.scale);
    }
    int order = wa < wb ? -1 : wa > wb;
    return na ? -order : order;
}

Err decimal_rescale(Decimal d, uint8_t scale, Decimal *ret) {
    if (scale > DECIMAL_SCALE_MAX)
        return ERR_LIMIT;
    U128 m = mantissa(d);
    if (scale < d.scale) {
        U128 unit = power10((unsigned)(d.scale - scale));
        m = m / unit + (m % unit >= unit / 2);
    } else if (m != 0) {
        U128 factor = power10((unsigned)(scale - d.scale));
        if (m > MANTISSA_MAX / factor)
            return ERR_LIMIT;
        m *= factor;
    }
    *ret = make(m, scale, d.negative);
    return ERR_OK;
}

int decimal_whole_digits(Decimal d) {
    U128 whole = mantissa(d) / power10(d.scale);
    int n = 0;
    for (; whole != 0; whole /= 10)
        n++;
    return n;
}

Decimal decimal_from_i64(int64_t value) {
    return make(value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 0, value < 0);
}

Decimal decimal_normalize(Decimal d) {
    U128 m = mantissa(d);
    int scale = d.scale;
    for (; scale > 0 && m % 10 == 0; scale--)
        m /= 10;
    return make(m, scale, d.negative);
}
