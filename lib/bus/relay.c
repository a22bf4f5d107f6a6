/*
 * relay.c - from a context's outbox to the transport: in order per aggregate, at least once, several at a time.
 *
 * Aggregates are dealt into buckets. A transaction locks the buckets that it takes in hand (advisory locks of the
 * transaction: a pooler may sit in between), reads what follows their newest marks, publishes, and writes new marks.
 * A crash before the marks' commit publishes the batch again; the inbox knows its ids. Rows are neither updated nor
 * deleted: outbox.c says how "what follows" is found without, and how rows go.
 *
 * Whose bucket: relay i of n keeps to those with bucket % n == i. Once a second it also looks at those of others that
 * have had no mark for a while; a relay that serves its buckets marks them with every batch, so only orphans (and idle
 * ones, which cost a look) are touched. Membership is written down nowhere, and nobody has to notice who died.
 *
 * A batch is a read, a publication and a mark, one after the other, and while one of them is under way the others rest.
 * So a relay that finds more than a batch shares its buckets out among two lanes: one's batch is read and marked while
 * the other's is with the transport. Nothing else tells lanes from two relays, so nothing new can go wrong with order.
 * Rejected: publishing the next batch of the same buckets before the former is confirmed. When that one then fails,
 * what followed it has arrived first.
 *
 * Logical decoding would spare the table, and would tie us to a replication slot that fills the disk when nobody reads
 * (README.md).
 */
#include "base/heap.h"
#include "bus/loops.h"
#include "bus/outbox.h"
#include "bus/tracing.h"

#define RELAY_BATCH   500
#define RELAY_POLL_MS 1000
#define RELAY_BYTES   (4 * 1024 * 1024)
/* From locking to the marks' commit. */
#define RELAY_DEADLINE_MS 60000
/* While a reset has the gate, and while another relay has a bucket of ours in hand. */
#define GATE_RETRY_MS   50
#define BUCKET_RETRY_MS 10
/* How often the buckets of others are looked at, and the outbox is rotated. */
#define STRANGERS_MS 1000
#define ROTATE_MS    30000
/* After a restart under load there is better to do. */
#define FIRST_ROTATE_MS 2000
/* Under load: one's batch is with the transport while the other's is read or marked. */
#define LANES 2

typedef struct RelayState {
    const Relay *relay;
    Loop *loop;
    OutboxStatements statements;
    size_t batch;
    int64_t poll_ms;
    uint64_t seen; /* wake-ups of the outbox */
    size_t busy;   /* buckets that had rows the last time: the batch is theirs to share */
    int64_t strangers_at_ms, rotate_at_ms;
} RelayState;

typedef struct RelayBatch {
    RelayState *state;
    Ctx *ctx;
    int lane, lanes; /* which part of our buckets */
    bool strangers;  /* also the buckets of others that nobody serves */
    size_t busy;     /* buckets that had rows: before, then in this batch */
    bool gated;      /* a reset has the gate */
    bool missed;     /* a bucket of ours is in somebody else's hands */
    int16_t held[OUTBOX_BUCKETS];
    size_t n_held;
    size_t n;   /* messages published */
    bool again; /* marks were written: there may be more behind them */
    bool more;  /* there is more behind them */
} RelayBatch;

/* --- which buckets ------------------------------------------------------------------------------------------------ */

static bool is_ours(const RelayBatch *b, int bucket) {
    int count = MAX_OF(b->state->relay->count, 1);
    return bucket % count == b->state->relay->index && bucket / count % b->lanes == b->lane;
}

CO_FN static Err take_locks(PgTx *tx, RelayBatch *b) {
    PgParams params;
    PgResult result;
    pg_params_init(&params, b->ctx->arena);
    pg_add_i64(&params, BUS_GATE_LOCK);
    for (int ours = 1; ours >= 0; ours--) {
        pg_array_begin(&params, OID_INT2_ARRAY);
        for (int bucket = 0; bucket < OUTBOX_BUCKETS; bucket++)
            if (is_ours(b, bucket) == (ours == 1) && (ours == 1 || b->strangers))
                pg_array_i16(&params, (int16_t)bucket);
        pg_array_end(&params);
    }
    TRY(pg_tx_query(tx, b->state->statements.lock, &params, &result));
    b->gated = result.rows > 0 && !pg_bool(&result, 0, 0);
    for (int row = 0; row < result.rows && !b->gated; row++) {
        if (pg_bool(&result, row, 2))
            b->held[b->n_held++] = pg_i16(&result, row, 1);
        else
            b->missed = b->missed || is_ours(b, pg_i16(&result, row, 1));
    }
    return ERR_OK;
}

