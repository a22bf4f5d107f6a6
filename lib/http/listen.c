/*
 * listen.c - an address in text to a listening socket, with words for whoever typed it.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "http/http.h"

enum { BACKLOG = 4096 }; /* the kernel cuts it to net.core.somaxconn */

static Err refuse(int fd, Arena *arena, Str address, const char *doing, int error, Str *ret_why) {
    if (fd >= 0)
        close(fd);
    if (error == EADDRINUSE)
        *ret_why =
            arena_printf(arena, "address already in use: another program listens on %.*s; stop it or pass --listen",
                         STR_ARG(address));
    else if (error == EACCES)
        *ret_why = arena_printf(arena, "%s %.*s: not permitted; ports under 1024 need CAP_NET_BIND_SERVICE", doing,
                                STR_ARG(address));
    else if (error == EADDRNOTAVAIL)
        *ret_why =
            arena_printf(arena, "%.*s is no address of this machine; pass another with --listen", STR_ARG(address));
    else
        *ret_why = arena_printf(arena, "%s %.*s: %s", doing, STR_ARG(address), strerror(error));
    return error == EADDRINUSE ? ERR_CONFLICT : ERR_IO;
}

/* A socket file that nobody answers on is left over from a kill and may go; a living one may not. */
static void stale_remove(const struct sockaddr_un *address) {
    struct stat status;
    if (lstat(address->sun_path, &status) != 0 || !S_ISSOCK(status.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 && errno == ECONNREFUSED)
        unlink(address->sun_path);
    close(fd);
}

static Err listen_unix(Str address, int *ret_fd, Str *ret_why, Arena *arena) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    Str path = str_slice(address, 5, address.n);
    if (path.n == 0 || path.n >= sizeof(un.sun_path)) {
        *ret_why = arena_printf(arena, "the path of a unix socket has 1 to %zu bytes: %.*s", sizeof(un.sun_path) - 1,
                                STR_ARG(address));
        return ERR_INVALID;
    }
    memcpy(un.sun_path, path.p, path.n);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return refuse(fd, arena, address, "socket for", errno, ret_why);
    stale_remove(&un);
    if (bind(fd, (struct sockaddr *)&un, sizeof(un)) != 0 || listen(fd, BACKLOG) != 0)
        return refuse(fd, arena, address, "listen on", errno, ret_why);
    *ret_fd = fd;
    return ERR_OK;
}

/* "host:port" with an optional host, which stands in brackets when it has colons. */
static bool address_split(Str address, Arena *arena, const char **ret_host, const char **ret_port) {
    ptrdiff_t colon = -1;
    for (size_t i = 0; i < address.n; i++) {
        if (address.p[i] == ':')
            colon = (ptrdiff_t)i;
    }
    uint64_t port;
    if (colon < 0 || str_to_u64(str_slice(address, (size_t)colon + 1, address.n), 65535, &port) != ERR_OK)
        return false;
    Str host = str_slice(address, 0, (size_t)colon);
    if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = str_slice(host, 1, host.n - 1);
    else if (str_index(host, ':') >= 0)
        return false;
    *ret_host = host.n == 0 || str_eq_c(host, "*") ? NULL : arena_str(arena, host).p;
    *ret_port = arena_str(arena, str_slice(address, (size_t)colon + 1, address.n)).p;
    return *ret_port != NULL;
}

/* SO_REUSEPORT would let a second usher of the same user share the port unseen and take half of the first one's
 * clients. So the first socket on an address is tried without it. Later ones are our own workers'. */
static struct sockaddr_storage ours[16];
static size_t ours_count;

static bool address_is_ours(const struct addrinfo *info) {
    for (size_t i = 0; i < ours_count; i++) {
        if (memcmp(&ours[i], info->ai_addr, info->ai_addrlen) == 0)
            return true;
    }
    return false;
}

