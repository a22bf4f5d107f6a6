/*
 * test_messages.c - every recorded payload is read and written again to the byte; every recorded oddity is judged as
 * the old consumers judged it.
 */
#include <glob.h>
#include <stdlib.h>

#include "../base/unit.h"
#include "messaging/messages.h"
#include "json/json.h"

static Arena *arena;

static int set_up(void **state) {
    (void)state;
    unit_row = "";
    arena = arena_new((size_t)256 * 1024 * 1024);
    return arena == NULL;
}

static int tear_down(void **state) {
    (void)state;
    arena_free(arena);
    return 0;
}

static Ctx new_ctx(void) {
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    return ctx;
}

static Str read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s cannot be opened", path);
    Buf text = buf_new(arena, (size_t)64 * 1024 * 1024);
    char chunk[65536];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, file)) > 0;)
        buf_add_bytes(&text, chunk, n);
    fclose(file);
    Str ret;
    assert_int_equal(buf_finish(&text, &ret), ERR_OK);
    return ret;
}

static const Json *parse(Str text) {
    Json *tree = NULL;
    assert_int_equal(json_parse(text, arena, JSON_DUPLICATES_KEEP, &tree, NULL), ERR_OK);
    return tree;
}

static const MessageType *type_named(Str urn) {
    Str prefix = STR("urn:message:");
    for (const MessageType *const *type = MESSAGES; *type != NULL; type++)
        if (urn.n > prefix.n && str_eq_nocase(str_slice(urn, prefix.n, urn.n), str_c((*type)->name)))
            return *type;
    return NULL;
}

/* The bytes of the envelope's member "message", without the white space between tokens. */
static Str message_bytes(Str envelope) {
    JsonReader r;
    json_reader_init(&r, envelope, JSON_DEPTH_MAX);
    assert_int_equal(json_next(&r), ERR_OK);
    for (;;) {
        assert_int_equal(json_next(&r), ERR_OK);
        assert_int_equal(r.token, JSON_NAME);
        bool found = str_eq_c(r.lexeme, "message");
        assert_int_equal(json_next(&r), ERR_OK);
        size_t from = r.token_at;
        assert_int_equal(json_skip(&r), ERR_OK);
        if (!found)
            continue;
        Str raw = str_slice(envelope, from, r.at);
        Buf out = buf_new(arena, raw.n + 1);
        bool quoted = false;
        for (size_t i = 0; i < raw.n; i++) {
            if (raw.p[i] == '"' && (i == 0 || raw.p[i - 1] != '\\'))
                quoted = !quoted;
            if (quoted || (raw.p[i] != ' ' && raw.p[i] != '\n'))
                buf_add_char(&out, raw.p[i]);
        }
        return buf_str(&out);
    }
}

/* --- recordings --------------------------------------------------------------------------------------------------- */

static int check_recording(const char *path) {
    int checked = 0;
    const Json *messages = json_member(parse(read_file(path)), "messages");
    for (const Json *m = messages->first; m != NULL; m = m->next) {
        Str body = json_text(json_member(m, "body"));
        if (body.p == NULL) {
            assert_true(
                json_bool(json_member(m, "body_left_out"), false)); /* a megabyte; its form is that of the others */
            continue;
        }
        const MessageType *type = type_named(json_text(json_element(json_member(parse(body), "messageType"), 0)));
        if (type == NULL)
            fail_msg("%s: no message type for %.*s", path, STR_ARG(body));
        Str want = message_bytes(body), got;
        Ctx ctx = new_ctx();
        void *message = arena_alloc(arena, type->size);
        if (message_decode(type, &ctx, want, message) != ERR_OK)
            fail_msg("%s: %.*s", path, STR_ARG(ctx.problem.message));
        assert_int_equal(message_encode(type, message, arena, &got), ERR_OK);
        if (!str_eq(want, got))
            fail_msg("%s:\nwant %.*s\ngot  %.*s", path, STR_ARG(want), STR_ARG(got));
        checked++;
    }
    return checked;
}

static void every_recorded_payload_is_written_as_it_was_read(void **state) {
    (void)state;
    glob_t files;
    assert_int_equal(glob("contracts/messages/[0-9]*.json", 0, NULL, &files), 0);
    int checked = 0;
    for (size_t i = 0; i < files.gl_pathc; i++) {
        CASE(files.gl_pathv[i]);
        checked += check_recording(files.gl_pathv[i]);
    }
    assert_int_equal(files.gl_pathc, 17);
    globfree(&files);
    assert_true(checked > 300);
    print_message("%d recorded payloads\n", checked);
}

