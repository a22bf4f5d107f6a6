/*
 * cron.h - cron expressions, and the moments they mean in a time zone.
 *
 * minute hour day-of-month month day-of-week, each a list of numbers, ranges (1-5), steps (0-59/5, or a star) and, for
 * months and weekdays, English names; 7 is Sunday too. Where both days are restricted, either suffices, as crontab(5)
 * says.
 * @yearly, @monthly, @weekly, @daily, @hourly.
 *
 * When clocks change: a line with a star in minute or hour follows the clock on the wall, so it fires through both of
 * the repeated hours and not within skipped ones. Any other line names a time of day: it fires once, at the first of
 * the two when that time comes twice, and at the end of the gap when it is skipped. (The rule of ISC cron, cron(8).)
 */
#pragma once
#include "jobs/zone.h"

typedef struct Cron {
    uint64_t minutes;
    uint32_t hours, days;
    uint16_t months;
    uint8_t weekdays; /* bit 0: Sunday */
    bool days_any, weekdays_any;
    bool follows_clock; /* a star in minute or hour */
} Cron;

/** ERR_INVALID: ctx's problem says which field and why. */
MUST_USE Err cron_parse(Ctx *ctx, const char *expression, Cron *ret);
/** The first moment after `after`. ERR_NOT_FOUND: there is none within 28 years, nor ever. */
MUST_USE Err cron_next(const Cron *cron, const Zone *zone, Instant after, Instant *ret);
/** The latest moment after `after` and not after now, if there is one; and the first after now. */
MUST_USE Err cron_latest(const Cron *cron, const Zone *zone, Instant after, Instant now, OptInstant *ret_due,
                         Instant *ret_next);
