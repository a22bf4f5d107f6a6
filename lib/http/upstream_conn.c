/*
 * upstream_conn.c - one connection to an instance.
 *
 * Its socket stays registered for reading with epoll as long as it is open: a request in the steady state costs no
 * epoll_ctl, and an unused connection whose other end closes is noticed at once and not when the next request fails on
 * it. co_wait_fd would register and forget the socket for each wait. Bytes are read into one block that all connections
 * share, which goes with a connection only while bytes in it wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/heap.h"
#include "http/upstream_impl.h"

enum { TLS_RECORD = 16384 }; /* a full one has another behind it, as a rule (RFC 8446 §5.1) */

/* --- readiness ---------------------------------------------------------------------------------------------------- */

static void on_ready(uv_poll_t *handle, int status, int events);

static void conn_watch(UpstreamConn *conn) {
    bool writes = conn->write_wait != NULL || (conn->tls != NULL && tls_unsent(conn->tls) > 0);
    int events = (conn->readable ? 0 : UV_READABLE) | (writes ? UV_WRITABLE : 0);
    if (conn->closed || events == conn->events)
        return;
    conn->events = events;
    if (events == 0)
        (void)uv_poll_stop(&conn->poll);
    else if (uv_poll_start(&conn->poll, events, on_ready) != 0)
        conn->broken = conn->readable = true; /* the next read or write will say */
}

static void wake(Wait **wait, Err result) {
    if (*wait != NULL)
        wait_wake(*wait, result);
    *wait = NULL;
}

static void on_ready(uv_poll_t *handle, int status, int events) {
    UpstreamConn *conn = handle->data;
    if (conn->closed)
        return;
    if ((events & UV_WRITABLE) != 0 && conn->tls != NULL)
        (void)tls_flush(conn->tls);
    if (conn->unused) {
        if (status >= 0 && conn->tls != NULL && conn_tls_is_quiet(conn))
            conn_watch(conn);
        else /* it has ended, or speaks without being asked: either way it is of no use */
            conn_close(conn);
        return;
    }
    if (status < 0) { /* libuv has stopped the handle; what it was, the next system call tells */
        conn->events = 0;
        conn->readable = true;
        wake(&conn->write_wait, ERR_OK);
        wake(&conn->read_wait, ERR_OK);
        return;
    }
    if ((events & UV_WRITABLE) != 0)
        wake(&conn->write_wait, ERR_OK);
    if ((events & UV_READABLE) != 0) {
        conn->readable = conn->read_wait == NULL;
        wake(&conn->read_wait, ERR_OK);
    }
    conn_watch(conn);
}

CO_FN Err conn_wait(UpstreamConn *conn, Wait **place, int64_t deadline_ms) {
    Wait wait = {0};
    ASSERT(*place == NULL);
    *place = &wait;
    conn_watch(conn);
    Err err = co_wait(&wait, deadline_ms);
    if (*place == &wait)
        *place = NULL;
    return err;
}

/* --- beginning and end -------------------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle) {
    UpstreamConn *conn = handle->data;
    Upstream *upstream = conn->instance->upstream;
    instance_unref(conn->instance);
    heap_free(conn);
    upstream_release(upstream);
}

static void unlink_unused(UpstreamConn *conn) {
    Instance *instance = conn->instance;
    if (!conn->unused)
        return;
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        instance->unused = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    else
        instance->unused_last = conn->prev;
    conn->prev = conn->next = NULL;
    conn->unused = false;
    instance->n_unused--;
    instance->upstream->stats.unused--;
}

static void block_return(Upstream *upstream, UpstreamConn *conn) {
    Block *in = conn->in;
    conn->in = NULL;
    if (in == NULL)
        return;
    in->from = in->to = 0;
    if (upstream->scratch == NULL && in->capacity == BLOCK_BIG)
        upstream->scratch = in;
    else
        block_give(&upstream->blocks, in);
}

void conn_close(UpstreamConn *conn) {
    if (conn == NULL || conn->closed)
        return;
    unlink_unused(conn);
    conn->closed = true;
    conn->instance->connections--;
    conn->instance->upstream->stats.connections--;
    if (conn->tls != NULL && conn->ended_well)
        (void)tls_shutdown_step(conn->tls);
    tls_stream_free(conn->tls);
    conn->tls = NULL;
    block_return(conn->instance->upstream, conn);
    wake(&conn->read_wait, ERR_EOF);
    wake(&conn->write_wait, ERR_EOF);
    uv_close((uv_handle_t *)&conn->poll, on_closed);
    close(conn->fd);
}

void conn_half_close(UpstreamConn *conn) {
    if (conn == NULL || conn->closed)
        return;
    if (conn->tls == NULL)
        (void)shutdown(conn->fd, SHUT_WR);
    else
        (void)tls_shutdown_step(conn->tls);
    conn_watch(conn);
}

static CO_FN Err conn_connect(UpstreamConn *conn, int64_t deadline_ms) {
    const Instance *instance = conn->instance;
    if (connect(conn->fd, (const struct sockaddr *)&instance->address, instance->address_length) == 0)
        return ERR_OK;
    if (errno != EINPROGRESS)
        return ERR_UNAVAILABLE;
    TRY(conn_wait(conn, &conn->write_wait, deadline_ms));
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0)
        return ERR_UNAVAILABLE;
    conn->readable = false;
    conn->broken = false;
    return ERR_OK;
}

/* Without it, when that is no address of ours. */
static void bind_from(int fd, int family, uint32_t from) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(from)};
    int on = 1;
    if (from == 0 || family != AF_INET)
        return;
    /* The port is chosen at connect, so that one may be used toward several ends (ip(7)). */
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    (void)!bind(fd, (const struct sockaddr *)&address, sizeof address);
}

