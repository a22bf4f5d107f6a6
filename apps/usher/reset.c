/*
 * reset.c - empties a development database.
 *
 * One transaction. First the bus gate: relays and consumers hold it shared while a batch is in hand, so once it is ours
 * no batch is half done and none begins; that is why no earlier message can have an effect afterwards. Then all tables
 * are locked against writers in the order in which writers lock them (context tables before their outbox), so that no
 * writer and we can wait for each other in a circle. Tables seeded by a migration (the venues) stay.
 *
 * Small tables are emptied by DELETE, large ones by TRUNCATE: TRUNCATE makes new files for every table, index and toast
 * table, which costs more than deleting the few rows that a test leaves behind.
 */
#include "usher/app.h"

static const char SCRIPT[] =
    "BEGIN;"
    " SET LOCAL lock_timeout = '5s';"
    " SET LOCAL synchronous_commit = off;"
    " SELECT pg_advisory_xact_lock(%lld);"
    " LOCK TABLE %.*s IN EXCLUSIVE MODE;"
    " DO $$ DECLARE name text; large text := '';"
    " BEGIN"
    "  FOREACH name IN ARRAY string_to_array('%.*s', ', ') LOOP"
    "   IF pg_total_relation_size(name::regclass) > 2000000 THEN large := large || ', ' || name;"
    "   ELSE EXECUTE 'DELETE FROM ' || name; END IF;"
    "  END LOOP;"
    "  IF large <> '' THEN EXECUTE 'TRUNCATE ' || substr(large, 3) || ' CASCADE'; END IF;"
    " END $$;"
    " COMMIT";

/* Jobs take locks in an order of their own: whom Postgres ends for that, or who waited too long, begins anew. */
enum { TRIES = 5 };

static bool is_emptied(const Resource *resource) {
    return resource->seed_sql == NULL;
}

static void add_tables(const Context *context, Buf *list) {
    for (const Resource *const *resource = context->resources; *resource != NULL; resource++)
        if (is_emptied(*resource))
            buf_printf(list, "%s%s.%s", list->n == 0 ? "" : ", ", (*resource)->schema, (*resource)->plural);
}

static Err empty(Ctx *ctx, const Settings *settings, Str sql) {
    PGconn *conn;
    TRY(pg_sync_connect(ctx, settings->database_url, (Str){NULL, 0}, &conn));
    Err err = pg_sync_exec(ctx, conn, sql.p, NULL);
    PQfinish(conn);
    return err;
}

Err app_reset(Ctx *ctx, const Settings *settings) {
    for (const Context *const *context = CONTEXTS; *context != NULL; context++)
        if (strcmp((*context)->name, "gateway") != 0 &&
            !str_eq(settings_database_url(settings, (*context)->database_env), settings->database_url))
            return ctx_problem(ctx, ERR_REFUSED, NULL,
                               "reset empties one development database; %s names another than DATABASE_URL",
                               (*context)->database_env);
    Buf tables = buf_new(ctx->arena, 64 * 1024);
    for (const Context *const *context = CONTEXTS; *context != NULL; context++)
        if (strcmp((*context)->name, "gateway") != 0) /* it remembers what was seen, not what is */
            add_tables(*context, &tables);
    Str list;
    TRY(buf_finish(&tables, &list));
    Str sql = arena_printf(ctx->arena, SCRIPT, (long long)BUS_GATE_LOCK, STR_ARG(list), STR_ARG(list));
    if (sql.p == NULL)
        return ERR_NO_MEMORY;
    Err err = empty(ctx, settings, sql);
    for (int i = 1; err == ERR_RETRY && i < TRIES; i++) {
        problem_clear(ctx);
        err = empty(ctx, settings, sql);
    }
    return err;
}
