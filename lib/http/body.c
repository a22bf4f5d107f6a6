/*
 * body.c - handlers read a request's body: whole, or piece by piece.
 *
 * A piece is a view into the connection's input, pinned until the next call. The client's pace is judged only while the
 * handler waits: time that the handler itself takes is not the client's fault.
 */
#include "http/h2.h"

enum { RATE_GRACE_MS = 5000, BODY_FIRST_RESERVE = 64 * 1024, BODY_BELIEVED_TIMES = 4 };

static bool body_is_mine(const Exchange *ex) {
    return ex->conn->body.owner == ex && ex->conn->input == IN_BODY;
}

static Err body_fail(Exchange *ex, Err err) {
    ex->body_err = err;
    return err;
}

/* RFC 9110 §10.1.1: not when the body has begun to arrive. */
static void continue_send(Exchange *ex) {
    HttpConnection *conn = ex->conn;
    if (!ex->req.expect_continue || ex->continue_sent || ex->req.holds_continue || conn->body.received > 0)
        return;
    ex->continue_sent = true;
    if (!output_add(conn, STR("HTTP/1.1 100 Continue\r\n\r\n"), (Str){NULL, 0}))
        connection_abort(conn);
}

int64_t body_deadline(const Exchange *ex, uint64_t received, int64_t now) {
    const HttpLimits *limits = &ex->conn->server->options.limits;
    if (ex->conn->body.kind == BODY_TUNNEL)
        return 0; /* whoever opened it watches both directions together */
    int64_t left = limits->body_timeout_ms;
    if (limits->body_rate_min > 0) {
        int64_t earned = (int64_t)(received * 1000 / (uint64_t)limits->body_rate_min);
        int64_t allowed = MAX_OF(earned, RATE_GRACE_MS) - ex->body_waited_ms;
        left = MIN_OF(left, MAX_OF(allowed, 0));
    }
    return now + left;
}

/* Until there is more input. */
static CO_FN Err body_wait(Exchange *ex) {
    HttpConnection *conn = ex->conn;
    if (conn->dead || conn->eof)
        return ERR_EOF;
    continue_send(ex);
    Wait wait = {0};
    ex->body_wait = &wait;
    connection_touch(conn);
    int64_t began = clock_mono_ms();
    Err err = co_wait(&wait, body_deadline(ex, conn->body.received, began));
    ex->body_wait = NULL;
    ex->body_waited_ms += clock_mono_ms() - began;
    if (err == ERR_TIMEOUT)
        conn->server->stats.timeouts++;
    if (err != ERR_OK)
        return err;
    return conn->dead || (conn->eof && block_length(conn->in) == 0) ? ERR_EOF : ERR_OK;
}

/* Takes a piece out of what has arrived. *ret stays absent when there is none. */
static Err body_take(Exchange *ex, Str *ret) {
    HttpConnection *conn = ex->conn;
    BodyInput *body = &conn->body;
    size_t used = 0;
    Str piece = {NULL, 0};
    bool ended = false;
    Str input = block_str(conn->in);
    if (body->kind == BODY_LENGTH) {
        used = (size_t)MIN_OF((uint64_t)input.n, body->left);
        piece = str_slice(input, 0, used);
        body->left -= used;
        ended = body->left == 0;
    } else if (body->kind == BODY_TUNNEL) {
        used = input.n;
        piece = input;
    } else {
        ChunkResult result = chunk_decode(&body->decoder, input, &used, &piece);
        if (result == CHUNK_BAD)
            return ERR_SYNTAX;
        ended = result == CHUNK_END;
    }
    conn->in->from += (uint32_t)used;
    body->received += used;
    body->pinned = piece.n > 0;
    body->decoded += piece.n;
    if (body->decoded > conn->server->options.limits.body_max)
        return ERR_LIMIT;
    if (ended) {
        ex->body_ended = true;
        conn->input = conn->final || conn->eof ? IN_STOP : IN_HEAD;
        conn->resume = true;
        connection_touch(conn);
    }
    *ret = piece;
    return ERR_OK;
}

