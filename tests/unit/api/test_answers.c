/*
 * test_answers.c - media types, rows as shown, error forms, and the handler on requests that need no socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/answer.h"
#include "api/media_type.h"
#include "recordings.h"
#include "runtime/log.h"

static Arena *arena;
static Ctx ctx;
static Response res;

static const CompatStyle OLD = {.domain_errors_untyped = true,
                                .instants_utc_micros = true,
                                .accept_ignored = true,
                                .not_found_put_400 = true,
                                .cors_any = true,
                                .one_error_only = true};

static void fresh_response(void) {
    res = (Response){.body = buf_new(arena, 1 << 16), .head = buf_new(arena, 1 << 14)};
}

static int setup(void **state) {
    (void)state;
    arena = arena_new(16 << 20);
    ctx_init(&ctx, arena, 0);
    fresh_response();
    return arena == NULL;
}

static int teardown(void **state) {
    (void)state;
    arena_free(arena);
    return 0;
}

static void assert_body(const char *want) {
    Str got = buf_str(&res.body);
    ptrdiff_t trace = str_find(got, STR(",\"traceId\":\"00-"));
    if (trace >= 0) {
        assert_int_equal(got.n - (size_t)trace, strlen(",\"traceId\":\"\"}") + TRACEPARENT_LEN);
        got.n = (size_t)trace;
    }
    if (!str_eq_c(got, want))
        fail_msg("want %s\n  got  %.*s", want, STR_ARG(got));
}

static void assert_head(const char *want) {
    if (!str_eq_c(buf_str(&res.head), want))
        fail_msg("want %s\n  got  %.*s", want, STR_ARG(buf_str(&res.head)));
}

#define PROBLEM_HEAD "Content-Type: application/problem+json; charset=utf-8\r\n"
#define RULE_HEAD    "Cache-Control: no-cache,no-store\r\nExpires: -1\r\nPragma: no-cache\r\n"

/* --- media types -------------------------------------------------------------------------------------------------- */

/** Each recorded POST and PUT: 415 exactly where the body's type is not supported. */
static void check_body_type(const Recorded *e, Arena *own) {
    (void)own;
    bool writes = str_eq_c(e->method, "POST") || str_eq_c(e->method, "PUT");
    if (!writes || e->body.p == NULL || e->status == 404 || e->status == 405)
        return;
    BodyType type = body_type(recorded_header(e->request, "Content-Type"));
    if ((type == BODY_TYPE_UNSUPPORTED) != (e->status == 415))
        fail_msg("%s[%zu] %lld %.*s", e->file, e->index, (long long)e->status,
                 STR_ARG(recorded_header(e->request, "Content-Type")));
    assert_true(type != BODY_TYPE_FORM || e->status == 400);
}

static void check_answer_type(const Recorded *e, Arena *own) {
    (void)own;
    Str accept = recorded_header(e->request, "Accept"), type = recorded_header(e->response, "Content-Type");
    if (e->status != 200 || !str_ends_with(type, STR("json; charset=utf-8")))
        return;
    bool text = answer_type(accept) == ANSWER_TYPE_TEXT_JSON;
    if (text != str_starts_with(type, STR("text/json")))
        fail_msg("%s[%zu] Accept: %.*s", e->file, e->index, STR_ARG(accept));
}

static void test_recorded_media_types(void **state) {
    (void)state;
    recordings_each(check_body_type);
    recordings_each(check_answer_type);
}

static const struct {
    const char *header;
    BodyType type;
} body_types[] = {
    {NULL, BODY_TYPE_UNSUPPORTED},
    {"", BODY_TYPE_UNSUPPORTED},
    {"application/", BODY_TYPE_UNSUPPORTED},
    {"/json", BODY_TYPE_UNSUPPORTED},
    {"application/jsonx", BODY_TYPE_UNSUPPORTED},
    {"application/+json", BODY_TYPE_UNSUPPORTED},
    {"application/x+json", BODY_TYPE_UTF8},
    {"text/x+json", BODY_TYPE_UNSUPPORTED},
    {" application/json ; x=y ; CHARSET = \"UTF-16\" ", BODY_TYPE_UTF16},
    {"application/json; charset=utf-32", BODY_TYPE_UNSUPPORTED},
    {"application/json; charset", BODY_TYPE_UTF8},
    {"multipart/form-data", BODY_TYPE_FORM},
    {"multipart/mixed", BODY_TYPE_UNSUPPORTED},
};

