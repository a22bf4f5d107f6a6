/*
 * proxy_protocol.c - peeked at, so that only the header's own bytes are taken from the socket.
 *
 * Where the setting is on, a connection without the header is closed without a word: if it were let in, anybody who
 * reaches the port could choose his address.
 */
#include "http/proxy_protocol.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

enum { V1_MAX = 107, V2_HEAD = 16 };

static const char V2_SIGNATURE[12] = "\r\n\r\n\0\r\nQUIT\n";

/* A number from 0 to 65535 as it must be written: no sign, no zero in front. */
static bool is_port(Str text) {
    uint64_t port;
    return str_to_u64(text, 65535, &port) == ERR_OK && (text.n == 1 || text.p[0] != '0');
}

/* "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443", without its CRLF. */
static ProxyHeader v1_read(Str line, char peer[48]) {
    Str rest = line;
    (void)str_cut(&rest, ' ');
    Str family = rest.p == NULL ? (Str){NULL, 0} : str_cut(&rest, ' ');
    if (str_eq(family, STR("UNKNOWN")))
        return PROXY_DONE;
    int number = str_eq(family, STR("TCP4")) ? AF_INET : str_eq(family, STR("TCP6")) ? AF_INET6 : -1;
    Str parts[4];
    for (int i = 0; i < 4; i++) {
        if (rest.p == NULL)
            return PROXY_BAD;
        parts[i] = str_cut(&rest, ' ');
    }
    char source[48] = "", target[48] = "";
    uint8_t bytes[16];
    if (number < 0 || rest.p != NULL || parts[0].n >= sizeof source || parts[1].n >= sizeof target ||
        !is_port(parts[2]) || !is_port(parts[3]))
        return PROXY_BAD;
    memcpy(source, parts[0].p, parts[0].n);
    memcpy(target, parts[1].p, parts[1].n);
    if (inet_pton(number, target, bytes) != 1 || inet_pton(number, source, bytes) != 1)
        return PROXY_BAD;
    memcpy(peer, source, sizeof source);
    return PROXY_DONE;
}

static ProxyHeader v1_parse(Str bytes, size_t *ret_length, char peer[48]) {
    ptrdiff_t lf = str_index(str_slice(bytes, 0, V1_MAX), '\n');
    if (lf < 0)
        return bytes.n >= V1_MAX ? PROXY_BAD : PROXY_MORE;
    if (lf < 8 || bytes.p[lf - 1] != '\r')
        return PROXY_BAD;
    *ret_length = (size_t)lf + 1;
    return v1_read(str_slice(bytes, 0, (size_t)lf - 1), peer);
}

static ProxyHeader v2_parse(Str bytes, size_t *ret_length, char peer[48]) {
    const uint8_t *p = (const uint8_t *)bytes.p;
    if (bytes.n < V2_HEAD)
        return PROXY_MORE;
    size_t length = V2_HEAD + ((size_t)p[14] << 8 | p[15]);
    int version = p[12] >> 4, command = p[12] & 15, family = p[13] >> 4, transport = p[13] & 15;
    if (version != 2 || command > 1 || family > 3 || transport > 2 || length > PROXY_HEADER_MAX)
        return PROXY_BAD;
    size_t wanted = family == 1 ? 12 : family == 2 ? 36 : family == 3 ? 216 : 0;
    if (command == 1 && length < V2_HEAD + wanted)
        return PROXY_BAD;
    if (bytes.n < length)
        return PROXY_MORE;
    *ret_length = length;
    char text[48] = "";
    if (command == 1 && family == 1)
        (void)inet_ntop(AF_INET, p + V2_HEAD, text, sizeof text);
    else if (command == 1 && family == 2)
        (void)inet_ntop(AF_INET6, p + V2_HEAD, text, sizeof text);
    if (text[0] != '\0')
        memcpy(peer, text, sizeof text);
    return PROXY_DONE;
}

ProxyHeader proxy_header_parse(Str bytes, size_t *ret_length, char peer[48]) {
    if (bytes.n == 0)
        return PROXY_MORE;
    if (memcmp(bytes.p, V2_SIGNATURE, MIN_OF(bytes.n, sizeof V2_SIGNATURE)) == 0)
        return v2_parse(bytes, ret_length, peer);
    if (memcmp(bytes.p, "PROXY ", MIN_OF(bytes.n, (size_t)6)) == 0)
        return v1_parse(bytes, ret_length, peer);
    return PROXY_BAD;
}

void proxy_header_read(HttpConnection *conn) {
    BlockPool *pool = &conn->server->blocks;
    if (conn->in == NULL && (conn->in = block_take(pool, BLOCK_SMALL)) == NULL) {
        connection_abort(conn);
        return;
    }
    Block *in = conn->in;
    size_t had = block_length(in), length = 0;
    ssize_t n = recv(conn->fd, in->data + in->to, in->capacity - in->to, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    ProxyHeader result = n <= 0 ? PROXY_BAD : proxy_header_parse((Str){in->data, had + (size_t)n}, &length, conn->peer);
    size_t take = result == PROXY_DONE ? length - had : (size_t)MAX_OF(n, 0);
    if (result == PROXY_BAD || recv(conn->fd, in->data + in->to, take, MSG_DONTWAIT) != (ssize_t)take) {
        conn->server->stats.protocol_errors += n > 0;
        connection_abort(conn);
        return;
    }
    in->to += (uint32_t)take;
    if (result == PROXY_MORE)
        return;
    conn->awaits_proxy = false;
    conn->head_at = 0;
    conn->in = NULL;
    block_give(pool, in);
}
