/*
 * test_wire.c - frames, methods, tables, headers and URLs: what is read is what was written, and what is malformed is
 * refused.
 */
#include "amqp_test.h"

#include "amqp/url.h"

static Arena *arena;
static Ctx ctx;

static int open_arena(void **state) {
    (void)state;
    arena = arena_new(4 * 1024 * 1024);
    ctx_init(&ctx, arena, 0);
    return arena == NULL;
}

static int close_arena(void **state) {
    (void)state;
    arena_freep(&arena);
    return 0;
}

/* --- frames ------------------------------------------------------------------------------------------------------- */

#define BYTES(literal)                                                                                                 \
    { "" literal, sizeof(literal) - 1 }

static const struct {
    const char *label;
    Str in;
    Err want;
} FRAMES[] = {
    {"a heartbeat", BYTES("\x08\0\0\0\0\0\0\xCE"), ERR_OK},
    {"nothing yet", BYTES(""), ERR_EOF},
    {"half a head", BYTES("\x01\0\x01\0\0"), ERR_EOF},
    {"half a payload",
     BYTES("\x01\0\x01\0\0\0\x04"
           "ab"),
     ERR_EOF},
    {"the end octet is missing",
     BYTES("\x01\0\x01\0\0\0\x02"
           "ab"),
     ERR_EOF},
    {"another end octet",
     BYTES("\x01\0\x01\0\0\0\x02"
           "ab\xCD"),
     ERR_SYNTAX},
    {"no such kind", BYTES("\x04\0\0\0\0\0\0\xCE"), ERR_SYNTAX},
    {"HTTP", BYTES("HTTP/1.1 400 Bad Request"), ERR_SYNTAX},
    {"the broker's answer to another version", BYTES("AMQP\0\0\x09\x01"), ERR_SYNTAX},
    {"longer than was agreed", BYTES("\x03\0\x01\0\0\x10\x00"), ERR_LIMIT},
    {"a length that wraps", BYTES("\x03\0\x01\xFF\xFF\xFF\xFF"), ERR_LIMIT},
};

static void frames_are_refused_early(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(FRAMES); i++) {
        AmqpFrame frame;
        size_t n = 0;
        CASE(FRAMES[i].label);
        assert_int_equal(amqp_frame_read(FRAMES[i].in, 4096, &frame, &n), FRAMES[i].want);
    }
}

static void frames_come_out_as_they_went_in(void **state) {
    (void)state;
    Buf out = buf_new(arena, 4096);
    size_t began = amqp_frame_begin(&out, AMQP_FRAME_BODY, 7);
    buf_add_c(&out, "hello");
    amqp_frame_end(&out, began);
    began = amqp_frame_begin(&out, AMQP_FRAME_METHOD, 0);
    amqp_frame_end(&out, began);
    AmqpFrame frame;
    size_t n;
    assert_int_equal(amqp_frame_read(buf_str(&out), 4096, &frame, &n), ERR_OK);
    assert_true(frame.kind == AMQP_FRAME_BODY && frame.channel == 7 && str_eq_c(frame.payload, "hello"));
    assert_int_equal(amqp_frame_read(str_slice(buf_str(&out), n, out.n), 4096, &frame, &n), ERR_OK);
    assert_true(frame.kind == AMQP_FRAME_METHOD && frame.payload.n == 0);
}

/* --- methods ------------------------------------------------------------------------------------------------------ */

/* Every method of the list, with something in each argument. */
static void every_method_survives_the_wire(void **state) {
    (void)state;
    Buf table = buf_new(arena, 1024);
    amqp_table_add_text(&table, STR("x-queue-type"), STR("quorum"));
    for (int id = 0; id < AMQP_METHODS; id++) {
        AmqpMethod out = {.id = (AmqpMethodId)id}, in, again;
        Buf payload = buf_new(arena, 4096), second = buf_new(arena, 4096);
        CASE(amqp_method_name(out.id));
        for (size_t i = 0; i < AMQP_ARGUMENTS_MAX; i++)
            out.arguments[i] = (AmqpArgument){.n = 1, .s = buf_str(&table)};
        amqp_method_write(&payload, &out);
        assert_int_equal(amqp_method_read(buf_str(&payload), &in), ERR_OK);
        assert_int_equal(in.id, out.id);
        amqp_method_write(&second, &in);
        assert_true(str_eq(buf_str(&payload), buf_str(&second)));
        for (size_t cut = 0; cut < payload.n; cut++)
            assert_true(amqp_method_read(str_slice(buf_str(&payload), 0, cut), &again) == ERR_SYNTAX);
        buf_add_char(&payload, 'x');
        assert_int_equal(amqp_method_read(buf_str(&payload), &again), ERR_SYNTAX);
    }
}

