/*
 * cmd_rehearse.c - `usher rehearse`: options, and what must be so before anything is changed.
 *
 * It is load on somebody's system, and moves whoever else uses it. So: only this machine's gateways unless the others
 * are named, nobody else's requests unless that is meant, no write that was not written down, and nothing is begun
 * that cannot be put back.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "usher/cmd.h"
#include "usher/files.h"
#include "usher/rehearse.h"

const Option OPTIONS_rehearse[] = {
    {"url", OPTION_TEXT, "URL", "the gateway, e.g. http://127.0.0.1:8080 (default: GATEWAY_LISTEN on this machine)"},
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

enum { REQUESTS_MAX = 16 << 20, QUIET_MS = 1300, GATEWAY_MS = 5000, CALLERS = 1000, HOST_MAX = 64, PORT_DEFAULT = 80 };

static int refuse(Invocation *call, int status, const char *format, ...) PRINTF_LIKE(3, 4);

static int refuse(Invocation *call, int status, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    problem_clear(call->ctx);
    (void)ctx_problem(call->ctx, ERR_REFUSED, NULL, "%s", text);
    return cli_fail(call->ctx, status, "rehearse");
}

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

/* --- where -------------------------------------------------------------------------------------------------------- */

static bool is_meant(Invocation *call, const char *host) {
    for (const char *const *named = option_list(call, "i-mean-it"); *named != NULL; named++)
        if (strcmp(*named, host) == 0)
            return true;
    return false;
}

