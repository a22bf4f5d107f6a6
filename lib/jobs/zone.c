/*
 * zone.c - TZif files: the changes that were, and the rule for those to come.
 *
 * A file lists changes up to some year and ends in a POSIX TZ text for later ones ("CET-1CEST,M3.5.0,M10.5.0/3"). Files
 * are made fat (changes until 2037) or slim (the rule says all), so both are read. The rule's changes are computed for
 * the years around the moment in question; there is no table to run out of.
 */
#include "jobs/zone.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_MAX    (256 * 1024)
#define NAME_MAX_   64
#define OFFSETS_MAX (26 * 3600) /* RFC 8536 §3.2 recommends less; nobody lives further from UTC */
#define DAY         86400

/* When a year's clocks change: Mm.w.d, Jn or n, and the time of day in local seconds. */
typedef struct RuleDay {
    enum { RULE_MONTH, RULE_JULIAN, RULE_DAY } kind;
    int month, week, day;
    int32_t time;
} RuleDay;

struct Zone {
    int64_t *at;      /* rising */
    uint8_t *type_of; /* of each change */
    size_t n;
    int32_t *offsets; /* by type */
    size_t types;
    bool has_rule, has_summer;
    int32_t standard, summer;
    RuleDay begins, ends; /* of summer */
};

/* --- days --------------------------------------------------------------------------------------------------------- */