static const struct {
    const char *header;
    AnswerType type;
} answer_types[] = {
    {NULL, ANSWER_TYPE_JSON},
    {"text/json", ANSWER_TYPE_TEXT_JSON},
    {"text/json;q=0.5, application/json;q=0.4", ANSWER_TYPE_TEXT_JSON},
    {"text/json;q=0.5, application/json", ANSWER_TYPE_JSON},
    {"text/json, */*", ANSWER_TYPE_JSON},
    {"application/json;v=1", ANSWER_TYPE_NONE},
    {"image/png, text/plain", ANSWER_TYPE_NONE},
    {"image/png, text/*;q=0.001", ANSWER_TYPE_TEXT_JSON},
    {",,", ANSWER_TYPE_JSON},
};

static const struct {
    const char *accept;
    bool json;
} acceptable[] = {
    {NULL, true},
    {"", true},
    {",,", true},
    {"*/*", true},
    {"text/json", true},
    {"image/png, application/*;q=0.001", true},
    {"image/png, text/html", false},
    {"application/json;q=0", false},
    {"*/*;q=0", false},
    {"application/json;q=0, */*;q=0.1", true}, /* text/json */
    {"*/*, application/json;q=0, text/json;q=0.0", false},
    {"text/*;q=0, text/json", true},
    {"application/json;v=1", false},
};

static void test_media_types(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(body_types); i++)
        assert_int_equal(body_type(str_c(body_types[i].header)), body_types[i].type);
    for (size_t i = 0; i < ARRAY_LEN(answer_types); i++)
        assert_int_equal(answer_type(str_c(answer_types[i].header)), answer_types[i].type);
    for (size_t i = 0; i < ARRAY_LEN(acceptable); i++) {
        if (accepts_json(str_c(acceptable[i].accept)) != acceptable[i].json)
            fail_msg("Accept: %s", acceptable[i].accept);
    }
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    bool with_digits, without;
} names[] = {
    {"", true, true},
    {"Plain 09", true, false},
    {" \t\n", true, true},
    {"\xE2\x84\xAA"
     "elvin\xC2\xA0\xE2\x80\xA8\xE1\x9A\x80\xC2\x85",
     true, true},
    {"Caf\xC3\xA9", false, false},
    {"long s \xC5\xBF", false, false},
    {"\xE2\x80\x8B", false, false}, /* zero width space is none */
    {"under_score", false, false},
    {"\xEF\xBC\x91", false, false}, /* full-width 1 */
    {"\xFF", false, false},
};

static void test_names(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(compat_is_name(str_c(names[i].name), true), names[i].with_digits);
        assert_int_equal(compat_is_name(str_c(names[i].name), false), names[i].without);
    }
    assert_false(compat_is_name((Str){"a\0b", 3}, true));
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

typedef struct Row {
    Id id;
    Str name;
    Decimal price;
    Instant at;
    OptInstant until;
    OptId owner;
    int32_t kind;
    int16_t seat;
    int64_t count;
    bool sold;
    JsonText extra;
} Row;

static const Attribute attributes[] = {
    ATTR(Row, id, .key = true),   ATTR(Row, name, .doc = NULL),  ATTR(Row, price, .doc = NULL),
    ATTR(Row, at, .doc = NULL),   ATTR(Row, until, .doc = NULL), ATTR(Row, owner, .doc = NULL),
    ATTR(Row, kind, .doc = NULL), ATTR(Row, seat, .doc = NULL),  ATTR(Row, count, .doc = NULL),
    ATTR(Row, sold, .doc = NULL), ATTR(Row, extra, .doc = NULL), {0},
};
static const Resource resource = {.name = "row", .size = sizeof(Row), .attributes = attributes};
static const EnumValue kinds[] = {{"Zero", 0}, {"One", 1}, {0}};

