/*
 * input.c - bytes from a socket to heads, bodies, or nowhere.
 *
 * All sockets are read into one scratch block of the server, hot in the cache; most requests are complete in it, are
 * copied into their own arena once (some hundred bytes), and leave nothing behind. Only what cannot be used yet stays
 * with its connection. Parsing in place and pinning the block instead would save that copy and cost 64 kB for each
 * request in work.
 */
#include <errno.h>
#include <unistd.h>

#include "http/h2.h"

bool input_wanted(const HttpConnection *conn) {
    if (conn->dead || conn->eof || conn->body.pinned)
        return false;
    switch (conn->input) {
    case IN_HEAD: /* a client that takes no answers may not ask more questions */
        return !conn->blocked && !conn->out_blocked;
    case IN_BODY: /* back-pressure: at most one block ahead of the handler */
        return conn->body.owner->body_wait != NULL || conn->in == NULL;
    case IN_HANDSHAKE:
    case IN_DISCARD:
    case IN_H2: /* bounded by what frames may make us keep: h2.c */
    case IN_LINGER:
        return true;
    case IN_STOP:
    default:
        return false;
    }
}

static void refuse(HttpConnection *conn, int status, const char *allow) {
    conn->input = IN_STOP;
    conn->final = true;
    conn->unread = true;
    conn->refusal = status;
    conn->refusal_allow = allow;
    conn->head_at = 0;
}

static bool is_safe(Method method) {
    return method == METHOD_GET || method == METHOD_HEAD || method == METHOD_OPTIONS || method == METHOD_TRACE;
}

/* RFC 9112 §9.3.2: pipelined requests may be worked on side by side when all are safe. */
static bool may_start(const HttpConnection *conn, const HeadFacts *facts) {
    if (conn->count == 0)
        return true;
    return conn->count < conn->server->options.limits.pipeline_max && conn->unsafe == 0 && is_safe(facts->method) &&
           facts->body_kind == BODY_NONE;
}

/* What follows a request that has been read to its end. */
static void input_next(HttpConnection *conn) {
    conn->input = conn->final || conn->eof ? IN_STOP : IN_HEAD;
}

static void request_start(HttpConnection *conn, const HeadFacts *facts) {
    size_t used = 0;
    conn->head_at = 0;
    if (!exchange_start(conn, &conn->in->parser, facts, block_str(conn->in), &used)) {
        refuse(conn, 503, NULL);
        return;
    }
    const HttpServer *server = conn->server;
    conn->final = conn->final || !facts->keep_alive || (server->draining && !server->patient);
    if (conn->input == IN_HEAD)
        input_next(conn);
    conn->in->from += (uint32_t)used;
    head_reset(&conn->in->parser);
}

/* false: no more can be done with what is there. */
static bool head_step(HttpConnection *conn) {
    HttpServer *server = conn->server;
    Block *in = conn->in;
    if (conn->body.pinned)
        return false;
    switch (head_parse(&in->parser, &server->options.limits, in->data + in->from, block_length(in))) {
    case HEAD_MORE:
        if (!in->parser.has_request_line && in->parser.line > 0) { /* empty lines are gone for good */
            in->from += in->parser.line;
            head_reset(&in->parser);
        }
        if (conn->head_at == 0 && block_length(in) > 0)
            conn->head_at = clock_mono_ms() + server->options.limits.head_timeout_ms;
        return false;
    case HEAD_BAD:
        refuse(conn, in->parser.status, NULL);
        return false;
    case HEAD_SILENT:
        if (server->options.http2_cleartext && !conn->secure && conn->count == 0 && h2_begin(conn))
            return true;
        conn->input = IN_STOP;
        conn->unread = true;
        return false;
    case HEAD_DONE:
    default:
        break;
    }
    HeadFacts facts;
    int status = head_check(&in->parser, in->data + in->from, server->path_scratch, &facts);
    if (status != 0) {
        refuse(conn, status, facts.allow);
        return false;
    }
    conn->blocked = !may_start(conn, &facts);
    if (!conn->blocked)
        request_start(conn, &facts);
    return !conn->blocked;
}

/* Drops what is left of a body; RFC 9112 §9.3 wants the connection's next request found or the connection closed. */
static void discard_step(HttpConnection *conn) {
    BodyInput *body = &conn->body;
    Str input = block_str(conn->in);
    size_t used = 0;
    bool ended = false;
    if (body->kind == BODY_LENGTH) {
        used = (size_t)MIN_OF((uint64_t)input.n, body->left);
        body->left -= used;
        ended = body->left == 0;
    } else {
        Str piece = {NULL, 0};
        ChunkResult result = chunk_decode(&body->decoder, input, &used, &piece);
        ended = result == CHUNK_END;
        if (result == CHUNK_BAD)
            body->received = DISCARD_MAX;
    }
    conn->in->from += (uint32_t)used;
    body->received += used;
    if (ended) {
        conn->discard_at = 0;
        input_next(conn);
    } else if (body->received >= DISCARD_MAX) {
        conn->input = IN_STOP;
        conn->unread = true;
    }
}

