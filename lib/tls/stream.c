/*
 * stream.c - one connection: OpenSSL above, a non-blocking socket below.
 *
 * OpenSSL reads the socket through a BIO of ours, and what it writes gathers in one buffer of the process, which leaves
 * in one send(2) when OpenSSL's call is over; its own socket BIO would take a system call for each record of 16 kB.
 * Since writing never blocks OpenSSL, a stream is either waiting to read, or has bytes that the socket did not take
 * (unsent), or both: there is no "write wants to read".
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/heap.h"
#include "tls/tls_impl.h"

/* What reading may make OpenSSL send (alerts, answers to KeyUpdate) while the socket takes nothing; past it nothing
 * more is read. */
enum { UNSENT_BY_READING_MAX = 64 * 1024, GATHER_KEPT_MAX = 96 * 1024 };

/* The process's; empty between two calls. */
static struct {
    char *p;
    size_t n, capacity;
} gather;

/* --- below OpenSSL ------------------------------------------------------------------------------------------------ */

/* Room for n more; false: refused. */
static bool grow(char **p, size_t used, size_t *capacity, size_t n) {
    if (n <= *capacity - used)
        return true;
    size_t wanted = MAX_OF(used + n, 2 * *capacity);
    char *grown = heap_realloc(*p, *capacity, wanted);
    if (grown == NULL)
        return false;
    *p = grown;
    *capacity = wanted;
    return true;
}

static int on_bio_write(BIO *bio, const char *p, int n) {
    TlsStream *stream = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (stream->unsent_n == 0) {
        if (!grow(&gather.p, gather.n, &gather.capacity, (size_t)n))
            return -1;
        memcpy(gather.p + gather.n, p, (size_t)n);
        gather.n += (size_t)n;
        return n;
    }
    if (stream->unsent_n > UNSENT_BY_READING_MAX) {
        BIO_set_retry_write(bio);
        return -1;
    }
    if (!grow(&stream->unsent, stream->unsent_from + stream->unsent_n, &stream->unsent_capacity, (size_t)n))
        return -1;
    memcpy(stream->unsent + stream->unsent_from + stream->unsent_n, p, (size_t)n);
    stream->unsent_n += (size_t)n;
    return n;
}