static void write_custom(JsonWriter *w, const Ctx *c, const void *row) {
    (void)c;
    json_write_i64(w, ((const Row *)row)->count * 2);
}

static const CompatOutput outputs[] = {
    {.name = "Name", .attribute = "name"},
    {.name = "Price", .attribute = "price", .form = SHOW_SCALE_2},
    {.name = "Exact", .attribute = "price"},
    {.name = "At", .attribute = "at", .form = SHOW_INSTANT},
    {.name = "Stored", .attribute = "at"},
    {.name = "Until", .attribute = "until", .form = SHOW_INSTANT},
    {.name = "Owner", .attribute = "owner"},
    {.name = "Kind", .attribute = "kind", .form = SHOW_ENUM, .values = kinds},
    {.name = "Seat", .attribute = "seat"},
    {.name = "Count", .attribute = "count"},
    {.name = "Sold", .attribute = "sold"},
    {.name = "Extra", .attribute = "extra"},
    {.name = "Twice", .form = SHOW_CUSTOM, .write = write_custom},
    {.name = "Id", .attribute = "id"},
    {0},
};
static const CompatShape shape = {&resource, sizeof(Row), outputs};

static void test_rows(void **state) {
    (void)state;
    Row rows[2] = {
        {.name = STR("A\xC2\xA0\"b\""), .kind = 1, .seat = 7, .count = 21, .sold = true, .extra = {STR("{\"a\":1}")}},
        {.kind = 99}};
    assert_int_equal(decimal_parse(STR("12.345"), &rows[0].price), ERR_OK);
    assert_int_equal(instant_parse(STR("2095-03-07T12:00:00.1234567+02:00"), &rows[0].at), ERR_OK);
    rows[0].until = (OptInstant){rows[0].at, true};
    rows[0].owner.present = true;
    assert_int_equal(compat_encode(&shape, &OLD, &ctx, rows, 2, true, &res.body), ERR_OK);
    assert_body(
        "[{\"Name\":\"A\\u00A0\\\"b\\\"\",\"Price\":12.35,\"Exact\":12.345,\"At\":\"2095-03-07T10:00:00.123456+00:00\","
        "\"Stored\":\"2095-03-07T12:00:00.1234567+02:00\",\"Until\":\"2095-03-07T10:00:00.123456+00:00\","
        "\"Owner\":\"00000000-0000-0000-0000-000000000000\",\"Kind\":\"One\",\"Seat\":7,\"Count\":21,\"Sold\":true,"
        "\"Extra\":{\"a\":1},\"Twice\":42,\"Id\":\"00000000-0000-0000-0000-000000000000\"},"
        "{\"Name\":null,\"Price\":0.00,\"Exact\":0,\"At\":\"0001-01-01T00:00:00+00:00\","
        "\"Stored\":\"0001-01-01T00:00:00+00:00\",\"Until\":null,\"Owner\":null,\"Kind\":99,\"Seat\":0,\"Count\":0,"
        "\"Sold\":false,\"Extra\":null,\"Twice\":0,\"Id\":\"00000000-0000-0000-0000-000000000000\"}]");
    buf_clear(&res.body);
    assert_int_equal(compat_encode(&shape, &OLD, &ctx, NULL, 0, true, &res.body), ERR_OK);
    assert_body("[]");
    static const CompatOutput wrong[] = {{.name = "X", .attribute = "zz"}, {0}};
    assert_int_equal(
        compat_encode(&(CompatShape){&resource, sizeof(Row), wrong}, &OLD, &ctx, rows, 1, false, &res.body),
        ERR_INVALID);
}

/* --- failures ----------------------------------------------------------------------------------------------------- */

