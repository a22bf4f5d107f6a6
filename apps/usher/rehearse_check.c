/*
 * rehearse_check.c - what must be so before anything is changed.
 *
 * A rehearsal is load on somebody's system, and moves whoever else uses it. So: only this machine's gateways unless the
 * others are named, nobody else's requests unless that is meant, no write that was not written down.
 */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "http/upstream.h"
#include "usher/files.h"
#include "usher/gateway_role.h"
#include "usher/rehearse.h"

enum { REQUESTS_MAX = 16 << 20, QUIET_MS = 1300, GATEWAY_MS = 5000, HOST_MAX = 64, PORT_PLAIN = 80, PORT_SECURE = 443 };

int rehearsal_refuse(Invocation *call, int status, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    problem_clear(call->ctx);
    (void)ctx_problem(call->ctx, ERR_REFUSED, NULL, "%s", text);
    return cli_fail(call->ctx, status, "rehearse");
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

/* The first address without TLS at which the gateway listens, as one reaches it from here; absent: all are with it. */
static Str own_url(Ctx *ctx, const Settings *settings) {
    Str address = gateway_plain_address(settings->gateway_listen);
    if (address.n == 0)
        return (Str){NULL, 0};
    for (size_t i = 0; i < 2; i++) {
        static const char *const any[] = {"0.0.0.0:", "*:"};
        if (str_starts_with(address, str_c(any[i])))
            address = str_slice(address, strlen(any[i]) - 1, address.n);
    }
    return arena_printf(ctx->arena, "http://%s%.*s", address.p[0] == ':' ? "127.0.0.1" : "", STR_ARG(address));
}

/* SCHEME://HOST[:PORT][/][?PARAMETERS]: host and port into the plan. */
static bool read_parts(Rehearsal *r, Str url, bool secure, Str *ret_host, Str *ret_parameters) {
    Str rest = str_slice(url, secure ? 8 : 7, url.n), path = str_cut(&rest, '?'), authority = str_cut(&path, '/');
    bool brackets = authority.n > 0 && authority.p[0] == '[';
    uint64_t port = secure ? PORT_SECURE : PORT_PLAIN;
    *ret_parameters = rest;
    *ret_host = str_cut(&authority, brackets ? ']' : ':');
    if (brackets) {
        *ret_host = str_slice(*ret_host, 1, ret_host->n);
        (void)str_cut(&authority, ':');
    }
    if ((authority.p != NULL && str_to_u64(authority, 65535, &port) != ERR_OK) || ret_host->n == 0 || path.n > 0)
        return false;
    *ret_host = arena_str(r->call->ctx->arena, *ret_host);
    r->plan.host = ret_host->p;
    r->plan.port = (int)port;
    return ret_host->p != NULL && (secure || rest.p == NULL);
}

static int read_url(Rehearsal *r) {
    Ctx *ctx = r->call->ctx;
    const char *given = option_text(r->call, "url");
    Str url = given == NULL ? own_url(ctx, &r->settings) : str_c(given), host, parameters;
    bool secure = str_starts_with(url, STR("https://"));
    if (url.p == NULL)
        return rehearsal_refuse(r->call, 2,
                                "the gateway listens with https:// only, and whom its certificate names is not known "
                                "here: --url https://HOST:PORT?cacertfile=FILE");
    if ((!secure && !str_starts_with(url, STR("http://"))) || !read_parts(r, url, secure, &host, &parameters))
        return rehearsal_refuse(r->call, 2,
                                "--url takes http://HOST:PORT or https://HOST:PORT[?cacertfile=FILE], not "
                                "\"%.*s\"",
                                STR_ARG(url));
    bool brackets = str_index(host, ':') >= 0;
    r->plan.authority = arena_printf(ctx->arena, brackets ? "[%s]:%d" : "%s:%d", host.p, r->plan.port);
    r->plan.url = arena_printf(ctx->arena, "http%s://%s", secure ? "s" : "", r->plan.authority.p);
    r->plan.dial =
        arena_printf(ctx->arena, "%s%s%.*s", r->plan.url.p, parameters.p == NULL ? "" : "?", STR_ARG(parameters));
    if (r->plan.authority.p == NULL || r->plan.url.p == NULL || r->plan.dial.p == NULL)
        return rehearsal_refuse(r->call, 2, "no memory");
    problem_clear(ctx);
    if (upstream_url_try(ctx, r->plan.dial) != ERR_OK)
        return cli_fail(ctx, 2, "--url");
    if (!is_loopback(r->plan.host) && !is_meant(r->call, r->plan.host))
        return rehearsal_refuse(r->call, 2, "%s is not this machine, and this is load on it: --i-mean-it %s",
                                r->plan.host, r->plan.host);
    return 0;
}

/* --- whose gateways ----------------------------------------------------------------------------------------------- */

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
        return rehearsal_refuse(r->call, 2, "no gateway follows the stages of this database: is one running?");
    for (int row = 0; row < PQntuples(result); row++) {
        const char *name = PQgetvalue(result, row, 0);
        if (strcmp(name, host) != 0 && !is_meant(r->call, name))
            return rehearsal_refuse(
                r->call, 2, "a gateway on %s follows these stages too and would be moved: --i-mean-it %s", name, name);
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
        return rehearsal_refuse(
            r->call, 2, "a rehearsal of %s by %s at %s (%s) is not over; if it was killed: usher rehearse %s --undo",
            r->target.context, PQgetvalue(note, 0, 1), PQgetvalue(note, 0, 2), PQgetvalue(note, 0, 0),
            r->target.context);
    if (r->before.kind > STAGE_SHADOW)
        return rehearsal_refuse(r->call, 2, "%s %s is in stage %s: a rehearsal begins at legacy or shadow",
                                r->target.context, r->target.part, stage_name(r->before.kind));
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
    return rehearsal_refuse(
        r->call, 1,
        "%zu gates are not available; nothing was changed. --force REASON rehearses all the same, and is "
        "audited",
        missing);
}

static Err traffic(Rehearsal *r, int64_t *ret) {
    PGresult *result CLEANUP(gateway_clear) = NULL;
    const char *values[] = {r->target.context, r->target.part};
    TRY(gateway_ask(r->call, r->conn,
                    "SELECT coalesce(sum(requests), 0)::bigint FROM gateway.traffic WHERE context = $1 AND part = $2 "
                    "AND side IN ('legacy', 'new')",
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
        return rehearsal_refuse(
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
        return rehearsal_refuse(r->call, 2,
                                "writes are rehearsed with --requests only: none are made up for somebody's data");
    problem_clear(ctx);
    Err err = file == NULL ? load_plan_routes(ctx, &r->target, &r->plan) : file_read(ctx, file, REQUESTS_MAX, &text);
    if (err == ERR_OK && file != NULL)
        err = load_plan_file(ctx, text, writes, &r->plan);
    return err == ERR_OK ? 0 : cli_fail(ctx, 2, file == NULL ? "rehearse" : file);
}

int rehearsal_check(Rehearsal *r) {
    int (*const checks[])(Rehearsal * r) = {read_url,    check_gateways, check_stage,
                                            check_gates, check_others,   read_plan};
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        int status = checks[i](r);
        if (status != 0)
            return status;
    }
    return 0;
}
