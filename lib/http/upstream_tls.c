/*
 * upstream_tls.c - TLS towards instances.
 *
 * Each https:// URL has a context of its own: whom it believes, what it shows, the sessions that it may take up again.
 * HTTP/1.1 is spoken inside, so no protocol is offered (ALPN). The bytes go the way of plain ones (upstream_conn.c);
 * here stands what differs: a handshake behind connecting, and a reader that may find no data where the socket had
 * some, because a session ticket or a change of keys came.
 */
#include <errno.h>

#include "http/client.h"
#include "http/upstream_impl.h"
#include "runtime/log.h"

enum { TOLD_AGAIN_MS = 60000 };

/* --- contexts ----------------------------------------------------------------------------------------------------- */

/* The file, decoded; absent stays absent. */
static Err file_of(Str raw, Arena *arena, Str *ret) {
    *ret = raw.p == NULL ? raw : upstream_url_text(raw, arena);
    return raw.p != NULL && ret->p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static Err context_open(Ctx *ctx, const UpstreamUrl *url, TlsContext **ret) {
    TlsClientOptions options = {.version_min = TLS_1_2, .resumes = true, .believe_it = url->believe_it};
    TRY(file_of(url->ca, ctx->arena, &options.ca));
    TRY(file_of(url->certificate, ctx->arena, &options.certificate));
    TRY(file_of(url->key, ctx->arena, &options.key));
    return tls_client_new(ctx, &options, ret);
}

Err upstream_url_try(Ctx *ctx, Str url) {
    UpstreamUrl parts;
    TlsContext *context;
    const char *why;
    if (!upstream_url_read(url, &parts, &why))
        return ctx_problem(ctx, ERR_INVALID, NULL, "%s", why);
    if (!parts.tls)
        return ERR_OK;
    TRY(context_open(ctx, &parts, &context));
    tls_context_unref(context);
    return ERR_OK;
}

Err http_target_read(Ctx *ctx, Str url, HttpTarget *ret) {
    UpstreamUrl parts;
    const char *why;
    uint64_t port = 0;
    *ret = (HttpTarget){0};
    if (!upstream_url_read(url, &parts, &why) || parts.path.p != NULL)
        return ctx_problem(ctx, ERR_INVALID, NULL, "%s", why);
    Str host = upstream_url_text(parts.host, ctx->arena);
    ret->server_name = parts.server_name.p == NULL ? host : upstream_url_text(parts.server_name, ctx->arena);
    if (host.p == NULL || ret->server_name.p == NULL)
        return ERR_NO_MEMORY;
    (void)!str_to_u64(parts.port, 65535, &port);
    ret->host = host.p;
    ret->port = (int)port;
    return parts.tls ? context_open(ctx, &parts, &ret->tls) : ERR_OK;
}

static Err tls_open(Ctx *ctx, Upstream *upstream, size_t at) {
    UpstreamUrl url;
    const char *why;
    UpstreamTls *tls = &upstream->tls[at];
    TlsContext *context;
    if (!upstream_url_read(upstream->options.urls[at], &url, &why) || !url.tls)
        return ERR_OK; /* the first is told by who opens names */
    if (tls->server_name.p == NULL)
        tls->server_name = upstream_url_text(url.server_name.p == NULL ? url.host : url.server_name, upstream->arena);
    if (tls->server_name.p == NULL)
        return ERR_NO_MEMORY;
    TRY(context_open(ctx, &url, &context));
    tls_context_unref(tls->context);
    tls->context = context;
    return ERR_OK;
}

static Err contexts_open(Upstream *upstream) {
    Arena *arena CLEANUP(arena_freep) = arena_new(256 * 1024);
    Err first = arena == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (size_t i = 0; arena != NULL && i < upstream->options.url_count; i++) {
        Ctx ctx;
        ctx_init(&ctx, arena, 0);
        Err err = tls_open(&ctx, upstream, i);
        if (err == ERR_OK)
            continue;
        LOG_E(NULL, "upstream.tls_unreadable", F_STR("upstream", upstream->options.name),
              F_STR("url", upstream->options.urls[i]), F_STR("why", ctx.problem.message));
        first = first == ERR_OK ? err : first;
    }
    return first;
}

Err upstream_tls_start(Upstream *upstream) {
    upstream->tls = ARENA_ARRAY(upstream->arena, UpstreamTls, upstream->options.url_count);
    return upstream->tls == NULL ? ERR_NO_MEMORY : contexts_open(upstream);
}

void upstream_renew(Upstream *upstream) {
    Err err = contexts_open(upstream);
    if (err == ERR_NO_MEMORY)
        LOG_E(NULL, "upstream.tls_unreadable", F_STR("upstream", upstream->options.name), F_C("why", err_name(err)));
}

void upstream_tls_end(Upstream *upstream) {
    for (size_t i = 0; upstream->tls != NULL && i < upstream->options.url_count; i++)
        tls_context_unref(upstream->tls[i].context);
}

/* --- what goes wrong ---------------------------------------------------------------------------------------------- */

/* Once for each reason, and again after a while: the requests that fail of it have lines of their own. */
static void tell(const UpstreamConn *conn) {
    Instance *instance = conn->instance;
    const Upstream *upstream = instance->upstream;
    const char *why = tls_why(conn->tls), *mend = tls_mend(conn->tls);
    int64_t now = loop_now_ms(upstream->loop);
    if (instance->told_why == mend && instance->told_at != 0 && now < instance->told_at + TOLD_AGAIN_MS)
        return;
    instance->told_why = mend;
    instance->told_at = now;
    Arena *arena CLEANUP(arena_freep) = arena_new(64 * 1024);
    Str names = arena == NULL ? STR("") : tls_peer_names(conn->tls, arena);
    LOG_W(NULL, "upstream.tls_failed", F_STR("upstream", upstream->options.name), F_C("instance", instance->text),
          F_STR("asked_for", instance->tls->server_name), F_STR("names", names.p == NULL ? STR("") : names),
          F_C("why", why), F_C("mend", mend == NULL ? "" : mend));
}

/* The stream is broken. A peer that only went away is no matter of TLS. */
static void broke(UpstreamConn *conn) {
    if (tls_mend(conn->tls) != NULL)
        conn->tls_refused = true;
    if (conn->tls_refused || !conn->secured)
        tell(conn);
}

/* --- a connection ------------------------------------------------------------------------------------------------- */

CO_FN Err conn_secure(UpstreamConn *conn, int64_t deadline_ms) {
    const UpstreamTls *tls = conn->instance->tls;
    TRY(tls_client_stream(tls->context, conn->fd, tls->server_name, &conn->tls));
    for (;;) {
        TlsStep step = tls_handshake_step(conn->tls);
        if (step == TLS_DONE) {
            conn->secured = true;
            conn->instance->told_at = 0;
            return ERR_OK;
        }
        if (step == TLS_BROKEN) {
            broke(conn);
            return ERR_REFUSED;
        }
        conn->readable = false;
        TRY(conn_wait(conn, &conn->read_wait, deadline_ms));
        if (conn->closed)
            return ERR_EOF;
    }
}

ssize_t conn_tls_receive(UpstreamConn *conn, char *p, size_t n) {
    size_t got = 0;
    switch (tls_read_some(conn->tls, p, n, &got)) {
    case TLS_DONE:
        return (ssize_t)got;
    case TLS_END:
        return 0;
    case TLS_BROKEN: /* cut off without close_notify too: what has no other end is then not whole (RFC 9112 §9.8) */
        broke(conn);
        errno = ECONNRESET;
        return -1;
    case TLS_WAIT:
    default:
        errno = EAGAIN;
        return -1;
    }
}

CO_FN Err conn_tls_send(UpstreamConn *conn, Str a, Str b, int64_t deadline_ms, int64_t idle_ms) {
    while (a.n + b.n > 0 || tls_unsent(conn->tls) > 0) {
        Str *part = a.n > 0 ? &a : &b;
        size_t taken = 0;
        TlsStep step = part->n > 0 ? tls_write_some(conn->tls, part->p, part->n, &taken) : tls_flush(conn->tls);
        *part = str_slice(*part, taken, part->n);
        if (step == TLS_BROKEN) {
            conn->broken = true;
            return ERR_IO;
        }
        if (step == TLS_DONE)
            continue;
        int64_t idle_at = clock_mono_ms() + idle_ms;
        TRY(conn_wait(conn, &conn->write_wait, deadline_ms > 0 ? MIN_OF(deadline_ms, idle_at) : idle_at));
        if (conn->closed || conn->broken)
            return ERR_IO;
    }
    return ERR_OK;
}

bool conn_tls_is_quiet(UpstreamConn *conn) {
    char byte;
    size_t n = 0;
    return tls_read_some(conn->tls, &byte, 1, &n) == TLS_WAIT;
}
