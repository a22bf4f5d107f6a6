/*
 * complete.c - stores how attempts ended, all that ended meanwhile in one commit.
 *
 * What a crash between an attempt's end and this commit repeats is the whole attempt: a job runs at least once. Until
 * it is stored, an attempt still counts as running in the database, so that no global limit and no unique rule is
 * broken by the gap. A commit whose outcome is not known is made again; what it did already is then missing in the
 * answer, which does no harm. Ends that cannot be stored before others may take the jobs over are dropped, with a word
 * in the log.
 */
#include "base/heap.h"
#include "jobs/internal.h"
#include "runtime/log.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 1000
#define TALLIES_MAX    256

typedef struct Tally {
    const char *kind, *outcome;
    int64_t n, duration_us, longest_us, delay_us;
} Tally;

typedef struct Completion {
    JobRunner *runner;
    Ctx *ctx;
    Attempt **attempts;
    size_t n;
    size_t stored; /* rows that were ours still */
    size_t asked;
} Completion;

/* --- parameters --------------------------------------------------------------------------------------------------- */

static bool is_forgotten(const Attempt *a) {
    return a->end.state == JOB_COMPLETED && a->kind->keep_ms == JOB_KEEP_NOT && !a->stored && !a->lost;
}

static bool is_ended(const Attempt *a) {
    return !a->stored && !a->lost && !is_forgotten(a);
}

#define COLUMN(oid, wanted, put)                                                                                       \
    do {                                                                                                               \
        pg_array_begin(params, (oid));                                                                                 \
        for (size_t i = 0; i < c->n; i++) {                                                                            \
            const Attempt *a = c->attempts[i];                                                                         \
            if (wanted(a))                                                                                             \
                put;                                                                                                   \
        }                                                                                                              \
        pg_array_end(params);                                                                                          \
    } while (0)

static size_t count(const Completion *c, bool (*wanted)(const Attempt *a)) {
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += wanted(c->attempts[i]);
    return n;
}

static void bind_forget(PgParams *params, const Completion *c) {
    pg_params_init(params, c->ctx->arena);
    pg_add_i64(params, c->runner->node);
    COLUMN(OID_UUID_ARRAY, is_forgotten, pg_array_id(params, a->id));
    COLUMN(OID_INT2_ARRAY, is_forgotten, pg_array_i16(params, a->attempt));
}

static void bind_end(PgParams *params, const Completion *c) {
    pg_params_init(params, c->ctx->arena);
    pg_add_i64(params, c->runner->node);
    COLUMN(OID_UUID_ARRAY, is_ended, pg_array_id(params, a->id));
    COLUMN(OID_INT2_ARRAY, is_ended, pg_array_i16(params, a->attempt));
    COLUMN(OID_INT2_ARRAY, is_ended, pg_array_i16(params, (int16_t)a->end.state));
    COLUMN(OID_INT8_ARRAY, is_ended, pg_array_i64(params, a->end.delay_ms));
    COLUMN(OID_TEXT_ARRAY, is_ended, pg_array_text(params, (Str){a->result, a->result_n}));
    COLUMN(OID_TEXT_ARRAY, is_ended, pg_array_text(params, (Str){a->reason, a->reason_n}));
    COLUMN(OID_INT2_ARRAY, is_ended, pg_array_i16(params, a->end.back));
}

static size_t add_up(const Completion *c, Tally tallies[TALLIES_MAX]) {
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        const Attempt *a = c->attempts[i];
        const char *kind = a->kind == NULL ? "(unknown)" : a->kind->name;
        size_t at = 0;
        while (at < n && (tallies[at].kind != kind || tallies[at].outcome != a->end.outcome))
            at++;
        if (a->lost || at == TALLIES_MAX)
            continue;
        if (at == n)
            tallies[n++] = (Tally){.kind = kind, .outcome = a->end.outcome};
        int64_t took_us = (a->ended_ns - a->began_ns) / 1000;
        tallies[at].n++;
        tallies[at].duration_us += took_us;
        tallies[at].longest_us = MAX_OF(tallies[at].longest_us, took_us);
        tallies[at].delay_us += a->delay_us;
    }
    return n;
}