/* --- what the old consumers took ---------------------------------------------------------------------------------- */

#define ID    "\"id\":\"e540705f-4fdf-4065-8bfc-ae7412b9e4e4\""
#define DATES "\"startDate\":\"2095-05-05T10:00:00Z\",\"endDate\":\"2095-05-05T12:00:00Z\""

static const struct {
    const char *label;
    const char *payload;
    Err want;
    const char *price; /* where ERR_OK */
    int venue;
    const char *words; /* within the problem otherwise */
} cases[] = {
    {"price as string", "{" ID ",\"venue\":3,\"price\":\"7.5\"," DATES "}", ERR_OK, "7.5", 3, NULL},
    {"price as number", "{" ID ",\"venue\":3,\"price\":7.25," DATES "}", ERR_OK, "7.25", 3, NULL},
    {"price null is 0", "{" ID ",\"venue\":3,\"price\":null," DATES "}", ERR_OK, "0", 3, NULL},
    {"price missing is 0", "{" ID ",\"venue\":3," DATES "}", ERR_OK, "0", 3, NULL},
    {"price with an exponent", "{" ID ",\"price\":\"1e2\"," DATES "}", ERR_OK, "100", 0, NULL},
    {"price of 28 digits", "{" ID ",\"price\":\"0.1234567890123456789012345678\"," DATES "}", ERR_OK,
     "0.1234567890123456789012345678", 0, NULL},
    {"scale is kept", "{" ID ",\"price\":\"12.50\"," DATES "}", ERR_OK, "12.50", 0, NULL},
    {"venue out of range of the names", "{" ID ",\"venue\":42," DATES "}", ERR_OK, "0", 42, NULL},
    {"negative venue", "{" ID ",\"venue\":-2147483648," DATES "}", ERR_OK, "0", INT32_MIN, NULL},
    {"names in Pascal case", "{\"Id\":\"e540705f-4fdf-4065-8bfc-ae7412b9e4e4\",\"Venue\":3,\"Price\":\"7.5\"}", ERR_OK,
     "7.5", 3, NULL},
    {"an unknown member", "{" ID ",\"extra\":{\"a\":[1,{}]},\"venue\":3}", ERR_OK, "0", 3, NULL},
    {"of equal names the last", "{" ID ",\"venue\":1,\"Venue\":2}", ERR_OK, "0", 2, NULL},
    {"an escaped name", "{" ID ",\"v\\u0065nue\":4}", ERR_OK, "0", 4, NULL},
    {"white space around", " { " ID " , \"venue\" : 3 } \n", ERR_OK, "0", 3, NULL},

    {"venue as a name", "{" ID ",\"venue\":\"ManchesterArena\"}", ERR_INVALID, NULL, 0, "venue is not a number"},
    {"venue as a string", "{" ID ",\"venue\":\"3\"}", ERR_INVALID, NULL, 0, "venue is not a number"},
    {"venue null", "{" ID ",\"venue\":null}", ERR_INVALID, NULL, 0, "venue is null"},
    {"venue with a fraction", "{" ID ",\"venue\":3.0}", ERR_INVALID, NULL, 0, "venue is not a whole number"},
    {"venue too big", "{" ID ",\"venue\":2147483648}", ERR_INVALID, NULL, 0, "venue is out of range"},
    {"every one of equal names converts", "{" ID ",\"venue\":\"x\",\"venue\":2}", ERR_INVALID, NULL, 0, "venue"},
    {"price as a word", "{" ID ",\"price\":\"cheap\"}", ERR_INVALID, NULL, 0, "price is not a number"},
    {"price too big", "{" ID ",\"price\":79228162514264337593543950336}", ERR_INVALID, NULL, 0,
     "price is out of range"},
    {"price as an object", "{" ID ",\"price\":{}}", ERR_INVALID, NULL, 0, "price"},
    {"id missing", "{\"venue\":3}", ERR_INVALID, NULL, 0, "id is missing"},
    {"id null", "{\"id\":null}", ERR_INVALID, NULL, 0, "id is null"},
    {"id without dashes", "{\"id\":\"e540705f4fdf40658bfcae7412b9e4e4\"}", ERR_INVALID, NULL, 0, "id is not a UUID"},
    {"a date that is none", "{" ID ",\"startDate\":\"tomorrow\"}", ERR_INVALID, NULL, 0, "startDate"},
    {"a name that is a number", "{" ID ",\"eventName\":5}", ERR_INVALID, NULL, 0, "eventName is not a string"},
    {"a lone surrogate", "{" ID ",\"eventName\":\"\\ud800\"}", ERR_INVALID, NULL, 0, "eventName"},
    {"bytes that are no UTF-8", "{" ID ",\"eventName\":\"\xff\"}", ERR_INVALID, NULL, 0, "eventName"},
    {"not JSON", "this is not json", ERR_SYNTAX, NULL, 0, "not JSON"},
    {"nothing", "", ERR_SYNTAX, NULL, 0, "not JSON"},
    {"an array", "[]", ERR_INVALID, NULL, 0, "not a JSON object"},
    {"null", "null", ERR_INVALID, NULL, 0, "not a JSON object"},
    {"cut short", "{" ID ",\"venue\":3", ERR_SYNTAX, NULL, 0, "not JSON"},
    {"something behind", "{" ID "} x", ERR_SYNTAX, NULL, 0, "not JSON"},
};

