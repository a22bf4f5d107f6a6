/*
 * test_bind.c - bodies become payloads, or the recorded words.
 *
 * The contexts' own tables stand above this library, so the old system's four payloads are declared here once more;
 * their checks say the recorded sentences. Every recorded request with a JSON body is bound: where the old system
 * answered with form 2 or with a form 1 that comes from a converter, the answer must be that, byte for byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/answer.h"
#include "recordings.h"

static const EnumValue venues[] = {
    {"O2ArenaLondon", 0},
    {"WembleyStadiumLondon", 1},
    {"ManchesterArena", 2},
    {"UtilitaArenaBirmingham", 3},
    {"SSEHydroGlasgow", 4},
    {"FirstDirectArenaLeeds", 5},
    {"PrincipalityStadiumCardiff", 6},
    {"EmiratesOldTraffordManchester", 7},
    {"RoyalAlbertHallLondon", 8},
    {"RoundhouseLondon", 9},
    {0},
};
static const EnumValue user_types[] = {{"Customer", 0}, {"Administrator", 1}, {0}};

static Err check_name(Ctx *ctx, Str name, bool digits) {
    if (name.n == 0)
        return ctx_problem(ctx, ERR_INVALID, "name", "Name cannot be empty");
    if (!compat_is_name(name, digits))
        return ctx_problem(ctx, ERR_INVALID, "name", "Name can only have %s characters",
                           digits ? "alphanumerical" : "alphabetical");
    return ERR_OK;
}

static Err check_event_name(Ctx *ctx, const void *value) {
    return check_name(ctx, *(const Str *)value, true);
}

static Err check_full_name(Ctx *ctx, const void *value) {
    return check_name(ctx, *(const Str *)value, false);
}

/** ^[^@\s]+@[^@\s]+\.[^@\s]+$, whose $ also stands before a last line feed. */
static Err check_email(Ctx *ctx, const void *value) {
    Str email = *(const Str *)value;
    if (email.n == 0)
        return ctx_problem(ctx, ERR_INVALID, "email", "Email cannot be empty");
    if (email.p[email.n - 1] == '\n')
        email.n--;
    bool good = true;
    for (size_t at = 0; at < email.n;)
        good = !unicode_is_space((uint32_t)utf8_next(email, &at)) && good;
    Str domain = email;
    Str local = str_cut(&domain, '@');
    good = good && local.n > 0 && domain.n > 2 && str_index(domain, '@') < 0;
    good = good && str_index(str_slice(domain, 1, domain.n - 1), '.') >= 0;
    return good ? ERR_OK : ctx_problem(ctx, ERR_INVALID, "email", "Email must be valid");
}

typedef struct EventPayload {
    Str event_name;
    Instant start_date, end_date;
    int32_t venue;
    Decimal price;
    bool price_seen;
} EventPayload;

static const CompatField event_fields[] = {
    {.name = "EventName", .kind = COMPAT_TEXT, .offset = offsetof(EventPayload, event_name), .check = check_event_name},
    {.name = "StartDate", .kind = COMPAT_INSTANT, .offset = offsetof(EventPayload, start_date)},
    {.name = "EndDate", .kind = COMPAT_INSTANT, .offset = offsetof(EventPayload, end_date)},
    {.name = "Venue", .kind = COMPAT_ENUM, .offset = offsetof(EventPayload, venue), .values = venues},
    {.name = "Price",
     .kind = COMPAT_DECIMAL,
     .offset = offsetof(EventPayload, price),
     .seen_offset = offsetof(EventPayload, price_seen)},
    {0},
};
static const CompatField update_fields[] = {
    {.name = "EventName", .kind = COMPAT_TEXT, .offset = offsetof(EventPayload, event_name), .check = check_event_name},
    {.name = "StartDate", .kind = COMPAT_INSTANT, .offset = offsetof(EventPayload, start_date)},
    {.name = "EndDate", .kind = COMPAT_INSTANT, .offset = offsetof(EventPayload, end_date)},
    {.name = "Price", .kind = COMPAT_DECIMAL, .offset = offsetof(EventPayload, price), .fallback = "7.50"},
    {0},
};

