/*
 * stream.c - answers whose length is not known when they begin.
 *
 * HTTP/1.1 clients get chunks (RFC 9112 §7.1), HTTP/1.0 clients a body that the close ends. A stream that is not ended
 * properly is ended by an abort, so that nobody takes half an answer for a whole one.
 */
#include "http/connection.h"

static Exchange *exchange_of(Request *req) {
    return (Exchange *)((char *)req - offsetof(Exchange, req));
}

static bool stream_has_body(const Exchange *ex) {
    return ex->req.method != METHOD_HEAD && status_has_body(ex->res.status);
}

CO_FN Err response_stream_begin(Request *req, Response *res) {
    Exchange *ex = exchange_of(req);
    HttpConnection *conn = ex->conn;
    ASSERT(!res->streaming && res->status >= 200);
    TRY(exchange_turn(ex));
    if (conn->sealed)
        return ERR_EOF;
    /* A body that is still unread might not be read before the end, and the head goes out now: the connection
     * closes. */
    bool close = res->close || !ex->keep_alive || connection_ends_with(conn, ex) || !ex->body_ended;
    Framing framing = !status_has_body(res->status) || req->minor == 0 ? FRAMING_NONE : FRAMING_CHUNKED;
    Buf head = buf_new(res->head.arena, 20 * 1024);
    answer_head(conn->server, res, framing, 0, close, &head);
    TRY(res->head.err);
    TRY(head.err);
    res->streaming = true;
    res->close = close;
    ex->stream_open = true;
    if (close)
        conn->final = true;
    return output_send(ex, buf_str(&head), (Str){NULL, 0});
}

CO_FN Err response_stream_write(Request *req, Response *res, Str piece) {
    Exchange *ex = exchange_of(req);
    ASSERT(res->streaming && ex->stream_open);
    while (piece.n > 0) {
        Str part = str_slice(piece, 0, STREAM_CHUNK_MAX);
        piece = str_slice(piece, part.n, piece.n);
        if (!stream_has_body(ex))
            continue;
        if (ex->req.minor == 0) {
            TRY(output_send(ex, part, (Str){NULL, 0}));
            continue;
        }
        char size[24];
        int n = snprintf(size, sizeof(size), "%zx\r\n", part.n);
        TRY(output_send(ex, (Str){size, (size_t)n}, part));
        TRY(output_send(ex, STR("\r\n"), (Str){NULL, 0}));
    }
    return ex->conn->dead ? ERR_EOF : ERR_OK;
}

CO_FN Err response_stream_end(Request *req, Response *res) {
    Exchange *ex = exchange_of(req);
    ASSERT(res->streaming && ex->stream_open);
    if (stream_has_body(ex) && req->minor == 1)
        TRY(output_send(ex, STR("0\r\n\r\n"), (Str){NULL, 0}));
    if (res->close)
        ex->conn->sealed = true;
    ex->stream_open = false;
    return ex->conn->dead ? ERR_EOF : ERR_OK;
}
