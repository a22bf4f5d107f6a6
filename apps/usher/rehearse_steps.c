/*
 * rehearse_steps.c - the phases: the way there, an error step where one is wanted, and the way back.
 *
 * Reads go before, shadow, canary, promote, step back, rollback; writes go before, promote, rollback: a canary of
 * writes would let one caller's changes be on one side and another's on the other. Each change is made by
 * cutover_change or cutover_switch, as `usher cutover` makes it, and is timed until every live gateway says that all
 * its workers go by it. While we wait, three things may end the way there: a signal, clients that fail, a stage that is
 * not as we left it.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "runtime/process.h"
#include "usher/rehearse.h"

enum {
    POLL_MS = 5,
    LOOK_MS = 250,
    GATES_EVERY_MS = 1000,
    ACTED_LIMIT_MS = 1000,
    ACTED_WAIT_MS = 10000,
    PAUSE_LIMIT_MS = 2000,
    STEP_BACK_LIMIT_MS = 30000,
    STEP_BACK_WAIT_MS = 90000,
    COMMAND_MS = 60000,
};

void rehearsal_problem(Rehearsal *r, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    err_printf("rehearsal: %s\n", text);
    r->outcome = r->outcome == REHEARSAL_INTERRUPTED ? r->outcome : REHEARSAL_FAILED;
    if (r->problem_n < REHEARSAL_PROBLEMS_MAX)
        r->problems[r->problem_n++] = arena_str(r->call->ctx->arena, str_c(text));
}

static void problem_of_postgres(Rehearsal *r, const char *what) {
    Str message = r->call->ctx->problem.message;
    rehearsal_problem(r, "%s: Postgres could not be asked: %.*s", what, (int)MIN_OF(message.n, (size_t)200),
                      message.p == NULL ? "" : message.p);
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

bool rehearsal_wait(Rehearsal *r, int64_t ms) {
    sigset_t set;
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    if (sigtimedwait(&set, NULL, &time) > 0) {
        rehearsal_problem(r, "interrupted: going back");
        r->outcome = REHEARSAL_INTERRUPTED;
        return false;
    }
    if (load_lives(r->load))
        return true;
    rehearsal_problem(r, "the load's process has died");
    return false;
}

/* In an error step the new side's errors are wanted; a request without an answer is not. */
bool rehearsal_clients_are_well(Rehearsal *r) {
    uint64_t failed = 0;
    LoadPhase phase;
    for (int i = 0; i < r->phase_n; i++) {
        load_look(r->load, i, &phase);
        failed += strcmp(r->phases[i].name, "step back") == 0 ? phase.unanswered : phase.failed;
    }
    if (failed <= (uint64_t)r->failures_max)
        return true;
    rehearsal_problem(r, "%llu requests failed%s", (unsigned long long)failed,
                      r->phase_n == 1 ? " before anything was changed: the old side is not well" : "");
    return false;
}

static bool stage_is_ours(Rehearsal *r) {
    CutoverStage now;
    if (cutover_stage(r->call, r->conn, &r->target, &now) != ERR_OK) {
        problem_of_postgres(r, "while waiting");
        return false;
    }
    if (now.epoch == r->now.epoch)
        return true;
    rehearsal_problem(r, "the stage became %s although nobody here asked for it: see usher cutover status",
                      stage_name(now.kind));
    return false;
}

/* Holds the phase for so long. */
static bool hold(Rehearsal *r, int64_t ms) {
    int64_t until_ms = clock_mono_ms() + ms;
    for (;;) {
        if (!rehearsal_clients_are_well(r) || !stage_is_ours(r))
            return false;
        int64_t left_ms = until_ms - clock_mono_ms();
        if (left_ms <= 0)
            return true;
        if (!rehearsal_wait(r, MIN_OF(left_ms, LOOK_MS)))
            return false;
    }
}

/* --- following ---------------------------------------------------------------------------------------------------- */

static Err followers(Rehearsal *r, int *ret_live, int *ret_follow) {
    PGresult *result CLEANUP(gateway_clear) = NULL;
    TRY(gateway_ask(r->call, r->conn,
                    "SELECT count(*), count(*) FILTER (WHERE followed_epochs = (SELECT coalesce(sum(epoch), 0) FROM "
                    "gateway.stages)) FROM gateway.gateways WHERE seen_at > clock_timestamp() - interval '5 seconds'",
                    0, NULL, &result));
    *ret_live = (int)gateway_number(result, 0, 0);
    *ret_follow = (int)gateway_number(result, 0, 1);
    return ERR_OK;
}

