/*
 * wait.c - a stream from a coroutine: the steps of stream.c with waits between them.
 *
 * A reader looks after bytes that wait to be sent only when reading made them (an alert, an answer to KeyUpdate) and
 * nobody writes; a second flush finds nothing, so reader and writer need not know of each other.
 */
#include <errno.h>

#include "tls/tls_impl.h"

CO_FN Err tls_handshake(TlsStream *stream, int64_t deadline_ms) {
    for (;;) {
        TlsStep step = tls_handshake_step(stream);
        TlsStep flushed = step == TLS_DONE ? tls_flush(stream) : step;
        if (step == TLS_DONE && flushed == TLS_DONE)
            return ERR_OK;
        if (flushed == TLS_BROKEN)
            return ERR_IO;
        TRY(co_wait_fd(stream->fd, step == TLS_DONE ? CO_WRITABLE : tls_wants(stream), deadline_ms));
        (void)tls_flush(stream);
    }
}

CO_FN Err tls_read(TlsStream *stream, char *p, size_t n, int64_t deadline_ms, size_t *ret) {
    for (;;) {
        switch (tls_read_some(stream, p, n, ret)) {
        case TLS_DONE:
            return ERR_OK;
        case TLS_END:
            *ret = 0;
            return ERR_OK;
        case TLS_BROKEN:
            return stream->cut ? ERR_EOF : ERR_IO;
        case TLS_WAIT:
        default:
            TRY(co_wait_fd(stream->fd, tls_wants(stream), deadline_ms));
            (void)tls_flush(stream);
        }
    }
}

/* Until the kernel has all that was taken. */
static CO_FN Err drain(TlsStream *stream, int64_t deadline_ms) {
    for (;;) {
        TlsStep step = tls_flush(stream);
        if (step != TLS_WAIT)
            return step == TLS_DONE ? ERR_OK : ERR_IO;
        TRY(co_wait_fd(stream->fd, CO_WRITABLE, deadline_ms));
    }
}

CO_FN Err tls_write(TlsStream *stream, Str bytes, int64_t deadline_ms) {
    while (bytes.n > 0) {
        TRY(drain(stream, deadline_ms));
        size_t taken = 0;
        if (tls_write_some(stream, bytes.p, bytes.n, &taken) == TLS_BROKEN)
            return ERR_IO;
        bytes = str_slice(bytes, taken, bytes.n);
    }
    return drain(stream, deadline_ms);
}

CO_FN Err tls_shutdown(TlsStream *stream, int64_t deadline_ms) {
    return tls_shutdown_step(stream) == TLS_BROKEN ? ERR_IO : drain(stream, deadline_ms);
}