static const struct {
    Err err;
    Outcome read, write;
} outcomes[] = {
    {ERR_INVALID, {400, OUTCOME_RULE, false}, {400, OUTCOME_RULE, false}},
    {ERR_SYNTAX, {500, OUTCOME_CRASH, false}, {500, OUTCOME_CRASH, false}},
    {ERR_NOT_FOUND, {404, OUTCOME_PROBLEM, false}, {400, OUTCOME_RULE, false}},
    {ERR_CONFLICT, {400, OUTCOME_RULE, false}, {400, OUTCOME_RULE, false}},
    {ERR_REFUSED, {403, OUTCOME_PROBLEM, false}, {403, OUTCOME_PROBLEM, false}},
    {ERR_LIMIT, {503, OUTCOME_PROBLEM, true}, {503, OUTCOME_PROBLEM, true}},
    {ERR_NO_MEMORY, {503, OUTCOME_PROBLEM, true}, {503, OUTCOME_PROBLEM, true}},
    {ERR_UNAVAILABLE, {503, OUTCOME_PROBLEM, true}, {503, OUTCOME_PROBLEM, true}},
    {ERR_TIMEOUT, {503, OUTCOME_PROBLEM, true}, {503, OUTCOME_PROBLEM, true}},
    {ERR_CANCELLED, {503, OUTCOME_PROBLEM, true}, {503, OUTCOME_PROBLEM, true}},
    {ERR_RETRY, {503, OUTCOME_PROBLEM, true}, {503, OUTCOME_PROBLEM, true}},
    {ERR_EOF, {500, OUTCOME_CRASH, false}, {500, OUTCOME_CRASH, false}},
    {ERR_IO, {500, OUTCOME_CRASH, false}, {500, OUTCOME_CRASH, false}},
    {ERR_INTERNAL, {500, OUTCOME_CRASH, false}, {500, OUTCOME_CRASH, false}},
};

#define COUNT_ONE(code, name) +1
static const size_t ERR_CODES = 0 ERR_LIST(COUNT_ONE);

/** Every code of err.h stands in the table, so that a new one cannot go without an answer. */
static void test_outcomes(void **state) {
    (void)state;
    assert_int_equal(ARRAY_LEN(outcomes) + 1, ERR_CODES);
    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        print_message("  %s\n", err_name(outcomes[i].err));
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(outcomes[i].err, outcomes[j].err);
        Outcome read = compat_outcome(outcomes[i].err, ANSWER_LIST, &OLD);
        Outcome write = compat_outcome(outcomes[i].err, ANSWER_NOTHING, &OLD);
        assert_int_equal(read.status, outcomes[i].read.status);
        assert_int_equal(read.form, outcomes[i].read.form);
        assert_int_equal(read.retry_after, outcomes[i].read.retry_after);
        assert_int_equal(write.status, outcomes[i].write.status);
        assert_int_equal(write.form, outcomes[i].write.form);
        fresh_response();
        answer_error(&ctx, &res, outcomes[i].err, ANSWER_NOTHING, &OLD); /* and each can be rendered */
        assert_int_equal(res.status, write.status);
        assert_true(res.body.n > 0);
    }
    assert_int_equal(compat_outcome(ERR_NOT_FOUND, ANSWER_NOTHING, &(CompatStyle){0}).status, 404);
}

