/*
 * process.h - running another program as a child that cannot outlive us, unless it shall.
 *
 * For what the parent of all workers starts beside them (the Postgres of `usher dev`, its own successor); workers
 * themselves are forked by the supervisor. Blocking calls: not for use inside a loop.
 */
#pragma once
#include <sys/types.h>

#include "runtime/ctx.h"

#define PROCESS_FDS_MAX 2056

typedef struct ProcessOptions {
    const char *const *argv; /* argv[0] is looked up in PATH unless it holds a slash; ended by NULL */
    const char *const *envp; /* NULL: ours */
    const char *cwd;         /* NULL: ours */
    bool switch_user;        /* to uid and gid, with no supplementary groups */
    uid_t uid;
    gid_t gid;
    int stdin_fd, stdout_fd, stderr_fd; /* PROCESS_NULL: /dev/null; PROCESS_KEEP: ours; else this descriptor */
    int death_signal;                   /* what the child gets when we die; 0: SIGKILL; PROCESS_OUTLIVES: nothing */
    const int *fds;                     /* become 3, 4, … in the child, as sd_listen_fds(3) has it; … */
    size_t n_fds;                       /* … 0: none, and no LISTEN_ variables */
    const char *fd_names;               /* LISTEN_FDNAMES: with colons between */
    bool new_group;                     /* a process group of its own: Ctrl-C at the terminal does not reach it */
} ProcessOptions;

enum { PROCESS_KEEP = -1, PROCESS_NULL = -2, PROCESS_OUTLIVES = -1 };

/**
 * Starts the program; returns once it runs. Every other descriptor of ours is closed in it, signals are as a new
 * process expects them. A WATCHDOG_PID of ours becomes the child's: it is watched in our place.
 *
 * ERR_NOT_FOUND  no such program, directory or interpreter
 * ERR_REFUSED    not executable, or not allowed to become that user
 * ERR_LIMIT      more than PROCESS_FDS_MAX descriptors
 * ERR_NO_MEMORY, ERR_IO
 */
MUST_USE Err process_spawn(const ProcessOptions *options, pid_t *ret);
/** Waits for the end. *ret_status as of waitpid(2). ERR_TIMEOUT: still runs at deadline_ms (clock_mono_ms(); 0: none).
 *  ERR_NOT_FOUND: no child of ours. */
MUST_USE Err process_wait(pid_t pid, int64_t deadline_ms, int *ret_status);
