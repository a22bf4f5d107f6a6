/*
 * desk.c - an operator's questions and deeds.
 */
#include "jobs/desk.h"

#include <stdio.h>
#include <stdlib.h>

#include "jobs/desk_internal.h"

enum { ASK_MS = 10000 };

Err desk_ask(const JobDesk *desk, const Statement *query, int n, const char *const *values, PGresult **ret) {
    Str text = sql_with_schema(desk->ctx->arena, desk->board->context->schema, str_c(query->sql));
    if (text.p == NULL)
        return ERR_NO_MEMORY;
    desk->ctx->deadline_ms = clock_mono_ms() + ASK_MS; /* a Postgres that hangs would be waited for for ever */
    Err err = pg_sync_exec_params(desk->ctx, desk->conn, text.p, n, values, ret);
    desk->ctx->deadline_ms = 0;
    return err;
}

static const char *number(const JobDesk *desk, int64_t value) {
    return arena_printf(desk->ctx->arena, "%lld", (long long)value).p;
}

static const char *id_text(const JobDesk *desk, Id id) {
    char text[ID_TEXT_LEN];
    id_format(&id, text);
    return arena_str(desk->ctx->arena, (Str){text, ID_TEXT_LEN}).p;
}

static const char *who(const JobDesk *desk) {
    return arena_str(desk->ctx->arena, desk->who).p;
}

/* --- questions ---------------------------------------------------------------------------------------------------- */

static const char *or_any(const char *text) {
    return text == NULL ? "" : text;
}

Err desk_list(const JobDesk *desk, const JobFilter *filter, PGresult **ret) {
    const char *values[] = {or_any(filter->state), or_any(filter->kind), or_any(filter->queue),
                            number(desk, filter->most)};
    return desk_ask(desk, SQL_JOBS_DESK_LIST, 4, values, ret);
}

static Err not_found(const JobDesk *desk, Id id) {
    return ctx_problem(desk->ctx, ERR_NOT_FOUND, NULL, "there is no job %s in %s", id_text(desk, id),
                       desk->board->context->name);
}

Err desk_show(const JobDesk *desk, Id id, PGresult **ret) {
    const char *values[] = {id_text(desk, id)};
    PGresult *rows;
    TRY(desk_ask(desk, SQL_JOBS_DESK_SHOW, 1, values, &rows));
    if (PQntuples(rows) == 0) {
        PQclear(rows);
        return not_found(desk, id);
    }
    *ret = rows;
    return ERR_OK;
}

Err desk_queues(const JobDesk *desk, PGresult **ret) {
    const char *values[] = {number(desk, desk->rescue_ms)};
    return desk_ask(desk, SQL_JOBS_DESK_QUEUES, 1, values, ret);
}

Err desk_audit(const JobDesk *desk, int most, PGresult **ret) {
    const char *values[] = {number(desk, most)};
    return desk_ask(desk, SQL_JOBS_DESK_AUDIT, 1, values, ret);
}

/* --- deeds -------------------------------------------------------------------------------------------------------- */

/* The first value of the first row; no row: *ret_done false. */
static Err act(const JobDesk *desk, const Statement *query, int n, const char *const *values, bool *ret_done,
               Str *ret_now) {
    PGresult *rows;
    TRY(desk_ask(desk, query, n, values, &rows));
    *ret_done = PQntuples(rows) > 0;
    *ret_now = *ret_done ? arena_str(desk->ctx->arena, str_c(PQgetvalue(rows, 0, 0))) : (Str){NULL, 0};
    PQclear(rows);
    return ERR_OK;
}

/* Nothing was changed: is it not there, or past changing? */
static Err explain(const JobDesk *desk, Id id, const char *what) {
    PGresult *rows = NULL;
    TRY(desk_show(desk, id, &rows));
    Str state = arena_str(desk->ctx->arena, str_c(PQgetvalue(rows, 0, 3)));
    PQclear(rows);
    return ctx_problem(desk->ctx, ERR_CONFLICT, NULL, "job %s is %.*s; it cannot be %s", id_text(desk, id),
                       STR_ARG(state), what);
}

