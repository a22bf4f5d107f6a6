/*
 * test_instant.c - dates as the recordings have them (contracts/http/03-events-dates.json), and the ends of the
 * calendar.
 */
#include "base/instant.h"

#include "unit.h"

static const char *shown(Instant t) {
    static char text[INSTANT_TEXT_MAX + 1];
    size_t n = instant_format(t, text);
    assert_true(n <= INSTANT_TEXT_MAX);
    text[n] = '\0';
    return text;
}

/* kept: offset and all digits; micros: what the recorded edition shows. */
static const struct {
    const char *sent, *kept, *micros;
} accepted[] = {
    {"2095-03-01T10:00:00Z", "2095-03-01T10:00:00+00:00", "2095-03-01T10:00:00+00:00"},
    {"2095-03-02T10:00:00+02:00", "2095-03-02T10:00:00+02:00", "2095-03-02T08:00:00+00:00"},
    {"2095-03-03T10:00:00-05:30", "2095-03-03T10:00:00-05:30", "2095-03-03T15:30:00+00:00"},
    {"2095-03-04T10:00:00", "2095-03-04T10:00:00+00:00", "2095-03-04T10:00:00+00:00"},
    {"2095-03-05", "2095-03-05T00:00:00+00:00", "2095-03-05T00:00:00+00:00"},
    {"2095-03-07T10:00:00.1234567Z", "2095-03-07T10:00:00.1234567+00:00", "2095-03-07T10:00:00.123456+00:00"},
    {"2095-03-07T12:00:00.7654321Z", "2095-03-07T12:00:00.7654321+00:00", "2095-03-07T12:00:00.765432+00:00"},
    {"2095-03-08T10:00:00.1Z", "2095-03-08T10:00:00.1+00:00", "2095-03-08T10:00:00.1+00:00"},
    {"2095-03-08T12:00:00.12Z", "2095-03-08T12:00:00.12+00:00", "2095-03-08T12:00:00.12+00:00"},
    {"2095-03-09T12:00:00.999999Z", "2095-03-09T12:00:00.999999+00:00", "2095-03-09T12:00:00.999999+00:00"},
    {"2095-03-10T10:00:00.9999999Z", "2095-03-10T10:00:00.9999999+00:00", "2095-03-10T10:00:00.999999+00:00"},
    {"2095-03-10T12:00:00.9999995Z", "2095-03-10T12:00:00.9999995+00:00", "2095-03-10T12:00:00.999999+00:00"},
    {"2095-03-11T10:00Z", "2095-03-11T10:00:00+00:00", "2095-03-11T10:00:00+00:00"},
    {"2095-03-12T10:00", "2095-03-12T10:00:00+00:00", "2095-03-12T10:00:00+00:00"},
    {"2095-03-16T10:00:00+14:00", "2095-03-16T10:00:00+14:00", "2095-03-15T20:00:00+00:00"},
    {"2096-02-29T10:00:00Z", "2096-02-29T10:00:00+00:00", "2096-02-29T10:00:00+00:00"},
    {"2095-03-23T10:00:00+02", "2095-03-23T10:00:00+02:00", "2095-03-23T08:00:00+00:00"},
    {"2095-03-29T10:00:00.12345678Z", "2095-03-29T10:00:00.1234567+00:00", "2095-03-29T10:00:00.123456+00:00"},
    {"2095-03-31T10:00:00.Z", "2095-03-31T10:00:00+00:00", "2095-03-31T10:00:00+00:00"},
    {"9999-12-31T22:00:00Z", "9999-12-31T22:00:00+00:00", "9999-12-31T22:00:00+00:00"},
    {"9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.9999999+00:00", "9999-12-31T23:59:59.9999999+00:00"},
    {"2095-04-01T10:00:00-00:00", "2095-04-01T10:00:00+00:00", "2095-04-01T10:00:00+00:00"},
    {"0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00+00:00"},
    /* not recorded, the same grammar */
    {"2095-03-11T10:00-05", "2095-03-11T10:00:00-05:00", "2095-03-11T15:00:00+00:00"},
    {"2095-03-11T10:00:00.1234567890123456+01:00", "2095-03-11T10:00:00.1234567+01:00",
     "2095-03-11T09:00:00.123456+00:00"},
    {"2000-02-29", "2000-02-29T00:00:00+00:00", "2000-02-29T00:00:00+00:00"},
    {"2000-01-01T00:00:00-14:00", "2000-01-01T00:00:00-14:00", "2000-01-01T14:00:00+00:00"},
    {"0001-01-01T14:00:00+14:00", "0001-01-01T14:00:00+14:00", "0001-01-01T00:00:00+00:00"},
};

static void forms_that_are_read(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(accepted); i++) {
        CASE(accepted[i].sent);
        Instant t, again;
        assert_int_equal(instant_parse(str_c(accepted[i].sent), &t), ERR_OK);
        assert_string_equal(shown(t), accepted[i].kept);
        assert_string_equal(shown(instant_utc_micros(t)), accepted[i].micros);
        assert_int_equal(instant_parse(str_c(accepted[i].kept), &again), ERR_OK);
        assert_true(again.ticks == t.ticks && again.offset_minutes == t.offset_minutes);
    }
}