/* --- one batch ---------------------------------------------------------------------------------------------------- */

CO_FN static Err read_rows(PgTx *tx, const RelayBatch *b, OutboxRead *read) {
    PgParams params;
    PgResult rows;
    size_t batch = b->state->batch, busy = MAX_OF(b->busy, (size_t)1);
    *read = (OutboxRead){.limit = (batch + busy - 1) / busy};
    pg_params_init(&params, b->ctx->arena);
    pg_array_begin(&params, OID_INT2_ARRAY);
    for (size_t i = 0; i < b->n_held; i++)
        pg_array_i16(&params, b->held[i]);
    pg_array_end(&params);
    pg_add_i32(&params, (int32_t)read->limit);
    pg_add_i64(&params, RELAY_BYTES);
    TRY(pg_tx_query(tx, b->state->statements.read, &params, &rows));
    return outbox_decode(b->ctx->arena, &rows, read);
}

CO_FN static Err relay_body(PgTx *tx, void *arg) {
    RelayBatch *b = arg;
    Transport *transport = b->state->relay->transport;
    OutboxRead read;
    PgParams params;
    PgResult result;
    b->n = b->n_held = 0;
    b->missed = b->again = b->more = false;
    pg_tx_send(tx, &ASYNC_COMMIT, NULL);
    pg_tx_send(tx, &OUTBOX_PLAN, NULL);
    TRY(take_locks(tx, b));
    if (b->n_held == 0)
        return ERR_OK;
    TRY(read_rows(tx, b, &read));
    if (read.n > 0) {
        int64_t began_ns = clock_mono_ns();
        Err err = transport->ops->publish(transport, read.messages, read.n);
        trace_published(b->ctx, read.messages, read.n, began_ns, err);
        TRY(err);
        trace_relayed(engine_context(b->state->relay->engine)->name, read.appended, read.n);
    }
    pg_params_init(&params, b->ctx->arena);
    b->again = outbox_mark(&read, &params) > 0;
    b->n = read.n;
    b->busy = read.busy;
    b->more = outbox_has_more(&read);
    return b->again ? pg_tx_query_commit(tx, b->state->statements.mark, &params, &result) : ERR_OK;
}

CO_FN static Err relay_batch(RelayBatch *b) {
    b->ctx->deadline_ms = clock_mono_ms() + RELAY_DEADLINE_MS;
    Err err = pg_transaction(engine_pool(b->state->relay->engine), relay_body, b);
    b->ctx->deadline_ms = 0;
    if (err != ERR_OK || b->n == 0)
        b->busy = 0;
    return err;
}

/* --- lanes -------------------------------------------------------------------------------------------------------- */

/* On the stack of the relay's coroutine, which waits for the other lane whatever happens. */
typedef struct Rush {
    RelayState *state;
    Ctx *ctx; /* the relay's: keeps what a lane's failure was */
    int64_t until_ms;
    bool over; /* a lane has come to its end, or failed: the other one stops behind its batch */
    bool other_runs;
    Wait wait;
    Err err; /* the first lane's that failed */
} Rush;

static void lane_failed(Rush *rush, const Ctx *ctx, Err err) {
    if (err == ERR_OK || rush->err != ERR_OK)
        return;
    rush->err = err;
    Str words = ctx->problem.message;
    if (ctx != rush->ctx)
        rush->ctx->problem = (Problem){.message = words.p == NULL ? words : arena_str(rush->ctx->arena, words)};
}

/* Ends with the lane that first has no more than a batch, so that neither leaves its buckets alone for long. */
CO_FN static void run_lane(Rush *rush, Ctx *ctx, int lane) {
    RelayBatch b = {.state = rush->state, .ctx = ctx, .lane = lane, .lanes = LANES, .busy = OUTBOX_BUCKETS / LANES};
    while (!rush->over && clock_mono_ms() < rush->until_ms) {
        loop_step_begin(ctx);
        Err err = relay_batch(&b);
        lane_failed(rush, ctx, err);
        rush->over = rush->over || err != ERR_OK || !b.more || co_is_cancelled();
    }
}

