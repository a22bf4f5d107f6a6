/*
 * test_declarations.c - the declarations of this context contradict nothing.
 */
#include "../core_events/recordings.h"

#include "core_events/core_events.h"

static void declarations_are_right(void **state) {
    (void)state;
    Ctx ctx = test_ctx();
    Buf mistakes = buf_new(ctx.arena, 1 << 20);
    size_t n = context_verify(&CORE_EVENTS_CONTEXT, &mistakes);
    if (n != 0)
        fail_msg("%zu mistakes:\n%.*s", n, (int)mistakes.n, mistakes.p);
    test_ctx_done(&ctx);
}

/* Each quirk that a route names exists: `usher routes` and the tests of quirks go by these names. */
static void routes_name_quirks_that_exist(void **state) {
    (void)state;
    size_t routes = 0;
    for (const Route *route = CORE_EVENTS_CONTEXT.routes; route->pattern != NULL; route++, routes++)
        for (const char *const *name = route->quirks; name != NULL && *name != NULL; name++) {
            bool found = false;
            for (size_t i = 0; i < QUIRK_COUNT; i++)
                found = found || strcmp(QUIRKS[i].name, *name) == 0;
            if (!found)
                fail_msg("%s names %s", route->name, *name);
        }
    assert_int_equal(routes, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(declarations_are_right),
        cmocka_unit_test(routes_name_quirks_that_exist),
    };
    return cmocka_run_group_tests_name("core_events: declarations", tests, NULL, NULL);
}
