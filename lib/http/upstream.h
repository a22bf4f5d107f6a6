/*
 * upstream.h - back ends as one name: several instances, their connections, and who of them is well.
 *
 *   upstream_begin → upstream_write… → upstream_finish → upstream_answer (interim ones first) → upstream_read… →
 *   upstream_end
 *
 * An exchange is one request and its answers on one connection of the pool, for one coroutine (two may share it while
 * one writes and the other reads). upstream_fetch is the whole of it for answers that fit into memory. Nothing here
 * changes what passes: heads go out as they are given and come in as they are sent, fields in their order and case.
 *
 * Everything is bounded: instances, connections, requests in work, requests that wait and for how long, retries. What
 * is over a bound fails at once with a reason (UpstreamFailure), which is for operators and not for clients.
 */
#pragma once
#include "http/http.h"

typedef struct Upstream Upstream;
typedef struct UpstreamExchange UpstreamExchange;

typedef struct UpstreamLimits {
    int64_t connect_ms;     /* to a connected socket; 2000 */
    int64_t first_byte_ms;  /* from the request's end to an answer's head; 60000 */
    int64_t idle_ms;        /* between two bytes, either way; 60000 */
    int64_t total_ms;       /* of a whole exchange, queue included; 0: none, which is the default */
    int64_t tunnel_idle_ms; /* an upgraded connection without a byte either way; 3600000 */
    int64_t keep_ms;        /* how long an unused connection is kept; 50000 */
    int64_t keep_max;       /* unused connections kept for each instance; 256 */
    int64_t requests_max;   /* in work at once on each instance, hence also its connections; 1024 */
    int64_t queue_max;      /* requests that wait for one of these; 1024 */
    int64_t queue_ms;       /* how long they wait; 1000 */
    int64_t retry_percent;  /* of the requests may be tried once more (and always a few); 20 */
    int64_t failures_max;   /* that many failures in a row put an instance aside; 5 */
    int64_t aside_ms; /* for that long at first, doubled each time up to 8 times that; then one request tries; 1000 */
    int64_t slow_start_ms;          /* an instance that came (back) gets its full share after this; 10000 */
    int64_t resolve_ms;             /* how often names are looked up again; 30000 */
    size_t head_max;                /* bytes of an answer's head; 65536, not more */
    int64_t interim_max;            /* 1xx answers to one request; 32 */
    int64_t check_ms;               /* between two active checks; 5000 */
    int64_t check_timeout_ms;       /* 2000 */
    int64_t check_rise, check_fall; /* that many good or bad checks in a row change an instance's state; 2, 3 */
} UpstreamLimits;
extern const UpstreamLimits UPSTREAM_LIMITS_DEFAULT;

#define UPSTREAM_URLS_MAX      32
#define UPSTREAM_INSTANCES_MAX 128

typedef struct UpstreamOptions {
    Str name;        /* for logs, metrics and Via; copied */
    const Str *urls; /* upstream_url_fits; a name may stand for several addresses; copied */
    size_t url_count;
    Str check_path; /* GET of this must answer 2xx or 3xx; absent: no active checks; copied */
    UpstreamLimits limits;
    uint32_t from; /* IPv4 address, as a number, that connections come from; 0: any */
} UpstreamOptions;

/**
 * True when it can be an upstream's URL; else *ret_why (static text) says what is wrong with it.
 *
 * "http://host[:port]", "unix:/path", or "https://host[:port]" with parameters behind '?' that are named as those of
 * amqps:// and percent-encoded: cacertfile (PEM, of the authorities believed; absent: the system's), certfile and
 * keyfile (PEM, what we show when asked), server_name_indication (whom the certificate must name; absent: the host),
 * verify (verify_peer; verify_none believes anybody).
 */
bool upstream_url_fits(Str url, const char **ret_why);
/** Beside that reads the files that it names. ERR_INVALID: the problem says what is wrong with which. */
MUST_USE Err upstream_url_try(Ctx *ctx, Str url);
/** Begins to look up names and to check at once; connects when there is something to send. ERR_INVALID: a URL;
 *  ERR_NO_MEMORY. */
