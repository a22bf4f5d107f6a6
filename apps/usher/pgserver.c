/*
 * pgserver.c - a private Postgres, from initdb to shutdown.
 */
#include "usher/pgserver.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pg/pg.h"
#include "runtime/log.h"
#include "runtime/process.h"
#include "usher/files.h"

#define INITDB_LIMIT_MS 120000
#define START_LIMIT_MS  60000
#define STOP_LIMIT_MS   10000
#define POLL_MS         20

/* Durable defaults; sized so that a development machine does not notice it. */
static const char CONFIGURATION[] = "\n# usher dev\n"
                                    "listen_addresses = ''\n"
                                    "unix_socket_permissions = 0700\n"
                                    "max_connections = 100\n"
                                    "shared_buffers = 128MB\n"
                                    "timezone = 'UTC'\n"
                                    "log_timezone = 'UTC'\n";

static Err no_postgres(Ctx *ctx) {
    return ctx_problem(ctx, ERR_NOT_FOUND, NULL,
                       "no Postgres binaries found; apt-get install postgresql, or set USHER_PG_BIN to their folder");
}

/* The newest installed version's folder, as Debian lays them out, unless USHER_PG_BIN says. */
static Err find_binary(Ctx *ctx, const char *name, const char **ret) {
    const char *own = getenv("USHER_PG_BIN");
    glob_t found CLEANUP(globfree) = {0};
    const char *folder = own;
    if (own == NULL && glob("/usr/lib/postgresql/[0-9]*/bin", 0, NULL, &found) == 0) {
        long newest = 0;
        for (size_t i = 0; i < found.gl_pathc; i++) {
            long version = strtol(found.gl_pathv[i] + sizeof "/usr/lib/postgresql/" - 1, NULL, 10);
            if (version > newest) {
                newest = version;
                folder = found.gl_pathv[i];
            }
        }
    }
    if (folder == NULL)
        return no_postgres(ctx);
    Str path = arena_printf(ctx->arena, "%s/%s", folder, name);
    if (path.p == NULL)
        return ERR_NO_MEMORY;
    if (access(path.p, X_OK) != 0)
        return no_postgres(ctx);
    *ret = path.p;
    return ERR_OK;
}

/* Postgres refuses to run as root: then as the account of its package. */
static Err choose_account(Ctx *ctx, ProcessOptions *options) {
    if (geteuid() != 0)
        return ERR_OK;
    const char *name = getenv("USHER_PG_USER") == NULL ? "postgres" : getenv("USHER_PG_USER");
    const struct passwd *account = getpwnam(name);
    if (account == NULL)
        return ctx_problem(
            ctx, ERR_NOT_FOUND, NULL,
            "Postgres does not run as root, and there is no user \"%s\"; set USHER_PG_USER to one, or start "
            "usher as another user",
            name);
    options->switch_user = true;
    options->uid = account->pw_uid;
    options->gid = account->pw_gid;
    return ERR_OK;
}

static Err own_folder(Ctx *ctx, const char *path, const ProcessOptions *options, mode_t mode) {
    if (mkdir(path, mode) != 0 && errno != EEXIST)
        return ctx_problem(ctx, ERR_IO, NULL, "cannot make the folder %s: %s", path, strerror(errno));
    if (options->switch_user && chown(path, options->uid, options->gid) != 0)
        return ctx_problem(ctx, ERR_IO, NULL, "cannot give %s to another user: %s", path, strerror(errno));
    return ERR_OK;
}

