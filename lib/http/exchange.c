/*
 * exchange.c - one request in work: its coroutine, its answer, its place in the row.
 *
 * Everything a handler sees of its request is copied into the coroutine's arena at the start (one memcpy of the head,
 * with the body when all of it has come), so that no request pins a connection's buffer. A finished request waits in
 * its own coroutine until those before it have answered; that is the whole of pipelining.
 */
#include "base/heap.h"
#include "http/h2.h"

#define HEAD_MAX ((size_t)20 * 1024) /* of an answer */

static Exchange *exchange_take(HttpServer *server) {
    Exchange *ex = server->free_exchanges;
    if (ex == NULL)
        return HEAP_NEW(Exchange);
    server->free_exchanges = ex->next;
    server->pooled_exchanges--;
    memset(ex, 0, sizeof(*ex));
    return ex;
}

static void exchange_give(HttpServer *server, Exchange *ex) {
    if (server->pooled_exchanges >= POOLED_MAX) {
        heap_free(ex);
        return;
    }
    ex->next = server->free_exchanges;
    server->free_exchanges = ex;
    server->pooled_exchanges++;
}

/* --- starting
 * ---------------------------------------------------------------------------------------------------------- */

/* The same bytes in the copy of the head; what is not of the head (a decoded path) is copied itself. */
static Str rebase(Arena *arena, Str s, Str head, const char *copy) {
    if (s.p == NULL)
        return s;
    if (s.p >= head.p && s.p < head.p + head.n)
        return (Str){copy + (s.p - head.p), s.n};
    return arena_str(arena, s);
}

/* All fields of that name as one list (RFC 9110 §5.3); absent when it is longer than max. */
static Str joined(Arena *arena, const Request *req, const char *name, size_t max) {
    Buf list = buf_new(arena, max);
    for (size_t i = 0; i < req->header_count; i++) {
        if (!str_eq_nocase(req->headers[i].name, str_c(name)))
            continue;
        buf_add_c(&list, list.n == 0 ? "" : ",");
        buf_add(&list, req->headers[i].value);
    }
    return list.err == ERR_OK ? buf_str(&list) : (Str){NULL, 0};
}

/* Bounds of the trace context specification; what is longer is left out, never cut (a cut list is another list).
 * Without a traceparent that could be read there is nothing that tracestate could belong to (§3.3.1). */
static void adopt_trace(const Exchange *ex, Ctx *ctx, const char *copy) {
    static const uint8_t no_parent[8];
    const HeadFacts *facts = &ex->facts;
    Str state = facts->tracestates > 1 ? joined(ctx->arena, &ex->req, "tracestate", TRACESTATE_MAX)
                                       : rebase(ctx->arena, facts->tracestate, ex->head, copy);
    Str baggage = facts->baggages > 1 ? joined(ctx->arena, &ex->req, "baggage", BAGGAGE_MAX)
                                      : rebase(ctx->arena, facts->baggage, ex->head, copy);
    if (state.n <= TRACESTATE_MAX && memcmp(ctx->trace.parent_id, no_parent, 8) != 0 && trace_state_is_valid(state))
        ctx->trace.state = state;
    if (baggage.n <= BAGGAGE_MAX)
        ctx->trace.baggage = baggage;
}

static bool adopt(Exchange *ex, Ctx *ctx) {
    Arena *arena = ctx->arena;
    const HeadParser *parser = ex->parser;
    const HeadFacts *facts = &ex->facts;
    Request *req = &ex->req;
    size_t fields = parser->field_count * sizeof(Header);
    Header *headers = arena_alloc_raw(arena, fields + ex->head.n);
    if (headers == NULL)
        return false;
    char *copy = (char *)headers + fields;
    memcpy(copy, ex->head.p, ex->head.n);
    for (uint32_t i = 0; i < parser->field_count; i++) {
        const HeadField *f = &parser->fields[i];
        headers[i] = (Header){{copy + f->name, f->name_n}, {copy + f->value, f->value_n}};
    }
    req->method = facts->method;
    req->method_text = rebase(arena, facts->method_text, ex->head, copy);
    req->target = rebase(arena, facts->target, ex->head, copy);
    req->path = rebase(arena, facts->path, ex->head, copy);
    req->query = rebase(arena, facts->query, ex->head, copy);
    req->major = ex->stream == NULL ? 1 : 2;
    req->minor = parser->minor;
    req->headers = headers;
    req->header_count = parser->field_count;
    req->body_kind = facts->body_kind;
    req->content_length = facts->content_length;
    req->expect_continue = facts->expect_continue;
    if (ex->body_whole.p != NULL)
        ex->body_whole = rebase(arena, ex->body_whole, ex->head, copy);
    if (facts->tracestates + facts->baggages > 0)
        adopt_trace(ex, ctx, copy);
    return req->path.p != NULL;
}

