/*
 * settings_file.c - the optional file of settings.
 */
#include "usher/settings_file.h"

#include <stdlib.h>

#include "api_gateway/api_gateway.h"
#include "legacy/quirks.h"
#include "runtime/log.h"
#include "usher/files.h"

#define FILE_MAX (1024 * 1024)

typedef struct SettingsFile {
    Arena *arena;
    struct {
        const char *name, *value;
    } rows[128];
    size_t n;
} SettingsFile;

static SettingsFile current; /* what was read last */

static bool is_setting(Str name) {
    for (const Setting *row = SETTINGS; row->env != NULL; row++)
        if (str_eq_c(name, row->env))
            return true;
    return false;
}

static Err read_line(Ctx *ctx, const char *path, int number, Str line) {
    line = str_trim(line, " \t\r");
    if (line.n == 0 || line.p[0] == '#')
        return ERR_OK;
    if (memchr(line.p, '\0', line.n) != NULL) /* what is behind it would be lost without a word */
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "%s line %d: a NUL byte; this is no text file", path, number);
    Str value = line;
    Str name = str_trim(str_cut(&value, '='), " \t");
    if (value.p == NULL)
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "%s line %d: NAME=value is wanted", path, number);
    if (!is_setting(name))
        return ctx_problem(ctx, ERR_INVALID, NULL,
                           "%s line %d: there is no setting %.*s; `usher help config` lists them", path, number,
                           STR_ARG(name));
    value = str_trim(value, " \t");
    if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
        value = str_slice(value, 1, value.n - 1);
    if (current.n == ARRAY_LEN(current.rows))
        return ctx_problem(ctx, ERR_LIMIT, NULL, "%s: more than %zu lines with settings", path,
                           ARRAY_LEN(current.rows));
    Str name_copy = arena_str(current.arena, name), value_copy = arena_str(current.arena, value);
    if (name_copy.p == NULL || value_copy.p == NULL)
        return ERR_NO_MEMORY;
    current.rows[current.n].name = name_copy.p;
    current.rows[current.n++].value = value_copy.p;
    return ERR_OK;
}

Err settings_file_take(Ctx *ctx, const char *path, Str text) {
    SettingsFile former = current;
    current.n = 0;
    current.arena = arena_new(4 * FILE_MAX);
    Err err = current.arena == NULL ? ERR_NO_MEMORY : ERR_OK;
    int number = 1;
    for (Str rest = text; err == ERR_OK && rest.p != NULL; number++)
        err = read_line(ctx, path, number, str_cut(&rest, '\n'));
    if (err != ERR_OK) {
        arena_freep(&current.arena);
        current = former;
        return err;
    }
    arena_freep(&former.arena); /* config_load copies what it takes */
    return ERR_OK;
}

Err settings_file_read(Ctx *ctx) {
    const char *path = getenv("USHER_CONFIG");
    Str text;
    if (path == NULL || path[0] == '\0')
        return ERR_OK;
    TRY(file_read(ctx, path, FILE_MAX, &text));
    return settings_file_take(ctx, path, text);
}

const char *settings_lookup(const char *name) {
    const char *own = getenv(name);
    if (own != NULL && own[0] != '\0')
        return own;
    for (size_t i = current.n; i > 0; i--) /* of equal names the last counts */
        if (strcmp(current.rows[i - 1].name, name) == 0)
            return current.rows[i - 1].value;
    return own;
}

Err settings_reload(Ctx *ctx, Buf *mistakes) {
    Settings settings = {0};
    TRY(settings_file_read(ctx));
    TRY(config_load(SETTINGS, &settings, ctx->arena, settings_lookup, mistakes));
    TRY(redact_configure(settings.shadow_redact));
    TRY(log_configure(settings.log_level, settings.log_format));
    return quirks_configure(ctx, settings.quirks_off);
}
