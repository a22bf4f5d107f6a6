/*
 * observe_settings.c - what may stand in the OTEL_ variables.
 */
#include "telemetry/telemetry.h"
#include "usher/observe.h"

Err check_collector(Ctx *ctx, Str value) {
    if (str_starts_with(value, STR("https://")))
        return ctx_problem(ctx, ERR_INVALID, NULL,
                           "usher speaks no TLS to a collector; run one beside it and say http://127.0.0.1:4318");
    if (!telemetry_url_fits(value))
        return ctx_problem(ctx, ERR_INVALID, NULL, "it is written http://HOST:PORT or http://HOST:PORT/PATH");
    return ERR_OK;
}

Err check_protocol(Ctx *ctx, Str value) {
    if (!str_eq_c(value, "http/protobuf"))
        return ctx_problem(ctx, ERR_INVALID, NULL, "only http/protobuf is spoken; leave it unset");
    return ERR_OK;
}

Err check_exporter(Ctx *ctx, Str value) {
    if (!str_eq_c(value, "otlp") && !str_eq_c(value, "none"))
        return ctx_problem(ctx, ERR_INVALID, NULL, "it is otlp or none");
    return ERR_OK;
}

Err check_sampler(Ctx *ctx, Str value) {
    Sampler sampler;
    const char *why;
    if (sampler_parse(value, (Str){NULL, 0}, &sampler, &why) != ERR_OK)
        return ctx_problem(ctx, ERR_INVALID, NULL, "%s", why);
    return ERR_OK;
}

Err check_ratio(Ctx *ctx, Str value) {
    Sampler sampler;
    const char *why;
    if (sampler_parse(STR("traceidratio"), value, &sampler, &why) != ERR_OK)
        return ctx_problem(ctx, ERR_INVALID, NULL, "%s", why);
    return ERR_OK;
}
