/*
 * pg_listen.c - NOTIFY, on a connection of its own.
 *
 * LISTEN takes effect when its transaction commits, that is at its Sync; only then are subscribers told that they hear
 * again (payload absent), so that reading the state behind that call misses nothing. Each channel has its own Sync and
 * they are sent in order: the n-th answer since connecting is channel n's.
 */
#include "pg/pg_private.h"

static bool listen_send(PgConn *conn, const PgChannel *channel) {
    char sql[160];
    int n = snprintf(sql, sizeof sql, "LISTEN \"%s\"", channel->name);
    ASSERT(n > 0 && (size_t)n < sizeof sql);
    return pipeline_text(conn, SLOT_LISTEN, sql, NULL) && pipeline_sync(conn, NULL) && pipeline_flush(conn);
}

void listener_start(PgConn *conn) {
    PgPool *pool = conn->pool;
    conn->listened = 0;
    for (int i = 0; i < pool->channels_n; i++) {
        if (!listen_send(conn, &pool->channels[i])) {
            conn_lost(conn, PQerrorMessage(conn->raw));
            return;
        }
    }
    conn_watch(conn);
}

void listener_confirmed(PgConn *conn) {
    const PgChannel *channel = &conn->pool->channels[conn->listened++];
    channel->fn((Str){NULL, 0}, channel->data);
}

void listener_take(PgConn *conn) {
    PgPool *pool = conn->pool;
    for (PGnotify *notify; (notify = PQnotifies(conn->raw)) != NULL; PQfreemem(notify)) {
        for (int i = 0; i < pool->channels_n; i++) {
            if (strcmp(pool->channels[i].name, notify->relname) == 0)
                pool->channels[i].fn(str_c(notify->extra), pool->channels[i].data);
        }
    }
}

Err pg_listen(PgPool *pool, const char *channel, void (*fn)(Str payload, void *data), void *data) {
    ASSERT(strchr(channel, '"') == NULL && strlen(channel) < 64);
    if (pool->closed)
        return ERR_CANCELLED;
    if (pool->pooled) /* LISTEN would belong to whoever gets the server's connection next */
        return ERR_OK;
    if (pool->channels_n == PG_CHANNELS_MAX)
        return ERR_LIMIT;
    Str name = arena_str(pool->arena, str_c(channel));
    if (name.p == NULL)
        return ERR_NO_MEMORY;
    pool->channels[pool->channels_n++] = (PgChannel){name.p, fn, data};
    if (pool->listener == NULL) {
        Err err = conn_open(pool, CONN_LISTENER, &pool->listener);
        if (err != ERR_OK)
            pool->channels_n--;
        return err;
    }
    PgConn *conn = pool->listener;
    if (conn->state != CONN_UP)
        return ERR_OK; /* listener_start will say all of them */
    if (!listen_send(conn, &pool->channels[pool->channels_n - 1]))
        conn_lost(conn, PQerrorMessage(conn->raw));
    else
        conn_watch(conn);
    return ERR_OK;
}
