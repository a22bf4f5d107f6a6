/*
 * test_stages.c - which row decides, who is a canary, who may force a side, and when a stage steps back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "api_gateway/bounds.h"
#include "api_gateway/budget.h"
#include "api_gateway/copies.h"
#include "api_gateway/forced.h"
#include "api_gateway/switch.h"

static void the_nearest_row_decides(void **state) {
    (void)state;
    static StageTable table = {.n = 4,
                               .rows = {{.context = "events", .part = PART_WRITES, .kind = STAGE_NEW},
                                        {.context = "events", .route = "GET /events", .kind = STAGE_CANARY},
                                        {.context = "events", .kind = STAGE_SHADOW},
                                        {.context = "users", .route = "GET /users", .kind = STAGE_NEW}}};
    static const struct {
        const char *context, *route;
        StagePart part;
        int want;
    } cases[] = {
        {"events", "GET /events", PART_READS, 1},   {"events", "GET /events/{id}", PART_READS, 2},
        {"events", "POST /events", PART_WRITES, 0}, {"events", "GET /events", PART_WRITES, 0},
        {"users", "GET /users", PART_READS, 3},     {"users", "GET /users/{id}", PART_READS, -1},
        {"tickets", "GET /events", PART_READS, -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const Stage *stage = stage_of(&table, str_c(cases[i].context), cases[i].part, str_c(cases[i].route));
        assert_ptr_equal(stage, cases[i].want < 0 ? NULL : &table.rows[cases[i].want]);
    }
    StageKind kind;
    for (StageKind each = 0; each < STAGE_COUNT; each++)
        assert_true(stage_parse(str_c(stage_name(each)), &kind) == ERR_OK && kind == each);
    assert_int_equal(stage_parse(STR("newer"), &kind), ERR_SYNTAX);
}

static void canaries_are_sticky_and_even(void **state) {
    (void)state;
    int taken[3] = {0}, keys = 20000;
    const int32_t percents[] = {1, 10, 50};
    for (int i = 0; i < keys; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "10.0.%d.%d", i / 250, i % 250);
        uint32_t bucket = stage_bucket((Str){key, (size_t)n});
        bool before = false;
        for (size_t j = 0; j < 3; j++) {
            Stage stage = {.canary_percent = percents[j]};
            bool now = stage_takes(&stage, bucket);
            assert_true(now || !before); /* whoever was taken stays */
            before = now;
            taken[j] += now;
        }
        assert_false(stage_takes(&(Stage){.canary_percent = 0}, bucket));
        assert_true(stage_takes(&(Stage){.canary_percent = 100}, bucket));
    }
    for (size_t j = 0; j < 3; j++) { /* even to within a fifth, or 50 */
        int want = keys * percents[j] / 100;
        assert_in_range(taken[j], want - want / 5 - 50, want + want / 5 + 50);
    }
    assert_int_equal(stage_bucket(STR("ann")), stage_bucket(STR("ann")));
    assert_int_equal(stage_bucket(STR("127.0.0.1")), 305); /* the same in every version */
}

static void sides_are_forced_by_a_signature(void **state) {
    (void)state;
    char text[FORCED_TEXT_MAX];
    Instant now = clock_now(), later = now, long_ago = now;
    later.ticks += 60 * TICKS_PER_SECOND;
    long_ago.ticks -= 60 * TICKS_PER_SECOND;
    Str secret = STR("tester's secret");
    GatewaySide side = SIDE_OLD;
    Str value = {text, forced_sign(SIDE_NEW, secret, later, text)};
    assert_true(value.n > 64);
    assert_true(forced_side(value, secret, now, &side) && side == SIDE_NEW);
    assert_false(forced_side(value, STR("another"), now, &side));
    assert_false(forced_side(value, STR(""), now, &side));
    assert_false(forced_side(value, secret, later, &side)); /* it has ended */
    for (size_t i = 0; i < value.n; i++) {                  /* not one byte may be another */
        text[i] ^= 1;
        assert_false(forced_side(value, secret, now, &side));
        text[i] ^= 1;
        assert_false(forced_side(str_slice(value, 0, i), secret, now, &side));
    }
    value.n = forced_sign(SIDE_OLD, secret, later, text);
    assert_true(forced_side(value, secret, now, &side) && side == SIDE_OLD);
    value.n = forced_sign(SIDE_OLD, secret, long_ago, text);
    assert_false(forced_side(value, secret, now, &side));
    assert_int_equal(forced_sign(SIDE_NEW, STR(""), later, text), 0);
}