/* Until all gateways act on the stages as they are; -1: they did not. */
static bool follow(Rehearsal *r, int64_t since_ms, int64_t *ret_ms) {
    int live = 0, follow = 0;
    do {
        if (followers(r, &live, &follow) != ERR_OK) {
            problem_of_postgres(r, "while gateways follow");
            return false;
        }
        *ret_ms = clock_mono_ms() - since_ms;
        if (live > 0 && follow == live) {
            if (*ret_ms > ACTED_LIMIT_MS * r->slack)
                rehearsal_problem(r, "all workers acted on the change only after %lld ms", (long long)*ret_ms);
            return true;
        }
        if (!rehearsal_wait(r, POLL_MS))
            return false;
    } while (clock_mono_ms() - since_ms < ACTED_WAIT_MS * r->slack);
    *ret_ms = -1;
    rehearsal_problem(r, "%d of %d gateways do not act on the change", live - follow, live);
    return false;
}

/* --- phases ------------------------------------------------------------------------------------------------------- */

static PhaseReport *phase_begin(Rehearsal *r, const char *name, StageKind stage) {
    ASSERT(r->phase_n < LOAD_PHASES_MAX);
    int64_t now_ms = clock_mono_ms();
    if (r->phase_n > 0)
        r->phases[r->phase_n - 1].ended_ms = now_ms;
    PhaseReport *phase = &r->phases[r->phase_n];
    *phase = (PhaseReport){.name = name, .stage = stage, .began_ms = now_ms, .acted_ms = -1, .pause_ms = -1};
    if (r->load != NULL)
        load_enter(r->load, r->phase_n);
    r->phase_n++;
    err_printf("rehearsal: %s\n", name);
    return phase;
}

static bool change(Rehearsal *r, PhaseReport *phase, bool forced) {
    Invocation *call = r->call;
    bool switches = r->target.part_number == PART_WRITES;
    CutoverPause pause;
    Str why = arena_printf(call->ctx->arena, "rehearsal: %s%s%s", phase->name, r->force == NULL ? "" : "; ",
                           r->force == NULL ? "" : r->force);
    CutoverStep step = {.to = phase->stage,
                        .canary_percent = phase->stage == STAGE_CANARY ? r->percent : 0,
                        .why = why.p,
                        .forced = forced};
    int64_t began_ms = clock_mono_ms();
    Err err = why.p == NULL ? ERR_NO_MEMORY
              : switches    ? cutover_switch(call, r->conn, &r->target, &r->now, &step, r->pause_ms, &pause)
                            : cutover_change(call, r->conn, &r->target, &r->now, &step);
    if (err == ERR_TIMEOUT || err == ERR_CONFLICT) {
        rehearsal_problem(r, "%s: %s", phase->name,
                          err == ERR_CONFLICT ? "somebody else has changed the stage"
                                              : "called off, since writes in work did not end in time");
        return false;
    }
    if (err != ERR_OK || cutover_stage(call, r->conn, &r->target, &r->now) != ERR_OK) {
        problem_of_postgres(r, phase->name);
        return false;
    }
    if (switches) {
        phase->pause_ms = pause.took_ms;
        began_ms = clock_mono_ms();
        if (pause.took_ms > PAUSE_LIMIT_MS * r->slack)
            rehearsal_problem(r, "writes waited %lld ms", (long long)pause.took_ms);
    }
    return follow(r, began_ms, &phase->acted_ms);
}

/* --- gates -------------------------------------------------------------------------------------------------------- */

static size_t gates_in(const PhaseReport *phase, GateState state) {
    size_t n = 0;
    for (size_t i = 0; i < phase->gate_n; i++)
        n += phase->gates[i].state == state;
    return n;
}

static bool look_at_gates(Rehearsal *r, PhaseReport *phase) {
    if (cutover_gates(r->call, r->conn, &r->settings, &r->target, &r->limits, phase->gates, &phase->gate_n) == ERR_OK)
        return true;
    problem_of_postgres(r, "gates");
    return false;
}

/* Gates need enough to look at: they get until gates_ms to hold. What surely fails is never overridden. */
static bool pass_gates(Rehearsal *r, PhaseReport *phase, bool *ret_forced) {
    int64_t until_ms = phase->began_ms + (r->target.part_number == PART_WRITES ? 0 : r->gates_ms);
    for (;;) {
        if (!look_at_gates(r, phase))
            return false;
        size_t unknown = gates_in(phase, GATE_INCONCLUSIVE), fail = gates_in(phase, GATE_FAILS);
        *ret_forced = gates_closed(phase->gates, phase->gate_n) > 0;
        if (unknown + fail == 0)
            return true;
        if (clock_mono_ms() < until_ms) {
            if (!hold(r, GATES_EVERY_MS))
                return false;
            continue;
        }
        for (size_t i = 0; i < phase->gate_n; i++)
            if (phase->gates[i].state == GATE_FAILS || (phase->gates[i].state == GATE_INCONCLUSIVE && r->force == NULL))
                rehearsal_problem(r, "behind %s, gate %s %s: %.*s", phase->name, phase->gates[i].name,
                                  phase->gates[i].state == GATE_FAILS ? "fails" : "is inconclusive",
                                  (int)MIN_OF(phase->gates[i].says.n, (size_t)300), phase->gates[i].says.p);
        return fail == 0 && r->force != NULL;
    }
}

/* --- the error step ----------------------------------------------------------------------------------------------- */

