/*
 * process.c - fork, exec, and the truth about whether it worked.
 *
 * exec's failure is known only in the child; it comes back through a pipe that closes itself when exec succeeds.
 * posix_spawn would be shorter, but can neither change the user nor set PR_SET_PDEATHSIG, which must come after the
 * change of user (the kernel clears it there, prctl(2)).
 */
#include "runtime/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int lifted_fds[PROCESS_FDS_MAX]; /* the child's */

static Err err_of(int error) {
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
    case ENOEXEC:
        return ERR_REFUSED;
    case ENOMEM:
    case EAGAIN:
        return ERR_NO_MEMORY;
    default:
        return ERR_IO;
    }
}

static bool redirect(int wanted, int target) {
    if (wanted == PROCESS_KEEP)
        return true;
    if (wanted == PROCESS_NULL) {
        int null_fd = open("/dev/null", O_RDWR);
        if (null_fd < 0)
            return false;
        bool done = dup2(null_fd, target) == target;
        if (null_fd != target)
            close(null_fd);
        return done;
    }
    return dup2(wanted, target) == target;
}

/* Moves a descriptor above the three standard ones, so that redirecting them cannot overwrite it. */
static int lift(int fd) {
    return fd < 0 || fd > STDERR_FILENO ? fd : fcntl(fd, F_DUPFD, STDERR_FILENO + 1);
}

static bool redirect_all(const ProcessOptions *options) {
    int in = lift(options->stdin_fd);
    int out = lift(options->stdout_fd);
    int err = lift(options->stderr_fd);
    return redirect(in, STDIN_FILENO) && redirect(out, STDOUT_FILENO) && redirect(err, STDERR_FILENO);
}

static bool become(const ProcessOptions *options) {
    if (!options->switch_user)
        return true;
    if (geteuid() == 0 && setgroups(0, NULL) != 0)
        return false;
    return setresgid(options->gid, options->gid, options->gid) == 0 &&
           setresuid(options->uid, options->uid, options->uid) == 0;
}

static void reset_signals(void) {
    for (int signo = 1; signo < NSIG; signo++)
        signal(signo, SIG_DFL); /* KILL and STOP refuse, which is as well */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* First away from the places they will have, so that none is overwritten before its turn. */
static bool place_fds(const ProcessOptions *options) {
    int first = STDERR_FILENO + 1, behind = first + (int)options->n_fds;
    for (size_t i = 0; i < options->n_fds; i++) {
        int lifted = fcntl(options->fds[i], F_DUPFD_CLOEXEC, behind + (int)i);
        if (lifted < 0)
            return false;
        lifted_fds[i] = lifted;
    }
    for (size_t i = 0; i < options->n_fds; i++)
        if (dup2(lifted_fds[i], first + (int)i) < 0)
            return false;
    return true;
}

/* Variables that name a process name the child. */
static bool name_pid(const ProcessOptions *options) {
    char pid[16], count[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    snprintf(count, sizeof count, "%zu", options->n_fds);
    if (getenv("WATCHDOG_PID") != NULL && setenv("WATCHDOG_PID", pid, 1) != 0)
        return false;
    return options->n_fds == 0 ||
           (setenv("LISTEN_PID", pid, 1) == 0 && setenv("LISTEN_FDS", count, 1) == 0 &&
            setenv("LISTEN_FDNAMES", options->fd_names == NULL ? "" : options->fd_names, 1) == 0);
}

/* All but 0, 1, 2, those handed over and the pipe are marked to close at exec. */
static void close_others(int first) {
    if (syscall(SYS_close_range, first, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */) == 0)
        return;
    long limit = sysconf(_SC_OPEN_MAX);
    for (int fd = first; fd < (limit < 0 ? 1024 : (int)MIN_OF(limit, 65536L)); fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* Runs in the child; returns only on failure, with errno set. */
static void exec_child(const ProcessOptions *options, pid_t parent) {
    if (!redirect_all(options) || !become(options))
        return;
    if (options->new_group && setpgid(0, 0) != 0)
        return;
    bool tied = options->death_signal != PROCESS_OUTLIVES;
    if (tied && prctl(PR_SET_PDEATHSIG, options->death_signal == 0 ? SIGKILL : options->death_signal) != 0)
        return;
    if (tied && getppid() != parent)
        _exit(127); /* the parent died before prctl */
    if (options->cwd != NULL && chdir(options->cwd) != 0)
        return;
    if (!place_fds(options) || !name_pid(options))
        return;
    close_others(STDERR_FILENO + 1 + (int)options->n_fds);
    reset_signals();
    char *const *envp = options->envp == NULL ? environ : (char *const *)options->envp;
    execvpe(options->argv[0], (char *const *)options->argv, envp);
}

/* EOF: exec succeeded and closed the pipe. */
static Err read_failure(int fd, pid_t pid) {
    int error = 0;
    ssize_t n;
    do
        n = read(fd, &error, sizeof error);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return ERR_OK;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return n == (ssize_t)sizeof error ? err_of(error) : ERR_IO;
}

Err process_spawn(const ProcessOptions *options, pid_t *ret) {
    int fds[2];
    if (options->n_fds > PROCESS_FDS_MAX)
        return ERR_LIMIT;
    if (pipe2(fds, O_CLOEXEC) != 0)
        return err_of(errno);
    /* Handlers of ours must not run in the child before they are reset. */
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t parent = getpid();
    pid_t pid = fork();
    int fork_errno = errno;
    if (pid == 0) {
        int report = fcntl(fds[1], F_DUPFD_CLOEXEC, STDERR_FILENO + 1 + (int)options->n_fds);
        exec_child(options, parent);
        int error = errno;
        ssize_t n = write(report, &error, sizeof error);
        _exit(n < 0 ? 126 : 127);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(fds[1]);
    Err err = pid < 0 ? err_of(fork_errno) : read_failure(fds[0], pid);
    close(fds[0]);
    if (err == ERR_OK)
        *ret = pid;
    return err;
}

static int open_pidfd(pid_t pid) {
#ifdef USHER_VALGRIND
    (void)pid;
    return -1; /* valgrind 3.19 does not know the call and complains */
#else
    return (int)syscall(SYS_pidfd_open, pid, 0U);
#endif
}

/* Until the process ends or the time is over. */
static void wait_a_while(int pidfd, int64_t left_ms) {
    if (pidfd >= 0) {
        struct pollfd ended = {.fd = pidfd, .events = POLLIN};
        (void)poll(&ended, 1, left_ms < 0 ? -1 : (int)MIN_OF(left_ms, (int64_t)60000));
        return;
    }
    (void)poll(NULL, 0, 5); /* no pidfd (before Linux 5.3): look again and again */
}

Err process_wait(pid_t pid, int64_t deadline_ms, int *ret_status) {
    int pidfd = open_pidfd(pid);
    Err err = ERR_TIMEOUT;
    for (;;) {
        int status;
        pid_t ended = waitpid(pid, &status, WNOHANG);
        if (ended == pid) {
            *ret_status = status;
            err = ERR_OK;
            break;
        }
        if (ended < 0 && errno != EINTR) {
            err = ERR_NOT_FOUND;
            break;
        }
        int64_t left_ms = deadline_ms == 0 ? -1 : deadline_ms - clock_mono_ms();
        if (deadline_ms != 0 && left_ms <= 0)
            break;
        wait_a_while(pidfd, left_ms);
    }
    if (pidfd >= 0)
        close(pidfd);
    return err;
}