static void test_forms(void **state) {
    (void)state;
    assert_int_equal(ctx_problem(&ctx, ERR_CONFLICT, "venue", "Venue is not available at the selected time"),
                     ERR_CONFLICT);
    answer_error(&ctx, &res, ERR_CONFLICT, ANSWER_CREATED, &OLD);
    assert_body(
        "{\"Message\":\"The request could not be correctly validated.\",\"Errors\":[\"Venue is not available at the "
        "selected time\"]}");
    assert_head(RULE_HEAD);
    fresh_response();
    answer_error(&ctx, &res, ERR_CONFLICT, ANSWER_CREATED, &(CompatStyle){0});
    assert_body(
        "{\"type\":\"https://tools.ietf.org/html/rfc9110#section-15.5.1\",\"title\":\"One or more validation errors "
        "occurred.\",\"status\":400,\"errors\":{\"venue\":[\"Venue is not available at the selected time\"]}");
    assert_head(PROBLEM_HEAD);
    fresh_response();
    buf_add(&res.body, STR("half a list"));
    answer_error(&ctx, &res, ERR_INTERNAL, ANSWER_CREATED, &OLD);
    assert_body("{\"Message\":\"An unexpected error occurred.\",\"Errors\":[]}");
    assert_head(RULE_HEAD);
    fresh_response();
    answer_error(&ctx, &res, ERR_NOT_FOUND, ANSWER_ONE, &OLD);
    assert_body(
        "{\"type\":\"https://tools.ietf.org/html/rfc9110#section-15.5.5\",\"title\":\"Not Found\",\"status\":404");
    fresh_response();
    answer_error(&ctx, &res, ERR_UNAVAILABLE, ANSWER_ONE, &OLD);
    assert_body("{\"type\":\"https://tools.ietf.org/html/rfc9110#section-15.6.4\",\"title\":\"Service "
                "Unavailable\",\"status\":503");
    assert_head(PROBLEM_HEAD "Retry-After: 1\r\n");
}

/** An arena with nothing left: 503 without a body, never half of one. */
static void test_no_memory_for_the_answer(void **state) {
    (void)state;
    res = (Response){.body = buf_new(arena, 40), .head = buf_new(arena, 1 << 14)};
    answer_error(&ctx, &res, ERR_NOT_FOUND, ANSWER_ONE, &OLD);
    assert_int_equal(res.status, 503);
    assert_int_equal(res.body.n, 0);
}

/* --- the handler -------------------------------------------------------------------------------------------------- */

static Row one_row;
static size_t rows_n;
static Err load_err;
static Id loaded_ids[2];

static CO_FN Err load(CompatCall *call, void **ret_rows, size_t *ret_n) {
    loaded_ids[0] = call->path_ids[0];
    loaded_ids[1] = call->path_ids[1];
    *ret_rows = &one_row;
    *ret_n = rows_n;
    return load_err;
}

static const CompatOutput short_outputs[] = {{.name = "Seat", .attribute = "seat"}, {0}};
static const CompatShape short_shape = {&resource, sizeof(Row), short_outputs};
static const CompatPayload no_payload = {"T", 1, (const CompatField[]){{0}}};
static const CompatAction get_one = {.load = load, .answer = ANSWER_ONE, .shape = &short_shape};
static const CompatAction get_all = {.load = load, .answer = ANSWER_LIST, .shape = &short_shape};
static const CompatAction create = {.payload = &no_payload, .answer = ANSWER_CREATED, .location = "/rows/"};
static const Route routes[] = {
    COMPAT_ROUTE(METHOD_GET, "/rows", "rows", "list", &get_all, NULL),
    COMPAT_ROUTE(METHOD_POST, "/rows", "rows", "create", &create, NULL),
    COMPAT_ROUTE(METHOD_GET, "/rows/{id:id}/{what}/{other:id}", "rows", "get", &get_one, NULL),
    COMPAT_ROUTE(METHOD_GET, "/away", "away", "list", &get_all, NULL),
    {0},
};

static Engine *engine_of(const char *context, void *data) {
    return strcmp(context, "rows") == 0 ? data : NULL; /* never looked into by these routes */
}

typedef struct Case {
    Method method;
    const char *path;
    Header headers[3];
    size_t rows;
    Err err;
    int status;
    const char *head, *body;
} Case;

#define A "3f0e7a0c-0000-4000-8000-00000000000a"
#define ORIGIN                                                                                                         \
    { STR_INIT("Origin"), STR_INIT("http://localhost:5173") }
