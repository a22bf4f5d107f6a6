/*
 * proxy.c - one coroutine for the answer, and a second one for a body that is still on its way.
 *
 * Most requests have no body, or have it with their head: they need no second coroutine. Where there is one, request
 * and answer flow side by side, because an upstream may answer (and refuse, or echo) before it has read all.
 *
 * Expect: 100-continue goes on to the upstream, and its 100 comes back: the one who will read the body decides whether
 * it is to be sent (RFC 9110 §10.1.1). An upstream that never says so gets the body after EXPECT_MS all the same.
 *
 * A large body of a known length that nobody wants a copy of, between two plain connections, is not read at all: its
 * pages go from socket to socket through a pipe (splice(2)). The pipe is emptied before it is filled again, so that
 * back-pressure and time-outs are those of any other body.
 */
#include "http/proxy.h"

#include <fcntl.h>
#include <unistd.h>

#include "http/connection.h"

enum {
    EXPECT_MS = 1000,
    SPLICE_MIN = 256 * 1024, /* of a smaller body a pipe costs more than it saves */
    PIPE_BYTES = 256 * 1024,
    BURST_BYTES = 4 << 20 /* from one fast side to another, before others have their turn */
};

/* A body that is kept while it passes. */
typedef struct Copy {
    Buf bytes;
    bool wanted, cut;
} Copy;

typedef struct Pass {
    Request *req;
    Response *res;
    const ProxyOptions *options;
    ProxyResult *result;
    UpstreamExchange *exchange;
    Copy request_copy, answer_copy;
    size_t burst; /* bytes of the answer since others had their turn */
    /* the second coroutine */
    Co *uploader;
    Wait ended;
    bool uploading, upload_waits;
} Pass;

static void copy_add(Copy *copy, Str piece) {
    if (!copy->wanted || copy->cut)
        return;
    buf_add(&copy->bytes, piece);
    copy->cut = copy->bytes.err != ERR_OK;
}

/* --- the request's body ------------------------------------------------------------------------------------------- */

static CO_FN Err upload_end(Pass *pass) {
    Str lines = request_trailers(pass->req);
    if (lines.n == 0 || pass->req->body_kind == BODY_TUNNEL)
        return upstream_finish(pass->exchange, STR(""));
    Buf trailers = buf_new(pass->req->ctx->arena, CHUNK_TRAILERS_MAX);
    forward_trailers(lines, &trailers);
    return upstream_finish(pass->exchange, buf_str(&trailers));
}

static CO_FN void upload(Pass *pass) {
    for (;;) {
        Str piece;
        Err err = request_body_next(pass->req, &piece);
        if (err != ERR_OK) {
            if (err != ERR_CANCELLED)
                pass->result->client = err;
            upstream_abort(pass->exchange);
            return;
        }
        if (piece.n == 0)
            break;
        pass->result->sent += piece.n;
        copy_add(&pass->request_copy, piece);
        /* Where the upstream takes no more, its answer says why; that is the other coroutine's business. */
        if (upstream_write(pass->exchange, piece) != ERR_OK)
            return;
    }
    (void)upload_end(pass);
}

static CO_FN void upload_run(Ctx *ctx, void *arg) {
    Pass *pass = arg;
    (void)ctx;
    upload(pass);
    pass->uploading = false;
    wait_wake(&pass->ended, ERR_OK);
}

static Err upload_start(Pass *pass) {
    CoOptions options = {.name = "proxy upload", .arena_limit_bytes = 64 * 1024, .trace = &pass->req->ctx->trace};
    pass->upload_waits = false;
    pass->uploading = true;
    Err err = co_spawn(loop_current(), upload_run, pass, &options, &pass->uploader);
    if (err != ERR_OK)
        pass->uploading = false;
    return err;
}