static void exchange_adopt(Exchange *ex, Ctx *ctx) {
    if (ex->adopted)
        return;
    ex->adopted = true;
    ex->req.ctx = ctx;
    ex->req.connection = ex->conn;
    ex->req.peer = str_c(ex->conn->peer);
    ex->req.secure = ex->conn->secure;
    ex->res.body = buf_new(ctx->arena, arena_limit(ctx->arena));
    ex->res.head = buf_new(ctx->arena, 16 * 1024);
    ex->adopt_failed = ex->refusal == 0 && !adopt(ex, ctx);
}

static void exchange_enqueue(HttpConnection *conn, Exchange *ex) {
    if (conn->last != NULL)
        conn->last->next = ex;
    else
        conn->first = ex;
    conn->last = ex;
    conn->count++;
    conn->unsafe += !ex->safe;
    conn->refs++;
    conn->server->stats.in_flight++;
    conn->server->stats.requests++;
}

static void exchange_remove(Exchange *ex) {
    HttpConnection *conn = ex->conn;
    Exchange **at = &conn->first, *before = NULL;
    while (*at != ex) {
        before = *at;
        at = &(*at)->next;
    }
    *at = ex->next;
    if (conn->last == ex)
        conn->last = before;
    conn->count--;
    conn->unsafe -= !ex->safe;
    conn->server->stats.in_flight--;
    if (conn->count == 0)
        conn->idle_at = loop_now_ms(conn->server->loop) + conn->server->options.limits.idle_timeout_ms;
    if (conn->first != NULL && conn->first->out_wait != NULL && conn->h2 == NULL) {
        wait_wake(conn->first->out_wait, ERR_OK);
        conn->first->out_wait = NULL;
    }
}

static CO_FN void exchange_run(Ctx *ctx, void *arg);

/* Where the body will come from. Returns how much of the input belongs to head and body. */
static size_t body_begin(Exchange *ex, Str input) {
    HttpConnection *conn = ex->conn;
    const HeadFacts *facts = &ex->facts;
    size_t head = ex->parser->end;
    if (facts->body_kind == BODY_NONE || ex->refusal != 0) {
        ex->body_ended = true;
        return head;
    }
    if (ex->stream != NULL)
        return head; /* comes in frames */
    if (facts->body_kind == BODY_LENGTH && facts->content_length <= input.n - head &&
        facts->content_length <= conn->server->options.limits.body_max) {
        ex->body_whole = (Str){input.p + head, (size_t)facts->content_length};
        return head + ex->body_whole.n;
    }
    conn->body = (BodyInput){.owner = ex, .kind = facts->body_kind, .left = facts->content_length};
    conn->input = IN_BODY;
    return head;
}

