/*
 * run.c - one attempt: from its claim to its verdict.
 *
 * A coroutine with memory and a deadline of its own. Whoever wants it to end early (an operator, a drain, the news that
 * its node was taken for dead) cancels the coroutine and leaves a word on the attempt; what `run` returns then is only
 * believed when it is JOB_DONE, because work that was cut short has failed in no way that is its own.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/heap.h"
#include "jobs/internal.h"
#include "runtime/log.h"

#define BACKOFF_MIN_MS 1000
#define BACKOFF_MAX_MS 3600000
#define UNKNOWN_MS     60000 /* until a worker that knows the kind may have come */
#define AWAY_MS        1000  /* until the database that a job found away may be back */

/* --- lists -------------------------------------------------------------------------------------------------------- */

void list_add(AttemptList *list, Attempt *attempt) {
    attempt->prev = list->last;
    attempt->next = NULL;
    if (list->last == NULL)
        list->first = attempt;
    else
        list->last->next = attempt;
    list->last = attempt;
    list->n++;
}

void list_remove(AttemptList *list, Attempt *attempt) {
    if (attempt->prev == NULL)
        list->first = attempt->next;
    else
        attempt->prev->next = attempt->next;
    if (attempt->next == NULL)
        list->last = attempt->prev;
    else
        attempt->next->prev = attempt->prev;
    attempt->prev = attempt->next = NULL;
    list->n--;
}

void attempt_free(Attempt *attempt) {
    heap_free(attempt->result);
    heap_free(attempt->reason);
    heap_free(attempt);
}

/* --- for run ------------------------------------------------------------------------------------------------------ */

int64_t job_backoff_ms(int attempt) {
    int64_t full = (int64_t)BACKOFF_MIN_MS << MIN_OF(MAX_OF(attempt, 1) - 1, 20);
    full = MIN_OF(full, (int64_t)BACKOFF_MAX_MS);
    return full / 2 + (int64_t)random_below((uint64_t)full / 2 + 1);
}

static void set_reason(Job *job, const char *format, va_list args) {
    char text[REASON_MAX];
    int n = vsnprintf(text, sizeof text, format, args);
    job->reason = arena_str(job->ctx->arena, (Str){text, MIN_OF((size_t)MAX_OF(n, 0), sizeof text - 1)});
}

JobVerdict job_retry(Job *job, const char *format, ...) {
    va_list args;
    va_start(args, format);
    set_reason(job, format, args);
    va_end(args);
    return JOB_RETRY;
}

JobVerdict job_cancel(Job *job, const char *format, ...) {
    va_list args;
    va_start(args, format);
    set_reason(job, format, args);
    va_end(args);
    return JOB_CANCEL;
}

JobVerdict job_snooze(Job *job, int64_t delay_ms) {
    job->delay_ms = delay_ms;
    return JOB_SNOOZE;
}

JobVerdict job_verdict(Job *job, Err err) {
    if (err == ERR_OK)
        return JOB_DONE;
    Str words = job->ctx->problem.message;
    job->reason = arena_printf(job->ctx->arena, "%s: %.*s", err_name(err), STR_ARG(words.p == NULL ? STR("-") : words));
    if (err == ERR_INVALID || err == ERR_SYNTAX)
        return JOB_DISCARD;
    return err == ERR_UNAVAILABLE ? job_snooze(job, AWAY_MS / 2 + (int64_t)random_below(AWAY_MS)) : JOB_RETRY;
}

static void bind_attempt(PgParams *params, const Job *job) {
    pg_params_init(params, job->ctx->arena);
    pg_add_id(params, job->id);
    pg_add_i64(params, job->of->node);
    pg_add_i16(params, job->of->attempt);
}

static Err taken_over(const Job *job) {
    return ctx_problem(job->ctx, ERR_CONFLICT, NULL, "Another worker has taken this job over.");
}

CO_FN Err job_finish_in(PgTx *tx, Job *job) {
    const Statement *statement;
    PgParams params;
    PgResult result;
    TRY(engine_job_statement(job->engine, SQL_JOBS_FINISH, &statement));
    bind_attempt(&params, job);
    pg_add_text(&params, job->result);
    job->of->finishing = true;
    TRY(pg_tx_query(tx, statement, &params, &result));
    return result.affected == 1 ? ERR_OK : taken_over(job);
}

CO_FN Err job_hold_in(PgTx *tx, Job *job) {
    const Statement *statement;
    PgParams params;
    PgResult result;
    TRY(engine_job_statement(job->engine, SQL_JOBS_HOLD, &statement));
    bind_attempt(&params, job);
    TRY(pg_tx_query(tx, statement, &params, &result));
    return result.rows == 1 ? ERR_OK : taken_over(job);
}

typedef struct HeldQuery {
    Job *job;
    const Statement *statement;
    const PgParams *params;
    PgResult *ret;
} HeldQuery;

CO_FN static Err query_held(PgTx *tx, void *arg) {
    const HeldQuery *query = arg;
    TRY(job_hold_in(tx, query->job));
    return pg_tx_query_commit(tx, query->statement, query->params, query->ret);
}

