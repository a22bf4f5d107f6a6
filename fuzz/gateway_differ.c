/*
 * gateway_differ.c - fuzzes the comparison of two answers: an answer differs from itself in nothing; what the old side
 * also says differently by itself is noise; whether there is a difference does not depend on which side is which; and
 * the counts are those of the list.
 *
 * The input is two bodies with a line feed between them; one alone is compared with itself.
 */
#include "api_gateway/differ.h"

#include "fuzz.h"

static const Header TYPE[] = {{STR_INIT("Content-Type"), STR_INIT("application/json")}};

static Answer answer_of(Str body) {
    return (Answer){.status = 200, .headers = TYPE, .header_count = 1, .body = body};
}

/* Fresh ids each time, none to be learnt: what one comparison learns is not another's input. */
static Comparison compared(Arena *arena, const char *route, Str old_body, const Str *again, Str new_body) {
    Differ differ = {.ids = id_pairs_new(64)};
    Answer old_answer = answer_of(old_body), new_answer = answer_of(new_body), second;
    Comparison ret;
    if (again != NULL)
        second = answer_of(*again);
    FUZZ_CHECK(differ.ids != NULL);
    FUZZ_CHECK(differ_compare(&differ, arena, str_c(route), &old_answer, again == NULL ? NULL : &second, &new_answer,
                              &ret) == ERR_OK);
    id_pairs_free(differ.ids);
    size_t n = 0;
    for (const Difference *it = ret.first; it != NULL; it = it->next)
        n++;
    FUZZ_CHECK(n == ret.n && n <= DIFFERENCES_MAX && ret.n == ret.noise + ret.expected + ret.real);
    return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const routes[] = {"GET /events", "GET /events/{id}/tickets", "GET /unknown"};
    Str b = {size == 0 ? "" : (const char *)data, size};
    Str a = str_cut(&b, '\n');
    if (b.p == NULL)
        b = a;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        Arena *arena = arena_new(64 << 20);
        FUZZ_CHECK(arena != NULL);
        FUZZ_CHECK(compared(arena, routes[i], a, NULL, a).n == 0);
        Comparison forth = compared(arena, routes[i], a, NULL, b), back = compared(arena, routes[i], b, NULL, a);
        FUZZ_CHECK((forth.real == 0) == (back.real == 0));
        FUZZ_CHECK(forth.real == 0 || comparison_same(&forth, &forth));
        FUZZ_CHECK(!str_eq(a, b) || forth.n == 0);
        FUZZ_CHECK(compared(arena, routes[i], a, &b, b).real == 0);
        FUZZ_CHECK(compared(arena, routes[i], a, &a, b).real == forth.real);
        arena_free(arena);
    }
    return 0;
}