CO_FN Err request_body_next(Request *req, Str *ret) {
    Exchange *ex = (Exchange *)((char *)req - offsetof(Exchange, req));
    HttpConnection *conn = ex->conn;
    TRY(ex->body_err);
    if (ex->body_whole.n > 0) {
        *ret = ex->body_whole;
        ex->body_whole.n = 0;
        return ERR_OK;
    }
    if (conn->body.owner == ex)
        conn->body.pinned = false;
    if (req->body_kind == BODY_LENGTH && req->content_length > conn->server->options.limits.body_max)
        return body_fail(ex, ERR_LIMIT);
    if (ex->stream != NULL)
        return h2_body_next(ex, ret);
    Str piece = {NULL, 0};
    while (!ex->body_ended && piece.n == 0) {
        if (conn->dead || !body_is_mine(ex))
            return body_fail(ex, ERR_EOF);
        Err err = block_length(conn->in) == 0 ? body_wait(ex) : ERR_OK;
        if (err == ERR_OK && block_length(conn->in) > 0)
            err = body_take(ex, &piece);
        if (err == ERR_EOF && conn->body.kind == BODY_TUNNEL && !conn->dead)
            ex->body_ended = true; /* a tunnel's end is no accident */
        else if (err != ERR_OK)
            return body_fail(ex, err);
    }
    *ret = piece.n > 0 ? piece : STR("");
    return ERR_OK;
}

/* Room for the whole announced body, but no more than some times what has come: who lies about it gains little. */
static size_t room_wanted(const Request *req, size_t have, size_t more) {
    uint64_t announced = req->body_kind == BODY_LENGTH ? req->content_length : 0;
    uint64_t believed = MAX_OF((uint64_t)BODY_FIRST_RESERVE, (uint64_t)BODY_BELIEVED_TIMES * (have + more));
    return (size_t)MAX_OF(MIN_OF(announced, believed), (uint64_t)(have + more)) - have;
}

CO_FN Err request_body(Request *req, uint64_t max_bytes, Str *ret) {
    Exchange *ex = (Exchange *)((char *)req - offsetof(Exchange, req));
    TRY(ex->body_err);
    if (req->body_kind == BODY_NONE) {
        *ret = STR("");
        return ERR_OK;
    }
    if (req->body_kind == BODY_LENGTH && req->content_length > max_bytes)
        return body_fail(ex, ERR_LIMIT);
    if (ex->body_whole.n > 0)
        return request_body_next(req, ret);
    Buf all = buf_new(req->ctx->arena, (size_t)MIN_OF(max_bytes, (uint64_t)SIZE_MAX / 2));
    for (;;) {
        Str piece;
        TRY(request_body_next(req, &piece));
        if (piece.n == 0)
            break;
        buf_reserve(&all, room_wanted(req, all.n, piece.n));
        buf_add(&all, piece);
        if (all.err != ERR_OK)
            return body_fail(ex, all.err);
    }
    *ret = buf_str(&all);
    return ERR_OK;
}

void request_keep_trailers(Request *req) {
    Exchange *ex = (Exchange *)((char *)req - offsetof(Exchange, req));
    if (ex->stream != NULL || ex->conn->body.owner != ex)
        return; /* streams keep theirs; or the whole body was there with the head: it had a length */
    ex->trailers = buf_new(req->ctx->arena, CHUNK_TRAILERS_MAX);
    ex->conn->body.decoder.kept = &ex->trailers;
}

Str request_trailers(const Request *req) {
    const Exchange *ex = (const Exchange *)((const char *)req - offsetof(Exchange, req));
    const Buf *trailers = ex->stream == NULL ? &ex->trailers : &ex->stream->trailers;
    return ex->body_ended && trailers->err == ERR_OK ? buf_str(trailers) : STR("");
}

bool request_body_here(Request *req, Str *ret) {
    Exchange *ex = (Exchange *)((char *)req - offsetof(Exchange, req));
    if (ex->body_whole.p == NULL)
        return false;
    *ret = ex->body_whole;
    ex->body_whole.n = 0;
    return true;
}
