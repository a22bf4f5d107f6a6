/*
 * test_differ.c - what counts as a difference: ids, instants, headers, expectations, redaction.
 */
#include "answers.h"

#include "api_gateway/redact.h"
#include "base/heap.h"

static Arena *arena;
static Differ differ;
static const char *const tickets_differ[] = {"ticket", NULL};

static int setup(void **state) {
    (void)state;
    arena = arena_new(64 << 20);
    differ = (Differ){.ids = id_pairs_new(1000), .learn = tickets_differ, .now = clock_now()};
    return arena == NULL || differ.ids == NULL;
}

static int teardown(void **state) {
    (void)state;
    id_pairs_free(differ.ids);
    arena_free(arena);
    return 0;
}

static Answer json(const char *body) {
    static const Header type[] = {{STR_INIT("Content-Type"), STR_INIT("application/json")}};
    return (Answer){.status = 200, .headers = type, .header_count = 1, .body = str_c(body)};
}

static Comparison compared(const char *route, const char *old_body, const char *new_body) {
    Answer old_answer = json(old_body), new_answer = json(new_body);
    Comparison comparison;
    assert_int_equal(differ_compare(&differ, arena, str_c(route), &old_answer, NULL, &new_answer, &comparison), ERR_OK);
    return comparison;
}

#define A               "aaaaaaaa-0000-4000-8000-000000000001"
#define B               "bbbbbbbb-0000-4000-8000-000000000002"
#define C               "cccccccc-0000-4000-8000-000000000003"
#define SEATS(id1, id2) "[{\"Id\":\"" id1 "\",\"SeatNumber\":1},{\"Id\":\"" id2 "\",\"SeatNumber\":2}]"
#define TICKETS         "GET /events/{id}/tickets"

static void ids_are_learnt_and_then_bind(void **state) {
    (void)state;
    Comparison first =
        compared(TICKETS, SEATS(A, B), "[{\"Id\":\"" C "\",\"SeatNumber\":2},{\"Id\":\"" B "\",\"SeatNumber\":1}]");
    assert_int_equal(first.n, 0);
    assert_non_null(first.learnt); /* A is B, B is C: a crossing is fine, each side has its own */
    assert_int_equal(id_pairs_count(differ.ids), 2);
    assert_int_equal(compared(TICKETS, SEATS(A, B), SEATS(B, C)).n, 0);
    Comparison against = compared(TICKETS, SEATS(A, B), SEATS(B, A));
    assert_int_equal(against.real, 1);
    assert_int_equal(against.first->kind, DIFFERS_ID);
    assert_true(str_eq_c(against.first->pointer, "/*/Id"));
    Str text;
    assert_int_equal(id_pairs_translate(differ.ids, arena, STR("/events/x/tickets/" A "?t=" B "&u=" C), &text), ERR_OK);
    assert_true(str_eq_c(text, "/events/x/tickets/" B "?t=" C "&u=" C));
}

static void one_answer_may_not_contradict_itself(void **state) {
    (void)state;
    assert_int_equal(compared(TICKETS, SEATS(A, B), SEATS(C, C)).real, 1);
    assert_int_equal(id_pairs_count(differ.ids), 0); /* and nothing is learnt from one that does */
}

static void a_kind_that_keeps_its_ids_may_not_differ(void **state) {
    (void)state;
    Comparison comparison = compared("GET /events/{id}", "{\"Id\":\"" A "\"}", "{\"Id\":\"" B "\"}");
    assert_int_equal(comparison.real, 1);
    assert_int_equal(comparison.first->kind, DIFFERS_ID);
    /* Two kinds do not know of each other's. */
    assert_int_equal(compared("GET /events/{id}", "{\"Id\":\"" A "\"}", "{\"Id\":\"" A "\"}").n, 0);
    assert_int_equal(compared(TICKETS, SEATS(A, B), SEATS(B, C)).n, 0);
}

static void ids_have_a_limit(void **state) {
    (void)state;
    IdPairs *few = id_pairs_new(1);
    differ.ids = (id_pairs_free(differ.ids), few);
    assert_int_equal(
        compared(TICKETS, "[{\"Id\":\"" A "\",\"SeatNumber\":1}]", "[{\"Id\":\"" B "\",\"SeatNumber\":1}]").n, 0);
    assert_int_equal(
        compared(TICKETS, "[{\"Id\":\"" C "\",\"SeatNumber\":1}]", "[{\"Id\":\"" A "\",\"SeatNumber\":1}]").real, 1);
}

