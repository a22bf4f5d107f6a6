/*
 * log_line.c - the two forms of a line.
 *
 * Written without lib/json, which lies beside this layer, and without an arena: a line must be possible when memory is
 * not. Room for the tail is kept from the start, so that a line that is too long is cut between fields and stays well
 * formed. Text from strangers cannot forge a line or reach the terminal's escape sequences: control bytes are escaped,
 * malformed UTF-8 is replaced.
 */
#include "runtime/log_line.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "base/utf8.h"

#define TAIL_BYTES  48 /* ,"fields_left_out":9999}\n */
#define VALUE_BYTES 1536

const char *log_level_name(LogLevel level) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    return names[level];
}

/* --- appending; false: no room, the line may hold a part that the caller takes back ------------------------------- */

static bool add(LogLine *line, const char *p, size_t n) {
    if (line->n + n > LOG_LINE_MAX - TAIL_BYTES)
        return false;
    memcpy(line->p + line->n, p, n);
    line->n += n;
    return true;
}

static bool PRINTF_LIKE(2, 3) addf(LogLine *line, const char *format, ...) {
    char text[128];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return n >= 0 && (size_t)n < sizeof text && add(line, text, (size_t)n);
}

static bool add_c(LogLine *line, const char *text) {
    return add(line, text, strlen(text));
}

/* One code point, fit to stand between double quotes in JSON, and on a terminal too. */
static bool add_escaped(LogLine *line, Str text, size_t from, size_t to, int32_t code) {
    switch (code) {
    case '"':
        return add_c(line, "\\\"");
    case '\\':
        return add_c(line, "\\\\");
    case '\n':
        return add_c(line, "\\n");
    case '\r':
        return add_c(line, "\\r");
    case '\t':
        return add_c(line, "\\t");
    default:
        break;
    }
    if (code < 0)
        return add_c(line, "\xEF\xBF\xBD"); /* U+FFFD */
    /* C0, DEL and C1; bidirectional overrides can make a line read as another. */
    if (code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x2028 && code <= 0x202E) ||
        (code >= 0x2066 && code <= 0x2069))
        return addf(line, "\\u%04" PRIx32, (uint32_t)code);
    return add(line, text.p + from, to - from);
}

static bool add_quoted(LogLine *line, Str text) {
    if (!add(line, "\"", 1))
        return false;
    size_t at = 0;
    while (at < text.n) {
        if (at >= VALUE_BYTES) {
            if (!add_c(line, "\xE2\x80\xA6")) /* … */
                return false;
            break;
        }
        size_t from = at;
        int32_t code = utf8_next(text, &at);
        if (!add_escaped(line, text, from, at, code))
            return false;
    }
    return add(line, "\"", 1);
}

static bool add_hex(LogLine *line, const uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!addf(line, "%02x", bytes[i]))
            return false;
    return true;
}

/* --- fields ------------------------------------------------------------------------------------------------------ */

bool log_is_secret(const char *name) {
    static const char *const whole[] = {"password", "secret", "token", "authorization"};
    static const char *const ends[] = {"_url", "_password", "_secret", "_token"};
    size_t length = strlen(name);
    for (size_t i = 0; i < ARRAY_LEN(whole); i++)
        if (strcasecmp(name, whole[i]) == 0)
            return true;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (length > strlen(ends[i]) && strcasecmp(name + length - strlen(ends[i]), ends[i]) == 0)
            return true;
    return false;
}

/* Without quotes on a terminal when nothing in it could be mistaken. */
static bool is_plain(Str text) {
    if (text.n == 0)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c <= ' ' || c >= 0x7F || c == '"' || c == '\\' || c == '=')
            return false;
    }
    return text.n < VALUE_BYTES;
}

static bool add_value(LogLine *line, const LogField *field, bool json) {
    switch (field->kind) {
    case LOG_FIELD_INT:
        return addf(line, "%" PRId64, field->num);
    case LOG_FIELD_BOOL:
        return add_c(line, field->num != 0 ? "true" : "false");
    case LOG_FIELD_STR:
        break;
    }
    if (field->str.p == NULL)
        return add_c(line, json ? "null" : "-");
    Str value = log_is_secret(field->name) ? STR("***") : field->str;
    return !json && is_plain(value) ? add(line, value.p, value.n) : add_quoted(line, value);
}

