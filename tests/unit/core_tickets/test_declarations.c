/*
 * test_declarations.c - the declarations of this context contradict nothing.
 */
#include "../core_events/declarations.h"

#include "core_tickets/core_tickets.h"

static void declarations_are_right(void **state) {
    (void)state;
    context_contradicts_nothing(&CORE_TICKETS_CONTEXT);
}

static void routes_name_quirks_that_exist(void **state) {
    (void)state;
    routes_name_real_quirks(&CORE_TICKETS_CONTEXT, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(declarations_are_right),
        cmocka_unit_test(routes_name_quirks_that_exist),
    };
    return cmocka_run_group_tests_name("core_tickets: declarations", tests, NULL, NULL);
}