MUST_USE Err upstream_new(Loop *loop, const UpstreamOptions *options, Upstream **ret);
/** One more owner; upstream_unref takes one away. The last one ends checks and closes unused connections; exchanges
 *  that are in work go on. */
Upstream *upstream_ref(Upstream *upstream);
void upstream_unref(Upstream *upstream);
Str upstream_name(const Upstream *upstream);
/** Reads the files that its URLs name once more, for connections to come. What cannot be read is logged and stays as it
 *  was. */
void upstream_renew(Upstream *upstream);
/** True when nothing but the owners' wishes differs: such an upstream may be used on after a reload. */
bool upstream_same(const Upstream *upstream, const UpstreamOptions *options);

/* Why an exchange failed: one word each for logs and metrics, and the status that a gateway answers with. */
#define UPSTREAM_FAILURES(X)                                                                                           \
    X(UPSTREAM_WELL, "", 0)                                                                                            \
    X(UPSTREAM_NO_INSTANCE, "no_instance", 503) /* the name is unknown, or not looked up yet */                        \
    X(UPSTREAM_ASIDE, "circuit_open", 503)      /* all instances have failed lately */                                 \
    X(UPSTREAM_QUEUE_FULL, "queue_full", 503)                                                                          \
    X(UPSTREAM_QUEUE_TIMEOUT, "queue_timeout", 503)                                                                    \
    X(UPSTREAM_CONNECT, "connect", 502) /* refused, unreachable */                                                     \
    X(UPSTREAM_TLS, "tls", 502)         /* no handshake: a certificate, or no TLS at all; the log says what to do */   \
    X(UPSTREAM_CONNECT_TIMEOUT, "connect_timeout", 504)                                                                \
    X(UPSTREAM_RESET, "reset", 502) /* the connection ended before an answer's head was whole */                       \
    X(UPSTREAM_FIRST_BYTE_TIMEOUT, "first_byte_timeout", 504)                                                          \
    X(UPSTREAM_IDLE_TIMEOUT, "idle_timeout", 504)                                                                      \
    X(UPSTREAM_TOTAL_TIMEOUT, "total_timeout", 504)                                                                    \
    X(UPSTREAM_MALFORMED, "malformed", 502) /* what came is no answer, or in doubt where it ends */                    \
    X(UPSTREAM_TOO_LARGE, "too_large", 502) /* its head; in upstream_fetch its body */                                 \
    X(UPSTREAM_TRUNCATED, "truncated", 502) /* the body ended early */                                                 \
    X(UPSTREAM_CANCELLED, "cancelled", 499) /* the client has left, or the worker ends */                              \
    X(UPSTREAM_MEMORY, "memory", 503)
typedef enum UpstreamFailure {
#define UPSTREAM_FAILURE_ENUM(code, name, status) code,
    UPSTREAM_FAILURES(UPSTREAM_FAILURE_ENUM)
#undef UPSTREAM_FAILURE_ENUM
} UpstreamFailure;
/** Its word. */
const char *upstream_failure_name(UpstreamFailure failure);
int upstream_failure_status(UpstreamFailure failure);

typedef struct UpstreamRequest {
    Str head;        /* request line and fields, the empty line included; framing agrees with what follows */
    Str body;        /* sent with the head; absent: none, or it comes by upstream_write */
    bool more;       /* upstream_write follows */
    bool chunked;    /* what upstream_write gives is sent as chunks */
    bool head_only;  /* HEAD: an answer has no body whatever it says */
    bool idempotent; /* may be sent again when a kept connection turns out to be dead (RFC 9110 §9.2.2) */
    bool upgrade;    /* 101 is an answer to it */
} UpstreamRequest;

/** First header of that name, or absent. */
Str upstream_answer_header(const UpstreamAnswer *answer, Str name);

/**
 * Takes a connection (waiting for its turn, connecting) and sends the head. The exchange lives in ctx's arena and must
 * be ended by upstream_end in any case, also when this failed.
 *
 * ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_LIMIT, ERR_NO_MEMORY, ERR_CANCELLED; upstream_failure says more
 */