static Err open_log(Ctx *ctx, const DevData *data, int *ret) {
    *ret = open(data->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (*ret < 0)
        return ctx_problem(ctx, ERR_IO, NULL, "cannot open %s: %s", data->log, strerror(errno));
    return ERR_OK;
}

static void close_fd(int *fd) {
    if (*fd >= 0)
        (void)close(*fd);
}

static Err run_initdb(Ctx *ctx, const DevData *data, ProcessOptions *options) {
    const char *initdb;
    pid_t pid;
    int status;
    TRY(find_binary(ctx, "initdb", &initdb));
    const char *const argv[] = {initdb, "-D",         data->cluster,       "-U", "usher", "-A", "trust", "-E",
                                "UTF8", "--locale=C", "--no-instructions", NULL};
    options->argv = argv;
    Err err = process_spawn(options, &pid);
    options->argv = NULL;
    TRY(err);
    err = process_wait(pid, clock_mono_ms() + INITDB_LIMIT_MS, &status);
    if (err != ERR_OK || status != 0)
        return ctx_problem(ctx, ERR_IO, NULL, "initdb failed; see %s", data->log);
    return ERR_OK;
}

static Err append_configuration(Ctx *ctx, const char *cluster) {
    Str path = arena_printf(ctx->arena, "%s/postgresql.conf", cluster);
    if (path.p == NULL)
        return ERR_NO_MEMORY;
    int fd CLEANUP(close_fd) = open(path.p, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0 || write(fd, CONFIGURATION, sizeof CONFIGURATION - 1) != (ssize_t)sizeof CONFIGURATION - 1)
        return ctx_problem(ctx, ERR_IO, NULL, "cannot write %s: %s", path.p, strerror(errno));
    return ERR_OK;
}

/* A cluster is whole once it has the marker; one that an earlier run left half-made is refused, never deleted by us. */
Err pgserver_init(Ctx *ctx, const DevData *data) {
    ProcessOptions options = {.cwd = "/", .stdin_fd = PROCESS_NULL, .new_group = true};
    Str marker = arena_printf(ctx->arena, "%s/usher-made-this", data->cluster);
    if (marker.p == NULL)
        return ERR_NO_MEMORY;
    if (access(marker.p, F_OK) == 0)
        return ERR_OK;
    Str version = arena_printf(ctx->arena, "%s/PG_VERSION", data->cluster);
    if (version.p == NULL)
        return ERR_NO_MEMORY;
    if (access(version.p, F_OK) == 0)
        return ctx_problem(ctx, ERR_CONFLICT, NULL,
                           "%s was left half-made by a run that was interrupted; remove that folder", data->cluster);
    TRY(choose_account(ctx, &options));
    TRY(own_folder(ctx, data->cluster, &options, 0700));
    int log CLEANUP(close_fd) = -1;
    TRY(open_log(ctx, data, &log));
    options.stdout_fd = options.stderr_fd = log;
    TRY(run_initdb(ctx, data, &options));
    TRY(append_configuration(ctx, data->cluster));
    return file_write(ctx, marker.p, STR("usher dev\n"));
}

static bool answers(Ctx *ctx, const DevData *data) {
    PGconn *conn;
    Str url = arena_printf(ctx->arena, "postgresql:///postgres?host=%s&user=usher&connect_timeout=2", data->run);
    bool up = url.p != NULL && pg_sync_connect(ctx, url, (Str){NULL, 0}, &conn) == ERR_OK;
    if (up)
        PQfinish(conn);
    ctx->problem = (Problem){0};
    return up;
}

static Err wait_until_up(Ctx *ctx, const DevData *data, pid_t pid) {
    int64_t deadline = clock_mono_ms() + START_LIMIT_MS;
    while (!answers(ctx, data)) {
        int status;
        if (process_wait(pid, clock_mono_ms() + 1, &status) != ERR_TIMEOUT)
            return ctx_problem(ctx, ERR_IO, NULL, "Postgres ended at once; see %s", data->log);
        if (clock_mono_ms() > deadline)
            return ctx_problem(ctx, ERR_TIMEOUT, NULL, "Postgres did not answer within %d s; see %s",
                               START_LIMIT_MS / 1000, data->log);
        clock_sleep_ms(POLL_MS);
    }
    return ERR_OK;
}

/* Started as root: workers have given up the right to pass over permissions (confine.h), so their group, which nobody
 * else is in, gets to the socket. */
static Err let_us_in(Ctx *ctx, const DevData *data) {
    Str socket = arena_printf(ctx->arena, "%s/.s.PGSQL.5432", data->run);
    if (socket.p == NULL)
        return ERR_NO_MEMORY;
    if (chown(data->run, (uid_t)-1, getegid()) != 0 || chmod(data->run, 0710) != 0 ||
        chown(socket.p, (uid_t)-1, getegid()) != 0 || chmod(socket.p, 0770) != 0)
        return ctx_problem(ctx, ERR_IO, NULL, "cannot change who may use %s: %s", socket.p, strerror(errno));
    return ERR_OK;
}

Err pgserver_start(Ctx *ctx, const DevData *data, pid_t *ret_pid) {
    const char *postgres = NULL;
    ProcessOptions options = {.cwd = "/", .stdin_fd = PROCESS_NULL, .death_signal = SIGQUIT, .new_group = true};
    TRY(find_binary(ctx, "postgres", &postgres));
    TRY(choose_account(ctx, &options));
    TRY(own_folder(ctx, data->run, &options, 0700));
    int log CLEANUP(close_fd) = -1;
    TRY(open_log(ctx, data, &log));
    const char *const argv[] = {postgres, "-D", data->cluster, "-k", data->run, NULL};
    options.argv = argv;
    options.stdout_fd = options.stderr_fd = log;
    pid_t pid;
    if (process_spawn(&options, &pid) != ERR_OK)
        return ctx_problem(ctx, ERR_IO, NULL, "cannot start %s: %s", postgres, strerror(errno));
    Err err = wait_until_up(ctx, data, pid);
    if (err == ERR_OK && options.switch_user)
        err = let_us_in(ctx, data);
    if (err != ERR_OK) {
        pgserver_stop(pid);
        return err;
    }
    *ret_pid = pid;
    return ERR_OK;
}

Err pgserver_create_database(Ctx *ctx, const DevData *data) {
    PGconn *conn;
    PGresult *result = NULL;
    Str url = arena_printf(ctx->arena, "postgresql:///postgres?host=%s&user=usher", data->run);
    if (url.p == NULL)
        return ERR_NO_MEMORY;
    TRY(pg_sync_connect(ctx, url, (Str){NULL, 0}, &conn));
    Err err = pg_sync_exec(ctx, conn, "SELECT FROM pg_database WHERE datname = 'usher'", &result);
    bool missing = err == ERR_OK && PQntuples(result) == 0;
    PQclear(result);
    if (missing)
        err = pg_sync_exec(ctx, conn, "CREATE DATABASE usher", NULL);
    PQfinish(conn);
    return err;
}

void pgserver_stop(pid_t pid) {
    int status;
    (void)kill(pid, SIGINT); /* fast shutdown: sessions are ended, everything is written */
    if (process_wait(pid, clock_mono_ms() + STOP_LIMIT_MS, &status) != ERR_TIMEOUT)
        return;
    (void)kill(pid, SIGQUIT);
    if (process_wait(pid, 0, &status) != ERR_OK)
        LOG_W(NULL, "postgres could not be waited for");
}
