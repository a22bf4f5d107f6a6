/*
 * supervisor_impl.h - what supervisor.c, children.c and worker.c know of each other.
 */
#pragma once
#include <signal.h>
#include <sys/types.h>

#include "runtime/supervisor.h"

#define CHILDREN_MAX 1024

/* One place for a worker; the process in it comes and goes. */
typedef struct Child {
    const Role *role;
    size_t role_at; /* index in options->roles */
    int index;
    pid_t pid;    /* 0: none runs */
    int ready_fd; /* becomes readable when the worker serves; -1: it does, or none runs */
    bool ready;
    int64_t started_ms;
    int64_t restart_at_ms; /* 0: not to be started */
    int64_t backoff_ms;
} Child;

/* The times of a role's last deaths, a ring of `intensity` places. */
typedef struct Deaths {
    int64_t *at_ms;
    size_t n;
} Deaths;

/* The program that is to take our place. */
typedef struct Successor {
    pid_t pid;           /* 0: none */
    int ready_fd;        /* becomes readable when it serves, or ends; -1: no more awaited */
    int64_t deadline_ms; /* when it is told to end, and then killed */
} Successor;

typedef struct Supervisor {
    const SupervisorOptions *options;
    Child *children;
    size_t n_children;
    Deaths *deaths; /* one per role */
    size_t n_roles;
    int signal_fd;
    sigset_t mask_before;
    bool announced; /* every worker has been ready once */
    bool stopping;
    int64_t kill_at_ms; /* while stopping */
    int64_t watchdog_ms, watchdog_at_ms;
    int status;
    Successor successor;
    bool succeeded; /* it serves: we only finish */
} Supervisor;

/* children.c */
void child_start(Supervisor *sv, Child *child);
/** Collects those that ended and decides what follows. */
void children_reap(Supervisor *sv);
void children_signal(const Supervisor *sv, int signo);
size_t children_running(const Supervisor *sv);
size_t children_ready(const Supervisor *sv);
/** Tells all to drain. status: what supervisor_run will return. */
void supervisor_stop(Supervisor *sv, int status);

/* handover.c */
/** SIGUSR2: starts a successor, or says why not. */
void handover_begin(Supervisor *sv);
/** Its pipe is readable. */
void handover_take(Supervisor *sv);
void handover_reap(Supervisor *sv);
/** When handover_act_on_time wants to be called; INT64_MAX: not. */
int64_t handover_at_ms(const Supervisor *sv);
void handover_act_on_time(Supervisor *sv, int64_t now_ms);
/** We are told to stop: a successor that does not serve yet is told too. */
void handover_stop(Supervisor *sv);
void handover_done(Supervisor *sv);
/** Every worker of ours serves: our predecessor, if there is one, may go. */
void handover_tell_ready(void);

/* worker.c */
typedef struct WorkerStart {
    const Role *role;
    int index;
    void *settings;
    int64_t drain_ms;
    const Confinement *confinement;
    int ready_fd;
    pid_t parent;
    sigset_t mask; /* of the supervisor's caller */
} WorkerStart;
NORETURN void worker_main(const WorkerStart *start);