#define TALLY(oid, kind_, value)                                                                                       \
    do {                                                                                                               \
        pg_array_begin(params, (oid));                                                                                 \
        for (size_t i = 0; i < n; i++)                                                                                 \
            pg_array_##kind_(params, (value));                                                                         \
        pg_array_end(params);                                                                                          \
    } while (0)

static void bind_tally(PgParams *params, const Completion *c) {
    Tally tallies[TALLIES_MAX];
    size_t n = add_up(c, tallies);
    pg_params_init(params, c->ctx->arena);
    pg_add_i64(params, c->runner->node);
    TALLY(OID_TEXT_ARRAY, text, str_c(tallies[i].kind));
    TALLY(OID_TEXT_ARRAY, text, str_c(tallies[i].outcome));
    TALLY(OID_INT8_ARRAY, i64, tallies[i].n);
    TALLY(OID_INT8_ARRAY, i64, tallies[i].duration_us);
    TALLY(OID_INT8_ARRAY, i64, tallies[i].longest_us);
    TALLY(OID_INT8_ARRAY, i64, tallies[i].delay_us);
}

/* Which queues have room again that other workers wait for. */
static size_t bind_wake(PgParams *params, const Completion *c) {
    size_t n = 0;
    pg_params_init(params, c->ctx->arena);
    pg_array_begin(params, OID_TEXT_ARRAY);
    for (size_t q = 0; q < c->runner->n_queues; q++) {
        const QueueLoop *queue = &c->runner->queues[q];
        bool any = false;
        for (size_t i = 0; i < c->n && queue->limited && !any; i++)
            any = c->attempts[i]->queue == queue;
        if (any) {
            pg_array_text(params, str_c(queue->queue->name));
            n++;
        }
    }
    pg_array_end(params);
    return n;
}

/* --- one commit --------------------------------------------------------------------------------------------------- */

CO_FN static Err complete_body(PgTx *tx, void *arg) {
    Completion *c = arg;
    JobRunner *runner = c->runner;
    PgParams params;
    PgResult rows;
    c->stored = c->asked = 0;
    size_t forgotten = count(c, is_forgotten), ended = count(c, is_ended);
    if (bind_wake(&params, c) > 0)
        pg_tx_send(tx, RUNNER_STATEMENT(runner, SQL_JOBS_WAKE), &params);
    if (forgotten > 0) {
        bind_forget(&params, c);
        TRY(pg_tx_query(tx, RUNNER_STATEMENT(runner, SQL_JOBS_FORGET), &params, &rows));
        c->stored += (size_t)rows.rows;
    }
    if (ended > 0) {
        bind_end(&params, c);
        TRY(pg_tx_query(tx, RUNNER_STATEMENT(runner, SQL_JOBS_END), &params, &rows));
        c->stored += (size_t)rows.rows;
    }
    c->asked = forgotten + ended;
    bind_tally(&params, c);
    return pg_tx_query_commit(tx, RUNNER_STATEMENT(runner, SQL_JOBS_TALLY), &params, &rows);
}

CO_FN static Err complete_once(JobRunner *runner, Ctx *ctx, Attempt **attempts, size_t n) {
    Completion c = {.runner = runner, .ctx = ctx, .attempts = attempts, .n = n};
    ctx->deadline_ms = clock_mono_ms() + STATEMENT_DEADLINE_MS;
    Err err = pg_transaction(engine_pool(runner->options.engine), complete_body, &c);
    ctx->deadline_ms = 0;
    if (err == ERR_OK) {
        runner->stats.completed += n;
        runner->stats.lost += c.asked - c.stored;
        if (c.asked > c.stored)
            LOG_W(ctx, "jobs_taken_over", F_C("schema", engine_context(runner->options.engine)->schema),
                  F_INT("jobs", c.asked - c.stored));
    }
    return err;
}