static void reading_is_as_tolerant_as_the_old_consumers(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CASE(cases[i].label);
        Ctx ctx = new_ctx();
        EventUpserted message;
        Err err = message_decode(&MESSAGE_EVENT_UPSERTED, &ctx, str_c(cases[i].payload), &message);
        assert_int_equal(err, cases[i].want);
        if (err != ERR_OK) {
            assert_int_equal(ctx.problem.code, err);
            assert_true(str_find(ctx.problem.message, str_c(cases[i].words)) >= 0);
            continue;
        }
        char price[DECIMAL_TEXT_MAX + 1] = {0};
        decimal_format(message.price, price);
        assert_string_equal(price, cases[i].price);
        assert_int_equal(message.venue, cases[i].venue);
    }
}

static void what_may_be_absent_is_absent(void **state) {
    (void)state;
    Ctx ctx = new_ctx();
    UserUpserted user;
    assert_int_equal(message_decode(&MESSAGE_USER_UPSERTED, &ctx, STR("{" ID ",\"email\":null}"), &user), ERR_OK);
    assert_true(user.full_name.p == NULL && user.email.p == NULL);
    Str text;
    assert_int_equal(message_encode(&MESSAGE_USER_UPSERTED, &user, arena, &text), ERR_OK);
    assert_true(str_eq(text, STR("{" ID ",\"fullName\":null,\"email\":null}")));
}

static void refused_memory_is_an_error(void **state) {
    (void)state;
    Arena *small = arena_new((size_t)64 * 1024);
    EventUpserted event = {.event_name = STR("Name"), .start_date = clock_now(), .end_date = clock_now()};
    bool went_through = false;
    for (uint64_t nth = 1; nth < 100 && !went_through; nth++) {
        Str text;
        Ctx ctx;
        arena_reset(small);
        ctx_init(&ctx, small, 0);
        arena_fail_nth(nth);
        Err wrote = message_encode(&MESSAGE_EVENT_UPSERTED, &event, small, &text);
        EventUpserted back;
        Err read = wrote == ERR_OK ? message_decode(&MESSAGE_EVENT_UPSERTED, &ctx,
                                                    STR("{" ID ",\"\\u0065ventName\":\"a\\nb\"}"), &back)
                                   : wrote;
        arena_fail_nth(0);
        assert_true(read == ERR_OK || read == ERR_NO_MEMORY);
        went_through = read == ERR_OK;
    }
    assert_true(went_through);
    arena_free(small);
}

static void each_type_is_bound_and_named_once(void **state) {
    (void)state;
    for (const MessageType *const *type = MESSAGES; *type != NULL; type++) {
        CASE((*type)->name);
        int queues = 0;
        for (const Binding *binding = BINDINGS; binding->queue != NULL; binding++)
            queues += binding->type == *type;
        assert_int_equal(queues, 1);
        for (const MessageType *const *other = type + 1; *other != NULL; other++)
            assert_true(strcmp((*type)->name, (*other)->name) != 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_recorded_payload_is_written_as_it_was_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reading_is_as_tolerant_as_the_old_consumers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_may_be_absent_is_absent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused_memory_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_type_is_bound_and_named_once, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
