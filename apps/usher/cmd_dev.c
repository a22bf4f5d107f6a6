/*
 * cmd_dev.c - `usher dev`: a private Postgres and a serving usher, together from one command.
 *
 * Two children: the Postgres, and a process that serves (its own supervisor and workers). This parent only watches
 * both: a Postgres that dies is started again, which is what a system administrator would do; when serving ends, or we
 * are told to stop, Postgres is stopped last. Both children are tied to our life by the kernel.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/log.h"
#include "usher/app.h"
#include "usher/cmd.h"
#include "usher/dev_data.h"
#include "usher/pgserver.h"

#define POSTGRES_RESTARTS_MAX 100
/* Processes of a postmaster that was killed still end, and hold its shared memory until then. */
#define POSTGRES_ATTEMPTS 50
#define POSTGRES_PAUSE_MS 200

const Option OPTIONS_dev[] = {
    {"listen", OPTION_TEXT, "ADDR:PORT", "where to serve (default: 127.0.0.1:5000)"},
    {"data", OPTION_TEXT, "DIR", "folder of the database (default: var)"},
    {"no-seed", OPTION_FLAG, NULL, "no sample data"},
    {.name = NULL},
};

/* Runs in the serving child once every worker serves; its standard output is ours. */
static void say_ready(void *data) {
    const Settings *settings = data;
    Str rest = settings->listen;
    out_printf("ready");
    while (rest.p != NULL) {
        Str address = str_trim(str_cut(&rest, ','), " ");
        out_printf(" %s%.*s", str_starts_with(address, STR("unix:")) ? "" : "http://", STR_ARG(address));
    }
    out_printf("\n");
    (void)fflush(stdout);
}

static Err prepare_database(Invocation *call, const DevData *data, Settings *settings) {
    Buf report = buf_new(call->ctx->arena, 1024 * 1024);
    TRY(pgserver_create_database(call->ctx, data));
    Err err = app_migrate_up(call->ctx, settings, &report);
    out_str(buf_str(&report));
    TRY(err);
    if (!option_flag(call, "no-seed")) {
        buf_clear(&report);
        TRY(app_seed(call->ctx, settings, &report));
        out_str(buf_str(&report));
    }
    (void)fflush(stdout);
    return ERR_OK;
}

static pid_t start_serving(Settings *settings) {
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    /* A terminal's interrupt goes to a whole process group, and we hand it on: it must not come twice, the second time
     * would end the workers in the middle of their requests. */
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    _exit(serve_run(settings, say_ready));
}

/* What the parent watches. */
typedef struct Dev {
    Ctx *ctx;
    const DevData *data;
    pid_t postgres, serving;
    int restarts, status;
    bool stopping;
} Dev;

static Err start_postgres_again(Dev *dev) {
    Err err = ERR_IO;
    for (int i = 0; i < POSTGRES_ATTEMPTS && err == ERR_IO; i++) {
        if (i > 0)
            clock_sleep_ms(POSTGRES_PAUSE_MS);
        dev->ctx->problem = (Problem){0};
        err = pgserver_start(dev->ctx, dev->data, &dev->postgres);
    }
    return err;
}

static void postgres_died(Dev *dev, int status) {
    dev->postgres = 0;
    if (dev->stopping)
        return;
    LOG_W(NULL, "postgres ended; starting it again", F_INT("status", status));
    if (dev->restarts++ < POSTGRES_RESTARTS_MAX && start_postgres_again(dev) == ERR_OK)
        return;
    LOG_E(NULL, "postgres cannot be started again; ending", F_STR("why", dev->ctx->problem.message),
          F_C("log", dev->data->log));
    dev->status = 1;
    dev->stopping = true;
    (void)kill(dev->serving, SIGTERM);
}

static void reap(Dev *dev) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == dev->postgres) {
            postgres_died(dev, status);
        } else if (pid == dev->serving) {
            dev->serving = 0;
            if (dev->status == 0)
                dev->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        }
    }
}

static int watch(Dev *dev, const sigset_t *signals) {
    while (dev->serving != 0) {
        siginfo_t info;
        int got = sigwaitinfo(signals, &info);
        if (got == SIGCHLD) {
            reap(dev);
        } else if (got == SIGHUP || got == SIGUSR2) { /* the second is refused there, in words */
            (void)kill(dev->serving, got);
        } else if (got > 0) {
            dev->stopping = true;
            (void)kill(dev->serving, got);
        }
    }
    dev->stopping = true;
    if (dev->postgres != 0)
        pgserver_stop(dev->postgres);
    return dev->status;
}

static bool dev_settings(Invocation *call, const DevData *data, Settings *settings, int *status) {
    const char *listen = option_text(call, "listen");
    static const char *const own[] = {"EVENTS_DATABASE_URL", "USERS_DATABASE_URL", "TICKETS_DATABASE_URL",
                                      "BUS_DATABASE_URL"};
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        (void)unsetenv(own[i]);
    if (setenv("DATABASE_URL", data->url, 1) != 0 || (listen != NULL && setenv("LISTEN", listen, 1) != 0)) {
        *status = cli_fail(call->ctx, 2, "dev");
        return false;
    }
    return cli_settings(call, settings, status);
}

int cmd_dev(Invocation *call) {
    Settings settings;
    DevData data;
    int status;
    const char *directory = option_text(call, "data") == NULL ? "var" : option_text(call, "data");
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGCHLD);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGHUP);
    (void)sigaddset(&signals, SIGUSR2);
    if (dev_data_open(call->ctx, directory, &data) != ERR_OK)
        return cli_fail(call->ctx, 2, "dev");
    if (!dev_settings(call, &data, &settings, &status))
        return status;
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    Dev dev = {.ctx = call->ctx, .data = &data};
    if (pgserver_init(call->ctx, &data) != ERR_OK || pgserver_start(call->ctx, &data, &dev.postgres) != ERR_OK)
        return cli_fail(call->ctx, 2, "dev");
    if (dev_data_publish(call->ctx, &data) != ERR_OK || prepare_database(call, &data, &settings) != ERR_OK) {
        status = cli_fail(call->ctx, 2, "dev");
        pgserver_stop(dev.postgres);
        return status;
    }
    (void)fflush(NULL);
    dev.serving = start_serving(&settings);
    if (dev.serving < 0) {
        pgserver_stop(dev.postgres);
        return cli_fail(call->ctx, 2, "dev");
    }
    return watch(&dev, &signals);
}