bool rehearsal_command(Rehearsal *r, const char *option, const char *command) {
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    ProcessOptions options = {.argv = argv,
                              .stdin_fd = PROCESS_NULL,
                              .stdout_fd = STDERR_FILENO,
                              .stderr_fd = PROCESS_KEEP,
                              .new_group = true};
    pid_t pid;
    int status = -1;
    Err err = process_spawn(&options, &pid);
    if (err == ERR_OK)
        err = process_wait(pid, clock_mono_ms() + COMMAND_MS, &status);
    if (err == ERR_TIMEOUT)
        (void)kill(-pid, SIGKILL);
    if (err == ERR_OK && status == 0)
        return true;
    rehearsal_problem(r, "--%s \"%s\" has failed (%s)", option, command, err == ERR_OK ? "its status" : err_name(err));
    return false;
}

/* Did the stage become shadow by usher's own decision? */
static Err stepped_back(Rehearsal *r, bool *ret) {
    PGresult *result CLEANUP(gateway_clear) = NULL;
    const char *values[] = {r->target.context, r->target.part};
    TRY(gateway_ask(r->call, r->conn,
                    "SELECT who = 'usher' AND to_stage = 'shadow' FROM gateway.stage_changes WHERE context = $1 AND "
                    "part = $2 AND route = '' ORDER BY id DESC LIMIT 1",
                    2, values, &result));
    *ret = PQntuples(result) == 1 && PQgetvalue(result, 0, 0)[0] == 't';
    return ERR_OK;
}

/* A request that was begun in the phase before and meets the error would count as that phase's failure. Twice in a row:
 * one that is just being begun is not yet counted. */
static bool wait_for_earlier_ones(Rehearsal *r) {
    int rests = 0;
    while (rests < 2) {
        rests = load_has_ended_before(r->load, r->phase_n - 1) ? rests + 1 : 0;
        if (!rehearsal_wait(r, POLL_MS))
            return false;
    }
    return true;
}

static bool step_back(Rehearsal *r) {
    PhaseReport *phase = phase_begin(r, "step back", STAGE_SHADOW);
    if (!wait_for_earlier_ones(r))
        return false;
    int64_t began_ms = clock_mono_ms(), acted_ms = -1;
    bool back = false;
    r->broken = true;
    if (!rehearsal_command(r, "break", r->breaks))
        return false;
    while (!back) {
        if (!rehearsal_clients_are_well(r) || !rehearsal_wait(r, POLL_MS * 4))
            return false;
        if (stepped_back(r, &back) != ERR_OK) {
            problem_of_postgres(r, "step back");
            return false;
        }
        if (!back && clock_mono_ms() - began_ms > STEP_BACK_WAIT_MS * r->slack) {
            rehearsal_problem(r, "it did not step back by itself within %lld s",
                              (long long)(STEP_BACK_WAIT_MS * r->slack / 1000));
            return false;
        }
    }
    int64_t told_ms = clock_mono_ms();
    if (cutover_stage(r->call, r->conn, &r->target, &r->now) != ERR_OK || !follow(r, told_ms, &acted_ms))
        return false;
    phase->acted_ms = acted_ms;
    r->stepped_back_ms = clock_mono_ms() - began_ms;
    if (r->stepped_back_ms > STEP_BACK_LIMIT_MS * r->slack)
        rehearsal_problem(r, "it stepped back by itself only after %lld ms", (long long)r->stepped_back_ms);
    r->broken = false;
    return r->mends == NULL || rehearsal_command(r, "mend", r->mends);
}

/* --- the way ------------------------------------------------------------------------------------------------------ */

static bool go(Rehearsal *r, const char *name, StageKind stage, bool forced) {
    PhaseReport *phase = phase_begin(r, name, stage);
    return (stage == r->now.kind || change(r, phase, forced)) && hold(r, r->phase_ms);
}

static bool go_reads(Rehearsal *r) {
    bool forced = false;
    if (!go(r, "shadow", STAGE_SHADOW, false) || !pass_gates(r, &r->phases[r->phase_n - 1], &forced) ||
        !go(r, "canary", STAGE_CANARY, forced) || !pass_gates(r, &r->phases[r->phase_n - 1], &forced) ||
        !go(r, "promote", STAGE_NEW, forced))
        return false;
    if (r->breaks != NULL)
        return step_back(r) && go(r, "after it", STAGE_SHADOW, false);
    return go(r, "rollback", STAGE_SHADOW, false);
}

static bool go_writes(Rehearsal *r) {
    bool forced = false;
    return pass_gates(r, &r->phases[r->phase_n - 1], &forced) && go(r, "promote", STAGE_NEW, forced) &&
           go(r, "rollback", STAGE_SHADOW, false);
}

void rehearsal_run(Rehearsal *r) {
    phase_begin(r, "before", r->before.kind);
    if (hold(r, r->phase_ms))
        (void)(r->target.part_number == PART_READS ? go_reads(r) : go_writes(r));
    r->phases[r->phase_n - 1].ended_ms = clock_mono_ms();
}
