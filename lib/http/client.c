/*
 * client.c - a blocking client, straight down.
 *
 * Sending and receiving overlap: a server may answer, and close, before it has read all that is sent to it, and the
 * answer must be seen all the same.
 */
#include "http/client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/chars.h"

enum { CLIENT_HEADERS_MAX = 256 };

typedef struct Reader {
    int fd;
    TlsStream *tls; /* NULL: plain text */
    int64_t deadline_ms;
    Str sending; /* what is still to be sent */
    Buf all;     /* what came */
    size_t at;   /* up to where it has been read */
    bool ended;
    bool cut; /* ended, but not as TLS ends */
} Reader;

static void fd_closep(int *fd) {
    if (*fd >= 0)
        close(*fd);
}

/* Waits for events; ERR_TIMEOUT. */
static Err ready_wait(int fd, short events, int64_t deadline_ms, short *ret) {
    for (;;) {
        int64_t left = deadline_ms - clock_mono_ms();
        if (left <= 0)
            return ERR_TIMEOUT;
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, (int)MIN_OF(left, 60000));
        if (n < 0 && errno != EINTR)
            return ERR_IO;
        if (n > 0) {
            *ret = p.revents;
            return ERR_OK;
        }
    }
}

static void send_tls(Reader *reader) {
    size_t n = 0;
    TlsStep step = reader->sending.n == 0 ? tls_flush(reader->tls)
                                          : tls_write_some(reader->tls, reader->sending.p, reader->sending.n, &n);
    reader->sending = step == TLS_BROKEN ? STR("") : str_slice(reader->sending, n, reader->sending.n);
}

static void send_some(Reader *reader) {
    if (reader->tls != NULL) {
        send_tls(reader);
        return;
    }
    ssize_t n = send(reader->fd, reader->sending.p, reader->sending.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0)
        reader->sending = str_slice(reader->sending, (size_t)n, reader->sending.n);
    else if (errno != EAGAIN && errno != EINTR)
        reader->sending.n = 0; /* it will take no more; its answer may be there */
}

/* false: not yet. Otherwise *ret bytes are there; none: the end. */
static bool receive_tls(Reader *reader, char *room, size_t n, size_t *ret) {
    TlsStep step = tls_read_some(reader->tls, room, n, ret);
    reader->cut = reader->cut || step == TLS_BROKEN;
    return step != TLS_WAIT;
}

