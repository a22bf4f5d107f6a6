/*
 * sampler.c - names, ratio, decision.
 *
 * The ratio compares the low 63 bits of the trace id, as OpenTelemetry's own SDKs do: whoever samples the same trace
 * with at least the same ratio decides the same. Trace ids of others may be less than random there (W3C level 2 asks
 * for 56 bits only); the parent's flag is then what keeps a trace whole.
 */
#include "telemetry/sampler.h"

static const char WHY_NAME[] = "it is one of always_on, always_off, traceidratio, parentbased_always_on, "
                               "parentbased_always_off, parentbased_traceidratio";
static const char WHY_RATIO[] = "the ratio is a number from 0 to 1, such as 0.1";

/* "0.25" → a share of 2^63, without floating point: at most nine digits behind the point count. */
static bool parse_ratio(Str text, uint64_t *ret) {
    Str rest = text, whole = str_cut(&rest, '.');
    uint64_t integer, fraction = 0, unit = 1;
    if (str_to_u64(whole, 1, &integer) != ERR_OK)
        return false;
    if (rest.p != NULL) {
        Str digits = str_slice(rest, 0, 9);
        uint64_t rest_value;
        if (str_to_u64(digits, 999999999, &fraction) != ERR_OK ||
            (rest.n > 9 && str_to_u64(str_slice(rest, 9, rest.n), UINT64_MAX, &rest_value) != ERR_OK))
            return false;
        for (size_t i = 0; i < digits.n; i++)
            unit *= 10;
    }
    if (integer == 1 && fraction > 0)
        return false;
    *ret = integer == 1 ? SAMPLER_ALL : SAMPLER_ALL / unit * fraction;
    return true;
}

Err sampler_parse(Str name, Str arg, Sampler *ret, const char **ret_why) {
    static const Str prefix = STR_INIT("parentbased_");
    Sampler sampler = {.parent_based = str_starts_with(name, prefix), .threshold = SAMPLER_ALL};
    if (sampler.parent_based)
        name = str_slice(name, prefix.n, name.n);
    *ret_why = WHY_NAME;
    if (str_eq_c(name, "always_off"))
        sampler.threshold = 0;
    else if (str_eq_c(name, "traceidratio")) {
        *ret_why = WHY_RATIO;
        if (arg.n > 0 && !parse_ratio(arg, &sampler.threshold))
            return ERR_INVALID;
    } else if (!str_eq_c(name, "always_on"))
        return ERR_INVALID;
    *ret = sampler;
    return ERR_OK;
}

bool sampler_decides(const Sampler *sampler, const Trace *trace, bool continued) {
    if (continued && sampler->parent_based)
        return (trace->flags & TRACE_SAMPLED) != 0;
    uint64_t low = 0;
    for (size_t i = 8; i < 16; i++)
        low = low << 8 | trace->trace_id[i];
    return (low & (SAMPLER_ALL - 1)) < sampler->threshold;
}