static bool is_weather(Err err) {
    return err == ERR_UNAVAILABLE || err == ERR_TIMEOUT || err == ERR_CANCELLED || err == ERR_RETRY;
}

/* What cannot be stored as it is (a result that is no text, say) is discarded with the database's words. */
static void make_plain(const Ctx *ctx, Attempt *a) {
    Str words = ctx->problem.message;
    heap_free(a->result);
    heap_free(a->reason);
    a->result = a->reason = NULL;
    a->reason_n = 0;
    a->end = (End){JOB_DISCARDED, "discard", 0, false};
    char *copy = heap_alloc(words.n + 1);
    if (copy == NULL || words.p == NULL)
        return;
    memcpy(copy, words.p, words.n);
    a->reason = copy;
    a->reason_n = MIN_OF(words.n, (size_t)REASON_MAX);
}

CO_FN static Err complete_singly(JobRunner *runner, Ctx *ctx, Attempt **attempts, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (attempts[i]->lost)
            continue;
        Err err = complete_once(runner, ctx, &attempts[i], 1);
        if (is_weather(err))
            return err; /* what is done already is not found again */
        if (err == ERR_OK)
            continue;
        make_plain(ctx, attempts[i]);
        ctx->problem = (Problem){0};
        TRY(complete_once(runner, ctx, &attempts[i], 1));
    }
    return ERR_OK;
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

static size_t take_ended(JobRunner *runner) {
    size_t n = 0;
    while (n < runner->options.batch && runner->ended.first != NULL) {
        Attempt *a = runner->ended.first;
        list_remove(&runner->ended, a);
        list_add(&runner->storing, a);
        runner->taken[n++] = a;
    }
    return n;
}

CO_FN static void store(JobRunner *runner, Ctx *ctx, Attempt **attempts, size_t n) {
    Err last = ERR_OK;
    int64_t backoff_ms = BACKOFF_MIN_MS;
    for (;;) {
        step_begin(ctx, 0);
        Err err = complete_once(runner, ctx, attempts, n);
        if (err != ERR_OK && !is_weather(err))
            err = complete_singly(runner, ctx, attempts, n);
        step_log(ctx, runner, "completion", err, &last);
        if (err == ERR_OK)
            return;
        if (clock_mono_ms() >= runner->safe_until_ms || co_is_cancelled()) {
            LOG_W(ctx, "ends_not_stored", F_INT("jobs", n), F_ERR(err));
            runner->stats.lost += n;
            return;
        }
        (void)!co_sleep(backoff_ms);
        backoff_ms = MIN_OF(backoff_ms * 2, (int64_t)BACKOFF_MAX_MS);
    }
}

static void forget_all(JobRunner *runner) {
    for (size_t q = 0; q < runner->n_queues; q++)
        if (runner->queues[q].limited)
            bell_ring(&runner->queues[q].bell);
    while (runner->storing.first != NULL) {
        Attempt *a = runner->storing.first;
        list_remove(&runner->storing, a);
        attempt_free(a);
    }
}

CO_FN void complete_co(Ctx *ctx, void *arg) {
    JobRunner *runner = arg;
    while (!co_is_cancelled()) {
        size_t n = take_ended(runner);
        if (n > 0) {
            store(runner, ctx, runner->taken, n);
            forget_all(runner);
            bell_ring(&runner->drain_bell);
            for (size_t q = 0; q < runner->n_queues; q++)
                bell_ring(&runner->queues[q].bell);
            continue;
        }
        if (runner->draining && runner->running.n == 0)
            break;
        if (bell_wait(&runner->end_bell, runner->options.poll_ms) != ERR_OK)
            break;
    }
    runner->coroutines--;
    bell_ring(&runner->drain_bell);
}
