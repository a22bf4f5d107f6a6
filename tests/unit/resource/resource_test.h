/*
 * resource_test.h - a small shop that the tests of lib/resource declare, change and migrate.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "pg/pg.h"
#include "resource/compose.h"
#include "resource/migrate.h"

typedef struct Item {
    Id id;
    Str title;
    Str note;
    Decimal price;
    int32_t stock;
    int16_t rank;
    int64_t views;
    bool sold;
    OptId owner_id;
    Instant made_at;
    OptInstant gone_at;
    Instant seen_at;
    JsonText extra;
} Item;

/* The columns that most tests need; each test adds or leaves out some. */
#define ITEM_ID    ATTR(Item, id, .key = true, .generated = true)
#define ITEM_TITLE ATTR(Item, title, .required = true)
#define ITEM_PRICE ATTR(Item, price, .required = true, .precision = 18, .scale = 2)
#define ATTRIBUTES(...)                                                                                                \
    (const Attribute[]) {                                                                                              \
        __VA_ARGS__, {                                                                                                 \
            0                                                                                                          \
        }                                                                                                              \
    }

UNUSED static bool by_anyone(const Ctx *ctx, const Action *action, const void *input) {
    (void)ctx, (void)action, (void)input;
    return true;
}

/* A context of at most three resources, filled in by the test. */
typedef struct Shop {
    Resource resources[3];
    const Resource *list[4];
    Migration migrations[8];
    Context context;
} Shop;

UNUSED static void shop_init(Shop *shop, const Attribute *items) {
    memset(shop, 0, sizeof *shop);
    shop->resources[0] = (Resource){.name = "item",
                                    .plural = "items",
                                    .schema = "shop",
                                    .size = sizeof(Item),
                                    .attributes = items,
                                    .internal = true};
    shop->list[0] = &shop->resources[0];
    shop->context = (Context){.name = "shop",
                              .schema = "shop",
                              .role = "shop_app",
                              .database_env = "SHOP_DATABASE_URL",
                              .resources = shop->list,
                              .migrations = shop->migrations};
}

UNUSED static Resource *shop_add(Shop *shop, const char *name, const char *plural, const Attribute *attributes) {
    size_t n = 0;
    while (shop->list[n] != NULL)
        n++;
    assert_true(n < 3);
    shop->resources[n] = (Resource){.name = name,
                                    .plural = plural,
                                    .schema = "shop",
                                    .size = sizeof(Item),
                                    .attributes = attributes,
                                    .internal = true};
    shop->list[n] = &shop->resources[n];
    return &shop->resources[n];
}

static Arena *arena;
static Ctx ctx;
static Buf report;

UNUSED static int fresh(void **state) {
    (void)state;
    arena = arena_new(64 << 20);
    if (arena == NULL)
        return 1;
    ctx_init(&ctx, arena, 0);
    report = buf_new(arena, 1 << 20);
    return 0;
}

UNUSED static int done(void **state) {
    (void)state;
    arena_free(arena);
    return 0;
}

UNUSED static const char *text_of(const Buf *buf) {
    Str text;
    assert_int_equal(buf_finish(buf, &text), ERR_OK);
    return arena_str(arena, text).p;
}

/* ctx's problem belongs to one call. */
#define ASSERT_ERR(call, want)                                                                                         \
    do {                                                                                                               \
        ctx.problem = (Problem){0};                                                                                    \
        Err err_ = (call);                                                                                             \
        if (err_ != (want))                                                                                            \
            fail_msg("%s: want %s, got %s: %.*s\n%s", #call, err_name(want), err_name(err_),                           \
                     STR_ARG(ctx.problem.message), text_of(&report));                                                  \
    } while (0)

#define ASSERT_SAYS(text, words)                                                                                       \
    do {                                                                                                               \
        if (strstr((text), (words)) == NULL)                                                                           \
            fail_msg("want \"%s\" in:\n%s", (words), (text));                                                          \
    } while (0)

/* --- with a database --------------------------------------------------------------------------------------- */

UNUSED static PGconn *connect_or_skip(void) {
    const char *url = getenv("DATABASE_URL");
    if (url == NULL) {
        print_message("no DATABASE_URL: run under tools/with-postgres\n");
        skip();
    }
    PGconn *conn = NULL;
    ASSERT_ERR(pg_sync_connect(&ctx, str_c(url), (Str){0}, &conn), ERR_OK);
    return conn;
}

UNUSED static void sql(PGconn *conn, const char *text) {
    ASSERT_ERR(pg_sync_exec(&ctx, conn, text, NULL), ERR_OK);
}

/* The first value of a query's answer; "" where there is no row or a NULL. */
UNUSED static const char *ask(PGconn *conn, const char *text) {
    PGresult *result = NULL;
    ASSERT_ERR(pg_sync_exec(&ctx, conn, text, &result), ERR_OK);
    Str value = arena_str(arena, str_c(PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : ""));
    PQclear(result);
    return value.p;
}

UNUSED static void drop_shop(PGconn *conn) {
    sql(conn, "SET client_min_messages = warning; DROP SCHEMA IF EXISTS shop CASCADE; "
              "DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'shop_app') THEN DROP OWNED BY shop_app; "
              "DROP ROLE shop_app; END IF; END $$");
}

/* --- generating -------------------------------------------------------------------------------------------- */

UNUSED static const char *snapshot_of(const Shop *shop) {
    Buf out = buf_new(arena, 1 << 20);
    snapshot_write(&shop->context, &out);
    return text_of(&out);
}

UNUSED static char *new_folder(void) {
    Str path = arena_printf(arena, "%s/usher-migrations.XXXXXX", getenv("TMPDIR") == NULL ? "/tmp" : getenv("TMPDIR"));
    char *folder = (char *)(uintptr_t)path.p;
    assert_non_null(mkdtemp(folder));
    return folder;
}

UNUSED static const char *read_text(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return NULL;
    char *text = arena_alloc(arena, 1 << 18);
    size_t n = fread(text, 1, (1 << 18) - 1, file);
    text[n] = '\0';
    fclose(file);
    return text;
}

UNUSED static const char *migration_file(const char *folder, int number, const char *name, const char *suffix) {
    return read_text(arena_printf(arena, "%s/%04d_%s.%s", folder, number, name, suffix).p);
}

/* Takes up what migrate_generate wrote under `name` (and name_online), as the build would embed it. */
UNUSED static void embed(Shop *shop, const char *folder, const char *name) {
    size_t n = 0;
    while (shop->migrations[n].name != NULL)
        n++;
    const char *names[] = {name, arena_printf(arena, "%s_online", name).p};
    for (size_t i = 0; i < 2; i++) {
        int number = (int)n + 1;
        const char *up = migration_file(folder, number, names[i], "up.sql");
        if (up == NULL)
            continue;
        shop->migrations[n++] = (Migration){number, names[i], up, migration_file(folder, number, names[i], "down.sql"),
                                            migration_file(folder, number, names[i], "snapshot.json")};
    }
}

UNUSED static void remove_folder(const char *folder) {
    Str command = arena_printf(arena, "rm -rf '%s'", folder);
    assert_int_equal(system(command.p), 0);
}
