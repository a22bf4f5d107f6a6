/*
 * http.h - HTTP messages as handlers see them (RFC 9110), whether they came by HTTP/1.1 (RFC 9112) or HTTP/2 (RFC
 * 9113).
 *
 * A handler runs in a coroutine of its own, started when a request's head has arrived. It reads the body when it wants
 * it (that is when 100-continue is sent) and answers once. Everything in Request is borrowed from the connection's
 * buffers and lives until the handler returns.
 */
#pragma once
#include "runtime/co.h"
#include "tls/tls.h"

/* Known methods have numbers; others keep only their text. */
#define HTTP_METHODS(X) X(GET) X(HEAD) X(POST) X(PUT) X(PATCH) X(DELETE) X(OPTIONS) X(TRACE) X(CONNECT)
typedef enum Method {
    METHOD_OTHER,
#define METHOD_ENUM(name) METHOD_##name,
    HTTP_METHODS(METHOD_ENUM)
#undef METHOD_ENUM
} Method;

typedef struct Header {
    Str name;  /* as sent; compare with str_eq_nocase */
    Str value; /* without surrounding white space */
} Header;

typedef enum BodyKind {
    BODY_NONE,
    BODY_LENGTH,
    BODY_CHUNKED,
    BODY_UNTIL_CLOSE, /* answers only */
    BODY_TUNNEL       /* behind 101: bytes until either side ends */
} BodyKind;

typedef struct HttpConnection HttpConnection;

typedef struct Request {
    Ctx *ctx;
    Method method;
    Str method_text; /* as sent */
    Str target;      /* as sent */
    Str path;        /* percent-decoded, dot segments resolved; "/" at least; "*" for OPTIONS * */
    Str query;       /* raw, behind '?'; absent: no '?' */
    int major;       /* 1 or 2 */
    int minor;       /* HTTP/1.minor: 0 or 1; 1 for HTTP/2, which can all that HTTP/1.1 can */
    const Header *headers;
    size_t header_count;
    BodyKind body_kind;
    uint64_t content_length; /* BODY_LENGTH */
    bool expect_continue;
    Str peer;    /* textual address */
    bool secure; /* came over TLS */
    HttpConnection *connection;
    const struct Route *route; /* set by the router */
    Str path_values[8];        /* values of the route's {placeholders}, in order */
    const char *backend;       /* set by a gateway: which side answers; for telemetry; text that lives for ever */
    bool holds_continue;       /* set by the handler: reading the body sends no 100, response_interim will */
} Request;

/** Whom the client's certificate names ("/CN=…"), in ctx's arena; absent: no TLS, or it showed none. */
Str request_client_subject(const Request *req);
/** First header of that name, or absent. */
Str request_header(const Request *req, const char *name);
/** How many headers have that name. */
size_t request_header_count(const Request *req, const char *name);

/** The whole body into one Str (ctx's arena), read as it arrives. ERR_LIMIT: over max_bytes (the connection will close
 *  after the answer); ERR_SYNTAX: malformed chunk (likewise); ERR_EOF: client went; ERR_TIMEOUT: too slow. */
CO_FN Err request_body(Request *req, uint64_t max_bytes, Str *ret) MUST_USE;
/** The next piece of the body; empty at its end. For streaming. Errors as request_body. Valid until the next call. */
CO_FN Err request_body_next(Request *req, Str *ret) MUST_USE;
/** True when all of the body came with the head: *ret is it, and it counts as read. */
bool request_body_here(Request *req, Str *ret);
/** Field lines behind the body, each with its CRLF; empty: none, or the body is not at its end yet. Those behind the
 *  last chunk of HTTP/1.1 are kept only when request_keep_trailers was called before the body was read. */
Str request_trailers(const Request *req);
void request_keep_trailers(Request *req);

