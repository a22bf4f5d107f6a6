/*
 * test_cron.c - cron expressions and the moments they mean, across changes of the clocks.
 */
#include "../base/unit.h"
#include "jobs/cron.h"

static Ctx ctx;

static int set_up(void **state) {
    (void)state;
    Arena *arena = arena_new((size_t)64 * 1024 * 1024);
    ctx_init(&ctx, arena, 0);
    return arena == NULL;
}

static int tear_down(void **state) {
    (void)state;
    arena_free(ctx.arena);
    return 0;
}

static Instant at(const char *text) {
    Instant t = {0};
    assert_int_equal(instant_parse(str_c(text), &t), ERR_OK);
    return t;
}

/* --- expressions -------------------------------------------------------------------------------------------------- */

static const struct {
    const char *expression;
    Err want;
} EXPRESSIONS[] = {
    {"* * * * *", ERR_OK},
    {"*/15 0-6,22-23 1,15 jan-mar mon-fri", ERR_OK},
    {"@daily", ERR_OK},
    {"0 0 * * 7", ERR_OK},
    {"  5\t4  *  *  SUN ", ERR_OK},
    {"5/10 * * * *", ERR_OK},
    {"", ERR_INVALID},
    {"* * * *", ERR_INVALID},
    {"* * * * * *", ERR_INVALID},
    {"60 * * * *", ERR_INVALID},
    {"* 24 * * *", ERR_INVALID},
    {"* * 0 * *", ERR_INVALID},
    {"* * * 13 *", ERR_INVALID},
    {"* * * * 8", ERR_INVALID},
    {"*/0 * * * *", ERR_INVALID},
    {"5-1 * * * *", ERR_INVALID},
    {"1,,2 * * * *", ERR_INVALID},
    {"-1 * * * *", ERR_INVALID},
    {"1- * * * *", ERR_INVALID},
    {"* * * foo *", ERR_INVALID},
    {"@never", ERR_INVALID},
    {"99999999999999999999 * * * *", ERR_INVALID},
};

static void expressions_are_read_or_refused_with_words(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(EXPRESSIONS); i++) {
        Cron cron;
        CASE(EXPRESSIONS[i].expression);
        ctx.problem = (Problem){0};
        assert_int_equal(cron_parse(&ctx, EXPRESSIONS[i].expression, &cron), EXPRESSIONS[i].want);
        assert_true((EXPRESSIONS[i].want == ERR_OK) == (ctx.problem.message.p == NULL));
    }
}

/* --- moments ------------------------------------------------------------------------------------------------------ */

/* Where clocks change: Berlin 2026-03-29 02:00 → 03:00, 2026-10-25 03:00 → 02:00; New York 2026-03-08 02:00 → 03:00,
 * 2026-11-01 02:00 → 01:00; Lord Howe moves by half an hour, 2026-04-05 02:00 → 01:30 and 2026-10-04 02:00 → 02:30;
 * Samoa left out 2011-12-30; Santiago changes at midnight; Casablanca is ahead except in Ramadan. */