static const struct {
    const char *label, *old_body, *new_body, *pointer, *kind;
} CASES[] = {
    {"an instant in another offset", "\"2095-01-01T10:00:00Z\"", "\"2095-01-01T11:00:00+01:00\"", NULL, NULL},
    {"100 ns", "\"2095-01-01T10:00:00.0000001Z\"", "\"2095-01-01T10:00:00Z\"", "", "value"},
    {"beyond 100 ns", "\"2095-01-01T10:00:00.00000001Z\"", "\"2095-01-01T10:00:00.00000002Z\"", "", "value"},
    {"a date alone is a text", "\"2095-01-01\"", "\"2095-01-01T00:00:00Z\"", "", "value"},
    {"no offset is a text", "\"2095-01-01T10:00:00\"", "\"2095-01-01T10:00:00Z\"", "", "value"},
    {"scale", "{\"Price\":12.50}", "{\"Price\":12.5}", NULL, NULL},
    {"a cent", "{\"Price\":12.50}", "{\"Price\":12.51}", "/Price", "value"},
    {"order of members", "{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", NULL, NULL},
    {"another type", "{\"a\":1}", "{\"a\":\"1\"}", "/a", "type"},
    {"missing", "[{\"a\":1}]", "[{}]", "/*/a", "missing"},
    {"one more", "[{}]", "[{\"a\":null}]", "/*/a", "extra"},
    {"no JSON", "plain", "plane", "", "bytes"},
    {"no JSON on one side", "{}", "{", "", "bytes"},
    {"nothing", "", "", NULL, NULL},
};

static void what_differs(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Comparison comparison = compared("GET /events", CASES[i].old_body, CASES[i].new_body);
        if (comparison.n != (CASES[i].pointer != NULL))
            fail_msg("%s: %zu differences", CASES[i].label, comparison.n);
        if (comparison.n == 1 && (!str_eq_c(comparison.first->pointer, CASES[i].pointer) ||
                                  strcmp(difference_kind_name(comparison.first->kind), CASES[i].kind) != 0))
            fail_msg("%s: %s at %.*s", CASES[i].label, difference_kind_name(comparison.first->kind),
                     STR_ARG(comparison.first->pointer));
    }
}

static void heads(void **state) {
    (void)state;
    static const Header old_headers[] = {{STR_INIT("Location"), STR_INIT("/events/" A)},
                                         {STR_INIT("Server"), STR_INIT("Kestrel")}};
    static const Header new_headers[] = {{STR_INIT("location"), STR_INIT("/events/" B)},
                                         {STR_INIT("Server"), STR_INIT("usher")}};
    static const char *const events_differ[] = {"event", NULL};
    Answer old_answer = {.status = 201, .headers = old_headers, .header_count = 2, .body = STR("\"" A "\"")};
    Answer new_answer = {.status = 201, .headers = new_headers, .header_count = 2, .body = STR("\"" B "\"")};
    Comparison comparison;
    differ.learn = events_differ;
    assert_int_equal(differ_compare(&differ, arena, STR("POST /events"), &old_answer, NULL, &new_answer, &comparison),
                     ERR_OK);
    assert_int_equal(comparison.n, 0);
    new_answer.body = STR("\"" C "\"");
    assert_int_equal(differ_compare(&differ, arena, STR("POST /events"), &old_answer, NULL, &new_answer, &comparison),
                     ERR_OK);
    assert_int_equal(comparison.real, 1);
    new_answer = (Answer){.status = 0, .body = STR("connect")};
    assert_int_equal(differ_compare(&differ, arena, STR("POST /events"), &old_answer, NULL, &new_answer, &comparison),
                     ERR_OK);
    assert_int_equal(comparison.real, 1);
    assert_int_equal(comparison.first->kind, DIFFERS_ANSWER);
    assert_true(str_eq_c(comparison.first->new_value, "connect"));
}

static void what_is_expected_expires(void **state) {
    (void)state;
    ExpectedDifference row = {.id = 7,
                              .route = STR("GET /events"),
                              .pointer = STR("/*/Price"),
                              .kind = STR("value"),
                              .reason = STR("r"),
                              .owner = STR("o"),
                              .expires_at = differ.now};
    row.expires_at.ticks++;
    differ.expected = &row;
    differ.expected_n = 1;
    const char *old_body = "[{\"Price\":1,\"Name\":\"a\"}]", *new_body = "[{\"Price\":2,\"Name\":\"b\"}]";
    Comparison comparison = compared("GET /events", old_body, new_body);
    assert_int_equal(comparison.real, 1);
    assert_int_equal(comparison.expected, 1);
    assert_int_equal(compared("GET /users", old_body, new_body).expected, 0);
    row.kind = STR("type");
    assert_int_equal(compared("GET /events", old_body, new_body).expected, 0);
    row.kind = (Str){0};
    row.pointer = STR("/*/*");
    assert_int_equal(compared("GET /events", old_body, new_body).expected, 2);
    row.pointer = STR("/*");
    assert_int_equal(compared("GET /events", old_body, new_body).expected, 0);
    row.pointer = (Str){0};
    differ.now = row.expires_at; /* it is over */
    assert_int_equal(compared("GET /events", old_body, new_body).real, 2);
}

