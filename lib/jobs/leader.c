/*
 * leader.c - one node at a time leads a context's jobs: it fires cron lines, buries silent nodes, rescues their jobs.
 *
 * The lease has an epoch that grows whenever it changes hands, and every statement of a leader begins by locking the
 * lease's row and comparing node, epoch and time. A leader that stood still and goes on as if nothing had happened
 * therefore does nothing: its statement finds another epoch. Beside that a line's moment moves on in the commit of its
 * job, and a constraint keeps two jobs of one moment apart; no one of the three relies on the others.
 *
 * Its statements may have to wait for another's locks, and whatever is asked on the reader behind one that waits, waits
 * too: the beat, say, and then others take a node for dead that only leads. So they go over a connection for
 * transactions.
 *
 * Advisory locks would be shorter, and are lost with the connection without anybody being told; and a pooler in
 * transaction mode hands one session's lock to another.
 */
#include "jobs/cron.h"
#include "jobs/internal.h"
#include "runtime/log.h"

/* Moments of one line looked through in one go, and how far back they are looked for when there are more. */
#define MOMENTS_MAX        2000
#define MOMENTS_BACK_TICKS (25 * 3600 * TICKS_PER_SECOND)
#define RESCUE_MAX         1000

typedef struct Question {
    const Statement *statement;
    const PgParams *params;
    PgResult *ret;
} Question;

CO_FN static Err ask_in(PgTx *tx, void *arg) {
    const Question *question = arg;
    return pg_tx_query_commit(tx, question->statement, question->params, question->ret);
}

CO_FN static Err ask(JobRunner *runner, const Statement *query, const PgParams *params, PgResult *ret) {
    Question question = {.statement = RUNNER_STATEMENT(runner, query), .params = params, .ret = ret};
    return pg_transaction(engine_pool(runner->options.engine), ask_in, &question);
}

static void bind_lease(PgParams *params, const JobRunner *runner, Arena *arena) {
    pg_params_init(params, arena);
    pg_add_i64(params, runner->node);
    pg_add_i64(params, runner->epoch);
}

/* --- the lease ---------------------------------------------------------------------------------------------------- */

CO_FN static Err make_crons(JobRunner *runner, Ctx *ctx) {
    PgParams params;
    PgResult rows;
    pg_params_init(&params, ctx->arena);
    for (int column = 0; column < 3; column++) {
        pg_array_begin(&params, OID_TEXT_ARRAY);
        for (const JobCron *line = runner->options.board->crons; line != NULL && line->name != NULL; line++)
            pg_array_text(&params, str_c(column == 0          ? line->name
                                         : column == 1        ? line->expression
                                         : line->zone == NULL ? "UTC"
                                                              : line->zone));
        pg_array_end(&params);
    }
    return ask(runner, SQL_JOBS_CRONS_MAKE, &params, &rows);
}

CO_FN static Err lead(JobRunner *runner, Ctx *ctx) {
    PgParams params;
    PgResult rows;
    pg_params_init(&params, ctx->arena);
    pg_add_i64(&params, runner->node);
    pg_add_i64(&params, runner->options.lease_ms);
    pg_add_i64(&params, runner->epoch);
    TRY(ask(runner, SQL_JOBS_LEAD, &params, &rows));
    int64_t epoch = rows.rows == 0 ? 0 : pg_i64(&rows, 0, 0);
    bool new_lease = epoch != 0 && epoch != runner->epoch;
    if (epoch == 0 && runner->epoch != 0)
        LOG_W(ctx, "jobs_lease_lost", F_C("schema", engine_context(runner->options.engine)->schema),
              F_INT("epoch", runner->epoch));
    runner->epoch = epoch;
    if (!new_lease)
        return ERR_OK;
    LOG_I(ctx, "jobs_lead", F_C("schema", engine_context(runner->options.engine)->schema), F_INT("epoch", epoch));
    return make_crons(runner, ctx);
}

/* --- rescue ------------------------------------------------------------------------------------------------------- */

CO_FN static Err rescue(JobRunner *runner, Ctx *ctx) {
    PgParams params;
    PgResult rows;
    bind_lease(&params, runner, ctx->arena);
    pg_add_i64(&params, runner->options.rescue_ms);
    TRY(ask(runner, SQL_JOBS_BURY, &params, &rows));
    for (int row = 0; row < rows.rows; row++)
        LOG_W(ctx, "jobs_node_buried", F_STR("node", pg_text(&rows, row, 1)));
    do {
        bind_lease(&params, runner, ctx->arena);
        TRY(ask(runner, SQL_JOBS_RESCUE, &params, &rows));
        if (rows.rows > 0)
            LOG_W(ctx, "jobs_rescued", F_C("schema", engine_context(runner->options.engine)->schema),
                  F_INT("jobs", rows.rows));
    } while (rows.rows == RESCUE_MAX);
    for (size_t q = 0; rows.rows > 0 && q < runner->n_queues; q++)
        bell_ring(&runner->queues[q].bell);
    return ERR_OK;
}

/* --- cron lines --------------------------------------------------------------------------------------------------- */

