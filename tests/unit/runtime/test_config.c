/* Settings: parsing, checking, all mistakes at once, showing without secrets. */
#include "runtime_test.h"

#include "runtime/config.h"

typedef struct Demo {
    Str text, url;
    int64_t number, duration_ms, bytes;
    bool flag;
    Str secret;
} Demo;

static Err check_even(Ctx *ctx, Str value) {
    if (value.n % 2 == 0)
        return ERR_OK;
    Err err = ctx_problem(ctx, ERR_INVALID, NULL, "\"%.*s\" has an odd length", STR_ARG(value));
    ctx->problem.hint = STR("add a letter");
    return err;
}

static const Setting table[] = {
    {.env = "TEXT", .kind = SETTING_TEXT, .offset = offsetof(Demo, text), .fallback = "abcd", .check = check_even},
    {.env = "URL", .kind = SETTING_URL, .offset = offsetof(Demo, url)},
    {.env = "NUMBER", .kind = SETTING_INT, .offset = offsetof(Demo, number), .fallback = "8", .min = 1, .max = 64},
    {.env = "WAIT",
     .kind = SETTING_DURATION_MS,
     .offset = offsetof(Demo, duration_ms),
     .fallback = "1500ms",
     .min = 100,
     .max = 60000},
    {.env = "SIZE", .kind = SETTING_BYTES, .offset = offsetof(Demo, bytes), .fallback = "64kB"},
    {.env = "FLAG", .kind = SETTING_BOOL, .offset = offsetof(Demo, flag), .fallback = "false"},
    {.env = "SECRET", .kind = SETTING_TEXT, .offset = offsetof(Demo, secret), .secret = true, .check = check_even},
    {.env = NULL},
};

/* The environment of a case: pairs of name and value. */
static const char *const *environment;

static const char *lookup(const char *name) {
    for (const char *const *pair = environment; pair != NULL && pair[0] != NULL; pair += 2)
        if (strcmp(pair[0], name) == 0)
            return pair[1];
    return NULL;
}

static Err load(Demo *demo, Arena *arena, Buf *mistakes, const char *const *pairs) {
    environment = pairs;
    memset(demo, 0xff, sizeof *demo); /* nothing may be left as it was */
    return config_load(table, demo, arena, lookup, mistakes);
}

static void defaults_stand_where_nothing_is_given(void **state) {
    (void)state;
    Arena *arena CLEANUP(arena_freep) = arena_new(65536);
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 65536);
    Demo demo;
    assert_ok(load(&demo, arena, &mistakes, (const char *const[]){"URL", "", NULL}));
    assert_int_equal(mistakes.n, 0);
    assert_true(str_eq_c(demo.text, "abcd"));
    assert_null(demo.url.p);
    assert_int_equal(demo.number, 8);
    assert_int_equal(demo.duration_ms, 1500);
    assert_int_equal(demo.bytes, 65536);
    assert_false(demo.flag);
    assert_null(demo.secret.p);
}

static void values_are_taken_and_copied(void **state) {
    (void)state;
    Arena *arena CLEANUP(arena_freep) = arena_new(65536);
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 65536);
    Demo demo;
    char text[] = "wxyz";
    assert_ok(load(&demo, arena, &mistakes,
                   (const char *const[]){"TEXT", text, "URL", "postgresql:///db?host=/run", "NUMBER", "64", "WAIT",
                                         "1m", "SIZE", "2MB", "FLAG", "Yes", NULL}));
    text[0] = '!';
    assert_true(str_eq_c(demo.text, "wxyz"));
    assert_true(str_eq_c(demo.url, "postgresql:///db?host=/run"));
    assert_int_equal(demo.number, 64);
    assert_int_equal(demo.duration_ms, 60000);
    assert_int_equal(demo.bytes, 2 << 20);
    assert_true(demo.flag);
}

static void each_mistake_says_how_to_mend_it(void **state) {
    (void)state;
    static const struct {
        const char *env, *value, *words;
    } cases[] = {
        {"NUMBER", "eight", "NUMBER: \"eight\" is not a whole number; give digits, such as 8\n"},
        {"NUMBER", "8.5", "NUMBER: \"8.5\" is not a whole number; give digits, such as 8\n"},
        {"NUMBER", "99999999999999999999",
         "NUMBER: \"99999999999999999999\" is not a whole number; give digits, such as 8\n"},
        {"NUMBER", "0", "NUMBER: \"0\" is out of range; give a value from 1 to 64\n"},
        {"NUMBER", "-5", "NUMBER: \"-5\" is out of range; give a value from 1 to 64\n"},
        {"WAIT", "30", "WAIT: \"30\" is not a duration; give a number and ms, s, m, h or d, such as 30s\n"},
        {"WAIT", "2m", "WAIT: \"2m\" is out of range; give a value from 100ms to 1m\n"},
        {"SIZE", "4 MB", "SIZE: \"4 MB\" is not a size; give a number and B, kB, MB or GB, such as 4MB\n"},
        {"FLAG", "maybe", "FLAG: \"maybe\" is neither true nor false; give one of the two\n"},
        {"URL", "host:5432",
         "URL: its value is not a URL; give scheme://…, white space and control characters percent-encoded\n"},
        {"URL", "a b://x",
         "URL: its value is not a URL; give scheme://…, white space and control characters percent-encoded\n"},
        {"TEXT", "odd", "TEXT: \"odd\" has an odd length; add a letter\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Arena *arena CLEANUP(arena_freep) = arena_new(65536);
        Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 65536);
        Demo demo;
        assert_err(load(&demo, arena, &mistakes, (const char *const[]){cases[i].env, cases[i].value, NULL}),
                   ERR_INVALID);
        buf_add_char(&mistakes, '\0');
        assert_string_equal(mistakes.p, cases[i].words);
    }
}

