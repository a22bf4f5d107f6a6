/*
 * post.c - connect, send, read a status.
 *
 * lib/http's client blocks its process, which is what the command line wants and a loop must not have. Here only what a
 * collector's answer can hold for us is read: status, Retry-After, a short body with a length. Anything else (chunks,
 * a long body) is not read: the connection is closed instead of kept.
 */
#include "telemetry/post.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/lookup.h"

enum { HEAD_MAX = 16 * 1024, BODY_KEPT_MAX = 64 * 1024, RETRY_AFTER_MAX_S = 60 };

void post_close(Poster *poster) {
    if (poster->fd >= 0)
        close(poster->fd);
    poster->fd = -1;
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

static CO_FN Err connect_one(Poster *poster, const struct addrinfo *info, int64_t deadline_ms) {
    poster->fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, info->ai_protocol);
    if (poster->fd < 0)
        return ERR_IO;
    Err err = ERR_OK;
    if (connect(poster->fd, info->ai_addr, info->ai_addrlen) != 0)
        err = errno == EINPROGRESS ? co_wait_fd(poster->fd, CO_WRITABLE, deadline_ms) : ERR_UNAVAILABLE;
    int error = 0;
    socklen_t length = sizeof error;
    if (err == ERR_OK && (getsockopt(poster->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0))
        err = ERR_UNAVAILABLE;
    if (err != ERR_OK)
        post_close(poster);
    return err;
}

static CO_FN Err connect_to(Poster *poster, Ctx *ctx, const CollectorUrl *url, int64_t deadline_ms) {
    Str host = arena_str(ctx->arena, url->host), port = arena_printf(ctx->arena, "%d", url->port);
    struct addrinfo *found = NULL;
    if (host.p == NULL || port.p == NULL)
        return ERR_NO_MEMORY;
    TRY(lookup_host(host.p, port.p, deadline_ms, &found, NULL));
    Err err = ERR_UNAVAILABLE;
    for (const struct addrinfo *info = found; info != NULL; info = info->ai_next) {
        err = connect_one(poster, info, deadline_ms);
        if (err == ERR_OK || err == ERR_TIMEOUT || err == ERR_CANCELLED)
            break;
    }
    lookup_free(found);
    return err;
}

/* --- sending and reading ------------------------------------------------------------------------------------------ */

static CO_FN Err send_all(int fd, Str bytes, int64_t deadline_ms) {
    while (bytes.n > 0) {
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            bytes = str_slice(bytes, (size_t)n, bytes.n);
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            TRY(co_wait_fd(fd, CO_WRITABLE, deadline_ms));
        else if (errno != EINTR)
            return ERR_EOF;
    }
    return ERR_OK;
}

static CO_FN Err read_more(int fd, Buf *in, int64_t deadline_ms) {
    for (;;) {
        char *room = buf_reserve(in, 4096);
        if (room == NULL)
            return in->err;
        ssize_t n = recv(fd, room, 4096, MSG_DONTWAIT);
        if (n > 0) {
            in->n += (size_t)n;
            return ERR_OK;
        }
        if (n == 0)
            return ERR_EOF;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            TRY(co_wait_fd(fd, CO_READABLE, deadline_ms));
        else if (errno != EINTR)
            return ERR_EOF;
    }
}

/* What the fields say: a length (-1: none), whether the connection stays. */
static Err read_head(Str head, PostAnswer *answer, int64_t *length, bool *stays) {
    Str line = str_trim(str_cut(&head, '\n'), "\r");
    if (!str_starts_with(line, STR("HTTP/1.")) || line.n < 12)
        return ERR_SYNTAX;
    uint64_t number;
    TRY(str_to_u64(str_slice(line, 9, 12), 999, &number));
    answer->status = (int)number;
    *length = -1;
    *stays = str_starts_with(line, STR("HTTP/1.1"));
    while (head.p != NULL) {
        Str value = str_trim(str_cut(&head, '\n'), "\r"), name = str_cut(&value, ':');
        value = value.p == NULL ? STR("") : str_trim(value, " \t");
        if (str_eq_nocase(name, STR("content-length")) && str_to_u64(value, BODY_KEPT_MAX, &number) == ERR_OK)
            *length = (int64_t)number;
        else if (str_eq_nocase(name, STR("connection")) && str_eq_nocase(value, STR("close")))
            *stays = false;
        else if (str_eq_nocase(name, STR("retry-after")) && str_to_u64(value, RETRY_AFTER_MAX_S, &number) == ERR_OK)
            answer->retry_after_ms = (int64_t)number * 1000;
    }
    return ERR_OK;
}

static CO_FN Err read_answer(Poster *poster, Ctx *ctx, int64_t deadline_ms, PostAnswer *answer) {
    Buf in = buf_new(ctx->arena, HEAD_MAX + BODY_KEPT_MAX);
    ptrdiff_t end;
    int64_t length;
    bool stays;
    do {
        TRY(read_more(poster->fd, &in, deadline_ms));
        end = str_find(buf_str(&in), STR("\r\n\r\n"));
    } while (end < 0 && in.n < HEAD_MAX);
    if (end < 0)
        return ERR_SYNTAX;
    TRY(read_head(str_slice(buf_str(&in), 0, (size_t)end), answer, &length, &stays));
    size_t begin = (size_t)end + 4;
    while (length >= 0 && in.n - begin < (size_t)length)
        if (read_more(poster->fd, &in, deadline_ms) != ERR_OK)
            length = -1; /* the status has come, and is what counts */
    if (length >= 0)
        answer->body = str_slice(buf_str(&in), begin, begin + (size_t)length);
    if (length < 0 || !stays)
        post_close(poster);
    return ERR_OK;
}

static CO_FN Err post_once(Poster *poster, Ctx *ctx, Str head, Str body, int64_t deadline_ms, PostAnswer *ret) {
    PostAnswer answer = {0};
    Err err = send_all(poster->fd, head, deadline_ms);
    if (err == ERR_OK)
        err = send_all(poster->fd, body, deadline_ms);
    /* A collector that will not read the whole may have answered already. */
    if (err == ERR_OK || err == ERR_EOF)
        err = read_answer(poster, ctx, deadline_ms, &answer);
    if (err != ERR_OK)
        post_close(poster);
    else
        *ret = answer;
    return err;
}

CO_FN Err post_send(Poster *poster, Ctx *ctx, const CollectorUrl *url, Str headers, Str body, int64_t deadline_ms,
                    PostAnswer *ret) {
    bool v6 = str_index(url->host, ':') >= 0;
    Str head = arena_printf(ctx->arena,
                            "POST %.*s HTTP/1.1\r\nHost: %s%.*s%s:%d\r\nContent-Type: application/x-protobuf\r\n"
                            "User-Agent: OTel-OTLP-Exporter-usher\r\nContent-Length: %zu\r\n%.*s\r\n",
                            STR_ARG(url->path), v6 ? "[" : "", STR_ARG(url->host), v6 ? "]" : "", url->port, body.n,
                            STR_ARG(headers));
    if (head.p == NULL)
        return ERR_NO_MEMORY;
    if (poster->fd >= 0) {
        Err err = post_once(poster, ctx, head, body, deadline_ms, ret);
        if (err != ERR_EOF) /* else: kept too long; what was sent may come twice, which collectors bear */
            return err;
    }
    TRY(connect_to(poster, ctx, url, deadline_ms));
    return post_once(poster, ctx, head, body, deadline_ms, ret);
}