typedef struct UserPayload {
    Str full_name, email;
    int32_t user_type;
} UserPayload;

static const CompatField user_fields[] = {
    {.name = "FullName", .kind = COMPAT_TEXT, .offset = offsetof(UserPayload, full_name), .check = check_full_name},
    {.name = "Email", .kind = COMPAT_TEXT, .offset = offsetof(UserPayload, email), .check = check_email},
    {.name = "UserType", .kind = COMPAT_ENUM, .offset = offsetof(UserPayload, user_type), .values = user_types},
    {0},
};

typedef struct SeatsPayload {
    Id user_id;
    Slice(Id) ticket_ids;
} SeatsPayload;

static const CompatField seats_fields[] = {
    {.name = "userId", .kind = COMPAT_ID, .offset = offsetof(SeatsPayload, user_id)},
    {.name = "ticketIds", .kind = COMPAT_ID_LIST, .offset = offsetof(SeatsPayload, ticket_ids), .required_list = true},
    {0},
};

static const CompatPayload event_payload = {"Controllers.Events.Requests.EventPayload", sizeof(EventPayload),
                                            event_fields};
static const CompatPayload update_payload = {"Controllers.Events.Requests.UpdateEventPayload", sizeof(EventPayload),
                                             update_fields};
static const CompatPayload user_payload = {"Controllers.Users.Requests.UserPayload", sizeof(UserPayload), user_fields};
static const CompatPayload update_user_payload = {"Controllers.Users.Requests.UpdateUserPayload", sizeof(UserPayload),
                                                  user_fields};
static const CompatPayload reserve_payload = {"Controllers.Tickets.Requests.TicketReservationPayload",
                                              sizeof(SeatsPayload), seats_fields};
static const CompatPayload purchase_payload = {"Controllers.Tickets.Requests.TicketPurchasePayload",
                                               sizeof(SeatsPayload), seats_fields};

static const CompatStyle OLD = {
    .names_any_case = true,
    .one_error_only = true,
    .domain_errors_untyped = true,
    .numbers_from_strings = true,
    .enums_lenient = true,
    .instants_utc_micros = true,
    .duplicate_names_last = true,
    .accept_ignored = true,
    .not_found_put_400 = true,
};

static const CompatPayload *payload_of(const Recorded *e) {
    bool post = str_eq_nocase(e->method, STR("POST")), put = str_eq_nocase(e->method, STR("PUT"));
    if (post && str_eq_nocase(e->path, STR("/events")))
        return &event_payload;
    if (post && str_eq_nocase(e->path, STR("/users")))
        return &user_payload;
    if (put && str_starts_with(e->path, STR("/events/")))
        return &update_payload;
    if (put && str_starts_with(e->path, STR("/users/")))
        return &update_user_payload;
    if (post && str_ends_with(e->path, STR("/tickets/reserve")))
        return &reserve_payload;
    if (post && str_ends_with(e->path, STR("/tickets/purchase")))
        return &purchase_payload;
    return NULL;
}

/** Binds and renders the refusal as the handler does; res->status 0: bound. */
static Err bind_and_answer(const CompatPayload *payload, Str body, const CompatStyle *style, Arena *arena, void **ret,
                           Response *res) {
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    *res = (Response){.body = buf_new(arena, 1 << 20), .head = buf_new(arena, 1 << 14)};
    CompatRefusal refusal;
    Err err = compat_bind(payload, body, style, &ctx, ret, &refusal);
    if (err == ERR_SYNTAX)
        answer_refused_model(&ctx, res, &refusal);
    else if (err == ERR_INVALID)
        answer_refused_rules(&ctx, res, style, refusal.rules, refusal.rules_n);
    return err;
}