CO_FN Err upstream_begin(Ctx *ctx, Upstream *upstream, const UpstreamRequest *request, UpstreamExchange **ret) MUST_USE;
/** Sends a piece of the body; waits while the other side is slow. After a failure the answer may be there all the
 *  same. */
CO_FN Err upstream_write(UpstreamExchange *exchange, Str piece) MUST_USE;
/** Ends the body. trailers: field lines with CRLF; only with chunked. In a tunnel: no more will be written. */
CO_FN Err upstream_finish(UpstreamExchange *exchange, Str trailers) MUST_USE;
/** The client's body has failed: whoever reads the answer gets ERR_CANCELLED, and the connection is closed at the end,
 *  so that the other side sees that the request is not whole. */
void upstream_abort(UpstreamExchange *exchange);
/** The next answer's head: interim ones (1xx) before the final one. In ctx's arena. Tries once more by itself where
 *  that is safe. ERR_EOF: reset; ERR_SYNTAX: malformed; ERR_LIMIT; ERR_TIMEOUT; ERR_CANCELLED. */
CO_FN Err upstream_answer(UpstreamExchange *exchange, UpstreamAnswer *ret) MUST_USE;
/** As upstream_answer, but ERR_RETRY when nothing has come within ms; it may then be called again. */
CO_FN Err upstream_answer_within(UpstreamExchange *exchange, int64_t ms, UpstreamAnswer *ret) MUST_USE;
/** The next piece of the final answer's body, decoded; empty at its end. Valid until the next call of anything here,
 *  and not over any other wait: send it or copy it. ERR_EOF: truncated; ERR_SYNTAX; ERR_TIMEOUT. */
CO_FN Err upstream_read(UpstreamExchange *exchange, Str *ret) MUST_USE;
/** How many bytes of the body upstream_splice could still move; 0: it cannot (TLS, no length, or some have been
 *  read). */
uint64_t upstream_spliceable(const UpstreamExchange *exchange);
/** The next bytes of the body into an empty pipe, so that they need not pass through our memory. Errors as
 *  upstream_read's. */
CO_FN Err upstream_splice(UpstreamExchange *exchange, int pipe, size_t *ret_n) MUST_USE;
/** Field lines behind the last chunk, with CRLF each; empty: none. In ctx's arena. */
Str upstream_trailers(const UpstreamExchange *exchange);
/** Gives the connection back when request and answer are at their ends, else closes it. NULL is allowed. */
void upstream_end(UpstreamExchange *exchange);
void upstream_endp(UpstreamExchange **exchange); /* for CLEANUP */

UpstreamFailure upstream_failure(const UpstreamExchange *exchange);
/** "10.0.0.5:5000", or empty before there was one. */
Str upstream_peer(const UpstreamExchange *exchange);

/** The whole of one exchange within ctx's deadline: answer and body (at most body_max bytes) in ctx's arena.
 *  *ret_failure (may be NULL) says why not. */
CO_FN Err upstream_fetch(Ctx *ctx, Upstream *upstream, const UpstreamRequest *request, size_t body_max,
                         UpstreamAnswer *ret, UpstreamFailure *ret_failure) MUST_USE;

typedef struct UpstreamStats {
    uint64_t requests, failures, retries, connects, reuses, refused; /* refused: queue and circuit */
    int instances, well, in_work, waiting, connections, unused;
} UpstreamStats;
UpstreamStats upstream_stats(const Upstream *upstream);

/** One instance as it is. */
typedef struct UpstreamInstance {
    const char *peer; /* "10.0.0.5:5000"; valid until the next wait */
    int in_work, connections, unused;
    uint64_t failed;  /* attempts in all; connection failures, those tried again included */
    bool aside;       /* its circuit is open: it failed several times in a row */
    bool checked_bad; /* active checks say so */
} UpstreamInstance;
/** The at-th that is listed; false: there are fewer. */
bool upstream_instance(const Upstream *upstream, size_t at, UpstreamInstance *ret);
