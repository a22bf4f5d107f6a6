/*
 * client.h - one request over one connection, waited for: replay, health checks, tests. Not for a worker's loop.
 *
 * Reads as tolerantly as the recorder's own replayer does (contracts/README.md), so that both see the same answer; it
 * judges nothing.
 */
#pragma once
#include "http/http.h"
#include "tls/tls.h"

enum { HTTP_CLIENT_ANSWER_MAX = 64 * 1024 * 1024 };

/** Whom to ask. */
typedef struct HttpTarget {
    const char *host;
    int port;
    TlsContext *tls; /* NULL: plain text */
    Str server_name; /* whom the certificate must name */
} HttpTarget;

/** From a URL as upstreams have them (docs/gateway.md, not unix:); files that it names are read now. Lives in ctx's
 *  arena, but for tls, of which the caller holds a reference. ERR_INVALID: the problem says what is wrong with it;
 *  ERR_NO_MEMORY. */
MUST_USE Err http_target_read(Ctx *ctx, Str url, HttpTarget *ret);

/**
 * Connects, sends the bytes as they are, reads one answer (interim ones skipped, chunks joined) and closes.
 *
 * @is_head  the request was a HEAD: its answer has no body, whatever it announces
 * All of it within timeout_ms. The answer lives in the arena.
 *
 * ERR_UNAVAILABLE  nobody listens there, or the name is unknown
 * ERR_REFUSED      no TLS with them: ret->body says why, and how to mend it
 * ERR_EOF          the connection ended, or something that is not HTTP came: ret->status is 0
 * ERR_TIMEOUT, ERR_LIMIT (over HTTP_CLIENT_ANSWER_MAX), ERR_NO_MEMORY, ERR_IO
 */
MUST_USE Err http_client_exchange(Arena *arena, const HttpTarget *target, Str bytes, bool is_head, int64_t timeout_ms,
                                  HttpAnswer *ret);

/** As above, in plain text on a socket that is already connected, which stays open. */
MUST_USE Err http_client_exchange_fd(Arena *arena, int fd, Str bytes, bool is_head, int64_t timeout_ms,
                                     HttpAnswer *ret);