#define ANY_ORIGIN "Access-Control-Allow-Origin: *\r\n"
#define JSON_HEAD  "Content-Type: application/json; charset=utf-8\r\n"
#define NOT_FOUND_BODY                                                                                                 \
    "{\"type\":\"https://tools.ietf.org/html/rfc9110#section-15.5.5\",\"title\":\"Not Found\",\"status\":404"

static const Case cases[] = {
    {METHOD_GET, "/rows", {{{0}, {0}}}, 1, ERR_OK, 200, JSON_HEAD, "[{\"Seat\":5}]"},
    {METHOD_GET, "/rows", {{{0}, {0}}}, 0, ERR_OK, 200, JSON_HEAD, "[]"},
    {METHOD_GET, "/rows", {ORIGIN}, 0, ERR_OK, 200, ANY_ORIGIN JSON_HEAD, "[]"},
    {METHOD_GET, "/rows", {{STR_INIT("Origin"), STR_INIT("")}}, 0, ERR_OK, 200, JSON_HEAD, "[]"},
    {METHOD_GET,
     "/rows",
     {{STR_INIT("Accept"), STR_INIT("text/*")}},
     0,
     ERR_OK,
     200,
     "Content-Type: text/json; charset=utf-8\r\n",
     "[]"},
    {METHOD_GET, "/rows/" A "/x/" A, {{{0}, {0}}}, 1, ERR_OK, 200, JSON_HEAD, "{\"Seat\":5}"},
    {METHOD_GET, "/rows/" A "/x/" A, {{{0}, {0}}}, 0, ERR_OK, 404, PROBLEM_HEAD, NOT_FOUND_BODY},
    {METHOD_GET, "/rows/" A "/x/" A, {ORIGIN}, 1, ERR_NOT_FOUND, 404, ANY_ORIGIN PROBLEM_HEAD, NOT_FOUND_BODY},
    {METHOD_GET, "/rows/" A "/x/bad", {{{0}, {0}}}, 1, ERR_OK, 404, "", ""},
    {METHOD_GET, "/nope", {ORIGIN}, 1, ERR_OK, 404, ANY_ORIGIN, ""},
    {METHOD_DELETE, "/rows", {ORIGIN}, 1, ERR_OK, 405, ANY_ORIGIN "Allow: GET, POST\r\n", ""},
    {METHOD_OPTIONS, "/rows", {{{0}, {0}}}, 1, ERR_OK, 405, "Allow: GET, POST\r\n", ""},
    {METHOD_OPTIONS,
     "/nope",
     {ORIGIN,
      {STR_INIT("access-control-request-method"), STR_INIT("FOO")},
      {STR_INIT("Access-Control-Request-Headers"), STR_INIT("content-type,x-custom")}},
     1,
     ERR_OK,
     204,
     ANY_ORIGIN "Access-Control-Allow-Headers: content-type,x-custom\r\nAccess-Control-Allow-Methods: FOO\r\n",
     ""},
    {METHOD_OPTIONS,
     "/rows",
     {{STR_INIT("Access-Control-Request-Method"), STR_INIT("POST")}},
     1,
     ERR_OK,
     405,
     "Allow: GET, POST\r\n",
     ""}, /* without Origin it is no preflight */
    {METHOD_POST,
     "/rows",
     {{STR_INIT("Content-Type"), STR_INIT("text/plain")}},
     1,
     ERR_OK,
     415,
     PROBLEM_HEAD,
     "{\"type\":\"https://tools.ietf.org/html/rfc9110#section-15.5.16\",\"title\":\"Unsupported Media "
     "Type\",\"status\":415"},
    {METHOD_POST,
     "/rows",
     {{{0}, {0}}},
     1,
     ERR_OK,
     415,
     PROBLEM_HEAD,
     "{\"type\":\"https://tools.ietf.org/html/rfc9110#section-15.5.16\",\"title\":\"Unsupported Media "
     "Type\",\"status\":415"},
    {METHOD_POST,
     "/rows",
     {{STR_INIT("Content-Type"), STR_INIT("multipart/form-data; boundary=x")}},
     1,
     ERR_OK,
     400,
     PROBLEM_HEAD,
     "{\"type\":\"https://tools.ietf.org/html/rfc9110#section-15.5.1\",\"title\":\"One or more validation errors "
     "occurred.\",\"status\":400,\"errors\":{\"\":[\"Failed to read the request form. Unexpected end of Stream, the "
     "content "
     "may have already been read by another component. \"]}"},
    {METHOD_GET,
     "/rows",
     {{{0}, {0}}},
     1,
     ERR_INTERNAL,
     500,
     RULE_HEAD,
     "{\"Message\":\"An unexpected error occurred.\",\"Errors\":[]}"},
    {METHOD_GET,
     "/away",
     {{{0}, {0}}},
     1,
     ERR_OK,
     503,
     PROBLEM_HEAD "Retry-After: 1\r\n",
     "{\"type\":\"https://tools.ietf.org/html/rfc9110#section-15.6.4\",\"title\":\"Service "
     "Unavailable\",\"status\":503"},
};