CO_FN Err job_query(Job *job, const Statement *statement, const PgParams *params, PgResult *ret) {
    HeldQuery query = {.job = job, .statement = statement, .params = params, .ret = ret};
    return pg_transaction(engine_pool(job->engine), query_held, &query);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

/* What a row may hold; NUL has no place in a text of Postgres. */
static char *heap_copy(Str text, size_t max, size_t *ret_n) {
    if (text.p == NULL)
        return NULL;
    size_t n = MIN_OF(text.n, max);
    char *copy = heap_alloc(n + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, text.p, n);
    while (n > 0 && n < text.n && ((unsigned char)text.p[n] & 0xC0) == 0x80) /* never half a character */
        n--;
    *ret_n = n;
    return copy;
}

static End end_retry(const Attempt *a) {
    if (a->attempt >= a->attempts_max)
        return (End){JOB_DISCARDED, "discard", 0, false};
    int64_t delay_ms = a->kind->backoff_ms != NULL ? a->kind->backoff_ms(a->attempt) : job_backoff_ms(a->attempt);
    return (End){JOB_WAITING, "retry", delay_ms, false};
}

static End end_of(const Attempt *a, const Job *job, JobVerdict verdict) {
    switch (verdict) {
    case JOB_DONE:
        return (End){JOB_COMPLETED, "done", 0, false};
    case JOB_RETRY:
        return end_retry(a);
    case JOB_SNOOZE:
        return (End){JOB_WAITING, "snooze", job->delay_ms, true};
    case JOB_CANCEL:
        return (End){JOB_CANCELLED, "cancel", 0, false};
    case JOB_DISCARD:
        return (End){JOB_DISCARDED, "discard", 0, false};
    }
    ASSERT(verdict <= JOB_DISCARD);
    return (End){0};
}

static void settle(Attempt *a, Job *job, JobVerdict verdict) {
    a->ended_ns = clock_mono_ns();
    bool cut = verdict != JOB_DONE && (a->cancel || a->give_back || a->lost);
    if (cut && a->cancel)
        a->end = (End){JOB_CANCELLED, "cancel", 0, false};
    else if (cut)
        a->end = (End){JOB_WAITING, "back", 0, true};
    else
        a->end = end_of(a, job, verdict);
    a->stored = verdict == JOB_DONE && a->finishing;
    if (cut)
        job->reason =
            a->cancel ? STR("cancelled by an operator while it ran") : STR("given back when its worker ended");
    a->result = heap_copy(job->result, ARGS_MAX, &a->result_n);
    a->reason = heap_copy(job->reason, REASON_MAX, &a->reason_n);
}

void attempt_end(Attempt *a) {
    JobRunner *runner = a->runner;
    list_remove(&runner->running, a);
    list_add(&runner->ended, a);
    a->queue->running--;
    a->co = NULL;
    bell_ring(&runner->end_bell);
    bell_ring(&a->queue->bell);
    bell_ring(&runner->drain_bell);
}

/* --- the coroutine ------------------------------------------------------------------------------------------------ */

CO_FN static JobVerdict run_decoded(Ctx *ctx, Attempt *a, Job *job) {
    void *args = arena_alloc(ctx->arena, a->kind->size);
    if (args == NULL)
        return job_verdict(job, ERR_NO_MEMORY);
    Err err = job_args_decode(a->kind, ctx, a->args, args);
    if (err != ERR_OK)
        return job_verdict(job, err);
    job->args = args;
    JobVerdict verdict = a->kind->run(job);
    if (verdict == JOB_RETRY && job->reason.p == NULL)
        job->reason = ctx->problem.message;
    return verdict;
}

CO_FN static JobVerdict run_attempt(Ctx *ctx, Attempt *a, Job *job) {
    if (a->kind == NULL) {
        job->reason = STR("this worker does not know the kind; one that does may come");
        return job_snooze(job, UNKNOWN_MS);
    }
    int64_t timeout_ms = a->kind->timeout_ms == 0 ? JOB_TIMEOUT_DEFAULT_MS : a->kind->timeout_ms;
    ctx->deadline_ms = clock_mono_ms() + timeout_ms;
    JobVerdict verdict = run_decoded(ctx, a, job);
    if (verdict == JOB_RETRY && clock_mono_ms() >= ctx->deadline_ms)
        job->reason = arena_printf(ctx->arena, "timed out after %lld ms; %.*s", (long long)timeout_ms,
                                   STR_ARG(job->reason.p == NULL ? STR("") : job->reason));
    return verdict;
}

static void log_end(Ctx *ctx, const Attempt *a, const char *kind) {
    char id[ID_TEXT_LEN];
    if (a->end.state == JOB_COMPLETED || a->end.back)
        return;
    id_format(&a->id, id);
    log_event(ctx, a->end.state == JOB_DISCARDED ? LOG_WARN : LOG_INFO, "job_ended",
              (LogField[]){F_C("kind", kind), F_STR("job", ((Str){id, ID_TEXT_LEN})), F_C("outcome", a->end.outcome),
                           F_INT("attempt", a->attempt), F_STR("reason", ((Str){a->reason, a->reason_n}))},
              5);
}

CO_FN static void attempt_co(Ctx *ctx, void *arg) {
    Attempt *a = arg;
    a->co = co_self();
    a->began_ns = clock_mono_ns();
    trace_job_begin(ctx, a);
    Job job = {.ctx = ctx,
               .engine = a->runner->options.engine,
               .data = a->runner->options.data,
               .kind = a->kind,
               .id = a->id,
               .attempt = a->attempt,
               .attempts_max = a->attempts_max,
               .of = a};
    JobVerdict verdict = run_attempt(ctx, a, &job);
    settle(a, &job, verdict);
    trace_job_end(ctx, a);
    log_end(ctx, a, a->kind == NULL ? "?" : a->kind->name);
    attempt_end(a);
}

void attempt_start(Attempt *a) {
    JobRunner *runner = a->runner;
    list_add(&runner->running, a);
    a->queue->running++;
    Co *co;
    Err err =
        co_spawn(runner->loop, attempt_co, a, &(CoOptions){.name = "job", .arena_limit_bytes = JOB_ARENA_BYTES}, &co);
    if (err == ERR_OK) {
        a->co = co;
        return;
    }
    a->began_ns = a->ended_ns = clock_mono_ns();
    a->end = (End){JOB_WAITING, "back", AWAY_MS, true};
    attempt_end(a);
}
