/*
 * listeners.c - who listens where.
 *
 * A listening socket takes connections while anybody has it open. So each worker keeps only its own, and the parent
 * none once it stops for good: whoever connects to a server that drains is refused at once, and not left in a backlog
 * that nobody serves.
 */
#include "usher/listeners.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/http.h"
#include "runtime/heirloom.h"
#include "runtime/log.h"

#define LISTENERS_MAX 2048
#define ALL_WORKERS   (-1)

typedef struct Listener {
    const char *set;
    int worker; /* ALL_WORKERS: shared */
    int fd;     /* -1: not in this process */
} Listener;

/* A process has one table, hence static. */
static Listener table[LISTENERS_MAX];
static size_t n_table;

static Err add(const char *set, int worker, int fd) {
    if (n_table == LISTENERS_MAX)
        return ERR_LIMIT;
    table[n_table++] = (Listener){.set = set, .worker = worker, .fd = fd};
    return ERR_OK;
}

/* --- inherited ---------------------------------------------------------------------------------------------------- */

typedef struct Wanted {
    const char *set;
    Str address;
    Arena *arena;
} Wanted;

/* Ours carry the set behind "usher-"; then the address decides. */
static bool from_predecessor(int fd, const char *name, void *data) {
    const Wanted *wanted = data;
    return strncmp(name, "usher-", 6) == 0 && strcmp(name + 6, wanted->set) == 0 &&
           http_socket_listens_on(fd, wanted->address, wanted->arena);
}

/* systemd.socket(5): FileDescriptorName=, which is the unit's name where it is not set. */
static bool from_systemd(int fd, const char *name, void *data) {
    const Wanted *wanted = data;
    bool named = strcmp(name, wanted->set) == 0;
    bool unit = strcmp(wanted->set, "http") == 0 && str_ends_with(str_c(name), STR(".socket"));
    return (named || unit) && http_socket_listens_on(fd, (Str){NULL, 0}, wanted->arena);
}

static Err take_activated(const char *set, Arena *arena, size_t *ret_n) {
    Wanted wanted = {.set = set, .arena = arena};
    for (int fd; (fd = heirloom_take(from_systemd, &wanted)) >= 0; (*ret_n)++) {
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
            return ERR_IO;
        TRY(add(set, ALL_WORKERS, fd));
    }
    return ERR_OK;
}

/* --- bound -------------------------------------------------------------------------------------------------------- */

static Err bind_one(const char *set, Str address, int worker, const char *setting, Arena *arena) {
    int fd;
    Str why = {NULL, 0};
    Err err = http_listen_socket(address, &fd, &why, arena);
    if (err != ERR_OK) {
        LOG_E(NULL, "cannot listen", F_STR("address", address), F_C("setting", setting), F_STR("why", why));
        return err;
    }
    const char *name = arena_printf(arena, "usher-%s", set).p;
    TRY(name == NULL ? ERR_NO_MEMORY : heirloom_add(name, fd));
    return add(set, worker, fd);
}

static Err open_address(const char *set, Str address, const char *setting, int workers, Arena *arena) {
    Wanted wanted = {.set = set, .address = address, .arena = arena};
    bool shared = str_starts_with(address, STR("unix:"));
    int places = shared ? 1 : workers, n = 0;
    for (int fd; (fd = heirloom_take(from_predecessor, &wanted)) >= 0; n++)
        TRY(add(set, shared ? ALL_WORKERS : n % workers, fd));
    for (; n < places; n++)
        TRY(bind_one(set, address, shared ? ALL_WORKERS : n, setting, arena));
    return ERR_OK;
}

Err listeners_open(const char *set, Str addresses, const char *setting, int workers, Arena *arena) {
    size_t activated = 0;
    TRY(take_activated(set, arena, &activated));
    if (activated > 0) {
        LOG_I(NULL, "listening on sockets that were passed to us", F_C("instead_of", setting),
              F_INT("sockets", (int64_t)activated));
        return ERR_OK;
    }
    for (Str rest = addresses; rest.n > 0;)
        TRY(open_address(set, str_trim(str_cut(&rest, ','), " "), setting, workers, arena));
    for (int i = 0; i < workers; i++) {
        int fds[LISTENERS_PER_WORKER];
        if (listeners_of(set, i, fds) < LISTENERS_PER_WORKER)
            continue;
        LOG_E(NULL, "too many sockets for one worker", F_C("setting", setting),
              F_INT("most", LISTENERS_PER_WORKER - 1));
        return ERR_LIMIT;
    }
    return ERR_OK;
}

Err listeners_open_loopback(const char *set, int workers, int *ret_ports, Arena *arena) {
    for (int i = 0; i < workers; i++) {
        struct sockaddr_in address = {0};
        socklen_t n = sizeof address;
        Str why = {NULL, 0};
        int fd;
        Err err = http_listen_socket(STR("127.0.0.1:0"), &fd, &why, arena);
        if (err == ERR_OK)
            err = add(set, i, fd);
        if (err == ERR_OK && getsockname(fd, (struct sockaddr *)&address, &n) != 0)
            err = ERR_IO;
        if (err != ERR_OK) {
            LOG_E(NULL, "cannot listen on loopback", F_C("for", set), F_ERR(err), F_STR("why", why));
            return err;
        }
        ret_ports[i] = ntohs(address.sin_port);
    }
    return ERR_OK;
}

/* --- in a worker -------------------------------------------------------------------------------------------------- */

static bool is_for(const Listener *listener, const char *set, int worker) {
    return set != NULL && strcmp(listener->set, set) == 0 &&
           (listener->worker == ALL_WORKERS || listener->worker == worker);
}

size_t listeners_of(const char *set, int worker, int fds[LISTENERS_PER_WORKER]) {
    size_t n = 0;
    for (size_t i = 0; i < n_table && n < LISTENERS_PER_WORKER; i++)
        if (table[i].fd >= 0 && is_for(&table[i], set, worker))
            fds[n++] = table[i].fd;
    return n;
}

void listeners_close_but(const char *set, int worker) {
    for (size_t i = 0; i < n_table; i++)
        if (table[i].fd >= 0 && !is_for(&table[i], set, worker)) {
            (void)close(table[i].fd);
            table[i].fd = -1;
        }
}
