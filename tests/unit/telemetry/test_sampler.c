/*
 * test_sampler.c - which traces are recorded: names, ratios, and whose word counts.
 */
#include "unit.h"

#include "telemetry/sampler.h"

static const struct {
    const char *label, *name, *arg;
    Err want;
    bool parent_based;
    uint64_t threshold;
} settings[] = {
    {"all", "always_on", "", ERR_OK, false, SAMPLER_ALL},
    {"none", "always_off", "", ERR_OK, false, 0},
    {"the caller's word, else all", "parentbased_always_on", "", ERR_OK, true, SAMPLER_ALL},
    {"the caller's word, else none", "parentbased_always_off", "", ERR_OK, true, 0},
    {"a quarter", "traceidratio", "0.25", ERR_OK, false, SAMPLER_ALL / 100 * 25},
    {"the caller's word, else a half", "parentbased_traceidratio", "0.5", ERR_OK, true, SAMPLER_ALL / 10 * 5},
    {"a ratio of one is all", "traceidratio", "1", ERR_OK, false, SAMPLER_ALL},
    {"1.0 too", "traceidratio", "1.0", ERR_OK, false, SAMPLER_ALL},
    {"a ratio of nothing is none", "traceidratio", "0", ERR_OK, false, 0},
    {"no ratio is all", "traceidratio", "", ERR_OK, false, SAMPLER_ALL},
    {"the argument of another is not read", "always_on", "nonsense", ERR_OK, false, SAMPLER_ALL},
    {"digits past the ninth are dropped", "traceidratio", "0.00000000012", ERR_OK, false, 0},
    {"over one", "traceidratio", "1.01", ERR_INVALID, false, 0},
    {"two", "traceidratio", "2", ERR_INVALID, false, 0},
    {"below nothing", "traceidratio", "-0.1", ERR_INVALID, false, 0},
    {"no number", "traceidratio", "half", ERR_INVALID, false, 0},
    {"a point alone", "traceidratio", ".", ERR_INVALID, false, 0},
    {"no digits behind it", "traceidratio", "0.", ERR_INVALID, false, 0},
    {"no such sampler", "jaeger_remote", "", ERR_INVALID, false, 0},
    {"a prefix alone", "parentbased_", "", ERR_INVALID, false, 0},
    {"nothing", "", "", ERR_INVALID, false, 0},
};

static void test_settings(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        Sampler sampler = {0};
        const char *why = NULL;
        print_message("%s\n", settings[i].label);
        assert_int_equal(sampler_parse(str_c(settings[i].name), str_c(settings[i].arg), &sampler, &why),
                         settings[i].want);
        if (settings[i].want != ERR_OK) {
            assert_non_null(why);
            continue;
        }
        assert_int_equal(sampler.parent_based, settings[i].parent_based);
        assert_true(sampler.threshold == settings[i].threshold);
    }
}

/* The trace id's low half decides: 0 is always below, all ones only when everything is. */
static Trace trace_with(uint8_t low, uint8_t flags) {
    Trace trace = {.flags = flags};
    memset(trace.trace_id, low, 16);
    return trace;
}

static const struct {
    const char *label, *name, *arg;
    uint8_t low, flags;
    bool continued, want;
} decisions[] = {
    {"a caller who samples is followed", "parentbased_always_off", "", 0xff, 1, true, true},
    {"a caller who does not is followed", "parentbased_always_on", "", 0x00, 0, true, false},
    {"a new trace has no caller", "parentbased_always_off", "", 0x00, 1, false, false},
    {"a new trace is sampled", "parentbased_always_on", "", 0xff, 0, false, true},
    {"without parentbased_ the caller is not asked", "always_on", "", 0xff, 0, true, true},
    {"nor when off", "always_off", "", 0x00, 1, true, false},
    {"a low id is in any share", "traceidratio", "0.01", 0x00, 0, false, true},
    {"a high id is in none but all", "traceidratio", "0.99", 0xff, 0, false, false},
    {"all is all", "traceidratio", "1", 0xff, 0, false, true},
    {"the top bit does not count", "traceidratio", "0.01", 0x80, 0, false, true},
};

static void test_decisions(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(decisions); i++) {
        Sampler sampler;
        const char *why;
        print_message("%s\n", decisions[i].label);
        assert_int_equal(sampler_parse(str_c(decisions[i].name), str_c(decisions[i].arg), &sampler, &why), ERR_OK);
        Trace trace = trace_with(decisions[i].low, decisions[i].flags);
        assert_int_equal(sampler_decides(&sampler, &trace, decisions[i].continued), decisions[i].want);
    }
}

static void test_share(void **state) {
    (void)state;
    Sampler sampler;
    const char *why;
    assert_int_equal(sampler_parse(STR("traceidratio"), STR("0.1"), &sampler, &why), ERR_OK);
    random_seed(7);
    int taken = 0;
    for (int i = 0; i < 10000; i++) {
        Trace trace;
        trace_new(&trace);
        taken += sampler_decides(&sampler, &trace, false);
    }
    assert_in_range(taken, 900, 1100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_decisions),
        cmocka_unit_test(test_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
