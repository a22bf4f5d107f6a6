/*
 * test_head.c - which heads are requests, and what is answered to the others.
 *
 * Each is parsed whole, byte by byte, and cut in two at every place: the outcome may not depend on how the network cut
 * it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/head.h"

#define OK     0
#define MORE   (-1)
#define SILENT (-2)

static int outcome(const Str raw, const size_t *cuts, size_t n_cuts, HeadParser *parser, HeadFacts *facts) {
    static char scratch[70000];
    head_reset(parser);
    for (size_t i = 0; i <= n_cuts; i++) {
        size_t n = i == n_cuts ? raw.n : cuts[i];
        switch (head_parse(parser, &HTTP_LIMITS_DEFAULT, raw.p, n)) {
        case HEAD_MORE:
            continue;
        case HEAD_SILENT:
            return SILENT;
        case HEAD_BAD:
            return parser->status;
        case HEAD_DONE:
            return head_check(parser, raw.p, scratch, facts);
        }
    }
    return MORE;
}

static int outcome_every_way(Str raw, HeadFacts *facts) {
    HeadParser parser;
    int whole = outcome(raw, NULL, 0, &parser, facts);
    static size_t cuts[70000];
    for (size_t i = 0; i < raw.n; i++)
        cuts[i] = i;
    HeadFacts other;
    assert_int_equal(outcome(raw, cuts, raw.n, &parser, &other), whole);
    for (size_t cut = 0; raw.n < 2000 && cut < raw.n; cut++)
        assert_int_equal(outcome(raw, &cut, 1, &parser, &other), whole);
    return whole;
}

#define H "Host: a\r\n"
#define G "GET /x HTTP/1.1\r\n" H
#define P "POST /x HTTP/1.1\r\n" H

static const struct {
    const char *label;
    const char *raw;
    size_t n; /* 0: strlen */
    int want;
} cases[] = {
    {"a request", G "\r\n", 0, OK},
    {"an unfinished one", G "X: y\r\n", 0, MORE},
    {"nothing", "", 0, MORE},
    {"one empty line in front", "\r\n" G "\r\n", 0, OK},
    {"several empty lines in front", "\r\n\r\n\r\n" G "\r\n", 0, OK},
    {"a bare LF in front", "\n" G "\r\n", 0, 400},
    {"a bare CR in front", "\r" G "\r\n", 0, 400},
    {"TLS", "\x16\x03\x01\x02", 0, 400},
    {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, SILENT},

    {"HTTP/0.9", "GET /x\r\n\r\n", 0, 400},
    {"garbage", "GARBAGE\r\n\r\n", 0, 400},
    {"two spaces before the target", "GET  /x HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"two spaces behind the target", "GET /x  HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"a tab instead of a space", "GET\t/x HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"a space in the target", "GET /x y HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"a space behind the version", "GET /x HTTP/1.1 \r\n" H "\r\n", 0, 400},
    {"white space in front", " GET /x HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"no token as method", "G(T /x HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"any token as method", "F00! /x HTTP/1.1\r\n" H "\r\n", 0, OK},
    {"lower-case method", "get /x HTTP/1.1\r\n" H "\r\n", 0, OK},
    {"a byte over 0x7F in the target", "GET /x\xc3\xa9 HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"NUL in the target", "GET /x\0y HTTP/1.1\r\n" H "\r\n", sizeof("GET /x\0y HTTP/1.1\r\n" H "\r\n") - 1, 400},
    {"DEL in the target", "GET /x\x7f HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"lower-case http", "GET /x http/1.1\r\n" H "\r\n", 0, 400},
    {"HTTP/1.10", "GET /x HTTP/1.10\r\n" H "\r\n", 0, 400},
    {"HTTP/1", "GET /x HTTP/1\r\n" H "\r\n", 0, 400},
    {"HTTP/01.1", "GET /x HTTP/01.1\r\n" H "\r\n", 0, 400},
    {"HTTP/1.2", "GET /x HTTP/1.2\r\n" H "\r\n", 0, 505},
    {"HTTP/2.0", "GET /x HTTP/2.0\r\n" H "\r\n", 0, 505},
    {"HTTP/0.9 spelt out", "GET /x HTTP/0.9\r\n" H "\r\n", 0, 505},

    {"bare LF ends lines", "GET /x HTTP/1.1\nHost: a\n\n", 0, 400},
    {"bare LF ends one field", "GET /x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 0, 400},
    {"bare LF ends the head", G "\n", 0, 400},
    {"bare CR in a value", G "X: a\rb\r\n\r\n", 0, 400},
    {"CR CR LF", G "X: a\r\r\n\r\n", 0, 400},
    {"bare CR hides a field", G "X: a\rTransfer-Encoding: chunked\r\n\r\n", 0, 400},

    {"space before the colon", G "X : y\r\n\r\n", 0, 400},
    {"tab before the colon", G "X\t: y\r\n\r\n", 0, 400},
    {"space in a name", G "X Y: z\r\n\r\n", 0, 400},
    {"no colon", G "X\r\n\r\n", 0, 400},
    {"no name", G ": x\r\n\r\n", 0, 400},
    {"a folded value", G "X: a\r\n b\r\n\r\n", 0, 400},
    {"a folded value with a tab", G "X: a\r\n\tb\r\n\r\n", 0, 400},
    {"white space before the first field", "GET /x HTTP/1.1\r\n Host: a\r\n\r\n", 0, 400},
    {"bytes over 0x7F in a value", G "X: \x80\xff\r\n\r\n", 0, 400},
    {"a byte over 0x7F in a name", G "X\xe9: y\r\n\r\n", 0, 400},
    {"NUL in a value", G "X: a\0b\r\n\r\n", sizeof(G "X: a\0b\r\n\r\n") - 1, 400},
    {"vertical tab in a value",
     G "X: a\x0b"
       "b\r\n\r\n",
     0, 400},
    {"vertical tab before chunked",
     P "Transfer-Encoding: \x0b"
       "chunked\r\n\r\n",
     0, 400},
    {"ESC in a value", G "X: \x1b[2J\r\n\r\n", 0, 400},
    {"a tab in a value", G "X: a\tb\r\n\r\n", 0, OK},
    {"an empty value", G "X:\r\n\r\n", 0, OK},
    {"no space behind the colon", G "X:y\r\n\r\n", 0, OK},

    {"no Host", "GET /x HTTP/1.1\r\n\r\n", 0, 400},
    {"no Host in HTTP/1.0", "GET /x HTTP/1.0\r\n\r\n", 0, OK},
    {"two Hosts", "GET /x HTTP/1.1\r\n" H H "\r\n", 0, 400},
    {"two Hosts in HTTP/1.0", "GET /x HTTP/1.0\r\n" H H "\r\n", 0, 400},
    {"an empty Host", "GET /x HTTP/1.1\r\nHost:\r\n\r\n", 0, OK},
    {"a Host with a space", "GET /x HTTP/1.1\r\nHost: bad host\r\n\r\n", 0, 400},
    {"a Host with a path", "GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n", 0, 400},
    {"a Host with a user", "GET /x HTTP/1.1\r\nHost: u@a\r\n\r\n", 0, 400},
    {"a Host with a bad port", "GET /x HTTP/1.1\r\nHost: a:99999\r\n\r\n", 0, 400},
    {"a Host with a sign in its port", "GET /x HTTP/1.1\r\nHost: a:+80\r\n\r\n", 0, 400},
    {"a Host with IPv6", "GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 0, OK},
    {"a Host with broken IPv6", "GET /x HTTP/1.1\r\nHost: [::1\r\n\r\n", 0, 400},
    {"any Host", "GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n", 0, OK},

    {"absolute form", "GET http://a/x HTTP/1.1\r\n" H "\r\n", 0, OK},
    {"absolute form, other case", "GET HTTP://A/x HTTP/1.1\r\n" H "\r\n", 0, OK},
    {"absolute form, default port", "GET http://a:80/x HTTP/1.1\r\n" H "\r\n", 0, OK},
    {"absolute form, other port", "GET http://a:81/x HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"absolute form, other host", "GET http://other/x HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"absolute form, no path", "GET http://a HTTP/1.1\r\n" H "\r\n", 0, OK},
    {"absolute form, no host", "GET http:///x HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"absolute form with a user", "GET http://u@a/x HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"absolute form without Host in HTTP/1.0", "GET http://a/x HTTP/1.0\r\n\r\n", 0, OK},
    {"another scheme", "GET ftp://a/x HTTP/1.1\r\n" H "\r\n", 0, 400},
    {"no slash", "GET x HTTP/1.1\r\n" H "\r\n", 0, 405},
    {"* for OPTIONS", "OPTIONS * HTTP/1.1\r\n" H "\r\n", 0, OK},
    {"* for GET", "GET * HTTP/1.1\r\n" H "\r\n", 0, 405},
    {"CONNECT", "CONNECT a:80 HTTP/1.1\r\n" H "\r\n", 0, OK},
    {"%00", "GET /%00 HTTP/1.1\r\n" H "\r\n", 0, 400},

    {"a length", P "Content-Length: 5\r\n\r\n", 0, OK},
    {"length 0", P "Content-Length: 0\r\n\r\n", 0, OK},
    {"length with leading zeros", P "Content-Length: 0005\r\n\r\n", 0, OK},
    {"length +5", P "Content-Length: +5\r\n\r\n", 0, 400},
    {"length -1", P "Content-Length: -1\r\n\r\n", 0, 400},
    {"length 0x5", P "Content-Length: 0x5\r\n\r\n", 0, 400},
    {"length 5a", P "Content-Length: 5a\r\n\r\n", 0, 400},
    {"length 5.0", P "Content-Length: 5.0\r\n\r\n", 0, 400},
    {"length with a space inside", P "Content-Length: 5 5\r\n\r\n", 0, 400},
    {"no length in the length", P "Content-Length:\r\n\r\n", 0, 400},
    {"a list of equal lengths", P "Content-Length: 5, 5\r\n\r\n", 0, 400},
    {"two lengths", P "Content-Length: 2\r\nContent-Length: 3\r\n\r\n", 0, 400},
    {"two equal lengths", P "Content-Length: 2\r\ncontent-length: 2\r\n\r\n", 0, 400},
    {"length over 63 bits", P "Content-Length: 9223372036854775808\r\n\r\n", 0, 400},
    {"length over 64 bits", P "Content-Length: 18446744073709551621\r\n\r\n", 0, 400},

    {"chunked", P "Transfer-Encoding: chunked\r\n\r\n", 0, OK},
    {"chunked, any case", P "transfer-encoding: Chunked\r\n\r\n", 0, OK},
    {"CL.TE", P "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400},
    {"TE.CL", P "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 0, 400},
    {"TE.TE", P "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400},
    {"TE.TE, one of them strange", P "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", 0, 400},
    {"xchunked", P "Transfer-Encoding: xchunked\r\n\r\n", 0, 400},
    {"chunked twice in a list", P "Transfer-Encoding: chunked, chunked\r\n\r\n", 0, 400},
    {"gzip, chunked", P "Transfer-Encoding: gzip, chunked\r\n\r\n", 0, 400},
    {"chunked, identity", P "Transfer-Encoding: chunked, identity\r\n\r\n", 0, 400},
    {"identity", P "Transfer-Encoding: identity\r\n\r\n", 0, 400},
    {"gzip", P "Transfer-Encoding: gzip\r\n\r\n", 0, 400},
    {"an empty coding", P "Transfer-Encoding:\r\n\r\n", 0, 400},
    {"chunked with a parameter", P "Transfer-Encoding: chunked;x\r\n\r\n", 0, 400},
    {"chunked in quotes", P "Transfer-Encoding: \"chunked\"\r\n\r\n", 0, 400},
    {"a coding with a space before its colon", P "Transfer-Encoding : chunked\r\n\r\n", 0, 400},
    {"a folded coding", P "Transfer-Encoding:\r\n chunked\r\n\r\n", 0, 400},
    {"chunked in HTTP/1.0", "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400},
    {"HTTP/1.0 POST without a length", "POST /x HTTP/1.0\r\n\r\n", 0, 400},

    {"100-continue", P "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", 0, OK},
    {"another expectation", P "Expect: 200-ok\r\nContent-Length: 5\r\n\r\n", 0, 417},
    {"another expectation in HTTP/1.0", "GET /x HTTP/1.0\r\nExpect: 200-ok\r\n\r\n", 0, OK},
};

static void heads(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        HeadFacts facts;
        Str raw = {cases[i].raw, cases[i].n != 0 ? cases[i].n : strlen(cases[i].raw)};
        int got = outcome_every_way(raw, &facts);
        if (got != cases[i].want)
            fail_msg("%s: want %d, got %d", cases[i].label, cases[i].want, got);
    }
}

static void facts_of_a_head(void **state) {
    (void)state;
    HeadFacts facts;
    Str raw = STR("\r\nPOST /a/%62/../c?x=1 HTTP/1.1\r\nHost: h\r\nConnection: keep-alive , CLOSE\r\ntraceparent: t\r\n"
                  "Tracestate: s\r\nBaggage: b\r\nExpect: 100-Continue\r\nContent-Length: 7\r\n\r\n");
    assert_int_equal(outcome_every_way(raw, &facts), OK);
    assert_int_equal(facts.method, METHOD_POST);
    assert_true(str_eq_c(facts.target, "/a/%62/../c?x=1"));
    assert_true(str_eq_c(facts.query, "x=1"));
    assert_int_equal(facts.body_kind, BODY_LENGTH);
    assert_int_equal(facts.content_length, 7);
    assert_true(facts.expect_continue);
    assert_false(facts.keep_alive);
    assert_int_equal(facts.traceparents, 1);
    assert_true(str_eq_c(facts.traceparent, "t") && str_eq_c(facts.tracestate, "s") && str_eq_c(facts.baggage, "b"));
    HeadParser parser;
    assert_int_equal(outcome(raw, NULL, 0, &parser, &facts), OK);
    assert_int_equal(parser.end, raw.n);
    assert_true(str_eq_c(facts.path, "/a/c"));
}

/* A head that is exactly at a limit passes, one byte more does not. */
static void limits(void **state) {
    (void)state;
    static char text[70000];
    HeadFacts facts;
    const HttpLimits *l = &HTTP_LIMITS_DEFAULT;
    const struct {
        const char *label;
        size_t line, fields;
        size_t count;
        bool cut; /* no end in sight */
        int want;
    } rows[] = {
        {"the longest request line", l->request_line_max, 0, 0, false, OK},
        {"a longer one", l->request_line_max + 1, 0, 0, false, 414},
        {"a longer one that never ends", l->request_line_max + 1, 0, 0, true, 414},
        {"the largest fields", 0, l->headers_total_max, 0, false, OK},
        {"larger ones", 0, l->headers_total_max + 1, 0, false, 431},
        {"larger ones that never end", 0, l->headers_total_max + 1, 0, true, 431},
        {"the most fields", 0, 0, l->headers_count_max, false, OK},
        {"one more", 0, 0, l->headers_count_max + 1, false, 431},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Buf raw = buf_new(NULL, sizeof(text));
        buf_add_c(&raw, "GET /");
        for (size_t n = sizeof("GET / HTTP/1.1\r\n") - 1; n < rows[i].line; n++)
            buf_add_char(&raw, 'a');
        if (!(rows[i].cut && rows[i].line > 0)) {
            buf_add_c(&raw, " HTTP/1.1\r\n");
            size_t start = raw.n;
            buf_add_c(&raw, H);
            for (size_t n = 1; n < rows[i].count; n++)
                buf_add_c(&raw, "X: y\r\n");
            if (rows[i].fields > 0) {
                buf_add_c(&raw, "X: ");
                while (raw.n - start < rows[i].fields - (rows[i].cut ? 0 : 4))
                    buf_add_char(&raw, 'y');
                buf_add_c(&raw, rows[i].cut ? "" : "\r\n");
            }
            buf_add_c(&raw, rows[i].cut ? "" : "\r\n");
        } else {
            buf_add_c(&raw, "aaaaaaaaaaaaaaaa");
        }
        int got = outcome_every_way(buf_str(&raw), &facts);
        if (got != rows[i].want)
            fail_msg("%s: want %d, got %d", rows[i].label, rows[i].want, got);
        buf_done(&raw);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads),
        cmocka_unit_test(facts_of_a_head),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
