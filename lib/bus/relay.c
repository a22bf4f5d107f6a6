/*
 * relay.c - from a context's outbox to the transport, in order, at least once.
 *
 * One transaction holds the outbox's advisory lock from reading a batch to deleting it, and the transport confirms in
 * between. A crash before the delete's commit publishes the batch again; the inbox knows its ids. One relay drains an
 * outbox at a time; others stand by. Positions are drawn inside the writers' transactions and may become visible out of
 * order, but never within one aggregate: an action writes its entity's row before its outbox row, so a second change of
 * the same entity waits for the first one's commit before it draws its position. Hence rows are deleted by position,
 * never "up to" one.
 *
 * Logical decoding would spare the table, and would tie us to a replication slot that fills the disk when nobody reads
 * (README.md).
 */
#include "base/heap.h"
#include "bus/loops.h"
#include "bus/tracing.h"

#define RELAY_BATCH   500
#define RELAY_POLL_MS 1000
#define RELAY_BYTES   (4 * 1024 * 1024)
/* From reading a batch to its delete's commit. */
#define RELAY_DEADLINE_MS 60000
/* While a reset has the gate. */
#define GATE_RETRY_MS 50

typedef struct RelayState {
    const Relay *relay;
    const Statement *locks, *oldest, *forget;
    size_t batch;
    int64_t poll_ms;
    uint64_t seen; /* wake-ups of the outbox */
} RelayState;

typedef struct RelayBatch {
    RelayState *state;
    Ctx *ctx;
    bool gated; /* a reset has the gate */
    size_t n;
} RelayBatch;

/* --- one batch ---------------------------------------------------------------------------------------------------- */

CO_FN static Err take_locks(PgTx *tx, RelayBatch *b, bool *ret_locked) {
    PgParams params;
    PgResult result;
    pg_params_init(&params, b->ctx->arena);
    pg_add_i64(&params, BUS_GATE_LOCK);
    TRY(pg_tx_query(tx, b->state->locks, &params, &result));
    b->gated = !pg_bool(&result, 0, 0);
    *ret_locked = !b->gated && pg_bool(&result, 0, 1);
    return ERR_OK;
}

static Err read_rows(Ctx *ctx, const PgResult *rows, Envelope **ret) {
    Envelope *messages = ARENA_ARRAY(ctx->arena, Envelope, (size_t)rows->rows);
    if (messages == NULL)
        return ERR_NO_MEMORY;
    for (int i = 0; i < rows->rows; i++)
        messages[i] = (Envelope){.tag = pg_i64(rows, i, 0),
                                 .message_id = pg_id(rows, i, 1),
                                 .type = pg_text(rows, i, 2),
                                 .aggregate = pg_id(rows, i, 3),
                                 .payload = pg_text(rows, i, 4),
                                 .traceparent = pg_text(rows, i, 5),
                                 .tracestate = pg_text(rows, i, 6),
                                 .baggage = pg_text(rows, i, 7)};
    *ret = messages;
    return ERR_OK;
}

CO_FN static Err forget_rows(PgTx *tx, RelayBatch *b, const Envelope *messages, size_t n) {
    PgParams params;
    PgResult result;
    pg_params_init(&params, b->ctx->arena);
    pg_array_begin(&params, OID_INT8_ARRAY);
    for (size_t i = 0; i < n; i++)
        pg_array_i64(&params, messages[i].tag);
    pg_array_end(&params);
    return pg_tx_query_commit(tx, b->state->forget, &params, &result);
}

CO_FN static Err relay_body(PgTx *tx, void *arg) {
    RelayBatch *b = arg;
    Transport *transport = b->state->relay->transport;
    PgParams params;
    PgResult rows;
    Envelope *messages;
    bool locked;
    b->n = 0;
    pg_tx_send(tx, &ASYNC_COMMIT, NULL);
    TRY(take_locks(tx, b, &locked));
    if (!locked)
        return ERR_OK;
    pg_params_init(&params, b->ctx->arena);
    pg_add_i32(&params, (int32_t)b->state->batch);
    pg_add_i64(&params, RELAY_BYTES);
    TRY(pg_tx_query(tx, b->state->oldest, &params, &rows));
    if (rows.rows == 0)
        return ERR_OK;
    TRY(read_rows(b->ctx, &rows, &messages));
    int64_t began_ns = clock_mono_ns();
    Err err = transport->ops->publish(transport, messages, (size_t)rows.rows);
    trace_published(b->ctx, messages, (size_t)rows.rows, began_ns, err);
    TRY(err);
    b->n = (size_t)rows.rows;
    return forget_rows(tx, b, messages, b->n);
}

/* One batch; waits for the next append only when the outbox was found empty. */
CO_FN static Err relay_step(Ctx *ctx, void *data) {
    RelayState *state = data;
    RelayBatch b = {.state = state, .ctx = ctx};
    ctx->deadline_ms = clock_mono_ms() + RELAY_DEADLINE_MS;
    Err err = pg_transaction(engine_pool(state->relay->engine), relay_body, &b);
    ctx->deadline_ms = 0;
    if (err != ERR_OK || b.n > 0)
        return err;
    if (b.gated)
        return co_sleep(GATE_RETRY_MS);
    /* `seen` dates from before the outbox was read: an append in between ends this wait at once. */
    return engine_outbox_wait(state->relay->engine, &state->seen, state->poll_ms);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

CO_FN static void relay_co(Ctx *ctx, void *arg) {
    RelayState *state = arg;
    loop_steps(ctx, "relay", engine_context(state->relay->engine)->name, relay_step, state);
    heap_free(state);
}

static Err compose(RelayState *state) {
    Engine *engine = state->relay->engine;
    TRY(engine_statement(engine, "relay_locks",
                         "SELECT pg_try_advisory_xact_lock_shared($1),"
                         " pg_try_advisory_xact_lock(hashtextextended('usher relay {schema}', 0))",
                         false, &state->locks));
    TRY(engine_statement(engine, "relay_oldest",
                         "SELECT position, message_id, type, aggregate, payload, traceparent, tracestate, baggage"
                         "  FROM (SELECT d.*, sum(octet_length(payload)::bigint) OVER (ORDER BY position)"
                         "                    - octet_length(payload) AS before"
                         "          FROM (SELECT * FROM {schema}.outbox ORDER BY position LIMIT $1::integer) AS d) AS b"
                         " WHERE before < $2::bigint ORDER BY position",
                         false, &state->oldest));
    return engine_statement(engine, "relay_forget", "DELETE FROM {schema}.outbox WHERE position = ANY ($1::bigint[])",
                            true, &state->forget);
}

Err relay_start(Loop *loop, const Relay *relay, Co **ret) {
    if (engine_outbox(relay->engine) == NULL)
        return ERR_INVALID;
    RelayState *state = HEAP_NEW(RelayState);
    if (state == NULL)
        return ERR_NO_MEMORY;
    *state = (RelayState){.relay = relay,
                          .batch = relay->batch == 0 ? RELAY_BATCH : relay->batch,
                          .poll_ms = relay->poll_ms == 0 ? RELAY_POLL_MS : relay->poll_ms};
    Err err = compose(state);
    if (err == ERR_OK)
        err =
            co_spawn(loop, relay_co, state, &(CoOptions){.name = "relay", .arena_limit_bytes = LOOP_ARENA_BYTES}, ret);
    if (err != ERR_OK)
        heap_free(state);
    return err;
}