/* One-sided; checked against sums of the binomial distribution. */
static const struct {
    uint64_t k, n;
    double confidence, lower, upper;
} BOUNDS[] = {
    {0, 100, 0.95, 0, 0.0295130},
    {0, 3000, 0.95, 0, 0.000998079},
    {1, 10, 0.95, 0.0051162, 0.3941633},
    {5, 10, 0.95, 0.2224411, 0.7775589},
    {10, 10, 0.95, 0.7411344, 1},
    {30, 3000, 0.99, 0.0062582, 0.0150947},
    {0, 0, 0.95, 0, 1},
};

static void bounds_are_exact(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(BOUNDS); i++) {
        double lower = rate_lower_bound(BOUNDS[i].k, BOUNDS[i].n, BOUNDS[i].confidence);
        double upper = rate_upper_bound(BOUNDS[i].k, BOUNDS[i].n, BOUNDS[i].confidence);
        if (lower < BOUNDS[i].lower - 1e-5 || lower > BOUNDS[i].lower + 1e-5 || upper < BOUNDS[i].upper - 1e-5 ||
            upper > BOUNDS[i].upper + 1e-5)
            fail_msg("%d of %d: %.7f to %.7f", (int)BOUNDS[i].k, (int)BOUNDS[i].n, lower, upper);
    }
}

/* --- the budget --------------------------------------------------------------------------------------------------- */

static const struct {
    const char *label;
    StageKind kind;
    int rate;                     /* requests a second on the new side */
    int errors_of, old_errors_of; /* one of so many fails; 0: none */
    int old_rate;
    int seconds_max; /* steps back within; 0: never, in ten minutes */
} BUDGETS[] = {
    {"one of a hundred, busy", STAGE_NEW, 1000, 100, 0, 0, 6},
    {"one of a hundred, 50 a second", STAGE_NEW, 50, 100, 0, 0, 30},
    {"canary beside a well old side", STAGE_CANARY, 100, 100, 0, 900, 30},
    {"all of it", STAGE_NEW, 10, 1, 0, 0, 5},
    {"within the budget", STAGE_NEW, 1000, 1000, 0, 0, 0},
    {"no error", STAGE_NEW, 1000, 0, 0, 0, 0},
    {"no request: nothing is known", STAGE_NEW, 0, 0, 0, 0, 0},
    {"too few to know", STAGE_NEW, 1, 300, 0, 0, 0},
    {"the old side fails as much: going back would not help", STAGE_CANARY, 100, 50, 50, 900, 0},
    {"not promoted", STAGE_SHADOW, 1000, 10, 0, 0, 0},
};

static void budgets_break_when_it_is_certain(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(BUDGETS); i++) {
        static BudgetRow row;
        row = (BudgetRow){.epoch = -1};
        Stage stage = {.context = "events", .kind = (uint8_t)BUDGETS[i].kind, .epoch = 3};
        BudgetTotals totals = {.requests = {1000000, 1000000}, .errors = {0, 0}};
        int broke_at = 0;
        for (int second = 0; second < 600 && broke_at == 0; second++) {
            BudgetReport report = budget_second(&row, &stage, &totals, 3000);
            if (report.verdict == BUDGET_BROKEN)
                broke_at = second;
            for (int j = 0; j < BUDGETS[i].rate; j++)
                totals.errors[BOARD_NEW] +=
                    ++totals.requests[BOARD_NEW] % (uint64_t)MAX_OF(BUDGETS[i].errors_of, 1) == 0 &&
                    BUDGETS[i].errors_of > 0;
            for (int j = 0; j < BUDGETS[i].old_rate; j++)
                totals.errors[BOARD_LEGACY] +=
                    ++totals.requests[BOARD_LEGACY] % (uint64_t)MAX_OF(BUDGETS[i].old_errors_of, 1) == 0 &&
                    BUDGETS[i].old_errors_of > 0;
        }
        if ((BUDGETS[i].seconds_max == 0) != (broke_at == 0) || broke_at > BUDGETS[i].seconds_max)
            fail_msg("%s: stepped back after %d s", BUDGETS[i].label, broke_at);
    }
}

