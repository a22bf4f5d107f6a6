/*
 * declarations.h - what holds of every context's declarations. Each context's test_declarations.c calls both.
 */
#pragma once
#include "../core_events/recordings.h"

static inline void context_contradicts_nothing(const Context *context) {
    Ctx ctx = test_ctx();
    Buf mistakes = buf_new(ctx.arena, 1 << 20);
    size_t n = context_verify(context, &mistakes);
    if (n != 0)
        fail_msg("%zu mistakes:\n%.*s", n, (int)mistakes.n, mistakes.p);
    test_ctx_done(&ctx);
}

static inline bool quirk_exists(const char *name) {
    for (size_t i = 0; i < QUIRK_COUNT; i++)
        if (strcmp(QUIRKS[i].name, name) == 0)
            return true;
    return false;
}

/* Each quirk that a route names exists: `usher routes` and the tests of quirks go by these names. */
static inline void routes_name_real_quirks(const Context *context, size_t wanted_routes) {
    size_t routes = 0;
    for (const Route *route = context->routes; route->pattern != NULL; route++, routes++)
        for (const char *const *name = route->quirks; name != NULL && *name != NULL; name++)
            if (!quirk_exists(*name))
                fail_msg("%s names %s", route->name, *name);
    assert_int_equal(routes, wanted_routes);
}