static CO_FN Err conn_open(Instance *instance, int64_t deadline_ms, UpstreamConn **ret) {
    int family = instance->address.ss_family, on = 1;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    UpstreamConn *conn = HEAP_NEW(UpstreamConn);
    if (fd < 0 || conn == NULL || uv_poll_init(loop_uv(instance->upstream->loop), &conn->poll, fd) != 0) {
        heap_free(conn);
        if (fd >= 0)
            close(fd);
        return ERR_NO_MEMORY;
    }
    if (family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    bind_from(fd, family, instance->upstream->options.from);
    conn->poll.data = conn;
    conn->fd = fd;
    conn->instance = instance;
    conn->readable = true; /* nothing to read before it is connected */
    conn->dry = true;
    instance->refs++;
    instance->connections++;
    instance->upstream->stats.connections++;
    instance->upstream->stats.connects++;
    upstream_hold(instance->upstream);
    Err err = conn_connect(conn, deadline_ms);
    if (err == ERR_OK && instance->tls != NULL)
        err = conn_secure(conn, deadline_ms);
    if (err != ERR_OK) {
        conn_close(conn);
        return err;
    }
    conn->readable = false;
    conn_watch(conn);
    *ret = conn;
    return ERR_OK;
}

CO_FN Err conn_obtain(Instance *instance, bool fresh, int64_t deadline_ms, UpstreamConn **ret) {
    UpstreamConn *conn = instance->unused;
    if (fresh || conn == NULL)
        return conn_open(instance, deadline_ms, ret);
    unlink_unused(conn);
    conn->dry = true;
    conn->ended_well = false;
    conn->instance->upstream->stats.reuses++;
    *ret = conn;
    return ERR_OK;
}

void conn_keep(UpstreamConn *conn) {
    Instance *instance = conn->instance;
    Upstream *upstream = instance->upstream;
    const UpstreamLimits *limits = &upstream->options.limits;
    conn->ended_well = !conn->broken;
    if (conn->tls != NULL && (conn->readable || tls_read_pending(conn->tls)))
        conn->readable = !conn_tls_is_quiet(conn); /* a ticket behind the answer is no word of its own */
    if (upstream->closing || instance->gone || conn->readable || conn->broken || conn->in != NULL ||
        instance->n_unused >= limits->keep_max) {
        conn_close(conn);
        return;
    }
    conn->served++;
    conn->unused = true;
    conn->unused_at = loop_now_ms(upstream->loop);
    conn->next = instance->unused;
    if (conn->next != NULL)
        conn->next->prev = conn;
    else
        instance->unused_last = conn;
    instance->unused = conn;
    instance->n_unused++;
    upstream->stats.unused++;
    if (upstream->sweep.heap_index == 0 &&
        timer_arm(upstream->loop, &upstream->sweep, conn->unused_at + limits->keep_ms) != ERR_OK)
        conn_close(conn); /* nobody would look after it */
}

void conns_sweep(Instance *instance, int64_t now, int64_t keep_ms) {
    while (instance->unused_last != NULL && instance->unused_last->unused_at + keep_ms <= now)
        conn_close(instance->unused_last);
}

bool conn_is_quiet(UpstreamConn *conn) {
    char byte;
    if (conn->tls != NULL)
        return conn_tls_is_quiet(conn);
    return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* --- bytes -------------------------------------------------------------------------------------------------------- */

CO_FN Err conn_send(UpstreamConn *conn, Str a, Str b, int64_t deadline_ms, int64_t idle_ms) {
    if (conn->tls != NULL)
        return conn_tls_send(conn, a, b, deadline_ms, idle_ms);
    while (a.n + b.n > 0) {
        if (conn->closed || conn->broken)
            return ERR_IO;
        struct iovec parts[2] = {{.iov_base = (void *)(uintptr_t)a.p, .iov_len = a.n},
                                 {.iov_base = (void *)(uintptr_t)b.p, .iov_len = b.n}};
        struct msghdr message = {.msg_iov = a.n > 0 ? parts : parts + 1, .msg_iovlen = a.n > 0 && b.n > 0 ? 2 : 1};
        ssize_t n = sendmsg(conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            size_t of_a = MIN_OF((size_t)n, a.n);
            a = str_slice(a, of_a, a.n);
            b = str_slice(b, (size_t)n - of_a, b.n);
        } else if (errno == EAGAIN) {
            int64_t idle_at = clock_mono_ms() + idle_ms;
            TRY(conn_wait(conn, &conn->write_wait, deadline_ms > 0 ? MIN_OF(deadline_ms, idle_at) : idle_at));
        } else if (errno != EINTR) {
            conn->broken = true;
            return ERR_IO;
        }
    }
    return ERR_OK;
}

static Block *room(UpstreamConn *conn) {
    Upstream *upstream = conn->instance->upstream;
    if (conn->in == NULL) {
        conn->in = upstream->scratch != NULL ? upstream->scratch : block_take(&upstream->blocks, BLOCK_BIG);
        upstream->scratch = NULL;
    } else {
        block_compact(conn->in);
    }
    return conn->in;
}

/* Waits, unless there may be more to read already. */
static CO_FN Err conn_await(UpstreamConn *conn, int64_t deadline_ms) {
    if (conn->closed)
        return ERR_EOF;
    if (conn->readable) { /* seen while nobody waited */
        conn->readable = conn->dry = false;
        conn_watch(conn);
    }
    if (conn->dry)
        TRY(conn_wait(conn, &conn->read_wait, deadline_ms));
    return conn->closed ? ERR_EOF : ERR_OK;
}

CO_FN Err conn_fill(UpstreamConn *conn, int64_t deadline_ms) {
    for (;;) {
        TRY(conn_await(conn, deadline_ms));
        Block *in = room(conn);
        if (in == NULL)
            return ERR_NO_MEMORY;
        ASSERT(in->to < in->capacity);
        size_t space = in->capacity - in->to;
        ssize_t n = conn->tls != NULL ? conn_tls_receive(conn, in->data + in->to, space)
                                      : recv(conn->fd, in->data + in->to, space, MSG_DONTWAIT);
        if (n > 0) {
            in->to += (uint32_t)n;
            conn->dry = conn->tls != NULL ? (size_t)n < TLS_RECORD && !tls_read_pending(conn->tls) : (size_t)n < space;
            return ERR_OK;
        }
        int error = errno;
        if (block_length(in) == 0)
            block_return(conn->instance->upstream, conn);
        if (n == 0)
            return ERR_EOF;
        if (error != EAGAIN && error != EINTR)
            return ERR_IO;
        conn->dry = error == EAGAIN;
    }
}

CO_FN Err conn_splice(UpstreamConn *conn, int pipe, size_t max, int64_t deadline_ms, size_t *ret_n) {
    ASSERT(conn->tls == NULL && block_length(conn->in) == 0);
    for (;;) {
        TRY(conn_await(conn, deadline_ms));
        ssize_t n = splice(conn->fd, NULL, pipe, NULL, max, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n > 0) {
            *ret_n = (size_t)n;
            conn->dry = *ret_n < BLOCK_BIG; /* it may be the pipe that holds no more */
            return ERR_OK;
        }
        if (n == 0)
            return ERR_EOF;
        if (errno != EAGAIN && errno != EINTR)
            return ERR_IO;
        conn->dry = errno == EAGAIN;
    }
}

void conn_take(UpstreamConn *conn, size_t n) {
    if (conn->in == NULL)
        return;
    conn->in->from += (uint32_t)n;
    if (block_length(conn->in) == 0)
        block_return(conn->instance->upstream, conn);
}
