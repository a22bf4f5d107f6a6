/*
 * files.c - whole files.
 */
#include "usher/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void close_fd(int *fd) {
    if (*fd >= 0)
        (void)close(*fd);
}

Err file_read(Ctx *ctx, const char *path, size_t max, Str *ret) {
    int fd CLEANUP(close_fd) = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0)
        return ctx_problem(ctx, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, NULL, "%s: %s", path, strerror(errno));
    if ((uint64_t)info.st_size > max)
        return ctx_problem(ctx, ERR_LIMIT, NULL, "%s: larger than %zu bytes", path, max);
    size_t size = (size_t)info.st_size, n = 0;
    char *bytes = arena_alloc_raw(ctx->arena, size + 1);
    if (bytes == NULL)
        return ctx_problem(ctx, ERR_NO_MEMORY, NULL, "%s: no memory for %zu bytes", path, size);
    while (n < size) {
        ssize_t got = read(fd, bytes + n, size - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ctx_problem(ctx, ERR_IO, NULL, "%s: %s", path, strerror(errno));
        if (got == 0)
            break;
        n += (size_t)got;
    }
    bytes[n] = '\0';
    *ret = (Str){bytes, n};
    return ERR_OK;
}

Err file_write(Ctx *ctx, const char *path, Str content) {
    Str temporary = arena_printf(ctx->arena, "%s.new", path);
    if (temporary.p == NULL)
        return ERR_NO_MEMORY;
    int fd CLEANUP(close_fd) = open(temporary.p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return ctx_problem(ctx, ERR_IO, NULL, "%s: %s", temporary.p, strerror(errno));
    for (size_t n = 0; n < content.n;) {
        ssize_t put = write(fd, content.p + n, content.n - n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return ctx_problem(ctx, ERR_IO, NULL, "%s: %s", temporary.p, strerror(errno));
        n += (size_t)put;
    }
    if (fsync(fd) != 0 || rename(temporary.p, path) != 0)
        return ctx_problem(ctx, ERR_IO, NULL, "%s: %s", path, strerror(errno));
    return ERR_OK;
}
