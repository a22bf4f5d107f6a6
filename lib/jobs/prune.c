/*
 * prune.c - the engine's first own job: what has ended goes when its time has come.
 *
 * A few hundred rows a statement, each its own commit, so that neither a lock nor a snapshot lasts; the deadline ends
 * it, and the next run goes on.
 */
#include "jobs/internal.h"

#define PRUNE_BATCH     500
#define TALLIES_KEEP_MS (31 * 24 * 3600000LL)

static void bind_kinds(PgParams *params, const JobBoard *board, Arena *arena) {
    pg_params_init(params, arena);
    pg_array_begin(params, OID_TEXT_ARRAY);
    for (const JobKind *const *kind = board->kinds; *kind != NULL; kind++)
        pg_array_text(params, str_c((*kind)->name));
    pg_array_end(params);
    pg_array_begin(params, OID_INT8_ARRAY);
    for (const JobKind *const *kind = board->kinds; *kind != NULL; kind++)
        pg_array_i64(params, (*kind)->keep_ms > 0 ? (*kind)->keep_ms : JOB_KEEP_DEFAULT_MS);
    pg_array_end(params);
    pg_add_i64(params, JOB_KEEP_DEFAULT_MS);
    pg_add_i32(params, PRUNE_BATCH);
}

CO_FN static Err prune(Job *job) {
    const JobRunner *runner = job->of->runner;
    PgParams params;
    PgResult result;
    int64_t gone = 0;
    do {
        bind_kinds(&params, runner->options.board, job->ctx->arena);
        TRY(job_query(job, RUNNER_STATEMENT(runner, SQL_JOBS_PRUNE), &params, &result));
        gone += result.affected;
    } while (result.affected == PRUNE_BATCH);
    pg_params_init(&params, job->ctx->arena);
    pg_add_i64(&params, TALLIES_KEEP_MS);
    TRY(job_query(job, RUNNER_STATEMENT(runner, SQL_JOBS_PRUNE_TALLIES), &params, &result));
    job->result = arena_printf(job->ctx->arena, "{\"gone\":%lld}", (long long)gone);
    return ERR_OK;
}

CO_FN static JobVerdict run_prune(Job *job) {
    return job_verdict(job, prune(job));
}

const JobKind JOBS_PRUNE = {
    .name = "jobs_prune",
    .doc = "Forget jobs that have ended, each kind after its time, and old tallies.",
    .queue = JOBS_UPKEEP_QUEUE,
    .priority = JOB_LOW,
    .run = run_prune,
    .attempts = 3,
    .unique = {.on = true},
    .keep_ms = 3600000,
};
