/*
 * pg_numeric.h - numeric's binary form (src/backend/utils/adt/numeric.c, numeric_send) to and from Decimal.
 */
#pragma once
#include "base/decimal.h"

/** Four int16 of header and at most nine base-10000 digits: 29 digits, spread by the alignment at the point. */
#define PG_NUMERIC_BYTES_MAX (8 + 2 * 9)

/** Returns the length written. Minus zero becomes zero: numeric has no sign for it. */
size_t pg_numeric_encode(Decimal d, uint8_t out[PG_NUMERIC_BYTES_MAX]);
/** Scale is kept. Where it, or the padded number, does not fit a Decimal, trailing zeros go. ERR_LIMIT: NaN, infinite,
 *  or significant digits that a Decimal cannot hold (never rounded). ERR_SYNTAX: not a numeric at all. */
MUST_USE Err pg_numeric_decode(Str bytes, Decimal *ret);