/* Adds those that fit, each wholly; returns how many did not. */
static int add_fields(LogLine *line, const LogField *fields, size_t n, bool json) {
    int left_out = 0;
    for (size_t i = 0; i < n; i++) {
        size_t before = line->n;
        bool fits = json ? add(line, ",", 1) && add_quoted(line, str_c(fields[i].name)) && add(line, ":", 1)
                         : add(line, " ", 1) && add_c(line, fields[i].name) && add(line, "=", 1);
        if (fits && add_value(line, &fields[i], json))
            continue;
        line->n = before;
        left_out++;
    }
    return left_out;
}

static void add_tail(LogLine *line, const char *format, int left_out) {
    int n = left_out == 0 ? 0 : snprintf(line->p + line->n, TAIL_BYTES, format, left_out);
    line->n += n < 0 ? 0 : (size_t)n;
}

static struct tm utc_of(int64_t unix_us) {
    int64_t seconds = unix_us / 1000000 - (unix_us % 1000000 < 0);
    time_t t = (time_t)seconds;
    struct tm tm = {0};
    gmtime_r(&t, &tm);
    return tm;
}

/* --- the two forms ----------------------------------------------------------------------------------------------- */

void log_line_json(LogLine *line, const LogHead *head, const LogField *fields, size_t n) {
    line->n = 0;
    int64_t us = instant_to_unix_us(head->now);
    struct tm tm = utc_of(us);
    (void)addf(line, "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%06dZ\",\"level\":\"%s\",\"event\":", tm.tm_year + 1900,
               tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)((us % 1000000 + 1000000) % 1000000),
               log_level_name(head->level));
    (void)add_quoted(line, str_c(head->event));
    if (head->role != NULL) {
        (void)add_c(line, ",\"role\":");
        (void)add_quoted(line, str_c(head->role));
    }
    (void)addf(line, ",\"pid\":%d", head->pid);
    if (head->trace != NULL) {
        (void)add_c(line, ",\"trace_id\":\"");
        (void)add_hex(line, head->trace->trace_id, sizeof head->trace->trace_id);
        (void)add_c(line, "\",\"span_id\":\"");
        (void)add_hex(line, head->trace->span_id, sizeof head->trace->span_id);
        (void)add_c(line, "\"");
    }
    add_tail(line, ",\"fields_left_out\":%d", add_fields(line, fields, n, true));
    memcpy(line->p + line->n, "}\n", 2);
    line->n += 2;
}

void log_line_text(LogLine *line, const LogHead *head, const LogField *fields, size_t n) {
    static const char *const levels[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};
    line->n = 0;
    int64_t us = instant_to_unix_us(head->now);
    struct tm tm = utc_of(us);
    (void)addf(line, "%02d:%02d:%02d.%03d %s ", tm.tm_hour, tm.tm_min, tm.tm_sec,
               (int)((us % 1000000 + 1000000) % 1000000 / 1000), levels[head->level]);
    if (head->role != NULL)
        (void)addf(line, "[%.32s %d] ", head->role, head->pid);
    Str event = str_c(head->event);
    bool clean = utf8_valid(event);
    for (size_t i = 0; clean && i < event.n; i++)
        clean = (unsigned char)event.p[i] >= ' ' && event.p[i] != 0x7F;
    (void)(clean ? add(line, event.p, MIN_OF(event.n, (size_t)VALUE_BYTES)) : add_quoted(line, event));
    int left_out = add_fields(line, fields, n, false);
    if (head->trace != NULL) {
        size_t before = line->n;
        if (!add_c(line, " trace=") || !add_hex(line, head->trace->trace_id, sizeof head->trace->trace_id))
            line->n = before;
    }
    add_tail(line, " (%d fields left out)", left_out);
    line->p[line->n++] = '\n';
}
