/*
 * sessions.c - a client's sessions, taken up again by its next connections (RFC 8446 §2.2).
 *
 * A resumed session carries the judgement of its certificate with it. So they are kept with the context that judged,
 * which a reload replaces, and only for the one host that its streams name. Each is used once (RFC 8446 §C.4); servers
 * give two with a full handshake and one with a resumed one, so that one that begins does not starve the next.
 */
#include "tls/tls_impl.h"

static TlsStream *stream_of(SSL *ssl) {
    return BIO_get_data(SSL_get_rbio(ssl));
}

/* A copy is kept: OpenSSL spoils its own where a connection ends without close_notify, which was a rule of SSL 3.0. */
static int on_session(SSL *ssl, SSL_SESSION *given) {
    TlsContext *context = stream_of(ssl)->context;
    SSL_SESSION *session = stream_of(ssl)->resumes && SSL_SESSION_is_resumable(given) ? SSL_SESSION_dup(given) : NULL;
    if (session == NULL)
        return 0;
    if (context->n_sessions == TLS_SESSIONS_MAX) { /* the oldest is the first to be refused */
        SSL_SESSION_free(context->sessions[0]);
        memmove(context->sessions, context->sessions + 1, (TLS_SESSIONS_MAX - 1) * sizeof(SSL_SESSION *));
        context->n_sessions--;
    }
    context->sessions[context->n_sessions++] = session;
    return 0; /* the one given stays OpenSSL's */
}

void sessions_keep(TlsContext *context) {
    (void)SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context->ssl, on_session);
}

void sessions_take(TlsStream *stream, Str host) {
    TlsContext *context = stream->context;
    if (!context->resumes)
        return;
    if (context->host.p == NULL)
        context->host = arena_str(context->arena, host);
    stream->resumes = context->host.p != NULL && str_eq(context->host, host);
    if (!stream->resumes || context->n_sessions == 0)
        return;
    SSL_SESSION *session = context->sessions[--context->n_sessions];
    (void)SSL_set_session(stream->ssl, session); /* one that cannot be: a full handshake */
    SSL_SESSION_free(session);
}

void sessions_drop(TlsContext *context) {
    while (context->n_sessions > 0)
        SSL_SESSION_free(context->sessions[--context->n_sessions]);
}