/** The answer without its trace id, which is never the same. */
static Str without_trace(Str answer) {
    ptrdiff_t at = str_find(answer, STR("\"traceId\""));
    return at < 0 ? answer : str_slice(answer, 0, (size_t)at);
}

static size_t refused_models, refused_rules, bound;

static void replay(const Recorded *e, Arena *arena) {
    const CompatPayload *payload = payload_of(e);
    Str type = recorded_header(e->request, "Content-Type");
    /* Media types are test_answers' matter: here only plain JSON. */
    if (payload == NULL || e->body.p == NULL || !str_eq_c(type, "application/json") || e->status == 404)
        return;
    void *object = NULL;
    Response res;
    Err err = bind_and_answer(payload, e->body, &OLD, arena, &object, &res);
    Str content_type = recorded_header(e->response, "Content-Type");
    bool model = e->status == 400 && str_starts_with(content_type, STR("application/problem+json"));
    bool rule =
        e->status == 400 && !model &&
        (str_find(e->answer, STR("[\"Name c")) >= 0 || str_find(e->answer, STR("[\"Email must")) >= 0 || err != ERR_OK);
    if (model || rule) {
        if (!str_eq(without_trace(buf_str(&res.body)), without_trace(e->answer)))
            fail_msg("%s[%zu] %.*s\n  want %.*s\n  got  %.*s", e->file, e->index, STR_ARG(str_slice(e->body, 0, 300)),
                     STR_ARG(e->answer), STR_ARG(buf_str(&res.body)));
        refused_models += model;
        refused_rules += rule;
        return;
    }
    if (err != ERR_OK)
        fail_msg("%s[%zu] was taken (%lld), not so here: %.*s\n  %.*s", e->file, e->index, (long long)e->status,
                 STR_ARG(str_slice(e->body, 0, 300)), STR_ARG(buf_str(&res.body)));
    bound++;
}

static void test_recorded_bodies(void **state) {
    (void)state;
    assert_int_equal(recordings_each(replay), 879);
    print_message("  %zu form 2, %zu rules, %zu taken\n", refused_models, refused_rules, bound);
    assert_int_equal(refused_models, 143);
    assert_int_equal(refused_rules, 67);
    assert_int_equal(bound, 271);
}

/* --- beyond the recordings ---------------------------------------------------------------------------------------- */

static Arena *arena;

static int setup(void **state) {
    (void)state;
    arena = arena_new(16 << 20);
    return arena == NULL;
}

static int teardown(void **state) {
    (void)state;
    arena_free(arena);
    return 0;
}

#define EVENT_TYPE    "Controllers.Events.Requests.EventPayload"
#define UNCONVERTIBLE "The JSON value could not be converted to "