static bool address_is_taken(const struct addrinfo *info) {
    if (address_is_ours(info))
        return false;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, off = 0;
    if (fd < 0)
        return false;
    if (info->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* those in TIME_WAIT are no hindrance */
    bool taken = bind(fd, info->ai_addr, info->ai_addrlen) != 0 && errno == EADDRINUSE;
    close(fd);
    return taken;
}

static Err listen_tcp(const struct addrinfo *info, Str address, int *ret_fd, Str *ret_why, Arena *arena) {
    if (address_is_taken(info))
        return refuse(-1, arena, address, "listen on", EADDRINUSE, ret_why);
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, off = 0;
    if (fd < 0)
        return refuse(fd, arena, address, "socket for", errno, ret_why);
    if (info->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)); /* ":5000" is both families */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
        bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)
        return refuse(fd, arena, address, "listen on", errno, ret_why);
    if (!address_is_ours(info) && ours_count < ARRAY_LEN(ours))
        memcpy(&ours[ours_count++], info->ai_addr, info->ai_addrlen);
    *ret_fd = fd;
    return ERR_OK;
}

static Str without_scheme(Str address) {
    static const Str schemes[] = {STR_INIT("http://"), STR_INIT("https://")};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (str_starts_with(address, schemes[i]))
            return str_slice(address, schemes[i].n, address.n);
    return address;
}

Err http_listen_socket(Str address, int *ret_fd, Str *ret_why, Arena *arena) {
    address = without_scheme(address);
    if (str_starts_with(address, STR("unix:")))
        return listen_unix(address, ret_fd, ret_why, arena);
    const char *host, *port;
    if (!address_split(address, arena, &host, &port)) {
        *ret_why = arena_printf(arena, "'%.*s' is no address; write 127.0.0.1:5000, [::1]:5000, :5000 or unix:/path",
                                STR_ARG(address));
        return ERR_INVALID;
    }
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    if (host == NULL)
        hints.ai_family = AF_INET6;
    int failure = getaddrinfo(host, port, &hints, &list);
    if (failure != 0) {
        *ret_why = arena_printf(arena, "%.*s: %s", STR_ARG(address), gai_strerror(failure));
        return ERR_INVALID;
    }
    Err err = listen_tcp(list, address, ret_fd, ret_why, arena);
    if (err != ERR_OK && host == NULL) { /* a machine without IPv6 */
        freeaddrinfo(list);
        list = NULL;
        hints.ai_family = AF_INET;
        if (getaddrinfo(host, port, &hints, &list) == 0)
            err = listen_tcp(list, address, ret_fd, ret_why, arena);
    }
    if (list != NULL)
        freeaddrinfo(list);
    return err;
}

/* --- sockets that were there before us ---------------------------------------------------------------------------- */

static bool same_address(const struct sockaddr_storage *bound, const struct addrinfo *info) {
    if (bound->ss_family != info->ai_family)
        return false;
    if (info->ai_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)bound, *b = (const struct sockaddr_in *)info->ai_addr;
        return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
    }
    const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)bound, *b = (const struct sockaddr_in6 *)info->ai_addr;
    return info->ai_family == AF_INET6 && a->sin6_port == b->sin6_port && a->sin6_scope_id == b->sin6_scope_id &&
           memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr)) == 0;
}

static bool bound_to_unix(const struct sockaddr_storage *bound, Str path) {
    const struct sockaddr_un *un = (const struct sockaddr_un *)bound;
    return bound->ss_family == AF_UNIX && path.n < sizeof(un->sun_path) && un->sun_path[path.n] == '\0' &&
           memcmp(un->sun_path, path.p, path.n) == 0;
}

/* ":5000" is one or the other: http_listen_socket falls back to IPv4 alone. */
static bool bound_to(const struct sockaddr_storage *bound, int family, const char *host, const char *port) {
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    if (getaddrinfo(host, port, &hints, &list) != 0)
        return false;
    bool same = same_address(bound, list);
    if (same && !address_is_ours(list) && ours_count < ARRAY_LEN(ours))
        memcpy(&ours[ours_count++], list->ai_addr, list->ai_addrlen);
    freeaddrinfo(list);
    return same;
}

bool http_socket_listens_on(int fd, Str address, Arena *arena) {
    struct sockaddr_storage bound = {0};
    socklen_t length = sizeof(bound), size = sizeof(int);
    int listening = 0;
    const char *host, *port;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &length) != 0)
        return false;
    if (address.p == NULL)
        return true;
    address = without_scheme(address);
    if (str_starts_with(address, STR("unix:")))
        return bound_to_unix(&bound, str_slice(address, 5, address.n));
    if (!address_split(address, arena, &host, &port))
        return false;
    if (host != NULL)
        return bound_to(&bound, AF_UNSPEC, host, port);
    return bound_to(&bound, AF_INET6, NULL, port) || bound_to(&bound, AF_INET, NULL, port);
}