static const struct {
    const char *label, *expression, *zone, *after;
    const char *want[5];
} MOMENTS[] = {
    {"each minute", "* * * * *", "UTC", "2026-01-01T00:00:30Z", {"2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"}},
    {"strictly after", "0 12 * * *", "UTC", "2026-01-01T12:00:00Z", {"2026-01-02T12:00:00Z"}},
    {"a step", "*/20 * * * *", "UTC", "2026-01-01T00:40:00Z", {"2026-01-01T01:00:00Z", "2026-01-01T01:20:00Z"}},
    {"a leap day", "0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", {"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
    {"either day",
     "0 0 13 * fri",
     "UTC",
     "2026-02-01T00:00:00Z",
     {"2026-02-06T00:00:00Z", "2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z"}},
    {"a star that steps in days restricts with both",
     "0 0 */2 * mon",
     "UTC",
     "2026-02-01T00:00:00Z",
     {"2026-02-09T00:00:00Z"}},
    {"the end of the year", "59 23 31 12 *", "UTC", "2026-12-31T23:59:00Z", {"2027-12-31T23:59:00Z"}},
    {"Berlin in winter and summer",
     "30 8 * * *",
     "Europe/Berlin",
     "2026-03-28T12:00:00Z",
     {"2026-03-29T06:30:00Z", "2026-03-30T06:30:00Z"}},
    {"Berlin, a skipped time: at the end of the gap",
     "30 2 * * *",
     "Europe/Berlin",
     "2026-03-28T12:00:00Z",
     {"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
    {"Berlin, a time that comes twice: once, first",
     "30 2 * * *",
     "Europe/Berlin",
     "2026-10-24T12:00:00Z",
     {"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
    {"Berlin, a star in the hours: nothing in the gap",
     "30 * * * *",
     "Europe/Berlin",
     "2026-03-29T00:00:00Z",
     {"2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"}},
    {"Berlin, a star in the hours: both of the repeated",
     "30 * * * *",
     "Europe/Berlin",
     "2026-10-24T23:45:00Z",
     {"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"}},
    {"Berlin, a step within the repeated hour",
     "*/30 2 * * *",
     "Europe/Berlin",
     "2026-10-24T12:00:00Z",
     {"2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z",
      "2026-10-26T01:00:00Z"}},
    {"New York, skipped",
     "15 2 * * *",
     "America/New_York",
     "2026-03-07T12:00:00Z",
     {"2026-03-08T07:00:00Z", "2026-03-09T06:15:00Z"}},
    {"New York, twice",
     "30 1 * * *",
     "America/New_York",
     "2026-10-31T12:00:00Z",
     {"2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"}},
    {"Lord Howe, half an hour skipped",
     "15 2 * * *",
     "Australia/Lord_Howe",
     "2026-10-03T00:00:00Z",
     {"2026-10-03T15:30:00Z"}},
    {"Lord Howe, half an hour twice",
     "45 1 * * *",
     "Australia/Lord_Howe",
     "2026-04-04T00:00:00Z",
     {"2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"}},
    {"Samoa, a whole day left out", "0 12 30 12 *", "Pacific/Apia", "2011-12-28T00:00:00Z", {"2011-12-30T10:00:00Z"}},
    {"Santiago, midnight skipped",
     "0 0 * * *",
     "America/Santiago",
     "2026-09-05T12:00:00Z",
     {"2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"}},
    {"half an hour off", "0 9 * * *", "Asia/Kolkata", "2026-05-01T00:00:00Z", {"2026-05-01T03:30:00Z"}},
    {"after the file's last change: by its rule",
     "30 2 * * *",
     "Europe/Berlin",
     "2077-03-27T12:00:00Z",
     {"2077-03-28T01:00:00Z", "2077-03-29T00:30:00Z"}},
    {"the south, by its rule", "0 4 * * *", "Australia/Sydney", "2060-06-30T20:00:00Z", {"2060-07-01T18:00:00Z"}},
};

static void moments_are_those_of_the_clock_on_the_wall(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(MOMENTS); i++) {
        Cron cron;
        Zone *zone;
        CASE(MOMENTS[i].label);
        assert_int_equal(cron_parse(&ctx, MOMENTS[i].expression, &cron), ERR_OK);
        assert_int_equal(zone_open(&ctx, ctx.arena, MOMENTS[i].zone, &zone), ERR_OK);
        Instant moment = at(MOMENTS[i].after);
        for (size_t j = 0; j < ARRAY_LEN(MOMENTS[i].want) && MOMENTS[i].want[j] != NULL; j++) {
            char got[INSTANT_TEXT_MAX + 1] = {0};
            assert_int_equal(cron_next(&cron, zone, moment, &moment), ERR_OK);
            instant_format(moment, got);
            if (moment.ticks != at(MOMENTS[i].want[j]).ticks)
                fail_msg("%s: moment %zu is %s, not %s", MOMENTS[i].label, j, got, MOMENTS[i].want[j]);
        }
    }
}

static void what_never_comes_is_said(void **state) {
    (void)state;
    Cron cron;
    Zone *zone;
    Instant next;
    assert_int_equal(cron_parse(&ctx, "0 0 30 2 *", &cron), ERR_OK);
    assert_int_equal(zone_open(&ctx, ctx.arena, "UTC", &zone), ERR_OK);
    assert_int_equal(cron_next(&cron, zone, at("2026-01-01T00:00:00Z"), &next), ERR_NOT_FOUND);
}

/* The next moment is the first minute, walked one by one, at which the local clock fits; wherever clocks do not change
 * in odd ways. Compares two ways of thinking, in many zones, through two changes each. */
static void stepping_minute_by_minute_agrees(void **state) {
    (void)state;
    static const char *const zones[] = {"UTC",
                                        "Europe/Berlin",
                                        "America/New_York",
                                        "Australia/Lord_Howe",
                                        "Asia/Kathmandu",
                                        "America/St_Johns",
                                        "Africa/Casablanca",
                                        "America/Santiago"};
    static const char *const expressions[] = {"* * * * *", "*/7 * * * *", "13 * * * *", "*/30 1-3 * * *"};
    static const char *const starts[] = {"2026-03-28T20:00:00Z", "2026-10-24T20:00:00Z", "2026-11-01T00:00:00Z"};
    for (size_t z = 0; z < ARRAY_LEN(zones); z++)
        for (size_t e = 0; e < ARRAY_LEN(expressions); e++)
            for (size_t s = 0; s < ARRAY_LEN(starts); s++) {
                Cron cron;
                Zone *zone;
                CASE(zones[z]);
                assert_int_equal(cron_parse(&ctx, expressions[e], &cron), ERR_OK);
                assert_int_equal(zone_open(&ctx, ctx.arena, zones[z], &zone), ERR_OK);
                Instant moment = at(starts[s]);
                int64_t now = (moment.ticks - TICKS_UNIX_EPOCH) / TICKS_PER_SECOND;
                assert_int_equal(cron_next(&cron, zone, moment, &moment), ERR_OK);
                for (int minutes = 0; minutes < 36 * 60; minutes++) {
                    now += 60;
                    int64_t local = now + zone_offset(zone, now), of_day = (local % 86400 + 86400) % 86400;
                    bool fits = cron.minutes >> (of_day / 60 % 60) & 1 && cron.hours >> (of_day / 3600) & 1;
                    int64_t want = (moment.ticks - TICKS_UNIX_EPOCH) / TICKS_PER_SECOND;
                    if (fits != (now == want))
                        fail_msg("%s in %s from %s: %lld", expressions[e], zones[z], starts[s], (long long)now);
                    if (fits)
                        assert_int_equal(cron_next(&cron, zone, moment, &moment), ERR_OK);
                }
            }
}

/* --- catching up -------------------------------------------------------------------------------------------------- */

static const struct {
    const char *label, *expression, *after, *now, *due, *next;
} LATE[] = {
    {"nothing missed", "0 * * * *", "2026-01-01T10:00:00Z", "2026-01-01T10:30:00Z", NULL, "2026-01-01T11:00:00Z"},
    {"on the dot", "0 * * * *", "2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z", "2026-01-01T11:00:00Z",
     "2026-01-01T12:00:00Z"},
    {"three missed: the latest", "0 * * * *", "2026-01-01T10:00:00Z", "2026-01-01T13:59:00Z", "2026-01-01T13:00:00Z",
     "2026-01-01T14:00:00Z"},
    {"a year of minutes", "* * * * *", "2025-01-01T00:00:00Z", "2026-01-01T00:00:30Z", "2026-01-01T00:00:00Z",
     "2026-01-01T00:01:00Z"},
};

static void only_the_latest_missed_moment_is_made_up_for(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(LATE); i++) {
        Cron cron;
        Zone *zone;
        OptInstant due;
        Instant next;
        CASE(LATE[i].label);
        assert_int_equal(cron_parse(&ctx, LATE[i].expression, &cron), ERR_OK);
        assert_int_equal(zone_open(&ctx, ctx.arena, "UTC", &zone), ERR_OK);
        assert_int_equal(cron_latest(&cron, zone, at(LATE[i].after), at(LATE[i].now), &due, &next), ERR_OK);
        assert_int_equal(due.present, LATE[i].due != NULL);
        if (due.present)
            assert_int_equal(due.value.ticks, at(LATE[i].due).ticks);
        assert_int_equal(next.ticks, at(LATE[i].next).ticks);
    }
}

/* --- zones -------------------------------------------------------------------------------------------------------- */

static void strange_names_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {"",    "/etc/passwd", "../../etc/passwd", "Europe/../Berlin", "Europe Berlin",
                                        "a\nb"};
    Zone *zone;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        ctx.problem = (Problem){0};
        assert_int_equal(zone_open(&ctx, ctx.arena, names[i], &zone), ERR_INVALID);
    }
    ctx.problem = (Problem){0};
    assert_int_equal(zone_open(&ctx, ctx.arena, "Europe/Nowhere", &zone), ERR_NOT_FOUND);
    ctx.problem = (Problem){0};
    assert_int_equal(zone_open(&ctx, ctx.arena, "zone.tab", &zone), ERR_INVALID);
    assert_int_equal(zone_parse(ctx.arena, STR("TZif2"), &zone), ERR_SYNTAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(expressions_are_read_or_refused_with_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(moments_are_those_of_the_clock_on_the_wall, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_never_comes_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stepping_minute_by_minute_agrees, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_the_latest_missed_moment_is_made_up_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strange_names_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("jobs: cron", tests, NULL, NULL);
}
