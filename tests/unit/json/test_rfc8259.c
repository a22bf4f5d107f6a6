/*
 * test_rfc8259.c - lib/json held to rfc8259.txt, case by case, and to what follows from each case.
 *
 * A document that is taken is written and read again without a difference, and none of its beginnings is a document.
 * One that is refused is refused at a place within it. The tokens and the tree agree but for what only the tree looks
 * into.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "json/json.h"

#define CASES     "tests/unit/json/rfc8259.txt"
#define CASES_MIN 180
#define INPUT_MAX ((size_t)1 << 21)

typedef struct Case {
    char verdict; /* y, n or i */
    bool taken;   /* by us */
    Str name, input;
} Case;

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void unfold(Str text, Buf *out);

/* <HH> or <N*text>, behind its '<'. Returns what stands behind the matching '>'. */
static Str unfold_one(Str text, Buf *out) {
    if (text.n >= 3 && text.p[2] == '>' && hex_digit(text.p[0]) >= 0) {
        buf_add_char(out, (char)(hex_digit(text.p[0]) << 4 | hex_digit(text.p[1])));
        return str_slice(text, 3, text.n);
    }
    uint64_t times;
    Str number = str_cut(&text, '*');
    assert_int_equal(str_to_u64(number, 1000000, &times), ERR_OK);
    size_t end = 0;
    for (int open = 0; open > 0 || text.p[end] != '>'; end++) {
        assert_true(end + 1 < text.n);
        open += text.p[end] == '<' ? 1 : text.p[end] == '>' ? -1 : 0;
    }
    while (times-- > 0)
        unfold(str_slice(text, 0, end), out);
    return str_slice(text, end + 1, text.n);
}

static void unfold(Str text, Buf *out) {
    while (text.n > 0) {
        char c = text.p[0];
        text = str_slice(text, 1, text.n);
        if (c == '<')
            text = unfold_one(text, out);
        else
            buf_add_char(out, c);
    }
}

static Str read_file(Arena *arena) {
    FILE *file = fopen(CASES, "r");
    if (file == NULL)
        fail_msg("%s: run in the root of the tree", CASES);
    Buf text = buf_new(arena, INPUT_MAX);
    char piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;)
        buf_add_bytes(&text, piece, n);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(text.err, ERR_OK);
    return buf_str(&text);
}

/* "verdict | name | input [| reason]"; false: no case. */
static bool read_case(Arena *arena, Str line, Case *ret) {
    static const char bar[] = " | ";
    ptrdiff_t first = str_find(line, str_c(bar));
    if (line.n == 0 || line.p[0] == '#')
        return false;
    assert_true(first > 0);
    Str rest = str_slice(line, (size_t)first + 3, line.n);
    ptrdiff_t second = str_find(rest, str_c(bar));
    assert_true(second > 0);
    ret->verdict = line.p[0];
    ret->taken = ret->verdict == 'y' || (ret->verdict == 'i' && line.p[1] == '+');
    ret->name = str_slice(rest, 0, (size_t)second);
    rest = str_slice(rest, (size_t)second + 3, rest.n);
    ptrdiff_t third = str_find(rest, str_c(bar));
    assert_true((third > 0) == (ret->verdict == 'i')); /* who differs says why */
    Buf input = buf_new(arena, INPUT_MAX);
    unfold(str_trim(third < 0 ? rest : str_slice(rest, 0, (size_t)third), " "), &input);
    assert_int_equal(input.err, ERR_OK);
    ret->input = buf_str(&input);
    return true;
}

/* --- one case ----------------------------------------------------------------------------------------------------- */

static void check_taken(const Case *c, Arena *arena, const Json *first) {
    Json *second = NULL;
    Buf out = buf_new(arena, 2 * INPUT_MAX), diff = buf_new(arena, 1 << 16);
    JsonWriter w;
    JsonDiffOptions exact = {.object_order = true};
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 0);
    json_write_value(&w, first);
    assert_int_equal(out.err, ERR_OK);
    if (json_parse(buf_str(&out), arena, JSON_DUPLICATES_KEEP, &second, NULL) != ERR_OK ||
        json_diff(first, second, &exact, 1, &diff) != 0)
        fail_msg("%.*s: is not what was written of it", STR_ARG(c->name));
}

