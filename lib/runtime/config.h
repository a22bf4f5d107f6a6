/*
 * config.h - settings from the environment: one table row parses, checks, documents and shows each.
 *
 * A table of Setting rows is the only place that knows a setting; `usher config` and `usher --help config` print it,
 * `usher doctor` checks it. Reading may fail (config_load: all mistakes at once, each with its mend); applying may not.
 */
#pragma once
#include "runtime/ctx.h"

typedef enum SettingKind {
    SETTING_TEXT,
    SETTING_INT,
    SETTING_BOOL,
    SETTING_DURATION_MS,
    SETTING_BYTES,
    SETTING_URL
} SettingKind;

typedef struct Setting {
    const char *env; /* DATABASE_URL */
    SettingKind kind;
    size_t offset;                     /* of a Str, int64_t or bool in the settings struct */
    const char *fallback;              /* text of the default; NULL: absent */
    int64_t min, max;                  /* for numbers; both 0: unchecked */
    bool secret;                       /* shown as *** (URLs: only their password) */
    bool reload;                       /* takes effect on SIGHUP */
    const char *doc;                   /* one sentence */
    Err (*check)(Ctx *ctx, Str value); /* may be NULL; records a problem */
} Setting;

/** An empty variable counts as absent. Reads all rows (ended by env == NULL) from `getenv`-like lookup into settings
 *  (Strs in arena). All mistakes are appended to `mistakes`, one sentence a line, each saying how to mend it.
 *  ERR_INVALID when there was one. */
MUST_USE Err config_load(const Setting *table, void *settings, Arena *arena, const char *(*lookup)(const char *),
                         Buf *mistakes);
/** The value as `usher config` shows it: secrets masked; nothing for an absent text. */
void config_show(const Setting *setting, const void *settings, Buf *out);
/** "250ms", "2s", "5m" → milliseconds; "16kB", "4MB" → bytes. ERR_SYNTAX. */
MUST_USE Err config_parse_duration(Str text, int64_t *ret_ms);
MUST_USE Err config_parse_bytes(Str text, int64_t *ret);
