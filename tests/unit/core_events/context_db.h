/*
 * context_db.h - a context on a real, freshly migrated Postgres, asked by several workers at once.
 *
 * A worker of usher is an engine with a pool of its own; several of them on one loop contend in Postgres exactly as
 * processes do. cmocka's assertions may not be used inside coroutines, so each Ask notes its outcome and the test looks
 * at them afterwards.
 */
#pragma once
#include <stdlib.h>

#include "recordings.h"
#include "resource/migrate.h"

#define WORKERS 3

typedef struct ContextDb {
    const Context *context;
    Loop *loop;
    PgPool *pools[WORKERS];
    Engine *engines[WORKERS];
    Ctx ctx;
    int left;
} ContextDb;

/** One call of an action by one request. */
typedef struct Ask {
    ContextDb *db;
    int worker;
    const Resource *resource;
    const char *action;
    void *input;
    Err err;
    char words[160];
} Ask;

#define NEED_DATABASE()                                                                                                \
    do {                                                                                                               \
        if (getenv("DATABASE_URL") == NULL) {                                                                          \
            print_message("skipped: DATABASE_URL is not set (tools/with-postgres make unit-...)\n");                   \
            skip();                                                                                                    \
        }                                                                                                              \
    } while (0)

/** Statements from the side; the first value as a number (0: none). */
static inline long long db_sql(const char *sql) {
    PGconn *conn = PQconnectdb(getenv("DATABASE_URL"));
    PGresult *answer = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(answer);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    long long value = 0;
    if (status == PGRES_TUPLES_OK && PQntuples(answer) > 0)
        value = strtoll(PQgetvalue(answer, 0, 0), NULL, 10);
    PQclear(answer);
    PQfinish(conn);
    return value;
}

/** The first value as text. */
static inline Str db_text(Ctx *ctx, const char *sql) {
    PGconn *conn = PQconnectdb(getenv("DATABASE_URL"));
    PGresult *answer = PQexec(conn, sql);
    if (PQresultStatus(answer) != PGRES_TUPLES_OK || PQntuples(answer) == 0)
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    Str text = arena_str(ctx->arena, str_c(PQgetvalue(answer, 0, 0)));
    PQclear(answer);
    PQfinish(conn);
    return text;
}

#define assert_db_text(db, sql, want)                                                                                  \
    do {                                                                                                               \
        Str got_ = db_text(&(db)->ctx, (sql));                                                                         \
        if (!str_eq_c(got_, (want)))                                                                                   \
            fail_msg("%s: got %.*s, want %s", (sql), STR_ARG(got_), (want));                                           \
    } while (0)

/* Through the context's own migrations, as its own role: what is tested here includes grants. */
static inline void db_migrate(ContextDb *db) {
    PGconn *conn = PQconnectdb(getenv("DATABASE_URL"));
    char drop[160];
    snprintf(drop, sizeof drop, "SET client_min_messages = warning; DROP SCHEMA IF EXISTS %s CASCADE",
             db->context->schema);
    db_sql(drop);
    Buf report = buf_new(db->ctx.arena, 1 << 20), mistakes = buf_new(db->ctx.arena, 1 << 20);
    if (migrate_up(&db->ctx, db->context, conn, 0, &report) != ERR_OK)
        fail_msg("migrate_up: %.*s", STR_ARG(db->ctx.problem.message));
    if (migrate_verify(&db->ctx, db->context, conn, &report) != ERR_OK)
        fail_msg("migrate_verify: %.*s", STR_ARG(buf_str(&report)));
    if (context_verify_database(&db->ctx, db->context, conn, &mistakes) != 0)
        fail_msg("context_verify_database: %.*s", STR_ARG(buf_str(&mistakes)));
    PQfinish(conn);
}

static inline ContextDb *db_open(const Context *context) {
    ContextDb *db = heap_alloc(sizeof *db);
    assert_non_null(db);
    db->context = context;
    db->ctx = test_ctx();
    quirks_off(&db->ctx, "");
    db_migrate(db);
    assert_int_equal(loop_new(&db->loop), ERR_OK);
    for (int i = 0; i < WORKERS; i++) {
        PgConfig config = {.url = str_c(getenv("DATABASE_URL")),
                           .role = str_c(context->role),
                           .application_name = STR("unit"),
                           .writers = 1,
                           .connect_timeout_ms = 5000,
                           .statement_timeout_ms = 25000};
        assert_int_equal(pg_pool_new(db->loop, &config, &db->pools[i]), ERR_OK);
        assert_int_equal(engine_new(db->loop, context, db->pools[i], &db->engines[i]), ERR_OK);
    }
    return db;
}

static inline void db_close(ContextDb *db) {
    for (int i = 0; i < WORKERS; i++) {
        engine_free(db->engines[i]);
        pg_pool_free(db->pools[i]);
    }
    loop_run(db->loop); /* until everything has closed */
    loop_free(db->loop);
    test_ctx_done(&db->ctx);
    heap_free(db);
}

static inline void ask_run(Ctx *ctx, void *arg) {
    Ask *ask = arg;
    ContextDb *db = ask->db;
    ask->err = action_run(db->engines[ask->worker], ask->resource, ask->action, ctx, ask->input, NULL);
    Str words = ctx->problem.message;
    snprintf(ask->words, sizeof ask->words, "%.*s", words.p == NULL ? 0 : (int)words.n, words.p == NULL ? "" : words.p);
    if (--db->left == 0)
        loop_stop(db->loop);
}

/** All at once, spread over the workers in turn; returns how many got ERR_OK. */
static inline size_t ask_all(ContextDb *db, Ask *asks, size_t n) {
    CoOptions options = {.name = "ask", .deadline_ms = clock_mono_ms() + 60000};
    db->left = (int)n;
    for (size_t i = 0; i < n; i++) {
        asks[i].db = db;
        asks[i].worker = (int)(i % WORKERS);
        assert_int_equal(co_spawn(db->loop, ask_run, &asks[i], &options, NULL), ERR_OK);
    }
    loop_run(db->loop);
    assert_int_equal(db->left, 0);
    size_t good = 0;
    for (size_t i = 0; i < n; i++)
        good += asks[i].err == ERR_OK;
    return good;
}

/** One request; its outcome. Words stay in ask->words. */
static inline Err ask_one(ContextDb *db, Ask *ask) {
    ask_all(db, ask, 1);
    return ask->err;
}

/** All refused ones were refused with these words. */
static inline void assert_refused_with(const Ask *asks, size_t n, Err err, const char *words) {
    for (size_t i = 0; i < n; i++)
        if (asks[i].err != ERR_OK && (asks[i].err != err || strcmp(asks[i].words, words) != 0))
            fail_msg("request %zu: got %s %s, want %s %s", i, err_name(asks[i].err), asks[i].words, err_name(err),
                     words);
}
