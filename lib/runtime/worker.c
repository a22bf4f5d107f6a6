/*
 * worker.c - the life of one worker process, from fork to exit.
 *
 * Signals stay blocked until their handlers stand, so that a SIGTERM during start is not lost. A drain runs outside of
 * the loop: SIGTERM stops the loop, the role's drain is called, and the loop runs on until worker_drained or the
 * deadline; that is why a role may call co_drain there. SIGUSR2 is a SIGTERM that says: another usher serves. SIGINT is
 * ignored: a Ctrl-C reaches the whole terminal group, but it is the parent's to pass on.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "runtime/log.h"
#include "runtime/supervisor_impl.h"

#define LAST_CANCEL_MS 250 /* for what still runs after the drain */

/* A process is one worker. */
static struct {
    Worker worker;
    const Role *role;
    int ready_fd;
    bool drained;
    uv_signal_t term, hup, succeed;
    Timer first_turn, deadline;
} self;

void worker_ready(Worker *worker) {
    (void)worker;
    if (self.ready_fd < 0)
        return;
    ssize_t n = write(self.ready_fd, "R", 1);
    (void)n; /* a parent that cannot read it is dead, and PR_SET_PDEATHSIG is on its way */
    close(self.ready_fd);
    self.ready_fd = -1;
}

void worker_drained(Worker *worker) {
    self.drained = true;
    loop_stop(worker->loop);
}

static void on_term(uv_signal_t *handle, int signo) {
    (void)handle;
    (void)signo;
    if (self.worker.draining)
        return;
    self.worker.draining = true;
    loop_stop(self.worker.loop);
}

static void on_succeed(uv_signal_t *handle, int signo) {
    self.worker.succeeded = true;
    on_term(handle, signo);
}

static void on_hup(uv_signal_t *handle, int signo) {
    (void)handle;
    (void)signo;
    if (self.role->reload == NULL || self.worker.draining)
        return;
    Err err = self.role->reload(&self.worker);
    if (err != ERR_OK)
        LOG_E(NULL, "reload failed", F_ERR(err));
}

static void on_first_turn(Timer *timer) {
    (void)timer;
    worker_ready(&self.worker);
}

static void on_deadline(Timer *timer) {
    (void)timer;
    loop_stop(self.worker.loop);
}

static void die_with_parent(pid_t parent) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(1); /* it died before prctl */
}

/* What ps and top show: "usher:http". The kernel keeps 15 bytes (prctl(2)). */
static void name_process(const char *role) {
    char name[16];
    (void)snprintf(name, sizeof name, "usher:%s", role);
    (void)prctl(PR_SET_NAME, name);
}

static Err catch_signals(const sigset_t *mask) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    uv_loop_t *uv = loop_uv(self.worker.loop);
    if (uv_signal_init(uv, &self.term) != 0 || uv_signal_init(uv, &self.hup) != 0 ||
        uv_signal_init(uv, &self.succeed) != 0 || uv_signal_start(&self.term, on_term, SIGTERM) != 0 ||
        uv_signal_start(&self.hup, on_hup, SIGHUP) != 0 || uv_signal_start(&self.succeed, on_succeed, SIGUSR2) != 0)
        return ERR_IO;
    sigset_t wanted = *mask;
    sigdelset(&wanted, SIGTERM);
    sigdelset(&wanted, SIGHUP);
    sigdelset(&wanted, SIGUSR2);
    sigprocmask(SIG_SETMASK, &wanted, NULL);
    return ERR_OK;
}

static Err start(const WorkerStart *start_info) {
    name_process(start_info->role->name);
    if (start_info->confinement != NULL) {
        TRY(confine(start_info->confinement));
        die_with_parent(start_info->parent); /* a change of user has cleared it, prctl(2) */
    }
    TRY(loop_new(&self.worker.loop));
    TRY(start_info->role->start(&self.worker));
    self.first_turn.fn = on_first_turn;
    TRY(timer_arm(self.worker.loop, &self.first_turn, clock_mono_ms()));
    return catch_signals(&start_info->mask);
}

static void drain(int64_t drain_ms) {
    Loop *loop = self.worker.loop;
    LOG_I(NULL, "worker drains");
    self.deadline.fn = on_deadline;
    if (timer_arm(loop, &self.deadline, clock_mono_ms() + drain_ms) != ERR_OK || self.role->drain == NULL)
        return;
    self.role->drain(&self.worker);
    if (!self.drained)
        loop_run(loop);
    if (!self.drained)
        LOG_W(NULL, "drain deadline passed", F_INT("coroutines", co_stats(loop).live));
}

NORETURN void worker_main(const WorkerStart *start_info) {
    die_with_parent(start_info->parent);
    log_set_role(start_info->role->name);
    self.role = start_info->role;
    self.ready_fd = start_info->ready_fd;
    self.worker =
        (Worker){.role = start_info->role->name, .index = start_info->index, .settings = start_info->settings};
    Err err = start(start_info);
    if (err != ERR_OK) {
        LOG_E(NULL, "worker cannot start", F_INT("index", start_info->index), F_ERR(err));
        exit(EXIT_FAILURE);
    }
    loop_run(self.worker.loop);
    if (self.worker.draining && !self.drained)
        drain(start_info->drain_ms);
    bool asked = self.worker.draining || self.drained;
    if (!asked)
        LOG_E(NULL, "worker's loop ended unasked");
    if (co_drain(self.worker.loop, clock_mono_ms() + LAST_CANCEL_MS) != ERR_OK)
        LOG_W(NULL, "coroutines did not end", F_INT("coroutines", co_stats(self.worker.loop).live));
    /* The loop is not freed: its handles belong to others, and the process ends here. */
    exit(asked ? EXIT_SUCCESS : EXIT_FAILURE);
}
