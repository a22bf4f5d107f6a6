/*
 * output.c - answers to the socket.
 *
 * Small answers gather in the connection's block and leave together at the end of the turn, in one write. What is large
 * leaves at once from where it is, behind what waits; the rest is written by its own coroutine, which waits while the
 * client is slow. A copy of each large piece would cost more than the write it saves, and a big block for each of some
 * hundred connections within one turn is more than the caches hold.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "http/connection.h"

enum { GATHER_MIN = 4096 }; /* a smaller piece is copied sooner than a further part of a write is set up */

/* Bytes written, 0 when the socket is full. Aborts the connection on failure. */
static size_t socket_write(HttpConnection *conn, const char *p, size_t n) {
    if (conn->tls != NULL)
        return secure_write(conn, p, n);
    ssize_t written;
    do {
        written = send(conn->fd, p, n, MSG_NOSIGNAL);
    } while (written < 0 && errno == EINTR);
    if (written >= 0) {
        conn->write_at = 0;
        return (size_t)written;
    }
    if (errno != EAGAIN) {
        conn->server->stats.aborted++;
        connection_abort(conn);
    }
    return 0;
}

/* The first of the two is written, so many bytes of it; then the second. */
static size_t taken_of(Str *piece, size_t n) {
    size_t taken = MIN_OF(n, piece->n);
    *piece = str_slice(*piece, taken, piece->n);
    return n - taken;
}

/* What waits, a and b in one system call, as far as the socket takes them; leaves the rest in a and b. */
static void socket_gather(HttpConnection *conn, Str *a, Str *b) {
    Str waiting = conn->out == NULL ? (Str){NULL, 0} : block_str(conn->out);
    struct iovec parts[3];
    struct msghdr message = {.msg_iov = parts};
    const Str *const pieces[] = {&waiting, a, b};
    for (size_t i = 0; i < 3; i++)
        if (pieces[i]->n > 0)
            parts[message.msg_iovlen++] =
                (struct iovec){.iov_base = (void *)(uintptr_t)pieces[i]->p, .iov_len = pieces[i]->n};
    ssize_t n = sendmsg(conn->fd, &message, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        conn->server->stats.aborted++;
        connection_abort(conn);
    }
    if (n <= 0)
        return;
    conn->write_at = 0;
    size_t before = waiting.n, left = taken_of(&waiting, (size_t)n);
    if (conn->out != NULL)
        conn->out->from += (uint32_t)(before - waiting.n);
    (void)taken_of(b, taken_of(a, left));
    if (conn->out != NULL && waiting.n == 0) {
        block_give(&conn->server->blocks, conn->out);
        conn->out = NULL;
    }
}

static void wake_writer(HttpConnection *conn) {
    Exchange *first = conn->first;
    if (first == NULL || first->out_wait == NULL || conn->out_blocked || conn->h2 != NULL)
        return;
    wait_wake(first->out_wait, ERR_OK);
    first->out_wait = NULL;
}

void output_flush(HttpConnection *conn) {
    Block *out = conn->out;
    if (conn->dead || (out == NULL && !secure_unsent(conn)))
        return;
    size_t n = block_length(out);
    size_t written = n > 0 ? socket_write(conn, out->data + out->from, n) : 0;
    if (conn->dead || (n == 0 && !secure_flush(conn) && conn->dead))
        return;
    if (out != NULL)
        out->from += (uint32_t)written;
    conn->out_blocked = written < n || secure_unsent(conn);
    if (conn->out_blocked && conn->write_at == 0)
        conn->write_at = clock_mono_ms() + conn->server->options.limits.write_timeout_ms;
    if (!conn->out_blocked)
        conn->write_at = 0;
    if (out != NULL && block_length(out) == 0) {
        conn->out = NULL;
        block_give(&conn->server->blocks, out);
    }
    wake_writer(conn);
}

void output_writable(HttpConnection *conn) {
    if (!conn->out_elsewhere)
        return;
    conn->out_elsewhere = conn->out_blocked = false;
    wake_writer(conn);
}

bool output_room(HttpConnection *conn, size_t n) {
    BlockPool *pool = &conn->server->blocks;
    if (conn->out == NULL)
        conn->out = block_take(pool, n <= BLOCK_SMALL ? BLOCK_SMALL : BLOCK_BIG);
    else if (n > conn->out->capacity - block_length(conn->out)) {
        Block *grown = block_grow(pool, conn->out);
        if (grown != NULL)
            conn->out = grown;
    }
    return conn->out != NULL;
}

