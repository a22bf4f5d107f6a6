/*
 * h2.h - HTTP/2 on a connection (RFC 9113), by nghttp2. Private to lib/http.
 *
 *   frames in → h2_input.c → a head, written down as one of HTTP/1.1 → Exchange → h2_answer.c → frames out
 *
 * nghttp2 keeps the frames, HPACK and the states of streams; sockets, buffers, deadlines and coroutines are those of
 * HTTP/1.1. A stream is an Exchange; there is no order among them. nghttp2 is never entered twice: callbacks only note,
 * submit and wake.
 */
#pragma once
#include <nghttp2/nghttp2.h>

#include "http/connection.h"

/* A bucket that events drain and time fills (h2_limits.c). */
typedef struct H2Bucket {
    int64_t filled_at; /* clock_mono_ms */
    int left;
} H2Bucket;

/* Bytes of a Buf, which may move. */
typedef struct H2Part {
    size_t at, n;
    bool is_set;
} H2Part;

struct H2Session {
    nghttp2_session *ng;
    HttpConnection *conn;
    H2Stream *free_streams;
    /* The head being received: there is only one at a time (RFC 9113 §4.3). */
    Buf head;   /* as text of HTTP/1.1 */
    Buf pseudo; /* the values of :method, :path and :authority, wherever they stand in it */
    Buf cookie; /* its cookie fields, joined */
    H2Part method, path, authority;
    bool has_line, has_host, has_length, malformed;
    H2Bucket noise;         /* frames that bring nothing */
    int64_t drain_begun_at; /* 0: not yet */
    bool drain_told, failed;
    bool calm; /* the client did too much for nothing */
};

/* A list of fields for nghttp2. */
typedef struct H2Fields {
    nghttp2_nv *p;
    size_t n;
} H2Fields;

struct H2Stream {
    H2Stream *next; /* among the free ones */
    int32_t id;
    bool closed;    /* nghttp2 knows it no more */
    Buf in, handed; /* arrived; held by the handler */
    uint64_t received, decoded;
    bool input_ended;
    Buf trailers;                 /* of the request, as lines of HTTP/1.1 */
    Str out;                      /* to be sent, in the handler's memory */
    const H2Fields *out_trailers; /* behind it; NULL: none */
    bool out_last;                /* nothing follows it */
    bool out_idle;                /* nghttp2 waits to be told of more */
    bool out_done;                /* the end has been given to nghttp2 */
    bool out_framed;              /* and stands in the connection's block */
};

enum {
    H2_STREAM_WINDOW = 256 * 1024,      /* of a request's body, unread */
    H2_CONNECTION_WINDOW = 1024 * 1024, /* of all bodies of a connection, unread */
    H2_FRAME_ROOM = 16 * 1024 + 16,     /* the largest frame we send */
};

/* h2.c */
/** The connection speaks HTTP/2 from here on. false: no memory. */
bool h2_begin(HttpConnection *conn);
void h2_end(HttpConnection *conn);
/** Takes all that waits in conn->in. */
void h2_input(HttpConnection *conn);
/** Puts frames into conn->out. true: there are more than fit. */
bool h2_frame(HttpConnection *conn);
/** The same, and sends a block that is full, until the client takes no more. */
void h2_output(HttpConnection *conn);
/** The client sends no more; what is in work is answered. */
void h2_eof(HttpConnection *conn);
/** Tells the client that its requests are no longer taken (GOAWAY): at first that this is about to happen, and when it
 *  has seen that, which were taken. */
void h2_drain(HttpConnection *conn);
/** GOAWAY at once. */
void h2_goodbye(HttpConnection *conn);
bool h2_is_over(const HttpConnection *conn);
H2Stream *h2_stream_take(H2Session *session, int32_t id);
/** When its exchange has ended: resets what is not over. */
void h2_stream_give(HttpConnection *conn, H2Stream *stream);

/** Called when the client has seen the announcement: from here on new streams are not looked at. */
void h2_drain_tell(H2Session *session);

/* h2_request.c */
void h2_head_begin(H2Session *session);
void h2_head_field(H2Session *session, Str name, Str value);
/** The head is complete. */
void h2_head_end(H2Session *session, int32_t id, bool has_body);

/* h2_input.c */
/** nghttp2 knows its stream no more: who waits looks, and what only reads ends. */
void h2_stream_lost(Exchange *ex);
void h2_callbacks_input(nghttp2_session_callbacks *callbacks);
CO_FN Err h2_body_next(Exchange *ex, Str *ret) MUST_USE;

/* h2_answer.c */
void h2_callbacks_output(nghttp2_session_callbacks *callbacks);
CO_FN void h2_answer(Exchange *ex);
/** When the client sends no more: ends the answers that wait for windows that it will never open. */
void h2_stuck_end(HttpConnection *conn);
CO_FN Err h2_stream_begin(Exchange *ex) MUST_USE;
CO_FN Err h2_stream_write(Exchange *ex, Str piece) MUST_USE;
/** trailers: field lines; empty: none. */
CO_FN Err h2_stream_end(Exchange *ex, Str trailers) MUST_USE;
/** response_interim and response_pass_begin for a stream. */
CO_FN Err h2_interim(Exchange *ex, const UpstreamAnswer *answer) MUST_USE;
CO_FN Err h2_pass_begin(Exchange *ex, const UpstreamAnswer *answer) MUST_USE;

/* h2_limits.c */
void h2_limits_set(nghttp2_option *option);
nghttp2_mem *h2_memory(void);
/** Counts a frame that brings nothing; false: too many of them. */
bool h2_noise(H2Session *session);
/** Is this frame one of those? */
bool h2_is_noise(const nghttp2_frame *frame);
/** … by its type alone; nghttp2 shows such frames no further. */
bool h2_is_noise_type(uint8_t type);
