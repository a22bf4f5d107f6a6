/*
 * claim.c - one queue of one worker: takes what is due as long as there is room, and starts it.
 *
 * Nothing waits for a batch to fill: what ends while one claim is under way is room for the next. Between claims the
 * loop sleeps until it is told of an insert or an end, until the next scheduled job is due, or for poll_ms, whichever
 * comes first; so it works, a little later, where notifications do not get through (behind a transaction pooler).
 *
 * A queue with limits that count everywhere is claimed under the lock of its row in job_queues, two statements in one
 * flush; all others know no lock but that of the jobs' own rows (SKIP LOCKED).
 */
#include "base/heap.h"
#include "jobs/internal.h"

/* Ended attempts that may wait for their completion, in batches: beyond, nothing new is claimed. */
#define UNSAVED_BATCHES 4
#define BACKOFF_MIN_MS  50
#define BACKOFF_MAX_MS  2000

typedef struct Claim {
    QueueLoop *queue;
    Ctx *ctx;
    size_t most;
    int64_t node; /* as was said in the claim */
    PgResult rows;
} Claim;

/* --- asking ------------------------------------------------------------------------------------------------------- */

static void bind_claim(PgParams *params, const Claim *claim) {
    pg_params_init(params, claim->ctx->arena);
    pg_add_text(params, str_c(claim->queue->queue->name));
    pg_add_i32(params, (int32_t)claim->most);
    pg_add_i64(params, claim->node);
    pg_add_i64(params, CLAIM_BYTES);
}

CO_FN static Err claim_limited(PgTx *tx, void *arg) {
    Claim *claim = arg;
    JobRunner *runner = claim->queue->runner;
    const JobQueue *queue = claim->queue->queue;
    PgParams params;
    pg_params_init(&params, claim->ctx->arena);
    pg_add_text(&params, str_c(queue->name));
    pg_tx_send(tx, RUNNER_STATEMENT(runner, SQL_JOBS_QUEUE_LOCK), &params);
    bind_claim(&params, claim);
    pg_add_i32(&params, queue->limit_global);
    pg_add_i32(&params, queue->rate);
    pg_add_i64(&params, queue->rate_ms);
    return pg_tx_query_commit(tx, RUNNER_STATEMENT(runner, SQL_JOBS_CLAIM_LIMITED), &params, &claim->rows);
}

CO_FN static Err claim_rows(Claim *claim) {
    JobRunner *runner = claim->queue->runner;
    PgPool *pool = engine_pool(runner->options.engine);
    PgParams params;
    if (claim->queue->limited)
        return pg_transaction(pool, claim_limited, claim);
    bind_claim(&params, claim);
    return pg_query(pool, RUNNER_STATEMENT(runner, SQL_JOBS_CLAIM), &params, &claim->rows);
}

/* --- starting ----------------------------------------------------------------------------------------------------- */

static Str keep_text(char **at, Str text) {
    if (text.p == NULL)
        return text;
    Str kept = {*at, text.n};
    memcpy(*at, text.p, text.n);
    *at += text.n;
    return kept;
}

static Attempt *attempt_new(const Claim *claim, int row) {
    QueueLoop *queue = claim->queue;
    const PgResult *rows = &claim->rows;
    Str args = pg_text(rows, row, 2), trace = pg_text(rows, row, 5), state = pg_text(rows, row, 6),
        baggage = pg_text(rows, row, 7);
    Attempt *a = heap_alloc(sizeof *a + args.n + trace.n + state.n + baggage.n);
    if (a == NULL)
        return NULL;
    char *at = (char *)(a + 1);
    a->runner = queue->runner;
    a->queue = queue;
    a->node = claim->node;
    a->kind = job_kind(queue->runner->options.board, pg_text(rows, row, 1));
    a->id = pg_id(rows, row, 0);
    a->attempt = pg_i16(rows, row, 3);
    a->attempts_max = pg_i16(rows, row, 4);
    a->delay_us = pg_i64(rows, row, 8);
    a->args = keep_text(&at, args);
    a->traceparent = keep_text(&at, trace);
    a->tracestate = keep_text(&at, state);
    a->baggage = keep_text(&at, baggage);
    return a;
}

