/*
 * tls.h - TLS 1.3 over a non-blocking socket (RFC 8446), by OpenSSL.
 *
 * A TlsContext is what one side presents and whom it believes: certificates, keys, authorities, rules. A TlsStream is
 * one connection; it borrows a connected, non-blocking socket, and closes nothing. Two ways to drive one:
 *
 *   from readiness callbacks  tls_handshake_step, tls_read_some, tls_write_some, tls_flush: never wait, and
 *                             tls_wants says what to watch the socket for
 *   from a coroutine          tls_handshake, tls_read, tls_write, tls_shutdown: wait in the loop, with a deadline. One
 *                             coroutine may read while another writes.
 *
 * What OpenSSL wants to send gathers in one buffer of the process and leaves in one send(2); only what the socket did
 * not take stays with the stream. Renegotiation, compression and early data (0-RTT) do not exist here.
 */
#pragma once
#include "runtime/co.h"

typedef struct TlsContext TlsContext;
typedef struct TlsStream TlsStream;

typedef enum TlsVersion { TLS_1_3, TLS_1_2 } TlsVersion; /* the lowest that is spoken */

/* --- contexts ----------------------------------------------------------------------------------------------------- */

/** A certificate with its chain behind it, and its key, both PEM. key absent: the key stands in the same file. */
typedef struct TlsCertificateFiles {
    Str certificate, key;
} TlsCertificateFiles;

typedef enum TlsClients { TLS_CLIENTS_UNASKED, TLS_CLIENTS_MAY, TLS_CLIENTS_MUST } TlsClients;

enum { TLS_CERTIFICATES_MAX = 64, TLS_TICKET_SECONDS = 3600 };

/** Keys of session tickets. Processes forked behind tls_tickets_init take each other's tickets without ever talking:
 *  each hour every one of them makes the next key out of the present one, and forgets that before the last. Begin with
 *  zeroes. */
typedef struct TlsTickets {
    int64_t hour; /* of keys[0], since 1970; 0: not begun */
    uint8_t state[32];
    struct TlsTicketKey {
        uint8_t name[16], cipher[32], mac[32];
    } keys[2]; /* this hour's, and the last one's */
} TlsTickets;

void tls_tickets_init(TlsTickets *tickets);

typedef struct TlsServerOptions {
    const TlsCertificateFiles *certificates; /* the first serves whoever names no host, or one that none is for */
    size_t n_certificates;
    Str client_ca;      /* PEM: whom clients' certificates must come from */
    TlsClients clients; /* does a client show a certificate? */
    TlsVersion version_min;
    bool http2;          /* offers h2 before http/1.1 (ALPN) */
    TlsTickets *tickets; /* stays the caller's; NULL: no session is resumed */
} TlsServerOptions;

/** ERR_INVALID: the problem says which file, what is wrong, and OpenSSL's own reason with its file and line.
 *  ERR_NO_MEMORY. */
MUST_USE Err tls_server_new(Ctx *ctx, const TlsServerOptions *options, TlsContext **ret);

typedef struct TlsClientOptions {
    Str ca;               /* PEM file of the authorities believed; absent: the system's */
    Str certificate, key; /* what we show when asked, PEM files; absent: nothing. key absent: in the same file */
    TlsVersion version_min;
    bool http2;      /* offers h2 before http/1.1; else no ALPN is sent */
    bool resumes;    /* remembers sessions of the host that the first stream names, for those behind it */
    bool believe_it; /* anybody is believed: for a loopback in tests, never a default */
} TlsClientOptions;

/** As tls_server_new. */
MUST_USE Err tls_client_new(Ctx *ctx, const TlsClientOptions *options, TlsContext **ret);

/** Contexts are counted: streams hold theirs, so that one can be replaced while connections live. */
TlsContext *tls_context_ref(TlsContext *context);
/** NULL is allowed. */
void tls_context_unref(TlsContext *context);

/* --- what an operator wants to know of a context's certificates --------------------------------------------------- */

typedef struct TlsCertificateFacts {
    Str file, key_file;
    Str subject, names; /* names: DNS names and addresses, with commas between */
    Instant not_before, not_after;
    bool self_signed;
    bool chain_complete;         /* each certificate in the file was issued by the one behind it */
    bool key_readable_by_others; /* anybody on this machine can read or write the key's file */
    const char *distrust;        /* why a machine with the same authorities would not believe it; NULL: it would */
} TlsCertificateFacts;
/** The index-th certificate; false: there are no more. Strs live in arena. */
bool tls_certificate_facts(const TlsContext *context, size_t index, Arena *arena, TlsCertificateFacts *ret);