static void all_mistakes_are_told_at_once(void **state) {
    (void)state;
    Arena *arena CLEANUP(arena_freep) = arena_new(65536);
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 65536);
    Demo demo;
    assert_err(load(&demo, arena, &mistakes, (const char *const[]){"NUMBER", "x", "WAIT", "x", "FLAG", "x", NULL}),
               ERR_INVALID);
    int lines = 0;
    for (size_t i = 0; i < mistakes.n; i++)
        lines += mistakes.p[i] == '\n';
    assert_int_equal(lines, 3);
}

static void units(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t duration_ms, bytes; /* -1: refused */
    } cases[] = {
        {"250ms", 250, -1},   {"2s", 2000, -1},      {"5m", 300000, -1},
        {"1h", 3600000, -1},  {"1d", 86400000, -1},  {"0", 0, 0},
        {"0s", 0, -1},        {"16kB", -1, 16384},   {"16KiB", -1, 16384},
        {"4MB", -1, 4 << 20}, {"1GB", -1, 1 << 30},  {"1TB", -1, 1LL << 40},
        {"7B", -1, 7},        {"7", -1, -1},         {"", -1, -1},
        {"s", -1, -1},        {"-1s", -1, -1},       {"1 s", -1, -1},
        {"1S", -1, -1},       {"1.5s", -1, -1},      {"9223372036854775807s", -1, -1},
        {"1sx", -1, -1},      {"8388608TB", -1, -1}, {"9223372036854775807ms", INT64_MAX, -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t got = -1;
        assert_err(config_parse_duration(str_c(cases[i].text), &got), cases[i].duration_ms < 0 ? ERR_SYNTAX : ERR_OK);
        assert_int_equal(got, cases[i].duration_ms);
        got = -1;
        assert_err(config_parse_bytes(str_c(cases[i].text), &got), cases[i].bytes < 0 ? ERR_SYNTAX : ERR_OK);
        assert_int_equal(got, cases[i].bytes);
    }
}

static void what_is_shown_holds_no_password(void **state) {
    (void)state;
    static const struct {
        const char *env, *value, *shown;
    } cases[] = {
        {"URL", "postgresql://user:pass@host/db", "postgresql://user:***@host/db"},
        {"URL", "postgresql://user@host/db", "postgresql://user@host/db"},
        {"URL", "postgresql://host:5432/db", "postgresql://host:5432/db"},
        {"URL", "postgresql:///db?host=/run/x", "postgresql:///db?host=/run/x"},
        {"URL", "postgresql://h1:1,h2:2/db", "postgresql://h1:1,h2:2/db"},
        {"URL", "postgresql://u:p@h1:1,h2:2/db", "postgresql://u:***@h1:1,h2:2/db"},
        {"URL", "postgresql://u:p@ss@host/db", "postgresql://u:***@host/db"},
        {"URL", "postgresql://u:p/ss@host/db", "postgresql://u:***@host/db"},
        {"URL", "postgresql://u:p?ss@host/db", "postgresql://u:***@host/db"},
        {"URL", "postgresql://h/db?user=u&password=pass&x=1", "postgresql://h/db?user=u&password=***&x=1"},
        {"URL", "postgresql://u:p@h/db?Password=pass", "postgresql://u:***@h/db?Password=***"},
        {"URL", "postgresql://h/db?pass%77ord=pass&a=b", "postgresql://h/db?pass%77ord=***&a=b"},
        {"SECRET", "abcd", "***"},
        {"SECRET", "", ""},
        {"TEXT", "abcd", "abcd"},
        {"NUMBER", "12", "12"},
        {"WAIT", "2000ms", "2s"},
        {"WAIT", "2001ms", "2001ms"},
        {"SIZE", "2048kB", "2MB"},
        {"SIZE", "0", "0B"},
        {"FLAG", "on", "true"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Arena *arena CLEANUP(arena_freep) = arena_new(65536);
        Buf out CLEANUP(buf_done) = buf_new(NULL, 65536);
        Demo demo;
        assert_ok(load(&demo, arena, &out, (const char *const[]){cases[i].env, cases[i].value, NULL}));
        const Setting *row = table;
        while (strcmp(row->env, cases[i].env) != 0)
            row++;
        config_show(row, &demo, &out);
        buf_add_char(&out, '\0');
        assert_string_equal(out.p, cases[i].shown);
    }
}

static void a_mistake_in_a_secret_does_not_repeat_it(void **state) {
    (void)state;
    Arena *arena CLEANUP(arena_freep) = arena_new(65536);
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 65536);
    Demo demo;
    assert_err(load(&demo, arena, &mistakes, (const char *const[]){"URL", "u:hunter2@host", NULL}), ERR_INVALID);
    assert_int_equal(str_find(buf_str(&mistakes), STR("hunter2")), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_stand_where_nothing_is_given),
        cmocka_unit_test(values_are_taken_and_copied),
        cmocka_unit_test(each_mistake_says_how_to_mend_it),
        cmocka_unit_test(all_mistakes_are_told_at_once),
        cmocka_unit_test(units),
        cmocka_unit_test(what_is_shown_holds_no_password),
        cmocka_unit_test(a_mistake_in_a_secret_does_not_repeat_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