bool output_add(HttpConnection *conn, Str a, Str b) {
    if (a.n + b.n > BLOCK_BIG || !output_room(conn, a.n + b.n) ||
        a.n + b.n > conn->out->capacity - block_length(conn->out))
        return false;
    block_append(conn->out, a);
    block_append(conn->out, b);
    connection_touch(conn);
    return true;
}

/* Until the client has taken what waits. */
static CO_FN Err output_wait(Exchange *ex) {
    HttpConnection *conn = ex->conn;
    Wait wait = {0};
    ex->out_wait = &wait;
    connection_touch(conn); /* its hook watches for writability and arms the time-out */
    Err err = co_wait(&wait, 0);
    ex->out_wait = NULL;
    if (err != ERR_OK)
        return err;
    return conn->dead ? ERR_EOF : ERR_OK;
}

static CO_FN Err piece_send(Exchange *ex, Str piece) {
    HttpConnection *conn = ex->conn;
    while (piece.n > 0) {
        if (conn->dead)
            return ERR_EOF;
        size_t taken;
        if (block_length(conn->out) == 0 && piece.n >= BLOCK_BIG) {
            taken = socket_write(conn, piece.p, piece.n); /* straight from the arena */
        } else {
            if (!output_room(conn, piece.n))
                return ERR_NO_MEMORY;
            taken = block_append(conn->out, piece);
            connection_touch(conn);
        }
        piece = str_slice(piece, taken, piece.n);
        if (piece.n == 0 || conn->dead)
            continue;
        /* The rest: fill the block, so that the hook has something to wait for, then wait. */
        if (block_length(conn->out) < BLOCK_BIG && output_room(conn, piece.n))
            piece = str_slice(piece, block_append(conn->out, piece), piece.n);
        output_flush(conn);
        if (!conn->dead && conn->out_blocked)
            TRY(output_wait(ex));
    }
    return conn->dead ? ERR_EOF : ERR_OK;
}

CO_FN Err output_send(Exchange *ex, Str a, Str b) {
    HttpConnection *conn = ex->conn;
    if (!conn->dead && a.n + b.n >= GATHER_MIN && conn->tls == NULL && !conn->out_blocked)
        socket_gather(conn, &a, &b);
    if (conn->dead)
        return ERR_EOF;
    if (a.n + b.n == 0 || output_add(conn, a, b))
        return ERR_OK;
    TRY(piece_send(ex, a));
    return piece_send(ex, b);
}

/* As output_wait, with nothing in the block: what is to be written stays where it is. */
static CO_FN Err output_wait_elsewhere(Exchange *ex) {
    HttpConnection *conn = ex->conn;
    conn->out_elsewhere = conn->out_blocked = true;
    if (conn->write_at == 0)
        conn->write_at = clock_mono_ms() + conn->server->options.limits.write_timeout_ms;
    Err err = output_wait(ex);
    if (conn->out_elsewhere)
        conn->out_elsewhere = conn->out_blocked = false;
    return err;
}

/* What the pipe holds goes behind what waits. */
CO_FN Err output_splice(Exchange *ex, int pipe, size_t n) {
    HttpConnection *conn = ex->conn;
    while (n > 0 && !conn->dead) {
        output_flush(conn);
        if (conn->dead)
            break;
        if (conn->out_blocked) {
            TRY(output_wait(ex));
            continue;
        }
        ssize_t moved = splice(pipe, NULL, conn->fd, NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (moved > 0) {
            conn->write_at = 0;
            n -= (size_t)moved;
        } else if (moved < 0 && errno == EAGAIN) {
            TRY(output_wait_elsewhere(ex));
        } else if (moved == 0 || errno != EINTR) {
            conn->server->stats.aborted++;
            connection_abort(conn);
        }
    }
    return conn->dead ? ERR_EOF : ERR_OK;
}

void output_end(Exchange *ex) {
    HttpConnection *conn = ex->conn;
    if (conn->count == 1 && conn->in == NULL && !conn->out_blocked && conn->tls == NULL)
        output_flush(conn);
}