static bool is_loopback(const char *host) {
    struct in_addr v4;
    struct in6_addr v6;
    if (strcmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* The first address the gateway listens at, as one reaches it from here. */
static Str own_url(Ctx *ctx, const Settings *settings) {
    Str rest = settings->gateway_listen, address = str_trim(str_cut(&rest, ','), " ");
    for (size_t i = 0; i < 2; i++) {
        static const char *const any[] = {"0.0.0.0:", "*:"};
        if (str_starts_with(address, str_c(any[i])))
            address = str_slice(address, strlen(any[i]) - 1, address.n);
    }
    return arena_printf(ctx->arena, "http://%s%.*s", address.n > 0 && address.p[0] == ':' ? "127.0.0.1" : "",
                        STR_ARG(address));
}

static int read_url(Rehearsal *r) {
    Invocation *call = r->call;
    const char *given = option_text(call, "url");
    Str url = given == NULL ? own_url(call->ctx, &r->settings) : str_c(given), rest = url;
    uint64_t port = PORT_DEFAULT;
    if (!str_starts_with(rest, STR("http://")))
        return refuse(call, 2, "--url takes http://HOST:PORT, not \"%.*s\"", STR_ARG(url));
    rest = str_slice(rest, 7, rest.n);
    Str authority = str_cut(&rest, '/');
    bool brackets = authority.n > 0 && authority.p[0] == '[';
    Str host = str_cut(&authority, brackets ? ']' : ':');
    if (brackets) {
        host = str_slice(host, 1, host.n);
        (void)str_cut(&authority, ':');
    }
    if ((authority.p != NULL && str_to_u64(authority, 65535, &port) != ERR_OK) || host.n == 0 || rest.n > 0)
        return refuse(call, 2, "--url takes http://HOST:PORT, not \"%.*s\"", STR_ARG(url));
    host = arena_str(call->ctx->arena, host);
    r->plan.url = arena_printf(call->ctx->arena, brackets ? "http://[%s]:%d" : "http://%s:%d", host.p, (int)port);
    if (host.p == NULL || r->plan.url.p == NULL)
        return refuse(call, 2, "no memory");
    r->plan.host = host.p;
    r->plan.port = (int)port;
    if (!is_loopback(r->plan.host) && !is_meant(call, r->plan.host))
        return refuse(call, 2, "%s is not this machine, and this is load on it: --i-mean-it %s", r->plan.host,
                      r->plan.host);
    return 0;
}

static Err gateways(Rehearsal *r, PGresult **ret) {
    return gateway_ask(r->call, r->conn,
                       "SELECT DISTINCT name FROM gateway.gateways WHERE seen_at > clock_timestamp() - interval '5 "
                       "seconds'",
                       0, NULL, ret);
}

/* Every gateway on this database is moved, wherever it runs. One that has just been started may not be known yet. */
static int check_gateways(Rehearsal *r) {
    PGresult *result CLEANUP(gateway_clear) = NULL;
    char host[HOST_MAX] = "";
    int64_t until_ms = clock_mono_ms() + GATEWAY_MS;
    (void)gethostname(host, sizeof host - 1);
    while (gateways(r, &result) == ERR_OK && PQntuples(result) == 0 && clock_mono_ms() < until_ms) {
        gateway_clear(&result);
        clock_sleep_ms(GATEWAY_MS / 50);
    }
    if (result == NULL)
        return 2;
    if (PQntuples(result) == 0)
        return refuse(r->call, 2, "no gateway follows the stages of this database: is one running?");
    for (int row = 0; row < PQntuples(result); row++) {
        const char *name = PQgetvalue(result, row, 0);
        if (strcmp(name, host) != 0 && !is_meant(r->call, name))
            return refuse(r->call, 2, "a gateway on %s follows these stages too and would be moved: --i-mean-it %s",
                          name, name);
    }
    return 0;
}

/* --- may it begin? ------------------------------------------------------------------------------------------------ */

static int check_stage(Rehearsal *r) {
    PGresult *note CLEANUP(gateway_clear) = NULL, *own CLEANUP(gateway_clear) = NULL;
    const char *values[] = {r->target.context, r->target.part};
    if (cutover_stage(r->call, r->conn, &r->target, &r->before) != ERR_OK ||
        gateway_ask(r->call, r->conn,
                    "SELECT route FROM gateway.stages WHERE context = $1 AND part = $2 AND route <> ''", 2, values,
                    &own) != ERR_OK ||
        gateway_ask(r->call, r->conn, "SELECT place, who, began_at FROM gateway.rehearsals WHERE context = $1", 1,
                    &r->target.context, &note) != ERR_OK)
        return 2;
    r->now = r->before;
    for (int row = 0; row < PQntuples(own); row++)
        buf_printf(&r->plan.notes, "%s has a stage of its own, which is not moved\n", PQgetvalue(own, row, 0));
    if (PQntuples(note) > 0)
        return refuse(r->call, 2,
                      "a rehearsal of %s by %s at %s (%s) is not over; if it was killed: usher rehearse %s --undo",
                      r->target.context, PQgetvalue(note, 0, 1), PQgetvalue(note, 0, 2), PQgetvalue(note, 0, 0),
                      r->target.context);
    if (r->before.kind > STAGE_SHADOW)
        return refuse(r->call, 2, "%s %s is in stage %s: a rehearsal begins at legacy or shadow", r->target.context,
                      r->target.part, stage_name(r->before.kind));
    return 0;
}

static int check_gates(Rehearsal *r) {
    Gate gates[GATES_MAX];
    size_t n, missing = 0;
    if (cutover_gates(r->call, r->conn, &r->settings, &r->target, &r->limits, gates, &n) != ERR_OK)
        return 2;
    for (size_t i = 0; i < n; i++)
        missing += gates[i].state == GATE_UNAVAILABLE;
    if (missing == 0 || r->force != NULL)
        return 0;
    cutover_print_gates(gates, n);
    return refuse(r->call, 1,
                  "%zu gates are not available; nothing was changed. --force REASON rehearses all the same, and is "
                  "audited",
                  missing);
}

static Err traffic(Rehearsal *r, int64_t *ret) {
    PGresult *result CLEANUP(gateway_clear) = NULL;
    const char *values[] = {r->target.context, r->target.part};
    TRY(gateway_ask(r->call, r->conn,
                    "SELECT coalesce(sum(requests), 0)::bigint FROM gateway.traffic WHERE context = $1 AND part = $2 "
                    "AND side <> 'mirror'",
                    2, values, &result));
    *ret = gateway_number(result, 0, 0);
    return ERR_OK;
}

/* Counts come once a second; ours of a moment ago are let in first. */
static int check_others(Rehearsal *r) {
    int64_t before = 0, behind = 0;
    if (option_flag(r->call, "among-clients"))
        return 0;
    clock_sleep_ms(QUIET_MS);
    if (traffic(r, &before) != ERR_OK)
        return 2;
    clock_sleep_ms(QUIET_MS);
    if (traffic(r, &behind) != ERR_OK)
        return 2;
    if (behind > before)
        return refuse(
            r->call, 2,
            "others use this gateway (%lld requests just now) and would be moved: --among-clients, if that is "
            "meant",
            (long long)(behind - before));
    return 0;
}

/* A canary by address splits the load only if that comes from many; all of 127.0.0.0/8 is ours. */
static void choose_addresses(Rehearsal *r, bool writes) {
    struct in_addr v4;
    bool by_address = !writes && str_eq_c(r->plan.canary_key, "address");
    r->plan.addresses =
        by_address && inet_pton(AF_INET, r->plan.host, &v4) == 1 && is_loopback(r->plan.host) ? LOAD_ADDRESSES_MAX : 1;
    if (by_address && r->plan.addresses == 1)
        buf_add_c(&r->plan.notes,
                  "callers are told apart by address (CANARY_KEY) and all of ours have one: a canary takes "
                  "all of them or none\n");
}

static int read_plan(Rehearsal *r) {
    Ctx *ctx = r->call->ctx;
    const char *file = option_text(r->call, "requests");
    bool writes = r->target.part_number == PART_WRITES;
    Str text;
    r->plan.canary_key = r->settings.canary_key;
    choose_addresses(r, writes);
    if (writes && file == NULL)
        return refuse(r->call, 2, "writes are rehearsed with --requests only: none are made up for somebody's data");
    problem_clear(ctx);
    Err err = file == NULL ? load_plan_routes(ctx, &r->target, &r->plan) : file_read(ctx, file, REQUESTS_MAX, &text);
    if (err == ERR_OK && file != NULL)
        err = load_plan_file(ctx, text, writes, &r->plan);
    return err == ERR_OK ? 0 : cli_fail(ctx, 2, file == NULL ? "rehearse" : file);
}

static int check_all(Rehearsal *r) {
    int (*const checks[])(Rehearsal * r) = {read_url,    check_gateways, check_stage,
                                            check_gates, check_others,   read_plan};
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        int status = checks[i](r);
        if (status != 0)
            return status;
    }
    return 0;
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
        return refuse(r->call, 2, "another rehearsal of %s has just begun", r->target.context);
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
        return refuse(r->call, 2, "the load cannot be started: %s", err_name(err));
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
    status = option_flag(call, "undo") ? undo(&r) : check_all(&r);
    if (status == 0 && !option_flag(call, "undo"))
        status = rehearse(&r);
    gateway_finish(&r.conn);
    return status;
}