static const struct {
    const CompatPayload *payload;
    const char *body;
    const char *key, *message; /* NULL key: form 1 with this message */
} refusals[] = {
    {&event_payload, "\n\n[", "$", UNCONVERTIBLE EVENT_TYPE ". Path: $ | LineNumber: 2 | BytePositionInLine: 1."},
    {&event_payload, "null x", "$",
     "'x' is invalid after a single JSON value. Expected end of data. Path: $ | LineNumber: 0 | BytePositionInLine: "
     "5."},
    {&event_payload, "{\"\\u0041b\":nul}", "$.Ab",
     "'nul}' is an invalid JSON literal. Expected the literal 'null'. Path: $.Ab | LineNumber: 0 | BytePositionInLine: "
     "14."},
    {&event_payload, "{\"a b\":}", "$['a b']",
     "'}' is an invalid start of a value. Path: $['a b'] | LineNumber: 0 | BytePositionInLine: 7."},
    {&event_payload, "{\"x\":{\"y\":[1,}]}}", "$.x",
     "'}' is an invalid start of a value. Path: $.x | LineNumber: 0 | BytePositionInLine: 13."},
    {&event_payload, "{\"price\" 1}", "$",
     "'1' is invalid after a property name. Expected a ':'. Path: $ | LineNumber: 0 | BytePositionInLine: 9."},
    {&event_payload, "{\"price\":{\"a\"", "$.price",
     UNCONVERTIBLE EVENT_TYPE ". Path: $.price | LineNumber: 0 | BytePositionInLine: 10."},
    /* A converter with a rule reads ahead: the syntax mistake within comes first. */
    {&event_payload, "{\"EventName\":[1,}", "$.EventName",
     "'}' is an invalid start of a value. Path: $.EventName | LineNumber: 0 | BytePositionInLine: 16."},
    {&event_payload, "{\"EventName\":[1]}", "$.EventName",
     UNCONVERTIBLE EVENT_TYPE ". Path: $.EventName | LineNumber: 0 | BytePositionInLine: 14."},
    {&event_payload, "{\"Bad\xFF\":1}", "$",
     UNCONVERTIBLE EVENT_TYPE ". Path: $ | LineNumber: 0 | BytePositionInLine: 8."},
    {&event_payload, "{\"EventName\":\"A_\",\"Price\":x}", NULL, "Name can only have alphanumerical characters"},
    {&event_payload, "{\"Price\":\"x\",\"EventName\":\"A_\"}", "$.Price",
     UNCONVERTIBLE EVENT_TYPE ". Path: $.Price | LineNumber: 0 | BytePositionInLine: 12."},
    {&reserve_payload, "{\"ticketIds\":[\"05155202-b2e8-4ba3-9426-84e9bead71da\",]}", "$.ticketIds[1]",
     "The JSON array contains a trailing comma at the end which is not supported in this mode. Change the reader "
     "options. "
     "Path: $.ticketIds[1] | LineNumber: 0 | BytePositionInLine: 53."},
    {&reserve_payload, "{\"ticketIds\":[", "$.ticketIds[0]",
     "Expected depth to be zero at the end of the JSON payload. There is an open JSON object or array that should be "
     "closed. Path: $.ticketIds[0] | LineNumber: 0 | BytePositionInLine: 14."},
    {&reserve_payload, "{\"ticketIds\":[[]]}", "$.ticketIds[0]",
     UNCONVERTIBLE "System.Guid. Path: $.ticketIds[0] | LineNumber: 0 | BytePositionInLine: 15."},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        Ctx ctx;
        ctx_init(&ctx, arena, 0);
        void *object;
        CompatRefusal refusal;
        Err err = compat_bind(refusals[i].payload, str_c(refusals[i].body), &OLD, &ctx, &object, &refusal);
        Str message = refusals[i].key == NULL ? refusal.rules[0].message : refusal.message;
        if (!str_eq_c(message, refusals[i].message))
            fail_msg("%s\n  want %s\n  got  %.*s", refusals[i].body, refusals[i].message, STR_ARG(message));
        assert_int_equal(err, refusals[i].key == NULL ? ERR_INVALID : ERR_SYNTAX);
        if (refusals[i].key != NULL)
            assert_true(str_eq_c(refusal.key, refusals[i].key));
    }
}

/** What a stranger sends is not sent back by the megabyte. */
static void test_echo_is_bounded(void **state) {
    (void)state;
    static char body[300000];
    memset(body, 'n', sizeof body);
    Response res;
    void *object;
    assert_int_equal(bind_and_answer(&event_payload, (Str){body, sizeof body}, &OLD, arena, &object, &res), ERR_SYNTAX);
    assert_true(res.body.n > 1000 && res.body.n < 2000);
    memcpy(body, "{\"", 2);
    memcpy(body + sizeof body - 4, "\":}}", 4);
    assert_int_equal(bind_and_answer(&event_payload, (Str){body, sizeof body}, &OLD, arena, &object, &res), ERR_SYNTAX);
    assert_true(res.body.n > 1000 && res.body.n < 2000);
}

