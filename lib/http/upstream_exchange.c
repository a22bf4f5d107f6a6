/*
 * upstream_exchange.c - one request and its answers on one connection.
 *
 * Sending never decides what became of a request: a back end may answer and close before it has read all of it, and
 * that answer must be seen. So a failed write is only remembered, and reading decides. A request is sent once more only
 * when a kept connection turns out to be dead before a byte of an answer came, the method allows it (RFC 9110 §9.2.2),
 * and its bytes are still here; a connection that cannot be made has cost nothing and may be tried elsewhere.
 */
#include "http/upstream_impl.h"

enum { CONNECT_TRIES_MAX = 3, RETRY_TOKENS_MAX = 10000 };

/* The Err that a failure is told as. */
static Err failure_err(UpstreamFailure failure) {
    switch (failure) {
    case UPSTREAM_CONNECT:
    case UPSTREAM_TLS:
        return ERR_UNAVAILABLE;
    case UPSTREAM_CONNECT_TIMEOUT:
    case UPSTREAM_FIRST_BYTE_TIMEOUT:
    case UPSTREAM_IDLE_TIMEOUT:
    case UPSTREAM_TOTAL_TIMEOUT:
        return ERR_TIMEOUT;
    case UPSTREAM_MALFORMED:
        return ERR_SYNTAX;
    case UPSTREAM_TOO_LARGE:
        return ERR_LIMIT;
    case UPSTREAM_MEMORY:
        return ERR_NO_MEMORY;
    case UPSTREAM_CANCELLED:
        return ERR_CANCELLED;
    default:
        return ERR_EOF;
    }
}

static bool is_instances_fault(UpstreamFailure failure) {
    switch (failure) {
    case UPSTREAM_CONNECT:
    case UPSTREAM_TLS:
    case UPSTREAM_CONNECT_TIMEOUT:
    case UPSTREAM_RESET:
    case UPSTREAM_FIRST_BYTE_TIMEOUT:
    case UPSTREAM_IDLE_TIMEOUT:
    case UPSTREAM_MALFORMED:
    case UPSTREAM_TRUNCATED:
        return true;
    default:
        return false;
    }
}

static Err fail(UpstreamExchange *ex, UpstreamFailure failure) {
    ex->failure = failure;
    if (ex->instance != NULL && is_instances_fault(failure))
        balance_failed(ex->instance);
    return failure_err(failure);
}

/* What a wait's error means; `late` when the deadline that passed was the step's own. */
static UpstreamFailure failure_of(const UpstreamExchange *ex, Err err, UpstreamFailure late, UpstreamFailure ended) {
    int64_t total_ms = ex->upstream->options.limits.total_ms;
    switch (err) {
    case ERR_TIMEOUT:
        if ((total_ms > 0 && clock_mono_ms() >= ex->began_ms + total_ms) ||
            (ex->ctx->deadline_ms > 0 && clock_mono_ms() >= ex->ctx->deadline_ms))
            return UPSTREAM_TOTAL_TIMEOUT;
        return late;
    case ERR_CANCELLED:
        return UPSTREAM_CANCELLED;
    case ERR_NO_MEMORY:
        return UPSTREAM_MEMORY;
    default:
        return ended;
    }
}

/* When this turn began: a few milliseconds are nothing beside the limits, and the clock was looked at four times a
 * request. */
static int64_t now_ms(const UpstreamExchange *ex) {
    return loop_now_ms(ex->upstream->loop);
}

static int64_t deadline_in(const UpstreamExchange *ex, int64_t ms) {
    int64_t total_ms = ex->upstream->options.limits.total_ms, at = now_ms(ex) + ms;
    return total_ms > 0 ? MIN_OF(at, ex->began_ms + total_ms) : at;
}

/* --- beginning ---------------------------------------------------------------------------------------------------- */

static bool others_usable(const Upstream *upstream, const Instance *but) {
    for (const Instance *it = upstream->instances; it != NULL; it = it->next)
        if (it != but && balance_usable(it, loop_now_ms(upstream->loop)) && !it->checked_bad)
            return true;
    return false;
}

/* What may not be sent twice: does the other end still listen? Where a body may have come that should not: has it? */
static bool is_worth_a_look(const UpstreamExchange *ex, const UpstreamConn *conn) {
    return !ex->request.idempotent || conn->doubted;
}

