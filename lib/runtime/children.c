/*
 * children.c - starting workers, and what follows when one ends.
 *
 * A death is answered by a restart after a back-off that doubles while the deaths go on, and by giving up when they
 * come too fast: a worker that cannot live hides a broken installation behind a busy supervisor. Only our own children
 * are waited for, by pid: the process may have others (the Postgres of `usher dev`).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "runtime/log.h"
#include "runtime/supervisor_impl.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS   5000
#define HEALTHY_MS       10000 /* who lived this long starts with the first back-off again */
#define KILL_GRACE_MS    500   /* workers leave by themselves at the drain deadline; SIGKILL comes this much later */

/* What a child must not keep of its parent's: the signals of the supervisor and the pipes of its siblings. */
static void close_parents(const Supervisor *sv) {
    close(sv->signal_fd);
    for (size_t i = 0; i < sv->n_children; i++)
        if (sv->children[i].ready_fd >= 0)
            close(sv->children[i].ready_fd);
    if (sv->successor.ready_fd >= 0)
        close(sv->successor.ready_fd);
}

static void died(Supervisor *sv, Child *child);

void child_start(Supervisor *sv, Child *child) {
    int fds[2] = {-1, -1};
    child->restart_at_ms = 0;
    child->ready = false;
    child->started_ms = clock_mono_ms();
    pid_t parent = getpid();
    fflush(NULL); /* or the child would write our buffers once more */
    pid_t pid = pipe2(fds, O_CLOEXEC) == 0 ? fork() : -1;
    if (pid == 0) {
        close(fds[0]);
        close_parents(sv);
        WorkerStart start = {.role = child->role,
                             .index = child->index,
                             .settings = sv->options->settings,
                             .drain_ms = sv->options->drain_ms,
                             .confinement = sv->options->confinement,
                             .ready_fd = fds[1],
                             .parent = parent,
                             .mask = sv->mask_before};
        worker_main(&start);
    }
    int error = errno;
    if (fds[1] >= 0)
        close(fds[1]);
    if (pid > 0) {
        child->pid = pid;
        child->ready_fd = fds[0];
        return;
    }
    if (fds[0] >= 0)
        close(fds[0]);
    LOG_E(NULL, "cannot fork", F_C("worker", child->role->name), F_C("why", strerrordesc_np(error)));
    died(sv, child);
}

/* Notes a death; true when it was one too many. */
static bool too_many(Supervisor *sv, const Child *child, int64_t now_ms) {
    Deaths *deaths = &sv->deaths[child->role_at];
    size_t intensity = (size_t)MAX_OF(sv->options->intensity, 1);
    deaths->at_ms[deaths->n++ % intensity] = now_ms;
    if (deaths->n < intensity)
        return false;
    int64_t oldest_ms = deaths->at_ms[deaths->n % intensity];
    return now_ms - oldest_ms < sv->options->period_ms;
}

static void died(Supervisor *sv, Child *child) {
    if (sv->stopping)
        return;
    int64_t now_ms = clock_mono_ms();
    if (too_many(sv, child, now_ms) && !child->role->dispensable) {
        LOG_E(NULL, "giving up: workers of one role die too often", F_C("worker", child->role->name),
              F_INT("deaths", MAX_OF(sv->options->intensity, 1)), F_INT("period_ms", sv->options->period_ms));
        supervisor_stop(sv, 1);
        return;
    }
    if (child->backoff_ms == 0 || now_ms - child->started_ms >= HEALTHY_MS)
        child->backoff_ms = BACKOFF_FIRST_MS;
    child->restart_at_ms = now_ms + child->backoff_ms;
    child->backoff_ms = MIN_OF(child->backoff_ms * 2, BACKOFF_MAX_MS);
}

static void log_end(const Supervisor *sv, const Child *child, int status) {
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        LOG_E(NULL, "worker killed", F_C("worker", child->role->name), F_INT("index", child->index),
              F_INT("worker_pid", child->pid), F_C("signal", name == NULL ? "unknown" : name),
              F_BOOL("core", WCOREDUMP(status) != 0));
        return;
    }
    LogLevel level = sv->stopping && WEXITSTATUS(status) == 0 ? LOG_INFO : LOG_WARN;
    LOG_AT(NULL, level, "worker ended", F_C("worker", child->role->name), F_INT("index", child->index),
           F_INT("worker_pid", child->pid), F_INT("exit", WEXITSTATUS(status)));
}

void children_reap(Supervisor *sv) {
    for (size_t i = 0; i < sv->n_children; i++) {
        Child *child = &sv->children[i];
        int status;
        if (child->pid == 0 || waitpid(child->pid, &status, WNOHANG) != child->pid)
            continue;
        log_end(sv, child, status);
        child->pid = 0;
        child->ready = false;
        if (child->ready_fd >= 0)
            close(child->ready_fd);
        child->ready_fd = -1;
        died(sv, child);
    }
}

void children_signal(const Supervisor *sv, int signo) {
    for (size_t i = 0; i < sv->n_children; i++)
        if (sv->children[i].pid != 0)
            kill(sv->children[i].pid, signo);
}

size_t children_running(const Supervisor *sv) {
    size_t n = 0;
    for (size_t i = 0; i < sv->n_children; i++)
        n += sv->children[i].pid != 0;
    return n;
}

size_t children_ready(const Supervisor *sv) {
    size_t n = 0;
    for (size_t i = 0; i < sv->n_children; i++)
        n += sv->children[i].ready;
    return n;
}

void supervisor_stop(Supervisor *sv, int status) {
    if (sv->stopping)
        return;
    sv->stopping = true;
    sv->status = status;
    sv->kill_at_ms = clock_mono_ms() + sv->options->drain_ms + KILL_GRACE_MS;
    for (size_t i = 0; i < sv->n_children; i++)
        sv->children[i].restart_at_ms = 0;
    /* A stop of ours is not the service's when another usher serves it. */
    bool others = sv->succeeded || handover_has_predecessor();
    if (!others)
        sd_notify_send("STOPPING=1\nSTATUS=draining");
    LOG_I(NULL, "stopping", F_INT("workers", children_running(sv)), F_INT("drain_ms", sv->options->drain_ms));
    children_signal(sv, others ? SIGUSR2 : SIGTERM);
    if (sv->options->stopping != NULL)
        sv->options->stopping(sv->options->settings);
}
