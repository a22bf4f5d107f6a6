/*
 * socket.h - one TCP connection, plain or under TLS, read and written by coroutines. Internal to lib/amqp.
 */
#pragma once
#include "amqp/url.h"
#include "runtime/co.h"

typedef struct TlsStream TlsStream;

typedef struct AmqpSocket {
    int fd;         /* -1: none */
    TlsStream *tls; /* NULL: plain */
} AmqpSocket;

/** Looks the host up, connects (each address in turn) and shakes hands for TLS. Words for a failure go to `why`. */
CO_FN Err socket_connect(AmqpSocket *socket, const AmqpUrl *url, int64_t deadline_ms, char *why, size_t room) MUST_USE;
/** At least one byte. ERR_EOF: the peer has closed. */
CO_FN Err socket_read(AmqpSocket *socket, char *p, size_t n, int64_t deadline_ms, size_t *ret) MUST_USE;
/** All of it. */
CO_FN Err socket_write(AmqpSocket *socket, Str bytes) MUST_USE;
/** What the kernel takes now, without waiting. */
void socket_write_last(AmqpSocket *socket, Str bytes);
/** Ends reads and writes under way; the socket must still be closed. */
void socket_abort(AmqpSocket *socket);
void socket_close(AmqpSocket *socket);