/* --- streams ------------------------------------------------------------------------------------------------------ */

/** ERR_NO_MEMORY. The context is held; fd is borrowed and must stay open until tls_stream_free. */
MUST_USE Err tls_server_stream(TlsContext *context, int fd, TlsStream **ret);
/** host: whom the certificate must name, a DNS name (sent as SNI) or an IP address (not sent). */
MUST_USE Err tls_client_stream(TlsContext *context, int fd, Str host, TlsStream **ret);
/** NULL is allowed. Sends nothing. */
void tls_stream_free(TlsStream *stream);

/** What one step came to. */
typedef enum TlsStep {
    TLS_DONE,  /* *ret bytes were moved, or the handshake is over */
    TLS_WAIT,  /* not before the socket is ready for tls_wants */
    TLS_END,   /* the peer has said that it sends no more (close_notify); writing may go on */
    TLS_BROKEN /* over: cut off without close_notify, reset, refused, not TLS; tls_why says what */
} TlsStep;

TlsStep tls_handshake_step(TlsStream *stream);
/** Up to n bytes; TLS_DONE with at least one. */
TlsStep tls_read_some(TlsStream *stream, char *p, size_t n, size_t *ret);
/** Bytes, or an end, are there that no readiness of the socket will announce: read again before watching it. */
bool tls_read_pending(const TlsStream *stream);
/** Takes up to TLS_WRITE_MAX of n bytes and sends what the socket takes of them; TLS_WAIT: took none, because earlier
 *  ones are still on their way out; TLS_BROKEN: nothing more can be written (what came before may still be read). */
TlsStep tls_write_some(TlsStream *stream, const char *p, size_t n, size_t *ret);
enum { TLS_WRITE_MAX = 64 * 1024 };
/** Sends more of what waits. TLS_DONE: nothing waits any more. */
TlsStep tls_flush(TlsStream *stream);
/** Bytes taken but not yet sent. */
size_t tls_unsent(const TlsStream *stream);
/** Says that we send no more (close_notify), behind all that was written. */
TlsStep tls_shutdown_step(TlsStream *stream);
/** CO_READABLE, CO_WRITABLE: what a TLS_WAIT waits for. */
int tls_wants(const TlsStream *stream);

/** "h2", "http/1.1", or absent. After the handshake. */
Str tls_protocol(const TlsStream *stream);
/** The host the client named (SNI); absent: none. */
Str tls_host(const TlsStream *stream);
/** "TLSv1.3", "TLS_AES_128_GCM_SHA256": static text. */
Str tls_version(const TlsStream *stream);
Str tls_cipher(const TlsStream *stream);
/** The subject of the peer's certificate ("CN = …"), checked against the authorities; absent: it showed none. */
Str tls_peer_subject(const TlsStream *stream, Arena *arena);
bool tls_resumed(const TlsStream *stream);
/** The first bytes of a client were an HTTP request in plain text, and are lost. */
bool tls_was_plain_http(const TlsStream *stream);
/** Why the stream broke: words for a log, with OpenSSL's reason, file and line where it had one. */
const char *tls_why(const TlsStream *stream);
/** What an operator can do about it, for a client's stream (parameters are named as in amqps:// and https:// URLs);
 *  static text. NULL: nothing is known; as a rule it was not TLS that failed. */
const char *tls_mend(const TlsStream *stream);
/** The names in the certificate that the peer showed, believed or not, with commas between. Absent: it showed none. */
Str tls_peer_names(const TlsStream *stream, Arena *arena);

/* In a coroutine. Each waits until deadline_ms (clock_mono_ms; 0: only ctx's). ERR_IO: broken, tls_why says what;
 * ERR_TIMEOUT, ERR_CANCELLED as of co_wait_fd. After any error but ERR_TIMEOUT of a read the stream is of no more
 * use. */
CO_FN Err tls_handshake(TlsStream *stream, int64_t deadline_ms) MUST_USE;
/** *ret is 0 at the end that the peer announced; ERR_EOF: cut off without it. */
CO_FN Err tls_read(TlsStream *stream, char *p, size_t n, int64_t deadline_ms, size_t *ret) MUST_USE;
/** All of it, of any length; ERR_OK: the kernel has it. One writer at a time. */
CO_FN Err tls_write(TlsStream *stream, Str bytes, int64_t deadline_ms) MUST_USE;
/** close_notify; does not wait for the peer's. */
CO_FN Err tls_shutdown(TlsStream *stream, int64_t deadline_ms) MUST_USE;
