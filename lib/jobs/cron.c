/*
 * cron.c - reading cron expressions, and finding their moments.
 *
 * Moments are looked for day by day in local time. Where no change of the clocks is near, a local minute is one moment;
 * otherwise each of the day's minutes is asked for all its moments (none, one or two) and the earliest that fits is
 * taken, which need not be the one of the earliest minute.
 */
#include "jobs/cron.h"

#define DAY      86400
#define DAYS_MAX (28 * 366) /* after that the calendar repeats its weekdays */

/* --- reading ------------------------------------------------------------------------------------------------------ */

typedef struct Field {
    const char *name;
    int min, max;
    const char *words; /* three letters each, the first meaning min_word */
    int min_word;
} Field;

static const Field FIELDS[] = {
    {"minute", 0, 59, NULL, 0},
    {"hour", 0, 23, NULL, 0},
    {"day of month", 1, 31, NULL, 0},
    {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec", 1},
    {"day of week", 0, 7, "sunmontuewedthufrisat", 0},
};

static const struct {
    const char *name, *expression;
} SHORTHANDS[] = {
    {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
    {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"},
};

static bool read_number(const Field *field, Str text, int *ret) {
    uint64_t value;
    if (str_to_u64(text, (uint64_t)field->max, &value) == ERR_OK) {
        *ret = (int)value;
        return *ret >= field->min;
    }
    if (field->words == NULL || text.n != 3)
        return false;
    for (size_t i = 0; field->words[i] != '\0'; i += 3)
        if (str_eq_nocase(text, (Str){field->words + i, 3})) {
            *ret = field->min_word + (int)(i / 3);
            return true;
        }
    return false;
}

/* One of a list: *, n, a-b, each with /step; n/step runs to the end of the field. */
static bool read_part(const Field *field, Str part, uint64_t *set, bool *star) {
    Str range = str_cut(&part, '/');
    int from = field->min, to = field->max, step = 1;
    uint64_t wide = 1;
    bool stepped = part.p != NULL;
    if (stepped && (str_to_u64(part, 1000, &wide) != ERR_OK || wide == 0))
        return false;
    step = (int)wide;
    if (str_eq_c(range, "*")) {
        *star = true;
        to = field->max == 7 ? 6 : field->max;
    } else {
        Str first = str_cut(&range, '-');
        if (!read_number(field, first, &from))
            return false;
        to = stepped ? (field->max == 7 ? 6 : field->max) : from;
        if (range.p != NULL && !read_number(field, range, &to))
            return false;
        if (from > to)
            return false;
    }
    for (int value = from; value <= to; value += step)
        *set |= UINT64_C(1) << value;
    return true;
}

static Err read_field(Ctx *ctx, const Field *field, Str text, uint64_t *ret_set, bool *ret_star) {
    Str rest = text;
    *ret_set = 0;
    *ret_star = false;
    while (rest.p != NULL)
        if (!read_part(field, str_cut(&rest, ','), ret_set, ret_star))
            return ctx_problem(ctx, ERR_INVALID, NULL, "\"%.*s\" is no %s (%d to %d)", STR_ARG(text), field->name,
                               field->min, field->max);
    return ERR_OK;
}

static Str next_word(Str *rest) {
    while (rest->n > 0 && (rest->p[0] == ' ' || rest->p[0] == '\t'))
        *rest = str_slice(*rest, 1, rest->n);
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\t')
        n++;
    Str word = str_slice(*rest, 0, n);
    *rest = str_slice(*rest, n, rest->n);
    return word;
}

Err cron_parse(Ctx *ctx, const char *expression, Cron *ret) {
    Str rest = str_c(expression);
    uint64_t sets[5];
    bool stars[5];
    for (size_t i = 0; i < ARRAY_LEN(SHORTHANDS); i++)
        if (strcmp(expression, SHORTHANDS[i].name) == 0)
            rest = str_c(SHORTHANDS[i].expression);
    for (size_t i = 0; i < ARRAY_LEN(FIELDS); i++) {
        Str word = next_word(&rest);
        if (word.n == 0)
            return ctx_problem(ctx, ERR_INVALID, NULL, "\"%s\" lacks its %s; it is minute hour day month weekday",
                               expression, FIELDS[i].name);
        TRY(read_field(ctx, &FIELDS[i], word, &sets[i], &stars[i]));
    }
    if (next_word(&rest).n > 0)
        return ctx_problem(ctx, ERR_INVALID, NULL, "\"%s\" has more than minute hour day month weekday", expression);
    *ret = (Cron){.minutes = sets[0],
                  .hours = (uint32_t)sets[1],
                  .days = (uint32_t)sets[2],
                  .months = (uint16_t)sets[3],
                  .weekdays = (uint8_t)((sets[4] | (sets[4] >> 7 & 1)) & 0x7F),
                  .days_any = stars[2],
                  .weekdays_any = stars[4],
                  .follows_clock = stars[0] || stars[1]};
    return ERR_OK;
}

/* --- moments ------------------------------------------------------------------------------------------------------ */

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

/* Gregorian date of days since 1970. */
static void date_of(int64_t days, int *ret_month, int *ret_day) {
    int64_t z = days + 719468, era = floor_div(z, 146097), of_era = z - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
    *ret_day = (int)(of_year - (153 * month + 2) / 5 + 1);
    *ret_month = (int)(month < 10 ? month + 3 : month - 9);
}

static bool day_fits(const Cron *cron, int64_t days) {
    int month, day;
    date_of(days, &month, &day);
    int64_t weekday = (days + 4) % 7;
    bool by_day = cron->days >> day & 1, by_weekday = cron->weekdays >> (weekday < 0 ? weekday + 7 : weekday) & 1;
    if ((cron->months >> month & 1) == 0)
        return false;
    return cron->days_any || cron->weekdays_any ? by_day && by_weekday : by_day || by_weekday;
}

/* The changes of the clocks around one local day. */
typedef struct Around {
    const Zone *zone;
    ZoneChange changes[ZONE_CHANGES_MAX];
    size_t n;
    int32_t offset; /* before the first of them */
} Around;

/* The first moment after `after` that the clock on the wall shows `local`; INT64_MAX: none. */
static int64_t moment_of(const Cron *cron, const Around *around, int64_t local, int64_t after) {
    int64_t best = INT64_MAX, from = INT64_MIN;
    int32_t offset = around->offset;
    for (size_t i = 0; i <= around->n; i++) {
        int64_t until = i < around->n ? around->changes[i].at : INT64_MAX, at = local - offset;
        if (at >= from && at < until) {
            if (best == INT64_MAX && (at > after || !cron->follows_clock))
                best = at;
            if (!cron->follows_clock)
                break; /* a time of day happens at its first time only */
        }
        if (i == around->n)
            break;
        offset = around->changes[i].after;
        from = until;
        /* Skipped: the wall went from before `local` to after it. */
        if (!cron->follows_clock && local - around->changes[i].before >= until && local - offset < until) {
            best = until;
            break;
        }
    }
    return best > after ? best : INT64_MAX;
}

static int64_t first_of_day(const Cron *cron, const Zone *zone, int64_t days, int64_t after) {
    int64_t midnight = days * DAY, best = INT64_MAX;
    Around around = {.zone = zone};
    around.n = zone_changes(zone, midnight - 2 * DAY, midnight + 3 * DAY, around.changes);
    around.offset = zone_offset(zone, midnight - 2 * DAY);
    for (int hour = 0; hour < 24; hour++) {
        if ((cron->hours >> hour & 1) == 0)
            continue;
        for (int minute = 0; minute < 60; minute++) {
            if ((cron->minutes >> minute & 1) == 0)
                continue;
            int64_t at = moment_of(cron, &around, midnight + hour * 3600 + minute * 60, after);
            best = MIN_OF(best, at);
            if (best != INT64_MAX && around.n == 0)
                return best;
        }
    }
    return best;
}

Err cron_next(const Cron *cron, const Zone *zone, Instant after, Instant *ret) {
    int64_t at = floor_div(after.ticks - TICKS_UNIX_EPOCH, TICKS_PER_SECOND);
    int64_t first_day = floor_div(at + zone_offset(zone, at), DAY) - 1;
    for (int64_t days = first_day; days < first_day + DAYS_MAX; days++) {
        if (!day_fits(cron, days))
            continue;
        int64_t best = first_of_day(cron, zone, days, at);
        if (best == INT64_MAX)
            continue;
        if (day_fits(cron, days + 1)) /* clocks set back across midnight: the next day may have begun before */
            best = MIN_OF(best, first_of_day(cron, zone, days + 1, at));
        *ret = (Instant){.ticks = TICKS_UNIX_EPOCH + best * TICKS_PER_SECOND};
        return ERR_OK;
    }
    return ERR_NOT_FOUND;
}
