/*
 * context.c - what one side presents, believes and speaks.
 *
 * TLS 1.3 with its three AEAD suites; TLS 1.2 only where it is asked for, and then with forward secrecy and AEAD only
 * (RFC 9325). The server's order of suites counts, but for clients that would rather have ChaCha20 because they lack
 * AES in hardware.
 */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "base/heap.h"
#include "base/sha256.h"
#include "tls/tls_impl.h"

#define SUITES_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define SUITES_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"
#define GROUPS     "X25519:P-256:P-384"

/* What is read at most of a file of authorities, to tell sessions under other ones apart. */
enum { CA_FILE_MAX = 16 * 1024 * 1024, CONTEXT_ARENA_BYTES = 1024 * 1024 };

static const uint8_t PROTOCOLS[] = "\x02h2\x08http/1.1"; /* as in RFC 7301 §3.1; without h2 from the fourth byte on */
enum { PROTOCOLS_N = sizeof PROTOCOLS - 1, H2_N = 3 };

TlsContext *tls_context_ref(TlsContext *context) {
    context->refs++;
    return context;
}

void tls_context_unref(TlsContext *context) {
    if (context == NULL || --context->refs > 0)
        return;
    sessions_drop(context);
    SSL_CTX_free(context->ssl);
    for (size_t i = 0; i < context->n_certificates; i++)
        certificate_done(&context->certificates[i]);
    if (context->arena != NULL)
        arena_free(context->arena);
    heap_free(context);
}

static Err context_new(TlsContext **ret) {
    TlsContext *context = HEAP_NEW(TlsContext);
    if (context == NULL)
        return ERR_NO_MEMORY;
    context->refs = 1;
    context->arena = arena_new(CONTEXT_ARENA_BYTES);
    context->ssl = SSL_CTX_new(TLS_method());
    if (context->arena == NULL || context->ssl == NULL) {
        tls_context_unref(context);
        ERR_clear_error();
        return ERR_NO_MEMORY;
    }
    *ret = context;
    return ERR_OK;
}

/* What both sides have in common. */
static Err rules_set(Ctx *ctx, TlsContext *context, TlsVersion version_min) {
    SSL_CTX *ssl = context->ssl;
    SSL_CTX_set_app_data(ssl, context);
    (void)SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                       SSL_OP_PRIORITIZE_CHACHA);
    /* An idle connection gives its buffers back; one read(2) takes a record with its header. */
    (void)SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ssl, 1);
    if (SSL_CTX_set_min_proto_version(ssl, version_min == TLS_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) != 1 || SSL_CTX_set_ciphersuites(ssl, SUITES_1_3) != 1 ||
        SSL_CTX_set_cipher_list(ssl, SUITES_1_2) != 1 || SSL_CTX_set1_groups_list(ssl, GROUPS) != 1)
        return tls_problem(ctx, "this OpenSSL refuses usher's rules");
    return ERR_OK;
}

static Err certificate_set(Ctx *ctx, TlsContext *context, const TlsCertificateFiles *files) {
    Certificate *one = &context->certificates[context->n_certificates++];
    TRY(certificate_load(ctx, context->arena, files, one));
    if (context->n_certificates == 1 && SSL_CTX_use_cert_and_key(context->ssl, one->leaf, one->key, one->chain, 1) != 1)
        return tls_problem(ctx, "the certificate in %s cannot be served", one->files.certificate.p);
    return ERR_OK;
}

/* --- servers ------------------------------------------------------------------------------------------------------ */