static int on_bio_read(BIO *bio, char *p, int n) {
    TlsStream *stream = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t got;
    do {
        got = recv(stream->fd, p, (size_t)n, 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) {
        BIO_set_retry_read(bio);
    } else if (got < 0) {
        stream->error = errno;
    } else if (got == 0) {
        stream->cut = true;
    } else if (!stream->began) {
        stream->began = true;
        /* A record begins with 20 to 24 (RFC 8446 §5.1), a request with a method. */
        stream->plain_http = stream->context->is_server && p[0] >= 'A' && p[0] <= 'Z';
    }
    return (int)got;
}

static long on_bio_control(BIO *bio, int what, long number, void *pointer) {
    const TlsStream *stream = BIO_get_data(bio);
    (void)number;
    (void)pointer;
    if (what == BIO_CTRL_EOF)
        return stream->cut;
    return what == BIO_CTRL_FLUSH;
}

static BIO *bio_new(TlsStream *stream) {
    static BIO_METHOD *method; /* the process's, for good */
    if (method == NULL) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "usher");
        if (method == NULL || BIO_meth_set_write(method, on_bio_write) != 1 ||
            BIO_meth_set_read(method, on_bio_read) != 1 || BIO_meth_set_ctrl(method, on_bio_control) != 1) {
            BIO_meth_free(method);
            method = NULL;
            return NULL;
        }
    }
    BIO *bio = BIO_new(method);
    if (bio != NULL) {
        BIO_set_data(bio, stream);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* --- what OpenSSL's calls came to --------------------------------------------------------------------------------- */

static TlsStep broken(TlsStream *stream, const char *why) {
    if (!stream->broken && stream->why[0] == 0)
        (void)snprintf(stream->why, sizeof stream->why, "%s", why);
    stream->broken = true;
    return TLS_BROKEN;
}

/* What the socket does not take now stays with the stream. */
static TlsStep send_some(TlsStream *stream, const char *p, size_t n, size_t *ret) {
    ssize_t sent;
    do {
        sent = send(stream->fd, p, n, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN) {
        if (stream->why[0] == 0)
            (void)snprintf(stream->why, sizeof stream->why, "%s", strerror(errno));
        stream->deaf = true; /* not broken: the peer may have answered before it left */
        return TLS_BROKEN;
    }
    *ret = sent < 0 ? 0 : (size_t)sent;
    return *ret == n ? TLS_DONE : TLS_WAIT;
}

static void gather_leave(TlsStream *stream) {
    /* Who speaks plain text shall not get an alert. */
    size_t n = stream->plain_http || stream->deaf ? 0 : gather.n, sent = 0;
    gather.n = 0;
    if (n > 0 && send_some(stream, gather.p, n, &sent) == TLS_WAIT) {
        if (grow(&stream->unsent, 0, &stream->unsent_capacity, n - sent)) {
            memcpy(stream->unsent, gather.p + sent, n - sent);
            stream->unsent_n = n - sent;
            stream->unsent_from = 0;
        } else {
            (void)broken(stream, "out of memory");
        }
    }
    if (gather.capacity > GATHER_KEPT_MAX) {
        heap_free(gather.p);
        gather.p = NULL;
        gather.capacity = 0;
    }
}

static void why_failed(TlsStream *stream) {
    long verified = SSL_get_verify_result(stream->ssl);
    char reason[128];
    stream->mend = tls_mend_of(stream->ready ? X509_V_OK : verified);
    tls_reason(reason, sizeof reason);
    if (stream->plain_http)
        (void)broken(stream, "plain HTTP came where TLS is spoken");
    else if (stream->error != 0)
        (void)broken(stream, strerror(stream->error));
    else if (stream->cut)
        (void)broken(stream, stream->ready ? "the connection was cut without close_notify"
                                           : "the peer left during the handshake");
    else if (!stream->ready && verified != X509_V_OK)
        (void)snprintf(stream->why, sizeof stream->why, "the peer's certificate: %s; %s",
                       X509_verify_cert_error_string(verified), reason);
    (void)broken(stream, reason);
}

/* Behind each call into OpenSSL: what it said leaves, and what it returned gets a name. */
static TlsStep settle(TlsStream *stream, int result) {
    int error = result > 0 ? SSL_ERROR_NONE : SSL_get_error(stream->ssl, result);
    if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE &&
        error != SSL_ERROR_ZERO_RETURN)
        why_failed(stream); /* before the alert leaves, which may fail in its own way */
    gather_leave(stream);
    if (stream->broken)
        return TLS_BROKEN;
    if (error == SSL_ERROR_NONE)
        return TLS_DONE;
    return error == SSL_ERROR_ZERO_RETURN ? TLS_END : TLS_WAIT;
}

TlsStep tls_handshake_step(TlsStream *stream) {
    if (stream->broken)
        return TLS_BROKEN;
    if (stream->ready)
        return TLS_DONE;
    ERR_clear_error();
    int result = SSL_do_handshake(stream->ssl);
    stream->ready = result == 1;
    TlsStep step = settle(stream, result);
    if (stream->deaf)
        return broken(stream, "");
    if (step == TLS_END)
        return broken(stream, "the peer ended the handshake");
    return step;
}

TlsStep tls_read_some(TlsStream *stream, char *p, size_t n, size_t *ret) {
    if (stream->broken)
        return TLS_BROKEN;
    ERR_clear_error();
    TlsStep step = settle(stream, SSL_read_ex(stream->ssl, p, n, ret));
    stream->dry = step == TLS_WAIT;
    return step;
}

bool tls_read_pending(const TlsStream *stream) {
    return !stream->dry && (stream->broken || SSL_has_pending(stream->ssl) == 1 ||
                            (SSL_get_shutdown(stream->ssl) & SSL_RECEIVED_SHUTDOWN) != 0);
}

TlsStep tls_write_some(TlsStream *stream, const char *p, size_t n, size_t *ret) {
    TlsStep flushed = tls_flush(stream);
    if (flushed != TLS_DONE)
        return flushed;
    size_t taken = MIN_OF(n, (size_t)TLS_WRITE_MAX);
    ERR_clear_error();
    TlsStep step = settle(stream, SSL_write_ex(stream->ssl, p, taken, &taken));
    if (stream->deaf)
        return TLS_BROKEN;
    if (step == TLS_DONE)
        *ret = taken;
    return step;
}

TlsStep tls_flush(TlsStream *stream) {
    if (stream->broken || stream->deaf)
        return TLS_BROKEN;
    if (stream->unsent_n == 0)
        return TLS_DONE;
    size_t sent = 0;
    TlsStep step = send_some(stream, stream->unsent + stream->unsent_from, stream->unsent_n, &sent);
    stream->unsent_from += sent;
    stream->unsent_n -= sent;
    if (step == TLS_DONE) {
        heap_free(stream->unsent);
        stream->unsent = NULL;
        stream->unsent_from = stream->unsent_capacity = 0;
    }
    return step;
}

size_t tls_unsent(const TlsStream *stream) {
    return stream->deaf ? 0 : stream->unsent_n;
}

TlsStep tls_shutdown_step(TlsStream *stream) {
    if (stream->broken || stream->deaf)
        return TLS_BROKEN;
    if (stream->ready && (SSL_get_shutdown(stream->ssl) & SSL_SENT_SHUTDOWN) == 0) {
        ERR_clear_error();
        int result = SSL_shutdown(stream->ssl);
        (void)settle(stream, result < 0 ? result : 1); /* 0: sent, and the peer's has not come */
    }
    return tls_flush(stream);
}

int tls_wants(const TlsStream *stream) {
    if (stream->unsent_n == 0 || stream->deaf)
        return CO_READABLE;
    return CO_WRITABLE | (stream->unsent_n > UNSENT_BY_READING_MAX ? 0 : CO_READABLE);
}

/* --- beginning and end -------------------------------------------------------------------------------------------- */

void tls_stream_free(TlsStream *stream) {
    if (stream == NULL)
        return;
    SSL_free(stream->ssl); /* and its BIO */
    X509_free(stream->refused);
    heap_free(stream->unsent);
    tls_context_unref(stream->context);
    heap_free(stream);
}

static Err stream_new(TlsContext *context, int fd, TlsStream **ret) {
    TlsStream *stream = HEAP_NEW(TlsStream);
    if (stream == NULL)
        return ERR_NO_MEMORY;
    stream->fd = fd;
    stream->context = tls_context_ref(context);
    stream->ssl = SSL_new(context->ssl);
    BIO *bio = stream->ssl == NULL ? NULL : bio_new(stream);
    if (bio == NULL) {
        tls_stream_free(stream);
        ERR_clear_error();
        return ERR_NO_MEMORY;
    }
    SSL_set_bio(stream->ssl, bio, bio);
    *ret = stream;
    return ERR_OK;
}

Err tls_server_stream(TlsContext *context, int fd, TlsStream **ret) {
    ASSERT(context->is_server);
    TRY(stream_new(context, fd, ret));
    SSL_set_accept_state((*ret)->ssl);
    return ERR_OK;
}

/* Whom the certificate must name (RFC 9525); addresses are not sent as SNI (RFC 6066 §3). */
static bool expect_host(SSL *ssl, Str host) {
    char name[256];
    if (host.n == 0 || host.n >= sizeof name)
        return false;
    memcpy(name, host.p, host.n);
    name[host.n] = 0;
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1)
        return true;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

/* OpenSSL shows a certificate that it does not believe to nobody but this. */
int stream_on_verified(int believed, X509_STORE_CTX *store) {
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    TlsStream *stream = BIO_get_data(SSL_get_rbio(ssl));
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    if (!believed && stream->refused == NULL && leaf != NULL && X509_up_ref(leaf) == 1)
        stream->refused = leaf;
    return believed;
}

Err tls_client_stream(TlsContext *context, int fd, Str host, TlsStream **ret) {
    ASSERT(!context->is_server);
    TlsStream *stream;
    TRY(stream_new(context, fd, &stream));
    SSL_set_connect_state(stream->ssl);
    if (!expect_host(stream->ssl, host)) {
        tls_stream_free(stream);
        ERR_clear_error();
        return ERR_INVALID;
    }
    sessions_take(stream, host);
    *ret = stream;
    return ERR_OK;
}

/* --- what a stream came to ---------------------------------------------------------------------------------------- */

Str tls_protocol(const TlsStream *stream) {
    const unsigned char *p = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(stream->ssl, &p, &n);
    return (Str){(const char *)p, n};
}

Str tls_host(const TlsStream *stream) {
    return str_c(SSL_get_servername(stream->ssl, TLSEXT_NAMETYPE_host_name));
}

Str tls_version(const TlsStream *stream) {
    return str_c(SSL_get_version(stream->ssl));
}

Str tls_cipher(const TlsStream *stream) {
    return str_c(SSL_get_cipher_name(stream->ssl));
}

Str tls_peer_subject(const TlsStream *stream, Arena *arena) {
    X509 *peer = SSL_get0_peer_certificate(stream->ssl);
    char subject[512];
    if (peer == NULL || SSL_get_verify_result(stream->ssl) != X509_V_OK)
        return (Str){NULL, 0};
    (void)X509_NAME_oneline(X509_get_subject_name(peer), subject, sizeof subject);
    return arena_str(arena, str_c(subject));
}

bool tls_resumed(const TlsStream *stream) {
    return SSL_session_reused(stream->ssl) == 1;
}

bool tls_was_plain_http(const TlsStream *stream) {
    return stream->plain_http;
}

const char *tls_why(const TlsStream *stream) {
    return stream->why;
}

const char *tls_mend(const TlsStream *stream) {
    return stream->mend;
}

Str tls_peer_names(const TlsStream *stream, Arena *arena) {
    X509 *peer = stream->refused != NULL ? stream->refused : SSL_get0_peer_certificate(stream->ssl);
    return peer == NULL ? (Str){NULL, 0} : certificate_names(peer, arena);
}
