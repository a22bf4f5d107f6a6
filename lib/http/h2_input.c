/*
 * h2_input.c - frames from a client: heads, bodies, endings.
 *
 * Callbacks of nghttp2. They run inside h2_input (and some inside h2_output), so they only note, submit and wake; a
 * handler wakes in its own coroutine later in the turn.
 */
#include "http/chars.h"
#include "http/h2.h"

static Exchange *exchange_of(nghttp2_session *ng, int32_t id) {
    return nghttp2_session_get_stream_user_data(ng, id);
}

static void body_wake(Exchange *ex, Err err) {
    if (ex->body_wait != NULL)
        wait_wake(ex->body_wait, err);
    ex->body_wait = NULL;
}

static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *head, void *data) {
    H2Session *session = data;
    (void)ng;
    session->calm = h2_is_noise_type(head->type) && !h2_noise(session);
    return session->calm ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *data) {
    (void)ng;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        h2_head_begin(data);
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *data) {
    Str field = {(const char *)name, name_n}, text = {(const char *)value, value_n};
    (void)flags;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        h2_head_field(data, field, text);
        return 0;
    }
    Exchange *ex = exchange_of(ng, frame->hd.stream_id);
    if (ex == NULL || !chars_all(field, CHAR_TOKEN) || !chars_all(text, CHAR_VALUE))
        return 0;
    Buf *trailers = &ex->stream->trailers;
    buf_add(trailers, field);
    buf_add_bytes(trailers, ": ", 2);
    buf_add(trailers, text);
    buf_add_bytes(trailers, "\r\n", 2);
    return 0;
}

/* nghttp2 would leave such a field out; RFC 9113 §8.1.1 wants the stream refused. */
static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                             const uint8_t *value, size_t value_n, uint8_t flags, void *data) {
    H2Session *session = data;
    (void)name;
    (void)name_n;
    (void)value;
    (void)value_n;
    (void)flags;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        session->malformed = true;
    else
        (void)nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_PROTOCOL_ERROR);
    return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *bytes, size_t n, void *data) {
    Exchange *ex = exchange_of(ng, id);
    (void)flags;
    (void)data;
    if (ex == NULL) /* nobody reads it any more */
        return nghttp2_session_consume(ng, id, n) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
    ex->stream->received += n;
    buf_add_bytes(&ex->stream->in, bytes, n);
    if (ex->stream->in.err != ERR_OK)
        return NGHTTP2_ERR_CALLBACK_FAILURE; /* out of memory: a window can then not be given back */
    body_wake(ex, ERR_OK);
    return 0;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *data) {
    H2Session *session = data;
    bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (h2_is_noise(frame) && !h2_noise(session)) {
        session->calm = true;
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    switch (frame->hd.type) {
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
            h2_drain_tell(session);
        return 0;
    case NGHTTP2_HEADERS:
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
            h2_head_end(session, frame->hd.stream_id, !ends);
            return 0;
        }
        break;
    case NGHTTP2_DATA:
        break;
    default:
        return 0;
    }
    Exchange *ex = ends ? exchange_of(ng, frame->hd.stream_id) : NULL;
    if (ex != NULL) {
        ex->stream->input_ended = true;
        body_wake(ex, ERR_OK);
    }
    return 0;
}

void h2_stream_lost(Exchange *ex) {
    bool answered = ex->stream->out_done;
    ex->stream->closed = true;
    body_wake(ex, ex->stream->input_ended ? ERR_OK : ERR_EOF);
    if (ex->out_wait != NULL)
        wait_wake(ex->out_wait, ERR_OK); /* it looks */
    ex->out_wait = NULL;
    /* As when a connection goes: what only reads is of no use now, what writes goes on. */
    if (!answered && ex->safe && ex->body_ended)
        co_cancel(ex->co);
}

/* Both sides have ended it, or one has reset it. */
static int on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *data) {
    Exchange *ex = exchange_of(ng, id);
    (void)data;
    (void)code;
    if (ex != NULL)
        h2_stream_lost(ex);
    return 0;
}

void h2_callbacks_input(nghttp2_session_callbacks *callbacks) {
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
}

/* --- the handler reads -------------------------------------------------------------------------------------------- */

/* RFC 9110 §10.1.1. */
static void continue_send(Exchange *ex) {
    H2Stream *stream = ex->stream;
    if (!ex->req.expect_continue || ex->continue_sent || ex->req.holds_continue || stream->received > 0)
        return;
    ex->continue_sent = true;
    static uint8_t name[] = ":status", value[] = "100";
    nghttp2_nv field = {name, value, 7, 3, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
    (void)nghttp2_submit_headers(ex->conn->h2->ng, NGHTTP2_FLAG_NONE, stream->id, NULL, &field, 1, NULL);
}

static CO_FN Err body_wait(Exchange *ex) {
    HttpConnection *conn = ex->conn;
    if (conn->dead || conn->eof || ex->stream->closed)
        return ERR_EOF;
    continue_send(ex);
    Wait wait = {0};
    ex->body_wait = &wait;
    connection_touch(conn);
    int64_t began = clock_mono_ms();
    Err err = co_wait(&wait, body_deadline(ex, ex->stream->received, began));
    ex->body_wait = NULL;
    ex->body_waited_ms += clock_mono_ms() - began;
    if (err == ERR_TIMEOUT)
        conn->server->stats.timeouts++;
    return err;
}

/* Whole DATA frames gather until the handler asks; then it gets all of them at once, and the window opens again. */
static Err body_take(Exchange *ex, Str *ret) {
    H2Stream *stream = ex->stream;
    Buf taken = stream->in;
    stream->in = stream->handed;
    stream->handed = taken;
    buf_clear(&stream->in);
    (void)nghttp2_session_consume(ex->conn->h2->ng, stream->id, taken.n);
    connection_touch(ex->conn);
    stream->decoded += taken.n;
    if (stream->decoded > ex->conn->server->options.limits.body_max)
        return ERR_LIMIT;
    *ret = buf_str(&stream->handed);
    return ERR_OK;
}

CO_FN Err h2_body_next(Exchange *ex, Str *ret) {
    H2Stream *stream = ex->stream;
    Err err = ERR_OK;
    while (err == ERR_OK && stream->in.n == 0 && !stream->input_ended)
        err = body_wait(ex);
    if (err == ERR_OK && stream->in.n > 0) {
        err = body_take(ex, ret);
    } else if (err == ERR_OK) {
        ex->body_ended = true;
        *ret = STR("");
    }
    ex->body_err = err;
    return err;
}