Err desk_cancel(const JobDesk *desk, Id id, Str *ret_now) {
    const char *values[] = {id_text(desk, id), who(desk)};
    bool done;
    TRY(act(desk, SQL_JOBS_DESK_CANCEL, 2, values, &done, ret_now));
    return done ? ERR_OK : explain(desk, id, "cancelled");
}

Err desk_retry(const JobDesk *desk, Id id, Str *ret_now) {
    const char *values[] = {id_text(desk, id), who(desk)};
    bool done;
    Err err = act(desk, SQL_JOBS_DESK_RETRY, 2, values, &done, ret_now);
    if (err == ERR_CONFLICT) {
        desk->ctx->problem = (Problem){0};
        return ctx_problem(desk->ctx, err, NULL,
                           "another job holds the unique values of %s; `usher jobs why` says which", id_text(desk, id));
    }
    TRY(err);
    return done ? ERR_OK : explain(desk, id, "retried");
}

static Err check_queue(const JobDesk *desk, const char *queue) {
    for (const JobQueue *q = desk->board->queues; q->name != NULL; q++)
        if (strcmp(q->name, queue) == 0)
            return ERR_OK;
    return ctx_problem(desk->ctx, ERR_NOT_FOUND, NULL, "%s has no queue %s", desk->board->context->name, queue);
}

Err desk_pause(const JobDesk *desk, const char *queue, bool paused, Str *ret_now) {
    const char *values[] = {queue, paused ? "true" : "false", who(desk)};
    bool done;
    TRY(check_queue(desk, queue));
    return act(desk, SQL_JOBS_DESK_PAUSE, 3, values, &done, ret_now);
}

Err desk_scale(const JobDesk *desk, const char *queue, int limit_local, int limit_global, Str *ret_now) {
    Str words =
        arena_printf(desk->ctx->arena, "limit %d, global %d (-1 as declared, -2 as it was)", limit_local, limit_global);
    const char *values[] = {queue, limit_local == DESK_KEEP ? NULL : number(desk, limit_local),
                            limit_global == DESK_KEEP ? NULL : number(desk, limit_global), who(desk), words.p};
    bool done;
    TRY(check_queue(desk, queue));
    TRY(act(desk, SQL_JOBS_DESK_SCALE, 5, values, &done, ret_now));
    *ret_now = words;
    return ERR_OK;
}

Err desk_run(const JobDesk *desk, const char *name, Str args, Id *ret_id) {
    const JobKind *kind = job_kind(desk->board, str_c(name));
    Arena *arena = desk->ctx->arena;
    Str json, by, now;
    if (kind == NULL)
        return ctx_problem(desk->ctx, ERR_NOT_FOUND, NULL, "%s has no kind of job %s", desk->board->context->name,
                           name);
    void *decoded = arena_alloc(arena, kind->size);
    if (decoded == NULL)
        return ERR_NO_MEMORY;
    TRY(job_args_decode(kind, desk->ctx, args.p == NULL ? STR("{}") : args, decoded));
    TRY(job_args_encode(kind, decoded, arena, &json));
    TRY(unique_by(kind, decoded, arena, &by));
    *ret_id = id_time_ordered();
    const char *values[] = {
        id_text(desk, *ret_id),
        kind->name,
        kind->queue == NULL ? "default" : kind->queue,
        number(desk, kind->priority),
        arena_str(arena, json).p,
        number(desk, kind->attempts == 0 ? JOB_ATTEMPTS_DEFAULT : kind->attempts),
        by.p == NULL ? NULL : arena_str(arena, by).p,
        number(desk, kind->unique.on ? kind->unique.period_ms : 0),
        number(desk, unique_states(kind)),
        who(desk),
    };
    bool done;
    TRY(act(desk, SQL_JOBS_DESK_RUN, 10, values, &done, &now));
    return done ? ERR_OK
                : ctx_problem(desk->ctx, ERR_CONFLICT, NULL,
                              "a job of kind %s with the same unique values is there already", name);
}
