/*
 * heirloom.c - the table of descriptors that are handed on.
 */
#include "runtime/heirloom.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

typedef struct Heirloom {
    int fd;
    bool taken;
    char name[HEIRLOOM_NAME_MAX + 1];
} Heirloom;

/* A process has one set of descriptors, hence static. */
static Heirloom heirlooms[HEIRLOOMS_MAX];
static size_t n_heirlooms;

static void clear_variables(void) {
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    (void)unsetenv("LISTEN_PID");
}

static Err inherit_one(int fd, Str name) {
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) != 0 || name.n > HEIRLOOM_NAME_MAX)
        return ERR_INVALID;
    Heirloom *place = &heirlooms[n_heirlooms++];
    *place = (Heirloom){.fd = fd};
    memcpy(place->name, name.p, name.n);
    return ERR_OK;
}

static Err inherit_all(uint64_t n, const char *names) {
    if (n > HEIRLOOMS_MAX - n_heirlooms)
        return ERR_LIMIT;
    Str rest = str_c(names == NULL ? "" : names);
    for (uint64_t i = 0; i < n; i++) {
        Str name = rest.p == NULL || names == NULL ? STR("unknown") : str_cut(&rest, ':');
        TRY(inherit_one(FIRST_FD + (int)i, name));
    }
    return ERR_OK;
}

Err heirlooms_inherit(void) {
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    uint64_t whom, n;
    if (pid == NULL || count == NULL)
        return ERR_OK;
    if (str_to_u64(str_c(pid), INT32_MAX, &whom) != ERR_OK || str_to_u64(str_c(count), INT32_MAX, &n) != ERR_OK)
        return ERR_INVALID;
    if ((pid_t)whom != getpid())
        return ERR_OK;
    Err err = inherit_all(n, getenv("LISTEN_FDNAMES"));
    clear_variables();
    return err;
}

int heirloom_take(HeirloomFits fits, void *data) {
    for (size_t i = 0; i < n_heirlooms; i++) {
        if (heirlooms[i].taken || !fits(heirlooms[i].fd, heirlooms[i].name, data))
            continue;
        heirlooms[i].taken = true;
        return heirlooms[i].fd;
    }
    return -1;
}

Err heirloom_add(const char *name, int fd) {
    size_t n = strlen(name);
    ASSERT(n <= HEIRLOOM_NAME_MAX && strchr(name, ':') == NULL);
    if (n_heirlooms == HEIRLOOMS_MAX)
        return ERR_LIMIT;
    heirlooms[n_heirlooms] = (Heirloom){.fd = fd, .taken = true};
    memcpy(heirlooms[n_heirlooms++].name, name, n);
    return ERR_OK;
}

int heirloom_remove(const char *name) {
    for (size_t i = 0; i < n_heirlooms; i++) {
        if (strcmp(heirlooms[i].name, name) != 0)
            continue;
        int fd = heirlooms[i].fd;
        memmove(&heirlooms[i], &heirlooms[i + 1], (n_heirlooms - i - 1) * sizeof *heirlooms);
        n_heirlooms--;
        return fd;
    }
    return -1;
}

size_t heirlooms_close_untaken(void) {
    size_t closed = 0, left = 0;
    for (size_t i = 0; i < n_heirlooms; i++) {
        if (heirlooms[i].taken)
            heirlooms[left++] = heirlooms[i];
        else
            closed += close(heirlooms[i].fd) == 0;
    }
    n_heirlooms = left;
    return closed;
}

size_t heirlooms_list(int *fds, Buf *names) {
    size_t n = 0;
    for (size_t i = 0; i < n_heirlooms; i++) {
        if (!heirlooms[i].taken)
            continue;
        buf_printf(names, "%s%s", n == 0 ? "" : ":", heirlooms[i].name);
        fds[n++] = heirlooms[i].fd;
    }
    return n;
}
