/*
 * stream.c - answers whose length is not known when they begin.
 *
 * HTTP/1.1 clients get chunks (RFC 9112 §7.1), HTTP/1.0 clients a body that the close ends. A stream that is not ended
 * properly is ended by an abort, so that nobody takes half an answer for a whole one.
 */
#include "http/h2.h"

static Exchange *exchange_of(Request *req) {
    return (Exchange *)((char *)req - offsetof(Exchange, req));
}

CO_FN Err response_stream_begin(Request *req, Response *res) {
    Exchange *ex = exchange_of(req);
    HttpConnection *conn = ex->conn;
    ASSERT(!res->streaming && res->status >= 200);
    if (ex->stream != NULL)
        return h2_stream_begin(ex);
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
    ex->stream_kind = req->method == METHOD_HEAD || !status_has_body(res->status) ? BODY_NONE
                      : req->minor == 0                                           ? BODY_UNTIL_CLOSE
                                                                                  : BODY_CHUNKED;
    if (close)
        conn->final = true;
    return output_send(ex, buf_str(&head), (Str){NULL, 0});
}

CO_FN Err response_stream_write(Request *req, Response *res, Str piece) {
    Exchange *ex = exchange_of(req);
    ASSERT(res->streaming && ex->stream_open);
    if (ex->stream_kind == BODY_NONE)
        return ex->conn->dead ? ERR_EOF : ERR_OK;
    if (ex->stream_kind == BODY_LENGTH) {
        ASSERT(piece.n <= ex->stream_left);
        ex->stream_left -= piece.n;
    }
    if (ex->stream != NULL)
        return h2_stream_write(ex, piece);
    if (ex->stream_kind != BODY_CHUNKED) /* bytes as they are: with a length, to the close, in a tunnel */
        return output_send(ex, piece, (Str){NULL, 0});
    while (piece.n > 0) {
        Str part = str_slice(piece, 0, STREAM_CHUNK_MAX);
        piece = str_slice(piece, part.n, piece.n);
        char size[24];
        int n = snprintf(size, sizeof(size), "%zx\r\n", part.n);
        TRY(output_send(ex, (Str){size, (size_t)n}, part));
        TRY(output_send(ex, STR("\r\n"), (Str){NULL, 0}));
    }
    return ex->conn->dead ? ERR_EOF : ERR_OK;
}

bool response_stream_splices(Request *req) {
    const Exchange *ex = exchange_of(req);
    return ex->stream_open && ex->stream_kind == BODY_LENGTH && ex->stream == NULL && ex->conn->tls == NULL;
}

CO_FN Err response_stream_splice(Request *req, int pipe, size_t n) {
    Exchange *ex = exchange_of(req);
    ASSERT(response_stream_splices(req) && n <= ex->stream_left);
    ex->stream_left -= n;
    return output_splice(ex, pipe, n);
}

CO_FN Err response_stream_end_trailers(Request *req, Response *res, Str trailers) {
    Exchange *ex = exchange_of(req);
    ASSERT(res->streaming && ex->stream_open);
    if (ex->stream_kind == BODY_LENGTH && ex->stream_left > 0)
        return ERR_EOF; /* less than was announced: left open, hence cut */
    if (ex->stream != NULL)
        return h2_stream_end(ex, trailers);
    if (ex->stream_kind == BODY_CHUNKED && trailers.n > 0) {
        TRY(output_send(ex, STR("0\r\n"), trailers));
        TRY(output_send(ex, STR("\r\n"), (Str){NULL, 0}));
    } else if (ex->stream_kind == BODY_CHUNKED) {
        TRY(output_send(ex, STR("0\r\n\r\n"), (Str){NULL, 0}));
    }
    if (res->close)
        ex->conn->sealed = true;
    ex->stream_open = false;
    output_end(ex);
    return ex->conn->dead ? ERR_EOF : ERR_OK;
}

CO_FN Err response_stream_end(Request *req, Response *res) {
    return response_stream_end_trailers(req, res, (Str){NULL, 0});
}
