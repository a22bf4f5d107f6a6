/*
 * steward.c - keeps the node alive, and keeps what it thinks it runs equal to what the database says.
 *
 * Each beat: say that we live; read which rows are ours. A row that we do not know of was claimed by a statement whose
 * answer was lost: given back. An attempt whose row is not ours any more was taken over (this process stood still too
 * long): its coroutine is cancelled and its end not stored. A row whose cancellation was asked for: the same, but
 * stored. NOTIFY makes a beat come at once; without it each is found out a heartbeat later.
 *
 * A node that cannot say that it lives stops in time: safe_until_ms lies a quarter of rescue_ms before others may take
 * its jobs over, by the monotonic clock from before its last successful beat was sent. What a process does that was
 * frozen for longer is fenced where it matters, in the database: by node and attempt in each end, by job_finish_in.
 */
#include "base/heap.h"
#include "base/map.h"
#include "jobs/internal.h"
#include "runtime/log.h"

#define DEPTHS_EVERY_MS 5000
#define RETRY_MS        200

/* --- signing on --------------------------------------------------------------------------------------------------- */

static void bind_queue_names(PgParams *params, const JobRunner *runner, Arena *arena) {
    pg_params_init(params, arena);
    pg_array_begin(params, OID_TEXT_ARRAY);
    for (size_t q = 0; q < runner->n_queues; q++)
        pg_array_text(params, str_c(runner->queues[q].queue->name));
    pg_array_end(params);
}

CO_FN static Err sign_on(JobRunner *runner, Ctx *ctx) {
    PgPool *pool = engine_pool(runner->options.engine);
    PgParams params;
    PgResult rows;
    Buf queues = buf_new(ctx->arena, 4096);
    int64_t asked_ms = clock_mono_ms();
    bind_queue_names(&params, runner, ctx->arena);
    TRY(pg_query(pool, RUNNER_STATEMENT(runner, SQL_JOBS_QUEUES_MAKE), &params, &rows));
    for (size_t q = 0; q < runner->n_queues; q++)
        buf_printf(&queues, "%s%s", q == 0 ? "" : ",", runner->queues[q].queue->name);
    pg_params_init(&params, ctx->arena);
    pg_add_text(&params, runner->options.node_name);
    pg_add_text(&params, buf_str(&queues));
    TRY(pg_query(pool, RUNNER_STATEMENT(runner, SQL_JOBS_SIGN_ON), &params, &rows));
    runner->node = pg_i64(&rows, 0, 0);
    runner->safe_until_ms = asked_ms + runner->options.rescue_ms * 3 / 4;
    for (size_t q = 0; q < runner->n_queues; q++)
        bell_ring(&runner->queues[q].bell);
    return ERR_OK;
}

static void cut(Attempt *a) {
    if (a->co != NULL)
        co_cancel(a->co);
}

/* Others have, or may have, what we run. */
static void lose_all(JobRunner *runner, const char *why) {
    if (runner->running.n + runner->ended.n > 0)
        LOG_W(NULL, "node_lost", F_C("schema", engine_context(runner->options.engine)->schema), F_C("why", why),
              F_INT("jobs", runner->running.n + runner->ended.n));
    for (Attempt *a = runner->running.first; a != NULL; a = a->next) {
        a->lost = true;
        cut(a);
    }
    for (Attempt *a = runner->ended.first; a != NULL; a = a->next)
        a->lost = true;
    runner->stats.lost += runner->running.n + runner->ended.n;
    runner->node = 0;
    runner->epoch = 0;
}

/* --- the beat ----------------------------------------------------------------------------------------------------- */

CO_FN static Err beat(JobRunner *runner, Ctx *ctx) {
    PgParams params;
    PgResult rows;
    int64_t asked_ms = clock_mono_ms();
    pg_params_init(&params, ctx->arena);
    pg_add_i64(&params, runner->node);
    pg_add_bool(&params, runner->draining);
    TRY(pg_query(engine_pool(runner->options.engine), RUNNER_STATEMENT(runner, SQL_JOBS_BEAT), &params, &rows));
    if (rows.affected == 1)
        runner->safe_until_ms = asked_ms + runner->options.rescue_ms * 3 / 4;
    else
        lose_all(runner, "it was taken for dead");
    return ERR_OK;
}

