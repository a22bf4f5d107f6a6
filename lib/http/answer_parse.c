/*
 * answer_parse.c - reading an upstream's answer as strictly as a request (RFC 9112 §4, §5, §6.3).
 *
 * The reader behind us may be another one than the reader in front of us, and where two readers can disagree about the
 * end of an answer, one client gets another's. So: lines end in CRLF, no folding, no space before a colon, one
 * Content-Length or one plain "chunked" and never both. Only bytes over 0x7F in values are let through, because what a
 * back end says to its clients is its own affair (§5.5 obs-text).
 */
#include "http/answer_parse.h"

#include "http/chars.h"

AnswerResult answer_scan(AnswerScan *scan, const char *p, size_t n, size_t head_max) {
    for (;;) {
        const char *lf = scan->at < n ? memchr(p + scan->at, '\n', n - scan->at) : NULL;
        size_t to = lf == NULL ? n : (size_t)(lf - p) + 1;
        if (to > head_max)
            return ANSWER_TOO_LARGE;
        /* Told at once, not after a time-out, when something else than HTTP speaks there. */
        if (scan->lines == 0 && memcmp(p, "HTTP/", MIN_OF(n, (size_t)5)) != 0)
            return ANSWER_BAD;
        if (lf == NULL)
            return ANSWER_MORE;
        if (to - scan->at < 2 || lf[-1] != '\r')
            return ANSWER_BAD;
        bool empty = to - scan->at == 2;
        scan->at = (uint32_t)to;
        if (empty) {
            scan->end = (uint32_t)to;
            return scan->lines > 0 ? ANSWER_DONE : ANSWER_BAD;
        }
        scan->lines++;
    }
}

/* HTTP-version SP 3DIGIT SP [reason]; the space behind the status may be missing with the reason, as many write it. */
static Err status_line(Str line, UpstreamAnswer *answer) {
    if (line.n < 12 || memcmp(line.p, "HTTP/1.", 7) != 0 || (line.p[7] != '0' && line.p[7] != '1') || line.p[8] != ' ')
        return ERR_SYNTAX;
    uint64_t status;
    if (str_to_u64(str_slice(line, 9, 12), 999, &status) != ERR_OK || status < 100 ||
        (line.n > 12 && line.p[12] != ' '))
        return ERR_SYNTAX;
    answer->minor = line.p[7] - '0';
    answer->status = (int)status;
    answer->reason = str_slice(line, 13, line.n);
    return chars_all_text(answer->reason) ? ERR_OK : ERR_SYNTAX;
}

static Err field_line(Str line, Header *ret) {
    size_t at = 0;
    while (at < line.n && char_is(line.p[at], CHAR_TOKEN))
        at++;
    if (at == 0 || at >= line.n || line.p[at] != ':')
        return ERR_SYNTAX;
    Str value = ows_trim((Str){line.p + at + 1, line.n - at - 1});
    if (!chars_all_text(value))
        return ERR_SYNTAX;
    ret->name = (Str){line.p, at};
    ret->value = value.n > 0 ? value : (Str){line.p + at + 1, 0};
    return ERR_OK;
}

typedef struct Framing {
    int lengths, codings;
    Str length, coding;
    bool close, keep_alive;
} Framing;

static void connection_note(Str value, Framing *framing) {
    while (value.p != NULL) {
        Str option = ows_trim(str_cut(&value, ','));
        framing->close = framing->close || str_eq_nocase(option, STR("close"));
        framing->keep_alive = framing->keep_alive || str_eq_nocase(option, STR("keep-alive"));
    }
}

static void framing_note(const Header *header, Framing *framing) {
    if (header->name.n == 14 && str_eq_nocase(header->name, STR("Content-Length"))) {
        framing->lengths++;
        framing->length = header->value;
    } else if (header->name.n == 17 && str_eq_nocase(header->name, STR("Transfer-Encoding"))) {
        framing->codings++;
        framing->coding = header->value;
    } else if (header->name.n == 10 && str_eq_nocase(header->name, STR("Connection"))) {
        connection_note(header->value, framing);
    }
}

/* RFC 9112 §6.3, each doubt a refusal. */
static Err framing_settle(const Framing *framing, AnswerAsked asked, UpstreamAnswer *answer, bool *ret_keeps) {
    *ret_keeps = answer->minor == 1 ? !framing->close : framing->keep_alive && !framing->close;
    if (framing->codings > 1 || framing->lengths > 1 || (framing->codings > 0 && framing->lengths > 0) ||
        (framing->codings > 0 && (answer->minor == 0 || !str_eq_nocase(framing->coding, STR("chunked")))))
        return ERR_SYNTAX;
    if (framing->lengths > 0 && str_to_u64(framing->length, INT64_MAX, &answer->content_length) != ERR_OK)
        return ERR_SYNTAX;
    if (answer->status == 101) {
        answer->body_kind = BODY_TUNNEL;
        return asked.upgrade ? ERR_OK : ERR_SYNTAX;
    }
    bool never = answer->status < 200 || answer->status == 204;
    if (never || answer->status == 304 || asked.head_only) {
        answer->body_kind = BODY_NONE;
        /* It says that something follows where nothing may: what comes next on this connection is in doubt. */
        *ret_keeps = *ret_keeps && !(never && (framing->codings > 0 || answer->content_length > 0));
    } else if (framing->codings > 0) {
        answer->body_kind = BODY_CHUNKED;
    } else if (framing->lengths > 0) {
        answer->body_kind = BODY_LENGTH;
    } else {
        answer->body_kind = BODY_UNTIL_CLOSE;
        *ret_keeps = false;
    }
    return ERR_OK;
}

Err answer_parse(const AnswerScan *scan, const char *p, AnswerAsked asked, Arena *arena, UpstreamAnswer *ret,
                 bool *ret_keeps) {
    size_t fields = (scan->lines - 1) * sizeof(Header);
    Header *headers = arena_alloc_raw(arena, fields + scan->end);
    if (headers == NULL)
        return ERR_NO_MEMORY;
    char *copy = (char *)headers + fields;
    memcpy(copy, p, scan->end);
    UpstreamAnswer answer = {.headers = headers};
    Framing framing = {0};
    Str rest = {copy, scan->end - 2};
    Str line = str_cut(&rest, '\n');
    TRY(status_line(str_slice(line, 0, line.n - 1), &answer));
    answer.lines = rest;
    while (answer.header_count < scan->lines - 1) {
        line = str_cut(&rest, '\n');
        TRY(field_line(str_slice(line, 0, line.n - 1), &headers[answer.header_count]));
        framing_note(&headers[answer.header_count++], &framing);
    }
    TRY(framing_settle(&framing, asked, &answer, ret_keeps));
    *ret = answer;
    return ERR_OK;
}
