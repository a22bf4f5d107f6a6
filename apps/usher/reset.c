/*
 * reset.c - empties a development database.
 *
 * One transaction. First the bus gate: relays and consumers hold it shared while a batch is in hand, so once it is ours
 * no batch is half done and none begins; that is why no earlier message can have an effect afterwards. Then all tables
 * are truncated in the order in which writers lock them (context tables before their outbox), so that no writer and we
 * can wait for each other in a circle. Tables seeded by a migration (the venues) stay.
 */
#include "usher/app.h"

static void add_tables(const Context *context, Buf *sql) {
    for (const Resource *const *resource = context->resources; *resource != NULL; resource++) {
        if ((*resource)->seed_sql != NULL)
            continue;
        buf_printf(sql, "%s%s.%s", sql->n == 0 ? "" : ", ", (*resource)->schema, (*resource)->plural);
    }
}

Err app_reset(Ctx *ctx, const Settings *settings) {
    for (const Context *const *context = CONTEXTS; *context != NULL; context++)
        if (!str_eq(settings_database_url(settings, (*context)->database_env), settings->database_url))
            return ctx_problem(ctx, ERR_REFUSED, NULL,
                               "reset empties one development database; %s names another than DATABASE_URL",
                               (*context)->database_env);
    Buf tables = buf_new(ctx->arena, 64 * 1024);
    for (const Context *const *context = CONTEXTS; *context != NULL; context++)
        add_tables(*context, &tables);
    Str list;
    TRY(buf_finish(&tables, &list));
    Str sql = arena_printf(ctx->arena,
                           "BEGIN; SET LOCAL lock_timeout = '5s'; SET LOCAL synchronous_commit = off;"
                           " SELECT pg_advisory_xact_lock(%lld);"
                           " TRUNCATE %.*s RESTART IDENTITY; COMMIT",
                           (long long)BUS_GATE_LOCK, STR_ARG(list));
    if (sql.p == NULL)
        return ERR_NO_MEMORY;
    PGconn *conn;
    TRY(pg_sync_connect(ctx, settings->database_url, (Str){NULL, 0}, &conn));
    Err err = pg_sync_exec(ctx, conn, sql.p, NULL);
    PQfinish(conn);
    return err;
}