static void what_is_personal_is_not_kept(void **state) {
    (void)state;
    Comparison comparison =
        compared("GET /users/{id}", "{\"Email\":\"ann@x.io\",\"Deep\":{\"accessToken\":{\"a\":\"s3cret\"}}}",
                 "{\"Email\":\"bob@x.io\",\"Deep\":{\"accessToken\":{\"a\":\"other\"}}}");
    assert_int_equal(comparison.real, 2);
    for (const Difference *row = comparison.first; row != NULL; row = row->next) {
        assert_true(str_find(row->old_value, STR("ann")) < 0 && str_find(row->old_value, STR("s3cret")) < 0);
        assert_true(str_find(row->new_value, STR("bob")) < 0 && str_find(row->new_value, STR("other")) < 0);
    }
    Str text;
    assert_int_equal(redact_body(arena,
                                 STR("{\"FullName\":\"Ann\",\"x\":[{\"Pass-Word\":\"p\",\"n\":null}],\"token\":null}"),
                                 &text),
                     ERR_OK);
    assert_string_equal(arena_str(arena, text).p, "{\"FullName\":\"[3 bytes redacted]\",\"x\":[{\"Pass-Word\":\"[1 "
                                                  "bytes redacted]\",\"n\":null}],\"token\":null}");
    assert_int_equal(redact_body(arena, STR("not json, ann@x.io"), &text), ERR_OK);
    assert_true(str_eq_c(text, "[18 bytes redacted]"));
    assert_int_equal(redact_target(arena, STR("/a?x=1&api_key=abc&email=&q"), &text), ERR_OK);
    assert_string_equal(arena_str(arena, text).p, "/a?x=1&api_key=redacted&email=redacted&q");
    assert_int_equal(redact_configure(STR("nick-name, x")), ERR_OK);
    assert_true(redact_is_secret(STR("NickName")) && redact_is_secret(STR("X")) && !redact_is_secret(STR("xy")));
    assert_int_equal(redact_configure(STR("y")), ERR_OK);
    assert_true(redact_is_secret(STR("y")) && !redact_is_secret(STR("x"))); /* not beside them: instead */
    assert_int_equal(redact_configure((Str){0}), ERR_OK);
}

/* --- trials ------------------------------------------------------------------------------------------------------- */

static Answer created(const char *id, const char *location) {
    Header *headers = ARENA_ARRAY(arena, Header, 2);
    headers[0] = (Header){STR("Content-Type"), STR("application/json")};
    headers[1] = (Header){STR("Location"), str_c(location)};
    return (Answer){.status = 201, .headers = headers, .header_count = 2, .body = str_c(id)};
}

static void what_was_made_is_told_by_the_answer(void **state) {
    (void)state;
    Id id, a;
    assert_int_equal(id_parse(STR(A), ID_FORM_D, &a), ERR_OK);
    const struct {
        const char *label;
        Answer answer;
        bool made;
    } cases[] = {
        {"an id as the body", created("\"" A "\"", "/users"), true},
        {"at the end of Location", created("", "http://x/users/" A), true},
        {"neither", created("\"x\"", "/users/7"), false},
        {"an id that was not made", json("\"" A "\""), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].label);
        assert_int_equal(answer_made(&cases[i].answer, &id), cases[i].made);
        assert_true(!cases[i].made || id_eq(id, a));
    }
}

static void ids_of_a_trial_hold_for_it_only(void **state) {
    (void)state;
    Comparison comparison;
    Answer old_answer = created("\"" A "\"", "/users/" A), new_answer = created("\"" B "\"", "/users/" B),
           crossed = created("\"" B "\"", "/users/" C);
    IdPair made = {0};
    Differ trial = differ;
    trial.tries = true;
    trial.made = &made;
    assert_true(answer_made(&old_answer, &made.old_id) && answer_made(&new_answer, &made.new_id));
    assert_int_equal(differ_compare(&trial, arena, STR("POST /users"), &old_answer, NULL, &new_answer, &comparison),
                     ERR_OK);
    assert_int_equal(comparison.n, 0);
    assert_int_equal(differ_compare(&trial, arena, STR("POST /users"), &old_answer, NULL, &crossed, &comparison),
                     ERR_OK);
    assert_int_equal(comparison.real, 1); /* Location names another */
    trial.made = NULL;                    /* nothing was learnt, of kinds that may differ neither */
    Answer seats = json(SEATS(A, B)), others = json(SEATS(B, C));
    assert_int_equal(differ_compare(&trial, arena, STR(TICKETS), &seats, NULL, &others, &comparison), ERR_OK);
    assert_int_equal(comparison.real, 2);
    assert_int_equal(id_pairs_count(differ.ids), 0);
}

