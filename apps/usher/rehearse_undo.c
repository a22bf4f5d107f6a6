/*
 * rehearse_undo.c - the way back, for whoever is left to go it.
 *
 * Before anything is changed a row of gateway.rehearsals says how the stage is. The same function takes it back at the
 * end of a rehearsal, in the load's process when the rehearsal was killed, and for `usher rehearse CONTEXT --undo` when
 * both were. It decides by the audit log: where the last change is neither a rehearsal's nor a step back of usher's
 * own, somebody else has decided since, and that stands.
 */
#include <stdio.h>
#include <unistd.h>

#include "usher/rehearse.h"

enum { BACK_MS = 60000, AGAIN_MS = 250, SWITCHES_MAX = 2 };

Err rehearsal_note(Rehearsal *r) {
    PGresult *result CLEANUP(gateway_clear) = NULL;
    char host[64] = "?", place[96];
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(place, sizeof place, "%s:%d", host, (int)getpid());
    const char *values[] = {r->target.context,
                            r->target.part,
                            stage_name(r->before.kind),
                            gateway_who(r->call),
                            r->force == NULL ? "rehearsal" : r->force,
                            place};
    TRY(gateway_ask(r->call, r->conn,
                    "INSERT INTO gateway.rehearsals (context, part, stage, began_at, who, why, place) VALUES ($1, $2, "
                    "$3, clock_timestamp(), $4, $5, $6) ON CONFLICT (context) DO NOTHING RETURNING context",
                    ARRAY_LEN(values), values, &result));
    return PQntuples(result) == 1 ? ERR_OK : ERR_CONFLICT;
}

static Err forget(Invocation *call, PGconn *conn, const char *context) {
    PGresult *result CLEANUP(gateway_clear) = NULL;
    return gateway_ask(call, conn, "DELETE FROM gateway.rehearsals WHERE context = $1", 1, &context, &result);
}

/* Was the last change since then one of ours, or usher's own? No change: ours, too. */
static Err is_ours(Invocation *call, PGconn *conn, const CutoverTarget *target, bool *ret) {
    PGresult *result CLEANUP(gateway_clear) = NULL;
    const char *values[] = {target->context, target->part};
    TRY(gateway_ask(
        call, conn,
        "SELECT c.who = 'usher' OR c.why LIKE 'rehearsal%' FROM gateway.stage_changes c, gateway.rehearsals r "
        "WHERE r.context = $1 AND c.context = $1 AND c.part = $2 AND c.route = '' AND c.changed_at >= "
        "r.began_at ORDER BY c.id DESC LIMIT 1",
        2, values, &result));
    *ret = PQntuples(result) == 0 || PQgetvalue(result, 0, 0)[0] == 't';
    return ERR_OK;
}

/* Writers wait, so that none is in work on both sides; but not for ever: going back comes first. */
static Err change_back(Invocation *call, PGconn *conn, const CutoverTarget *target, const CutoverStage *from,
                       CutoverStep *step) {
    CutoverPause pause;
    CutoverStage now = *from;
    if (target->part_number == PART_READS || from->kind < STAGE_CANARY)
        return cutover_change(call, conn, target, from, step);
    for (int i = 0; i < SWITCHES_MAX; i++) {
        Err err = cutover_switch(call, conn, target, &now, step, 2000, &pause);
        if (err != ERR_TIMEOUT)
            return err;
        TRY(cutover_stage(call, conn, target, &now));
    }
    step->why = "rehearsal: put back as it was, although a write in work did not end";
    return cutover_change(call, conn, target, &now, step);
}

Err rehearsal_undo(Invocation *call, PGconn *conn, const char *context, const char *why, UndoResult *ret) {
    PGresult *note CLEANUP(gateway_clear) = NULL;
    CutoverTarget target = {.context = context, .route = ""};
    CutoverStage now;
    CutoverStep step = {.why = why};
    bool ours;
    TRY(gateway_ask(call, conn, "SELECT part, stage FROM gateway.rehearsals WHERE context = $1", 1, &context, &note));
    *ret = UNDO_NOTHING;
    if (PQntuples(note) == 0)
        return ERR_OK;
    target.part = PQgetvalue(note, 0, 0);
    target.part_number = strcmp(target.part, "writes") == 0 ? PART_WRITES : PART_READS;
    TRY(stage_parse(gateway_field(note, 0, 1), &step.to));
    TRY(cutover_stage(call, conn, &target, &now));
    TRY(is_ours(call, conn, &target, &ours));
    *ret = !ours ? UNDO_NOT_OURS : now.kind == step.to ? UNDO_AS_WAS : UNDO_PUT_BACK;
    if (*ret == UNDO_PUT_BACK)
        TRY(change_back(call, conn, &target, &now, &step));
    return forget(call, conn, context);
}

static bool connects(Rehearsal *r) {
    if (r->conn != NULL && PQstatus(r->conn) == CONNECTION_OK)
        return true;
    gateway_finish(&r->conn);
    problem_clear(r->call->ctx);
    return gateway_open(r->call->ctx, &r->settings, &r->conn) == ERR_OK;
}

void rehearsal_put_back(Rehearsal *r, const char *why) {
    static const char *const says[] = {"they are as they were", "they are as they were", "they are as they were again",
                                       "somebody else has changed them meanwhile: they are left as that was decided"};
    int64_t until_ms = clock_mono_ms() + BACK_MS;
    UndoResult result = UNDO_NOTHING;
    Err err;
    for (;;) {
        err = connects(r) ? rehearsal_undo(r->call, r->conn, r->target.context, why, &result) : ERR_UNAVAILABLE;
        if (err == ERR_OK || clock_mono_ms() >= until_ms)
            break;
        clock_sleep_ms(AGAIN_MS);
    }
    r->is_restored = err == ERR_OK;
    r->restored = err == ERR_OK ? says[result] : "they could not be put back";
    if (err != ERR_OK)
        err_printf("the stage of %s %s could not be put back to %s. When Postgres is there again: usher rehearse %s "
                   "--undo, or usher cutover rollback %s %s%s\n",
                   r->target.context, r->target.part, stage_name(r->before.kind), r->target.context, r->target.context,
                   r->target.part, r->before.kind == STAGE_LEGACY ? " --legacy" : "");
}
