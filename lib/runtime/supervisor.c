/*
 * supervisor.c - the parent of all workers: signals in, processes out.
 *
 * No libuv here: the parent waits in one poll(2) over a signalfd and the pipes of workers that are not ready yet. It
 * touches no socket and no database, so that there is as little as possible in it that could fail; what a worker
 * inherits from it by fork is a process without loop, threads or handlers.
 */
#include "runtime/supervisor.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/heap.h"
#include "runtime/log.h"
#include "runtime/supervisor_impl.h"

/* --- telling systemd --------------------------------------------------------------------------------------------- */

static void notify_status(const Supervisor *sv, const char *before) {
    char state[160];
    snprintf(state, sizeof state, "%sSTATUS=%zu of %zu workers serve", before, children_ready(sv), sv->n_children);
    sd_notify_send(state);
}

/* sd_watchdog_enabled(3): half the interval is the time between pings. */
static int64_t watchdog_interval_ms(void) {
    const char *usec = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    uint64_t interval_us;
    uint64_t whom;
    if (usec == NULL || str_to_u64(str_c(usec), INT64_MAX, &interval_us) != ERR_OK || interval_us == 0)
        return 0;
    if (pid != NULL && (str_to_u64(str_c(pid), INT32_MAX, &whom) != ERR_OK || (pid_t)whom != getpid()))
        return 0;
    return MAX_OF((int64_t)(interval_us / 2000), 1);
}

/* --- events ------------------------------------------------------------------------------------------------------ */

static void reload(Supervisor *sv) {
    if (sv->stopping)
        return;
    char state[96];
    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_mono_ns() / 1000);
    sd_notify_send(state);
    Err err = sv->options->reload == NULL ? ERR_OK : sv->options->reload(sv->options->settings);
    if (err == ERR_OK)
        children_signal(sv, SIGHUP);
    else
        LOG_E(NULL, "reload failed; everything stays as it was", F_ERR(err));
    notify_status(sv, "READY=1\n");
}

static void kill_all(Supervisor *sv, const char *why) {
    LOG_W(NULL, "killing workers", F_C("why", why), F_INT("workers", children_running(sv)));
    sv->status = 1;
    sv->kill_at_ms = INT64_MAX;
    children_signal(sv, SIGKILL);
}

static void take_signal(Supervisor *sv, int signo) {
    switch (signo) {
    case SIGINT:
        if (sv->stopping) {
            kill_all(sv, "second interrupt");
            break;
        }
        handover_stop(sv);
        supervisor_stop(sv, 0);
        break;
    case SIGTERM:
        handover_stop(sv);
        supervisor_stop(sv, 0);
        break;
    case SIGHUP:
        reload(sv);
        break;
    case SIGUSR2:
        handover_begin(sv);
        break;
    case SIGCHLD:
        children_reap(sv);
        handover_reap(sv);
        break;
    default:
        break;
    }
}

