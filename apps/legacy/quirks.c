/*
 * quirks.c - which habits of the old system are on in this process.
 *
 * One bit per habit, set once at start and again on reload, read everywhere: the only global of the contexts, because a
 * habit is a property of the whole installation and threading it through every rule would hide the rules.
 */
#include "legacy/quirks.h"

_Static_assert(QUIRK_COUNT <= 64, "one bit each");

const Quirk QUIRKS[QUIRK_COUNT] = {
#define QUIRK_ROW(id, name_, doc_) [QUIRK_##id] = {.name = (name_), .doc = (doc_)},
    QUIRK_LIST(QUIRK_ROW)
#undef QUIRK_ROW
};

static uint64_t switched_off; /* all are on at start */

bool quirk(QuirkId id) {
    return (switched_off >> id & 1) == 0;
}

/** Levenshtein's distance, with one row; a quirk's name is at most NAME_MAX bytes, a longer word is cut. */
static size_t distance(Str word, Str name) {
    enum { NAME_MAX_BYTES = 64 };
    size_t row[NAME_MAX_BYTES + 1];
    word = str_slice(word, 0, NAME_MAX_BYTES);
    ASSERT(name.n <= NAME_MAX_BYTES);
    for (size_t j = 0; j <= name.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= word.n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= name.n; j++) {
            size_t replaced = diagonal + (word.p[i - 1] != name.p[j - 1]);
            diagonal = row[j];
            row[j] = MIN_OF(replaced, MIN_OF(row[j], row[j - 1]) + 1);
        }
    }
    return row[name.n];
}

static const char *nearest(Str word) {
    size_t best = 0, best_distance = SIZE_MAX;
    for (size_t i = 0; i < QUIRK_COUNT; i++) {
        size_t d = distance(word, str_c(QUIRKS[i].name));
        if (d < best_distance) {
            best = i;
            best_distance = d;
        }
    }
    return QUIRKS[best].name;
}

static bool find(Str name, size_t *ret) {
    for (size_t i = 0; i < QUIRK_COUNT; i++) {
        if (str_eq_nocase(name, str_c(QUIRKS[i].name))) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static Err parse(Ctx *ctx, Str off, uint64_t *ret) {
    const uint64_t all = UINT64_MAX >> (64 - QUIRK_COUNT);
    uint64_t bits = 0;
    for (Str rest = off; rest.p != NULL && rest.n > 0;) {
        Str name = str_trim(str_cut(&rest, ','), " \t");
        size_t id;
        if (name.n == 0)
            continue;
        if (str_eq_nocase(name, STR("all")))
            bits = all;
        else if (find(name, &id))
            bits |= 1ull << id;
        else
            return ctx_problem(ctx, ERR_INVALID, "QUIRKS_OFF", "there is no quirk '%.*s'; did you mean '%s'?",
                               STR_ARG(str_slice(name, 0, 80)), nearest(name));
    }
    *ret = bits;
    return ERR_OK;
}

Err quirks_check(Ctx *ctx, Str off) {
    uint64_t bits;
    return parse(ctx, off, &bits);
}

Err quirks_configure(Ctx *ctx, Str off) {
    return parse(ctx, off, &switched_off);
}

void quirks_style(CompatStyle *ret) {
    *ret = (CompatStyle){
        .names_any_case = quirk(QUIRK_NAMES_ANY_CASE),
        .one_error_only = quirk(QUIRK_ONE_DOMAIN_ERROR),
        .domain_errors_untyped = quirk(QUIRK_DOMAIN_ERRORS_UNTYPED),
        .numbers_from_strings = quirk(QUIRK_NUMBERS_FROM_STRINGS),
        .enums_lenient = quirk(QUIRK_ENUMS_LENIENT),
        .instants_utc_micros = quirk(QUIRK_INSTANTS_UTC_MICROS),
        .duplicate_names_last = quirk(QUIRK_DUPLICATE_NAMES_LAST),
        .accept_ignored = quirk(QUIRK_ACCEPT_IGNORED),
        .not_found_put_400 = quirk(QUIRK_UNKNOWN_ID_PUT_400),
        .cors_any = quirk(QUIRK_CORS_ANY),
        .methods_any_case = quirk(QUIRK_METHODS_ANY_CASE),
    };
}
