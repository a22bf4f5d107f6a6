/*
 * test_envelope.c - every recorded message on RabbitMQ is taken apart and written again to the byte; every hand-made
 * oddity is judged as recorded.
 */
#include <glob.h>

#include "../base/unit.h"
#include "bus/masstransit.h"
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

static const Json *read_json(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s cannot be opened", path);
    Buf text = buf_new(arena, (size_t)64 * 1024 * 1024);
    char chunk[65536];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, file)) > 0;)
        buf_add_bytes(&text, chunk, n);
    fclose(file);
    Json *tree = NULL;
    assert_int_equal(json_parse(buf_str(&text), arena, JSON_DUPLICATES_KEEP, &tree, NULL), ERR_OK);
    return tree;
}

static Str member(const Json *object, const char *name) {
    return json_text(json_member(object, name));
}

static OptId member_id(const Json *object, const char *name) {
    OptId id = {0};
    Str text = member(object, name);
    if (text.p != NULL) {
        assert_int_equal(id_parse(text, ID_FORM_D, &id.value), ERR_OK);
        id.present = true;
    }
    return id;
}

static const MessageType *type_named(Str name) {
    for (const MessageType *const *type = MESSAGES; *type != NULL; type++)
        if (str_eq_nocase(name, str_c((*type)->name)))
            return *type;
    return NULL;
}

/* What usher does not choose itself comes from the recording: ids, addresses, the time, the host. */
static void write_again(Str body) {
    Ctx ctx = new_ctx();
    MtReceived received;
    MtUnreadable why;
    assert_int_equal(mt_read(&ctx, body, &received, &why), ERR_OK);
    assert_int_equal(received.n_types, 1);
    const MessageType *type = type_named(received.types[0]);
    assert_true(type != NULL);
    void *message = arena_alloc(arena, type->size);
    Str payload, written;
    assert_int_equal(message_decode(type, &ctx, received.message, message), ERR_OK);
    assert_int_equal(message_encode(type, message, arena, &payload), ERR_OK);

    Json *tree = NULL;
    assert_int_equal(json_parse(body, arena, JSON_DUPLICATES_KEEP, &tree, NULL), ERR_OK);
    const Json *from = json_member(tree, "host");
    MtHost host = {.machine_name = member(from, "machineName"),
                   .process_name = member(from, "processName"),
                   .process_id = json_i64(json_member(from, "processId"), -1),
                   .assembly = member(from, "assembly"),
                   .assembly_version = member(from, "assemblyVersion"),
                   .framework_version = member(from, "frameworkVersion"),
                   .mass_transit_version = member(from, "massTransitVersion"),
                   .operating_system_version = member(from, "operatingSystemVersion")};
    MtEnvelope envelope = {.message_id = received.message_id,
                           .correlation_id = member_id(tree, "correlationId"),
                           .conversation_id = received.conversation_id,
                           .initiator_id = member_id(tree, "initiatorId"),
                           .source_address = member(tree, "sourceAddress"),
                           .destination_address = member(tree, "destinationAddress"),
                           .types = received.types,
                           .n_types = received.n_types,
                           .message = payload,
                           .host = &host};
    assert_int_equal(instant_parse(member(tree, "sentTime"), &envelope.sent_at), ERR_OK);
    assert_int_equal(mt_write(&envelope, arena, &written), ERR_OK);
    if (!str_eq(body, written))
        fail_msg("[%s] recorded\n%.*s\nwritten\n%.*s", unit_row, STR_ARG(body), STR_ARG(written));
}

