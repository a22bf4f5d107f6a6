/*
 * ops_settings.c - ROLES, RUN_AS, CONFINE and PIDFILE.
 */
#include "usher/ops_settings.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "runtime/log.h"
#include "usher/files.h"

#define PIDFILE_BYTES 64

Err check_run_as(Ctx *ctx, Str value) {
    Confinement found = {0};
    if (value.n == 0)
        return ERR_OK;
    TRY(confine_find_user(ctx, value, &found));
    if (geteuid() != 0 && (geteuid() != found.uid || getegid() != found.gid))
        return ctx_problem(ctx, ERR_INVALID, NULL, "only root can become another user; unset it, or start as root");
    return ERR_OK;
}

Err ops_confinement(Ctx *ctx, const Settings *settings, Confinement *ret) {
    *ret = (Confinement){.drop = settings->confine, .filter = settings->confine};
    return settings->run_as.n == 0 ? ERR_OK : confine_find_user(ctx, settings->run_as, ret);
}

/* --- PIDFILE ------------------------------------------------------------------------------------------------------ */

static bool write_pid(const char *path) {
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return false;
    bool written = fprintf(file, "%d\n", (int)getpid()) > 0;
    return fclose(file) == 0 && written;
}

/* Beside it and then over it: who reads sees the old pid or the new one, whole. */
void pidfile_write(const Settings *settings) {
    char beside[4096 + 8];
    if (settings->pidfile.n == 0 || settings->pidfile.n > 4096)
        return;
    snprintf(beside, sizeof beside, "%.*s.new", STR_ARG(settings->pidfile));
    if (write_pid(beside) && rename(beside, settings->pidfile.p) == 0)
        return;
    LOG_E(NULL, "cannot write PIDFILE", F_STR("file", settings->pidfile), F_C("why", strerrordesc_np(errno)));
    (void)unlink(beside);
}

void pidfile_remove(const Settings *settings) {
    char bytes[PIDFILE_BYTES];
    if (settings->pidfile.n == 0)
        return;
    FILE *file = fopen(settings->pidfile.p, "re");
    if (file == NULL)
        return;
    size_t n = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    uint64_t pid;
    Str text = {bytes, n};
    if (str_to_u64(str_trim(text, "\n"), INT32_MAX, &pid) == ERR_OK && (pid_t)pid == getpid())
        (void)unlink(settings->pidfile.p);
}

Err check_role_names(Ctx *ctx, Str value) {
    Str rest = value;
    while (rest.p != NULL) {
        Str role = str_trim(str_cut(&rest, ','), " ");
        if (!str_eq_c(role, "http") && !str_eq_c(role, "relay") && !str_eq_c(role, "consume") &&
            !str_eq_c(role, "jobs") && !str_eq_c(role, "gateway"))
            return ctx_problem(ctx, ERR_INVALID, "ROLES",
                               "there is no role \"%.*s\"; roles are http, relay, consume, jobs, gateway",
                               STR_ARG(role));
    }
    return ERR_OK;
}