/* Behind the last token there may be white space; what ends before that token ends too early. Numbers alone may. */
static void check_beginnings(const Case *c) {
    Str input = str_trim(c->input, " \t\r\n");
    if (input.n > 300 || memchr("[{\"", input.p[0], 3) == NULL)
        return;
    for (size_t n = 0; n < input.n; n++) {
        Arena *arena = arena_new(1 << 20);
        Json *root = NULL;
        if (json_parse(str_slice(input, 0, n), arena, JSON_DUPLICATES_KEEP, &root, NULL) == ERR_OK)
            fail_msg("%.*s: taken when cut to %zu bytes", STR_ARG(c->name), n);
        arena_free(arena);
    }
}

static void check_problem(const Case *c, const JsonProblem *problem) {
    if (problem->error == JSON_OK || problem->message.n == 0 || problem->position.line < 0 ||
        problem->position.column < 0 || (size_t)problem->position.column > c->input.n)
        fail_msg("%.*s: refused at line %d, column %d, outside of it", STR_ARG(c->name), (int)problem->position.line,
                 (int)problem->position.column);
}

static void check_tokens(const Case *c, bool taken, JsonError error) {
    JsonReader r;
    json_reader_init(&r, c->input, JSON_DEPTH_MAX);
    Err err = json_next(&r);
    while (err == ERR_OK && r.token != JSON_END)
        err = json_next(&r);
    /* Tokens are not looked into for UTF-8 and halves of pairs. */
    if ((err == ERR_OK) != (taken || error == JSON_ERR_STRING_ENCODING))
        fail_msg("%.*s: tokens and tree disagree", STR_ARG(c->name));
}

static void check(const Case *c) {
    Arena *arena = arena_new((size_t)64 << 20);
    Json *root = NULL;
    JsonProblem problem = {0};
    Err err = json_parse(c->input, arena, JSON_DUPLICATES_KEEP, &root, &problem);
    if (err != ERR_OK && err != ERR_SYNTAX && err != ERR_LIMIT)
        fail_msg("%.*s: %s", STR_ARG(c->name), err_name(err));
    if ((err == ERR_OK) != c->taken)
        fail_msg("%.*s: %s", STR_ARG(c->name), c->taken ? "must be taken" : "must be refused");
    check_tokens(c, c->taken, problem.error);
    if (c->taken) {
        check_taken(c, arena, root);
        check_beginnings(c);
    } else {
        check_problem(c, &problem);
    }
    arena_free(arena);
}

static void the_grammar(void **state) {
    (void)state;
    Arena *arena = arena_new((size_t)16 << 20);
    Str rest = read_file(arena);
    int counts[128] = {0};
    while (rest.p != NULL) {
        Case c;
        if (!read_case(arena, str_cut(&rest, '\n'), &c))
            continue;
        check(&c);
        counts[(unsigned char)c.verdict]++;
    }
    print_message("%d must be taken, %d refused, %d left open\n", counts['y'], counts['n'], counts['i']);
    assert_true(counts['y'] + counts['n'] + counts['i'] >= CASES_MIN);
    assert_true(counts['y'] > 0 && counts['n'] > 0 && counts['i'] > 0);
    arena_free(arena);
}

/* What is said of equal names is asked for (REJECT is what /api does, LAST what the old system did). */
static void equal_names(void **state) {
    (void)state;
    static const struct {
        const char *input;
        bool twins;
    } cases[] = {
        {"{\"a\":1,\"a\":2}", true},         {"{\"a\":1,\"\\u0061\":2}", true},
        {"{\"\":1,\"\":2}", true},           {"[{\"a\":1},{\"a\":2}]", false},
        {"{\"a\":1,\"A\":2}", false},        {"{\"a\":{\"a\":1}}", false},
        {"{\"a\":{\"b\":1,\"b\":2}}", true}, {"{\"a\":1,\"a\\u0000\":2}", false},
        {"{\"\\/\":1,\"/\":2}", true},       {"{\"\xc3\xa9\":1,\"\\u00E9\":2}", true},
    };
    Arena *arena = arena_new(1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Json *root = NULL;
        JsonProblem problem = {0};
        Err err = json_parse(str_c(cases[i].input), arena, JSON_DUPLICATES_REJECT, &root, &problem);
        if ((err == ERR_SYNTAX && problem.error == JSON_ERR_DUPLICATE_NAME) != cases[i].twins)
            fail_msg("%s: %s", cases[i].input, err_name(err));
        assert_int_equal(json_parse(str_c(cases[i].input), arena, JSON_DUPLICATES_LAST, &root, NULL), ERR_OK);
        assert_int_equal(json_parse(str_c(cases[i].input), arena, JSON_DUPLICATES_KEEP, &root, NULL), ERR_OK);
    }
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_grammar), cmocka_unit_test(equal_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
