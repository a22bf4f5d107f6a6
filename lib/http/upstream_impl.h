/*
 * upstream_impl.h - what the files of the upstream share. Private to lib/http.
 *
 *   upstream.c           the upstream itself: owners, options, statistics
 *   upstream_balance.c   which instance takes a request, who is put aside, who waits
 *   upstream_url.c       what a URL says
 *   upstream_names.c     names looked up again and again
 *   upstream_check.c     asking instances whether they are well
 *   upstream_conn.c      one connection: connecting, bytes in and out, kept unused
 *   upstream_tls.c       what of that differs with TLS
 *   upstream_exchange.c  one request and its answers
 *
 * Lifetimes: an Upstream lives while it has owners, coroutines of its own, exchanges or connections (refs). An instance
 * lives while it is listed or has connections. A connection belongs to one exchange, or to its instance's unused ones.
 */
#pragma once
#include <sys/socket.h>
#include <uv.h>

#include "http/answer_parse.h"
#include "http/blocks.h"
#include "http/chunk.h"
#include "http/upstream.h"

typedef struct Instance Instance;

/* What belongs to one https:// URL. */
typedef struct UpstreamTls {
    TlsContext *context; /* NULL: the URL is a plain one */
    Str server_name;     /* whom the certificate must name */
} UpstreamTls;

typedef struct UpstreamConn {
    Instance *instance;
    TlsStream *tls;                   /* NULL: plain */
    struct UpstreamConn *prev, *next; /* among the unused */
    uv_poll_t poll;
    int fd;
    int events; /* what poll watches */
    Wait *read_wait, *write_wait;
    Block *in;       /* read and not yet taken; NULL: nothing */
    uint64_t served; /* exchanges that ended well on it */
    int64_t unused_at;
    bool unused, closed, polled;
    bool dry;         /* the last read left nothing behind: wait before the next one */
    bool readable;    /* it became readable while nobody waited: not watched until somebody does */
    bool broken;      /* writing failed: what was sent before may still have an answer */
    bool secured;     /* the handshake is over */
    bool tls_refused; /* one side did not like the other's certificate, or speaks no TLS at all */
    bool ended_well;  /* nothing is in work on it: TLS may say goodbye */
    bool doubted; /* the last answer had no body by the rules (HEAD, 204, 304): some servers send one all the same */
} UpstreamConn;

struct Instance {
    Upstream *upstream;
    Instance *next;
    UpstreamTls *tls; /* NULL: plain */
    struct sockaddr_storage address;
    socklen_t address_length;
    char text[72]; /* "10.0.0.5:5000" */
    int refs;      /* listed, and each connection */
    bool gone;     /* its name no longer leads to it */
    int in_work, connections, n_unused;
    UpstreamConn *unused, *unused_last; /* latest first */
    int failures;                       /* in a row */
    uint64_t failed;                    /* in all */
    int times_aside;                    /* in a row */
    int64_t aside_until;                /* 0: not aside */
    bool trying;                        /* aside_until has passed and one request tries */
    bool checked_bad;
    int checks;           /* in a row against the present state */
    const char *told_why; /* of failures of TLS */
    int64_t told_at;      /* 0: none since the last that went well */
    int64_t came_at;      /* for the slow start; 0: was there from the beginning */
};

typedef struct Waiter {
    Wait wait;
    struct Waiter *prev, *next;
    bool queued;
} Waiter;

struct Upstream {
    Loop *loop;
    UpstreamOptions options; /* name, urls and path in arena */
    Arena *arena;
    UpstreamTls *tls; /* one for each URL, in arena */
    int owners, refs;
    Instance *instances;
    int n_instances;
    Waiter *first, *last;
    int waiting;
    int64_t retry_tokens; /* hundredths of a retry */
    BlockPool blocks;
    Block *scratch; /* where sockets are read into when their connection owns no block */
    Timer sweep;    /* closes what was unused for too long */
    Co *namer, *checker;
    bool looked_up; /* names have been looked up once, whatever came of it */
    bool closing;
    UpstreamStats stats;
};

struct UpstreamExchange {
    Ctx *ctx;
    Upstream *upstream;
    Instance *instance, *only; /* only: no choice, no turn (checks) */
    UpstreamConn *conn;
    UpstreamRequest request;
    UpstreamFailure failure;
    AnswerScan scan;
    int64_t began_ms, finished_ms; /* finished 0: the request is still being sent */
    int64_t patience_ms;           /* upstream_answer_within's; 0: none */
    int64_t wrote_ms;              /* when a piece of the body was last sent */
    int interims;
    char peer[72];  /* instance->text, which may go before us */
    bool permitted; /* counted in instance->in_work, and holds it */
    bool heard;     /* a byte of an answer came */
    bool retried, answered, keeps, body_ended;
    bool half_closed; /* a tunnel whose client has ended */
    BodyKind body_kind;
    uint64_t left;
    ChunkDecoder decoder;
    Buf trailers;
};

