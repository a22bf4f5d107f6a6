/*
 * test_router.c - which route a request belongs to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/router.h"

#define ID_TEXT "885ed720-7265-47ad-9b22-1ae84dd13f16"

static const Route events[] = {
    {.method = METHOD_POST, .pattern = "/events", .name = "events.create"},
    {.method = METHOD_GET, .pattern = "/events", .name = "events.list"},
    {.method = METHOD_PUT, .pattern = "/events/{id:id}", .name = "events.update"},
    {.method = METHOD_GET, .pattern = "/events/{id:id}", .name = "events.read"},
    {.method = METHOD_GET, .pattern = "/events/special", .name = "events.special"},
    {0},
};
static const Route tickets[] = {
    {.method = METHOD_POST, .pattern = "/events/{event:id}/tickets/purchase", .name = "tickets.purchase"},
    {.method = METHOD_GET, .pattern = "/events/{event:id}/tickets/user/{user:id}", .name = "tickets.of_user"},
    {.method = METHOD_GET, .pattern = "/files/{folder}/{name}", .name = "files.read"},
    {.method = METHOD_GET, .pattern = "/", .name = "root"},
    {0},
};
static const RouterOptions lenient = {.ignore_case = true, .trailing_slash = true, .method_ignores_case = true};

static const struct {
    const char *method, *path;
    RouteOutcome want;
    const char *name, *value0, *value1, *allow;
} cases[] = {
    {"GET", "/events", ROUTE_FOUND, "events.list", NULL, NULL, NULL},
    {"POST", "/events", ROUTE_FOUND, "events.create", NULL, NULL, NULL},
    {"get", "/events", ROUTE_FOUND, "events.list", NULL, NULL, NULL},
    {"GET", "/EVENTS", ROUTE_FOUND, "events.list", NULL, NULL, NULL},
    {"GET", "/events/", ROUTE_FOUND, "events.list", NULL, NULL, NULL},
    {"GET", "/", ROUTE_FOUND, "root", NULL, NULL, NULL},
    {"GET", "/events/" ID_TEXT, ROUTE_FOUND, "events.read", ID_TEXT, NULL, NULL},
    {"PUT", "/Events/{" ID_TEXT "}", ROUTE_FOUND, "events.update", "{" ID_TEXT "}", NULL, NULL},
    {"GET", "/events/special", ROUTE_FOUND, "events.special", NULL, NULL, NULL},
    {"GET", "/events/" ID_TEXT "/tickets/user/" ID_TEXT "/", ROUTE_FOUND, "tickets.of_user", ID_TEXT, ID_TEXT, NULL},
    {"GET", "/files/a%2fb/c d", ROUTE_FOUND, "files.read", "a%2fb", "c d", NULL},
    /* the path decides first, then the method, then the Id */
    {"DELETE", "/events", ROUTE_NO_METHOD, NULL, NULL, NULL, "GET, POST"},
    {"HEAD", "/events", ROUTE_NO_METHOD, NULL, NULL, NULL, "GET, POST"},
    {"FOO", "/events", ROUTE_NO_METHOD, NULL, NULL, NULL, "GET, POST"},
    {"OPTIONS", "/events/bad", ROUTE_NO_METHOD, NULL, NULL, NULL, "GET, PUT"},
    {"GET", "/events/bad", ROUTE_BAD_ID, NULL, NULL, NULL, NULL},
    {"GET", "/events/" ID_TEXT "#frag", ROUTE_BAD_ID, NULL, NULL, NULL, NULL},
    {"GET", "/events/" ID_TEXT "/tickets/user/bad", ROUTE_BAD_ID, NULL, NULL, NULL, NULL},
    {"GET", "/events/x/tickets/purchase", ROUTE_NO_METHOD, NULL, NULL, NULL, "POST"},
    {"POST", "/events/special", ROUTE_NO_METHOD, NULL, NULL, NULL, "GET"},
    /* no path */
    {"GET", "//", ROUTE_NO_PATH, NULL, NULL, NULL, NULL},
    {"GET", "//events", ROUTE_NO_PATH, NULL, NULL, NULL, NULL},
    {"GET", "/events//", ROUTE_NO_PATH, NULL, NULL, NULL, NULL},
    {"GET", "/events//" ID_TEXT, ROUTE_NO_PATH, NULL, NULL, NULL, NULL},
    {"GET", "/event", ROUTE_NO_PATH, NULL, NULL, NULL, NULL},
    {"GET", "/eventsx", ROUTE_NO_PATH, NULL, NULL, NULL, NULL},
    {"GET", "/events%2f" ID_TEXT, ROUTE_NO_PATH, NULL, NULL, NULL, NULL},
    {"GET", "/events/" ID_TEXT "/tickets/user", ROUTE_NO_PATH, NULL, NULL, NULL, NULL},
    {"GET", "/files/a", ROUTE_NO_PATH, NULL, NULL, NULL, NULL},
    {"OPTIONS", "*", ROUTE_NO_PATH, NULL, NULL, NULL, NULL},
    {"GET", "/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a", ROUTE_NO_PATH, NULL, NULL,
     NULL, NULL},
};

