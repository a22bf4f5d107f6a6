/*
 * cmd_cutover.c - `usher cutover`: what stands where, what would come next, and the steps there and back.
 */
#include <stdio.h>
#include <stdlib.h>

#include "usher/cmd.h"
#include "usher/cutover.h"
#include "json/json.h"

const Option OPTIONS_cutover[] = {
    {"route", OPTION_TEXT, "ROUTE", "only this route of the context, e.g. \"GET /events\"; it then goes its own way"},
    {"percent", OPTION_TEXT, "N", "canary: so many callers of a hundred (default 5)"},
    {"reason", OPTION_TEXT, "TEXT", "why; goes into the audit log"},
    {"force", OPTION_FLAG, NULL, "although gates do not hold; needs a --reason"},
    {"legacy", OPTION_FLAG, NULL, "rollback: to stage legacy, without mirroring"},
    {"gone", OPTION_TEXT, "TIME", "retire: 410 from then on, e.g. 90d or 2027-01-31"},
    {"deprecated", OPTION_TEXT, "TIME", "retire: deprecated since (default: now)"},
    {"pause", OPTION_TEXT, "TIME", "switching writes: how long they may wait (default 2s)"},
    {"samples", OPTION_TEXT, "N", "gates: comparisons wanted of every route (default 300)"},
    {"limit", OPTION_TEXT, "PERCENT", "gates: real differences allowed, e.g. 0.5 (default 1)"},
    {"window", OPTION_TEXT, "INTERVAL", "gates: how far back they look, e.g. \"6 hours\" (default: 24 hours)"},
    {"for", OPTION_TEXT, "TIME", "sign: how long the header is good (default 1h)"},
    {"by", OPTION_TEXT, "NAME", "who does this (default: your user name)"},
    {"json", OPTION_FLAG, NULL, "status, plan: print JSON"},
    {.name = NULL},
};

enum { PAUSE_MS = 2000, PAUSE_MIN_MS = 600, PAUSE_MAX_MS = 30000 };

static int bad_use(Invocation *call, const char *text) {
    (void)ctx_problem(call->ctx, ERR_INVALID, NULL, "%s", text);
    return cli_fail(call->ctx, 2, "cutover");
}

bool cutover_number(Invocation *call, const char *name, int64_t min, int64_t max, int64_t *ret) {
    const char *text = option_text(call, name);
    uint64_t value = 0;
    if (text == NULL)
        return true;
    if (str_to_u64(str_c(text), (uint64_t)max, &value) != ERR_OK || (int64_t)value < min) {
        err_printf("--%s takes a number from %lld to %lld\n", name, (long long)min, (long long)max);
        return false;
    }
    *ret = (int64_t)value;
    return true;
}

bool cutover_read_limits(Invocation *call, GateLimits *ret) {
    const char *limit = option_text(call, "limit"), *window = option_text(call, "window");
    Decimal percent;
    *ret = GATE_LIMITS_DEFAULT;
    if (window != NULL)
        ret->window = window;
    if (!cutover_number(call, "samples", 1, 100000000, &ret->samples_min))
        return false;
    if (limit == NULL)
        return true;
    if (decimal_parse(str_c(limit), &percent) != ERR_OK || percent.negative || strtod(limit, NULL) > 100) {
        err_printf("--limit takes a percentage such as 0.5\n");
        return false;
    }
    ret->difference_rate = strtod(limit, NULL) / 100;
    return true;
}

static bool is_context(const char *name) {
    for (const Context *const *context = CONTEXTS; *context != NULL; context++)
        if (strcmp((*context)->name, name) == 0)
            return true;
    return false;
}

