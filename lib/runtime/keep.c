/*
 * keep.c - the table of descriptors that are handed on.
 */
#include "runtime/keep.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

typedef struct Kept {
    int fd;
    bool taken;
    char name[KEEP_NAME_MAX + 1];
} Kept;

/* A process has one set of descriptors, hence static. */
static Kept kept[KEEP_MAX];
static size_t n_kept;

static void clear_variables(void) {
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    (void)unsetenv("LISTEN_PID");
}

static Err inherit_one(int fd, Str name) {
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) != 0 || name.n > KEEP_NAME_MAX)
        return ERR_INVALID;
    Kept *place = &kept[n_kept++];
    *place = (Kept){.fd = fd};
    memcpy(place->name, name.p, name.n);
    return ERR_OK;
}

static Err inherit_all(uint64_t n, const char *names) {
    if (n > KEEP_MAX - n_kept)
        return ERR_LIMIT;
    Str rest = str_c(names == NULL ? "" : names);
    for (uint64_t i = 0; i < n; i++) {
        Str name = rest.p == NULL || names == NULL ? STR("unknown") : str_cut(&rest, ':');
        TRY(inherit_one(FIRST_FD + (int)i, name));
    }
    return ERR_OK;
}

Err keep_inherit(void) {
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

int keep_take(KeepFits fits, void *data) {
    for (size_t i = 0; i < n_kept; i++) {
        if (kept[i].taken || !fits(kept[i].fd, kept[i].name, data))
            continue;
        kept[i].taken = true;
        return kept[i].fd;
    }
    return -1;
}

Err keep_add(const char *name, int fd) {
    size_t n = strlen(name);
    ASSERT(n <= KEEP_NAME_MAX && strchr(name, ':') == NULL);
    if (n_kept == KEEP_MAX)
        return ERR_LIMIT;
    kept[n_kept] = (Kept){.fd = fd, .taken = true};
    memcpy(kept[n_kept++].name, name, n);
    return ERR_OK;
}

int keep_remove(const char *name) {
    for (size_t i = 0; i < n_kept; i++) {
        if (strcmp(kept[i].name, name) != 0)
            continue;
        int fd = kept[i].fd;
        memmove(&kept[i], &kept[i + 1], (n_kept - i - 1) * sizeof *kept);
        n_kept--;
        return fd;
    }
    return -1;
}

size_t keep_close_untaken(void) {
    size_t closed = 0, left = 0;
    for (size_t i = 0; i < n_kept; i++) {
        if (kept[i].taken)
            kept[left++] = kept[i];
        else
            closed += close(kept[i].fd) == 0;
    }
    n_kept = left;
    return closed;
}

size_t keep_list(int *fds, Buf *names) {
    size_t n = 0;
    for (size_t i = 0; i < n_kept; i++) {
        if (!kept[i].taken)
            continue;
        buf_printf(names, "%s%s", n == 0 ? "" : ":", kept[i].name);
        fds[n++] = kept[i].fd;
    }
    return n;
}