static void serve(const Case *c, const CompatStyle *style) {
    const Route *tables[] = {routes};
    Router *router;
    RouterOptions options = {.ignore_case = true, .trailing_slash = true};
    assert_int_equal(router_new(&ctx, arena, tables, 1, options, &router), ERR_OK);
    static char engine;
    CompatApp app = {.router = router, .engine_of = engine_of, .data = &engine, .style = style, .body_max = 1000};
    Request req = {
        .ctx = &ctx, .method = c->method, .method_text = STR("X"), .path = str_c(c->path), .headers = c->headers};
    while (req.header_count < 3 && c->headers[req.header_count].name.p != NULL)
        req.header_count++;
    rows_n = c->rows;
    load_err = c->err;
    one_row.seat = 5;
    fresh_response();
    compat_serve(&req, &res, &app);
}

static void test_handler(void **state) {
    (void)state;
    assert_int_equal(log_configure(STR("error"), STR("text")), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("  %s %d\n", cases[i].path, cases[i].status);
        serve(&cases[i], &OLD);
        assert_int_equal(res.status, cases[i].status);
        assert_head(cases[i].head);
        assert_body(cases[i].body);
    }
}

static void test_path_ids(void **state) {
    (void)state;
    Case c = {.method = METHOD_GET, .path = "/rows/" A "/" A "x/00000000-0000-0000-0000-00000000000B", .rows = 1};
    serve(&c, &OLD);
    assert_int_equal(res.status, 200);
    Id a, b;
    assert_int_equal(id_parse(STR(A), ID_FORM_D, &a), ERR_OK);
    assert_int_equal(id_parse(STR("00000000-0000-0000-0000-00000000000b"), ID_FORM_D, &b), ERR_OK);
    assert_true(id_eq(loaded_ids[0], a));
    assert_true(id_eq(loaded_ids[1], b));
}

/** Quirks cors-any and accept-ignored off. */
static void test_handler_strict(void **state) {
    (void)state;
    CompatStyle strict = {0};
    Case preflight = {METHOD_OPTIONS,
                      "/rows",
                      {ORIGIN, {STR_INIT("Access-Control-Request-Method"), STR_INIT("GET")}},
                      0,
                      ERR_OK,
                      0,
                      "",
                      ""};
    serve(&preflight, &strict);
    assert_int_equal(res.status, 405);
    assert_head("Allow: GET, POST\r\n");
    Case accept = {METHOD_GET, "/rows", {{STR_INIT("Accept"), STR_INIT("image/png")}}, 0, ERR_OK, 0, "", ""};
    serve(&accept, &strict);
    assert_int_equal(res.status, 406);
    assert_head(PROBLEM_HEAD);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_media_types),
        cmocka_unit_test(test_media_types),
        cmocka_unit_test(test_names),
        cmocka_unit_test_setup_teardown(test_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outcomes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory_for_the_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_handler, setup, teardown),
        cmocka_unit_test_setup_teardown(test_path_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(test_handler_strict, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
