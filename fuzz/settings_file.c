/*
 * settings_file.c - any file of settings: refused with the line's number, or every value is what the last line of its
 * name says, loads or is refused in words, and secrets stay secret.
 */
#include "usher/settings_file.h"

#include "fuzz.h"

#define ARENA_BYTES ((size_t)32 << 20)
#define OUT_MAX     ((size_t)4 << 20)

static Err take(Arena *arena, Str text) {
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    Err err = settings_file_take(&ctx, "fuzz.env", text);
    FUZZ_CHECK(err == ERR_OK || err == ERR_SYNTAX || err == ERR_INVALID || err == ERR_LIMIT || err == ERR_NO_MEMORY);
    FUZZ_CHECK(err == ERR_OK || err == ERR_NO_MEMORY || str_starts_with(ctx.problem.message, STR("fuzz.env")));
    return err;
}

/* A file of what was read says the same. */
static void check_again(Arena *arena) {
    Buf first = buf_new(arena, OUT_MAX), second = buf_new(arena, OUT_MAX);
    for (int round = 0; round < 2; round++) {
        Buf *out = round == 0 ? &first : &second;
        for (const Setting *row = SETTINGS; row->env != NULL; row++)
            if (settings_lookup(row->env) != NULL)
                buf_printf(out, "%s=\"%s\"\r\n", row->env, settings_lookup(row->env));
        FUZZ_CHECK(out->err == ERR_OK);
        if (round == 0)
            FUZZ_CHECK(take(arena, buf_str(out)) == ERR_OK);
    }
    FUZZ_CHECK(str_eq(buf_str(&first), buf_str(&second)));
}

static void check_load(Arena *arena) {
    Settings settings = {0};
    Buf mistakes = buf_new(arena, OUT_MAX);
    Err err = config_load(SETTINGS, &settings, arena, settings_lookup, &mistakes);
    FUZZ_CHECK(err == ERR_OK || err == ERR_INVALID);
    FUZZ_CHECK((err == ERR_OK) == (mistakes.n == 0));
    for (const Setting *row = SETTINGS; err == ERR_OK && row->env != NULL; row++) {
        Buf shown = buf_new(arena, OUT_MAX);
        config_show(row, &settings, &shown);
        FUZZ_CHECK(shown.err == ERR_OK);
        if (row->secret && row->kind == SETTING_TEXT)
            FUZZ_CHECK(shown.n == 0 || str_eq_c(buf_str(&shown), "***"));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena *arena = arena_new(ARENA_BYTES);
    if (take(arena, (Str){(const char *)data, size}) == ERR_OK) {
        check_load(arena);
        check_again(arena);
    }
    FUZZ_CHECK(take(arena, STR("")) == ERR_OK); /* nothing stays for the next input */
    arena_free(arena);
    return 0;
}
