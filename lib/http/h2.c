/*
 * h2.c - the life of a session: beginning, taking frames, giving frames, drain, end.
 *
 * Output goes the way of HTTP/1.1's answers: frames gather in the connection's block and leave once a turn, in one
 * write; only what is longer than a block takes more. Input is always read, also while the client takes nothing: a
 * client must be able to open windows and to reset streams, and what its frames may make us keep is bounded (h2.h,
 * h2_limits.c).
 */
#include "http/h2.h"

#include "base/heap.h"

enum { DRAIN_ANSWER_MS = 1000, STREAMS_POOLED_MAX = 8 };

static const uint8_t DRAIN_PING[8] = "usherend";

/* --- beginning and end -------------------------------------------------------------------------------------------- */

static nghttp2_session *session_open(H2Session *session) {
    static nghttp2_session_callbacks *callbacks; /* the process's, for good */
    if (callbacks == NULL) {
        if (nghttp2_session_callbacks_new(&callbacks) != 0)
            return NULL;
        h2_callbacks_input(callbacks);
        h2_callbacks_output(callbacks);
    }
    nghttp2_option *option;
    nghttp2_session *ng = NULL;
    if (nghttp2_option_new(&option) != 0)
        return NULL;
    h2_limits_set(option);
    if (nghttp2_session_server_new3(&ng, callbacks, session, option, h2_memory()) != 0)
        ng = NULL;
    nghttp2_option_del(option);
    return ng;
}

/* NO_RFC7540_PRIORITIES is not announced: with it nghttp2 1.52 queues bodies in a way that frees one twice when memory
 * is refused. */
static bool settings_submit(const H2Session *session, const HttpLimits *limits) {
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)limits->streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)limits->headers_total_max},
    };
    return nghttp2_submit_settings(session->ng, NGHTTP2_FLAG_NONE, entries, ARRAY_LEN(entries)) == 0 &&
           nghttp2_session_set_local_window_size(session->ng, NGHTTP2_FLAG_NONE, 0, H2_CONNECTION_WINDOW) == 0;
}

bool h2_begin(HttpConnection *conn) {
    HttpServer *server = conn->server;
    if (server->stream_parser == NULL)
        server->stream_parser = HEAP_NEW(HeadParser);
    H2Session *session = HEAP_NEW(H2Session);
    if (session == NULL || server->stream_parser == NULL) {
        heap_free(session);
        return false;
    }
    session->conn = conn;
    session->head = session->pseudo = buf_new(NULL, BLOCK_BIG);
    session->cookie = buf_new(NULL, BLOCK_BIG);
    session->ng = session_open(session);
    conn->h2 = session;
    if (session->ng == NULL || !settings_submit(session, &server->options.limits)) {
        h2_end(conn);
        return false;
    }
    conn->input = IN_H2;
    conn->head_at = 0;
    if (conn->in != NULL)
        head_reset(&conn->in->parser);
    connection_touch(conn);
    return true;
}

void h2_end(HttpConnection *conn) {
    H2Session *session = conn->h2;
    if (session == NULL)
        return;
    nghttp2_session_del(session->ng);
    while (session->free_streams != NULL) {
        H2Stream *next = session->free_streams->next;
        heap_free(session->free_streams);
        session->free_streams = next;
    }
    buf_done(&session->head);
    buf_done(&session->pseudo);
    buf_done(&session->cookie);
    heap_free(session);
    conn->h2 = NULL;
}

H2Stream *h2_stream_take(H2Session *session, int32_t id) {
    H2Stream *stream = session->free_streams;
    if (stream != NULL)
        session->free_streams = stream->next;
    else
        stream = HEAP_NEW(H2Stream);
    if (stream != NULL)
        *stream = (H2Stream){.id = id,
                             .in = buf_new(NULL, H2_STREAM_WINDOW),
                             .handed = buf_new(NULL, H2_STREAM_WINDOW),
                             .trailers = buf_new(NULL, CHUNK_TRAILERS_MAX)};
    return stream;
}

void h2_stream_give(HttpConnection *conn, H2Stream *stream) {
    H2Session *session = conn->h2;
    if (stream->in.n > 0)
        (void)nghttp2_session_consume(session->ng, stream->id, stream->in.n);
    if (!stream->closed) {
        (void)nghttp2_session_set_stream_user_data(session->ng, stream->id, NULL);
        /* The answer is out and the rest of the body is not wanted (RFC 9113 §8.1), or the answer was cut short. A
         * reset takes back what is queued: where the answer's last frame still is, on_frame_sent does it. */
        if (stream->out_framed || !stream->out_done)
            (void)nghttp2_submit_rst_stream(session->ng, NGHTTP2_FLAG_NONE, stream->id,
                                            stream->out_done ? NGHTTP2_NO_ERROR : NGHTTP2_INTERNAL_ERROR);
        connection_touch(conn);
    }
    buf_done(&stream->in);
    buf_done(&stream->handed);
    buf_done(&stream->trailers);
    if (conn->count >= STREAMS_POOLED_MAX) {
        heap_free(stream);
        return;
    }
    stream->next = session->free_streams;
    session->free_streams = stream;
}

