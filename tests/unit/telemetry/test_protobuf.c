/*
 * test_protobuf.c - the encoder, byte for byte (examples of protobuf.dev/programming-guides/encoding where it has one).
 *
 * That the whole is OTLP is judged by a decoder that is not ours: tests/blackbox/test_telemetry.py.
 */
#include "unit.h"

#include "telemetry/protobuf.h"

static uint8_t memory[8192];

static Pb fresh(size_t capacity) {
    return (Pb){.p = memory, .capacity = capacity};
}

#define ASSERT_BYTES(pb, literal)                                                                                      \
    do {                                                                                                               \
        assert_int_equal((pb).n, sizeof(literal) - 1);                                                                 \
        assert_memory_equal((pb).p, literal, sizeof(literal) - 1);                                                     \
    } while (0)

static void test_numbers(void **state) {
    (void)state;
    Pb pb = fresh(64);
    pb_uint(&pb, 1, 150);
    ASSERT_BYTES(pb, "\x08\x96\x01");
    pb = fresh(64);
    pb_uint(&pb, 1, UINT64_MAX);
    ASSERT_BYTES(pb, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    pb = fresh(64);
    pb_fixed64(&pb, 7, 0x0102030405060708u);
    ASSERT_BYTES(pb, "\x39\x08\x07\x06\x05\x04\x03\x02\x01");
    pb = fresh(64);
    pb_fixed32(&pb, 16, 0x301); /* a field over 15 takes two bytes of tag */
    ASSERT_BYTES(pb, "\x85\x01\x01\x03\x00\x00");
    pb = fresh(64);
    pb_double(&pb, 5, 0.5);
    ASSERT_BYTES(pb, "\x29\x00\x00\x00\x00\x00\x00\xe0\x3f");
}

static void test_texts(void **state) {
    (void)state;
    Pb pb = fresh(64);
    pb_text(&pb, 2, STR("testing"));
    ASSERT_BYTES(pb, "\x12\x07testing");
    pb = fresh(64);
    pb_text(&pb, 2, STR("h\xc3\xa9")); /* UTF-8 stays */
    ASSERT_BYTES(pb, "\x12\x03h\xc3\xa9");
    pb = fresh(64);
    pb_text(&pb, 2, STR("h\xe9")); /* Latin 1 is no UTF-8: a decoder would refuse the whole batch */
    ASSERT_BYTES(pb, "\x12\x02h?");
    pb = fresh(64);
    pb_text(&pb, 2, STR("\xed\xa0\x80")); /* a surrogate is none either */
    ASSERT_BYTES(pb, "\x12\x03???");
}

static void test_long_texts_are_cut_between_characters(void **state) {
    (void)state;
    char text[PB_TEXT_MAX + 8];
    memset(text, 'a', sizeof text);
    memcpy(text + PB_TEXT_MAX - 1, "\xc3\xa9", 2); /* over the border */
    Pb pb = fresh(sizeof memory);
    pb_text(&pb, 1, (Str){text, sizeof text});
    assert_int_equal(pb.n, 3 + PB_TEXT_MAX - 1);
    assert_int_equal(pb.p[pb.n - 1], 'a');
}

static void test_nested(void **state) {
    (void)state;
    Pb pb = fresh(64);
    size_t outer = pb_begin(&pb, 3);
    pb_uint(&pb, 1, 150);
    pb_end(&pb, outer);
    ASSERT_BYTES(pb, "\x1a\x83\x80\x80\x00\x08\x96\x01"); /* length 3 in a padded varint */
}

static void test_attributes(void **state) {
    (void)state;
    Pb pb = fresh(64);
    pb_attribute_text(&pb, 9, "k", STR("v"));
    ASSERT_BYTES(pb, "\x4a\x08\x0a\x01k\x12\x03\x0a\x01v");
    pb = fresh(64);
    pb_attribute_int(&pb, 9, "k", 300);
    ASSERT_BYTES(pb, "\x4a\x08\x0a\x01k\x12\x03\x18\xac\x02");
    pb = fresh(64);
    pb_attribute_int(&pb, 9, "k", -1); /* ten bytes, as protobuf has it */
    assert_int_equal(pb.n, 2 + 3 + 2 + 11);
    pb = fresh(64);
    pb_attribute_text(&pb, 9, "k", (Str){NULL, 0});
    assert_int_equal(pb.n, 0);
    pb_attribute_text(&pb, 9, "k", STR("")); /* empty is something */
    ASSERT_BYTES(pb, "\x4a\x07\x0a\x01k\x12\x02\x0a\x00");
}

/* Whatever the room, nothing is written past it, and the caller learns. */
static void test_no_room(void **state) {
    (void)state;
    for (size_t room = 0; room < 40; room++) {
        memset(memory, 0xAA, sizeof memory);
        Pb pb = fresh(room);
        size_t outer = pb_begin(&pb, 1);
        pb_attribute_text(&pb, 9, "key", STR("some value"));
        pb_fixed64(&pb, 7, 1);
        pb_end(&pb, outer);
        assert_int_equal(pb.full, room < 5 + 21 + 9);
        assert_true(pb.n <= room);
        for (size_t i = room; i < 64; i++)
            assert_int_equal(memory[i], 0xAA);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_long_texts_are_cut_between_characters),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
