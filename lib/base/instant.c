/*
 * instant.c - ISO 8601 as System.Text.Json reads and writes it, on ticks of 100 ns.
 *
 * Each part of the text is one step that consumes from the front; the order of steps is the grammar. strptime and the
 * like were never candidates: they know locales, time zones and leap seconds, and refuse and accept other things.
 */
#include "base/instant.h"

#define TICKS_PER_MINUTE   (60 * TICKS_PER_SECOND)
#define TICKS_PER_DAY      (24 * 60 * TICKS_PER_MINUTE)
#define OFFSET_MAX         840
#define FRACTION_DIGITS    7  /* kept */
#define FRACTION_READ_MAX  16 /* looked at: JsonConstants.DateTimeParseNumFractionDigits */
#define DAYS_PER_400_YEARS 146097

/* Days from 0001-01-01 to a civil date (Hinnant, "chrono-compatible low-level date algorithms"; years begin in
 * March). */
static int64_t days_from_civil(int year, int month, int day) {
    year -= month <= 2;
    int era = year / 400, year_of_era = year % 400; /* year ≥ 0 here */
    int day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (int64_t)era * DAYS_PER_400_YEARS + day_of_era - 306; /* 0000-03-01 is 306 days before 0001-01-01 */
}

static void civil_from_days(int64_t days, int *year, int *month, int *day) {
    int64_t shifted = days + 306;
    int era = (int)(shifted / DAYS_PER_400_YEARS), day_of_era = (int)(shifted % DAYS_PER_400_YEARS);
    int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int month_from_march = (5 * day_of_year + 2) / 153;
    *day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    *month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    *year = era * 400 + year_of_era + (*month <= 2);
}

static int days_in_month(int year, int month) {
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Exactly n digits. */
static bool take_number(Str *s, size_t n, int *ret) {
    if (s->n < n)
        return false;
    int value = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(s->p[i]))
            return false;
        value = value * 10 + (s->p[i] - '0');
    }
    *s = str_slice(*s, n, s->n);
    *ret = value;
    return true;
}

static bool take_char(Str *s, char c) {
    if (s->n == 0 || s->p[0] != c)
        return false;
    *s = str_slice(*s, 1, s->n);
    return true;
}

/* Z, ±HH or ±HH:mm to the end; nothing at all is UTC. */
static bool take_zone(Str *s, int *ret_minutes) {
    *ret_minutes = 0;
    if (s->n == 0 || take_char(s, 'Z'))
        return s->n == 0;
    bool west = s->p[0] == '-';
    int hours, minutes = 0;
    if (!take_char(s, west ? '-' : '+') || !take_number(s, 2, &hours))
        return false;
    if (s->n > 0 && !(take_char(s, ':') && take_number(s, 2, &minutes) && s->n == 0))
        return false;
    int offset = hours * 60 + minutes;
    if (minutes > 59 || offset > OFFSET_MAX)
        return false;
    *ret_minutes = west ? -offset : offset;
    return true;
}

/* Behind the point: 0 to 16 digits, and not the end of the text. What passes the seventh digit is cut. */
static bool take_fraction(Str *s, int *ret_ticks) {
    if (s->n == 0)
        return false;
    size_t n = 0;
    int ticks = 0;
    for (; n < s->n && n < FRACTION_READ_MAX && is_digit(s->p[n]); n++)
        if (n < FRACTION_DIGITS)
            ticks = ticks * 10 + (s->p[n] - '0');
    for (size_t i = n; i < FRACTION_DIGITS; i++)
        ticks *= 10;
    *s = str_slice(*s, n, s->n);
    *ret_ticks = ticks;
    return true;
}

/* HH:mm[:ss[.f]] as ticks of the day. */
static bool take_time(Str *s, int64_t *ret_ticks) {
    int hour, minute, second = 0, fraction = 0;
    if (!take_number(s, 2, &hour) || !take_char(s, ':') || !take_number(s, 2, &minute))
        return false;
    if (take_char(s, ':')) {
        if (!take_number(s, 2, &second))
            return false;
        if (take_char(s, '.') && !take_fraction(s, &fraction))
            return false;
    }
    if (hour > 23 || minute > 59 || second > 59)
        return false;
    *ret_ticks = (hour * 3600 + minute * 60 + second) * TICKS_PER_SECOND + fraction;
    return true;
}