CO_FN static void other_lane_co(Ctx *ctx, void *arg) {
    Rush *rush = arg;
    run_lane(rush, ctx, 1);
    rush->other_runs = false;
    wait_wake(&rush->wait, ERR_OK);
}

/* For as long as both lanes find more than a batch, at most until strangers are to be looked at again. */
CO_FN static Err relay_rush(Ctx *ctx, RelayState *state) {
    Rush rush = {.state = state, .ctx = ctx, .until_ms = state->strangers_at_ms, .other_runs = true};
    Co *other;
    TRY(co_spawn(state->loop, other_lane_co, &rush,
                 &(CoOptions){.name = "relay lane", .arena_limit_bytes = LOOP_ARENA_BYTES}, &other));
    run_lane(&rush, ctx, 0);
    rush.over = true;
    if (rush.other_runs && co_is_cancelled())
        co_cancel(other);
    bool shielded = co_shield(true);
    if (co_wait(&rush.wait, 0) != ERR_OK)
        ASSERT(false);
    (void)co_shield(shielded);
    return rush.err;
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

/* Giving back space is a job's (apps/upkeep); where no jobs run, or they have died, it is ours. It is no reason to
 * stop: the next half minute tries again. */
CO_FN static void rotate(Ctx *ctx, RelayState *state) {
    bool more, kept = true;
    state->rotate_at_ms = clock_mono_ms() + ROTATE_MS;
    bool ours = outbox_is_kept(state->relay->engine, &kept) == ERR_OK && !kept;
    for (int step = 0; ours && step < OUTBOX_SLOTS; step++)
        if (outbox_rotate(state->relay->engine, &more) != ERR_OK || !more)
            break;
    ctx->problem = (Problem){0};
}

/* One batch, and as many as there are when there are many; waits for the next append only when nothing was found. */
CO_FN static Err relay_step(Ctx *ctx, void *data) {
    RelayState *state = data;
    RelayBatch b = {.state = state,
                    .ctx = ctx,
                    .lanes = 1,
                    .busy = state->busy,
                    .strangers = clock_mono_ms() >= state->strangers_at_ms};
    if (b.strangers)
        state->strangers_at_ms = clock_mono_ms() + STRANGERS_MS;
    Err err = relay_batch(&b);
    state->busy = b.busy;
    if (err == ERR_OK && clock_mono_ms() >= state->rotate_at_ms)
        rotate(ctx, state);
    if (err == ERR_OK && b.more && b.busy > 1)
        err = relay_rush(ctx, state);
    if (err != ERR_OK || b.again)
        return err;
    if (b.gated || b.missed)
        return co_sleep(b.gated ? GATE_RETRY_MS : BUCKET_RETRY_MS);
    /* `seen` dates from before the outbox was read: an append in between ends this wait at once. */
    return engine_outbox_wait(state->relay->engine, &state->seen, state->poll_ms);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

CO_FN static void relay_co(Ctx *ctx, void *arg) {
    RelayState *state = arg;
    loop_steps(ctx, "relay", engine_context(state->relay->engine)->name, relay_step, state);
    heap_free(state);
}

Err relay_start(Loop *loop, const Relay *relay, Co **ret) {
    if (engine_outbox(relay->engine) == NULL || relay->index < 0 || relay->index >= MAX_OF(relay->count, 1))
        return ERR_INVALID;
    RelayState *state = HEAP_NEW(RelayState);
    if (state == NULL)
        return ERR_NO_MEMORY;
    *state = (RelayState){.relay = relay,
                          .loop = loop,
                          .batch = relay->batch == 0 ? RELAY_BATCH : relay->batch,
                          .poll_ms = relay->poll_ms == 0 ? RELAY_POLL_MS : relay->poll_ms,
                          .rotate_at_ms = clock_mono_ms() + FIRST_ROTATE_MS};
    Err err = outbox_statements(relay->engine, &state->statements);
    if (err == ERR_OK)
        err =
            co_spawn(loop, relay_co, state, &(CoOptions){.name = "relay", .arena_limit_bytes = LOOP_ARENA_BYTES}, ret);
    if (err != ERR_OK)
        heap_free(state);
    return err;
}
