/*
 * test_uuid.c - identifiers in the spellings of JSON (D) and of paths (Guid.Parse), and the two generators.
 */
#include "base/clock.h"
#include "base/uuid.h"

#include "unit.h"

#define A "d85b1407-351d-4694-9392-03acc5870eb1"

/* want: the D form, or NULL where it is refused. */
static const struct {
    const char *text;
    const char *want_d, *want_any;
} forms[] = {
    {A, A, A},
    {"D85B1407-351D-4694-9392-03ACC5870EB1", A, A},
    {"d85b1407351d4694939203acc5870eb1", NULL, A},
    {"{" A "}", NULL, A},
    {"(" A ")", NULL, A},
    {" \t" A "\r\n", NULL, A},
    {"\xc2\xa0\xe2\x80\x83" A "\xe3\x80\x80", NULL, A},
    {"{0xd85b1407,0x351d,0x4694,{0x93,0x92,0x03,0xac,0xc5,0x87,0x0e,0xb1}}", NULL, A},
    {" {0XD85B1407, 0x351d ,0x4694, {0x93,0x92,0x3,0xac,0xc5,0x87,0xe,0xb1} } ", NULL, A},
    {"{0x0000000d85b1407,0x351d,0x4694,{0x93,0x92,0x03,0xac,0xc5,0x87,0x0e,0xb1}}", NULL, A},
    /* D's compatibility spellings: a sign or 0x within the group's width */
    {"+85b1407-351d-4694-9392-03acc5870eb1", NULL, "085b1407-351d-4694-9392-03acc5870eb1"},
    {"d85b1407-0x1d-4694-9392-03acc5870eb1", NULL, "d85b1407-001d-4694-9392-03acc5870eb1"},
    {"d85b1407-+0x1-4694-9392-03acc5870eb1", NULL, "d85b1407-0001-4694-9392-03acc5870eb1"},
    {"d85b1407-351d-4694-9392-03ac+5870eb1", NULL, NULL},
    {"", NULL, NULL},
    {" ", NULL, NULL},
    {"d85b1407-351d-4694-9392-03acc5870eb", NULL, NULL},
    {"d85b1407-351d-4694-9392-03acc5870eb12", NULL, NULL},
    {"d85b1407-351d-4694-939203-acc5870eb1", NULL, NULL},
    {"g85b1407-351d-4694-9392-03acc5870eb1", NULL, NULL},
    {"d85b1407351d4694939203acc5870eb", NULL, NULL},
    {"{" A ")", NULL, NULL},
    {"(" A "}", NULL, NULL},
    {"{" A, NULL, NULL},
    {"{d85b1407351d4694939203acc5870eb1}", NULL, NULL},
    {"{", NULL, NULL},
    {"{0x", NULL, NULL},
    {"{0xd85b1407,0x351d,0x4694,{0x93,0x92,0x03,0xac,0xc5,0x87,0x0e,0xb1}", NULL, NULL},
    {"{0xd85b1407,0x351d,0x4694,{0x93,0x92,0x03,0xac,0xc5,0x87,0x0e,0xb1}}x", NULL, NULL},
    {"{0xd85b1407,0x351d,0x4694,{0x193,0x92,0x03,0xac,0xc5,0x87,0x0e,0xb1}}", NULL, NULL},
    {"{0x1d85b1407,0x351d,0x4694,{0x93,0x92,0x03,0xac,0xc5,0x87,0x0e,0xb1}}", NULL, NULL},
    {"{0xd85b1407,351d,0x4694,{0x93,0x92,0x03,0xac,0xc5,0x87,0x0e,0xb1}}", NULL, NULL},
    {"d85b1407-351d-4694-9392-03acc5870eb\xc3", NULL, NULL},
    {"not-an-id", NULL, NULL},
};

static void check(const char *text, IdForms mode, const char *want) {
    Id id = {{7}};
    Err err = id_parse(str_c(text), mode, &id);
    assert_int_equal(err, want == NULL ? ERR_SYNTAX : ERR_OK);
    char shown[ID_TEXT_LEN + 1] = {0};
    id_format(&id, shown);
    assert_string_equal(shown, want == NULL ? "07000000-0000-0000-0000-000000000000" : want);
}

static void spellings(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        CASE(forms[i].text);
        check(forms[i].text, ID_FORM_D, forms[i].want_d);
        check(forms[i].text, ID_FORM_ANY, forms[i].want_any);
    }
}

static void every_byte_is_hostile(void **state) {
    (void)state;
    char text[sizeof A];
    for (size_t at = 0; at < ID_TEXT_LEN; at++)
        for (int c = 0; c < 256; c++) {
            memcpy(text, A, sizeof A);
            text[at] = (char)c;
            Id id;
            bool dash = A[at] == '-';
            bool fits = dash ? c == '-' : (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
            assert_int_equal(id_parse((Str){text, ID_TEXT_LEN}, ID_FORM_D, &id) == ERR_OK, fits);
        }
}

static void random_ids(void **state) {
    (void)state;
    Id seen[64];
    for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
        seen[i] = id_random();
        assert_int_equal(seen[i].bytes[6] >> 4, 4);
        assert_int_equal(seen[i].bytes[8] >> 6, 2);
        for (size_t j = 0; j < i; j++)
            assert_true(!id_eq(seen[i], seen[j]));
    }
    assert_true(id_is_zero((Id){0}) && !id_is_zero(seen[0]));
}

static void time_ordered_ids(void **state) {
    (void)state;
    Instant t;
    assert_int_equal(instant_parse(STR("2026-11-23T04:09:18.6960Z"), &t), ERR_OK);
    clock_freeze(t);
    Id last = id_time_ordered();
    uint64_t ms = (uint64_t)(instant_to_unix_us(t) / 1000), head = 0;
    for (int i = 0; i < 6; i++)
        head = head << 8 | last.bytes[i];
    assert_int_equal(head, ms);
    for (int i = 0; i < 10000; i++) { /* the clock stands still; past 4096 the count runs into the milliseconds */
        Id next = id_time_ordered();
        assert_true(id_compare(last, next) < 0);
        assert_int_equal(next.bytes[6] >> 4, 7);
        assert_int_equal(next.bytes[8] >> 6, 2);
        last = next;
    }
    t.ticks -= TICKS_PER_SECOND; /* a small step back keeps the order */
    clock_freeze(t);
    assert_true(id_compare(last, id_time_ordered()) < 0);
    t.ticks -= 3600 * TICKS_PER_SECOND; /* a large one is a new time */
    clock_freeze(t);
    assert_true(id_compare(last, id_time_ordered()) > 0);
    clock_thaw();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spellings),
        cmocka_unit_test(every_byte_is_hostile),
        cmocka_unit_test(random_ids),
        cmocka_unit_test(time_ordered_ids),
    };
    return cmocka_run_group_tests_name("uuid", tests, NULL, NULL);
}
