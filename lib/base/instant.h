/*
 * instant.h - points in time with the offset they were written in.
 *
 * The same range and grain as the old system's DateTimeOffset: years 1 to 9999, 100 ns, offset in whole minutes up to
 * ±14 h. Comparing goes by the point in time; the offset is only kept to be shown again. Proleptic Gregorian calendar,
 * no leap seconds.
 */
#pragma once
#include "base/buf.h"

typedef struct Instant {
    int64_t ticks;          /* 100 ns since 0001-01-01T00:00:00 UTC */
    int16_t offset_minutes; /* -840..840 */
} Instant;

typedef struct OptInstant {
    Instant value;
    bool present;
} OptInstant;

#define TICKS_PER_US     10
#define TICKS_PER_SECOND 10000000LL
#define TICKS_MAX        3155378975999999999LL /* 9999-12-31T23:59:59.9999999 */
/** Ticks at 1970-01-01 and at 2000-01-01 (Postgres' epoch). */
#define TICKS_UNIX_EPOCH 621355968000000000LL
#define TICKS_PG_EPOCH   630822816000000000LL

/**
 * Reads yyyy-MM-dd[THH:mm[:ss[.f{0,16}]]][Z|±HH[:mm]] as System.Text.Json does (see docs/quirks.md for the odd ones:
 * "ss." with no digit, ±HH alone). Digits past the 7th are cut. No offset means UTC (the old host's zone). ERR_SYNTAX
 * otherwise.
 */
MUST_USE Err instant_parse(Str text, Instant *ret);

#define INSTANT_TEXT_MAX 40
/** yyyy-MM-ddTHH:mm:ss[.fffffff]±HH:mm in the kept offset, trailing zeros of the fraction dropped. Returns the
 *  length. */
size_t instant_format(Instant t, char out[INSTANT_TEXT_MAX]);
void buf_add_instant(Buf *buf, Instant t);
/** The same point in UTC, cut (toward the past) to whole microseconds: what the recorded edition stored and shows.
 *  TICKS_MAX stays whole: that edition stored it as Postgres' infinity. */
Instant instant_utc_micros(Instant t);
Instant instant_from_unix_us(int64_t microseconds);
int64_t instant_to_unix_us(Instant t);
/** Microseconds since 2000-01-01 UTC, rounded toward the past, and the remaining 0..9 ticks. */
int64_t instant_to_pg_us(Instant t, int *ret_ticks);
/** What lies outside the years 1 to 9999 (infinity, -infinity) becomes the last or first tick of them. */
Instant instant_from_pg_us(int64_t us, int ticks, int16_t offset_minutes);
static inline int instant_compare(Instant a, Instant b) {
    return a.ticks < b.ticks ? -1 : a.ticks > b.ticks;
}
