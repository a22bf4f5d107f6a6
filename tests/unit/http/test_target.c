/*
 * test_target.c - what paths and authorities mean.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/target.h"

static const struct {
    const char *target;
    Method method;
    int status;
    const char *path, *query;
} cases[] = {
    {"/", METHOD_GET, 0, "/", NULL},
    {"/events", METHOD_GET, 0, "/events", NULL},
    {"/events?x=1", METHOD_GET, 0, "/events", "x=1"},
    {"/events?", METHOD_GET, 0, "/events", ""},
    {"/events?a?b", METHOD_GET, 0, "/events", "a?b"},
    {"/?..%2f%zz", METHOD_GET, 0, "/", "..%2f%zz"},
    /* escapes */
    {"/%65vents", METHOD_GET, 0, "/events", NULL},
    {"/%7Bx%7d", METHOD_GET, 0, "/{x}", NULL},
    {"/a%20b", METHOD_GET, 0, "/a b", NULL},
    {"/a%2fb", METHOD_GET, 0, "/a%2fb", NULL},
    {"/a%2Fb", METHOD_GET, 0, "/a%2Fb", NULL},
    {"/a%252fb", METHOD_GET, 0, "/a%2fb", NULL},
    {"/%c3%a9", METHOD_GET, 0, "/\xc3\xa9", NULL},
    {"/%3f", METHOD_GET, 0, "/?", NULL},
    {"/%00", METHOD_GET, 400, NULL, NULL},
    {"/a%", METHOD_GET, 400, NULL, NULL},
    {"/a%4", METHOD_GET, 400, NULL, NULL},
    {"/a%zz", METHOD_GET, 400, NULL, NULL},
    {"/%c3", METHOD_GET, 400, NULL, NULL},
    {"/%c0%ae%c0%ae/x", METHOD_GET, 400, NULL, NULL}, /* overlong dots */
    {"/%ed%a0%80", METHOD_GET, 400, NULL, NULL},
    /* dot segments */
    {"/./events", METHOD_GET, 0, "/events", NULL},
    {"/x/../events", METHOD_GET, 0, "/events", NULL},
    {"/x/%2e%2e/events", METHOD_GET, 0, "/events", NULL},
    {"/x/.%2E/events", METHOD_GET, 0, "/events", NULL},
    {"/..", METHOD_GET, 0, "/", NULL},
    {"/../../etc/passwd", METHOD_GET, 0, "/etc/passwd", NULL},
    {"/a/b/..", METHOD_GET, 0, "/a/", NULL},
    {"/a/.", METHOD_GET, 0, "/a/", NULL},
    {"/a/./", METHOD_GET, 0, "/a/", NULL},
    {"/.", METHOD_GET, 0, "/", NULL},
    {"/a//../b", METHOD_GET, 0, "/a/b", NULL},
    {"/..a/.b/c.", METHOD_GET, 0, "/..a/.b/c.", NULL},
    {"/...", METHOD_GET, 0, "/...", NULL},
    {"/a/..%2fb", METHOD_GET, 0, "/a/..%2fb", NULL},
    /* empty segments and odd characters stay */
    {"//events", METHOD_GET, 0, "//events", NULL},
    {"/events//", METHOD_GET, 0, "/events//", NULL},
    {"/events#frag", METHOD_GET, 0, "/events#frag", NULL},
    {"/events;a=b", METHOD_GET, 0, "/events;a=b", NULL},
    /* other forms */
    {"http://h/x?y", METHOD_GET, 0, "/x", "y"},
    {"http://h?y", METHOD_GET, 0, "/", "y"},
    {"https://h:8443", METHOD_GET, 0, "/", NULL},
    {"http://h#x", METHOD_GET, 400, NULL, NULL},
    {"http://h\\@evil/x", METHOD_GET, 400, NULL, NULL},
    {"http:/x", METHOD_GET, 400, NULL, NULL},
    {"*", METHOD_OPTIONS, 0, "*", NULL},
    {"*", METHOD_GET, 405, NULL, NULL},
    {"h:80", METHOD_CONNECT, 0, "h:80", NULL},
    {"events", METHOD_GET, 405, NULL, NULL},
    {"?x", METHOD_GET, 400, NULL, NULL},
};

static void targets(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char scratch[128];
        Target target;
        int status = target_parse(str_c(cases[i].target), cases[i].method, scratch, &target);
        if (status != cases[i].status)
            fail_msg("%s: want %d, got %d", cases[i].target, cases[i].status, status);
        if (status != 0)
            continue;
        if (!str_eq_c(target.path, cases[i].path))
            fail_msg("%s: want %s, got %.*s", cases[i].target, cases[i].path, STR_ARG(target.path));
        assert_int_equal(target.query.p == NULL, cases[i].query == NULL);
        if (cases[i].query != NULL)
            assert_true(str_eq_c(target.query, cases[i].query));
    }
}

static void authorities(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"", true},         {"a", true},        {"a.b-c_d~e", true}, {"127.0.0.1:8080", true}, {"[::1]", true},
        {"[::1]:80", true}, {"a:", true},       {"a%41", true},      {"a b", false},           {"a/b", false},
        {"a:b", false},     {"a:80:80", false}, {":80", false},      {"[::1", false},          {"[::1]x", false},
        {"[zz::]", false},  {"[1]", false},     {"a@b", false},      {"a%4", false},           {"a:65536", false},
        {"a\"b", false},    {"[]", false},      {"[::1]:x", false},  {"a?b", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (authority_is_valid(str_c(rows[i].text)) != rows[i].valid)
            fail_msg("%s", rows[i].text);
    }
    assert_true(authority_same(STR("A:80"), STR("a"), false));
    assert_true(authority_same(STR("a:443"), STR("a:"), true));
    assert_false(authority_same(STR("a:443"), STR("a"), false));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(targets), cmocka_unit_test(authorities)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
