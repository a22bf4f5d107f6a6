/*
 * connection.h - one client's connection and the requests in work on it. Private to lib/http.
 *
 *   bytes in → head → Exchange (a coroutine) → answers in order → bytes out
 *
 * Lifetimes: a connection lives until its poll handle is closed and its last exchange has ended (refs). A closed (dead)
 * connection takes no more bytes and gives none; exchanges on it run on and their answers are dropped, because a commit
 * must not be torn by a client that left.
 */
#pragma once
#include <uv.h>

#include "http/blocks.h"
#include "http/chunk.h"

typedef struct Exchange Exchange;
typedef struct H2Session H2Session; /* h2.h */
typedef struct H2Stream H2Stream;

/* What the next bytes of a connection are. */
typedef enum InputState {
    IN_HANDSHAKE, /* TLS; conn->tls is made with the first byte */
    IN_HEAD,      /* a request's head */
    IN_BODY,      /* body of conn->body.owner */
    IN_DISCARD,   /* rest of a body that nobody wants */
    IN_H2,        /* frames */
    IN_STOP,      /* nothing: no further request will be read */
    IN_LINGER     /* to be dropped, until the client has seen our end */
} InputState;

typedef struct BodyInput {
    Exchange *owner; /* NULL while discarding */
    BodyKind kind;
    uint64_t left;     /* BODY_LENGTH: bytes to come */
    uint64_t received; /* bytes as sent */
    uint64_t decoded;  /* without the chunks' framing */
    ChunkDecoder decoder;
    bool pinned; /* the reader holds a piece of conn->in: it may not move */
} BodyInput;

struct HttpConnection {
    HttpServer *server;
    HttpConnection *prev, *next; /* of the server's connections */
    HttpConnection *next_dirty;
    uv_poll_t poll;
    Timer timer;
    int fd;
    int events; /* what poll watches */
    int refs;   /* the poll handle, and each exchange */
    InputState input;
    int refusal; /* status to answer with once the exchanges before it are done; 0: none */
    const char *refusal_allow;
    bool dirty, dead, eof;
    bool sealed;  /* an answer said "close": no later one may follow */
    bool final;   /* the request read last is the last */
    bool unread;  /* bytes of the client were or will be left unread: linger, so that it sees the answer */
    bool blocked; /* a complete head waits for exchanges before it */
    bool resume;  /* input waits to be looked at in the turn's hook */
    bool out_blocked;
    bool out_elsewhere; /* … with bytes that their writer holds */
    bool awaits_proxy;  /* a PROXY header must come before anything else: proxy_protocol.c */
    Block *in, *out;
    BodyInput body;
    Exchange *first, *last; /* in work, in order of arrival */
    int count, unsafe;
    int64_t idle_at, head_at, write_at, discard_at, linger_at; /* deadlines, clock_mono_ms */
    uint64_t lingered;
    char peer[48];
    bool secure;
    TlsStream *tls; /* NULL: plain, or no byte has come */
    H2Session *h2;  /* NULL: HTTP/1.1 */
};

struct Exchange {
    Request req;
    Response res;
    HttpConnection *conn;
    Exchange *next;
    Co *co;
    Wait *body_wait; /* the handler waits for input */
    Wait *out_wait;  /* … for its turn to answer, or for the client to take bytes */
    Str head;        /* request line and fields, and the body when all of it was there */
    const HeadParser *parser;
    HeadFacts facts;
    Str body_whole; /* absent: comes through conn->body */
    Err body_err;
    int64_t body_waited_ms;
    int64_t began_ns; /* for the observer */
    bool adopted, safe, keep_alive, body_ended, continue_sent, stream_open, adopt_failed;
    BodyKind stream_kind; /* how a streamed answer goes out; BODY_NONE: it has no body */
    uint64_t stream_left; /* BODY_LENGTH: bytes that must still come */
    Buf trailers;         /* of the request, where the handler wants them */
    H2Stream *stream;     /* NULL: HTTP/1.1 */
    int refusal;          /* of a stream's head: the status to answer with, instead of asking the handler */
};

struct HttpServer {
    Loop *loop;
    HttpServerOptions options;
    TurnHook hook;
    HttpConnection *connections, *dirty;
    HttpConnection *free_connections;
    Exchange *free_exchanges;
    int pooled_connections, pooled_exchanges;
    BlockPool blocks;
    Block *scratch; /* where sockets are read into when their connection owns no block */
    char *path_scratch;
    Arena *error_arena;
    HeadParser *stream_parser; /* for one head at a time of HTTP/2; made with the first session */
    struct Listener *listeners;
    size_t n_listeners;
    Timer accept_timer;
    int refs; /* itself, listeners, connections */
    bool accepting, draining, freed;
    bool patient; /* draining, and idle connections may send one more request */
    void (*drained)(void *data);
    void *drained_data;
    HttpStats stats;
};

enum {
    DISCARD_MAX = 64 * 1024,      /* of a body nobody read, before its connection is closed instead */
    LINGER_MS = 2000,             /* how long a refused client may go on sending */
    LINGER_BYTES_MAX = 256 << 20, /* and how much of it is dropped */
    STREAM_CHUNK_MAX = 16 * 1024, /* a streamed answer's larger pieces are cut */
    POOLED_MAX = 256
};

