/*
 * h2_client.h - a client of HTTP/2 by nghttp2 over a blocking socket, for the tests of lib/http.
 *
 * It takes as much as the test lets it: windows are opened by h2_open only when `frugal` is set.
 */
#pragma once
#include "wire.h"

#include <nghttp2/nghttp2.h>

enum { H2_STREAMS_MAX = 300 };

typedef struct H2Answer {
    int status;
    bool ended, closed;
    bool stalls;   /* its body is never sent */
    uint32_t code; /* when closed */
    Buf body;
    Str sending; /* of the request's body */
} H2Answer;

typedef struct H2Client {
    int fd;
    nghttp2_session *ng;
    bool frugal, dead;
    uint32_t goaway;                  /* its code; UINT32_MAX: none came */
    H2Answer answers[H2_STREAMS_MAX]; /* by stream id */
} H2Client;

static inline int h2_on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                               const uint8_t *value, size_t value_n, uint8_t flags, void *data) {
    (void)ng;
    (void)flags;
    H2Client *client = data;
    if (str_eq_c((Str){(const char *)name, name_n}, ":status")) {
        uint64_t status = 0;
        (void)!str_to_u64((Str){(const char *)value, value_n}, 999, &status);
        client->answers[frame->hd.stream_id].status = (int)status;
    }
    return 0;
}

static inline int h2_on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *data) {
    (void)flags;
    H2Client *client = data;
    buf_add_bytes(&client->answers[id].body, p, n);
    return client->frugal ? 0 : nghttp2_session_consume(ng, id, n);
}

static inline int h2_on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *data) {
    (void)ng;
    H2Client *client = data;
    if ((frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        client->answers[frame->hd.stream_id].ended = true;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        client->goaway = frame->goaway.error_code;
    return 0;
}

static inline int h2_on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *data) {
    (void)ng;
    H2Client *client = data;
    client->answers[id].closed = true;
    client->answers[id].code = code;
    return 0;
}

static inline ssize_t h2_on_ask(nghttp2_session *ng, int32_t id, uint8_t *out, size_t n, uint32_t *flags,
                                nghttp2_data_source *source, void *data) {
    (void)ng;
    (void)source;
    H2Answer *answer = &((H2Client *)data)->answers[id];
    if (answer->stalls)
        return NGHTTP2_ERR_DEFERRED;
    size_t taken = MIN_OF(n, answer->sending.n);
    memcpy(out, answer->sending.p, taken);
    answer->sending = str_slice(answer->sending, taken, answer->sending.n);
    if (answer->sending.n == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)taken;
}

/* Sends what there is, and reads what comes within `wait_ms`. false: the connection is over. */
static inline bool h2_turn(H2Client *client, int wait_ms) {
    for (;;) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(client->ng, &p);
        if (n <= 0)
            break;
        wire_send(client->fd, (Str){(const char *)p, (size_t)n}, SIZE_MAX);
    }
    struct pollfd ready = {.fd = client->fd, .events = POLLIN};
    if (poll(&ready, 1, wait_ms) <= 0)
        return true;
    static uint8_t bytes[65536];
    ssize_t n = recv(client->fd, bytes, sizeof(bytes), 0);
    client->dead = n <= 0 || nghttp2_session_mem_recv(client->ng, bytes, (size_t)n) < 0;
    return !client->dead;
}

static inline H2Client *h2_connect(int fd, bool frugal, uint32_t window) {
    H2Client *client = HEAP_NEW(H2Client);
    *client = (H2Client){.fd = fd, .frugal = frugal, .goaway = UINT32_MAX};
    for (size_t i = 0; i < H2_STREAMS_MAX; i++)
        client->answers[i].body = buf_new(NULL, 64 << 20);
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, h2_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, h2_on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, h2_on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, h2_on_close);
    nghttp2_option_new(&option);
    nghttp2_option_set_no_auto_window_update(option, 1);
    assert_int_equal(nghttp2_session_client_new2(&client->ng, callbacks, client, option), 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window};
    assert_int_equal(nghttp2_submit_settings(client->ng, NGHTTP2_FLAG_NONE, &entry, 1), 0);
    return client;
}

static inline void h2_close(H2Client *client) {
    nghttp2_session_del(client->ng);
    close(client->fd);
    for (size_t i = 0; i < H2_STREAMS_MAX; i++)
        buf_done(&client->answers[i].body);
    heap_free(client);
}

/* The stream's id. body absent: none. */
static inline int32_t h2_ask(H2Client *client, const char *method, const char *path, Str body, const char *expect) {
#define NV(name_, value_)                                                                                              \
    ((nghttp2_nv){(uint8_t *)(uintptr_t)(name_), (uint8_t *)(uintptr_t)(value_), strlen(name_), strlen(value_), 0})
    nghttp2_nv fields[] = {NV(":method", method), NV(":scheme", "http"), NV(":path", path), NV(":authority", "t"),
                           NV("expect", expect == NULL ? "" : expect)};
#undef NV
    nghttp2_data_provider provider = {.read_callback = h2_on_ask};
    int32_t id = nghttp2_submit_request(client->ng, NULL, fields, expect == NULL ? 4 : 5,
                                        body.p == NULL ? NULL : &provider, NULL);
    assert_true(id > 0 && id < H2_STREAMS_MAX);
    client->answers[id].sending = body;
    return id;
}

/* Until the stream has ended one way or the other (a minute at most). */
static inline const H2Answer *h2_await(H2Client *client, int32_t id) {
    const H2Answer *answer = &client->answers[id];
    for (int i = 0; i < 6000 && !answer->ended && !answer->closed; i++) {
        if (!h2_turn(client, 10))
            break;
    }
    return answer;
}

/* Until what was sent has reached the server: it answers a PING. */
static inline void h2_settled(H2Client *client) {
    assert_int_equal(nghttp2_submit_ping(client->ng, NGHTTP2_FLAG_NONE, NULL), 0);
    for (int i = 0; i < 20; i++)
        if (!h2_turn(client, 1))
            break;
}
