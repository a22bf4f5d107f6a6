/*
 * shadow_settings.c - checks of the settings of shadow and stages.
 */
#include "usher/shadow_settings.h"

#include "base/decimal.h"

enum { SECRET_MIN = 16, PPM_DIGITS = 4 };

Err check_canary_key(Ctx *ctx, Str value) {
    if (str_eq_c(value, "address") || (str_starts_with(value, STR("cookie:")) && value.n > 7) ||
        (str_starts_with(value, STR("header:")) && value.n > 7))
        return ERR_OK;
    return ctx_problem(ctx, ERR_INVALID, NULL, "it is address, cookie:NAME or header:NAME");
}

int64_t settings_ppm(Str percentage) {
    Decimal d;
    if (decimal_parse(percentage, &d) != ERR_OK || d.negative || decimal_rescale(d, PPM_DIGITS, &d) != ERR_OK ||
        d.hi != 0 || d.mid != 0 || d.lo > 1000000)
        return -1;
    return d.lo;
}

Err check_percentage(Ctx *ctx, Str value) {
    if (settings_ppm(value) < 0)
        return ctx_problem(ctx, ERR_INVALID, NULL, "it is a percentage from 0 to 100, such as 12.5");
    return ERR_OK;
}

Err check_secret(Ctx *ctx, Str value) {
    if (value.n < SECRET_MIN)
        return ctx_problem(ctx, ERR_INVALID, NULL, "a secret has 16 bytes or more; openssl rand -hex 32 makes one");
    return ERR_OK;
}