typedef struct Response {
    int status;             /* 0 until answered */
    Buf body;               /* in ctx's arena */
    Buf head;               /* further header lines "Name: value\r\n", made by response_header */
    bool close;             /* close the connection after this answer */
    bool no_content_length; /* leave it out (204 and such do so by themselves) */
    bool streaming;         /* response_stream_* was used: body is ignored */
} Response;

/** Appends a header line. Name and value are checked: a byte that could split the message is a bug (ASSERT). */
void response_header(Response *res, const char *name, Str value);

/* Streaming answer: chunked (HTTP/1.1) or delimited by close (HTTP/1.0); waits when the client is slow. */
CO_FN Err response_stream_begin(Request *req, Response *res) MUST_USE;
CO_FN Err response_stream_write(Request *req, Response *res, Str piece) MUST_USE;
CO_FN Err response_stream_end(Request *req, Response *res) MUST_USE;

/* --- answers that come from elsewhere and are passed on */

/* An answer as another server sent it. */
typedef struct UpstreamAnswer {
    int status;
    int minor;
    Str reason;
    Str lines;             /* all field lines with their CRLF, as they came */
    const Header *headers; /* views into lines */
    size_t header_count;
    BodyKind body_kind;      /* BODY_UNTIL_CLOSE as well; BODY_TUNNEL with 101 */
    uint64_t content_length; /* BODY_LENGTH */
    Str body;                /* upstream_fetch only */
} UpstreamAnswer;

/** Sends an interim answer (1xx), if the client's version knows such. */
CO_FN Err response_interim(Request *req, const UpstreamAnswer *answer) MUST_USE;
/** Begins the client's answer with this head: status, reason and fields in their order and case, without what belongs
 *  to one connection only (RFC 9110 §7.6.1), and res->head's lines behind them. What follows goes through
 *  response_stream_write and response_stream_end; with BODY_LENGTH it must come to that length, or the connection is
 *  cut. BODY_TUNNEL: from here on both bodies are bare bytes, request_body_next ending where the client ends. */
CO_FN Err response_pass_begin(Request *req, Response *res, const UpstreamAnswer *answer) MUST_USE;
/** True when response_stream_splice can take the place of response_stream_write now: HTTP/1.1 without TLS, a body with
 *  a length. */
bool response_stream_splices(Request *req);
/** The n bytes that a pipe holds, as the next ones of the body. */
CO_FN Err response_stream_splice(Request *req, int pipe, size_t n) MUST_USE;
/** As response_stream_end, with these field lines (each with its CRLF) behind the last chunk where there is one. */
CO_FN Err response_stream_end_trailers(Request *req, Response *res, Str trailers) MUST_USE;

/** Standard reason phrase (RFC 9110 §15); "Unknown" otherwise. */
const char *http_reason(int status);
/** "Mon, 23 Nov 2026 10:00:00 GMT" (RFC 9110 §5.6.7), cached per second. */
Str http_date(void);
/** Any point in time in that form (no NUL). */
#define HTTP_DATE_LEN 29
void http_date_format(int64_t unix_seconds, char out[HTTP_DATE_LEN]);

typedef CO_FN void (*Handler)(Request *req, Response *res, void *data);

/* --- server
 * ---------------------------------------------------------------------------------------------------------------- */

typedef struct HttpLimits {
    size_t request_line_max;  /* 414 past it; 8192 */
    size_t headers_total_max; /* 431; 32768 */
    size_t headers_count_max; /* 431; 100 */
    uint64_t body_max;        /* 30,000,000 */
    int connections_max;      /* further ones wait in the backlog: accepting stops */
    int pipeline_max;         /* requests of one connection in work at once */
    int streams_max;          /* the same for HTTP/2 */
    int64_t head_timeout_ms;  /* from the first byte to the end of the head; 408. And a TLS handshake, from accept on */
    int64_t body_timeout_ms;  /* without a byte of the body; 408 */
    int64_t body_rate_min;    /* bytes per second on average after the first 5 s; 0: unchecked */
    int64_t idle_timeout_ms;  /* keep-alive connection without a request */
    int64_t write_timeout_ms; /* client takes nothing */
    int64_t request_timeout_ms; /* ctx deadline of a handler */
    size_t arena_bytes;         /* per request */
} HttpLimits;
extern const HttpLimits HTTP_LIMITS_DEFAULT;

