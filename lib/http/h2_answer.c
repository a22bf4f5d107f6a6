/*
 * h2_answer.c - a handler's answer as frames.
 *
 * A body is never copied before it stands in the connection's block: nghttp2 is shown how much there is (NO_COPY) and
 * calls on_body_send to put it there. So the handler's coroutine stays until its last byte has been framed, as it does
 * for long answers of HTTP/1.1; most answers fit into the block at once and nobody waits.
 */
#include "http/chars.h"
#include "http/h2.h"

/* --- bodies ------------------------------------------------------------------------------------------------------- */

static void waiter_wake(Exchange *ex) {
    if (ex->out_wait != NULL)
        wait_wake(ex->out_wait, ERR_OK);
    ex->out_wait = NULL;
}

/* Trailers end a stream instead of its last DATA frame, which is left out where it would be empty: on_body_send does
 * not see it then. */
static void end_of_body(nghttp2_session *ng, Exchange *ex, uint32_t *flags) {
    H2Stream *stream = ex->stream;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream->out_trailers == NULL)
        return;
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (nghttp2_submit_trailer(ng, stream->id, stream->out_trailers->p, stream->out_trailers->n) != 0)
        *flags &= ~(uint32_t)NGHTTP2_DATA_FLAG_NO_END_STREAM; /* a body without its trailers is still whole */
    else
        stream->out_done = true;
    if (stream->out.n == 0)
        waiter_wake(ex);
}

static ssize_t on_body_ask(nghttp2_session *ng, int32_t id, uint8_t *out, size_t n, uint32_t *flags,
                           nghttp2_data_source *source, void *data) {
    Exchange *ex = nghttp2_session_get_stream_user_data(ng, id);
    (void)out;
    (void)source;
    (void)data;
    if (ex == NULL) /* its handler has given up; the reset is on its way */
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    H2Stream *stream = ex->stream;
    stream->out_idle = stream->out.n == 0 && !stream->out_last;
    if (stream->out_idle)
        return NGHTTP2_ERR_DEFERRED;
    size_t taken = MIN_OF(n, stream->out.n);
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (stream->out_last && taken == stream->out.n)
        end_of_body(ng, ex, flags);
    return (ssize_t)taken;
}

static int on_body_send(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t n,
                        nghttp2_data_source *source, void *data) {
    HttpConnection *conn = ((H2Session *)data)->conn;
    Exchange *ex = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    (void)source;
    if (ex == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (conn->out->capacity - block_length(conn->out) < n + 9)
        return NGHTTP2_ERR_WOULDBLOCK;
    H2Stream *stream = ex->stream;
    block_append(conn->out, (Str){(const char *)head, 9});
    block_append(conn->out, str_slice(stream->out, 0, n));
    stream->out = str_slice(stream->out, n, stream->out.n);
    stream->out_done = stream->out_done || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (stream->out.n == 0)
        waiter_wake(ex);
    return 0;
}

/* The last frame of an answer that has none to wait for it any more, to a request that goes on. */
static int on_frame_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *data) {
    int32_t id = frame->hd.stream_id;
    (void)data;
    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    Exchange *ex = nghttp2_session_get_stream_user_data(ng, id);
    if (ex != NULL)
        ex->stream->out_framed = true;
    else if (nghttp2_session_get_stream_remote_close(ng, id) == 0)
        (void)nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
    return 0;
}

void h2_callbacks_output(nghttp2_session_callbacks *callbacks) {
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_body_send);
}

/* --- heads -------------------------------------------------------------------------------------------------------- */

static void field_add(H2Fields *fields, Str name, Str value) {
    fields->p[fields->n++] = (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.n, value.n,
                                          NGHTTP2_NV_FLAG_NONE};
}

/* RFC 9113 §8.2.2: what belongs to one connection of HTTP/1.1. */
static bool is_connection_field(Str name) {
    static const char *const names[] = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq_c(name, names[i]))
            return true;
    }
    return false;
}

static char lower(char letter) {
    return (char)(letter >= 'A' && letter <= 'Z' ? letter + ('a' - 'A') : letter);
}

static size_t lines_in(Str text) {
    size_t lines = 0;
    for (size_t i = 0; i < text.n; i++)
        lines += text.p[i] == '\n';
    return lines;
}

/* The lines "Name: value\r\n" of a handler; the text is ours to write lower case into. */
static void fields_of_lines(H2Fields *fields, char *text, size_t n) {
    Str rest = {text, n};
    while (rest.n > 0) {
        Str line = str_cut(&rest, '\r'), value = line;
        rest = str_slice(rest, 1, rest.n);
        Str name = str_cut(&value, ':');
        char *letters = text + (name.p - text);
        for (size_t i = 0; i < name.n; i++)
            letters[i] = lower(letters[i]);
        if (!is_connection_field(name))
            field_add(fields, name, str_trim(value, " \t"));
    }
}

