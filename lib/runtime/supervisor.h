/*
 * supervisor.h - one parent that forks single-threaded workers by role and keeps them running.
 *
 * The parent does nothing but watch: it forks, restarts a dead worker with back-off (100 ms doubling to 5 s), gives up
 * when one role dies `intensity` times within `period` (it then stops everything and exits 1: a broken installation
 * should be seen, not hidden), passes SIGTERM/SIGINT on as drain, SIGHUP as reload, and tells systemd (READY,
 * RELOADING, STOPPING, STATUS, WATCHDOG, MAINPID). A worker whose parent dies ends at once (PR_SET_PDEATHSIG). On
 * SIGUSR2 it starts its own program anew, hands over what heirloom.h holds, and drains when the successor serves.
 */
#pragma once
#include "runtime/co.h"
#include "runtime/confine.h"

typedef struct Worker {
    Loop *loop;
    const char *role;
    int index;      /* 0.. within its role */
    void *settings; /* what supervisor_run was given */
    bool draining;
    bool succeeded; /* while draining: a successor serves on our sockets, so nobody needs to be turned away */
} Worker;

/** One kind of worker. start sets things up on worker->loop and returns (the loop runs afterwards); ERR_*: the worker
 *  exits 1. drain (may be NULL) begins to finish: stop accepting, end what idles; it is called while the loop stands
 *  (so it may co_drain), which then runs on until the worker calls worker_drained() or the drain deadline comes. reload
 *  may be NULL. */
typedef struct Role {
    const char *name;
    int count;
    Err (*start)(Worker *worker);
    void (*drain)(Worker *worker);
    Err (*reload)(Worker *worker);
    bool dispensable; /* however often it dies, the others go on: it is restarted with the longest back-off */
} Role;

typedef struct SupervisorOptions {
    const Role *roles; /* ended by name == NULL; count 0 switches a role off */
    void *settings;
    int64_t drain_ms;                 /* how long workers may finish; then SIGKILL */
    int64_t handover_ms;              /* how long a successor may take until it serves; 0: SIGUSR2 is refused */
    const Confinement *confinement;   /* of every worker, before its role's start; NULL: none */
    int intensity;                    /* this many deaths of one role … */
    int64_t period_ms;                /* … within this time, and all is stopped */
    void (*ready)(void *settings);    /* called once in the parent when every worker has started; may be NULL */
    Err (*prepare)(void *settings);   /* called once before the first fork (bind sockets); may be NULL */
    Err (*reload)(void *settings);    /* in the parent on SIGHUP before workers are told; may be NULL */
    void (*stopping)(void *settings); /* in the parent once workers have been told to drain; may be NULL */
} SupervisorOptions;

/** Runs until told to stop. Returns the exit status: 0 drained, 1 could not start, gave up, or had to kill workers that
 *  did not drain in time. The second SIGINT kills at once. */
int supervisor_run(const SupervisorOptions *options);
/** Before anything is bound: takes in what a predecessor or systemd has handed over (heirloom.h). Errors of
 *  heirlooms_inherit. */
MUST_USE Err handover_inherit(void);
/** A predecessor serves until every worker of ours does. */
bool handover_has_predecessor(void);
void worker_drained(Worker *worker);
/** Tells the parent that this worker serves; called by the runtime after start returns ERR_OK and the first turn is
 *  done. */
void worker_ready(Worker *worker);

/** sd_notify(3) without libsystemd: sends to $NOTIFY_SOCKET when set. */
void sd_notify_send(const char *state);