static Method method_number(const char *text) {
    return strcmp(text, "GET") == 0    ? METHOD_GET
           : strcmp(text, "POST") == 0 ? METHOD_POST
           : strcmp(text, "PUT") == 0  ? METHOD_PUT
                                       : METHOD_OTHER;
}

static void matching(void **state) {
    Router *router;
    Ctx ctx;
    ctx_init(&ctx, *state, 0);
    assert_int_equal(router_new(&ctx, *state, (const Route *const[]){events, tickets}, 2, lenient, &router), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Request req = {.method = method_number(cases[i].method),
                       .method_text = str_c(cases[i].method),
                       .path = str_c(cases[i].path)};
        Str allow = {NULL, 0};
        RouteOutcome got = router_match(router, &req, &allow);
        if (got != cases[i].want)
            fail_msg("%s %s: want %d, got %d", cases[i].method, cases[i].path, (int)cases[i].want, (int)got);
        if (got == ROUTE_FOUND)
            assert_string_equal(req.route->name, cases[i].name);
        else
            assert_null(req.route);
        if (cases[i].value0 != NULL)
            assert_true(str_eq_c(req.path_values[0], cases[i].value0));
        if (cases[i].value1 != NULL)
            assert_true(str_eq_c(req.path_values[1], cases[i].value1));
        if (cases[i].allow != NULL)
            assert_true(str_eq_c(allow, cases[i].allow));
    }
    size_t at = 0, n = 0;
    while (router_each(router, &at) != NULL)
        n++;
    assert_int_equal(n, 9);
}

static void strict_options(void **state) {
    Router *router;
    Ctx ctx;
    ctx_init(&ctx, *state, 0);
    assert_int_equal(router_new(&ctx, *state, (const Route *const[]){events}, 1, (RouterOptions){0}, &router), ERR_OK);
    static const char *const paths[] = {"/EVENTS", "/events/"};
    Str allow;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        Request req = {.method = METHOD_GET, .method_text = STR("GET"), .path = str_c(paths[i])};
        assert_int_equal(router_match(router, &req, &allow), ROUTE_NO_PATH);
    }
    Request req = {.method_text = STR("get"), .path = STR("/events")};
    assert_int_equal(router_match(router, &req, &allow), ROUTE_NO_METHOD);
}

static void mistakes_are_named(void **state) {
    static const struct {
        Route rows[3];
        const char *words;
    } bad[] = {
        {{{.method = METHOD_GET, .pattern = "/a", .name = "one"},
          {.method = METHOD_GET, .pattern = "/A", .name = "two"}},
         "routes one and two both claim GET /A"},
        {{{.method = METHOD_GET, .pattern = "/a/{x}", .name = "one"},
          {.method = METHOD_GET, .pattern = "/a/{y:id}", .name = "two"}},
         "both claim"},
        {{{.method = METHOD_GET, .pattern = "a", .name = "one"}}, "does not begin with '/'"},
        {{{.method = METHOD_GET, .pattern = "/a/", .name = "one"}}, "empty segment"},
        {{{.method = METHOD_GET, .pattern = "/a//b", .name = "one"}}, "empty segment"},
        {{{.method = METHOD_GET, .pattern = "/{a:int}", .name = "one"}}, "neither {name} nor {name:id}"},
        {{{.method = METHOD_GET, .pattern = "/{}", .name = "one"}}, "neither {name} nor {name:id}"},
        {{{.method = METHOD_GET, .pattern = "/{a}b", .name = "one"}}, "text behind one"},
        {{{.method = METHOD_GET, .pattern = "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}", .name = "one"}}, "too many"},
        {{{.pattern = "/a", .name = "one"}}, "has no method"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        Router *router;
        Ctx ctx;
        ctx_init(&ctx, *state, 0);
        assert_int_equal(router_new(&ctx, *state, (const Route *const[]){bad[i].rows}, 1, lenient, &router),
                         ERR_INVALID);
        if (str_find(ctx.problem.message, str_c(bad[i].words)) < 0)
            fail_msg("'%.*s' does not say '%s'", STR_ARG(ctx.problem.message), bad[i].words);
    }
}

static int setup(void **state) {
    return (*state = arena_new(1 << 20)) == NULL;
}

static int teardown(void **state) {
    arena_free(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(matching, setup, teardown),
        cmocka_unit_test_setup_teardown(strict_options, setup, teardown),
        cmocka_unit_test_setup_teardown(mistakes_are_named, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
