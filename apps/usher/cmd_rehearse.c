/*
 * cmd_rehearse.c - `usher rehearse`: options, and from its beginning to its end.
 *
 * Nothing is begun that cannot be put back: a note in Postgres comes first, and whoever lives longest goes back by it.
 */
#include <signal.h>
#include <stdio.h>

#include "usher/cmd.h"
#include "usher/rehearse.h"

const Option OPTIONS_rehearse[] = {
    {"url", OPTION_TEXT, "URL",
     "the gateway, e.g. http://127.0.0.1:8080 or https://gw:8443?cacertfile=ca.pem (default: GATEWAY_LISTEN here)"},
    {"requests", OPTION_TEXT, "FILE", "what to ask: lines METHOD TARGET [BODY], or a recording of contracts/http"},
    {"rate", OPTION_TEXT, "N", "requests a second, at most (default 100)"},
    {"clients", OPTION_TEXT, "N", "requests in work at once, at most (default 16)"},
    {"phase", OPTION_TEXT, "TIME", "how long each phase is held (default 10s)"},
    {"gates-within", OPTION_TEXT, "TIME", "how long shadow and canary may take until gates hold (default 60s)"},
    {"percent", OPTION_TEXT, "N", "canary: so many callers of a hundred (default 50)"},
    {"samples", OPTION_TEXT, "N", "gates: comparisons wanted of every route (default 300)"},
    {"limit", OPTION_TEXT, "PERCENT", "gates: real differences allowed (default 1)"},
    {"pause", OPTION_TEXT, "TIME", "how long writes may wait when they are switched (default 2s)"},
    {"failures", OPTION_TEXT, "N", "so many failed requests are borne (default 0)"},
    {"slack", OPTION_TEXT, "N",
     "on a slow machine: N times the limits of time (1 s, 2 s, 30 s, and 20 ms of the gate latency)"},
    {"force", OPTION_TEXT, "REASON", "although gates cannot say yes; goes into the audit log"},
    {"break", OPTION_TEXT, "COMMAND", "makes the new side fail, behind promote: it must step back by itself"},
    {"mend", OPTION_TEXT, "COMMAND", "undoes --break; also run when the rehearsal ends early or is killed"},
    {"i-mean-it", OPTION_LIST, "HOST", "this host too, which is not this machine"},
    {"among-clients", OPTION_FLAG, NULL, "although others use this gateway: they are moved as well"},
    {"undo", OPTION_FLAG, NULL, "put the stage back as it was before a rehearsal that was killed; nothing else"},
    {"by", OPTION_TEXT, "NAME", "who does this (default: your user name)"},
    {"json", OPTION_FLAG, NULL, "print the report as JSON"},
    {.name = NULL},
};

enum { CALLERS = 1000 };

/* --- options ------------------------------------------------------------------------------------------------------ */

static bool duration(Invocation *call, const char *name, int64_t min_ms, int64_t max_ms, int64_t *ret) {
    const char *text = option_text(call, name);
    if (text == NULL)
        return true;
    if (config_parse_duration(str_c(text), ret) == ERR_OK && *ret >= min_ms && *ret <= max_ms)
        return true;
    err_printf("--%s takes a time from %lld ms to %lld s\n", name, (long long)min_ms, (long long)max_ms / 1000);
    return false;
}