/* All attempts that we know of, by id; the value is the attempt. */
static Err known_attempts(const JobRunner *runner, Arena *arena, Map **ret) {
    const AttemptList *lists[] = {&runner->running, &runner->ended, &runner->storing};
    *ret = map_new(arena, runner->running.n + runner->ended.n + runner->storing.n);
    if (*ret == NULL)
        return ERR_NO_MEMORY;
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        for (Attempt *a = lists[l]->first; a != NULL; a = a->next)
            TRY(map_put(*ret, (Str){(const char *)a->id.bytes, sizeof a->id.bytes}, a, NULL));
    return ERR_OK;
}

static void ask_cancel(Attempt *a) {
    if (a->co == NULL || a->cancel)
        return;
    a->cancel = true;
    cut(a);
}

/* Rows that no attempt of ours stands for, unless a claim is under way, whose rows we shall know of soon. */
CO_FN static Err give_back(JobRunner *runner, Ctx *ctx, const PgResult *rows, const Map *known) {
    PgParams params;
    PgResult result;
    size_t n = 0;
    pg_params_init(&params, ctx->arena);
    pg_add_i64(&params, runner->node);
    for (int column = 0; column < 2; column++) {
        pg_array_begin(&params, column == 0 ? OID_UUID_ARRAY : OID_INT2_ARRAY);
        for (int row = 0; row < rows->rows; row++) {
            Id id = pg_id(rows, row, 0);
            if (map_get(known, (Str){(const char *)id.bytes, sizeof id.bytes}) != NULL)
                continue;
            n++;
            if (column == 0)
                pg_array_id(&params, id);
            else
                pg_array_i16(&params, pg_i16(rows, row, 1));
        }
        pg_array_end(&params);
    }
    if (n == 0)
        return ERR_OK;
    runner->stats.given_back += n / 2;
    return pg_query(engine_pool(runner->options.engine), RUNNER_STATEMENT(runner, SQL_JOBS_GIVE_BACK), &params,
                    &result);
}

CO_FN static Err reconcile(JobRunner *runner, Ctx *ctx) {
    PgParams params;
    PgResult rows;
    Map *known, *theirs;
    bool claiming = runner->claiming > 0;
    uint64_t claimed = runner->stats.claimed;
    int64_t asked_ns = clock_mono_ns();
    pg_params_init(&params, ctx->arena);
    pg_add_i64(&params, runner->node);
    TRY(known_attempts(runner, ctx->arena, &known)); /* before: what is stored meanwhile is still known */
    TRY(pg_query(engine_pool(runner->options.engine), RUNNER_STATEMENT(runner, SQL_JOBS_OF_NODE), &params, &rows));
    theirs = map_new(ctx->arena, (size_t)rows.rows);
    if (theirs == NULL)
        return ERR_NO_MEMORY;
    for (int row = 0; row < rows.rows; row++) {
        Id *id = ARENA_NEW(ctx->arena, Id);
        if (id == NULL)
            return ERR_NO_MEMORY;
        *id = pg_id(&rows, row, 0);
        TRY(map_put(theirs, (Str){(const char *)id->bytes, sizeof id->bytes}, id, NULL));
    }
    for (int row = 0; row < rows.rows; row++) {
        Id id = pg_id(&rows, row, 0);
        for (Attempt *a = runner->running.first; pg_bool(&rows, row, 2) && a != NULL; a = a->next)
            if (id_eq(a->id, id))
                ask_cancel(a);
    }
    for (Attempt *a = runner->running.first; a != NULL; a = a->next) {
        if (a->began_ns == 0 || a->began_ns > asked_ns || a->finishing || a->lost ||
            map_get(theirs, (Str){(const char *)a->id.bytes, sizeof a->id.bytes}) != NULL)
            continue;
        a->lost = true;
        runner->stats.lost++;
        cut(a);
    }
    if (claiming || runner->claiming > 0 || claimed != runner->stats.claimed)
        return ERR_OK;
    return give_back(runner, ctx, &rows, known);
}

/* --- what operators said ------------------------------------------------------------------------------------------ */

static QueueLoop *queue_named(JobRunner *runner, Str name) {
    for (size_t q = 0; q < runner->n_queues; q++)
        if (str_eq_c(name, runner->queues[q].queue->name))
            return &runner->queues[q];
    return NULL;
}

