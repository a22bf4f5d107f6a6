/*
 * pg_pool.c - one database under one role: its settings, its connections, its end.
 *
 * Role, search_path and statement_timeout travel as start-up options (-c name=value), so that a connection is never up
 * without them and no round trip is spent. They are appended to the options that the URL brings.
 */
#include "base/heap.h"
#include "pg/pg_private.h"

/* libpq splits options at spaces; a backslash keeps one (pg_split_opts). */
static void option_add(Buf *buf, const char *name, Str value) {
    if (value.p == NULL)
        return;
    buf_add_c(buf, " -c ");
    buf_add_c(buf, name);
    buf_add_char(buf, '=');
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == ' ' || value.p[i] == '\\')
            buf_add_char(buf, '\\');
        buf_add_char(buf, value.p[i]);
    }
}

static Err options_of(PgPool *pool, const PgConfig *config, const char **ret) {
    char *message = NULL;
    PQconninfoOption *url = PQconninfoParse(pool->url, &message);
    if (url == NULL) {
        pool_set_error(pool, message == NULL ? "out of memory" : message);
        PQfreemem(message);
        return ERR_INVALID;
    }
    Buf buf = buf_new(pool->arena, 4096);
    for (const PQconninfoOption *option = url; option->keyword != NULL; option++) {
        if (strcmp(option->keyword, "options") == 0 && option->val != NULL)
            buf_add_c(&buf, option->val);
    }
    PQconninfoFree(url);
    option_add(&buf, "role", config->role);
    option_add(&buf, "search_path", config->search_path);
    if (config->statement_timeout_ms > 0) {
        buf_add_c(&buf, " -c statement_timeout=");
        buf_add_i64(&buf, config->statement_timeout_ms);
    }
    if (config->rolls_back) /* what is outside any transaction; pg_tx.c says READ WRITE for those inside */
        buf_add_c(&buf, " -c default_transaction_read_only=on");
    buf_add_char(&buf, '\0');
    Str text;
    TRY(buf_finish(&buf, &text));
    *ret = text.p;
    return ERR_OK;
}

static Err pool_configure(PgPool *pool, const PgConfig *config) {
    pool->arena = arena_new((size_t)64 * 1024);
    if (pool->arena == NULL)
        return ERR_NO_MEMORY;
    pool->url = arena_str(pool->arena, config->url).p;
    Str name = config->application_name.p == NULL ? STR("usher") : config->application_name;
    pool->application_name = arena_str(pool->arena, name).p;
    if (pool->url == NULL || pool->application_name == NULL)
        return ERR_NO_MEMORY;
    pool->observer = config->observer;
    pool->pooled = config->pooled;
    pool->rolls_back = config->rolls_back;
    pool->connect_timeout_ms = config->connect_timeout_ms > 0 ? config->connect_timeout_ms : 5000;
    if (config->pooled) { /* poolers refuse start-up options */
        pool->options = "";
        return ERR_OK;
    }
    return options_of(pool, config, &pool->options);
}

static Err pool_connect(PgPool *pool, int writers) {
    TRY(conn_open(pool, CONN_READER, &pool->reader));
    for (int i = 0; i < writers; i++) {
        TRY(conn_open(pool, CONN_WRITER, &pool->writers[i]));
        pool->writers_n++;
    }
    return ERR_OK;
}

Err pg_pool_new(Loop *loop, const PgConfig *config, PgPool **ret) {
    PgPool *pool = HEAP_NEW(PgPool);
    if (pool == NULL)
        return ERR_NO_MEMORY;
    pool->loop = loop;
    pool->users = 1;
    pool->flush = (TurnHook){.fn = reader_flush_hook, .rank = TURN_FLUSH};
    Err err = pool_configure(pool, config);
    if (err == ERR_OK)
        err = pool_connect(pool, MIN_OF(MAX_OF(config->writers, 1), PG_WRITERS_MAX));
    if (err != ERR_OK) {
        pg_pool_free(pool);
        return err;
    }
    *ret = pool;
    return ERR_OK;
}

bool pg_pool_rolls_back(const PgPool *pool) {
    return pool->rolls_back;
}

void pg_pool_free(PgPool *pool) {
    if (pool == NULL || pool->closed)
        return;
    pool->closed = true;
    reader_close(pool);
    writer_close(pool);
    conn_free(pool->reader);
    for (int i = 0; i < pool->writers_n; i++)
        conn_free(pool->writers[i]);
    conn_free(pool->listener);
    pool->reader = pool->listener = NULL;
    pool->writers_n = 0;
    /* The memory goes with the last who knows it: a coroutine inside a call, or the armed hook. */
    if (!pool->flush.armed)
        pool_leave(pool);
}

void pool_enter(PgPool *pool) {
    pool->users++;
}

void pool_leave(PgPool *pool) {
    if (--pool->users > 0)
        return;
    arena_free(pool->arena);
    heap_free(pool);
}

void pool_set_error(PgPool *pool, const char *message) {
    if (message == pool->last_error)
        return;
    snprintf(pool->last_error, sizeof pool->last_error, "%s", message);
    /* The first line says what; libpq's others guess why. */
    pool->last_error[strcspn(pool->last_error, "\n")] = '\0';
}

bool pg_pool_ready(const PgPool *pool) {
    bool writer = false;
    for (int i = 0; i < pool->writers_n; i++)
        writer = writer || pool->writers[i]->state == CONN_UP;
    return writer && pool->reader != NULL && pool->reader->state == CONN_UP;
}

void pg_pool_endpoint(const PgPool *pool, PgEndpoint *ret) {
    *ret = (PgEndpoint){0};
    if (pool->reader == NULL || pool->reader->raw == NULL)
        return;
    const PGconn *raw = pool->reader->raw;
    *ret = (PgEndpoint){.database = str_c(PQdb(raw)), .host = str_c(PQhost(raw))};
    uint64_t port;
    bool socket = ret->host.n > 0 && ret->host.p[0] == '/';
    if (!socket && str_to_u64(str_c(PQport(raw)), 65535, &port) == ERR_OK)
        ret->port = (int)port;
}

int64_t pool_observe_begin(const PgPool *pool) {
    return pool->observer == NULL ? 0 : clock_mono_ns();
}

void pool_observe_end(PgPool *pool, Ctx *ctx, const Statement *statement, int64_t began_ns, Err err) {
    if (pool->observer == NULL)
        return;
    pool->observer->done(&(PgObservation){
        .ctx = ctx, .pool = pool, .statement = statement, .began_ns = began_ns, .err = err, .sqlstate = pg_sqlstate()});
}

Str pg_pool_last_error(const PgPool *pool) {
    return str_c(pool->last_error);
}
