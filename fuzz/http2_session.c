/*
 * http2_session.c - fuzzes a whole session of HTTP/2: what a client may send behind the preface, and what the server
 * says to it.
 *
 * A server in this process, a client's end of a socket pair, handlers that read, echo, stream, pass trailers on and
 * give up. However the client misbehaves, the server's own frames follow RFC 9113, every answer that ended is a whole
 * one, and when the client has gone nothing of it is left.
 *
 * Input: 1 byte that seeds the cuts, then what follows the preface.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/connection.h"
#include "http/h2.h"
#include "runtime/loop.h"

#include "fuzz.h"

enum { STREAMS_MAX = 512, QUIET_TURNS = 4, TURNS_MAX = 4000, SAID_MAX = 4 << 20, FRAME_HEAD = 9 };

static Loop *loop;
static HttpServer *server;

/* --- the server's side -------------------------------------------------------------------------------------------- */

static CO_FN void serve_stream(Request *req, Response *res) {
    Str piece = STR("-");
    res->status = 200;
    if (response_stream_begin(req, res) != ERR_OK)
        return;
    while (piece.n > 0) {
        if (request_body_next(req, &piece) != ERR_OK || response_stream_write(req, res, piece) != ERR_OK)
            return;
    }
    /* Trailers of a request are checked where they go on (forward.c); here only that they are lines. */
    Str trailers = request_trailers(req);
    FUZZ_CHECK(trailers.n == 0 || str_ends_with(trailers, STR("\r\n")));
    (void)!response_stream_end_trailers(req, res, STR("X-Sum: 1\r\n"));
}

static CO_FN void serve(Request *req, Response *res, void *data) {
    Str body;
    (void)data;
    FUZZ_CHECK(req->major == 2 || req->major == 1);
    if (str_eq_c(req->path, "/stream")) {
        serve_stream(req, res);
    } else if (str_eq_c(req->path, "/leave")) {
        return;
    } else if (str_eq_c(req->path, "/big")) {
        res->status = 200;
        for (int i = 0; i < 3000; i++)
            buf_add(&res->body, STR("a body that is longer than a window of 64 kB"));
    } else if (request_body(req, 65536, &body) == ERR_OK) {
        res->status = 200;
        buf_add(&res->body, body);
    }
}

static void set_up(void) {
    static bool done;
    Arena *arena = arena_new(1 << 20);
    HttpServerOptions options = {
        .limits = HTTP_LIMITS_DEFAULT, .handler = serve, .hide_date = true, .http2_cleartext = true};
    int fd;
    Str why;
    if (!done) {
        FUZZ_CHECK(arena != NULL && loop_new(&loop) == ERR_OK);
        FUZZ_CHECK(http_listen_socket(STR("127.0.0.1:0"), &fd, &why, arena) == ERR_OK);
        FUZZ_CHECK(http_server_new(loop, &fd, 1, &options, &server) == ERR_OK);
    }
    done = true;
    arena_free(arena);
}

/* --- what it says ------------------------------------------------------------------------------------------------- */

typedef struct Seen {
    uint64_t announced, came; /* of a body; announced UINT64_MAX: not */
    bool begun, ended, reset, is_final;
} Seen;

static Seen *seen_of(Seen *streams, uint32_t id) {
    FUZZ_CHECK(id % 2 == 1); /* nothing is pushed, and clients' streams are odd (§5.1.1) */
    return id / 2 < STREAMS_MAX ? &streams[id / 2] : NULL;
}

/* Each name in lower case, pseudo-header first and only :status, nothing of HTTP/1.1's connections (§8.2, §8.3). */
static void field_check(Seen *seen, Str name, Str value, bool first) {
    static const char *const refused[] = {"connection", "keep-alive", "transfer-encoding", "upgrade",
                                          "proxy-connection"};
    uint64_t n;
    for (size_t i = 0; i < name.n; i++)
        FUZZ_CHECK(name.p[i] > ' ' && (name.p[i] < 'A' || name.p[i] > 'Z'));
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        FUZZ_CHECK(!str_eq_c(name, refused[i]));
    if (name.n > 0 && name.p[0] == ':') {
        FUZZ_CHECK(first && str_eq_c(name, ":status") && value.n == 3 && !seen->is_final);
        seen->is_final = value.p[0] != '1';
    }
    if (str_eq_c(name, "content-length")) {
        FUZZ_CHECK(str_to_u64(value, UINT64_MAX - 1, &n) == ERR_OK);
        seen->announced = n;
    }
}

static void fields_check(nghttp2_hd_inflater *inflater, Seen *seen, Str block) {
    bool first = true;
    int flags = 0;
    while ((flags & NGHTTP2_HD_INFLATE_FINAL) == 0) {
        nghttp2_nv nv;
        ssize_t n = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, (const uint8_t *)block.p, block.n, 1);
        FUZZ_CHECK(n >= 0);
        block = str_slice(block, (size_t)n, block.n);
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0)
            continue;
        field_check(seen, (Str){(const char *)nv.name, nv.namelen}, (Str){(const char *)nv.value, nv.valuelen}, first);
        first = false;
    }
    FUZZ_CHECK(block.n == 0 && nghttp2_hd_inflate_end_headers(inflater) == 0);
}