static void linger_step(HttpConnection *conn) {
    conn->lingered += block_length(conn->in);
    conn->in->from = conn->in->to;
    if (conn->lingered > LINGER_BYTES_MAX)
        connection_abort(conn);
}

/* One step; false: nothing more can be done now. */
static bool input_step(HttpConnection *conn) {
    switch (conn->input) {
    case IN_HEAD:
        return head_step(conn);
    case IN_BODY:
        if (conn->body.owner->body_wait != NULL) {
            wait_wake(conn->body.owner->body_wait, ERR_OK);
            conn->body.owner->body_wait = NULL;
        }
        return false;
    case IN_DISCARD:
        discard_step(conn);
        return true;
    case IN_H2:
        h2_input(conn);
        return false;
    case IN_LINGER:
        linger_step(conn);
        return false;
    case IN_STOP:
    case IN_HANDSHAKE:
    default:
        conn->unread = true;
        if (!conn->body.pinned)
            conn->in->from = conn->in->to;
        return false;
    }
}

/* Gives the block back, or a smaller one in its place, so that waiting bytes cost little memory. */
static void input_store(HttpConnection *conn) {
    HttpServer *server = conn->server;
    Block *in = conn->in;
    if (in == NULL || conn->body.pinned)
        return;
    if (block_length(in) == 0) {
        conn->in = NULL;
        in->from = in->to = 0;
        head_reset(&in->parser);
        if (in->capacity == BLOCK_BIG && server->scratch == NULL)
            server->scratch = in;
        else
            block_give(&server->blocks, in);
        return;
    }
    if (in->capacity == BLOCK_BIG && server->scratch == NULL && block_length(in) <= BLOCK_SMALL / 2) {
        Block *small = block_take(&server->blocks, BLOCK_SMALL);
        if (small == NULL)
            return;
        memcpy(&small->parser, &in->parser, offsetof(HeadParser, fields) + in->parser.field_count * sizeof(HeadField));
        block_append(small, block_str(in));
        conn->in = small;
        in->from = in->to = 0;
        head_reset(&in->parser);
        server->scratch = in;
    }
}

void input_process(HttpConnection *conn) {
    while (!conn->dead && block_length(conn->in) > 0 && input_step(conn)) {
    }
    if (!conn->dead)
        input_store(conn);
}

/* The client will send no more. It may still read: what is in work is answered. */
static void input_eof(HttpConnection *conn) {
    conn->eof = true;
    if (conn->input == IN_BODY) {
        if (conn->body.owner->body_wait != NULL)
            wait_wake(conn->body.owner->body_wait, ERR_OK); /* it looks and finds the end */
        conn->body.owner->body_wait = NULL;
    } else if (conn->input == IN_H2) {
        h2_eof(conn);
    } else {
        conn->input = IN_STOP;
    }
    conn->head_at = 0;
}

/* A block with room to read into, owned by the connection from here on. NULL: out of memory. */
static Block *input_room(HttpConnection *conn) {
    HttpServer *server = conn->server;
    if (conn->in == NULL) {
        conn->in = server->scratch != NULL ? server->scratch : block_take(&server->blocks, BLOCK_BIG);
        server->scratch = NULL;
        return conn->in;
    }
    block_compact(conn->in);
    if (conn->in->capacity - conn->in->to < BLOCK_SMALL / 4) {
        Block *grown = block_grow(&server->blocks, conn->in);
        if (grown == NULL)
            return NULL;
        conn->in = grown;
    }
    return conn->in;
}

void input_read(HttpConnection *conn) {
    if (!input_wanted(conn))
        return;
    Block *in = input_room(conn);
    if (in == NULL) {
        connection_abort(conn);
        return;
    }
    /* A partial head never fills a big block (checked against the limits in http_server_new). */
    ASSERT(in->to < in->capacity);
    ssize_t n = conn->tls == NULL || conn->input == IN_LINGER
                    ? read(conn->fd, in->data + in->to, in->capacity - in->to)
                    : secure_read(conn, in->data + in->to, in->capacity - in->to);
    if (n > 0) {
        in->to += (uint32_t)n;
        input_process(conn);
    } else if (n == 0) {
        input_eof(conn);
        input_store(conn);
    } else if (errno == EAGAIN || errno == EINTR) {
        input_store(conn);
    } else {
        conn->server->stats.aborted++;
        connection_abort(conn);
    }
}
