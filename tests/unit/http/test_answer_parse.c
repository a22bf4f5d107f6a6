/*
 * test_answer_parse.c - which answers of an upstream are understood, and where they end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/answer_parse.h"
#include "http/chars.h"

enum { NOT_UNDERSTOOD = -1 };

static const struct {
    const char *label, *head;
    bool head_only, upgrade;
    int kind; /* BodyKind, or NOT_UNDERSTOOD */
    bool keeps;
} cases[] = {
    {"a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, false, BODY_LENGTH, true},
    {"no body at all", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, false, BODY_LENGTH, true},
    {"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", false, false, BODY_CHUNKED, true},
    {"until the close", "HTTP/1.1 200 OK\r\n\r\n", false, false, BODY_UNTIL_CLOSE, false},
    {"it will close", "HTTP/1.1 200 OK\r\nConnection: x, close\r\nContent-Length: 5\r\n\r\n", false, false, BODY_LENGTH,
     false},
    {"an old version closes", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", false, false, BODY_LENGTH, false},
    {"unless it says otherwise", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", false, false,
     BODY_LENGTH, true},
    {"to a HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, false, BODY_NONE, true},
    {"to a HEAD, without a length", "HTTP/1.1 200 OK\r\n\r\n", true, false, BODY_NONE, true},
    {"204", "HTTP/1.1 204 No Content\r\n\r\n", false, false, BODY_NONE, true},
    {"204 with a length is in doubt afterwards", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false, false,
     BODY_NONE, false},
    {"304 says the length of what it is not", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, false,
     BODY_NONE, true},
    {"interim", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", false, false, BODY_NONE, true},
    {"a switch that was asked for", "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\n", false, true, BODY_TUNNEL, true},
    {"a switch that was not", "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\n", false, false, NOT_UNDERSTOOD, false},
    {"no reason, no space", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, false, BODY_LENGTH, true},
    {"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", false, false, NOT_UNDERSTOOD, false},
    {"a status under 100", "HTTP/1.1 099 OK\r\n\r\n", false, false, NOT_UNDERSTOOD, false},
    {"two lengths, though equal", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", false, false,
     NOT_UNDERSTOOD, false},
    {"length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", false, false,
     NOT_UNDERSTOOD, false},
    {"length and chunks to a HEAD too", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
     true, false, NOT_UNDERSTOOD, false},
    {"another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", false, false, NOT_UNDERSTOOD, false},
    {"chunks of an old version", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, false, NOT_UNDERSTOOD,
     false},
    {"a folded line", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", false, false, NOT_UNDERSTOOD, false},
    {"a space before the colon", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", false, false, NOT_UNDERSTOOD, false},
    {"a CR in a value", "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", false, false, NOT_UNDERSTOOD, false},
    {"bytes over 0x7F are its own affair", "HTTP/1.1 200 \xe9\r\nA: \xff\r\n\r\n", true, false, BODY_NONE, true},
};

static void each_answer_is_understood_or_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Arena *arena = arena_new(64 * 1024);
        AnswerScan scan = {0};
        UpstreamAnswer answer;
        bool keeps = false;
        Str head = str_c(cases[i].head);
        if (answer_scan(&scan, head.p, head.n, 16384) != ANSWER_DONE)
            fail_msg("%s: not whole", cases[i].label);
        AnswerAsked asked = {.head_only = cases[i].head_only, .upgrade = cases[i].upgrade};
        Err err = answer_parse(&scan, head.p, asked, arena, &answer, &keeps);
        if (cases[i].kind == NOT_UNDERSTOOD && err != ERR_SYNTAX)
            fail_msg("%s: understood", cases[i].label);
        if (cases[i].kind != NOT_UNDERSTOOD &&
            (err != ERR_OK || (int)answer.body_kind != cases[i].kind || keeps != cases[i].keeps))
            fail_msg("%s: kind %d, keeps %d, %s", cases[i].label, err == ERR_OK ? (int)answer.body_kind : -1, keeps,
                     err_name(err));
        arena_free(arena);
    }
}

static const struct {
    const char *label, *bytes;
    AnswerResult want;
} scans[] = {
    {"nothing yet", "HTT", ANSWER_MORE},
    {"another protocol is known at its first byte", "S", ANSWER_BAD},
    {"… or later", "HTTX", ANSWER_BAD},
    {"a bare LF", "HTTP/1.1 200 OK\n", ANSWER_BAD},
    {"too long", "HTTP/1.1 200 OK\r\nA: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     ANSWER_TOO_LARGE},
    {"whole, with a body behind", "HTTP/1.1 200 OK\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ANSWER_DONE},
};

static void the_end_of_a_head_is_found_as_it_comes(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scans); i++) {
        AnswerScan scan = {0};
        AnswerResult result = ANSWER_MORE;
        size_t n = strlen(scans[i].bytes);
        for (size_t at = 1; at <= n && result == ANSWER_MORE; at++)
            result = answer_scan(&scan, scans[i].bytes, at, 64);
        if (result != scans[i].want)
            fail_msg("%s: %d", scans[i].label, (int)result);
        assert_true(result != ANSWER_DONE || scan.end == strlen("HTTP/1.1 200 OK\r\nA: b\r\n\r\n"));
    }
}

/* Every byte at every place of texts of every length up to three words, alone and before a tab. */
static void words_of_text(void **state) {
    (void)state;
    char text[24];
    for (int byte = 0; byte < 256; byte++) {
        bool fits = byte >= 0x80 || char_is((char)byte, CHAR_VALUE);
        for (size_t n = 1; n <= sizeof text; n++)
            for (size_t at = 0; at < n; at++) {
                memset(text, ' ' + (char)(n % 90), sizeof text);
                text[n - 1] = n % 2 == 0 ? '\t' : text[n - 1];
                text[at] = (char)byte;
                if (chars_all_text((Str){text, n}) != fits)
                    fail_msg("byte %d at %zu of %zu", byte, at, n);
            }
    }
    assert_true(chars_all_text(STR("")));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(words_of_text),
                                       cmocka_unit_test(each_answer_is_understood_or_refused),
                                       cmocka_unit_test(the_end_of_a_head_is_found_as_it_comes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