/* length: -1: not told. */
static Err head_submit(Exchange *ex, int64_t length, bool has_body) {
    const HttpServer *server = ex->conn->server;
    const Response *res = &ex->res;
    Arena *arena = ex->req.ctx->arena;
    size_t lines = lines_in(buf_str(&res->head));
    H2Fields fields = {ARENA_ARRAY(arena, nghttp2_nv, lines + 4), 0};
    Str text = arena_str(arena, buf_str(&res->head)), status = arena_printf(arena, "%d", res->status);
    Str n = length < 0 ? STR("") : arena_printf(arena, "%lld", (long long)length);
    if (fields.p == NULL || text.p == NULL || status.p == NULL || n.p == NULL)
        return ERR_NO_MEMORY;
    field_add(&fields, STR(":status"), status);
    if (length >= 0)
        field_add(&fields, STR("content-length"), n);
    fields_of_lines(&fields, (char *)(uintptr_t)text.p, text.n);
    if (!server->options.hide_date)
        field_add(&fields, STR("date"), http_date());
    if (server->options.server_name.n > 0)
        field_add(&fields, STR("server"), server->options.server_name);
    nghttp2_data_provider provider = {.read_callback = on_body_ask};
    if (nghttp2_submit_response(ex->conn->h2->ng, ex->stream->id, fields.p, fields.n, has_body ? &provider : NULL) != 0)
        return ERR_NO_MEMORY;
    ex->stream->out_done = !has_body;
    connection_touch(ex->conn);
    return ERR_OK;
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static bool gone(const Exchange *ex) {
    return ex->conn->dead || (ex->stream->closed && !ex->stream->out_done);
}

/* Who sends no more opens no window either: what waits for one waits for nothing. nghttp2 holds back an end without a
 * byte before it, too. */
static bool stuck(const Exchange *ex) {
    nghttp2_session *ng = ex->conn->h2->ng;
    return ex->conn->eof && (ex->stream->out.n > 0 || (ex->stream->out_last && !ex->stream->out_done)) &&
           (nghttp2_session_get_remote_window_size(ng) <= 0 ||
            nghttp2_session_get_stream_remote_window_size(ng, ex->stream->id) <= 0);
}

void h2_stuck_end(HttpConnection *conn) {
    for (Exchange *ex = conn->first; ex != NULL; ex = ex->next)
        if (ex->out_wait != NULL && stuck(ex))
            waiter_wake(ex); /* it looks */
}

/* Until nghttp2 has framed all that is to be sent. A client that opens no window is given up after write_timeout_ms
 * without a byte. */
static CO_FN Err drained(Exchange *ex) {
    H2Stream *stream = ex->stream;
    HttpConnection *conn = ex->conn;
    if (stream->out_idle) {
        stream->out_idle = false;
        (void)nghttp2_session_resume_data(conn->h2->ng, stream->id);
    }
    h2_frame(conn); /* most fits at once */
    while (!gone(ex) && (stream->out.n > 0 || (stream->out_last && !stream->out_done))) {
        size_t before = stream->out.n;
        if (stuck(ex))
            return ERR_EOF;
        Wait wait = {0};
        ex->out_wait = &wait;
        connection_touch(conn);
        Err err = co_wait(&wait, clock_mono_ms() + conn->server->options.limits.write_timeout_ms);
        ex->out_wait = NULL;
        if (err == ERR_TIMEOUT && stream->out.n == before)
            conn->server->stats.timeouts++;
        if (err != ERR_OK && (err != ERR_TIMEOUT || stream->out.n == before))
            return err;
    }
    return gone(ex) ? ERR_EOF : ERR_OK;
}

CO_FN void h2_answer(Exchange *ex) {
    Response *res = &ex->res;
    H2Stream *stream = ex->stream;
    if (gone(ex) || res->streaming)
        return; /* one that was cut short is reset when the stream is given back */
    exchange_settle(ex);
    bool has_body = status_has_body(res->status);
    int64_t length = has_body && !res->no_content_length ? (int64_t)res->body.n : -1;
    stream->out = has_body && ex->req.method != METHOD_HEAD ? buf_str(&res->body) : STR("");
    stream->out_last = true;
    if (head_submit(ex, length, stream->out.n > 0) == ERR_OK)
        (void)drained(ex); /* what could not be sent is reset */
    stream->out = STR("");
}

CO_FN Err h2_stream_begin(Exchange *ex) {
    Response *res = &ex->res;
    if (gone(ex))
        return ERR_EOF;
    TRY(res->head.err);
    bool has_body = ex->req.method != METHOD_HEAD && status_has_body(res->status);
    TRY(head_submit(ex, -1, has_body));
    res->streaming = true;
    ex->stream_open = true;
    ex->stream_kind = has_body ? BODY_CHUNKED : BODY_NONE;
    return ERR_OK;
}

CO_FN Err h2_stream_write(Exchange *ex, Str piece) {
    if (gone(ex))
        return ERR_EOF;
    if (ex->stream->out_done) /* HEAD, 204, 304 */
        return ERR_OK;
    ex->stream->out = piece;
    Err err = drained(ex);
    ex->stream->out = STR("");
    return err;
}

CO_FN Err h2_stream_end(Exchange *ex, Str trailers) {
    Arena *arena = ex->req.ctx->arena;
    H2Stream *stream = ex->stream;
    H2Fields fields = {NULL, 0};
    if (gone(ex))
        return ERR_EOF;
    if (trailers.n > 0 && !stream->out_done) {
        Str text = arena_str(arena, trailers);
        fields.p = ARENA_ARRAY(arena, nghttp2_nv, lines_in(trailers));
        if (fields.p == NULL || text.p == NULL)
            return ERR_NO_MEMORY;
        fields_of_lines(&fields, (char *)(uintptr_t)text.p, text.n);
    }
    stream->out_trailers = fields.n > 0 ? &fields : NULL;
    stream->out_last = true;
    Err err = drained(ex);
    stream->out_trailers = NULL;
    ex->stream_open = err != ERR_OK;
    return err;
}

/* --- answers of another server ------------------------------------------------------------------------------------ */

/* Status and fields as they came, in lower case, without what belongs to the other connection. */
static Err pass_fields(Exchange *ex, const UpstreamAnswer *answer, bool keeps_length, H2Fields *ret) {
    Arena *arena = ex->req.ctx->arena;
    Str listed[LISTED_MAX];
    size_t n_listed = fields_listed(answer, listed);
    Str own = arena_str(arena, buf_str(&ex->res.head)), status = arena_printf(arena, "%d", answer->status);
    *ret = (H2Fields){ARENA_ARRAY(arena, nghttp2_nv, answer->header_count + lines_in(own) + 1), 0};
    if (ret->p == NULL || own.p == NULL || status.p == NULL)
        return ERR_NO_MEMORY;
    field_add(ret, STR(":status"), status);
    for (size_t i = 0; i < answer->header_count; i++) {
        Str name = arena_str(arena, answer->headers[i].name);
        if (name.p == NULL)
            return ERR_NO_MEMORY;
        char *letters = (char *)(uintptr_t)name.p;
        for (size_t j = 0; j < name.n; j++)
            letters[j] = lower(letters[j]);
        if (is_connection_field(name) || field_is_hop(name, listed, n_listed) ||
            (!keeps_length && str_eq_c(name, "content-length")))
            continue;
        field_add(ret, name, answer->headers[i].value);
    }
    fields_of_lines(ret, (char *)(uintptr_t)own.p, own.n);
    return ERR_OK;
}

CO_FN Err h2_interim(Exchange *ex, const UpstreamAnswer *answer) {
    H2Fields fields;
    if (gone(ex))
        return ERR_EOF;
    if (answer->status == 101) /* RFC 9113 §8.6: nothing is switched here */
        return ERR_OK;
    TRY(pass_fields(ex, answer, false, &fields));
    if (answer->status == 100)
        ex->continue_sent = true;
    int failed =
        nghttp2_submit_headers(ex->conn->h2->ng, NGHTTP2_FLAG_NONE, ex->stream->id, NULL, fields.p, fields.n, NULL);
    connection_touch(ex->conn);
    return failed >= 0 ? ERR_OK : ERR_NO_MEMORY;
}

CO_FN Err h2_pass_begin(Exchange *ex, const UpstreamAnswer *answer) {
    Response *res = &ex->res;
    H2Fields fields;
    BodyKind kind = pass_kind(&ex->req, answer);
    if (gone(ex))
        return ERR_EOF;
    if (kind == BODY_TUNNEL) /* no client of HTTP/2 can have asked for one */
        return ERR_CONFLICT;
    TRY(res->head.err);
    TRY(pass_fields(ex, answer, answer->status >= 200 && answer->status != 204, &fields));
    bool has_body = kind != BODY_NONE && !(kind == BODY_LENGTH && answer->content_length == 0);
    nghttp2_data_provider provider = {.read_callback = on_body_ask};
    if (nghttp2_submit_response(ex->conn->h2->ng, ex->stream->id, fields.p, fields.n, has_body ? &provider : NULL) != 0)
        return ERR_NO_MEMORY;
    ex->stream->out_done = !has_body;
    connection_touch(ex->conn);
    res->status = answer->status;
    res->streaming = true;
    ex->stream_open = true;
    ex->stream_kind = kind;
    ex->stream_left = answer->content_length;
    return ERR_OK;
}