static void frame_check(nghttp2_hd_inflater *inflater, Seen *streams, const uint8_t *head, Str payload) {
    uint32_t id = (uint32_t)(head[5] & 0x7f) << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 | head[8];
    uint8_t type = head[3], flags = head[4];
    bool ends = (flags & NGHTTP2_FLAG_END_STREAM) != 0 && (type == NGHTTP2_DATA || type == NGHTTP2_HEADERS);
    Seen *seen = id == 0 ? NULL : seen_of(streams, id), beyond = {.begun = true, .announced = UINT64_MAX};
    bool known = seen != NULL || id == 0;
    switch (type) {
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PING:
    case NGHTTP2_GOAWAY:
        FUZZ_CHECK(id == 0);
        return;
    case NGHTTP2_WINDOW_UPDATE:
        FUZZ_CHECK(payload.n == 4);
        return;
    case NGHTTP2_RST_STREAM:
        FUZZ_CHECK(id != 0 && payload.n == 4);
        if (known)
            seen->reset = true;
        return;
    case NGHTTP2_HEADERS:
        FUZZ_CHECK(id != 0 && (flags & NGHTTP2_FLAG_END_HEADERS) != 0); /* ours fit into one frame */
        break;
    case NGHTTP2_DATA:
        FUZZ_CHECK(id != 0);
        break;
    default:
        FUZZ_CHECK(type == NGHTTP2_DATA); /* no other type is a server's to send */
    }
    if (!known)
        seen = &beyond;
    FUZZ_CHECK(!seen->ended && !seen->reset);
    if (!seen->begun)
        seen->announced = UINT64_MAX;
    seen->begun = true;
    if (type == NGHTTP2_HEADERS)
        fields_check(inflater, seen, payload);
    FUZZ_CHECK(!known || type == NGHTTP2_HEADERS || seen->is_final); /* no body before its head */
    seen->came += type == NGHTTP2_DATA ? payload.n : 0;
    seen->ended = ends;
    /* HEAD, 204 and 304 announce and send nothing. */
    FUZZ_CHECK(!ends || seen->announced == UINT64_MAX || seen->came == 0 || seen->came == seen->announced);
    FUZZ_CHECK(seen->announced == UINT64_MAX || seen->came <= seen->announced);
}

static void said_check(Str said) {
    static Seen streams[STREAMS_MAX];
    nghttp2_hd_inflater *inflater;
    bool first = true;
    memset(streams, 0, sizeof streams);
    FUZZ_CHECK(nghttp2_hd_inflate_new(&inflater) == 0);
    while (said.n > 0) {
        const uint8_t *head = (const uint8_t *)said.p;
        FUZZ_CHECK(said.n >= FRAME_HEAD); /* whole frames, whatever happened */
        size_t n = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        FUZZ_CHECK(n <= 16384 && said.n >= FRAME_HEAD + n);
        FUZZ_CHECK(!first || (head[3] == NGHTTP2_SETTINGS && (head[4] & NGHTTP2_FLAG_ACK) == 0)); /* §3.4 */
        first = false;
        frame_check(inflater, streams, head, str_slice(said, FRAME_HEAD, FRAME_HEAD + n));
        said = str_slice(said, FRAME_HEAD + n, said.n);
    }
    nghttp2_hd_inflate_del(inflater);
}

/* --- the client --------------------------------------------------------------------------------------------------- */

typedef struct Talk {
    int fd;
    Str input;
    uint32_t seed;
    Buf said;
    bool cut_off; /* the server has ended it */
} Talk;

static void listen_to(Talk *talk, int *quiet) {
    char piece[65536];
    ssize_t n = recv(talk->fd, piece, sizeof piece, MSG_DONTWAIT);
    *quiet = n > 0 ? 0 : *quiet + 1;
    if (n > 0 && talk->said.n + (size_t)n <= SAID_MAX)
        buf_add_bytes(&talk->said, piece, (size_t)n);
    talk->cut_off = talk->cut_off || n == 0 || (n < 0 && errno != EAGAIN);
}

static CO_FN void talk_run(Ctx *ctx, void *arg) {
    Talk *talk = arg;
    (void)ctx;
    int quiet = 0;
    while (talk->input.n > 0 && !talk->cut_off) {
        talk->seed = talk->seed * 1664525 + 1013904223;
        size_t n = talk->seed % 4 == 0 ? talk->input.n : MIN_OF(talk->input.n, 1 + (talk->seed >> 20) % 200);
        ssize_t sent = send(talk->fd, talk->input.p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0)
            talk->input = str_slice(talk->input, (size_t)sent, talk->input.n);
        else if (errno != EAGAIN)
            break;
        FUZZ_CHECK(co_yield () == ERR_OK);
        listen_to(talk, &quiet);
    }
    for (quiet = 0; quiet < QUIET_TURNS && !talk->cut_off;) {
        FUZZ_CHECK(co_yield () == ERR_OK);
        listen_to(talk, &quiet);
    }
    close(talk->fd);
    HttpStats stats;
    for (int turns = 0; (stats = http_server_stats(server)).connections > 0 || stats.in_flight > 0; turns++) {
        FUZZ_CHECK(turns < TURNS_MAX); /* a client that has gone leaves nothing behind */
        FUZZ_CHECK(co_yield () == ERR_OK);
    }
    loop_stop(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    char peer[48] = "fuzz";
    int fds[2];
    if (size < 1)
        return 0;
    set_up();
    Buf input = buf_new(NULL, size + sizeof preface);
    buf_add_bytes(&input, preface, sizeof preface - 1);
    buf_add_bytes(&input, data + 1, size - 1);
    Talk talk = {.input = buf_str(&input), .seed = data[0], .said = buf_new(NULL, SAID_MAX + 1)};
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    talk.fd = fds[1];
    connection_open(server, fds[0], peer, false);
    CoOptions options = {.name = "fuzz"};
    FUZZ_CHECK(co_spawn(loop, talk_run, &talk, &options, NULL) == ERR_OK);
    loop_run(loop);
    said_check(buf_str(&talk.said));
    buf_done(&talk.said);
    buf_done(&input);
    return 0;
}