static const char *const refused[] = {
    "2095-03-13 10:00:00Z",
    "2095-03-14T10:00:00z",
    "2095-03-15t10:00:00Z",
    "2095-03-17T10:00:00+14:01",
    "2095-03-18T24:00:00Z",
    "2095-03-20T23:59:60Z",
    "2095-02-29T10:00:00Z",
    "2095-13-01T10:00:00Z",
    "2095-03-22T10:00:00+0200",
    "2095-03-24T10:00:00 Z",
    "22/03/2095 10:00",
    "",
    "tomorrow",
    "nope",
    "bad",
    "2095-03-27T10",
    "2095-3-28T10:00:00Z",
    "2095-03-30T10:00:00,5Z",
    "0000-01-01T00:00:00Z",
    " 2095-04-08T10:00:00Z",
    "2095-04-09T10:00:00Z ",
    "+002095-04-10T10:00:00Z",
    "2095-099T10:00:00Z",
    "20950411T100000Z",
    /* not recorded */
    "2095-03-05Z",
    "2095-03-05T",
    "2095-03-31T10:00:00.",
    "2095-03-31T10:60:00Z",
    "2095-00-01",
    "2095-01-00",
    "2095-04-31",
    "1900-02-29",
    "2095-03-05T10:00:00+15:00",
    "2095-03-05T10:00:00+02:60",
    "2095-03-05T10:00:00+2",
    "2095-03-05T10:00:00+02:",
    "2095-03-05T10:00:00+02:0",
    "2095-03-05T10:00:00Z0",
    "2095-03-05T10:00:00ZZ",
    "2095-03-11T10:00:00.12345678901234567Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    "2095-03-05T1\xd9\xa1:00:00Z",
    "２０９５-03-05",
};

static void forms_that_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        CASE(refused[i]);
        Instant t = {7, 7};
        assert_int_equal(instant_parse(str_c(refused[i]), &t), ERR_SYNTAX);
        assert_true(t.ticks == 7 && t.offset_minutes == 7);
    }
}

/* The calendar against a second, slower one that only counts: every day of the years 1 to 9999. */
static void every_day(void **state) {
    (void)state;
    int64_t day = 0;
    for (int year = 1; year <= 9999; year++)
        for (int month = 1; month <= 12; month++) {
            bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            int length = month == 2 ? 28 + leap : month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
            for (int d = 1; d <= length; d++, day++) {
                Instant t = {day * 24 * 3600 * TICKS_PER_SECOND, 0}, again;
                char want[64];
                (void)snprintf(want, sizeof want, "%04d-%02d-%02dT00:00:00+00:00", year, month, d);
                if (d == 1 || d == length || year % 97 == 0)
                    assert_string_equal(shown(t), want);
                if (d == length) {
                    assert_int_equal(instant_parse(str_c(want), &again), ERR_OK);
                    assert_int_equal(again.ticks, t.ticks);
                }
            }
        }
    assert_int_equal(day * 24 * 3600 * TICKS_PER_SECOND, TICKS_MAX + 1);
}

static void other_epochs(void **state) {
    (void)state;
    assert_string_equal(shown(instant_from_unix_us(0)), "1970-01-01T00:00:00+00:00");
    assert_string_equal(shown(instant_from_unix_us(-1)), "1969-12-31T23:59:59.999999+00:00");
    assert_string_equal(shown(instant_from_pg_us(0, 0, 60)), "2000-01-01T01:00:00+01:00");
    int ticks;
    Instant before = {TICKS_PG_EPOCH - 1, 0}; /* toward the past: microsecond -1 and nine ticks */
    assert_int_equal(instant_to_pg_us(before, &ticks), -1);
    assert_int_equal(ticks, 9);
    assert_int_equal(instant_from_pg_us(-1, 9, 0).ticks, before.ticks);
    assert_int_equal(instant_to_unix_us((Instant){TICKS_UNIX_EPOCH - 1, 0}), -1);
    /* infinity and -infinity */
    assert_int_equal(instant_from_pg_us(INT64_MAX, 0, 0).ticks, TICKS_MAX);
    assert_int_equal(instant_from_pg_us(INT64_MIN, 0, 0).ticks, 0);
    assert_int_equal(instant_from_unix_us(INT64_MAX).ticks, TICKS_MAX);
    for (int64_t t = 0; t < TICKS_MAX - TICKS_PER_SECOND; t += TICKS_MAX / 9973) {
        int64_t us = instant_to_pg_us((Instant){t, 0}, &ticks);
        assert_int_equal(instant_from_pg_us(us, ticks, 0).ticks, t);
    }
}

static void compared_by_the_point_in_time(void **state) {
    (void)state;
    Instant here, there;
    assert_int_equal(instant_parse(STR("2095-03-02T10:00:00+02:00"), &here), ERR_OK);
    assert_int_equal(instant_parse(STR("2095-03-02T08:00:00Z"), &there), ERR_OK);
    assert_int_equal(instant_compare(here, there), 0);
    there.ticks++;
    assert_int_equal(instant_compare(here, there), -1);
    /* An offset that would leave the calendar is not shown. */
    assert_string_equal(shown((Instant){0, -60}), "0001-01-01T00:00:00+00:00");
    Buf buf = buf_new(NULL, 25);
    buf_add_instant(&buf, here);
    assert_true(str_eq_c(buf_str(&buf), "2095-03-02T10:00:00+02:00"));
    buf_done(&buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_that_are_read),
        cmocka_unit_test(forms_that_are_refused),
        cmocka_unit_test(every_day),
        cmocka_unit_test(other_epochs),
        cmocka_unit_test(compared_by_the_point_in_time),
    };
    return cmocka_run_group_tests_name("instant", tests, NULL, NULL);
}