/* What there is no memory for stays claimed, and the steward gives it back. */
static void start_all(const Claim *claim) {
    for (int row = 0; row < claim->rows.rows; row++) {
        Attempt *a = attempt_new(claim, row);
        if (a != NULL)
            attempt_start(a);
    }
    claim->queue->runner->stats.claimed += (uint64_t)claim->rows.rows;
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

static size_t room_of(const QueueLoop *queue) {
    const JobRunner *runner = queue->runner;
    size_t unsaved = runner->ended.n + runner->storing.n;
    if (queue->paused || runner->node == 0 || clock_mono_ms() >= runner->safe_until_ms ||
        queue->running >= (size_t)queue->limit || unsaved >= UNSAVED_BATCHES * runner->options.batch)
        return 0;
    return MIN_OF((size_t)queue->limit - queue->running, runner->options.batch);
}

/* How long nothing will be due, by the database's clock. */
CO_FN static Err idle_ms(QueueLoop *queue, Ctx *ctx, int64_t *ret) {
    JobRunner *runner = queue->runner;
    PgParams params;
    PgResult rows;
    *ret = runner->options.poll_ms;
    pg_params_init(&params, ctx->arena);
    pg_add_text(&params, str_c(queue->queue->name));
    pg_add_i32(&params, queue->queue->rate);
    pg_add_i64(&params, queue->queue->rate_ms);
    TRY(pg_query(engine_pool(runner->options.engine), RUNNER_STATEMENT(runner, SQL_JOBS_NEXT_DUE), &params, &rows));
    /* One that is due already waits for room, or for a lock to go: poll. */
    if (!pg_is_null(&rows, 0, 0) && pg_i64(&rows, 0, 0) > 0)
        *ret = MIN_OF(*ret, pg_i64(&rows, 0, 0));
    if (!pg_is_null(&rows, 0, 1) && pg_i64(&rows, 0, 1) > 0)
        *ret = MIN_OF(*ret, pg_i64(&rows, 0, 1));
    return ERR_OK;
}

/* One claim. *ret_idle_ms 0: look again at once. */
CO_FN static Err claim_step(QueueLoop *queue, Ctx *ctx, int64_t *ret_idle_ms) {
    Claim claim = {.queue = queue, .ctx = ctx, .most = room_of(queue), .node = queue->runner->node};
    *ret_idle_ms = queue->runner->options.poll_ms;
    if (claim.most == 0)
        return ERR_OK;
    queue->runner->claiming++;
    Err err = claim_rows(&claim);
    queue->runner->claiming--;
    TRY(err);
    start_all(&claim);
    if ((size_t)claim.rows.rows == claim.most) {
        *ret_idle_ms = 0;
        return ERR_OK;
    }
    return idle_ms(queue, ctx, ret_idle_ms);
}

CO_FN void claim_co(Ctx *ctx, void *arg) {
    QueueLoop *queue = arg;
    JobRunner *runner = queue->runner;
    Err last = ERR_OK;
    int64_t backoff_ms = BACKOFF_MIN_MS;
    while (!runner->draining && !co_is_cancelled()) {
        int64_t wait_ms;
        step_begin(ctx, clock_mono_ms() + STATEMENT_DEADLINE_MS);
        Err err = claim_step(queue, ctx, &wait_ms);
        ctx->deadline_ms = 0;
        step_log(ctx, runner, queue->queue->name, err, &last);
        if (err != ERR_OK) {
            wait_ms = backoff_ms;
            backoff_ms = MIN_OF(backoff_ms * 2, (int64_t)BACKOFF_MAX_MS);
        } else {
            backoff_ms = BACKOFF_MIN_MS;
        }
        if (wait_ms > 0 && bell_wait(&queue->bell, wait_ms) != ERR_OK)
            break;
    }
    runner->coroutines--;
    bell_ring(&runner->drain_bell);
}
