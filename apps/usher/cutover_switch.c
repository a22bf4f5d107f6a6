/*
 * cutover_switch.c - the step itself: one row, one line of the audit log, one NOTIFY, in one commit.
 *
 * Writes are switched in two: first the row says until when requests wait. Every gateway holds new ones and reports the
 * epoch when nothing is in work any more; when all have, the stage changes and what waits goes to the other side. The
 * first step names its own end, so that a command that dies half-way leaves nobody waiting; the second happens only
 * before that end, and only if nobody has touched the row.
 */
#include <stdio.h>

#include "usher/cutover.h"

enum { POLL_MS = 5, MARGIN_MS = 200, NUMBER_MAX = 24 };

Err cutover_stage(Invocation *call, PGconn *conn, const CutoverTarget *target, CutoverStage *ret) {
    PGresult *result CLEANUP(gateway_clear) = NULL;
    const char *values[] = {target->context, target->part, target->route};
    *ret = (CutoverStage){.kind = STAGE_LEGACY};
    TRY(gateway_ask(
        call, conn,
        "SELECT stage, canary_percent, epoch, changed_at FROM gateway.stages WHERE context = $1 AND part = $2 AND "
        "route = $3",
        3, values, &result));
    if (PQntuples(result) == 0)
        return ERR_OK;
    ret->canary_percent = gateway_number(result, 0, 1);
    ret->epoch = gateway_number(result, 0, 2);
    ret->changed_at = arena_str(call->ctx->arena, gateway_field(result, 0, 3));
    return stage_parse(gateway_field(result, 0, 0), &ret->kind);
}

/* $1..$3 target, $4 epoch that it must have, $5 stage, $6 percent, $7 why, $8 forced, $9 who, $10 deprecated, $11 gone,
 * $12: a pause must still hold for so many milliseconds; NULL: there is none. */
static const char CHANGE[] =
    "WITH was AS (SELECT stage, epoch, paused_until FROM gateway.stages WHERE context = $1 AND part = $2 AND route = "
    "$3 FOR "
    "UPDATE),"
    " fits AS (SELECT coalesce((SELECT epoch FROM was), 0) = $4::bigint AND ($12::integer IS NULL OR (SELECT "
    "paused_until - "
    "$12::integer * interval '1 millisecond' > clock_timestamp() FROM was)) AS yes),"
    " changed AS (INSERT INTO gateway.stages AS s (context, part, route, stage, canary_percent, epoch, deprecated_at, "
    "gone_at, "
    "changed_at) SELECT $1, $2, $3, $5, $6::integer, $4::bigint + 1, $10::timestamptz, $11::timestamptz, "
    "clock_timestamp() "
    "FROM fits WHERE yes ON CONFLICT (context, part, route) DO UPDATE SET stage = excluded.stage, canary_percent = "
    "excluded.canary_percent, epoch = excluded.epoch, paused_until = NULL, deprecated_at = excluded.deprecated_at, "
    "gone_at = "
    "excluded.gone_at, changed_at = excluded.changed_at WHERE s.epoch = $4::bigint RETURNING s.epoch),"
    " noted AS (INSERT INTO gateway.stage_changes (context, part, route, from_stage, to_stage, canary_percent, forced, "
    "who, "
    "why, changed_at) SELECT $1, $2, $3, coalesce((SELECT stage FROM was), 'legacy'), $5, $6::integer, $8::boolean, "
    "$9, $7, "
    "clock_timestamp() FROM changed)"
    " SELECT epoch, pg_notify('gateway_stages', '') FROM changed";

static Err change(Invocation *call, PGconn *conn, const CutoverTarget *target, int64_t epoch, const CutoverStep *step,
                  const char *margin) {
    PGresult *result CLEANUP(gateway_clear) = NULL;
    char epoch_text[NUMBER_MAX], percent[NUMBER_MAX];
    (void)snprintf(epoch_text, sizeof epoch_text, "%lld", (long long)epoch);
    (void)snprintf(percent, sizeof percent, "%lld", (long long)step->canary_percent);
    const char *values[] = {target->context,
                            target->part,
                            target->route,
                            epoch_text,
                            stage_name(step->to),
                            percent,
                            step->why,
                            step->forced ? "t" : "f",
                            gateway_who(call),
                            step->deprecated_at,
                            step->gone_at,
                            margin};
    TRY(gateway_ask(call, conn, CHANGE, ARRAY_LEN(values), values, &result));
    return PQntuples(result) == 1 ? ERR_OK : ERR_CONFLICT;
}

Err cutover_change(Invocation *call, PGconn *conn, const CutoverTarget *target, const CutoverStage *from,
                   const CutoverStep *step) {
    return change(call, conn, target, from->epoch, step, NULL);
}