static void the_trace_of_a_problem_is_noise(void **state) {
    (void)state;
    Comparison comparison;
    Answer old_answer = json("{\"status\":400,\"traceId\":\"1\"}"),
           new_answer = json("{\"status\":400,\"traceId\":\"2\"}"), without = json("{\"status\":400,\"traceId\":null}");
    Differ trial = differ;
    trial.tries = true;
    assert_int_equal(differ_compare(&trial, arena, STR("POST /users"), &old_answer, NULL, &new_answer, &comparison),
                     ERR_OK);
    assert_int_equal(comparison.noise, 1);
    assert_int_equal(comparison.real, 0);
    assert_int_equal(differ_compare(&trial, arena, STR("POST /users"), &old_answer, NULL, &without, &comparison),
                     ERR_OK);
    assert_int_equal(comparison.real, 1);
    assert_int_equal(compared("POST /users", "{\"traceId\":\"1\"}", "{\"traceId\":\"2\"}").real, 1);
}

static void messages_are_compared_and_expected_like_answers(void **state) {
    (void)state;
    static const ExpectedDifference expected = {
        .route = STR_INIT("POST /users"), .pointer = STR_INIT("message T/email"), .expires_at = {.ticks = INT64_MAX}};
    Json *old_message, *new_message;
    Comparison comparison = {0};
    IdPair made = {0};
    Differ trial = differ;
    trial.tries = true;
    trial.made = &made;
    assert_int_equal(id_parse(STR(A), ID_FORM_D, &made.old_id), ERR_OK);
    assert_int_equal(id_parse(STR(B), ID_FORM_D, &made.new_id), ERR_OK);
    assert_int_equal(json_parse(STR("{\"id\":\"" A "\",\"email\":\"a@x.io\",\"price\":1.50}"), arena,
                                JSON_DUPLICATES_KEEP, &old_message, NULL),
                     ERR_OK);
    assert_int_equal(json_parse(STR("{\"id\":\"" B "\",\"email\":\"b@x.io\",\"price\":1.5}"), arena,
                                JSON_DUPLICATES_KEEP, &new_message, NULL),
                     ERR_OK);
    assert_int_equal(differ_message(&trial, arena, STR("POST /users"), STR("T"), old_message, new_message, &comparison),
                     ERR_OK);
    assert_int_equal(comparison.real, 1);
    assert_true(str_eq_c(comparison.first->pointer, "message T/email"));
    assert_true(str_find(comparison.first->new_value, STR("x.io")) < 0);
    trial.expected = &expected;
    trial.expected_n = 1;
    assert_int_equal(differ_message(&trial, arena, STR("POST /users"), STR("T"), NULL, new_message, &comparison),
                     ERR_OK);
    assert_int_equal(comparison.real, 2); /* added to what was there */
    assert_int_equal(comparison.first->next->kind, DIFFERS_MESSAGE);
    assert_true(str_eq_c(comparison.first->next->pointer, "message T"));
    assert_int_equal(differ_message(&trial, arena, STR("POST /users"), STR("T"), old_message, new_message, &comparison),
                     ERR_OK);
    assert_int_equal(comparison.real, 2);
    assert_int_equal(comparison.expected, 1);
}

/* Whatever memory is refused, the answer is an error, never a wrong verdict. */
static void memory_may_be_refused(void **state) {
    (void)state;
    Answer old_answer = json(SEATS(A, B)),
           new_answer = json("[{\"Id\":\"" B "\",\"SeatNumber\":1},{\"SeatNumber\":3}]");
    for (uint64_t nth = 1;; nth++) {
        Comparison comparison;
        Arena *own = arena_new(1 << 20);
        arena_fail_nth(nth);
        Err err = differ_compare(&differ, own, STR(TICKETS), &old_answer, &old_answer, &new_answer, &comparison);
        uint64_t asked = heap_allocations();
        arena_fail_nth(0);
        arena_free(own);
        if (err == ERR_OK)
            assert_int_equal(comparison.real, 2);
        else
            assert_int_equal(err, ERR_NO_MEMORY);
        if (asked < nth)
            return;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ids_are_learnt_and_then_bind, setup, teardown),
        cmocka_unit_test_setup_teardown(one_answer_may_not_contradict_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(a_kind_that_keeps_its_ids_may_not_differ, setup, teardown),
        cmocka_unit_test_setup_teardown(ids_have_a_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(what_differs, setup, teardown),
        cmocka_unit_test_setup_teardown(heads, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_expected_expires, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_personal_is_not_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_made_is_told_by_the_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(ids_of_a_trial_hold_for_it_only, setup, teardown),
        cmocka_unit_test_setup_teardown(the_trace_of_a_problem_is_noise, setup, teardown),
        cmocka_unit_test_setup_teardown(messages_are_compared_and_expected_like_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_may_be_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
