/*
 * pg_result.c - reading columns in binary.
 *
 * A getter that does not fit its column is a bug in the code, not in the data: it is an ASSERT on the length. What data
 * can do (a numeric wider than Decimal, a timestamp outside the years 1 to 9999) is an error or a stated bound.
 */
#include "pg/pg_numeric.h"
#include "pg/pg_private.h"

static const uint8_t *column_bytes(const PgResult *r, int row, int column, int length) {
    ASSERT(row >= 0 && row < r->rows && column >= 0 && column < r->columns);
    ASSERT(PQgetlength(r->raw, row, column) == length && PQgetisnull(r->raw, row, column) == 0);
    return (const uint8_t *)PQgetvalue(r->raw, row, column);
}

static uint64_t column_be(const PgResult *r, int row, int column, int length) {
    const uint8_t *at = column_bytes(r, row, column, length);
    uint64_t value = 0;
    for (int i = 0; i < length; i++)
        value = value << 8 | at[i];
    return value;
}

bool pg_is_null(const PgResult *r, int row, int column) {
    ASSERT(row >= 0 && row < r->rows && column >= 0 && column < r->columns);
    return PQgetisnull(r->raw, row, column) != 0;
}

bool pg_bool(const PgResult *r, int row, int column) {
    return column_be(r, row, column, 1) != 0;
}

int16_t pg_i16(const PgResult *r, int row, int column) {
    return (int16_t)column_be(r, row, column, 2);
}

int32_t pg_i32(const PgResult *r, int row, int column) {
    return (int32_t)column_be(r, row, column, 4);
}

int64_t pg_i64(const PgResult *r, int row, int column) {
    return (int64_t)column_be(r, row, column, 8);
}

Str pg_text(const PgResult *r, int row, int column) {
    if (pg_is_null(r, row, column))
        return (Str){NULL, 0};
    Str value = {PQgetvalue(r->raw, row, column), (size_t)PQgetlength(r->raw, row, column)};
    if (PQftype(r->raw, column) == OID_JSONB) {
        ASSERT(value.n > 0 && value.p[0] == PG_JSONB_VERSION);
        value = (Str){value.p + 1, value.n - 1};
    }
    return value;
}

Id pg_id(const PgResult *r, int row, int column) {
    Id id;
    memcpy(id.bytes, column_bytes(r, row, column, sizeof id.bytes), sizeof id.bytes);
    return id;
}

Err pg_decimal(const PgResult *r, int row, int column, Decimal *ret) {
    ASSERT(!pg_is_null(r, row, column) && PQftype(r->raw, column) == OID_NUMERIC);
    Str bytes = {PQgetvalue(r->raw, row, column), (size_t)PQgetlength(r->raw, row, column)};
    return pg_numeric_decode(bytes, ret);
}

Instant pg_instant(const PgResult *r, int row, int column) {
    int64_t us = pg_i64(r, row, column);
    /* ±infinity and years outside 1..9999 are clamped: a wrong row must not end a worker, and order is kept. */
    if (us < -(TICKS_PG_EPOCH / TICKS_PER_US))
        return (Instant){.ticks = 0};
    if (us > (TICKS_MAX - TICKS_PG_EPOCH) / TICKS_PER_US)
        return (Instant){.ticks = TICKS_MAX};
    return instant_from_pg_us(us, 0, 0);
}