static bool receive(Reader *reader, char *room, size_t n, size_t *ret) {
    *ret = 0;
    if (reader->tls != NULL)
        return receive_tls(reader, room, n, ret);
    ssize_t got = recv(reader->fd, room, n, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    *ret = got > 0 ? (size_t)got : 0;
    return true;
}

static bool is_sending(const Reader *reader) {
    return reader->sending.n > 0 || (reader->tls != NULL && tls_unsent(reader->tls) > 0);
}

/* Reads more. ERR_EOF at the end. */
static Err more(Reader *reader) {
    while (!reader->ended) {
        if (is_sending(reader))
            send_some(reader);
        char *room = buf_reserve(&reader->all, 16 * 1024);
        size_t n;
        short events;
        if (room == NULL)
            return reader->all.err;
        if (!receive(reader, room, 16 * 1024, &n)) {
            TRY(ready_wait(reader->fd, (short)(POLLIN | (is_sending(reader) ? POLLOUT : 0)), reader->deadline_ms,
                           &events));
            continue;
        }
        reader->all.n += n;
        reader->ended = n == 0;
        if (n > 0)
            return ERR_OK;
    }
    return ERR_EOF;
}

/* The next line without its CRLF. Valid until the next read. */
static Err line_read(Reader *reader, Str *ret) {
    size_t searched = reader->at;
    for (;;) {
        Str rest = str_slice(buf_str(&reader->all), searched, reader->all.n);
        ptrdiff_t end = str_find(rest, STR("\r\n"));
        if (end >= 0) {
            size_t to = searched + (size_t)end;
            *ret = str_slice(buf_str(&reader->all), reader->at, to);
            reader->at = to + 2;
            return ERR_OK;
        }
        searched = reader->all.n > reader->at ? reader->all.n - 1 : reader->at;
        TRY(more(reader));
    }
}

static Err bytes_read(Reader *reader, size_t n, Str *ret) {
    if (n > HTTP_CLIENT_ANSWER_MAX)
        return ERR_LIMIT;
    while (reader->all.n - reader->at < n)
        TRY(more(reader));
    *ret = str_slice(buf_str(&reader->all), reader->at, reader->at + n);
    reader->at += n;
    return ERR_OK;
}

/* "HTTP/1.1 200 OK" → 200; 0: something else. */
static int status_of(Str line) {
    if (!str_starts_with(line, STR("HTTP/")))
        return 0;
    (void)str_cut(&line, ' ');
    if (line.p == NULL)
        return 0;
    uint64_t status;
    return str_to_u64(str_cut(&line, ' '), 999, &status) == ERR_OK ? (int)status : 0;
}

static Err head_read(Reader *reader, Arena *arena, HttpAnswer *answer) {
    Str line;
    TRY(line_read(reader, &line));
    answer->status = status_of(line);
    if (answer->status == 0)
        return ERR_EOF;
    Header *headers = ARENA_ARRAY(arena, Header, CLIENT_HEADERS_MAX);
    if (headers == NULL)
        return ERR_NO_MEMORY;
    answer->headers = headers;
    answer->header_count = 0;
    for (;;) {
        TRY(line_read(reader, &line));
        if (line.n == 0)
            return ERR_OK;
        if (answer->header_count == CLIENT_HEADERS_MAX)
            return ERR_LIMIT;
        Str name = str_cut(&line, ':');
        Header *header = &headers[answer->header_count++];
        header->name = arena_str(arena, name);
        header->value = arena_str(arena, str_trim(line.p == NULL ? STR("") : line, " \t\r\n"));
        if (header->name.p == NULL || header->value.p == NULL)
            return ERR_NO_MEMORY;
    }
}

/* The last field of that name, as the recorder's replayer takes it. */
static Str field(const HttpAnswer *answer, Str name) {
    Str value = {NULL, 0};
    for (size_t i = 0; i < answer->header_count; i++) {
        if (str_eq_nocase(answer->headers[i].name, name))
            value = answer->headers[i].value;
    }
    return value;
}

/* false: no hexadecimal number in front. */
static bool chunk_size(Str line, size_t *ret) {
    Str digits = str_trim(str_cut(&line, ';'), " \t");
    size_t size = 0;
    for (size_t i = 0; i < digits.n; i++) {
        int digit = hex_value(digits.p[i]);
        if (digit < 0 || size > HTTP_CLIENT_ANSWER_MAX)
            return false;
        size = size * 16 + (size_t)digit;
    }
    *ret = size;
    return digits.n > 0;
}

static Err chunks_read(Reader *reader, Arena *arena, Str *ret) {
    Buf body = buf_new(arena, HTTP_CLIENT_ANSWER_MAX);
    Str line, piece;
    size_t size;
    for (;;) {
        TRY(line_read(reader, &line));
        if (!chunk_size(line, &size))
            return ERR_EOF;
        if (size == 0)
            break;
        TRY(bytes_read(reader, size, &piece));
        buf_add(&body, piece);
        TRY(bytes_read(reader, 2, &piece));
    }
    do {
        TRY(line_read(reader, &line));
    } while (line.n > 0);
    return buf_finish(&body, ret);
}

static bool contains_nocase(Str s, Str needle) {
    for (size_t i = 0; i + needle.n <= s.n; i++) {
        if (str_eq_nocase(str_slice(s, i, i + needle.n), needle))
            return true;
    }
    return false;
}

static Err body_read(Reader *reader, Arena *arena, bool is_head, HttpAnswer *answer) {
    answer->body = STR("");
    if (is_head || answer->status == 204 || answer->status == 304)
        return ERR_OK;
    if (contains_nocase(field(answer, STR("transfer-encoding")), STR("chunked")))
        return chunks_read(reader, arena, &answer->body);
    Str length = field(answer, STR("content-length"));
    Str body;
    if (length.p != NULL) {
        uint64_t n;
        if (str_to_u64(length, HTTP_CLIENT_ANSWER_MAX, &n) != ERR_OK)
            return ERR_EOF;
        TRY(bytes_read(reader, (size_t)n, &body));
    } else {
        Err err = ERR_OK;
        while (err == ERR_OK)
            err = more(reader);
        if (err != ERR_EOF || reader->cut) /* RFC 9112 §9.8: then it is not known to be whole */
            return err;
        body = str_slice(buf_str(&reader->all), reader->at, reader->all.n);
        answer->closed = true;
    }
    answer->body = arena_str(arena, body);
    return answer->body.p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* Nothing more is wanted of it. */
static bool is_closed(Reader *reader) {
    char byte;
    size_t n;
    return reader->ended || (receive(reader, &byte, 1, &n) && n == 0);
}

static Err exchange(Reader *reader, Arena *arena, bool is_head, HttpAnswer *ret) {
    HttpAnswer answer = {0};
    Err err;
    reader->all = buf_new(NULL, HTTP_CLIENT_ANSWER_MAX);
    do {
        err = head_read(reader, arena, &answer);
    } while (err == ERR_OK && answer.status < 200 && answer.status != 101);
    if (err == ERR_OK)
        err = body_read(reader, arena, is_head, &answer);
    answer.closed =
        answer.closed || contains_nocase(field(&answer, STR("connection")), STR("close")) || is_closed(reader);
    buf_done(&reader->all);
    if (err == ERR_OK)
        *ret = answer;
    else
        ret->closed = reader->ended;
    return err;
}

Err http_client_exchange_fd(Arena *arena, int fd, Str bytes, bool is_head, int64_t timeout_ms, HttpAnswer *ret) {
    *ret = (HttpAnswer){0};
    Reader reader = {.fd = fd, .deadline_ms = clock_mono_ms() + timeout_ms, .sending = bytes};
    return exchange(&reader, arena, is_head, ret);
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

/* A connected socket, or an Err. */
static Err connect_to(const struct addrinfo *info, int64_t deadline_ms, int *ret) {
    int fd CLEANUP(fd_closep) = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, info->ai_protocol);
    if (fd < 0)
        return ERR_IO;
    if (connect(fd, info->ai_addr, info->ai_addrlen) != 0) {
        short events;
        if (errno != EINPROGRESS)
            return ERR_UNAVAILABLE;
        TRY(ready_wait(fd, POLLOUT, deadline_ms, &events));
        int error = 0;
        socklen_t length = sizeof(error);
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0)
            return ERR_UNAVAILABLE;
    }
    *ret = fd;
    fd = -1;
    return ERR_OK;
}

static Err connect_any(Arena *arena, const HttpTarget *target, int64_t deadline_ms, int *ret) {
    Str service = arena_printf(arena, "%d", target->port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    if (service.p == NULL)
        return ERR_NO_MEMORY;
    if (getaddrinfo(target->host, service.p, &hints, &list) != 0)
        return ERR_UNAVAILABLE;
    Err err = ERR_UNAVAILABLE;
    for (const struct addrinfo *info = list; info != NULL && err != ERR_OK && err != ERR_TIMEOUT; info = info->ai_next)
        err = connect_to(info, deadline_ms, ret);
    freeaddrinfo(list);
    return err;
}

static Err secure(Reader *reader, Arena *arena, HttpAnswer *ret) {
    for (;;) {
        TlsStep step = tls_handshake_step(reader->tls);
        short events, wanted = tls_wants(reader->tls) == CO_WRITABLE ? POLLOUT : POLLIN;
        if (step == TLS_DONE)
            return ERR_OK;
        if (step == TLS_WAIT) {
            TRY(ready_wait(reader->fd, wanted, reader->deadline_ms, &events));
            continue;
        }
        const char *mend = tls_mend(reader->tls);
        ret->body =
            arena_printf(arena, "%s%s%s", tls_why(reader->tls), mend == NULL ? "" : "; ", mend == NULL ? "" : mend);
        return ret->body.p == NULL ? ERR_NO_MEMORY : ERR_REFUSED;
    }
}

Err http_client_exchange(Arena *arena, const HttpTarget *target, Str bytes, bool is_head, int64_t timeout_ms,
                         HttpAnswer *ret) {
    *ret = (HttpAnswer){0};
    int fd CLEANUP(fd_closep) = -1;
    Reader reader = {.deadline_ms = clock_mono_ms() + timeout_ms, .sending = bytes};
    TRY(connect_any(arena, target, reader.deadline_ms, &fd));
    reader.fd = fd;
    if (target->tls == NULL)
        return exchange(&reader, arena, is_head, ret);
    TRY(tls_client_stream(target->tls, fd, target->server_name, &reader.tls));
    Err err = secure(&reader, arena, ret);
    if (err == ERR_OK)
        err = exchange(&reader, arena, is_head, ret);
    tls_stream_free(reader.tls);
    return err;
}