static bool start(HttpConnection *conn, const HeadParser *parser, const HeadFacts *facts, Str input, H2Stream *stream,
                  int refusal, size_t *ret_used) {
    HttpServer *server = conn->server;
    Exchange *ex = exchange_take(server);
    if (ex == NULL)
        return false;
    ex->conn = conn;
    ex->stream = stream;
    ex->refusal = refusal;
    ex->parser = parser;
    ex->facts = *facts;
    ex->keep_alive = facts->keep_alive;
    if (server->options.observer != NULL)
        ex->began_ns = clock_mono_ns();
    ex->safe = facts->method == METHOD_GET || facts->method == METHOD_HEAD || facts->method == METHOD_OPTIONS ||
               facts->method == METHOD_TRACE;
    size_t used = body_begin(ex, input);
    ex->head = str_slice(input, 0, used);
    ex->body_ended = ex->body_ended || ex->body_whole.p != NULL;
    Trace trace = {0};
    bool traced = facts->traceparents == 1 && trace_parse(facts->traceparent, &trace) == ERR_OK;
    CoOptions options = {.name = "http request",
                         .arena_limit_bytes = server->options.limits.arena_bytes,
                         .deadline_ms = server->options.limits.request_timeout_ms > 0
                                            ? clock_mono_ms() + server->options.limits.request_timeout_ms
                                            : 0,
                         .trace = traced ? &trace : NULL};
    exchange_enqueue(conn, ex);
    if (co_spawn(server->loop, exchange_run, ex, &options, &ex->co) != ERR_OK) {
        if (conn->input == IN_BODY)
            conn->input = IN_STOP;
        exchange_remove(ex);
        conn->refs--;
        exchange_give(server, ex);
        return false;
    }
    exchange_adopt(ex, co_ctx(ex->co)); /* while the input stands still: it runs after this */
    *ret_used = used;
    if (stream != NULL)
        (void)nghttp2_session_set_stream_user_data(conn->h2->ng, stream->id, ex);
    return true;
}

bool exchange_start(HttpConnection *conn, const HeadParser *parser, const HeadFacts *facts, Str input,
                    size_t *ret_used) {
    return start(conn, parser, facts, input, NULL, 0, ret_used);
}

bool exchange_start_stream(HttpConnection *conn, const HeadParser *parser, const HeadFacts *facts, Str head,
                           H2Stream *stream, int refusal) {
    size_t used;
    return start(conn, parser, facts, head, stream, refusal, &used);
}

/* --- answering
 * --------------------------------------------------------------------------------------------------------- */

CO_FN Err exchange_turn(Exchange *ex) {
    while (!ex->conn->dead && ex->conn->first != ex) {
        Wait wait = {0};
        ex->out_wait = &wait;
        Err err = co_wait(&wait, 0);
        ex->out_wait = NULL;
        TRY(err);
    }
    return ex->conn->dead ? ERR_EOF : ERR_OK;
}

/* A body that was not read to its end: drop the rest if it is little, else this connection ends here. */
static void body_leave(Exchange *ex) {
    HttpConnection *conn = ex->conn;
    conn->body.pinned = conn->body.pinned && conn->body.owner != ex;
    ex->res.close = ex->res.close || ex->body_err != ERR_OK;
    if (conn->dead || conn->body.owner != ex || conn->input != IN_BODY)
        return;
    BodyInput *body = &conn->body;
    body->owner = NULL;
    if (body->kind == BODY_TUNNEL) {
        ex->res.close = true;
        conn->input = IN_STOP;
        conn->unread = !conn->eof;
        return;
    }
    /* A client that waits for 100 may never send it (RFC 9110 §10.1.1). */
    bool unasked = ex->req.expect_continue && !ex->continue_sent && body->received == 0;
    if (ex->body_err != ERR_OK || unasked || conn->eof || (body->kind == BODY_LENGTH && body->left > DISCARD_MAX)) {
        ex->res.close = true;
        conn->input = IN_STOP;
        conn->unread = true;
        return;
    }
    conn->input = IN_DISCARD;
    body->received = 0;
    conn->discard_at = clock_mono_ms() + conn->server->options.limits.body_timeout_ms;
}

void exchange_settle(Exchange *ex) {
    Response *res = &ex->res;
    if (res->status == 0) {
        buf_clear(&res->body);
        switch (ex->body_err) {
        case ERR_LIMIT:
            res->status = 413;
            break;
        case ERR_TIMEOUT:
            res->status = 408;
            break;
        case ERR_SYNTAX:
        case ERR_EOF:
            res->status = 400;
            break;
        default:
            res->status = ex->adopt_failed ? 503 : 500;
        }
    } else if (res->body.err != ERR_OK || res->head.err != ERR_OK) {
        res->status = 503;
        buf_clear(&res->body);
        buf_clear(&res->head);
    }
}