typedef struct HttpServer HttpServer;

/** Who watches a server, from a layer above. None of these may suspend. */
typedef struct HttpObserver {
    void (*begin)(const Request *req); /* before the handler; may change ctx->trace */
    /** When the answer was given out, or could not be (status 0: there was none). began_ns: clock_mono_ns. */
    void (*end)(const Request *req, const Response *res, int64_t began_ns);
    void (*refused)(int status); /* what came could not be read as a request */
} HttpObserver;

typedef struct HttpServerOptions {
    HttpLimits limits;
    Handler handler; /* gets every well-formed request */
    void *data;
    /* Head-level failures (bad syntax, over a limit): status → answer. NULL: empty body, Content-Length: 0, Connection:
     * close. */
    void (*on_protocol_error)(int status, Response *res, void *data);
    Str server_name; /* Server header; absent: none */
    bool hide_date;
    bool proxy_protocol;          /* connections begin with a PROXY header, whose address is the peer's from there on */
    const HttpObserver *observer; /* stays the caller's; NULL: nobody watches */
    TlsContext *tls;              /* for the listeners below; the server holds it */
    uint64_t tls_listeners;       /* bit i: fds[i] speaks TLS */
    bool http2_cleartext;         /* HTTP/2 without TLS for clients that begin with it (RFC 9113 §3.3) */
} HttpServerOptions;

/** Serves on listening sockets already bound (http_listen_socket); takes them over. */
MUST_USE Err http_server_new(Loop *loop, const int *fds, size_t n_fds, const HttpServerOptions *options,
                             HttpServer **ret);
/** Stops accepting, lets requests in work finish (answers carry Connection: close), closes idle connections; then calls
 *  done. */
void http_server_drain(HttpServer *server, void (*done)(void *data), void *data);
/** As drain, for a server whose place another process has taken on the same sockets: connections that idle stay open
 *  for one more request (its answer carries Connection: close) until idle_ms (clock_mono_ms) have come. A client that
 *  sends just when its connection is being closed cannot tell whether it was heard; so none is closed that may be about
 *  to. */
void http_server_retire(HttpServer *server, int64_t idle_ms, void (*done)(void *data), void *data);
void http_server_free(HttpServer *server);
/** Connections accepted from now on get these certificates; older ones go on with theirs. */
void http_server_set_tls(HttpServer *server, TlsContext *tls);

typedef struct HttpStats {
    uint64_t accepted, requests, protocol_errors, timeouts, aborted;
    uint64_t handshakes, handshakes_resumed, handshakes_failed;
    int connections, in_flight;
} HttpStats;
HttpStats http_server_stats(const HttpServer *server);

/** "127.0.0.1:5000", "[::1]:5000", ":5000", "unix:/path" (a scheme, http:// or https://, before it is left away) → a
 *  bound, listening, non-blocking, close-on-exec socket with SO_REUSEADDR and (TCP) SO_REUSEPORT. On failure *ret_why
 *  says what and how to mend it (static or errno text). */
MUST_USE Err http_listen_socket(Str address, int *ret_fd, Str *ret_why, Arena *arena);
/** True when fd is a listening socket, and (unless address is absent) bound where http_listen_socket(address) would
 *  bind it. Further sockets on that address are then made beside it (SO_REUSEPORT). */
bool http_socket_listens_on(int fd, Str address, Arena *arena);

/* --- client: enough for tests, replay and health checks; the gateway's own comes later
 * ------------------------------------------- */

typedef struct HttpAnswer {
    int status;
    const Header *headers;
    size_t header_count;
    Str body;
    bool closed; /* the server closed or announced it */
} HttpAnswer;
