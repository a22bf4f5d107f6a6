/*
 * shadow_write_process.c - a child of the command that serves trials (trial_server.h) on a loopback socket, and asking
 * it.
 */
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "http/client.h"
#include "usher/shadow_write.h"
#include "usher/trial_server.h"

#define ASK_MS 20000
/* A process that is being killed closes its connections some time before it can be waited for. */
#define DEATH_MS    300
#define DEATH_LOOKS 30

static Err serve(const Settings *settings, int fd) {
    TrialServerOptions options = {.settings = settings, .fds = &fd, .n_fds = 1, .askers = 1};
    TRY(loop_new(&options.loop));
    TRY(trial_server_start(&options));
    loop_run(options.loop);
    return ERR_OK;
}

Err trial_process_start(Ctx *ctx, const Settings *settings, TrialProcess *ret) {
    int fd;
    Str why;
    struct sockaddr_in address = {0};
    socklen_t n = sizeof address;
    if (http_listen_socket(STR("127.0.0.1:0"), &fd, &why, ctx->arena) != ERR_OK)
        return ctx_problem(ctx, ERR_IO, NULL, "no socket for trials: %.*s", STR_ARG(why));
    pid_t parent = getpid(), pid = -1;
    if (getsockname(fd, (struct sockaddr *)&address, &n) == 0)
        pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing here can be left half done */
        if (getppid() != parent)
            _exit(1);
        _exit(serve(settings, fd) == ERR_OK ? 0 : 1);
    }
    (void)close(fd);
    if (pid < 0)
        return ctx_problem(ctx, ERR_IO, NULL, "no process for trials can be started");
    *ret = (TrialProcess){.pid = pid, .port = ntohs(address.sin_port)};
    return ERR_OK;
}

bool trial_process_lives(TrialProcess *process) {
    for (int i = 0; process->pid > 0 && i < DEATH_LOOKS; i++) {
        if (waitpid(process->pid, NULL, WNOHANG) != 0)
            process->pid = 0;
        else
            clock_sleep_ms(DEATH_MS / DEATH_LOOKS);
    }
    return process->pid > 0;
}

void trial_process_stop(TrialProcess *process) {
    if (process->pid <= 0)
        return;
    (void)kill(process->pid, SIGKILL);
    (void)waitpid(process->pid, NULL, 0);
    process->pid = 0;
}

Err trial_process_ask(Arena *arena, const TrialProcess *process, Str bytes, TrialAnswer *ret) {
    HttpAnswer got = {0};
    HttpTarget target = {.host = "127.0.0.1", .port = process->port};
    TRY(http_client_exchange(arena, &target, bytes, false, ASK_MS, &got));
    return trial_answer_read(arena, &got, ret);
}
