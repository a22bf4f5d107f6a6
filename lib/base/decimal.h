/*
 * decimal.h - exact decimal numbers, as wide as the old system's System.Decimal.
 *
 * A 96-bit whole number and a scale of 0 to 28 digits: value = ±mantissa / 10^scale. The scale is kept, so that 12.50
 * stays 12.50. There is no arithmetic here beyond what the contexts need: compare, round, negate.
 */
#pragma once
#include "base/buf.h"

typedef struct Decimal {
    uint32_t lo, mid, hi; /* mantissa, least significant first */
    uint8_t scale;        /* 0..28 */
    uint8_t negative;     /* -0 keeps its sign as .NET does in memory; it prints as 0 */
    uint8_t reserved[2];
} Decimal;

#define DECIMAL_SCALE_MAX 28
#define DECIMAL_TEXT_MAX  32

/**
 * Reads a JSON number lexeme, or what the old system takes in a string: [±]digits[.digits][e[±]digits] with leading
 * zeros, ".5" and "5." (Utf8Parser; the JSON reader refuses those outside strings before they come here).
 * Digits past the 28th decimal or past 96 bits are rounded half to even, as System.Decimal's parser does; exponents are
 * resolved to a plain scale (1e2 is 100). ERR_SYNTAX, ERR_LIMIT: outside ±79228162514264337593543950335.
 */
MUST_USE Err decimal_parse(Str text, Decimal *ret);
/** Plain notation with exactly `scale` decimals: "12.50"; zero never has a sign. Returns the length written. */
size_t decimal_format(Decimal d, char out[DECIMAL_TEXT_MAX]);
void buf_add_decimal(Buf *buf, Decimal d);
/** By value: 12.50 equals 12.5. */
int decimal_compare(Decimal a, Decimal b);
/** To `scale` decimals, half away from zero (what Postgres does to numeric(p,s)); pads with zeros where it has fewer.
 *  ERR_LIMIT: the padded number does not fit. */
MUST_USE Err decimal_rescale(Decimal d, uint8_t scale, Decimal *ret);
/** Number of digits before the point; 0 for values under 1. */
int decimal_whole_digits(Decimal d);
Decimal decimal_from_i64(int64_t value);
/** Strips trailing zeros after the point: 100.00 → 100. */
Decimal decimal_normalize(Decimal d);
