/*
 * head.c - framing and checking the lines of a request's head (RFC 9112 §2-5).
 *
 * Strict where two readers of the same bytes could disagree, because every such place is a smuggling hole: a line ends
 * in CRLF and nothing else, no folding, no space before the colon, no control or non-ASCII byte. (§2.2 lets a server
 * accept a bare LF; the old system did; we do not: contracts/exceptions.json.) A line is judged when it is complete,
 * and limits are judged before anything else of a line, so that the answer never depends on how the bytes were cut by
 * the network.
 */
#include "http/head.h"

#include "http/chars.h"

void head_reset(HeadParser *parser) {
    memset(parser, 0, offsetof(HeadParser, fields));
}

static HeadResult head_bad(HeadParser *parser, int status) {
    parser->status = status;
    return HEAD_BAD;
}

Method method_of(Str text) {
#define METHOD_CASE(name)                                                                                              \
    if (str_eq(text, STR(#name)))                                                                                      \
        return METHOD_##name;
    HTTP_METHODS(METHOD_CASE)
#undef METHOD_CASE
    return METHOD_OTHER;
}

/* "HTTP/" DIGIT "." DIGIT and nothing else. Sets minor, or gives the status. */
static int version_parse(Str text, int *ret_minor) {
    if (text.n != 8 || memcmp(text.p, "HTTP/", 5) != 0 || text.p[6] != '.' || text.p[5] < '0' || text.p[5] > '9' ||
        text.p[7] < '0' || text.p[7] > '9')
        return 400;
    if (text.p[5] != '1' || text.p[7] > '1')
        return 505;
    *ret_minor = text.p[7] - '0';
    return 0;
}

/* §3: method SP request-target SP HTTP-version, single spaces. */
static HeadResult request_line_parse(HeadParser *parser, const char *p, Str line) {
    if (str_eq(line, STR("PRI * HTTP/2.0")))
        return HEAD_SILENT; /* RFC 9113 §3.4: a client that wants HTTP/2 understands a close, not HTTP/1.1 text */
    size_t at = 0;
    while (at < line.n && char_is(line.p[at], CHAR_TOKEN))
        at++;
    if (at == 0 || at >= line.n || line.p[at] != ' ')
        return head_bad(parser, 400);
    parser->method_n = (uint32_t)at;
    size_t target = ++at;
    while (at < line.n && char_is(line.p[at], CHAR_TARGET))
        at++;
    if (at == target || at >= line.n || line.p[at] != ' ')
        return head_bad(parser, 400);
    parser->start = (uint32_t)(line.p - p);
    parser->target = parser->start + (uint32_t)target;
    parser->target_n = (uint32_t)(at - target);
    int status = version_parse(str_slice(line, at + 1, line.n), &parser->minor);
    if (status != 0)
        return head_bad(parser, status);
    parser->has_request_line = true;
    return HEAD_MORE;
}

/* §5: field-name ":" OWS field-value OWS. A line that begins with white space (obs-fold, §5.2) has no name, so it fails
 * too. */
static HeadResult field_parse(HeadParser *parser, const char *p, Str line) {
    size_t at = 0;
    while (at < line.n && char_is(line.p[at], CHAR_TOKEN))
        at++;
    if (at == 0 || at >= line.n || line.p[at] != ':')
        return head_bad(parser, 400);
    size_t from = at + 1, to = line.n;
    while (from < to && (line.p[from] == ' ' || line.p[from] == '\t'))
        from++;
    while (to > from && (line.p[to - 1] == ' ' || line.p[to - 1] == '\t'))
        to--;
    if (!chars_all((Str){line.p + from, to - from}, CHAR_VALUE))
        return head_bad(parser, 400);
    uint32_t name = (uint32_t)(line.p - p);
    parser->fields[parser->field_count++] =
        (HeadField){name, (uint32_t)at, name + (uint32_t)from, (uint32_t)(to - from)};
    return HEAD_MORE;
}

/* The limit that the line beginning at parser->line meets when it (with its CRLF) reaches up to `to`. */
static int line_limit(const HeadParser *parser, const HttpLimits *limits, size_t to) {
    if (!parser->has_request_line)
        return to - parser->line > limits->request_line_max ? 414 : 0;
    return to - parser->fields_start > limits->headers_total_max ? 431 : 0;
}

/* One complete line, without its CRLF. */
static HeadResult line_parse(HeadParser *parser, const HttpLimits *limits, const char *p, Str line) {
    if (!parser->has_request_line) {
        HeadResult result = request_line_parse(parser, p, line);
        parser->fields_start = (uint32_t)(line.p - p + (ptrdiff_t)line.n + 2);
        return result;
    }
    if (line.n == 0) {
        parser->end = parser->line + 2;
        return HEAD_DONE;
    }
    if (parser->field_count >= limits->headers_count_max || parser->field_count >= HEAD_FIELDS_MAX)
        return head_bad(parser, 431);
    return field_parse(parser, p, line);
}

/* Empty lines in front of a request (§2.2), and its first byte. The caller drops the lines it has seen skipped, so they
 * need no bound of their own. false: parser->status says, or more is needed. */
static bool leading_skip(HeadParser *parser, const char *p, size_t n) {
    while (parser->line < n && (p[parser->line] == '\r' || p[parser->line] == '\n')) {
        if (p[parser->line] == '\r' && parser->line + 1 >= n)
            return false;
        if (p[parser->line] == '\n' || p[parser->line + 1] != '\n') {
            parser->status = 400;
            return false;
        }
        parser->line += 2;
        parser->scan = parser->line;
    }
    if (parser->line >= n)
        return false;
    /* Told at once, not after a time-out, to whoever speaks another protocol (TLS begins with 0x16). */
    if (!char_is(p[parser->line], CHAR_TOKEN)) {
        parser->status = 400;
        return false;
    }
    return true;
}

HeadResult head_parse(HeadParser *parser, const HttpLimits *limits, const char *p, size_t n) {
    if (parser->status != 0)
        return HEAD_BAD;
    if (!parser->has_request_line && !leading_skip(parser, p, n))
        return parser->status != 0 ? HEAD_BAD : HEAD_MORE;
    for (;;) {
        const char *lf = parser->scan < n ? memchr(p + parser->scan, '\n', n - parser->scan) : NULL;
        size_t to = lf == NULL ? n : (size_t)(lf - p) + 1;
        int status = line_limit(parser, limits, to);
        if (status != 0)
            return head_bad(parser, status);
        if (lf == NULL) {
            parser->scan = (uint32_t)n;
            return HEAD_MORE;
        }
        if (to - parser->line < 2 || lf[-1] != '\r')
            return head_bad(parser, 400);
        HeadResult result = line_parse(parser, limits, p, (Str){p + parser->line, to - parser->line - 2});
        if (result != HEAD_MORE)
            return result;
        parser->line = (uint32_t)to;
        parser->scan = (uint32_t)to;
    }
}