static CO_FN Err answer_send(Exchange *ex) {
    Response *res = &ex->res;
    HttpConnection *conn = ex->conn;
    bool has_body = status_has_body(res->status), head_only = ex->req.method == METHOD_HEAD;
    Framing framing = !has_body ? FRAMING_NONE : FRAMING_LENGTH;
    if (has_body && res->no_content_length)
        framing = ex->req.minor == 0 || head_only ? FRAMING_NONE : FRAMING_CHUNKED;
    bool close = res->close || !ex->keep_alive || connection_ends_with(conn, ex);
    Str body = has_body && !head_only ? buf_str(&res->body) : (Str){NULL, 0};
    /* A request that has used up its arena is answered all the same. */
    Buf head = buf_new(res->head.arena, HEAD_MAX), spare CLEANUP(buf_done) = buf_new(NULL, HEAD_MAX);
    answer_head(conn->server, res, framing, res->body.n, close, &head);
    if (head.err == ERR_NO_MEMORY)
        answer_head(conn->server, res, framing, res->body.n, close, &spare);
    Buf *out = head.err == ERR_NO_MEMORY ? &spare : &head;
    if (framing == FRAMING_CHUNKED && body.n > 0)
        buf_printf(out, "%zx\r\n", body.n);
    TRY(out->err);
    if (close)
        conn->sealed = conn->final = true;
    TRY(output_send(ex, buf_str(out), body));
    if (framing == FRAMING_CHUNKED)
        TRY(output_send(ex, body.n > 0 ? STR("\r\n0\r\n\r\n") : STR("0\r\n\r\n"), (Str){NULL, 0}));
    return ERR_OK;
}

static CO_FN void exchange_answer(Exchange *ex) {
    HttpConnection *conn = ex->conn;
    if (ex->stream != NULL) {
        h2_answer(ex);
        return;
    }
    body_leave(ex);
    if (exchange_turn(ex) != ERR_OK || conn->sealed)
        return;
    if (ex->res.streaming) {
        if (ex->stream_open) { /* cut short: only an end without the last chunk says so */
            output_flush(conn);
            connection_abort(conn);
        }
        return;
    }
    exchange_settle(ex);
    if (answer_send(ex) != ERR_OK)
        connection_abort(conn);
}

/* A stream whose head was no request: answered, and told of as HTTP/1.1's refusals are. */
static void refuse(Exchange *ex, const HttpObserver *observer) {
    ex->conn->server->stats.protocol_errors++;
    ex->res.status = ex->refusal;
    answer_refusal_fill(ex->conn->server, &ex->res, ex->facts.allow, false);
    if (observer != NULL)
        observer->refused(ex->refusal);
}

static CO_FN void exchange_run(Ctx *ctx, void *arg) {
    Exchange *ex = arg;
    HttpConnection *conn = ex->conn;
    HttpServer *server = conn->server;
    exchange_adopt(ex, ctx);
    const HttpObserver *observer = server->options.observer;
    if (ex->refusal != 0)
        refuse(ex, observer);
    else if (observer != NULL)
        observer->begin(&ex->req);
    if (ex->refusal == 0 && !ex->adopt_failed)
        server->options.handler(&ex->req, &ex->res, server->options.data);
    /* From here on neither the deadline nor a cancellation may lose the answer; the connection's time-outs end the
     * wait. */
    co_shield(true);
    exchange_answer(ex);
    if (observer != NULL && ex->refusal == 0)
        observer->end(&ex->req, &ex->res, ex->began_ns);
    exchange_remove(ex);
    if (!conn->dead && conn->sealed && conn->input == IN_HEAD)
        conn->input = IN_STOP;
    conn->blocked = false;
    conn->resume = conn->in != NULL;
    connection_touch(conn);
    if (ex->stream != NULL)
        h2_stream_give(conn, ex->stream);
    exchange_give(server, ex);
    connection_unref(conn);
}
