/*
 * bus_settings.c - what may stand in the settings of messages.
 */
#include "usher/settings.h"

static Err read_delays(Str text, int64_t *ret, size_t *ret_n) {
    size_t n = 0;
    while (text.p != NULL && text.n > 0) {
        if (n == REDELIVERIES_MAX)
            return ERR_LIMIT;
        TRY(config_parse_duration(str_trim(str_cut(&text, ','), " "), &ret[n++]));
    }
    *ret_n = n;
    return ERR_OK;
}

Err check_delays(Ctx *ctx, Str value) {
    int64_t delays[REDELIVERIES_MAX];
    size_t n;
    Err err = read_delays(value, delays, &n);
    if (err == ERR_LIMIT)
        return ctx_problem(ctx, ERR_INVALID, NULL, "it names at most %d delays", REDELIVERIES_MAX);
    if (err != ERR_OK)
        return ctx_problem(ctx, ERR_INVALID, NULL, "it is written as durations, e.g. 5m,15m,1h");
    for (size_t i = 0; i < n; i++)
        if (delays[i] > INT64_C(7) * 24 * 3600 * 1000)
            return ctx_problem(ctx, ERR_INVALID, NULL, "a delay is at most 7d");
    return ERR_OK;
}

const int64_t *settings_delays(Str text, int64_t *ret) {
    size_t n = 0;
    if (read_delays(text, ret, &n) != ERR_OK || n == 0)
        return NULL;
    ret[n] = -1;
    return ret;
}
