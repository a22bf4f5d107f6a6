/*
 * answer.c - the head of an answer, reason phrases, the date.
 *
 * Order of fields, as the old system had it where it can be seen: framing, Connection, the handler's fields, Date,
 * Server.
 */
#include <time.h>

#include "http/chars.h"
#include "http/connection.h"

#define REASONS(X)                                                                                                     \
    X(100, "Continue")                                                                                                 \
    X(101, "Switching Protocols")                                                                                      \
    X(200, "OK")                                                                                                       \
    X(201, "Created")                                                                                                  \
    X(202, "Accepted")                                                                                                 \
    X(203, "Non-Authoritative Information")                                                                            \
    X(204, "No Content")                                                                                               \
    X(205, "Reset Content")                                                                                            \
    X(206, "Partial Content")                                                                                          \
    X(300, "Multiple Choices")                                                                                         \
    X(301, "Moved Permanently")                                                                                        \
    X(302, "Found")                                                                                                    \
    X(303, "See Other")                                                                                                \
    X(304, "Not Modified")                                                                                             \
    X(307, "Temporary Redirect")                                                                                       \
    X(308, "Permanent Redirect")                                                                                       \
    X(400, "Bad Request")                                                                                              \
    X(401, "Unauthorized")                                                                                             \
    X(402, "Payment Required")                                                                                         \
    X(403, "Forbidden")                                                                                                \
    X(404, "Not Found")                                                                                                \
    X(405, "Method Not Allowed")                                                                                       \
    X(406, "Not Acceptable")                                                                                           \
    X(407, "Proxy Authentication Required")                                                                            \
    X(408, "Request Timeout")                                                                                          \
    X(409, "Conflict")                                                                                                 \
    X(410, "Gone")                                                                                                     \
    X(411, "Length Required")                                                                                          \
    X(412, "Precondition Failed")                                                                                      \
    X(413, "Content Too Large")                                                                                        \
    X(414, "URI Too Long")                                                                                             \
    X(415, "Unsupported Media Type")                                                                                   \
    X(416, "Range Not Satisfiable")                                                                                    \
    X(417, "Expectation Failed")                                                                                       \
    X(421, "Misdirected Request")                                                                                      \
    X(422, "Unprocessable Content")                                                                                    \
    X(426, "Upgrade Required")                                                                                         \
    X(428, "Precondition Required")                                                                                    \
    X(429, "Too Many Requests")                                                                                        \
    X(431, "Request Header Fields Too Large")                                                                          \
    X(500, "Internal Server Error")                                                                                    \
    X(501, "Not Implemented")                                                                                          \
    X(502, "Bad Gateway")                                                                                              \
    X(503, "Service Unavailable")                                                                                      \
    X(504, "Gateway Timeout")                                                                                          \
    X(505, "HTTP Version Not Supported")

const char *http_reason(int status) {
    switch (status) {
#define REASON_CASE(code, text)                                                                                        \
    case code:                                                                                                         \
        return text;
        REASONS(REASON_CASE)
#undef REASON_CASE
    default:
        return "Unknown";
    }
}

void http_date_format(int64_t unix_seconds, char out[HTTP_DATE_LEN]) {
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char text[40];
    struct tm tm;
    time_t at = (time_t)unix_seconds;
    gmtime_r(&at, &tm);
    /* strftime would ask the locale for the names. */
    snprintf(text, sizeof(text), "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * (tm.tm_wday % 7),
             tm.tm_mday % 100, months + 3 * (tm.tm_mon % 12), (tm.tm_year + 1900) % 10000, tm.tm_hour % 100,
             tm.tm_min % 100, tm.tm_sec % 100);
    memcpy(out, text, HTTP_DATE_LEN);
}

Str http_date(void) {
    static char text[HTTP_DATE_LEN];
    static int64_t second = INT64_MIN;
    int64_t now = (clock_now().ticks - TICKS_UNIX_EPOCH) / TICKS_PER_SECOND;
    if (now != second)
        http_date_format(now, text);
    second = now;
    return (Str){text, HTTP_DATE_LEN};
}

void response_header(Response *res, const char *name, Str value) {
    Str n = str_c(name);
    ASSERT(n.n > 0 && chars_all(n, CHAR_TOKEN) && chars_all(value, CHAR_VALUE));
    buf_add(&res->head, n);
    buf_add_bytes(&res->head, ": ", 2);
    buf_add(&res->head, value);
    buf_add_bytes(&res->head, "\r\n", 2);
}

bool status_has_body(int status) {
    return status >= 200 && status != 204 && status != 304;
}

void answer_head(const HttpServer *server, const Response *res, Framing framing, size_t length, bool close, Buf *out) {
    ASSERT(res->status >= 200 && res->status <= 999);
    buf_reserve(out, 256 + res->head.n); /* one allocation */
    buf_add(out, STR("HTTP/1.1 "));
    buf_add_u64(out, (uint64_t)res->status);
    buf_add_char(out, ' ');
    buf_add_c(out, http_reason(res->status));
    buf_add(out, STR("\r\n"));
    if (framing == FRAMING_LENGTH) {
        buf_add(out, STR("Content-Length: "));
        buf_add_u64(out, length);
        buf_add(out, STR("\r\n"));
    } else if (framing == FRAMING_CHUNKED) {
        buf_add(out, STR("Transfer-Encoding: chunked\r\n"));
    }
    if (close)
        buf_add(out, STR("Connection: close\r\n"));
    buf_add(out, buf_str(&res->head));
    if (!server->options.hide_date) {
        buf_add(out, STR("Date: "));
        buf_add(out, http_date());
        buf_add(out, STR("\r\n"));
    }
    if (server->options.server_name.n > 0) {
        buf_add(out, STR("Server: "));
        buf_add(out, server->options.server_name);
        buf_add(out, STR("\r\n"));
    }
    buf_add(out, STR("\r\n"));
}

void answer_refusal_fill(const HttpServer *server, Response *res, const char *allow, bool plain) {
    if (res->status == 405 && allow != NULL)
        response_header(res, "Allow", str_c(allow));
    if (!plain && server->options.on_protocol_error != NULL)
        server->options.on_protocol_error(res->status, res, server->options.data);
}

/* on_protocol_error may put in fields and a body; what does not fit into an answer at once is replaced by the plain
 * one. */
void answer_refusal(HttpConnection *conn, int status, const char *allow) {
    HttpServer *server = conn->server;
    Arena *arena = server->error_arena;
    server->stats.protocol_errors++;
    if (server->options.observer != NULL)
        server->options.observer->refused(status);
    for (int plain = server->options.on_protocol_error == NULL; plain < 2; plain++) {
        arena_reset(arena);
        Response res = {.status = status, .close = true};
        res.body = buf_new(arena, BLOCK_BIG / 2);
        res.head = buf_new(arena, 4096);
        answer_refusal_fill(server, &res, allow, plain != 0);
        Buf head = buf_new(arena, BLOCK_SMALL * 2);
        answer_head(server, &res, FRAMING_LENGTH, res.body.n, true, &head);
        if (res.head.err == ERR_OK && res.body.err == ERR_OK && head.err == ERR_OK &&
            output_add(conn, buf_str(&head), buf_str(&res.body))) {
            conn->sealed = true;
            return;
        }
    }
    connection_abort(conn);
}