typedef struct Bound {
    const char *body;
    bool old, strict; /* taken in the old style, and with every leniency off */
    int32_t venue;    /* in the old style, where taken */
    const char *price;
} Bound;

static const Bound styles[] = {
    {"{\"Venue\":\"O2ArenaLondon\",\"Price\":12.50}", true, true, 0, "12.50"},
    {"{\"venue\":2}", true, true, 2, "0"}, /* strict: an unknown property, passed over */
    {"{\"Venue\":\"o2arenalondon\"}", true, false, 0, "0"},
    {"{\"Venue\":\" ManchesterArena ,WembleyStadiumLondon\"}", true, false, 3, "0"},
    {"{\"Venue\":\"ManchesterArena,\"}", true, false, 2, "0"},
    {"{\"Venue\":\",ManchesterArena\"}", false, false, 0, NULL},
    {"{\"Venue\":\"+3\"}", true, false, 3, "0"},
    {"{\"Venue\":\" -1\\u2003\"}", true, false, -1, "0"},
    {"{\"Venue\":\"2147483648\"}", false, false, 0, NULL},
    {"{\"Venue\":\"-2147483648\"}", true, false, INT32_MIN, "0"},
    {"{\"Venue\":99}", true, false, 99, "0"},
    {"{\"Venue\":9}", true, true, 9, "0"},
    {"{\"Venue\":-2147483649}", false, false, 0, NULL},
    {"{\"Venue\":1e0}", false, false, 0, NULL},
    {"{\"Venue\":null}", false, false, 0, NULL},
    {"{\"Price\":\"12.5\"}", true, false, 0, "12.5"},
    {"{\"Price\":\"+.5\"}", true, false, 0, "0.5"},
    {"{\"Price\":\"-007.\"}", true, false, 0, "-7"},
    {"{\"Price\":\"1e2\"}", true, false, 0, "100"},
    {"{\"Price\":\".\"}", false, false, 0, NULL},
    {"{\"Price\":\" 1\"}", false, false, 0, NULL},
    {"{\"Price\":\"1,000\"}", false, false, 0, NULL},
    {"{\"Price\":\"1e\"}", false, false, 0, NULL},
    {"{\"Price\":\"--1\"}", false, false, 0, NULL},
    {"{\"Price\":\"\\u0031\"}", true, false, 0, "1"},
    {"{\"Price\":1,\"Price\":2}", true, false, 0, "2"},
    {"{\"Price\":1,\"price\":2}", true, true, 0, "2"}, /* strict: two different names */
    {"\xEF\xBB\xBF{}", true, true, 0, "0"},
};

static void test_styles(void **state) {
    (void)state;
    static const CompatStyle strict = {.one_error_only = true};
    for (size_t i = 0; i < ARRAY_LEN(styles); i++) {
        print_message("  %s\n", styles[i].body);
        Response res;
        void *object = NULL;
        Err err = bind_and_answer(&event_payload, str_c(styles[i].body), &strict, arena, &object, &res);
        assert_int_equal(err, styles[i].strict ? ERR_OK : ERR_SYNTAX);
        err = bind_and_answer(&event_payload, str_c(styles[i].body), &OLD, arena, &object, &res);
        assert_int_equal(err, styles[i].old ? ERR_OK : ERR_SYNTAX);
        if (err != ERR_OK)
            continue;
        const EventPayload *event = object;
        char price[DECIMAL_TEXT_MAX];
        assert_int_equal(event->venue, styles[i].venue);
        assert_true(str_eq_c((Str){price, decimal_format(event->price, price)}, styles[i].price));
    }
}