static void every_recording_is_written_again_to_the_byte(void **state) {
    (void)state;
    glob_t files = {0};
    size_t n = 0;
    assert_int_equal(glob("contracts/messages/[01]*.json", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        CASE(files.gl_pathv[i]);
        const Json *messages = json_member(read_json(files.gl_pathv[i]), "messages");
        for (const Json *m = messages->first; m != NULL; m = m->next) {
            Str body = member(m, "body");
            if (body.p == NULL) /* too large for the recording */
                continue;
            write_again(body);
            n++;
        }
    }
    globfree(&files);
    assert_true(n == 524);
}

/* --- odd ones ----------------------------------------------------------------------------------------------------- */

/* By the exception that the old runtime named in MT-Fault-ExceptionType, or none where no copy went to event_error. */
static const char *recorded_exception(const Json *row) {
    const Json *arrived = json_member(json_member(row, "arrived"), "event_error");
    Str type = member(json_member(json_element(arrived, 0), "headers"), "MT-Fault-ExceptionType");
    return type.p == NULL ? "" : arena_str(arena, type).p;
}

static bool is_of_envelope(const char *exception) {
    return strcmp(exception, "System.ArgumentNullException") == 0 ||
           strcmp(exception, "System.Text.Json.JsonReaderException") == 0;
}

static void oddities_are_judged_as_recorded(void **state) {
    (void)state;
    size_t n = 0;
    for (const Json *row = read_json("contracts/messages/faults.json")->first; row != NULL; row = row->next, n++) {
        Ctx ctx = new_ctx();
        MtReceived received;
        MtUnreadable why;
        CASE(arena_str(arena, member(row, "case")).p);
        Err err = mt_read(&ctx, member(json_member(row, "published"), "body"), &received, &why);
        const char *recorded = recorded_exception(row);
        if (!is_of_envelope(recorded)) {
            assert_int_equal(err, ERR_OK);
            continue;
        }
        assert_true(err == ERR_SYNTAX || err == ERR_INVALID);
        assert_true(ctx.problem.message.n > 0);
        assert_int_equal(why, strcmp(recorded, "System.ArgumentNullException") == 0 ? MT_NO_ENVELOPE : MT_NOT_JSON);
    }
    assert_true(n == 29);
}

static const struct {
    const char *label, *body;
    MtUnreadable want;
} BODIES[] = {
    {"names in any case", "{\"MESSAGETYPE\":[\"urn:message:A:B\"],\"Message\":{}}", MT_READABLE},
    {"no urn", "{\"messageType\":[\"A:B\"],\"message\":{}}", MT_READABLE},
    {"a byte order mark", "\xEF\xBB\xBF{\"messageType\":[\"A:B\"],\"message\":{}}", MT_READABLE},
    {"nothing", "", MT_NOT_JSON},
    {"half an envelope", "{\"messageType\":[\"A:B\"],\"message\":{", MT_NOT_JSON},
    {"something behind it", "{\"messageType\":[\"A:B\"],\"message\":{}} x", MT_NOT_JSON},
    {"an array", "[]", MT_WRONG_SHAPE},
    {"an id that is none", "{\"messageId\":\"x\",\"messageType\":[\"A:B\"],\"message\":{}}", MT_WRONG_SHAPE},
    {"types that are no list", "{\"messageType\":\"A:B\",\"message\":{}}", MT_WRONG_SHAPE},
    {"headers that are no object", "{\"headers\":[],\"messageType\":[\"A:B\"],\"message\":{}}", MT_WRONG_SHAPE},
    {"a null message", "{\"messageType\":[\"A:B\"],\"message\":null}", MT_NO_ENVELOPE},
    {"no type", "{\"message\":{}}", MT_NO_ENVELOPE},
};

static void bodies_are_read_or_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(BODIES); i++) {
        Ctx ctx = new_ctx();
        MtReceived received;
        MtUnreadable why;
        CASE(BODIES[i].label);
        Err err = mt_read(&ctx, str_c(BODIES[i].body), &received, &why);
        assert_int_equal(why, BODIES[i].want);
        assert_true((err == ERR_OK) == (why == MT_READABLE));
        assert_true(err != ERR_OK || str_eq_c(received.types[0], "A:B"));
    }
}

static void trace_context_is_found_in_both_worlds_names(void **state) {
    (void)state;
    Ctx ctx = new_ctx();
    MtReceived received;
    MtUnreadable why;
    Str body = STR("{\"messageType\":[\"A:B\"],\"message\":{},\"headers\":{\"MT-Activity-Id\":\"old\",\"traceparent\":"
                   "\"new\",\"n\":1,\"o\":{\"x\":[1]},\"MT-Activity-Correlation-Context\":"
                   "[{\"key\":\"a\",\"value\":\"b c\"},{\"key\":\"d\",\"value\":\"e\"}]}}");
    assert_int_equal(mt_read(&ctx, body, &received, &why), ERR_OK);
    assert_true(str_eq_c(received.traceparent, "new") && str_eq_c(received.baggage, "a=b%20c,d=e"));
    assert_true(str_eq_c(mt_baggage_json(received.baggage, arena),
                         "[{\"key\":\"a\",\"value\":\"b c\"},{\"key\":\"d\",\"value\":\"e\"}]"));

    Buf table = buf_new(arena, 256);
    amqp_table_add_text(&table, STR("traceparent"), STR("beside"));
    amqp_table_add_text(&table, STR("tracestate"), STR("s=1"));
    AmqpProperties properties = AMQP_PROPERTIES_NONE;
    properties.headers = buf_str(&table);
    mt_read_headers(&properties, &received);
    assert_true(str_eq_c(received.traceparent, "new") && str_eq_c(received.tracestate, "s=1"));
}

static void raw_json_needs_its_type_beside_it(void **state) {
    (void)state;
    Ctx ctx = new_ctx();
    MtReceived received;
    MtUnreadable why;
    AmqpProperties properties = AMQP_PROPERTIES_NONE;
    Str body = STR("{\"id\":1}");
    assert_int_equal(mt_read_raw(&ctx, body, &properties, &received, &why), ERR_INVALID);
    assert_int_equal(why, MT_NO_ENVELOPE);
    Buf table = buf_new(arena, 256);
    amqp_table_add_text(&table, STR("MT-MessageType"), STR("urn:message:A:B;urn:message:C:D"));
    properties.headers = buf_str(&table);
    assert_int_equal(mt_read_raw(&ctx, body, &properties, &received, &why), ERR_OK);
    assert_true(received.n_types == 2 && str_eq_c(received.types[1], "C:D") && str_eq(received.message, body));
    assert_true(mt_read_raw(&ctx, STR("{"), &properties, &received, &why) == ERR_SYNTAX && why == MT_NOT_JSON);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_recording_is_written_again_to_the_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(oddities_are_judged_as_recorded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bodies_are_read_or_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(trace_context_is_found_in_both_worlds_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(raw_json_needs_its_type_beside_it, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
