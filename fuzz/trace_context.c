/*
 * trace_context.c - traceparent and tracestate from strangers: what is taken reads the same when written, what is
 * refused begins a trace of our own, and both verdicts agree with the grammar said once more in other words.
 *
 * Input: a traceparent, a line feed, a tracestate. Each is copied to the very end of an allocation.
 */
#include <stdlib.h>

#include "runtime/ctx.h"

#include "fuzz.h"

static bool all_of(Str s, const char *set) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '\0' || strchr(set, s.p[i]) == NULL)
            return false;
    return s.n > 0;
}

#define HEX "0123456789abcdef"

/* version-traceid-parentid-flags, cut at its dashes; the product looks at positions. */
static bool parent_is_valid(Str text) {
    Str rest = text;
    Str version = str_cut(&rest, '-'), trace = str_cut(&rest, '-'), parent = str_cut(&rest, '-');
    Str flags = str_cut(&rest, '-');
    if (version.n != 2 || trace.n != 32 || parent.n != 16 || flags.n != 2)
        return false;
    return all_of(version, HEX) && all_of(trace, HEX) && all_of(parent, HEX) && all_of(flags, HEX) &&
           !all_of(trace, "0") && !all_of(parent, "0") && !str_eq_c(version, "ff") &&
           (!str_eq_c(version, "00") || text.n == TRACEPARENT_LEN);
}

static void check_parent(Str text) {
    static const uint8_t none[16];
    Trace trace, again;
    char out[TRACEPARENT_LEN];
    Err err = trace_parse(text, &trace);
    FUZZ_CHECK((err == ERR_OK) == parent_is_valid(text) && (err == ERR_OK || err == ERR_SYNTAX));
    FUZZ_CHECK(memcmp(trace.trace_id, none, 16) != 0 && memcmp(trace.span_id, none, 8) != 0);
    FUZZ_CHECK((memcmp(trace.parent_id, none, 8) != 0) == (err == ERR_OK) && (trace.flags & ~TRACE_SAMPLED) == 0);
    trace_format(&trace, out);
    FUZZ_CHECK(err != ERR_OK || memcmp(out + 2, text.p + 2, 33) == 0);
    FUZZ_CHECK(trace_parse((Str){out, sizeof out}, &again) == ERR_OK);
    FUZZ_CHECK(memcmp(again.trace_id, trace.trace_id, 16) == 0 && memcmp(again.parent_id, trace.span_id, 8) == 0);
}

/* A list that is valid stays so when a member is taken away, and is none any more with one of its keys twice. */
static void check_state(Str text) {
    if (!trace_state_is_valid(text))
        return;
    Str rest = text;
    size_t members = 0;
    while (rest.p != NULL) {
        Str member = str_trim(str_cut(&rest, ','), " \t");
        members += member.n > 0;
        FUZZ_CHECK(member.n == 0 || trace_state_is_valid(member));
        FUZZ_CHECK(rest.p == NULL || str_trim(rest, " \t,").n == 0 || trace_state_is_valid(rest));
    }
    FUZZ_CHECK(members >= 1 && members <= 32);
    char *twice = malloc(2 * text.n + 1);
    FUZZ_CHECK(twice != NULL);
    memcpy(twice, text.p, text.n);
    twice[text.n] = ',';
    memcpy(twice + text.n + 1, text.p, text.n);
    FUZZ_CHECK(!trace_state_is_valid((Str){twice, 2 * text.n + 1}));
    free(twice);
}

static void check_copy(Str text, void (*check)(Str text)) {
    char *copy = malloc(text.n + (text.n == 0));
    FUZZ_CHECK(copy != NULL);
    if (text.n > 0)
        memcpy(copy, text.p, text.n);
    check((Str){copy, text.n});
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Str rest = {(const char *)data, size};
    Str parent = str_cut(&rest, '\n');
    check_copy(parent, check_parent);
    check_copy(rest, check_state);
    return 0;
}