static void test_fallback_and_seen(void **state) {
    (void)state;
    Response res;
    void *object;
    assert_int_equal(bind_and_answer(&update_payload, STR("{}"), &OLD, arena, &object, &res), ERR_OK);
    char price[DECIMAL_TEXT_MAX];
    assert_true(str_eq_c((Str){price, decimal_format(((EventPayload *)object)->price, price)}, "7.50"));
    assert_null(((EventPayload *)object)->event_name.p);
    assert_int_equal(bind_and_answer(&event_payload, STR("{}"), &OLD, arena, &object, &res), ERR_OK);
    assert_false(((EventPayload *)object)->price_seen);
    assert_int_equal(bind_and_answer(&event_payload, STR("{\"Price\":0}"), &OLD, arena, &object, &res), ERR_OK);
    assert_true(((EventPayload *)object)->price_seen);
}

static void test_lists(void **state) {
    (void)state;
    Response res;
    void *object;
    assert_int_equal(bind_and_answer(&reserve_payload, STR("{\"TICKETIDS\":[]}"), &OLD, arena, &object, &res), ERR_OK);
    assert_int_equal(((SeatsPayload *)object)->ticket_ids.n, 0);
    Str two =
        STR("{\"ticketIds\":[\"05155202-B2E8-4BA3-9426-84E9BEAD71DA\",\"d854cb64-3488-4eaa-8304-47b645e29d54\"]}");
    assert_int_equal(bind_and_answer(&reserve_payload, two, &OLD, arena, &object, &res), ERR_OK);
    assert_int_equal(((SeatsPayload *)object)->ticket_ids.n, 2);
    Id second;
    assert_int_equal(id_parse(STR("d854cb64-3488-4eaa-8304-47b645e29d54"), ID_FORM_D, &second), ERR_OK);
    assert_true(id_eq(((SeatsPayload *)object)->ticket_ids.p[1], second));
}

/** Quirk one-domain-error off: every broken rule is said, problem+json groups them by field. */
static void test_all_rules(void **state) {
    (void)state;
    CompatStyle style = OLD;
    style.one_error_only = false;
    Response res;
    void *object;
    Str body = STR("{\"EventName\":\"A_\",\"eventname\":\"\",\"Price\":1}");
    assert_int_equal(bind_and_answer(&event_payload, body, &style, arena, &object, &res), ERR_INVALID);
    assert_true(
        str_eq_c(buf_str(&res.body),
                 "{\"Message\":\"The request could not be correctly validated.\",\"Errors\":[\"Name can only have "
                 "alphanumerical characters\",\"Name cannot be empty\"]}"));
    style.domain_errors_untyped = false;
    assert_int_equal(bind_and_answer(&event_payload, body, &style, arena, &object, &res), ERR_INVALID);
    assert_true(str_find(buf_str(&res.body), STR("\"errors\":{\"EventName\":[\"Name can only have alphanumerical "
                                                 "characters\",\"Name cannot be empty\"]},\"traceId\"")) > 0);
}

/** The n-th allocation fails, for every n until none does. */
static void test_without_memory(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "{\"EventName\":\"\\u0041\",\"Price\":\"+1.50\",\"Venue\":\"\\u0032\"}",
        "{\"EventName\":\"A_\"}",
        "{\"Price\":nul}",
        "{\"ticketIds\":[\"05155202-b2e8-4ba3-9426-84e9bead71da\"]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        Err err = ERR_NO_MEMORY;
        for (uint64_t n = 1; err == ERR_NO_MEMORY; n++) {
            Arena *own = arena_new(1 << 16);
            Ctx ctx;
            ctx_init(&ctx, own, 0);
            void *object = NULL;
            CompatRefusal refusal;
            arena_fail_nth(n);
            err = compat_bind(i == 3 ? &reserve_payload : &event_payload, str_c(bodies[i]), &OLD, &ctx, &object,
                              &refusal);
            arena_fail_nth(0);
            assert_true(err != ERR_NO_MEMORY || object == NULL);
            arena_free(own);
            assert_true(n < 100);
        }
        assert_int_equal(err, i == 0 || i == 3 ? ERR_OK : i == 1 ? ERR_INVALID : ERR_SYNTAX);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_bodies),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_echo_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_styles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fallback_and_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_rules, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