CO_FN static Err fire(JobRunner *runner, Ctx *ctx, const JobCron *line, Instant moment) {
    const JobKind *kind = line->kind;
    const void *args = line->args != NULL ? line->args : arena_alloc(ctx->arena, kind->size);
    PgParams params;
    PgResult rows;
    Str json, by;
    if (args == NULL)
        return ERR_NO_MEMORY;
    TRY(job_args_encode(kind, args, ctx->arena, &json));
    TRY(unique_by(kind, args, ctx->arena, &by));
    bind_lease(&params, runner, ctx->arena);
    pg_add_text(&params, str_c(line->name));
    pg_add_instant(&params, moment);
    pg_add_id(&params, id_time_ordered());
    pg_add_text(&params, str_c(kind->name));
    pg_add_text(&params, str_c(kind->queue == NULL ? "default" : kind->queue));
    pg_add_i16(&params, (int16_t)kind->priority);
    pg_add_text(&params, json);
    pg_add_i16(&params, (int16_t)(kind->attempts == 0 ? JOB_ATTEMPTS_DEFAULT : kind->attempts));
    pg_add_text(&params, by);
    pg_add_i64(&params, kind->unique.on ? kind->unique.period_ms : 0);
    pg_add_i16(&params, unique_states(kind));
    return ask(runner, SQL_JOBS_CRON_FIRE, &params, &rows);
}

static const JobCron *line_named(const JobBoard *board, Str name) {
    for (const JobCron *line = board->crons; line != NULL && line->name != NULL; line++)
        if (str_eq_c(name, line->name))
            return line;
    return NULL;
}

Err cron_latest(const Cron *cron, const Zone *zone, Instant after, Instant now, OptInstant *ret_due,
                Instant *ret_next) {
    Instant moment = after;
    *ret_due = (OptInstant){0};
    for (int i = 0;; i++) {
        TRY(cron_next(cron, zone, moment, &moment));
        if (instant_compare(moment, now) > 0)
            break;
        *ret_due = (OptInstant){.value = moment, .present = true};
        if (i == MOMENTS_MAX)
            moment.ticks = MAX_OF(moment.ticks, now.ticks - MOMENTS_BACK_TICKS);
    }
    *ret_next = moment;
    return ERR_OK;
}

/* Fires the latest moment that is due; *until_ms is lowered to when the next one comes. */
CO_FN static Err look_at(JobRunner *runner, Ctx *ctx, const JobCron *line, Instant last, Instant now,
                         int64_t *until_ms) {
    Cron cron;
    Zone *zone;
    OptInstant due;
    Instant next;
    TRY(cron_parse(ctx, line->expression, &cron));
    TRY(zone_open(ctx, ctx->arena, line->zone == NULL ? "UTC" : line->zone, &zone));
    Err err = cron_latest(&cron, zone, last, now, &due, &next);
    if (err == ERR_NOT_FOUND)
        return ERR_OK; /* the 30th of February */
    TRY(err);
    *until_ms = MIN_OF(*until_ms, (next.ticks - now.ticks) / (TICKS_PER_SECOND / 1000) + 1);
    return due.present ? fire(runner, ctx, line, due.value) : ERR_OK;
}

CO_FN static Err crons(JobRunner *runner, Ctx *ctx, int64_t *until_ms) {
    PgResult rows;
    if (runner->options.board->crons == NULL)
        return ERR_OK;
    TRY(ask(runner, SQL_JOBS_CRONS, NULL, &rows));
    for (int row = 0; row < rows.rows; row++) {
        const JobCron *line = line_named(runner->options.board, pg_text(&rows, row, 0));
        if (line == NULL)
            continue;
        Err err = look_at(runner, ctx, line, pg_instant(&rows, row, 1), pg_instant(&rows, row, 2), until_ms);
        if (err == ERR_OK)
            continue;
        LOG_W(ctx, "cron_failed", F_C("line", line->name), F_ERR(err), F_STR("detail", ctx->problem.message));
        ctx->problem = (Problem){0};
        if (err == ERR_UNAVAILABLE || err == ERR_CANCELLED || err == ERR_TIMEOUT)
            return err;
    }
    return ERR_OK;
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

CO_FN Err leader_round(JobRunner *runner, Ctx *ctx, int64_t *until_ms) {
    TRY(rescue(runner, ctx));
    return crons(runner, ctx, until_ms);
}

CO_FN static void resign(JobRunner *runner, Ctx *ctx) {
    PgParams params;
    PgResult rows;
    bind_lease(&params, runner, ctx->arena);
    ctx->deadline_ms = clock_mono_ms() + 1000;
    (void)!ask(runner, SQL_JOBS_RESIGN, &params, &rows);
    runner->epoch = 0;
}

CO_FN void leader_co(Ctx *ctx, void *arg) {
    JobRunner *runner = arg;
    Err last = ERR_OK;
    while (!runner->draining && !co_is_cancelled()) {
        int64_t wait_ms = runner->options.lease_ms / 3;
        step_begin(ctx, clock_mono_ms() + STATEMENT_DEADLINE_MS);
        Err err = runner->node == 0 ? ERR_OK : lead(runner, ctx);
        if (err == ERR_OK && runner->epoch != 0)
            err = leader_round(runner, ctx, &wait_ms);
        ctx->deadline_ms = 0;
        step_log(ctx, runner, "leader", err, &last);
        if (runner->node == 0)
            wait_ms = MIN_OF(wait_ms, (int64_t)50);
        if (bell_wait(&runner->lead_bell, MAX_OF(wait_ms, (int64_t)1)) != ERR_OK)
            break;
    }
    if (runner->epoch != 0 && !co_is_cancelled())
        resign(runner, ctx);
    runner->coroutines--;
    bell_ring(&runner->drain_bell);
}