Err instant_parse(Str text, Instant *ret) {
    int year, month, day, offset = 0;
    Str rest = text;
    if (!take_number(&rest, 4, &year) || !take_char(&rest, '-') || !take_number(&rest, 2, &month) ||
        !take_char(&rest, '-') || !take_number(&rest, 2, &day))
        return ERR_SYNTAX;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return ERR_SYNTAX;
    int64_t ticks = 0;
    if (rest.n > 0 && !(take_char(&rest, 'T') && take_time(&rest, &ticks) && take_zone(&rest, &offset)))
        return ERR_SYNTAX;
    ticks += days_from_civil(year, month, day) * TICKS_PER_DAY - offset * TICKS_PER_MINUTE;
    if (ticks < 0 || ticks > TICKS_MAX)
        return ERR_SYNTAX; /* the offset carries it out of the years 1 to 9999 */
    *ret = (Instant){ticks, (int16_t)offset};
    return ERR_OK;
}

static char *put2(char *at, int value) {
    at[0] = (char)('0' + value / 10);
    at[1] = (char)('0' + value % 10);
    return at + 2;
}

static char *put_fraction(char *at, int ticks) {
    if (ticks == 0)
        return at;
    int digits = FRACTION_DIGITS;
    for (; ticks % 10 == 0; ticks /= 10)
        digits--;
    *at = '.';
    for (int i = digits; i > 0; i--, ticks /= 10)
        at[i] = (char)('0' + ticks % 10);
    return at + 1 + digits;
}

size_t instant_format(Instant t, char out[INSTANT_TEXT_MAX]) {
    ASSERT(t.ticks >= 0 && t.ticks <= TICKS_MAX);
    ASSERT(t.offset_minutes >= -OFFSET_MAX && t.offset_minutes <= OFFSET_MAX);
    /* A parsed Instant is within the calendar in its own offset; one built otherwise may not be, and is shown in
     * UTC. */
    int64_t local = t.ticks + t.offset_minutes * TICKS_PER_MINUTE;
    int offset = t.offset_minutes;
    if (local < 0 || local > TICKS_MAX) {
        local = t.ticks;
        offset = 0;
    }
    int year, month, day;
    civil_from_days(local / TICKS_PER_DAY, &year, &month, &day);
    int seconds = (int)(local % TICKS_PER_DAY / TICKS_PER_SECOND);
    char *at = put2(put2(out, year / 100), year % 100);
    *at++ = '-';
    at = put2(at, month);
    *at++ = '-';
    at = put2(at, day);
    *at++ = 'T';
    at = put2(at, seconds / 3600);
    *at++ = ':';
    at = put2(at, seconds / 60 % 60);
    *at++ = ':';
    at = put2(at, seconds % 60);
    at = put_fraction(at, (int)(local % TICKS_PER_SECOND));
    *at++ = offset < 0 ? '-' : '+';
    offset = offset < 0 ? -offset : offset;
    at = put2(at, offset / 60);
    *at++ = ':';
    at = put2(at, offset % 60);
    return (size_t)(at - out);
}

void buf_add_instant(Buf *buf, Instant t) {
    char text[INSTANT_TEXT_MAX];
    buf_add_bytes(buf, text, instant_format(t, text));
}

Instant instant_utc_micros(Instant t) {
    return (Instant){.ticks = t.ticks == TICKS_MAX ? t.ticks : t.ticks - t.ticks % TICKS_PER_US};
}

/* Out of the calendar is its nearest end: Postgres' infinity and -infinity come here. */
static Instant from_us(int64_t us, int ticks, int64_t epoch, int16_t offset_minutes) {
    int64_t total;
    if (__builtin_mul_overflow(us, (int64_t)TICKS_PER_US, &total) ||
        __builtin_add_overflow(total, epoch + ticks, &total))
        total = us < 0 ? 0 : TICKS_MAX;
    return (Instant){MIN_OF(MAX_OF(total, 0), TICKS_MAX), offset_minutes};
}

/* Ticks since `epoch` in microseconds, toward the past. */
static int64_t to_us(Instant t, int64_t epoch) {
    return t.ticks / TICKS_PER_US - epoch / TICKS_PER_US; /* both epochs are whole, ticks ≥ 0 */
}

Instant instant_from_unix_us(int64_t microseconds) {
    return from_us(microseconds, 0, TICKS_UNIX_EPOCH, 0);
}

int64_t instant_to_unix_us(Instant t) {
    return to_us(t, TICKS_UNIX_EPOCH);
}

int64_t instant_to_pg_us(Instant t, int *ret_ticks) {
    *ret_ticks = (int)(t.ticks % TICKS_PER_US);
    return to_us(t, TICKS_PG_EPOCH);
}

Instant instant_from_pg_us(int64_t us, int ticks, int16_t offset_minutes) {
    return from_us(us, ticks, TICKS_PG_EPOCH, offset_minutes);
}
