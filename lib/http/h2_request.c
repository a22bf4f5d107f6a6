/*
 * h2_request.c - a head of HTTP/2, written down as one of HTTP/1.1 and judged by the same rules.
 *
 * Limits, targets, Host, framing, expectations and trace context are those of head.c and head_check.c, so a request has
 * one outcome by whichever version it comes; a second set of rules would differ one day. What HTTP/2 alone has (RFC
 * 9113 §8) is here and in nghttp2: pseudo-header fields, no connection-specific fields, cookies in crumbs, a Host that
 * is not :authority.
 *
 * Nothing gets into the text that could end a line: nghttp2 refuses such bytes, and what is not a token, a target or a
 * value by our own table makes the head malformed.
 */
#include "http/chars.h"
#include "http/h2.h"

enum { HEAD_KEPT_MAX = 2048 };

void h2_head_begin(H2Session *session) {
    buf_clear(&session->head);
    buf_clear(&session->pseudo);
    buf_clear(&session->cookie);
    session->method = session->path = session->authority = (H2Part){0};
    session->has_line = session->has_host = session->has_length = session->malformed = false;
    session->conn->head_at = clock_mono_ms() + session->conn->server->options.limits.head_timeout_ms;
}

static Str part(const H2Session *session, H2Part which) {
    return str_slice(buf_str(&session->pseudo), which.at, which.at + which.n);
}

static void field_line(H2Session *session, Str name, Str value) {
    buf_add(&session->head, name);
    buf_add_bytes(&session->head, ": ", 2);
    buf_add(&session->head, value);
    buf_add_bytes(&session->head, "\r\n", 2);
}

/* Pseudo-header fields come first (§8.3), so the line is complete when another field comes. */
static void line_write(H2Session *session) {
    if (session->has_line)
        return;
    session->has_line = true;
    Str method = part(session, session->method), authority = part(session, session->authority);
    buf_add(&session->head, method);
    buf_add_char(&session->head, ' ');
    buf_add(&session->head, str_eq_c(method, "CONNECT") ? authority : part(session, session->path)); /* §8.5 */
    buf_add(&session->head, STR(" HTTP/1.1\r\n"));
    if (session->authority.is_set) {
        session->has_host = true;
        field_line(session, STR("host"), authority);
    }
}

static void pseudo_field(H2Session *session, Str name, Str value) {
    H2Part *which = str_eq_c(name, ":method")      ? &session->method
                    : str_eq_c(name, ":path")      ? &session->path
                    : str_eq_c(name, ":authority") ? &session->authority
                                                   : NULL; /* :scheme */
    int classes = which == &session->method ? CHAR_TOKEN : which == &session->path ? CHAR_TARGET : CHAR_VALUE;
    session->malformed = session->malformed || !chars_all(value, classes);
    if (which == NULL)
        return;
    *which = (H2Part){session->pseudo.n, value.n, true};
    buf_add(&session->pseudo, value);
}

void h2_head_field(H2Session *session, Str name, Str value) {
    if (name.n > 0 && name.p[0] == ':') {
        pseudo_field(session, name, value);
        return;
    }
    line_write(session);
    if (!chars_all(name, CHAR_TOKEN) || !chars_all(value, CHAR_VALUE)) {
        session->malformed = true;
    } else if (str_eq_c(name, "host")) {
        /* §8.3.1: one that names somebody else makes the request malformed. */
        if (!session->has_host)
            field_line(session, name, value);
        else if (!str_eq_nocase(value, part(session, session->authority)))
            session->malformed = true;
        session->has_host = true;
    } else if (str_eq_c(name, "cookie")) { /* §8.2.3: crumbs are put together again */
        if (session->cookie.n > 0)
            buf_add_bytes(&session->cookie, "; ", 2);
        buf_add(&session->cookie, value);
    } else {
        session->has_length = session->has_length || str_eq_c(name, "content-length");
        field_line(session, name, value);
    }
}

/* A body of unknown length is what HTTP/1.1 has chunks for: that line tells head_check of it, and is not shown. */
static bool head_close(H2Session *session, bool has_body) {
    line_write(session);
    if (session->cookie.n > 0)
        field_line(session, STR("cookie"), buf_str(&session->cookie));
    bool unknown = has_body && !session->has_length;
    if (unknown)
        field_line(session, STR("transfer-encoding"), STR("chunked"));
    buf_add_bytes(&session->head, "\r\n", 2);
    return unknown;
}

/* The status to refuse with; 0: fine; -1: out of memory. */
static int head_judge(H2Session *session, bool unknown, HeadFacts *facts) {
    HttpServer *server = session->conn->server;
    HeadParser *parser = server->stream_parser;
    if (session->head.err == ERR_NO_MEMORY || session->pseudo.err == ERR_NO_MEMORY ||
        session->cookie.err == ERR_NO_MEMORY)
        return -1;
    if (session->head.err != ERR_OK || session->pseudo.err != ERR_OK || session->cookie.err != ERR_OK)
        return 431;
    head_reset(parser);
    if (head_parse(parser, &server->options.limits, session->head.p, session->head.n) != HEAD_DONE)
        return parser->status == 0 ? 400 : parser->status;
    int status = head_check(parser, session->head.p, server->path_scratch, facts);
    parser->field_count -= unknown;
    facts->keep_alive = true;
    return status;
}

/* An idle session keeps no more than small ones. */
static void head_forget(H2Session *session) {
    Buf *all[] = {&session->head, &session->pseudo, &session->cookie};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i]->capacity > HEAD_KEPT_MAX) {
            buf_done(all[i]);
            *all[i] = buf_new(NULL, BLOCK_BIG);
        }
    }
}

static void head_take(H2Session *session, int32_t id, bool has_body) {
    HttpConnection *conn = session->conn;
    HttpServer *server = conn->server;
    conn->head_at = 0;
    if (session->malformed) {
        (void)nghttp2_submit_rst_stream(session->ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    HeadFacts facts = {0};
    int status = head_judge(session, head_close(session, has_body), &facts);
    H2Stream *stream = NULL;
    /* Handlers of streams that were reset count: else a client could start as many as it can reset (CVE-2023-44487). */
    if (status >= 0 && conn->count < server->options.limits.streams_max)
        stream = h2_stream_take(session, id);
    if (stream != NULL) {
        stream->input_ended = !has_body;
        if (exchange_start_stream(conn, server->stream_parser, &facts, buf_str(&session->head), stream, status))
            return;
        stream->closed = true;
        h2_stream_give(conn, stream);
    }
    (void)nghttp2_submit_rst_stream(session->ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
}

void h2_head_end(H2Session *session, int32_t id, bool has_body) {
    head_take(session, id, has_body);
    head_forget(session);
}