/* A connection, on another instance where one will not have it. `fresh`: no kept one. */
static CO_FN Err connection_take(UpstreamExchange *ex, bool fresh) {
    const UpstreamLimits *limits = &ex->upstream->options.limits;
    const Instance *but = NULL;
    for (int tries = 1;; tries++) {
        if (ex->only == NULL && !ex->permitted)
            TRY(balance_enter(ex, but));
        memcpy(ex->peer, ex->instance->text, sizeof ex->peer);
        while (!fresh && ex->instance->unused != NULL && is_worth_a_look(ex, ex->instance->unused) &&
               !conn_is_quiet(ex->instance->unused))
            conn_close(ex->instance->unused);
        Err err = conn_obtain(ex->instance, fresh, deadline_in(ex, limits->connect_ms), &ex->conn);
        if (err == ERR_OK)
            return ERR_OK;
        UpstreamFailure ended = err == ERR_REFUSED ? UPSTREAM_TLS : UPSTREAM_CONNECT;
        Err told = fail(ex, failure_of(ex, err, UPSTREAM_CONNECT_TIMEOUT, ended));
        if (!is_instances_fault(ex->failure) || tries == CONNECT_TRIES_MAX || ex->only != NULL ||
            !others_usable(ex->upstream, ex->instance) || !balance_retry(ex->upstream))
            return told;
        but = ex->instance; /* only compared: it may be gone */
        balance_leave(ex);
        ex->failure = UPSTREAM_WELL;
    }
}

/* Head and what of the body is here. Whether it went well, reading will tell. */
static CO_FN Err request_send(UpstreamExchange *ex) {
    const UpstreamRequest *request = &ex->request;
    Err err = conn_send(ex->conn, request->head, request->body, deadline_in(ex, INT64_MAX / 4),
                        ex->upstream->options.limits.idle_ms);
    if (err == ERR_TIMEOUT || err == ERR_CANCELLED || err == ERR_NO_MEMORY)
        return fail(ex, failure_of(ex, err, UPSTREAM_IDLE_TIMEOUT, UPSTREAM_RESET));
    if (!request->more || err != ERR_OK)
        ex->finished_ms = now_ms(ex);
    return ERR_OK;
}

static CO_FN Err begin(Ctx *ctx, Upstream *upstream, Instance *only, const UpstreamRequest *request,
                       UpstreamExchange **ret) {
    UpstreamExchange *ex = ARENA_NEW(ctx->arena, UpstreamExchange);
    if (ex == NULL)
        return ERR_NO_MEMORY;
    *ret = ex;
    ex->ctx = ctx;
    ex->upstream = upstream;
    ex->instance = ex->only = only;
    ex->request = *request;
    ex->began_ms = now_ms(ex);
    if (only != NULL)
        only->refs++;
    upstream_hold(upstream);
    upstream->stats.requests++;
    upstream->retry_tokens = MIN_OF(upstream->retry_tokens + upstream->options.limits.retry_percent, RETRY_TOKENS_MAX);
    TRY(connection_take(ex, only != NULL));
    return request_send(ex);
}

CO_FN Err upstream_begin(Ctx *ctx, Upstream *upstream, const UpstreamRequest *request, UpstreamExchange **ret) {
    return begin(ctx, upstream, NULL, request, ret);
}

CO_FN Err exchange_on(Ctx *ctx, Instance *instance, const UpstreamRequest *request, UpstreamExchange **ret) {
    return begin(ctx, instance->upstream, instance, request, ret);
}

/* --- a body that comes later -------------------------------------------------------------------------------------- */

/* The reader counts its time from the request's end. */
static void finished(UpstreamExchange *ex) {
    ex->finished_ms = now_ms(ex);
    if (ex->conn != NULL && ex->conn->read_wait != NULL) {
        wait_wake(ex->conn->read_wait, ERR_RETRY);
        ex->conn->read_wait = NULL;
    }
}

static CO_FN Err body_send(UpstreamExchange *ex, Str a, Str b) {
    if (ex->conn == NULL)
        return ERR_EOF;
    Err err = conn_send(ex->conn, a, b, deadline_in(ex, INT64_MAX / 4), ex->upstream->options.limits.idle_ms);
    if (err == ERR_TIMEOUT)
        ex->failure = UPSTREAM_IDLE_TIMEOUT;
    ex->wrote_ms = now_ms(ex);
    if (err != ERR_OK)
        finished(ex);
    return err == ERR_IO ? ERR_EOF : err;
}