static int on_protocols(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
                        unsigned int in_n, void *data) {
    const TlsContext *context = data;
    const uint8_t *ours = PROTOCOLS + (context->http2 ? 0 : H2_N);
    unsigned ours_n = PROTOCOLS_N - (context->http2 ? 0 : H2_N);
    unsigned char *chosen = NULL;
    (void)ssl;
    if (SSL_select_next_proto(&chosen, out_n, ours, ours_n, in, in_n) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301 §3.2 */
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* A session may only be resumed under the authorities that it began under: a ticket carries a client's certificate past
 * the check. So the context of sessions (SSL_CTX_set_session_id_context(3)) is a fingerprint of them. */
static Err sessions_bind(Ctx *ctx, TlsContext *context, const TlsServerOptions *options, const char *path) {
    uint8_t id[SHA256_BYTES];
    Sha256 hash;
    sha256_begin(&hash);
    sha256_add(&hash, &options->clients, sizeof options->clients);
    FILE *file = path == NULL ? NULL : fopen(path, "re");
    if (file != NULL) {
        char piece[4096];
        size_t n, all = 0;
        while ((n = fread(piece, 1, sizeof piece, file)) > 0 && all < CA_FILE_MAX) {
            sha256_add(&hash, piece, n);
            all += n;
        }
        (void)fclose(file);
    }
    sha256_end(&hash, id);
    if (SSL_CTX_set_session_id_context(context->ssl, id, sizeof id) != 1)
        return tls_problem(ctx, "sessions cannot be told apart");
    return ERR_OK;
}

static Err clients_set(Ctx *ctx, TlsContext *context, const TlsServerOptions *options) {
    if (options->clients == TLS_CLIENTS_UNASKED)
        return sessions_bind(ctx, context, options, NULL);
    Str path = arena_str(context->arena, options->client_ca);
    if (path.p == NULL)
        return ctx_problem(ctx, ERR_INVALID, NULL, "clients are to show certificates, and no authority is named");
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(path.p);
    if (names == NULL || SSL_CTX_load_verify_file(context->ssl, path.p) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return tls_problem(ctx, "the clients' authorities cannot be read from %s", path.p);
    }
    SSL_CTX_set_client_CA_list(context->ssl, names); /* takes it */
    SSL_CTX_set_verify(context->ssl,
                       SSL_VERIFY_PEER | (options->clients == TLS_CLIENTS_MUST ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       NULL);
    return sessions_bind(ctx, context, options, path.p);
}

static Err server_build(Ctx *ctx, TlsContext *context, const TlsServerOptions *options) {
    TRY(rules_set(ctx, context, options->version_min));
    for (size_t i = 0; i < options->n_certificates; i++)
        TRY(certificate_set(ctx, context, &options->certificates[i]));
    TRY(clients_set(ctx, context, options));
    certificates_offer(context);
    tickets_offer(context);
    SSL_CTX_set_alpn_select_cb(context->ssl, on_protocols, context);
    return ERR_OK;
}

Err tls_server_new(Ctx *ctx, const TlsServerOptions *options, TlsContext **ret) {
    if (options->n_certificates == 0 || options->n_certificates > TLS_CERTIFICATES_MAX)
        return ctx_problem(ctx, ERR_INVALID, NULL, "a TLS server has 1 to %d certificates, not %zu",
                           TLS_CERTIFICATES_MAX, options->n_certificates);
    TlsContext *context;
    TRY(context_new(&context));
    context->is_server = true;
    context->http2 = options->http2;
    context->tickets = options->tickets;
    Err err = server_build(ctx, context, options);
    if (err != ERR_OK) {
        tls_context_unref(context);
        return err;
    }
    *ret = context;
    return ERR_OK;
}

/* --- clients ------------------------------------------------------------------------------------------------------ */

static Err client_build(Ctx *ctx, TlsContext *context, const TlsClientOptions *options) {
    TRY(rules_set(ctx, context, options->version_min));
    (void)SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_OFF);
    if (options->resumes)
        sessions_keep(context);
    SSL_CTX_set_verify(context->ssl, options->believe_it ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, stream_on_verified);
    if (options->ca.p != NULL) {
        Str path = arena_str(context->arena, options->ca);
        if (path.p == NULL)
            return ERR_NO_MEMORY;
        if (SSL_CTX_load_verify_file(context->ssl, path.p) != 1)
            return tls_problem(ctx, "the authorities cannot be read from %s", path.p);
    } else if (SSL_CTX_set_default_verify_paths(context->ssl) != 1) {
        return tls_problem(ctx, "the system's authorities cannot be read");
    }
    if (options->certificate.p != NULL)
        TRY(certificate_set(ctx, context, &(TlsCertificateFiles){options->certificate, options->key}));
    if (options->http2 && SSL_CTX_set_alpn_protos(context->ssl, PROTOCOLS, PROTOCOLS_N) != 0)
        return ERR_NO_MEMORY;
    return ERR_OK;
}

Err tls_client_new(Ctx *ctx, const TlsClientOptions *options, TlsContext **ret) {
    TlsContext *context;
    TRY(context_new(&context));
    context->believe_it = options->believe_it;
    context->resumes = options->resumes;
    Err err = client_build(ctx, context, options);
    if (err != ERR_OK) {
        tls_context_unref(context);
        return err;
    }
    *ret = context;
    return ERR_OK;
}