/* --- frames ------------------------------------------------------------------------------------------------------- */

/* What is behind a fatal error is not looked at; GOAWAY says so, and the connection ends when that is out. No stream
 * will hear of its client again. */
static void fail(H2Session *session, uint32_t code) {
    session->failed = true;
    for (Exchange *ex = session->conn->first; ex != NULL; ex = ex->next) {
        if (ex->stream->closed)
            continue;
        (void)nghttp2_session_set_stream_user_data(session->ng, ex->stream->id, NULL);
        h2_stream_lost(ex);
    }
    session->conn->unread = true;
    session->conn->server->stats.protocol_errors++;
    if (session->conn->server->options.observer != NULL)
        session->conn->server->options.observer->refused(400);
    (void)nghttp2_session_terminate_session(session->ng, code);
}

void h2_input(HttpConnection *conn) {
    H2Session *session = conn->h2;
    Str bytes = block_str(conn->in);
    if (!session->failed) {
        ssize_t n = nghttp2_session_mem_recv(session->ng, (const uint8_t *)bytes.p, bytes.n);
        if (n == NGHTTP2_ERR_FLOODED || session->calm)
            fail(session, NGHTTP2_ENHANCE_YOUR_CALM);
        else if (n < 0)
            fail(session, n == NGHTTP2_ERR_NOMEM ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_PROTOCOL_ERROR);
    }
    conn->in->from = conn->in->to;
    connection_touch(conn);
}

bool h2_frame(HttpConnection *conn) {
    H2Session *session = conn->h2;
    while (!conn->dead && nghttp2_session_want_write(session->ng) != 0) {
        if (!output_room(conn, H2_FRAME_ROOM) || conn->out->capacity - block_length(conn->out) < H2_FRAME_ROOM)
            return true;
        const uint8_t *bytes;
        ssize_t n = nghttp2_session_mem_send(session->ng, &bytes);
        if (n > 0) {
            size_t taken = block_append(conn->out, (Str){(const char *)bytes, (size_t)n});
            ASSERT(taken == (size_t)n);
        } else if (n < 0) {
            connection_abort(conn);
            return false;
        } else { /* a body that found no room (on_body_send), or a client that opens no window */
            if (conn->eof)
                h2_stuck_end(conn);
            return block_length(conn->out) > 0 && nghttp2_session_want_write(session->ng) != 0;
        }
    }
    if (conn->eof && !conn->dead)
        h2_stuck_end(conn);
    return false;
}

void h2_output(HttpConnection *conn) {
    bool more;
    do {
        more = h2_frame(conn);
        if (more && !conn->dead)
            output_flush(conn);
    } while (more && !conn->dead && !conn->out_blocked);
    if (!conn->dead && conn->out != NULL && block_length(conn->out) == 0)
        output_flush(conn); /* gives the block back */
}

/* --- endings ------------------------------------------------------------------------------------------------------ */

void h2_eof(HttpConnection *conn) {
    for (Exchange *ex = conn->first; ex != NULL; ex = ex->next) {
        if (ex->body_wait != NULL)
            wait_wake(ex->body_wait, ERR_OK); /* it looks and finds the end */
        ex->body_wait = NULL;
    }
    h2_stuck_end(conn);
}

static void goaway(H2Session *session) {
    (void)nghttp2_submit_goaway(session->ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session->ng),
                                NGHTTP2_NO_ERROR, NULL, 0);
}

void h2_drain(HttpConnection *conn) {
    H2Session *session = conn->h2;
    if (session->drain_begun_at == 0) {
        session->drain_begun_at = clock_mono_ms();
        (void)nghttp2_submit_shutdown_notice(session->ng);
        (void)nghttp2_submit_ping(session->ng, NGHTTP2_FLAG_NONE, DRAIN_PING);
        connection_touch(conn);
    }
    /* A client that does not answer the PING is not waited for longer than this. */
    conn->idle_at = MIN_OF(conn->idle_at, session->drain_begun_at + DRAIN_ANSWER_MS);
}

void h2_drain_tell(H2Session *session) {
    if (session->drain_begun_at == 0 || session->drain_told)
        return;
    session->drain_told = true;
    goaway(session);
    connection_touch(session->conn);
}

void h2_goodbye(HttpConnection *conn) {
    goaway(conn->h2);
    h2_output(conn);
    if (!conn->dead)
        output_flush(conn);
}

bool h2_is_over(const HttpConnection *conn) {
    const H2Session *session = conn->h2;
    if (block_length(conn->out) > 0 || nghttp2_session_want_write(session->ng) != 0)
        return false;
    if (session->failed || nghttp2_session_want_read(session->ng) == 0)
        return true;
    return conn->count == 0 && (conn->eof || session->drain_told);
}
