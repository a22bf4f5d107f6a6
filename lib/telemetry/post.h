/*
 * post.h - POST to a collector from a coroutine. Private to lib/telemetry.
 */
#pragma once
#include "telemetry/state.h"

/** One kept connection; begins as POSTER_CLOSED. */
typedef struct Poster {
    int fd;
} Poster;
#define POSTER_CLOSED ((Poster){.fd = -1})

typedef struct PostAnswer {
    int status;
    int64_t retry_after_ms; /* 0: not told */
    Str body;               /* in ctx's arena; empty unless it came with a length of at most 64 kB */
} PostAnswer;

/**
 * Sends a protobuf body and waits for the answer; connects anew where the kept connection has gone. headers: lines that
 * end in CRLF.
 * ERR_UNAVAILABLE: nobody there; ERR_TIMEOUT, ERR_CANCELLED; ERR_EOF, ERR_SYNTAX: no answer, or none of HTTP;
 * ERR_NO_MEMORY, ERR_IO.
 */
CO_FN Err post_send(Poster *poster, Ctx *ctx, const CollectorUrl *url, Str headers, Str body, int64_t deadline_ms,
                    PostAnswer *ret) MUST_USE;
void post_close(Poster *poster);