static bool read_options(Rehearsal *r) {
    Invocation *call = r->call;
    r->plan.rate = 100;
    r->plan.clients = 16;
    r->plan.callers = CALLERS;
    r->percent = 50;
    r->phase_ms = 10000;
    r->gates_ms = 60000;
    r->pause_ms = 2000;
    r->stepped_back_ms = -1;
    r->slack = 1;
    r->plan.notes = buf_new(call->ctx->arena, 1 << 20);
    r->force = option_text(call, "force");
    r->breaks = option_text(call, "break");
    r->mends = option_text(call, "mend");
    if (r->force != NULL && r->force[0] == 0) {
        err_printf("--force needs a reason\n");
        return false;
    }
    return cutover_read_target(call, 0, &r->target) && cutover_read_limits(call, &r->limits) &&
           cutover_number(call, "rate", 1, 20000, &r->plan.rate) &&
           cutover_number(call, "clients", 1, 512, &r->plan.clients) &&
           cutover_number(call, "slack", 1, 1000, &r->slack) && cutover_number(call, "percent", 1, 100, &r->percent) &&
           cutover_number(call, "failures", 0, 1000000, &r->failures_max) &&
           duration(call, "phase", 100, 600000, &r->phase_ms) &&
           duration(call, "gates-within", 0, 3600000, &r->gates_ms) &&
           duration(call, "pause", 600, 30000, &r->pause_ms);
}

/* --- doing it ----------------------------------------------------------------------------------------------------- */

/* In the load's process, when whoever took the steps was killed. */
static void orphaned(void *data) {
    Rehearsal *r = data;
    err_printf("rehearsal: its process was killed; the stage is put back\n");
    r->conn = NULL; /* was the dead one's */
    if (r->mends != NULL)
        (void)rehearsal_command(r, "mend", r->mends);
    rehearsal_put_back(r, "rehearsal: put back as it was; its process was killed");
    err_printf("rehearsal: the stages of %s: %s\n", r->target.context, r->restored);
}

/* From now on they are looked at by rehearsal_wait. */
static void hold_signals(void) {
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE,
           SIG_IGN); /* neither the load's death nor that of who reads our report may keep us from going back */
}

static int rehearse(Rehearsal *r) {
    LoadGuard guard = {.orphaned = orphaned, .closed_fd = PQsocket(r->conn), .data = r};
    hold_signals();
    Err err = rehearsal_note(r);
    if (err == ERR_CONFLICT)
        return rehearsal_refuse(r->call, 2, "another rehearsal of %s has just begun", r->target.context);
    if (err != ERR_OK)
        return 2;
    err_printf("rehearsal of %s %s: should all its processes be killed, `usher rehearse %s --undo` puts the stage back "
               "to %s\n",
               r->target.context, r->target.part, r->target.context, stage_name(r->before.kind));
    err = load_start(&r->plan, &guard, &r->load);
    if (err == ERR_OK)
        rehearsal_run(r);
    if (r->broken && r->mends != NULL)
        (void)rehearsal_command(r, "mend", r->mends);
    rehearsal_put_back(r, "rehearsal: put back as it was");
    if (err != ERR_OK)
        return rehearsal_refuse(r->call, 2, "the load cannot be started: %s", err_name(err));
    load_end(r->load);
    if (r->outcome == REHEARSAL_PASSED)
        (void)rehearsal_clients_are_well(r);
    if (!r->is_restored)
        rehearsal_problem(r, "the stage could not be put back");
    rehearsal_print(r);
    return r->outcome == REHEARSAL_PASSED ? 0 : 1;
}

static int undo(Rehearsal *r) {
    static const char *const says[] = {"there is no rehearsal to be undone", "it is as it was already",
                                       "it is as it was again",
                                       "somebody else has changed it meanwhile; it is left so"};
    UndoResult result;
    if (rehearsal_undo(r->call, r->conn, r->target.context, "rehearsal: put back as it was, by --undo", &result) !=
        ERR_OK)
        return 2;
    out_printf("%s: %s\n", r->target.context, says[result]);
    return 0;
}

int cmd_rehearse(Invocation *call) {
    static Rehearsal r;
    int status;
    r = (Rehearsal){.call = call};
    if (!read_options(&r))
        return 2;
    if (!gateway_connect(call, &r.settings, &r.conn, &status))
        return status;
    r.limits.latency_free_ns *= r.slack;
    status = option_flag(call, "undo") ? undo(&r) : rehearsal_check(&r);
    if (status == 0 && !option_flag(call, "undo"))
        status = rehearse(&r);
    gateway_finish(&r.conn);
    return status;
}
