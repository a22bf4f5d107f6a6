/*
 * pg_numeric.c - numeric ↔ Decimal without going through text.
 *
 * numeric travels as base-10000 digits aligned at the decimal point, with a "display scale" that says how many decimals
 * are shown. Decimal is one 96-bit whole number and a scale. Both keep 12.50 apart from 12.5, so nothing is lost either
 * way as long as the number fits. 128-bit arithmetic holds every step: 96 bits times 10^3 for the alignment is 106
 * bits.
 */
#include "pg/pg_numeric.h"

__extension__ typedef unsigned __int128 U128;

enum { SIGN_POSITIVE = 0x0000, SIGN_NEGATIVE = 0x4000 /* 0xC000 NaN, 0xD000 and 0xF000 infinite */ };
#define GROUP 10000u

static U128 mantissa_max(void) {
    return ((U128)1 << 96) - 1;
}

static uint8_t *put_be16(uint8_t *at, unsigned value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static int get_be16(const char *at) {
    return (int16_t)(uint16_t)((uint8_t)at[0] << 8 | (uint8_t)at[1]);
}

size_t pg_numeric_encode(Decimal d, uint8_t out[PG_NUMERIC_BYTES_MAX]) {
    U128 value = (U128)d.hi << 64 | (U128)d.mid << 32 | d.lo;
    unsigned scale = d.scale;
    for (; scale % 4 != 0; scale++)
        value *= 10;

    uint16_t groups[9]; /* least significant first */
    int n = 0;
    for (; value != 0; value /= GROUP) {
        ASSERT(n < (int)ARRAY_LEN(groups));
        groups[n++] = (uint16_t)(value % GROUP);
    }
    int weight = n == 0 ? 0 : n - 1 - (int)scale / 4;
    int skip = 0; /* trailing zero groups are not sent */
    while (skip < n && groups[skip] == 0)
        skip++;

    uint8_t *at = put_be16(out, (unsigned)(n - skip));
    at = put_be16(at, (unsigned)weight);
    at = put_be16(at, d.negative && n > 0 ? SIGN_NEGATIVE : SIGN_POSITIVE);
    at = put_be16(at, d.scale);
    for (int i = n - 1; i >= skip; i--)
        at = put_be16(at, groups[i]);
    return (size_t)(at - out);
}

/* Brings value × 10^-scale to `wanted` decimals as far as a Decimal can hold them. */
static Err mantissa_fit(U128 value, int scale, int wanted, U128 *ret_value, int *ret_scale) {
    for (; scale < 0; scale++) {
        if (value > mantissa_max() / 10)
            return ERR_LIMIT;
        value *= 10;
    }
    while (scale > wanted && value % 10 == 0) {
        value /= 10;
        scale--;
    }
    while (scale < wanted && scale < DECIMAL_SCALE_MAX && value <= mantissa_max() / 10) {
        value *= 10;
        scale++;
    }
    while (value > mantissa_max() || scale > DECIMAL_SCALE_MAX) {
        if (scale == 0 || value % 10 != 0)
            return ERR_LIMIT;
        value /= 10;
        scale--;
    }
    *ret_value = value;
    *ret_scale = scale;
    return ERR_OK;
}

Err pg_numeric_decode(Str bytes, Decimal *ret) {
    if (bytes.n < 8)
        return ERR_SYNTAX;
    int n = get_be16(bytes.p);
    int weight = get_be16(bytes.p + 2);
    unsigned sign = (uint16_t)get_be16(bytes.p + 4);
    int wanted = get_be16(bytes.p + 6);
    if (sign != SIGN_POSITIVE && sign != SIGN_NEGATIVE)
        return ERR_LIMIT;
    if (n < 0 || wanted < 0 || bytes.n != 8 + 2 * (size_t)n)
        return ERR_SYNTAX;

    U128 value = 0;
    for (int i = 0; i < n; i++) {
        unsigned group = (unsigned)get_be16(bytes.p + 8 + 2 * i); /* a negative one is far out of range */
        if (group >= GROUP)
            return ERR_SYNTAX;
        if (value > (~(U128)0 - group) / GROUP)
            return ERR_LIMIT;
        value = value * GROUP + group;
    }
    int scale = n == 0 ? 0 : (n - 1 - weight) * 4;
    TRY(mantissa_fit(value, scale, wanted, &value, &scale));
    *ret = (Decimal){
        .lo = (uint32_t)value,
        .mid = (uint32_t)(value >> 32),
        .hi = (uint32_t)(value >> 64),
        .scale = (uint8_t)scale,
        .negative = sign == SIGN_NEGATIVE,
    };
    return ERR_OK;
}