static int64_t days_of(int64_t year, int month, int day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

static int64_t year_of(int64_t at) {
    int64_t year = 1970 + floor_div(at, 31556952);
    while (at < days_of(year, 1, 1) * DAY)
        year--;
    while (at >= days_of(year + 1, 1, 1) * DAY)
        year++;
    return year;
}

/* Local midnight of the rule's day, in seconds as if the zone were UTC. */
static int64_t rule_local(const RuleDay *rule, int64_t year) {
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    int64_t day = days_of(year, 1, 1);
    if (rule->kind == RULE_JULIAN)
        day += rule->day - 1 + (leap && rule->day >= 60);
    else if (rule->kind == RULE_DAY)
        day += rule->day;
    else {
        int64_t first = days_of(year, rule->month, 1);
        int64_t next = rule->month == 12 ? days_of(year + 1, 1, 1) : days_of(year, rule->month + 1, 1);
        int64_t weekday = (first + 4) % 7; /* 1970-01-01 was a Thursday */
        weekday = weekday < 0 ? weekday + 7 : weekday;
        day = first + (rule->day - weekday + 7) % 7 + (rule->week - 1) * 7;
        if (day >= next)
            day -= 7;
    }
    return day * DAY + rule->time;
}

/* --- the rule's text ---------------------------------------------------------------------------------------------- */

static bool take_number(Str *rest, int max, int *ret) {
    int value = 0;
    size_t n = 0;
    while (n < rest->n && rest->p[n] >= '0' && rest->p[n] <= '9' && value <= max)
        value = value * 10 + (rest->p[n++] - '0');
    *rest = str_slice(*rest, n, rest->n);
    *ret = value;
    return n > 0 && value <= max;
}

static bool take_char(Str *rest, char c) {
    if (rest->n == 0 || rest->p[0] != c)
        return false;
    *rest = str_slice(*rest, 1, rest->n);
    return true;
}

/* [+-]hh[:mm[:ss]] in seconds; hours up to 167 in rules (RFC 8536 §3.3.1). */
static bool take_time(Str *rest, int32_t *ret) {
    int hours, minutes = 0, seconds = 0;
    bool negative = take_char(rest, '-');
    if (!negative)
        (void)take_char(rest, '+');
    if (!take_number(rest, 167, &hours) || (take_char(rest, ':') && !take_number(rest, 59, &minutes)) ||
        (take_char(rest, ':') && !take_number(rest, 59, &seconds)))
        return false;
    int32_t value = hours * 3600 + minutes * 60 + seconds;
    *ret = negative ? -value : value;
    return true;
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool take_name(Str *rest) {
    size_t n = 0;
    if (take_char(rest, '<')) {
        while (n < rest->n && rest->p[n] != '>')
            n++;
        *rest = str_slice(*rest, n, rest->n);
        return n > 0 && take_char(rest, '>');
    }
    while (n < rest->n && is_letter(rest->p[n]))
        n++;
    *rest = str_slice(*rest, n, rest->n);
    return n >= 3;
}

static bool take_day(Str *rest, RuleDay *ret) {
    bool fine;
    *ret = (RuleDay){.time = 7200};
    if (take_char(rest, 'M')) {
        ret->kind = RULE_MONTH;
        fine = take_number(rest, 12, &ret->month) && take_char(rest, '.') && take_number(rest, 5, &ret->week) &&
               take_char(rest, '.') && take_number(rest, 6, &ret->day) && ret->month >= 1 && ret->week >= 1;
    } else if (take_char(rest, 'J')) {
        ret->kind = RULE_JULIAN;
        fine = take_number(rest, 365, &ret->day) && ret->day >= 1;
    } else {
        ret->kind = RULE_DAY;
        fine = take_number(rest, 365, &ret->day);
    }
    return fine && (!take_char(rest, '/') || take_time(rest, &ret->time));
}

/* POSIX writes offsets west of Greenwich as positive. */
static bool parse_rule(Str text, Zone *zone) {
    int32_t west;
    if (!take_name(&text) || !take_time(&text, &west) || west > 24 * 3600 || west < -24 * 3600)
        return false;
    zone->standard = -west;
    zone->has_rule = true;
    if (text.n == 0)
        return true;
    zone->summer = zone->standard + 3600;
    if (!take_name(&text))
        return false;
    if (text.n > 0 && text.p[0] != ',') {
        if (!take_time(&text, &west) || west > 24 * 3600 || west < -24 * 3600)
            return false;
        zone->summer = -west;
    }
    zone->has_summer = true;
    return take_char(&text, ',') && take_day(&text, &zone->begins) && take_char(&text, ',') &&
           take_day(&text, &zone->ends) && text.n == 0;
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

typedef struct Header {
    char version;
    uint32_t utc, standard, leaps, times, types, letters;
} Header;

static uint32_t be32(const char *p) {
    const unsigned char *b = (const unsigned char *)p;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static bool take_header(Str *rest, Header *ret) {
    if (rest->n < 44 || memcmp(rest->p, "TZif", 4) != 0)
        return false;
    const char *p = rest->p + 20;
    *ret = (Header){.version = rest->p[4],
                    .utc = be32(p),
                    .standard = be32(p + 4),
                    .leaps = be32(p + 8),
                    .times = be32(p + 12),
                    .types = be32(p + 16),
                    .letters = be32(p + 20)};
    *rest = str_slice(*rest, 44, rest->n);
    return ret->types > 0 && ret->types <= 256 && ret->times <= FILE_MAX && ret->leaps <= FILE_MAX &&
           ret->letters <= FILE_MAX && ret->utc <= 256 && ret->standard <= 256;
}

static size_t block_size(const Header *h, size_t width) {
    return h->times * (width + 1) + (size_t)h->types * 6 + h->letters + h->leaps * (width + 4) + h->standard + h->utc;
}

static Err take_block(Arena *arena, Str *rest, const Header *h, size_t width, Zone *zone) {
    if (rest->n < block_size(h, width))
        return ERR_SYNTAX;
    zone->n = h->times;
    zone->types = h->types;
    zone->at = ARENA_ARRAY(arena, int64_t, zone->n);
    zone->type_of = ARENA_ARRAY(arena, uint8_t, zone->n);
    zone->offsets = ARENA_ARRAY(arena, int32_t, zone->types);
    if (zone->at == NULL || zone->type_of == NULL || zone->offsets == NULL)
        return ERR_NO_MEMORY;
    const char *types = rest->p + zone->n * width, *infos = types + zone->n;
    for (size_t i = 0; i < zone->n; i++) {
        const char *p = rest->p + i * width;
        zone->at[i] = width == 8 ? (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4)) : (int32_t)be32(p);
        zone->type_of[i] = (uint8_t)types[i];
        if (zone->type_of[i] >= zone->types || (i > 0 && zone->at[i] <= zone->at[i - 1]))
            return ERR_SYNTAX;
    }
    for (size_t i = 0; i < zone->types; i++) {
        zone->offsets[i] = (int32_t)be32(infos + i * 6);
        if (zone->offsets[i] > OFFSETS_MAX || zone->offsets[i] < -OFFSETS_MAX)
            return ERR_SYNTAX;
    }
    *rest = str_slice(*rest, block_size(h, width), rest->n);
    return ERR_OK;
}

Err zone_parse(Arena *arena, Str bytes, Zone **ret) {
    Header header;
    Zone *zone = ARENA_NEW(arena, Zone);
    if (zone == NULL)
        return ERR_NO_MEMORY;
    if (bytes.n > FILE_MAX || !take_header(&bytes, &header))
        return ERR_SYNTAX;
    if (header.version < '2') {
        TRY(take_block(arena, &bytes, &header, 4, zone));
        *ret = zone;
        return ERR_OK;
    }
    /* The first block is for readers of 32 bits. */
    if (bytes.n < block_size(&header, 4))
        return ERR_SYNTAX;
    bytes = str_slice(bytes, block_size(&header, 4), bytes.n);
    if (!take_header(&bytes, &header))
        return ERR_SYNTAX;
    TRY(take_block(arena, &bytes, &header, 8, zone));
    if (!take_char(&bytes, '\n'))
        return ERR_SYNTAX;
    ptrdiff_t end = str_index(bytes, '\n');
    if (end < 0 || (end > 0 && !parse_rule(str_slice(bytes, 0, (size_t)end), zone)))
        return ERR_SYNTAX;
    *ret = zone;
    return ERR_OK;
}

static bool name_fits(const char *name) {
    size_t n = strlen(name);
    if (n == 0 || n > NAME_MAX_ || name[0] == '/' || strstr(name, "..") != NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_letter(name[i]) && strchr("0123456789_+-/", name[i]) == NULL)
            return false;
    return true;
}

static Err read_file(Arena *arena, const char *path, Str *ret) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR_NOT_FOUND;
    char *bytes = arena_alloc_raw(arena, FILE_MAX + 1);
    size_t n = 0;
    ssize_t got = bytes == NULL ? -1 : 1;
    while (got > 0 && n <= FILE_MAX) {
        got = read(fd, bytes + n, FILE_MAX + 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    *ret = (Str){bytes, n};
    return bytes == NULL ? ERR_NO_MEMORY : got < 0 ? ERR_NOT_FOUND : ERR_OK;
}

Err zone_open(Ctx *ctx, Arena *arena, const char *name, Zone **ret) {
    static int32_t utc_offset[1];
    static Zone utc = {.offsets = utc_offset, .types = 1};
    if (strcmp(name, "UTC") == 0) {
        *ret = &utc;
        return ERR_OK;
    }
    if (!name_fits(name))
        return ctx_problem(ctx, ERR_INVALID, NULL, "\"%s\" is no name of a time zone", name);
    const char *folder = getenv("ZONEINFO");
    Str path = arena_printf(arena, "%s/%s", folder == NULL ? "/usr/share/zoneinfo" : folder, name), bytes;
    if (path.p == NULL)
        return ERR_NO_MEMORY;
    Err err = read_file(arena, path.p, &bytes);
    if (err == ERR_NOT_FOUND)
        return ctx_problem(ctx, err, NULL, "there is no time zone %s at %s; is tzdata installed?", name, path.p);
    TRY(err);
    err = zone_parse(arena, bytes, ret);
    return err == ERR_SYNTAX ? ctx_problem(ctx, err, NULL, "%s is no TZif file", path.p) : err;
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

/* The rule's two changes of a year, in order. */
static void rule_changes(const Zone *zone, int64_t year, ZoneChange ret[2]) {
    ZoneChange begins = {rule_local(&zone->begins, year) - zone->standard, zone->standard, zone->summer};
    ZoneChange ends = {rule_local(&zone->ends, year) - zone->summer, zone->summer, zone->standard};
    ret[0] = begins.at <= ends.at ? begins : ends;
    ret[1] = begins.at <= ends.at ? ends : begins;
}

static int32_t rule_offset(const Zone *zone, int64_t at) {
    int64_t year = year_of(at);
    int32_t offset = zone->standard;
    for (int64_t y = year - 1; zone->has_summer && y <= year + 1; y++) {
        ZoneChange changes[2];
        rule_changes(zone, y, changes);
        for (int i = 0; i < 2; i++)
            if (changes[i].at <= at)
                offset = changes[i].after;
    }
    return offset;
}

/* Of the file's own changes; before the first one, its first type (RFC 8536 §3.2). */
static int32_t listed_offset(const Zone *zone, int64_t at) {
    size_t low = 0, high = zone->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (zone->at[middle] <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? zone->offsets[0] : zone->offsets[zone->type_of[low - 1]];
}

int32_t zone_offset(const Zone *zone, int64_t at) {
    bool listed = zone->n > 0 && at < zone->at[zone->n - 1];
    return zone->has_rule && !listed ? rule_offset(zone, at) : listed_offset(zone, at);
}

static size_t add_change(ZoneChange *ret, size_t n, ZoneChange change, int64_t from, int64_t to) {
    if (change.at <= from || change.at > to || change.before == change.after || n == ZONE_CHANGES_MAX)
        return n;
    ret[n] = change;
    return n + 1;
}

size_t zone_changes(const Zone *zone, int64_t from, int64_t to, ZoneChange ret[ZONE_CHANGES_MAX]) {
    size_t n = 0;
    for (size_t i = 0; i < zone->n && zone->at[i] <= to; i++) {
        ZoneChange change = {zone->at[i], zone_offset(zone, zone->at[i] - 1), zone_offset(zone, zone->at[i])};
        if (zone->at[i] > from)
            n = add_change(ret, n, change, from, to);
    }
    int64_t listed_until = zone->n > 0 ? zone->at[zone->n - 1] : INT64_MIN;
    for (int64_t year = year_of(from); zone->has_summer && to > listed_until && year <= year_of(to); year++) {
        ZoneChange changes[2];
        rule_changes(zone, year, changes);
        for (int i = 0; i < 2; i++)
            if (changes[i].at > listed_until)
                n = add_change(ret, n, changes[i], from, to);
    }
    return n;
}