/* connection.c */
void connection_open(HttpServer *server, int fd, const char *peer, bool secure);
void connection_touch(HttpConnection *conn); /* its hook will run in this turn */
void connection_abort(HttpConnection *conn);
void connection_unref(HttpConnection *conn);
void connection_settle(HttpConnection *conn); /* in the hook: flush, go on, close, watch */
void connection_nudge(HttpConnection *conn);  /* draining: end it if it idles */
/** Draining: may this exchange's answer say "close"? Not while the client has more questions that were read, or have
 *  arrived: it could not tell whether they were heard. */
bool connection_ends_with(const HttpConnection *conn, const Exchange *ex);

/* server.c */
void http_server_unref(HttpServer *server);
void http_server_connection_gone(HttpServer *server); /* room for another; or, draining, one fewer to wait for */

/* input.c */
void input_read(HttpConnection *conn);
void input_process(HttpConnection *conn);
bool input_wanted(const HttpConnection *conn);

/* secure.c: a connection over TLS. What stands in for read(2) and send(2) keeps their meaning. */
void secure_handshake(HttpConnection *conn);
ssize_t secure_read(HttpConnection *conn, char *p, size_t n);
/** Bytes taken; 0: none now. Aborts the connection on failure. */
size_t secure_write(HttpConnection *conn, const char *p, size_t n);
/** Sends what an earlier write left behind; true: nothing is left. */
bool secure_flush(HttpConnection *conn);
/** There is input that no readiness will announce. */
static inline bool secure_pending(const HttpConnection *conn) {
    return conn->tls != NULL && conn->input != IN_LINGER && tls_read_pending(conn->tls);
}
static inline bool secure_unsent(const HttpConnection *conn) {
    return conn->tls != NULL && tls_unsent(conn->tls) > 0;
}

/* output.c */
/** Makes sure there is a block, a big one if `n` more bytes want it. */
bool output_room(HttpConnection *conn, size_t n);
/** Puts bytes behind what waits to be sent; false: no room (nothing was taken). */
bool output_add(HttpConnection *conn, Str a, Str b);
/** As output_add, but waits until there is room. ERR_EOF: client is gone. */
CO_FN Err output_send(Exchange *ex, Str a, Str b) MUST_USE;
/** Gives the n bytes of a pipe to the client, which speaks HTTP/1.1 without TLS. */
CO_FN Err output_splice(Exchange *ex, int pipe, size_t n) MUST_USE;
/** Writes what it can. */
void output_flush(HttpConnection *conn);
/** The socket takes bytes again. */
void output_writable(HttpConnection *conn);
/** An answer is whole: where no other waits behind it, it leaves at once, while its block is in the cache, and the
 *  block serves the next connection of this turn. */
void output_end(Exchange *ex);

/* exchange.c */
/** Starts a request whose head is complete at the start of `head`. false: refused (no memory, too many). */
bool exchange_start(HttpConnection *conn, const HeadParser *parser, const HeadFacts *facts, Str input,
                    size_t *ret_used);
/** The same for a stream of HTTP/2, whose head is written down as one of HTTP/1.1; refusal: 0, or the status that is
 *  answered instead. */
bool exchange_start_stream(HttpConnection *conn, const HeadParser *parser, const HeadFacts *facts, Str head,
                           H2Stream *stream, int refusal);
/** Gives a status to what was not answered, or could not be. */
void exchange_settle(Exchange *ex);
/** Waits until every answer before this one has been given out. */
CO_FN Err exchange_turn(Exchange *ex) MUST_USE;

/* body.c */
/** When the client must have sent more of the body than `received`, at the latest. */
int64_t body_deadline(const Exchange *ex, uint64_t received, int64_t now);
/* pass.c */
/** True for fields that belong to one connection (RFC 9110 §7.6.1), `listed` being the values of Connection. */
bool field_is_hop(Str name, const Str *listed, size_t n_listed);
enum { LISTED_MAX = 8 };
/** A value of Connection, as most are, that names no field but Keep-Alive, which never passes. */
bool lists_nothing(Str value);
/** The values of an answer's Connection fields; how many. */
size_t fields_listed(const UpstreamAnswer *answer, Str listed[LISTED_MAX]);
/** How an answer's body goes out to this client. */
BodyKind pass_kind(const Request *req, const UpstreamAnswer *answer);

/* answer.c */
typedef enum Framing { FRAMING_LENGTH, FRAMING_CHUNKED, FRAMING_NONE } Framing;
/** The status line and all fields up to the empty line. */
void answer_head(const HttpServer *server, const Response *res, Framing framing, size_t length, bool close, Buf *out);
bool status_has_body(int status);
/** Lets on_protocol_error fill in the answer to a head that cannot become a request. */
void answer_refusal_fill(const HttpServer *server, Response *res, const char *allow, bool plain);
/** Queues that answer. */
void answer_refusal(HttpConnection *conn, int status, const char *allow);