static void take_signals(Supervisor *sv) {
    struct signalfd_siginfo info;
    while (read(sv->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        take_signal(sv, (int)info.ssi_signo);
}

static void take_ready(Supervisor *sv, Child *child) {
    char byte;
    ssize_t n = read(child->ready_fd, &byte, 1);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    close(child->ready_fd);
    child->ready_fd = -1;
    if (n != 1)
        return; /* it died: SIGCHLD tells */
    child->ready = true;
    LOG_I(NULL, "worker ready", F_C("worker", child->role->name), F_INT("index", child->index),
          F_INT("worker_pid", child->pid));
    if (sv->announced) {
        notify_status(sv, "");
        return;
    }
    if (children_ready(sv) < sv->n_children || sv->stopping)
        return;
    sv->announced = true;
    notify_status(sv, "READY=1\n");
    handover_tell_ready();
    if (sv->options->ready != NULL)
        sv->options->ready(sv->options->settings);
}

static void act_on_time(Supervisor *sv) {
    int64_t now_ms = clock_mono_ms();
    for (size_t i = 0; i < sv->n_children && !sv->stopping; i++)
        if (sv->children[i].restart_at_ms != 0 && sv->children[i].restart_at_ms <= now_ms)
            child_start(sv, &sv->children[i]);
    if (sv->stopping && sv->kill_at_ms <= now_ms)
        kill_all(sv, "drain deadline");
    if (sv->watchdog_ms > 0 && sv->watchdog_at_ms <= now_ms) {
        sd_notify_send("WATCHDOG=1");
        sv->watchdog_at_ms = now_ms + sv->watchdog_ms;
    }
    handover_act_on_time(sv, now_ms);
}

static int time_to_wait(const Supervisor *sv) {
    int64_t at_ms = sv->stopping ? sv->kill_at_ms : INT64_MAX;
    for (size_t i = 0; i < sv->n_children; i++)
        if (sv->children[i].restart_at_ms != 0)
            at_ms = MIN_OF(at_ms, sv->children[i].restart_at_ms);
    if (sv->watchdog_ms > 0)
        at_ms = MIN_OF(at_ms, sv->watchdog_at_ms);
    at_ms = MIN_OF(at_ms, handover_at_ms(sv));
    if (at_ms == INT64_MAX)
        return -1;
    int64_t left_ms = at_ms - clock_mono_ms();
    return left_ms < 0 ? 0 : (int)MIN_OF(left_ms, (int64_t)INT32_MAX);
}

static void wait_once(Supervisor *sv, struct pollfd *fds) {
    nfds_t n = 0;
    fds[n++] = (struct pollfd){.fd = sv->signal_fd, .events = POLLIN};
    for (size_t i = 0; i < sv->n_children; i++) /* poll skips those at -1 */
        fds[n++] = (struct pollfd){.fd = sv->children[i].ready_fd, .events = POLLIN};
    fds[n++] = (struct pollfd){.fd = sv->successor.ready_fd, .events = POLLIN};
    if (poll(fds, n, time_to_wait(sv)) < 0)
        return;
    for (size_t i = 0; i < sv->n_children; i++)
        if (fds[i + 1].revents != 0)
            take_ready(sv, &sv->children[i]);
    if (fds[n - 1].revents != 0)
        handover_take(sv);
    if (fds[0].revents != 0)
        take_signals(sv);
}

/* --- beginning and end ------------------------------------------------------------------------------------------- */

static Err make_children(Supervisor *sv) {
    const Role *roles = sv->options->roles;
    size_t n = 0;
    for (; roles[sv->n_roles].name != NULL; sv->n_roles++)
        n += (size_t)MAX_OF(roles[sv->n_roles].count, 0);
    if (n == 0 || n > CHILDREN_MAX)
        return ERR_LIMIT;
    sv->children = HEAP_ARRAY(Child, n);
    sv->deaths = HEAP_ARRAY(Deaths, sv->n_roles);
    if (sv->children == NULL || sv->deaths == NULL)
        return ERR_NO_MEMORY;
    for (size_t r = 0; r < sv->n_roles; r++) {
        sv->deaths[r].at_ms = HEAP_ARRAY(int64_t, (size_t)MAX_OF(sv->options->intensity, 1));
        if (sv->deaths[r].at_ms == NULL)
            return ERR_NO_MEMORY;
        for (int i = 0; i < roles[r].count; i++)
            sv->children[sv->n_children++] = (Child){.role = &roles[r], .role_at = r, .index = i, .ready_fd = -1};
    }
    return ERR_OK;
}

/* Signals are blocked from here on and read from a descriptor; what comes before the first poll waits there. */
static Err catch_signals(Supervisor *sv) {
    sigset_t mask;
    sigemptyset(&mask);
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2, SIGCHLD};
    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        sigaddset(&mask, signals[i]);
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would reap our children behind our back */
    if (sigprocmask(SIG_BLOCK, &mask, &sv->mask_before) != 0)
        return ERR_IO;
    sv->signal_fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
    return sv->signal_fd < 0 ? ERR_IO : ERR_OK;
}

static void supervisor_done(Supervisor *sv) {
    if (sv->signal_fd >= 0) {
        struct signalfd_siginfo info;
        while (read(sv->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
            ; /* a second SIGTERM must not strike when the mask is lifted: the caller has things to put away */
        close(sv->signal_fd);
        sigprocmask(SIG_SETMASK, &sv->mask_before, NULL);
    }
    for (size_t r = 0; sv->deaths != NULL && r < sv->n_roles; r++)
        heap_free(sv->deaths[r].at_ms);
    heap_free(sv->deaths);
    heap_free(sv->children);
}

static Err begin(Supervisor *sv, struct pollfd **ret_fds) {
    TRY(make_children(sv));
    struct pollfd *fds = HEAP_ARRAY(struct pollfd, sv->n_children + 2);
    if (fds == NULL)
        return ERR_NO_MEMORY;
    *ret_fds = fds;
    TRY(catch_signals(sv));
    return sv->options->prepare == NULL ? ERR_OK : sv->options->prepare(sv->options->settings);
}

int supervisor_run(const SupervisorOptions *options) {
    Supervisor sv = {.options = options, .signal_fd = -1, .successor = {.ready_fd = -1}};
    struct pollfd *fds = NULL;
    Err err = begin(&sv, &fds);
    if (err == ERR_OK) {
        sv.watchdog_ms = watchdog_interval_ms();
        for (size_t i = 0; i < sv.n_children && !sv.stopping; i++)
            child_start(&sv, &sv.children[i]);
        while (!sv.stopping || children_running(&sv) > 0) {
            wait_once(&sv, fds);
            act_on_time(&sv);
        }
        LOG_I(NULL, "stopped", F_INT("exit", sv.status));
    } else {
        LOG_E(NULL, "cannot start", F_ERR(err));
        sv.status = 1;
    }
    heap_free(fds);
    handover_done(&sv);
    supervisor_done(&sv);
    return sv.status;
}