static void a_change_begins_anew(void **state) {
    (void)state;
    static BudgetRow row;
    row = (BudgetRow){.epoch = -1};
    Stage stage = {.kind = STAGE_NEW, .epoch = 1};
    BudgetTotals totals = {0};
    assert_int_equal(budget_second(&row, &stage, &totals, 3000).verdict, BUDGET_HOLDS);
    totals.requests[BOARD_NEW] = totals.errors[BOARD_NEW] = 100;
    assert_int_equal(budget_second(&row, &stage, &totals, 3000).verdict, BUDGET_BROKEN);
    stage.epoch = 2; /* promoted once more: what was before does not count */
    for (int i = 0; i < 100; i++)
        assert_int_equal(budget_second(&row, &stage, &totals, 3000).verdict, BUDGET_HOLDS);
}

/* --- copies ------------------------------------------------------------------------------------------------------- */

static void copies_survive_the_ring(void **state) {
    (void)state;
    static const Header request[] = {
        {STR_INIT("Host"), STR_INIT("a:1")}, {STR_INIT("X"), STR_INIT("b: c")}, {STR_INIT("E"), STR_INIT("")}};
    Arena *arena = arena_new(1 << 20);
    Buf out = buf_new(NULL, 1000);
    Copy copy = {.kind = COPY_EXCHANGE,
                 .route = 3,
                 .primary = BOARD_NEW,
                 .status = 200,
                 .at_us = 5,
                 .answer_ns = 6,
                 .method = STR("GET"),
                 .target = STR("/events?a=1"),
                 .body = STR("{}")},
         got;
    assert_int_equal(copy_write(&out, &copy, request, 3, request, 1), ERR_OK);
    assert_int_equal(copy_read(buf_str(&out), &got), ERR_OK);
    assert_true(got.route == 3 && got.primary == BOARD_NEW && got.status == 200 && got.at_us == 5 &&
                got.answer_ns == 6);
    assert_true(str_eq_c(got.method, "GET") && str_eq_c(got.target, "/events?a=1") && str_eq_c(got.body, "{}"));
    const Header *headers;
    size_t n;
    assert_int_equal(copy_headers(arena, got.request_lines, &headers, &n), ERR_OK);
    assert_int_equal(n, 3);
    assert_true(str_eq_c(headers[1].name, "X") && str_eq_c(headers[1].value, "b: c") && headers[2].value.n == 0);
    for (size_t i = 0; i < out.n; i++) /* whatever is cut off, it is no record, and nothing is read beyond it */
        assert_int_equal(copy_read(str_slice(buf_str(&out), 0, i), &got), ERR_SYNTAX);
    Buf small = buf_new(NULL, 60);
    assert_int_equal(copy_write(&small, &copy, request, 3, request, 1), ERR_LIMIT);
    buf_done(&small);
    buf_done(&out);
    arena_free(arena);
}

static void routes_have_labels(void **state) {
    (void)state;
    char label[STAGE_ROUTE_MAX];
    static const Route routes[] = {{.method = METHOD_GET, .pattern = "/events/{id:id}/tickets/user/{userId:id}"},
                                   {.method = METHOD_POST, .pattern = "/events"}};
    switch_label(&routes[0], label);
    assert_string_equal(label, "GET /events/{id}/tickets/user/{userId}");
    switch_label(&routes[1], label);
    assert_string_equal(label, "POST /events");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_row_decides),          cmocka_unit_test(canaries_are_sticky_and_even),
        cmocka_unit_test(sides_are_forced_by_a_signature),  cmocka_unit_test(bounds_are_exact),
        cmocka_unit_test(budgets_break_when_it_is_certain), cmocka_unit_test(a_change_begins_anew),
        cmocka_unit_test(copies_survive_the_ring),          cmocka_unit_test(routes_have_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
