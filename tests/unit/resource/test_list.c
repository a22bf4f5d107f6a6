/*
 * test_list.c - the SELECT of a page, shape by shape. That the pages are right is shown in
 * tests/blackbox/test_jsonapi.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "resource/list.h"

typedef struct Thing {
    Id id;
    Str name;
    OptInstant at;
} Thing;

static const Attribute attributes[] = {
    ATTR(Thing, id, .key = true),
    ATTR(Thing, name, .required = true),
    ATTR(Thing, at, .coarse = true),
    {0},
};
static const Resource THINGS = {
    .name = "thing", .plural = "things", .schema = "t", .size = sizeof(Thing), .attributes = attributes};

#define ID   (&attributes[0])
#define NAME (&attributes[1])
#define AT   (&attributes[2])

static const Thing absent = {.name = {"n", 1}}, present = {.name = {"n", 1}, .at = {.present = true}};
static const void *const values[] = {&present, &absent};

static const struct {
    const char *label;
    ListQuery query;
    const char *want; /* behind "FROM t.things" */
    int parameters;
} cases[] = {
    {"all", {.sort = {{ID, false}}, .n_sort = 1}, " ORDER BY id LIMIT $1", 1},
    {"filters are joined by AND, values are parameters",
     {.filters = {{NAME, LIST_STARTS, values, 1}, {ID, LIST_IN, values, 2}, {AT, LIST_NULL, NULL, 0}},
      .n_filters = 3,
      .sort = {{ID, true}},
      .n_sort = 1},
     " WHERE starts_with(name, $1) AND id = ANY($2) AND at IS NULL ORDER BY id DESC LIMIT $3",
     3},
    {"one way: a row comparison",
     {.sort = {{NAME, false}, {ID, false}}, .n_sort = 2, .from = &present},
     " WHERE (name, id) > ($1, $2) ORDER BY name, id LIMIT $3",
     3},
    {"backward turns all around",
     {.sort = {{NAME, false}, {ID, false}}, .n_sort = 2, .from = &present, .backward = true},
     " WHERE (name, id) < ($1, $2) ORDER BY name DESC, id DESC LIMIT $3",
     3},
    {"two ways: term by term",
     {.sort = {{NAME, true}, {ID, false}}, .n_sort = 2, .from = &present},
     " WHERE (name < $1 OR name = $1 AND (id > $2)) ORDER BY name DESC, id LIMIT $3",
     3},
    {"what is missing comes last",
     {.sort = {{AT, true}, {ID, true}}, .n_sort = 2, .from = &present},
     " WHERE (at < $1 OR at IS NULL OR at = $1 AND (id < $2)) ORDER BY at IS NULL, at DESC, id DESC LIMIT $3",
     3},
    {"behind one that is missing are others that are",
     {.sort = {{AT, false}, {ID, false}}, .n_sort = 2, .from = &absent},
     " WHERE (false OR at IS NULL AND (id > $1)) ORDER BY at IS NULL, at, id LIMIT $2",
     2},
    {"before one that is missing are all that are there",
     {.sort = {{AT, false}, {ID, false}}, .n_sort = 2, .from = &absent, .backward = true},
     " WHERE (at IS NOT NULL OR at IS NULL AND (id < $1)) ORDER BY at IS NULL DESC, at DESC, id DESC LIMIT $2",
     2},
};

static void test_shapes(void **state) {
    (void)state;
    Arena *arena = arena_new(1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        PgParams params;
        Buf sql = buf_new(arena, 65536);
        pg_params_init(&params, arena);
        list_compose(&THINGS, &cases[i].query, &sql, &params);
        Str text = buf_str(&sql), head = STR("SELECT id, name, at FROM t.things");
        assert_true(str_starts_with(text, head));
        if (!str_eq_c(str_slice(text, head.n, text.n), cases[i].want) || params.n != cases[i].parameters)
            fail_msg("%s: %.*s (%d)", cases[i].label, STR_ARG(text), params.n);
    }
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