static void bits_share_an_octet(void **state) {
    (void)state;
    AmqpMethod declare = {.id = AMQP_QUEUE_DECLARE,
                          .arguments = {{0}, {.s = STR("q")}, {0}, {.n = 1}, {0}, {.n = 1}, {0}, {.s = STR("")}}};
    Buf payload = buf_new(arena, 64);
    amqp_method_write(&payload, &declare);
    assert_true(str_eq(buf_str(&payload), (Str)BYTES("\0\x32\0\x0A\0\0\x01q\x0A\0\0\0\0")));
}

static void unknown_methods_are_known_as_such(void **state) {
    (void)state;
    AmqpMethod method;
    assert_int_equal(amqp_method_read((Str)BYTES("\0\x3C\0\x63"), &method), ERR_NOT_FOUND);
    assert_int_equal(amqp_method_read((Str)BYTES("\0\x3C\0"), &method), ERR_SYNTAX);
}

/* --- tables ------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *label;
    Str in;
    Err want;
} TABLES[] = {
    {"empty", BYTES(""), ERR_OK},
    {"each kind",
     BYTES("\1at\1\1bb\xFF\1BB\xFF\1ss\x80\0\1uu\x80\0\1II\xFF\xFF\xFF\xFF\1ii\xFF\xFF\xFF\xFF"
           "\1ll\0\0\0\0\0\0\0\1\1LL\0\0\0\0\0\0\0\1\1Tf\0\0\0\0\1dd\0\0\0\0\0\0\0\0\1DD\2\0\0\0\1"
           "\1TT\0\0\0\0\0\0\0\1\1SS\0\0\0\2hi\1xx\0\0\0\1z\1AA\0\0\0\3t\1V\1FF\0\0\0\3\1nV\1VV"),
     ERR_OK},
    {"a kind that does not exist", BYTES("\1aQ\1"), ERR_SYNTAX},
    {"a name without a value", BYTES("\1a"), ERR_SYNTAX},
    {"a text longer than the table", BYTES("\1aS\0\0\0\x09hi"), ERR_SYNTAX},
    {"a nested table cut short", BYTES("\1aF\0\0\0\2\1n"), ERR_SYNTAX},
    {"an array cut short", BYTES("\1aA\0\0\0\2It"), ERR_SYNTAX},
};

static void tables_are_checked(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(TABLES); i++) {
        CASE(TABLES[i].label);
        assert_int_equal(amqp_table_check(TABLES[i].in), TABLES[i].want);
    }
}

static void a_table_can_be_copied_entry_by_entry(void **state) {
    (void)state;
    Str rest = TABLES[1].in, name;
    Buf copy = buf_new(arena, 1024);
    AmqpField field;
    int n = 0;
    for (; amqp_table_next(&rest, &name, &field); n++)
        amqp_table_add_field(&copy, name, &field);
    assert_int_equal(n, 18);
    assert_true(str_eq(buf_str(&copy), TABLES[1].in));
    assert_true(amqp_table_find(TABLES[1].in, "b", &field) && field.number == -1);
    assert_true(amqp_table_find(TABLES[1].in, "s", &field) && field.number == -32768);
    assert_true(amqp_table_find(TABLES[1].in, "u", &field) && field.number == 32768);
    assert_true(str_eq_c(amqp_table_text(TABLES[1].in, "S"), "hi"));
    assert_true(amqp_table_text(TABLES[1].in, "I").p == NULL);
}

static void nesting_has_an_end(void **state) {
    (void)state;
    Buf deep = buf_new(arena, 64 * 1024);
    for (int depth = 0; depth < 40; depth++) {
        Buf outer = buf_new(arena, 64 * 1024);
        amqp_table_add_table(&outer, STR("n"), buf_str(&deep));
        deep = outer;
        assert_int_equal(amqp_table_check(buf_str(&deep)), depth < AMQP_TABLE_DEPTH_MAX - 1 ? ERR_OK : ERR_LIMIT);
    }
}

/* --- content headers ---------------------------------------------------------------------------------------------- */

static void headers_survive_the_wire(void **state) {
    (void)state;
    AmqpProperties full = {.content_type = STR("application/json"),
                           .content_encoding = STR("gzip"),
                           .headers = TABLES[1].in,
                           .delivery_mode = 2,
                           .priority = 0,
                           .correlation_id = STR("c"),
                           .reply_to = STR("r"),
                           .expiration = STR("1"),
                           .message_id = STR("m"),
                           .timestamp = 1795406942,
                           .type = STR("t"),
                           .user_id = STR("u"),
                           .app_id = STR("a")};
    AmqpProperties none = AMQP_PROPERTIES_NONE, in;
    uint64_t size;
    for (int which = 0; which < 2; which++) {
        Buf out = buf_new(arena, 4096), again = buf_new(arena, 4096);
        amqp_header_write(&out, which == 0 ? &full : &none, 123456789012);
        assert_int_equal(amqp_header_read(buf_str(&out), &in, &size), ERR_OK);
        assert_true(size == 123456789012);
        amqp_header_write(&again, &in, size);
        assert_true(str_eq(buf_str(&out), buf_str(&again)));
        for (size_t cut = 0; cut < out.n; cut++)
            assert_int_equal(amqp_header_read(str_slice(buf_str(&out), 0, cut), &in, &size), ERR_SYNTAX);
    }
    assert_true(in.content_type.p == NULL && in.priority == -1 && in.timestamp == -1);
}