/* upstream.c */
void upstream_hold(Upstream *upstream);
void upstream_release(Upstream *upstream);

/* upstream_balance.c */
/** Waits for a place on some instance and counts the exchange in. On failure ex->failure is set. */
CO_FN Err balance_enter(UpstreamExchange *ex, const Instance *but) MUST_USE;
void balance_leave(UpstreamExchange *ex);
/** What became of an instance: an answer, or one of the failures that are its own. */
void balance_well(Instance *instance);
void balance_failed(Instance *instance);
/** An instance may be given requests now. */
bool balance_usable(const Instance *instance, int64_t now);
/** A retry, if the budget has one. */
bool balance_retry(Upstream *upstream);

/* upstream_names.c */
/** Lists literal addresses at once; starts a coroutine for names. */
MUST_USE Err names_start(Upstream *upstream);
Instance *instance_new(Upstream *upstream, const struct sockaddr *address, socklen_t length, UpstreamTls *tls);
void instance_unref(Instance *instance);

/* upstream_url.c */
/** The parts of "http://host[:port]" and "https://host[:port][?parameters]" (unix:/path: host absent). */
typedef struct UpstreamUrl {
    Str host, port, path;
    bool tls, believe_it;
    Str ca, certificate, key, server_name; /* as written: upstream_url_text decodes them; absent: not given */
} UpstreamUrl;
bool upstream_url_read(Str url, UpstreamUrl *ret, const char **ret_why);
/** Percent-decoded, NUL-terminated. Absent: no memory. */
Str upstream_url_text(Str raw, Arena *arena);

/* upstream_tls.c */
/** Reads what the URLs name; what cannot be read is logged. */
MUST_USE Err upstream_tls_start(Upstream *upstream);
void upstream_tls_end(Upstream *upstream);
/** The handshake on a connected socket. ERR_REFUSED: it failed, which is logged. */
CO_FN Err conn_secure(UpstreamConn *conn, int64_t deadline_ms) MUST_USE;
/** As recv(2). */
ssize_t conn_tls_receive(UpstreamConn *conn, char *p, size_t n);
/** As conn_send. */
CO_FN Err conn_tls_send(UpstreamConn *conn, Str a, Str b, int64_t deadline_ms, int64_t idle_ms) MUST_USE;
/** Takes what is TLS's own business (tickets, new keys) off the socket; false: something else came too, or the end. */
bool conn_tls_is_quiet(UpstreamConn *conn);

/* upstream_check.c */
MUST_USE Err checks_start(Upstream *upstream);

/* upstream_conn.c */
/** A kept one unless `fresh`, else a new one. */
CO_FN Err conn_obtain(Instance *instance, bool fresh, int64_t deadline_ms, UpstreamConn **ret) MUST_USE;
void conn_close(UpstreamConn *conn);
/** Says that no more will be written; reading goes on. */
void conn_half_close(UpstreamConn *conn);
/** Waits at one of the connection's two places. */
CO_FN Err conn_wait(UpstreamConn *conn, Wait **place, int64_t deadline_ms) MUST_USE;
/** Keeps it for the next, if there is room. */
void conn_keep(UpstreamConn *conn);
/** Both, in one system call where the socket takes them. ERR_IO: it will take nothing more. */
CO_FN Err conn_send(UpstreamConn *conn, Str a, Str b, int64_t deadline_ms, int64_t idle_ms) MUST_USE;
/** More bytes into conn->in. ERR_EOF: the end; ERR_IO: a reset; ERR_RETRY: somebody asks to look at the deadline
 *  again. */
CO_FN Err conn_fill(UpstreamConn *conn, int64_t deadline_ms) MUST_USE;
/** Moves up to max bytes into an empty pipe instead, where nothing is in conn->in and there is no TLS. */
CO_FN Err conn_splice(UpstreamConn *conn, int pipe, size_t max, int64_t deadline_ms, size_t *ret_n) MUST_USE;
/** Takes n bytes away; an empty block goes back. */
void conn_take(UpstreamConn *conn, size_t n);
/** Closes unused connections that are older; all with keep_ms < 0. */
void conns_sweep(Instance *instance, int64_t now, int64_t keep_ms);
/** After the state of the socket was seen without an event: false when its other end has spoken or gone. */
bool conn_is_quiet(UpstreamConn *conn);

/* upstream_exchange.c */
/** As upstream_begin on one instance, whatever its state. */
CO_FN Err exchange_on(Ctx *ctx, Instance *instance, const UpstreamRequest *request, UpstreamExchange **ret) MUST_USE;