/* It must not outlive us, whatever happens to us meanwhile. */
static CO_FN void upload_stop(Pass *pass) {
    if (!pass->uploading)
        return;
    bool shielded = co_shield(true);
    co_cancel(pass->uploader);
    Err err = co_wait(&pass->ended, 0);
    ASSERT(err == ERR_OK);
    co_shield(shielded);
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

/* The next head; while a client waits for a word on its Expect, not for longer than it would itself. */
static CO_FN Err answer_next(Pass *pass, UpstreamAnswer *answer) {
    if (!pass->upload_waits)
        return upstream_answer(pass->exchange, answer);
    Err err = upstream_answer_within(pass->exchange, EXPECT_MS, answer);
    if (err != ERR_RETRY)
        return err;
    TRY(upload_start(pass));
    return upstream_answer(pass->exchange, answer);
}

/* Interim answers go on as they come; the final one's head stays in the result. */
static CO_FN Err answer_head_pass(Pass *pass) {
    UpstreamAnswer *answer = &pass->result->answer;
    for (;;) {
        UpstreamAnswer next;
        TRY(answer_next(pass, &next));
        if (next.status >= 200 || next.status == 101) {
            *answer = next;
            pass->result->answered_ns = clock_mono_ns();
            return ERR_OK;
        }
        Err err = response_interim(pass->req, &next);
        if (err != ERR_OK) {
            pass->result->client = err;
            return err;
        }
        if (next.status == 100 && pass->upload_waits)
            TRY(upload_start(pass));
    }
}

/* Others have their turn where both sides are so fast that nothing here ever waits. */
static CO_FN Err burst_pause(Pass *pass, size_t n) {
    pass->burst += n;
    if (pass->burst < BURST_BYTES)
        return ERR_OK;
    pass->burst = 0;
    return co_yield ();
}

static bool splices(const Pass *pass) {
    return (!pass->answer_copy.wanted || pass->answer_copy.cut) && response_stream_splices(pass->req) &&
           upstream_spliceable(pass->exchange) >= SPLICE_MIN;
}

static CO_FN Err body_splice(Pass *pass, const int pipe[2]) {
    while (upstream_spliceable(pass->exchange) > 0) {
        size_t n;
        TRY(upstream_splice(pass->exchange, pipe[1], &n));
        pass->result->received += n;
        Err err = response_stream_splice(pass->req, pipe[0], n);
        if (err != ERR_OK) {
            pass->result->client = err;
            return err;
        }
        TRY(burst_pause(pass, n));
    }
    return ERR_OK;
}

/* The rest of the body. Without a pipe it goes on as before. */
static CO_FN Err answer_body_splice(Pass *pass) {
    int pipe[2];
    if (pipe2(pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        return ERR_OK;
    (void)fcntl(pipe[1], F_SETPIPE_SZ, PIPE_BYTES);
    Err err = body_splice(pass, pipe);
    close(pipe[0]);
    close(pipe[1]);
    return err;
}

static CO_FN Err answer_body_pass(Pass *pass) {
    Str piece;
    for (;;) {
        TRY(upstream_read(pass->exchange, &piece));
        if (piece.n == 0)
            break;
        pass->result->received += piece.n;
        copy_add(&pass->answer_copy, piece);
        Err err = response_stream_write(pass->req, pass->res, piece);
        if (err != ERR_OK) {
            pass->result->client = err;
            return err;
        }
        TRY(burst_pause(pass, piece.n));
        if (splices(pass))
            TRY(answer_body_splice(pass));
    }
    Buf trailers = buf_new(pass->req->ctx->arena, CHUNK_TRAILERS_MAX);
    forward_trailers(upstream_trailers(pass->exchange), &trailers);
    Err err = response_stream_end_trailers(pass->req, pass->res, buf_str(&trailers));
    pass->result->client = err;
    return err;
}

static CO_FN void answer_pass(Pass *pass) {
    ProxyResult *result = pass->result;
    if (answer_head_pass(pass) != ERR_OK)
        return;
    bool tunnel = result->answer.body_kind == BODY_TUNNEL;
    Err err = response_pass_begin(pass->req, pass->res, &result->answer);
    result->begun = pass->res->streaming;
    if (err == ERR_OK && tunnel)
        err = upload_start(pass);
    if (err != ERR_OK) {
        result->client = err;
        return;
    }
    result->complete = answer_body_pass(pass) == ERR_OK;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static bool is_idempotent(Method method) {
    return method == METHOD_GET || method == METHOD_HEAD || method == METHOD_PUT || method == METHOD_DELETE ||
           method == METHOD_OPTIONS || method == METHOD_TRACE;
}

static CO_FN Err request_pass(Pass *pass, Upstream *upstream) {
    Request *req = pass->req;
    ForwardBody body = forward_body(req, pass->options->rules);
    UpstreamRequest request = {.head_only = req->method == METHOD_HEAD,
                               .idempotent = is_idempotent(req->method),
                               .upgrade = body.upgrade,
                               .chunked = body.kind == BODY_CHUNKED};
    if (req->body_kind != BODY_NONE && request_body_here(req, &request.body)) {
        body.expect_continue = false; /* it is here already: nobody waits for a 100 */
        pass->result->sent = request.body.n;
        copy_add(&pass->request_copy, request.body);
    } else if (req->body_kind != BODY_NONE) {
        request.more = true;
        req->holds_continue = true;
        request_keep_trailers(req);
    }
    Buf head = buf_new(req->ctx->arena, 128 * 1024);
    forward_head(req, pass->options->rules, &body, req->ctx, &head);
    if (buf_finish(&head, &request.head) != ERR_OK) {
        pass->result->failure = UPSTREAM_MEMORY;
        return ERR_NO_MEMORY;
    }
    Err err = upstream_begin(req->ctx, upstream, &request, &pass->exchange);
    pass->upload_waits = request.more && body.expect_continue;
    if (err == ERR_OK && request.more && !pass->upload_waits)
        err = upload_start(pass);
    return err;
}

static void copy_give(Copy *copy, Str *ret, bool *ret_cut) {
    if (copy->wanted && !copy->cut)
        *ret = buf_str(&copy->bytes);
    *ret_cut = copy->cut;
}

CO_FN void proxy_pass(Request *req, Response *res, Upstream *upstream, const ProxyOptions *options, ProxyResult *ret) {
    *ret = (ProxyResult){0};
    Pass pass = {.req = req, .res = res, .options = options, .result = ret};
    if (options->copy_max > 0) {
        pass.request_copy = (Copy){.bytes = buf_new(req->ctx->arena, options->copy_max), .wanted = true};
        pass.answer_copy = pass.request_copy;
    }
    if (request_pass(&pass, upstream) == ERR_OK)
        answer_pass(&pass);
    upload_stop(&pass);
    if (ret->failure == UPSTREAM_WELL)
        ret->failure = upstream_failure(pass.exchange);
    Str peer = upstream_peer(pass.exchange);
    memcpy(ret->peer, peer.p, MIN_OF(peer.n, sizeof ret->peer - 1));
    upstream_end(pass.exchange);
    copy_give(&pass.request_copy, &ret->request_body, &ret->request_cut);
    copy_give(&pass.answer_copy, &ret->body, &ret->body_cut);
}