/* --- URLs --------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *url;
    const char *want; /* host port user password vhost heartbeat, or words of the refusal behind '!' */
} URLS[] = {
    {"amqp://", "localhost 5672 guest guest / 10"},
    {"amqp://broker", "broker 5672 guest guest / 10"},
    {"amqps://broker/", "broker 5671 guest guest / 10"},
    {"amqp://ann:se%40cret@broker:1234/shop%2Feu?heartbeat=0", "broker 1234 ann se@cret shop/eu 0"},
    {"amqp://ann:p:w@broker/%2f", "broker 5672 ann p:w / 10"},
    {"amqp://a@b:c@broker", "broker 5672 a@b c / 10"},
    {"amqp://[::1]:5673/v", "::1 5673 guest guest v 10"},
    {"amqp://h?connection_timeout=5&channel_max=9&heartbeat=3", "h 5672 guest guest / 3"},
    {"http://broker", "!it is written amqp://"},
    {"amqp://h:port", "!its port is a number"},
    {"amqp://h:0", "!its port is a number"},
    {"amqp://h:70000", "!its port is a number"},
    {"amqp://[::1", "!has no ]"},
    {"amqp://[::1]x", "!stands no :PORT"},
    {"amqp://h/%2", "!without two hexadecimal digits"},
    {"amqp://h/%zz", "!without two hexadecimal digits"},
    {"amqp://h/%00", "!without two hexadecimal digits"},
    {"amqp://h?heartbeat=often", "!heartbeat is a number from 0 to 65535"},
    {"amqp://h?hartbeat=3", "!unknown parameter hartbeat"},
    {"amqp://h?verify=perhaps", "!verify is verify_peer or verify_none"},
};

static void urls_are_read_or_refused_with_words(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(URLS); i++) {
        AmqpUrl url;
        char got[600];
        CASE(URLS[i].url);
        problem_clear(&ctx);
        Err err = amqp_url_read(&ctx, str_c(URLS[i].url), arena, &url);
        if (URLS[i].want[0] == '!') {
            assert_int_equal(err, ERR_INVALID);
            assert_true(str_find(ctx.problem.message, str_c(URLS[i].want + 1)) >= 0);
            continue;
        }
        assert_int_equal(err, ERR_OK);
        snprintf(got, sizeof got, "%s %d %s %s %s %d", url.host.p, url.port, url.user.p, url.password.p, url.vhost.p,
                 url.heartbeat_s);
        assert_string_equal(got, URLS[i].want);
    }
    AmqpUrl tls;
    assert_int_equal(amqp_url_read(&ctx,
                                   STR("amqps://h?auth_mechanism=EXTERNAL&cacertfile=/a&certfile=/b&keyfile=/c"
                                       "&server_name_indication=s&verify=verify_none"),
                                   arena, &tls),
                     ERR_OK);
    assert_true(tls.external && !tls.verify && str_eq_c(tls.ca, "/a") && str_eq_c(tls.server_name, "s"));
}

/* --- words -------------------------------------------------------------------------------------------------------- */

static void a_difference_is_explained(void **state) {
    (void)state;
    char words[AMQP_ERROR_MAX];
    explain_close(
        STR("PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'event' in vhost '/': received 'true' "
            "but current is 'false'"),
        words, sizeof words);
    assert_true(strstr(words, "queue event in vhost / exists and was declared differently: its durable is 'false', "
                              "usher declares 'true'") != NULL);
    assert_true(strstr(words, "rabbitmqctl delete_queue event") != NULL);
    explain_close(STR("ACCESS_REFUSED - no"), words, sizeof words);
    assert_string_equal(words, "the broker refused: ACCESS_REFUSED - no");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_refused_early),
        cmocka_unit_test(frames_come_out_as_they_went_in),
        cmocka_unit_test(every_method_survives_the_wire),
        cmocka_unit_test(bits_share_an_octet),
        cmocka_unit_test(unknown_methods_are_known_as_such),
        cmocka_unit_test(tables_are_checked),
        cmocka_unit_test(a_table_can_be_copied_entry_by_entry),
        cmocka_unit_test(nesting_has_an_end),
        cmocka_unit_test(headers_survive_the_wire),
        cmocka_unit_test(urls_are_read_or_refused_with_words),
        cmocka_unit_test(a_difference_is_explained),
    };
    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