CO_FN static Err read_settings(JobRunner *runner, Ctx *ctx) {
    PgResult rows;
    (void)ctx;
    TRY(pg_query(engine_pool(runner->options.engine), RUNNER_STATEMENT(runner, SQL_JOBS_QUEUE_SETTINGS), NULL, &rows));
    for (int row = 0; row < rows.rows; row++) {
        QueueLoop *queue = queue_named(runner, pg_text(&rows, row, 0));
        if (queue == NULL)
            continue;
        int declared = queue->queue->limit == 0 ? JOB_LIMIT_DEFAULT : queue->queue->limit;
        bool paused = pg_bool(&rows, row, 1);
        int limit = pg_i32(&rows, row, 2) < 0 ? declared : pg_i32(&rows, row, 2);
        int global = pg_i32(&rows, row, 3) < 0 ? queue->queue->limit_global : pg_i32(&rows, row, 3);
        bool more = limit > queue->limit || paused != queue->paused;
        queue->paused = paused;
        queue->limit = limit;
        queue->limited = global > 0 || queue->queue->rate > 0;
        if (more)
            bell_ring(&queue->bell);
    }
    return ERR_OK;
}

CO_FN static Err read_depths(JobRunner *runner, Ctx *ctx) {
    PgParams params;
    PgResult rows;
    bind_queue_names(&params, runner, ctx->arena);
    TRY(pg_query(engine_pool(runner->options.engine), RUNNER_STATEMENT(runner, SQL_JOBS_DEPTHS), &params, &rows));
    const char *schema = engine_context(runner->options.engine)->schema;
    for (int row = 0; row < rows.rows; row++) {
        const QueueLoop *queue = queue_named(runner, pg_text(&rows, row, 0));
        if (queue != NULL)
            trace_depth(schema, queue->queue->name, pg_i64(&rows, row, 1), pg_i64(&rows, row, 2),
                        (int64_t)queue->running);
    }
    return ERR_OK;
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

static void notified(Str payload, void *data) {
    JobRunner *runner = data;
    if (payload.p != NULL && str_starts_with(payload, STR("q "))) {
        QueueLoop *queue = queue_named(runner, str_slice(payload, 2, payload.n));
        if (queue != NULL)
            bell_ring(&queue->bell);
        return;
    }
    bell_ring(&runner->beat_bell);
    for (size_t q = 0; payload.p == NULL && q < runner->n_queues; q++)
        bell_ring(&runner->queues[q].bell);
}

CO_FN static Err steward_step(JobRunner *runner, Ctx *ctx, int64_t *depths_at_ms) {
    if (!runner->listening) {
        TRY(pg_listen(engine_pool(runner->options.engine), runner->channel, notified, runner));
        runner->listening = true;
    }
    if (runner->node != 0)
        TRY(beat(runner, ctx));
    if (runner->node == 0 && !runner->draining)
        TRY(sign_on(runner, ctx));
    if (runner->node != 0)
        TRY(reconcile(runner, ctx));
    TRY(read_settings(runner, ctx));
    if (clock_mono_ms() < *depths_at_ms)
        return ERR_OK;
    *depths_at_ms = clock_mono_ms() + DEPTHS_EVERY_MS;
    return read_depths(runner, ctx);
}

CO_FN void steward_co(Ctx *ctx, void *arg) {
    JobRunner *runner = arg;
    Err last = ERR_OK;
    int64_t depths_at_ms = 0;
    while (!co_is_cancelled()) {
        step_begin(ctx, clock_mono_ms() + MIN_OF(runner->options.rescue_ms / 4, STATEMENT_DEADLINE_MS));
        Err err = steward_step(runner, ctx, &depths_at_ms);
        ctx->deadline_ms = 0;
        step_log(ctx, runner, "steward", err, &last);
        if (runner->node != 0 && clock_mono_ms() >= runner->safe_until_ms)
            lose_all(runner, "the database could not be told that it lives");
        int64_t wait_ms = err == ERR_OK ? runner->options.heartbeat_ms : MIN_OF(runner->options.heartbeat_ms, RETRY_MS);
        if (runner->draining && runner->coroutines == 1 && runner->running.n == 0)
            break;
        if (bell_wait(&runner->beat_bell, wait_ms) != ERR_OK)
            break;
    }
    runner->coroutines--;
    bell_ring(&runner->drain_bell);
}