CO_FN Err upstream_write(UpstreamExchange *ex, Str piece) {
    ASSERT(ex->request.more || ex->body_kind == BODY_TUNNEL);
    if (piece.n == 0)
        return ERR_OK;
    if (!ex->request.chunked)
        return body_send(ex, piece, (Str){NULL, 0});
    char size[24];
    int n = snprintf(size, sizeof size, "%zx\r\n", piece.n);
    TRY(body_send(ex, (Str){size, (size_t)n}, piece));
    return body_send(ex, STR("\r\n"), (Str){NULL, 0});
}

CO_FN Err upstream_finish(UpstreamExchange *ex, Str trailers) {
    if (ex->body_kind == BODY_TUNNEL) {
        conn_half_close(ex->conn);
        ex->half_closed = true;
        finished(ex);
        return ERR_OK;
    }
    ASSERT(ex->request.more);
    if (ex->request.chunked) {
        TRY(body_send(ex, STR("0\r\n"), trailers));
        TRY(body_send(ex, STR("\r\n"), (Str){NULL, 0}));
    }
    finished(ex);
    return ERR_OK;
}

void upstream_abort(UpstreamExchange *ex) {
    if (ex->failure == UPSTREAM_WELL)
        ex->failure = UPSTREAM_CANCELLED;
    if (ex->conn != NULL && ex->conn->read_wait != NULL) {
        wait_wake(ex->conn->read_wait, ERR_CANCELLED);
        ex->conn->read_wait = NULL;
    }
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

/* ERR_RETRY from conn_fill means "look at the deadline again"; from here, that ex->patience_ms is over. */
static CO_FN Err head_fill(UpstreamExchange *ex) {
    const UpstreamLimits *limits = &ex->upstream->options.limits;
    for (;;) {
        int64_t left = ex->finished_ms + limits->first_byte_ms - now_ms(ex);
        /* While the body is on its way its writer watches the pace. */
        int64_t deadline_ms = deadline_in(ex, ex->finished_ms == 0 ? INT64_MAX / 4 : left);
        if (ex->patience_ms > 0)
            deadline_ms = MIN_OF(deadline_ms, ex->patience_ms);
        Err err = conn_fill(ex->conn, deadline_ms);
        if (err == ERR_TIMEOUT && ex->patience_ms > 0 && clock_mono_ms() >= ex->patience_ms)
            return ERR_RETRY;
        if (err != ERR_RETRY)
            return err;
    }
}

static CO_FN Err head_read(UpstreamExchange *ex, UpstreamAnswer *ret) {
    UpstreamConn *conn = ex->conn;
    for (;;) {
        Str input = conn->in == NULL ? STR("") : block_str(conn->in);
        AnswerResult result = input.n == 0
                                  ? ANSWER_MORE
                                  : answer_scan(&ex->scan, input.p, input.n, ex->upstream->options.limits.head_max);
        ex->heard = ex->heard || input.n > 0;
        if (result == ANSWER_BAD)
            return ERR_SYNTAX;
        if (result == ANSWER_TOO_LARGE)
            return ERR_LIMIT;
        if (result == ANSWER_DONE) {
            AnswerAsked asked = {.head_only = ex->request.head_only, .upgrade = ex->request.upgrade};
            TRY(answer_parse(&ex->scan, input.p, asked, ex->ctx->arena, ret, &ex->keeps));
            conn_take(conn, ex->scan.end);
            ex->scan = (AnswerScan){0};
            return ERR_OK;
        }
        TRY(head_fill(ex));
    }
}

/* Its connection had died while it was kept, and nothing can have come of the request; or what came is no answer but
 * the body of the one before, which should have had none. */
static bool may_repeat(UpstreamExchange *ex, Err err) {
    bool died = (err == ERR_EOF || err == ERR_IO) && !ex->heard;
    bool misheard = (err == ERR_SYNTAX || err == ERR_LIMIT || err == ERR_EOF || err == ERR_IO) && ex->heard &&
                    ex->conn->doubted && ex->interims == 0;
    return (died || misheard) && !ex->retried && ex->conn->served > 0 && ex->request.idempotent && !ex->request.more &&
           balance_retry(ex->upstream);
}

static CO_FN Err head_or_repeat(UpstreamExchange *ex, UpstreamAnswer *ret) {
    Err err = head_read(ex, ret);
    if (err == ERR_OK || !may_repeat(ex, err))
        return err;
    conn_close(ex->conn);
    ex->conn = NULL;
    ex->retried = true;
    ex->heard = false;
    ex->scan = (AnswerScan){0};
    TRY(connection_take(ex, true));
    TRY(request_send(ex));
    return head_read(ex, ret);
}

CO_FN Err upstream_answer(UpstreamExchange *ex, UpstreamAnswer *ret) {
    if (ex->failure != UPSTREAM_WELL)
        return failure_err(ex->failure);
    ASSERT(!ex->answered && ex->conn != NULL);
    Err err = head_or_repeat(ex, ret);
    if (err == ERR_OK && ret->status < 200 && ret->status != 101 &&
        ++ex->interims > ex->upstream->options.limits.interim_max)
        err = ERR_SYNTAX;
    if (err != ERR_OK) {
        if (ex->failure != UPSTREAM_WELL)
            return failure_err(ex->failure);
        if (err == ERR_RETRY)
            return err;
        if (err == ERR_SYNTAX)
            return fail(ex, UPSTREAM_MALFORMED);
        if (err == ERR_LIMIT)
            return fail(ex, UPSTREAM_TOO_LARGE);
        bool refused = ex->conn != NULL && ex->conn->tls_refused; /* of our certificate one hears only now */
        return fail(ex, failure_of(ex, err, UPSTREAM_FIRST_BYTE_TIMEOUT, refused ? UPSTREAM_TLS : UPSTREAM_RESET));
    }
    if (ret->status < 200 && ret->status != 101)
        return ERR_OK;
    ex->answered = true;
    ex->body_kind = ret->body_kind;
    ex->left = ret->content_length;
    ex->body_ended = ret->body_kind == BODY_NONE || (ret->body_kind == BODY_LENGTH && ret->content_length == 0);
    ex->trailers = buf_new(ex->ctx->arena, CHUNK_TRAILERS_MAX);
    ex->decoder.kept = &ex->trailers;
    balance_well(ex->instance);
    return ERR_OK;
}

CO_FN Err upstream_answer_within(UpstreamExchange *ex, int64_t ms, UpstreamAnswer *ret) {
    ex->patience_ms = clock_mono_ms() + ms;
    Err err = upstream_answer(ex, ret);
    ex->patience_ms = 0;
    return err;
}

/* Takes a piece out of what has come. */
static Err piece_take(UpstreamExchange *ex, Str *ret) {
    Str input = block_str(ex->conn->in);
    size_t used = input.n;
    Str piece = input;
    if (ex->body_kind == BODY_LENGTH) {
        used = (size_t)MIN_OF((uint64_t)input.n, ex->left);
        piece = str_slice(input, 0, used);
        ex->left -= used;
        ex->body_ended = ex->left == 0;
    } else if (ex->body_kind == BODY_CHUNKED) {
        piece = (Str){NULL, 0};
        ChunkResult result = chunk_decode(&ex->decoder, input, &used, &piece);
        if (result == CHUNK_BAD)
            return ERR_SYNTAX;
        ex->body_ended = result == CHUNK_END;
    }
    /* Not conn_take: the piece must stay where it is until the next call. */
    ex->conn->in->from += (uint32_t)used;
    *ret = piece;
    return ERR_OK;
}

static CO_FN Err body_fill(UpstreamExchange *ex) {
    const UpstreamLimits *limits = &ex->upstream->options.limits;
    bool tunnel = ex->body_kind == BODY_TUNNEL;
    Err err;
    do {
        int64_t idle_ms = tunnel && !ex->half_closed ? limits->tunnel_idle_ms : limits->idle_ms;
        int64_t began_ms = now_ms(ex);
        err = conn_fill(ex->conn, deadline_in(ex, idle_ms));
        if (err == ERR_TIMEOUT && tunnel && ex->wrote_ms > began_ms)
            err = ERR_RETRY; /* the client has spoken meanwhile */
    } while (err == ERR_RETRY);
    if (err == ERR_EOF && (ex->body_kind == BODY_UNTIL_CLOSE || ex->body_kind == BODY_TUNNEL))
        ex->body_ended = true;
    else if (err != ERR_OK)
        return fail(ex, failure_of(ex, err, UPSTREAM_IDLE_TIMEOUT, UPSTREAM_TRUNCATED));
    return ERR_OK;
}

CO_FN Err upstream_read(UpstreamExchange *ex, Str *ret) {
    ASSERT(ex->answered);
    if (ex->failure != UPSTREAM_WELL)
        return failure_err(ex->failure);
    Str piece = {NULL, 0};
    conn_take(ex->conn, 0); /* what the last piece was in */
    while (!ex->body_ended && piece.n == 0) {
        if (ex->conn->in == NULL || block_length(ex->conn->in) == 0)
            TRY(body_fill(ex));
        else if (piece_take(ex, &piece) != ERR_OK)
            return fail(ex, UPSTREAM_MALFORMED);
        else if (piece.n == 0)
            conn_take(ex->conn, 0);
    }
    *ret = piece.n > 0 ? piece : STR("");
    return ERR_OK;
}

uint64_t upstream_spliceable(const UpstreamExchange *ex) {
    bool can = ex->conn != NULL && ex->conn->tls == NULL && block_length(ex->conn->in) == 0 &&
               ex->body_kind == BODY_LENGTH && ex->failure == UPSTREAM_WELL;
    return can ? ex->left : 0;
}

CO_FN Err upstream_splice(UpstreamExchange *ex, int pipe, size_t *ret_n) {
    Err err;
    if (ex->failure != UPSTREAM_WELL)
        return failure_err(ex->failure);
    conn_take(ex->conn, 0); /* what the last piece was in */
    do
        err = conn_splice(ex->conn, pipe, (size_t)MIN_OF(ex->left, (uint64_t)INT32_MAX),
                          deadline_in(ex, ex->upstream->options.limits.idle_ms), ret_n);
    while (err == ERR_RETRY);
    if (err != ERR_OK)
        return fail(ex, failure_of(ex, err, UPSTREAM_IDLE_TIMEOUT, UPSTREAM_TRUNCATED));
    ex->left -= *ret_n;
    ex->body_ended = ex->left == 0;
    return ERR_OK;
}

Str upstream_trailers(const UpstreamExchange *ex) {
    return ex->body_ended ? buf_str(&ex->trailers) : STR("");
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

void upstream_end(UpstreamExchange *ex) {
    if (ex == NULL || ex->upstream == NULL)
        return;
    if (ex->conn != NULL) {
        conn_take(ex->conn, 0);
        if (ex->failure == UPSTREAM_WELL && ex->answered && ex->keeps && ex->body_ended && ex->finished_ms != 0 &&
            ex->body_kind != BODY_TUNNEL) {
            ex->conn->doubted = ex->body_kind == BODY_NONE;
            conn_keep(ex->conn);
        } else {
            conn_close(ex->conn);
        }
    }
    balance_leave(ex);
    Upstream *upstream = ex->upstream;
    if (ex->only != NULL)
        instance_unref(ex->only);
    ex->conn = NULL;
    ex->upstream = NULL;
    upstream_release(upstream);
}

void upstream_endp(UpstreamExchange **exchange) {
    upstream_end(*exchange);
    *exchange = NULL;
}

UpstreamFailure upstream_failure(const UpstreamExchange *ex) {
    return ex == NULL ? UPSTREAM_MEMORY : ex->failure;
}

Str upstream_peer(const UpstreamExchange *ex) {
    return ex == NULL ? STR("") : str_c(ex->peer);
}

CO_FN Err upstream_fetch(Ctx *ctx, Upstream *upstream, const UpstreamRequest *request, size_t body_max,
                         UpstreamAnswer *ret, UpstreamFailure *ret_failure) {
    UpstreamExchange *ex CLEANUP(upstream_endp) = NULL;
    UpstreamAnswer answer = {0};
    Buf body = buf_new(ctx->arena, body_max);
    Str piece = STR("-");
    Err err = upstream_begin(ctx, upstream, request, &ex);
    while (err == ERR_OK && answer.status < 200 && answer.status != 101)
        err = upstream_answer(ex, &answer);
    while (err == ERR_OK && piece.n > 0) {
        err = upstream_read(ex, &piece);
        if (err == ERR_OK)
            buf_add(&body, piece);
        if (err == ERR_OK && body.err != ERR_OK)
            err = fail(ex, body.err == ERR_LIMIT ? UPSTREAM_TOO_LARGE : UPSTREAM_MEMORY);
    }
    if (ret_failure != NULL)
        *ret_failure = upstream_failure(ex);
    TRY(err);
    answer.body = buf_str(&body);
    *ret = answer;
    return ERR_OK;
}
