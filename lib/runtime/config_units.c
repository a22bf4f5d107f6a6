/*
 * config_units.c - durations and sizes as people write them.
 *
 * A unit is required (but for 0), because "30" has been read as seconds and as milliseconds once too often. Sizes count
 * in 1024, as Postgres' settings do.
 */
#include "runtime/config_impl.h"

static const Unit durations[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000}, {NULL, 0},
};
static const Unit sizes[] = {
    {"B", 1},        {"kB", 1024},     {"KB", 1024},      {"KiB", 1024},      {"MB", 1 << 20}, {"MiB", 1 << 20},
    {"GB", 1 << 30}, {"GiB", 1 << 30}, {"TB", 1LL << 40}, {"TiB", 1LL << 40}, {NULL, 0},
};

static Err parse_with_unit(Str text, const Unit *units, int64_t *ret) {
    size_t digits = 0;
    while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9')
        digits++;
    uint64_t number = 0;
    if (str_to_u64(str_slice(text, 0, digits), INT64_MAX, &number) != ERR_OK)
        return ERR_SYNTAX;
    Str unit = str_slice(text, digits, text.n);
    if (unit.n == 0 && number == 0) {
        *ret = 0;
        return ERR_OK;
    }
    for (; units->name != NULL; units++) {
        int64_t value;
        if (!str_eq_c(unit, units->name))
            continue;
        if (__builtin_mul_overflow((int64_t)number, units->factor, &value))
            return ERR_SYNTAX;
        *ret = value;
        return ERR_OK;
    }
    return ERR_SYNTAX;
}

Err config_parse_duration(Str text, int64_t *ret_ms) {
    return parse_with_unit(text, durations, ret_ms);
}

Err config_parse_bytes(Str text, int64_t *ret) {
    return parse_with_unit(text, sizes, ret);
}

/* In the largest unit that leaves no rest. */
static void add_with_unit(Buf *out, int64_t value, const Unit *units) {
    const Unit *best = &units[0];
    for (const Unit *unit = units; unit->name != NULL; unit++)
        if (value != 0 && value % unit->factor == 0 && unit->factor > best->factor)
            best = unit;
    buf_add_i64(out, value / best->factor);
    buf_add_c(out, best->name);
}

void config_add_duration(Buf *out, int64_t ms) {
    add_with_unit(out, ms, durations);
}

void config_add_bytes(Buf *out, int64_t bytes) {
    add_with_unit(out, bytes, sizes);
}
