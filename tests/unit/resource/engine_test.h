/*
 * engine_test.h - a small context to run sets on: things with a unique name, and one action that can be told to
 * misbehave.
 */
#pragma once
#include <glob.h>
#include <unistd.h>

#include "../pg/pg_test.h"
#include "resource/engine_internal.h"
#include "resource/migrate.h"

typedef struct Thing {
    Id id;
    Str name;
    int32_t value;
} Thing;

/* The outbox's columns are known by name (lib/bus declares them for the real contexts). */
typedef struct TestOutboxRow {
    int64_t position;
    Id message_id;
    Str type;
    Id aggregate;
    Str payload, traceparent, tracestate, baggage;
    Instant appended_at;
} TestOutboxRow;

/* Drops and makes the context's schema from its declarations. */
UNUSED static void test_schema(const Context *context) {
    char sql[65536], folder[] = "/tmp/usher-unit.XXXXXX", pattern[128];
    snprintf(sql, sizeof sql, "DROP SCHEMA IF EXISTS %s CASCADE; CREATE SCHEMA %s", context->schema, context->schema);
    test_sql(sql);
    assert_true(mkdtemp(folder) != NULL);
    Arena *arena = arena_new((size_t)64 * 1024 * 1024);
    Context fresh = *context;
    fresh.migrations = NULL;
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    Buf report = buf_new(arena, (size_t)1024 * 1024);
    Err err = migrate_generate(&ctx, &fresh, &(GenerateOptions){.name = "all", .directory = folder}, &report);
    if (err != ERR_OK)
        fail_msg("migrate_generate: %s %.*s %.*s", err_name(err), STR_ARG(ctx.problem.message),
                 STR_ARG(buf_str(&report)));
    glob_t files;
    snprintf(pattern, sizeof pattern, "%s/*", folder);
    assert_int_equal(glob(pattern, 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        if (str_ends_with(str_c(files.gl_pathv[i]), STR(".up.sql"))) {
            FILE *file = fopen(files.gl_pathv[i], "rb");
            size_t n = fread(sql, 1, sizeof sql - 1, file);
            fclose(file);
            sql[n] = '\0';
            test_sql(sql);
        }
        unlink(files.gl_pathv[i]);
    }
    globfree(&files);
    rmdir(folder);
    arena_free(arena);
    if (test_failure[0] != '\0')
        fail_msg("%s", test_failure);
}

UNUSED static Id test_id(int n) {
    Id id = {{0}};
    id.bytes[6] = 0x40;
    id.bytes[8] = 0x80;
    id.bytes[14] = (uint8_t)(n >> 8);
    id.bytes[15] = (uint8_t)n;
    return id;
}
