/*
 * runner.c - the life of a runner: its coroutines begin together and end in order.
 *
 * A drain ends the claims first, then waits for the running (their ends are stored as ever), cancels what is still
 * there at the deadline and gives it back, and signs off last: until then the node's beat keeps others from taking over
 * what it still has in hand.
 */
#include "base/heap.h"
#include "jobs/internal.h"
#include "runtime/log.h"

#define RUNNER_ARENA_BYTES (4u * 1024 * 1024)
#define LOOP_ARENA_BYTES   (64u * 1024 * 1024)
/* For giving back and signing off, behind the drain's deadline. */
#define LAST_MS 2000

/* --- bells -------------------------------------------------------------------------------------------------------- */

void bell_ring(Bell *bell) {
    bell->rung = true;
    if (bell->waiting)
        wait_wake(&bell->wait, ERR_OK);
}

CO_FN Err bell_wait(Bell *bell, int64_t most_ms) {
    Err err = ERR_OK;
    if (!bell->rung) {
        bell->wait = (Wait){0};
        bell->waiting = true;
        err = co_wait(&bell->wait, clock_mono_ms() + most_ms);
        bell->waiting = false;
    }
    bell->rung = false;
    if (co_is_cancelled())
        return ERR_CANCELLED;
    return err == ERR_TIMEOUT ? ERR_OK : err;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

void step_begin(Ctx *ctx, int64_t deadline_ms) {
    arena_reset(ctx->arena);
    ctx->problem = (Problem){0};
    ctx->deadline_ms = deadline_ms;
    trace_new(&ctx->trace);
    ctx->trace.flags = 0; /* looking for work is no trace: jobs bring theirs */
    ctx->batch = NULL;
    ctx->now = clock_now();
}

void step_log(Ctx *ctx, const JobRunner *runner, const char *what, Err err, Err *last) {
    const char *schema = engine_context(runner->options.engine)->schema;
    if (err == *last || err == ERR_CANCELLED)
        return;
    if (err == ERR_OK)
        LOG_I(ctx, "jobs", F_C("schema", schema), F_C("what", what), F_C("state", "works again"));
    else
        LOG_W(ctx, "jobs", F_C("schema", schema), F_C("what", what), F_ERR(err), F_STR("detail", ctx->problem.message));
    *last = err;
}

/* --- statements --------------------------------------------------------------------------------------------------- */

Err engine_job_statement(Engine *engine, const Statement *query, const Statement **ret) {
    return engine_statement(engine, query->name, query->sql, query->writes, ret);
}

static Err compose(JobRunner *runner) {
    size_t n = 0;
    while (JOBS_QUERIES[n].statement.name != NULL)
        n++;
    runner->statements = ARENA_ARRAY(runner->arena, const Statement *, n);
    if (runner->statements == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++)
        TRY(engine_job_statement(runner->options.engine, &JOBS_QUERIES[i].statement, &runner->statements[i]));
    Str channel = arena_printf(runner->arena, "%s_jobs", engine_context(runner->options.engine)->schema);
    runner->channel = channel.p;
    return channel.p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* --- beginning ---------------------------------------------------------------------------------------------------- */

static void set_defaults(JobRunnerOptions *options) {
    options->poll_ms = options->poll_ms == 0 ? 1000 : options->poll_ms;
    options->heartbeat_ms = options->heartbeat_ms == 0 ? 5000 : options->heartbeat_ms;
    options->rescue_ms = options->rescue_ms == 0 ? 30000 : options->rescue_ms;
    options->lease_ms = options->lease_ms == 0 ? 15000 : options->lease_ms;
    options->batch = options->batch == 0 ? 500 : options->batch;
}

static bool is_wanted(const char *only, const char *name) {
    Str rest = str_c(only);
    while (rest.p != NULL)
        if (str_eq_c(str_trim(str_cut(&rest, ','), " "), name))
            return true;
    return only == NULL;
}

static Err add_queues(JobRunner *runner) {
    for (const JobQueue *queue = runner->options.board->queues; queue->name != NULL; queue++) {
        if (!is_wanted(runner->options.only_queues, queue->name))
            continue;
        if (runner->n_queues == JOB_QUEUES_MAX)
            return ERR_LIMIT;
        runner->queues[runner->n_queues++] = (QueueLoop){.runner = runner,
                                                         .queue = queue,
                                                         .limit = queue->limit == 0 ? JOB_LIMIT_DEFAULT : queue->limit,
                                                         .limited = queue->limit_global > 0 || queue->rate > 0};
    }
    return ERR_OK;
}

static Err start(JobRunner *runner, const char *name, CoFn fn, void *arg, Co **ret) {
    TRY(co_spawn(runner->loop, fn, arg, &(CoOptions){.name = name, .arena_limit_bytes = LOOP_ARENA_BYTES}, ret));
    runner->coroutines++;
    return ERR_OK;
}

static Err start_all(JobRunner *runner) {
    TRY(start(runner, "jobs steward", steward_co, runner, &runner->steward_co));
    TRY(start(runner, "jobs completion", complete_co, runner, &runner->complete_co));
    TRY(start(runner, "jobs leader", leader_co, runner, &runner->leader_co));
    for (size_t q = 0; q < runner->n_queues; q++)
        TRY(start(runner, "jobs queue", claim_co, &runner->queues[q], &runner->queues[q].co));
    return ERR_OK;
}

Err job_runner_start(Loop *loop, const JobRunnerOptions *options, JobRunner **ret) {
    Arena *arena = arena_new(RUNNER_ARENA_BYTES);
    JobRunner *runner = arena == NULL ? NULL : ARENA_NEW(arena, JobRunner);
    if (runner == NULL) {
        arena_free(arena);
        return ERR_NO_MEMORY;
    }
    *runner = (JobRunner){.loop = loop, .options = *options, .arena = arena};
    set_defaults(&runner->options);
    runner->taken = ARENA_ARRAY(arena, Attempt *, runner->options.batch);
    Err err = runner->taken == NULL ? ERR_NO_MEMORY : compose(runner);
    if (err == ERR_OK)
        err = add_queues(runner);
    if (err != ERR_OK) {
        arena_free(arena);
        return err;
    }
    *ret = runner;
    return start_all(runner); /* what could start needs the runner, whatever became of the rest */
}

/* --- ending ------------------------------------------------------------------------------------------------------- */

static void ring_all(JobRunner *runner) {
    for (size_t q = 0; q < runner->n_queues; q++)
        bell_ring(&runner->queues[q].bell);
    bell_ring(&runner->end_bell);
    bell_ring(&runner->beat_bell);
    bell_ring(&runner->lead_bell);
}

static void give_back_all(JobRunner *runner) {
    for (Attempt *a = runner->running.first; a != NULL; a = a->next) {
        a->give_back = true;
        if (a->co != NULL)
            co_cancel(a->co);
    }
}

CO_FN static void sign_off(JobRunner *runner) {
    Ctx *ctx = co_ctx(co_self());
    PgParams params;
    PgResult rows;
    if (runner->node == 0)
        return;
    step_begin(ctx, clock_mono_ms() + LAST_MS);
    pg_params_init(&params, ctx->arena);
    pg_add_i64(&params, runner->node);
    (void)!pg_query(engine_pool(runner->options.engine), RUNNER_STATEMENT(runner, SQL_JOBS_SIGN_OFF), &params, &rows);
    ctx->deadline_ms = 0;
}

CO_FN void job_runner_drain(JobRunner *runner, int64_t deadline_ms) {
    runner->draining = true;
    ring_all(runner);
    while (runner->running.n > 0 && clock_mono_ms() < deadline_ms)
        if (bell_wait(&runner->drain_bell, deadline_ms - clock_mono_ms()) != ERR_OK)
            return;
    give_back_all(runner);
    deadline_ms = MAX_OF(deadline_ms, clock_mono_ms()) + LAST_MS;
    while (runner->coroutines > 0 && clock_mono_ms() < deadline_ms) {
        ring_all(runner);
        if (bell_wait(&runner->drain_bell, 20) != ERR_OK)
            return;
    }
    if (runner->running.n == 0 && runner->ended.n == 0 && runner->storing.n == 0)
        sign_off(runner);
}

void job_runner_free(JobRunner *runner) {
    if (runner == NULL)
        return;
    ASSERT(runner->coroutines == 0 && runner->running.n == 0);
    AttemptList *lists[] = {&runner->ended, &runner->storing};
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        while (lists[l]->first != NULL) {
            Attempt *a = lists[l]->first;
            list_remove(lists[l], a);
            attempt_free(a);
        }
    arena_free(runner->arena);
}

JobRunnerStats job_runner_stats(const JobRunner *runner) {
    JobRunnerStats stats = runner->stats;
    stats.running = runner->running.n;
    stats.unsaved = runner->ended.n + runner->storing.n;
    stats.leading = runner->epoch != 0;
    return stats;
}
