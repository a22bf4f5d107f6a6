/*
 * config.c - reading the table of settings.
 *
 * All rows are read before anything is said, so that an operator mends a file once and not once per mistake. An empty
 * variable counts as absent: that is what an unset value looks like in a compose file. Values of secret settings are
 * never repeated.
 */
#include "runtime/config.h"

#include <inttypes.h>
#include <strings.h>

#include "runtime/config_impl.h"

typedef struct Reading {
    const Setting *setting;
    char *settings; /* the struct, as bytes */
    Arena *arena;
    Buf *mistakes;
    Str value;
} Reading;

static void mistake_begin(const Reading *reading) {
    buf_add_c(reading->mistakes, reading->setting->env);
    buf_add_c(reading->mistakes, ": ");
    if (reading->setting->secret || reading->setting->kind == SETTING_URL) {
        buf_add_c(reading->mistakes, "its value ");
        return;
    }
    buf_add_c(reading->mistakes, "\"");
    buf_add(reading->mistakes, str_slice(reading->value, 0, 200));
    buf_add_c(reading->mistakes, "\" ");
}

static Err mistake(const Reading *reading, const char *what) {
    mistake_begin(reading);
    buf_add_c(reading->mistakes, what);
    buf_add_char(reading->mistakes, '\n');
    return ERR_INVALID;
}

static void store(const Reading *reading, const void *value, size_t size) {
    memcpy(reading->settings + reading->setting->offset, value, size);
}

/* --- kinds ------------------------------------------------------------------------------------------------------- */

static Err store_text(const Reading *reading) {
    Str copy = arena_str(reading->arena, reading->value);
    if (copy.p == NULL)
        return mistake(reading, "does not fit into memory; make it shorter");
    store(reading, &copy, sizeof copy);
    return ERR_OK;
}

static Err parse_int(Str text, int64_t *ret) {
    bool negative = text.n > 0 && text.p[0] == '-';
    uint64_t number;
    TRY(str_to_u64(str_slice(text, negative, text.n), INT64_MAX, &number));
    *ret = negative ? -(int64_t)number : (int64_t)number;
    return ERR_OK;
}

void config_add_number(Buf *out, SettingKind kind, int64_t value) {
    if (kind == SETTING_DURATION_MS)
        config_add_duration(out, value);
    else if (kind == SETTING_BYTES)
        config_add_bytes(out, value);
    else
        buf_add_i64(out, value);
}

static Err store_number(const Reading *reading, Err (*parse)(Str, int64_t *), const char *mend) {
    const Setting *setting = reading->setting;
    int64_t number;
    if (parse(reading->value, &number) != ERR_OK)
        return mistake(reading, mend);
    bool checked = setting->min != 0 || setting->max != 0;
    if (checked && (number < setting->min || number > setting->max)) {
        mistake_begin(reading);
        buf_add_c(reading->mistakes, "is out of range; give a value from ");
        config_add_number(reading->mistakes, setting->kind, setting->min);
        buf_add_c(reading->mistakes, " to ");
        config_add_number(reading->mistakes, setting->kind, setting->max);
        buf_add_char(reading->mistakes, '\n');
        return ERR_INVALID;
    }
    store(reading, &number, sizeof number);
    return ERR_OK;
}

static Err store_bool(const Reading *reading) {
    static const char *const words[][2] = {{"false", "true"}, {"no", "yes"}, {"off", "on"}, {"0", "1"}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        for (int j = 0; j < 2; j++)
            if (str_eq_nocase(reading->value, str_c(words[i][j]))) {
                bool value = j == 1;
                store(reading, &value, sizeof value);
                return ERR_OK;
            }
    return mistake(reading, "is neither true nor false; give one of the two");
}

static bool is_url(Str text) {
    ptrdiff_t colon = str_find(text, STR("://"));
    if (colon <= 0)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c <= ' ' || c == 0x7F)
            return false;
        bool in_scheme = i < (size_t)colon;
        bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (in_scheme && !letter && (i == 0 || !((c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.')))
            return false; /* RFC 3986 §3.1 */
    }
    return true;
}

static Err store_by_kind(const Reading *reading) {
    switch (reading->setting->kind) {
    case SETTING_TEXT:
        return store_text(reading);
    case SETTING_INT:
        return store_number(reading, parse_int, "is not a whole number; give digits, such as 8");
    case SETTING_BOOL:
        return store_bool(reading);
    case SETTING_DURATION_MS:
        return store_number(reading, config_parse_duration,
                            "is not a duration; give a number and ms, s, m, h or d, such as 30s");
    case SETTING_BYTES:
        return store_number(reading, config_parse_bytes,
                            "is not a size; give a number and B, kB, MB or GB, such as 4MB");
    case SETTING_URL:
        if (!is_url(reading->value))
            return mistake(reading,
                           "is not a URL; give scheme://…, white space and control characters percent-encoded");
        return store_text(reading);
    }
    return ERR_INTERNAL;
}

/* The row's own check, whose words stand in a Problem. */
static Err check(const Reading *reading) {
    if (reading->setting->check == NULL)
        return ERR_OK;
    Ctx ctx;
    ctx_init(&ctx, reading->arena, 0);
    Err err = reading->setting->check(&ctx, reading->value);
    if (err == ERR_OK)
        return ERR_OK;
    Buf *out = reading->mistakes;
    buf_add_c(out, reading->setting->env);
    buf_add_c(out, ": ");
    buf_add(out, ctx.problem.code == ERR_OK ? str_c(err_name(err)) : ctx.problem.message);
    if (ctx.problem.hint.p != NULL) {
        buf_add_c(out, "; ");
        buf_add(out, ctx.problem.hint);
    }
    buf_add_char(out, '\n');
    return ERR_INVALID;
}

static void store_absent(const Reading *reading) {
    static const int64_t zero = 0;
    static const bool no = false;
    static const Str absent = {NULL, 0};
    switch (reading->setting->kind) {
    case SETTING_TEXT:
    case SETTING_URL:
        store(reading, &absent, sizeof absent);
        break;
    case SETTING_BOOL:
        store(reading, &no, sizeof no);
        break;
    case SETTING_INT:
    case SETTING_DURATION_MS:
    case SETTING_BYTES:
        store(reading, &zero, sizeof zero);
        break;
    }
}

Err config_load(const Setting *table, void *settings, Arena *arena, const char *(*lookup)(const char *),
                Buf *mistakes) {
    Err worst = ERR_OK;
    for (const Setting *setting = table; setting->env != NULL; setting++) {
        const char *given = lookup(setting->env);
        if (given == NULL || given[0] == '\0')
            given = setting->fallback;
        Reading reading = {setting, settings, arena, mistakes, str_c(given)};
        if (given == NULL) {
            store_absent(&reading);
            continue;
        }
        if (store_by_kind(&reading) != ERR_OK || check(&reading) != ERR_OK)
            worst = ERR_INVALID;
    }
    return worst;
}