bool cutover_read_target(Invocation *call, int at, CutoverTarget *ret) {
    const char *part = call->argument_count > at + 1 ? call->arguments[at + 1] : "reads";
    const char *route = option_text(call, "route");
    if (call->argument_count <= at || !is_context(call->arguments[at])) {
        err_printf("say which context: events, users or tickets\n");
        return false;
    }
    if (strcmp(part, "reads") != 0 && strcmp(part, "writes") != 0) {
        err_printf("it is reads or writes, not \"%s\"\n", part);
        return false;
    }
    *ret = (CutoverTarget){call->arguments[at], part, route == NULL ? "" : route,
                           strcmp(part, "reads") == 0 ? PART_READS : PART_WRITES};
    return true;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static int refuse(Cutover *cutover, const Gate *gates, size_t n) {
    err_printf("%zu of %zu gates do not hold; nothing was changed. --force needs a --reason and is audited\n",
               gates_closed(gates, n), n);
    cutover_print_gates(gates, n);
    (void)cutover;
    return 1;
}

static int take(Cutover *cutover, const CutoverStage *from, const CutoverStep *step) {
    Invocation *call = cutover->call;
    int64_t pause_ms = PAUSE_MS;
    const char *pause = option_text(call, "pause");
    CutoverPause paused = {0};
    Err err;
    bool crosses = (from->kind == STAGE_NEW || from->kind == STAGE_RETIRED) !=
                   (step->to == STAGE_NEW || step->to == STAGE_RETIRED);
    bool switches = cutover->target.part_number == PART_WRITES &&
                    (crosses || from->kind == STAGE_CANARY || step->to == STAGE_CANARY);
    if (pause != NULL && (config_parse_duration(str_c(pause), &pause_ms) != ERR_OK || pause_ms < PAUSE_MIN_MS ||
                          pause_ms > PAUSE_MAX_MS))
        return bad_use(call, "--pause takes a time from 600ms to 30s");
    err = switches ? cutover_switch(call, cutover->conn, &cutover->target, from, step, pause_ms, &paused)
                   : cutover_change(call, cutover->conn, &cutover->target, from, step);
    if (err == ERR_CONFLICT)
        return bad_use(call, "somebody else has changed this stage meanwhile; look again with `usher cutover status`");
    if (err == ERR_TIMEOUT) {
        (void)cli_fail(call->ctx, 1, "cutover");
        err_printf("called off: the stage is %s as before\n", stage_name(from->kind));
        return 1;
    }
    if (err != ERR_OK)
        return 2;
    out_printf("%s %s%s%s: %s → %s", cutover->target.context, cutover->target.part,
               cutover->target.route[0] == 0 ? "" : " ", cutover->target.route, stage_name(from->kind),
               stage_name(step->to));
    if (step->to == STAGE_CANARY)
        out_printf(" %lld %%", (long long)step->canary_percent);
    if (switches)
        out_printf("; writes waited %lld ms for %d gateways", (long long)paused.took_ms, paused.gateways);
    out_printf("%s\n", step->forced ? " (forced)" : "");
    return 0;
}

/* canary and promote: forward, through the gates. */
static int forward(Cutover *cutover, StageKind to) {
    Invocation *call = cutover->call;
    Gate gates[GATES_MAX];
    size_t n;
    CutoverStage from;
    CutoverStep step = {.to = to, .canary_percent = to == STAGE_CANARY ? 5 : 0, .why = option_text(call, "reason")};
    bool force = option_flag(call, "force");
    if (!cutover_number(call, "percent", 1, 100, &step.canary_percent))
        return 2;
    if (force && step.why == NULL)
        return bad_use(call, "--force needs a --reason");
    if (cutover_stage(call, cutover->conn, &cutover->target, &from) != ERR_OK ||
        cutover_gates(call, cutover->conn, &cutover->settings, &cutover->target, &cutover->limits, gates, &n) != ERR_OK)
        return 2;
    if (from.kind == STAGE_RETIRED || (from.kind == STAGE_NEW && to == STAGE_CANARY))
        return bad_use(call, "it is beyond that; rollback comes first");
    if (gates_closed(gates, n) > 0 && !force)
        return refuse(cutover, gates, n);
    step.forced = gates_closed(gates, n) > 0;
    step.why = step.why == NULL ? "its gates hold" : step.why;
    return take(cutover, &from, &step);
}

static int canary(Cutover *cutover) {
    return forward(cutover, STAGE_CANARY);
}

static int promote(Cutover *cutover) {
    return forward(cutover, STAGE_NEW);
}

static int shadow(Cutover *cutover) {
    CutoverStage from;
    CutoverStep step = {.to = STAGE_SHADOW, .why = option_text(cutover->call, "reason")};
    step.why = step.why == NULL ? "to compare" : step.why;
    if (cutover_stage(cutover->call, cutover->conn, &cutover->target, &from) != ERR_OK)
        return 2;
    if (from.kind > STAGE_SHADOW)
        return bad_use(cutover->call, "it is beyond that; say rollback");
    return take(cutover, &from, &step);
}

static int rollback(Cutover *cutover) {
    CutoverStage from;
    CutoverStep step = {.to = option_flag(cutover->call, "legacy") ? STAGE_LEGACY : STAGE_SHADOW,
                        .why = option_text(cutover->call, "reason")};
    step.why = step.why == NULL ? "rolled back" : step.why;
    if (cutover_stage(cutover->call, cutover->conn, &cutover->target, &from) != ERR_OK)
        return 2;
    return take(cutover, &from, &step);
}

static int retire(Cutover *cutover) {
    Invocation *call = cutover->call;
    CutoverStage from;
    Str gone, deprecated;
    const char *when = option_text(call, "gone"), *since = option_text(call, "deprecated");
    CutoverStep step = {.to = STAGE_RETIRED, .why = option_text(call, "reason")};
    if (when == NULL || step.why == NULL)
        return bad_use(call, "retire needs --gone (from when on it is 410) and a --reason");
    if (gateway_time(call->ctx, "gone", when, &gone) != ERR_OK ||
        gateway_time(call->ctx, "deprecated", since == NULL ? "0s" : since, &deprecated) != ERR_OK)
        return cli_fail(call->ctx, 2, "cutover");
    if (cutover_stage(call, cutover->conn, &cutover->target, &from) != ERR_OK)
        return 2;
    if (from.kind != STAGE_NEW && from.kind != STAGE_RETIRED)
        return bad_use(call, "only what the new side answers altogether can be retired; promote it first");
    step.gone_at = gone.p;
    step.deprecated_at = deprecated.p;
    return take(cutover, &from, &step);
}

/* --- testers ------------------------------------------------------------------------------------------------------ */

static int sign(Invocation *call) {
    Settings settings;
    int wrong;
    int64_t ms = 3600000;
    char text[FORCED_TEXT_MAX];
    const char *time = option_text(call, "for");
    if (!cli_settings(call, &settings, &wrong))
        return wrong;
    if (call->argument_count < 2 ||
        (strcmp(call->arguments[1], "new") != 0 && strcmp(call->arguments[1], "legacy") != 0))
        return bad_use(call, "sign new, or sign legacy");
    if (time != NULL && config_parse_duration(str_c(time), &ms) != ERR_OK)
        return bad_use(call, "--for takes a time such as 2h");
    Instant until = clock_now();
    until.ticks += ms * (TICKS_PER_SECOND / 1000);
    size_t n =
        forced_sign(strcmp(call->arguments[1], "new") == 0 ? SIDE_NEW : SIDE_OLD, settings.tester_secret, until, text);
    if (n == 0)
        return bad_use(call, "GATEWAY_TESTER_SECRET is not set; the gateway has to have the same");
    out_printf("Usher-Side: %.*s\n", (int)n, text);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(Cutover *cutover);
    bool needs_target;
} SUBCOMMANDS[] = {
    {"status", cutover_status, false}, {"plan", cutover_plan, true}, {"shadow", shadow, true}, {"canary", canary, true},
    {"promote", promote, true},        {"rollback", rollback, true}, {"retire", retire, true},
};

int cmd_cutover(Invocation *call) {
    Cutover cutover = {.call = call};
    PGconn *conn CLEANUP(gateway_finish) = NULL;
    int wrong;
    if (strcmp(call->arguments[0], "sign") == 0)
        return sign(call);
    for (size_t i = 0; i < ARRAY_LEN(SUBCOMMANDS); i++) {
        if (strcmp(call->arguments[0], SUBCOMMANDS[i].name) != 0)
            continue;
        if ((SUBCOMMANDS[i].needs_target && !cutover_read_target(call, 1, &cutover.target)) ||
            !cutover_read_limits(call, &cutover.limits))
            return 2;
        if (!gateway_connect(call, &cutover.settings, &conn, &wrong))
            return wrong;
        cutover.conn = conn;
        return SUBCOMMANDS[i].run(&cutover);
    }
    return bad_use(call, "cutover status, plan, shadow, canary, promote, rollback, retire or sign");
}