/* --- with a pause ------------------------------------------------------------------------------------------------- */

static const char PAUSE[] =
    "WITH paused AS (INSERT INTO gateway.stages AS s (context, part, route, stage, canary_percent, epoch, "
    "paused_until, "
    "changed_at) SELECT $1, $2, $3, 'legacy', 0, 1, clock_timestamp() + $5::integer * interval '1 millisecond', "
    "clock_timestamp() WHERE $4::bigint = 0 OR EXISTS (SELECT FROM gateway.stages WHERE context = $1 AND part = $2 AND "
    "route "
    "= $3 AND epoch = $4::bigint) ON CONFLICT (context, part, route) DO UPDATE SET epoch = s.epoch + 1, paused_until = "
    "excluded.paused_until WHERE s.epoch = $4::bigint RETURNING s.epoch)"
    " SELECT epoch, pg_notify('gateway_stages', '') FROM paused";

static const char RESUME[] =
    "WITH resumed AS (UPDATE gateway.stages SET epoch = epoch + 1, paused_until = NULL WHERE context = $1 AND part = "
    "$2 AND "
    "route = $3 AND epoch = $4::bigint RETURNING epoch) SELECT epoch, pg_notify('gateway_stages', '') FROM resumed";

/* Gateways that live, and how many of them hold. One that has fallen silent may still send writes to the side that it
 * knows of: it must come back, sign off, or be silent for a minute. */
static Err gateways(Invocation *call, PGconn *conn, int64_t epoch, int *ret_live, int *ret_holding) {
    PGresult *result CLEANUP(gateway_clear) = NULL;
    char epoch_text[NUMBER_MAX];
    (void)snprintf(epoch_text, sizeof epoch_text, "%lld", (long long)epoch);
    const char *values[] = {epoch_text};
    TRY(gateway_ask(
        call, conn,
        "SELECT count(*), count(*) FILTER (WHERE holding_epoch >= $1::bigint) FROM gateway.gateways WHERE seen_at "
        "> clock_timestamp() - interval '5 seconds'",
        1, values, &result));
    *ret_live = (int)gateway_number(result, 0, 0);
    *ret_holding = (int)gateway_number(result, 0, 1);
    return ERR_OK;
}

static Err wait_until_held(Invocation *call, PGconn *conn, int64_t epoch, int64_t until_ms, CutoverPause *ret) {
    int holding = 0;
    for (;;) {
        TRY(gateways(call, conn, epoch, &ret->gateways, &holding));
        if (holding >= ret->gateways)
            return ERR_OK;
        if (clock_mono_ms() >= until_ms)
            return ctx_problem(call->ctx, ERR_TIMEOUT, NULL, "%d of %d gateways did not come to rest in time",
                               ret->gateways - holding, ret->gateways);
        clock_sleep_ms(POLL_MS);
    }
}

Err cutover_switch(Invocation *call, PGconn *conn, const CutoverTarget *target, const CutoverStage *from,
                   const CutoverStep *step, int64_t pause_ms, CutoverPause *ret) {
    PGresult *paused CLEANUP(gateway_clear) = NULL, *resumed CLEANUP(gateway_clear) = NULL;
    char epoch_text[NUMBER_MAX], pause_text[NUMBER_MAX], margin[NUMBER_MAX];
    (void)snprintf(epoch_text, sizeof epoch_text, "%lld", (long long)from->epoch);
    (void)snprintf(pause_text, sizeof pause_text, "%lld", (long long)pause_ms);
    (void)snprintf(margin, sizeof margin, "%d", MARGIN_MS);
    const char *values[] = {target->context, target->part, target->route, epoch_text, pause_text};
    int64_t began_ms = clock_mono_ms();
    TRY(gateway_ask(call, conn, PAUSE, 5, values, &paused));
    if (PQntuples(paused) != 1)
        return ERR_CONFLICT;
    int64_t epoch = gateway_number(paused, 0, 0);
    Err err = wait_until_held(call, conn, epoch, began_ms + pause_ms - 2 * MARGIN_MS, ret);
    if (err == ERR_OK)
        err = change(call, conn, target, epoch, step, margin);
    ret->took_ms = clock_mono_ms() - began_ms;
    if (err == ERR_OK)
        return ERR_OK;
    (void)snprintf(epoch_text, sizeof epoch_text, "%lld", (long long)epoch);
    Problem problem = call->ctx->problem;
    if (gateway_ask(call, conn, RESUME, 4, values, &resumed) == ERR_OK)
        call->ctx->problem = problem;
    return err;
}
