/*
 * tls_impl.h - what the files of lib/tls share. Private to lib/tls.
 */
#pragma once
#include <openssl/ssl.h>

#include "tls/tls.h"

typedef struct Certificate {
    TlsCertificateFiles files; /* in the context's arena; key is always given */
    X509 *leaf;
    EVP_PKEY *key;
    STACK_OF(X509) * chain;
} Certificate;

enum { TLS_SESSIONS_MAX = 8 };

struct TlsContext {
    SSL_CTX *ssl;
    Arena *arena;
    int refs;
    bool is_server, http2, believe_it, resumes;
    Str host;                                /* whom the sessions are of; absent: of nobody yet */
    SSL_SESSION *sessions[TLS_SESSIONS_MAX]; /* the latest last */
    int n_sessions;
    TlsTickets *tickets;
    size_t n_certificates;
    Certificate certificates[TLS_CERTIFICATES_MAX];
};

struct TlsStream {
    SSL *ssl;
    TlsContext *context;
    int fd;
    int error;  /* errno of the socket, when that broke */
    bool ready; /* the handshake is over */
    bool broken;
    bool deaf;       /* the socket takes nothing more; what came before may still be read */
    bool resumes;    /* its sessions are kept, and it began with one if there was one */
    bool cut;        /* the socket's end was reached */
    bool dry;        /* the last read found nothing */
    bool began;      /* a byte has come */
    bool plain_http; /* and looked like a method */
    char *unsent;    /* what the socket did not take; NULL: nothing */
    size_t unsent_n, unsent_from, unsent_capacity;
    char why[160];
    X509 *refused;    /* the peer's certificate that was not believed */
    const char *mend; /* static; NULL: nothing is known */
};

/* certificates.c */
/** Loads and judges one pair. The problem says what is wrong. */
MUST_USE Err certificate_load(Ctx *ctx, Arena *arena, const TlsCertificateFiles *files, Certificate *ret);
void certificate_done(Certificate *certificate);
/** DNS names and addresses, with commas between. */
Str certificate_names(X509 *leaf, Arena *arena);
/** Lets every connection have the certificate that fits the host it names. */
void certificates_offer(TlsContext *context);

/* stream.c */
/** For SSL_CTX_set_verify, of clients. */
int stream_on_verified(int believed, X509_STORE_CTX *store);

/* sessions.c */
/** Has the context keep what its streams are given. */
void sessions_keep(TlsContext *context);
/** Lets a stream that has not begun go on with one of them. */
void sessions_take(TlsStream *stream, Str host);
void sessions_drop(TlsContext *context);

/* tickets.c */
void tickets_offer(TlsContext *context);

/* words.c */
/** Records a problem with OpenSSL's reason behind the words, and empties its queue of errors. ERR_INVALID. */
Err tls_problem(Ctx *ctx, const char *format, ...) PRINTF_LIKE(2, 3);
/** What to do about a handshake that failed so: verified is what SSL_get_verify_result said; looks at the queue of
 *  errors and leaves it. NULL: nothing is known. */
const char *tls_mend_of(long verified);
/** OpenSSL's latest reason: "key values mismatch (x509_cmp.c:405)"; empties the queue. "" when it has none. */
void tls_reason(char *out, size_t size);
