/*
 * dev_data.c - the folder of a development database.
 */
#include "usher/dev_data.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "usher/files.h"

#define SOCKET_NAME "/.s.PGSQL.5432"

static Err make_folder(Ctx *ctx, const char *path, mode_t mode) {
    if (mkdir(path, mode) == 0 || errno == EEXIST)
        return ERR_OK;
    return ctx_problem(ctx, ERR_IO, NULL, "cannot make the folder %s: %s", path, strerror(errno));
}

/* The account that Postgres runs under must be able to reach the folder; a folder below one that is closed to others (a
 * home of root, say) is not. The cluster then lives in a folder of its own under the system's temporary place that
 * outlives a boot. */
static bool others_can_enter(const char *path) {
    char walk[PATH_MAX];
    if (strlen(path) >= sizeof walk)
        return false;
    for (size_t i = 1;; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(walk, path, i);
        walk[i] = '\0';
        struct stat info;
        if (stat(walk, &info) == 0 && (info.st_mode & S_IXOTH) == 0)
            return false;
        if (path[i] == '\0')
            return true;
    }
}

static const char *text_or_null(Str text) {
    return text.p;
}

static Err lock_folder(Ctx *ctx, DevData *data) {
    Str path = arena_printf(ctx->arena, "%s/lock", data->directory);
    if (path.p == NULL)
        return ERR_NO_MEMORY;
    data->lock = open(path.p, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (data->lock < 0)
        return ctx_problem(ctx, ERR_IO, NULL, "cannot open %s: %s", path.p, strerror(errno));
    if (flock(data->lock, LOCK_EX | LOCK_NB) != 0)
        return ctx_problem(ctx, ERR_CONFLICT, NULL,
                           "another `usher dev` runs on %s; stop it, or choose another folder with --data",
                           data->directory);
    return ERR_OK;
}

Err dev_data_open(Ctx *ctx, const char *directory, DevData *ret) {
    DevData data = {.lock = -1};
    TRY(make_folder(ctx, directory, 0755));
    char absolute[PATH_MAX];
    if (realpath(directory, absolute) == NULL)
        return ctx_problem(ctx, ERR_IO, NULL, "%s: %s", directory, strerror(errno));
    data.directory = text_or_null(arena_str(ctx->arena, str_c(absolute)));
    const char *place = data.directory;
    uint64_t hash = 14695981039346656037ULL; /* FNV-1a: the same folder must find its cluster again */
    for (const char *c = absolute; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * 1099511628211ULL;
    Str aside = arena_printf(ctx->arena, "/var/tmp/usher-%016llx", (unsigned long long)hash);
    bool long_path = strlen(absolute) + sizeof "/run" + sizeof SOCKET_NAME > sizeof((struct sockaddr_un *)0)->sun_path;
    if (geteuid() == 0 && !others_can_enter(absolute))
        place = aside.p;
    if (data.directory == NULL || aside.p == NULL)
        return ERR_NO_MEMORY;
    if (place == aside.p || long_path)
        TRY(make_folder(ctx, aside.p, 0755));
    data.cluster = text_or_null(arena_printf(ctx->arena, "%s/postgres", place));
    data.log = text_or_null(arena_printf(ctx->arena, "%s/postgres.log", place));
    data.run = text_or_null(arena_printf(ctx->arena, "%s/run", long_path ? aside.p : place));
    data.url = text_or_null(arena_printf(ctx->arena, "postgresql:///usher?host=%s&user=usher", data.run));
    if (data.cluster == NULL || data.log == NULL || data.run == NULL || data.url == NULL)
        return ERR_NO_MEMORY;
    TRY(make_folder(ctx, data.run, 0755));
    TRY(lock_folder(ctx, &data));
    *ret = data;
    return ERR_OK;
}

Err dev_data_publish(Ctx *ctx, const DevData *data) {
    Str path = arena_printf(ctx->arena, "%s/usher.env", data->directory);
    Str text = arena_printf(ctx->arena, "DATABASE_URL=%s\n", data->url);
    if (path.p == NULL || text.p == NULL)
        return ERR_NO_MEMORY;
    return file_write(ctx, path.p, text);
}

Err dev_data_environment(Ctx *ctx, const char *directory) {
    Str path = arena_printf(ctx->arena, "%s/usher.env", directory);
    Str text;
    if (path.p == NULL)
        return ERR_NO_MEMORY;
    Err err = file_read(ctx, path.p, 64 * 1024, &text);
    if (err == ERR_NOT_FOUND) {
        ctx->problem = (Problem){0};
        return ctx_problem(ctx, ERR_NOT_FOUND, NULL,
                           "there is no development database under %s; `usher dev --data %s` makes one", directory,
                           directory);
    }
    TRY(err);
    Str rest = text;
    while (rest.p != NULL) {
        Str line = str_cut(&rest, '\n');
        Str value = line;
        Str name = str_cut(&value, '=');
        if (!str_eq(name, STR("DATABASE_URL")) || value.p == NULL)
            continue;
        Str copy = arena_str(ctx->arena, value);
        if (copy.p == NULL || setenv("DATABASE_URL", copy.p, 1) != 0)
            return ERR_NO_MEMORY;
        return ERR_OK;
    }
    return ctx_problem(ctx, ERR_SYNTAX, NULL, "%s has no DATABASE_URL; start `usher dev` again", path.p);
}
