/*
 * upstream_check.c - asking instances whether they are well, beside the requests that find out.
 *
 * One coroutine asks all instances in turn. A check needs several good or bad answers in a row before it says something
 * new. An instance that a check finds well is no longer aside: that is quicker than waiting for a client to try.
 */
#include "http/upstream_impl.h"
#include "runtime/log.h"

static CO_FN bool is_well(Ctx *ctx, Instance *instance) {
    Upstream *upstream = instance->upstream;
    UpstreamExchange *exchange CLEANUP(upstream_endp) = NULL;
    UpstreamAnswer answer;
    /* Over TLS a server of many hosts may answer 421 to any name but the one the handshake asked for. */
    Str host = instance->tls != NULL ? instance->tls->server_name : str_c(instance->text);
    bool bare_ipv6 = instance->tls != NULL && str_index(host, ':') >= 0;
    Str head =
        arena_printf(ctx->arena, "GET %.*s HTTP/1.1\r\nHost: %s%.*s%s\r\nUser-Agent: usher-check\r\n\r\n",
                     STR_ARG(upstream->options.check_path), bare_ipv6 ? "[" : "", STR_ARG(host), bare_ipv6 ? "]" : "");
    if (head.p == NULL)
        return true; /* our trouble, not the instance's */
    UpstreamRequest request = {.head = head, .idempotent = true};
    if (exchange_on(ctx, instance, &request, &exchange) != ERR_OK)
        return false;
    do {
        if (upstream_answer(exchange, &answer) != ERR_OK)
            return false;
    } while (answer.status < 200);
    Str piece = STR("-");
    while (piece.n > 0)
        if (upstream_read(exchange, &piece) != ERR_OK)
            return false;
    return answer.status < 400;
}

static void note(Instance *instance, bool well) {
    const UpstreamLimits *limits = &instance->upstream->options.limits;
    if (well && instance->aside_until != 0)
        balance_well(instance);
    if (well == !instance->checked_bad) {
        instance->checks = 0;
        return;
    }
    if (++instance->checks < (well ? limits->check_rise : limits->check_fall))
        return;
    instance->checks = 0;
    instance->checked_bad = !well;
    if (well)
        instance->came_at = loop_now_ms(instance->upstream->loop);
    LOG_AT(NULL, well ? LOG_INFO : LOG_WARN, "upstream.checked", F_STR("upstream", instance->upstream->options.name),
           F_C("instance", instance->text), F_BOOL("well", well));
}

static CO_FN void check_all(Upstream *upstream, Ctx *ctx) {
    Instance *all[UPSTREAM_INSTANCES_MAX];
    int n = 0;
    for (Instance *it = upstream->instances; it != NULL; it = it->next) {
        it->refs++;
        all[n++] = it;
    }
    for (int i = 0; i < n; i++) {
        if (!all[i]->gone && !upstream->closing) {
            ctx->deadline_ms = clock_mono_ms() + upstream->options.limits.check_timeout_ms;
            bool well = is_well(ctx, all[i]);
            ctx->deadline_ms = 0;
            if (!upstream->closing)
                note(all[i], well);
            arena_reset(ctx->arena);
        }
        instance_unref(all[i]);
    }
}

static CO_FN void checker_run(Ctx *ctx, void *arg) {
    Upstream *upstream = arg;
    Err err = ERR_OK;
    while (err == ERR_OK && !upstream->closing) {
        check_all(upstream, ctx);
        err = co_sleep(upstream->options.limits.check_ms);
    }
    upstream->checker = NULL;
    upstream_release(upstream);
}

Err checks_start(Upstream *upstream) {
    if (upstream->options.check_path.p == NULL)
        return ERR_OK;
    CoOptions options = {.name = "upstream checks", .arena_limit_bytes = 512 * 1024};
    upstream_hold(upstream);
    Err err = co_spawn(upstream->loop, checker_run, upstream, &options, &upstream->checker);
    if (err != ERR_OK)
        upstream_release(upstream);
    return err;
}
