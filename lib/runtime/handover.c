/*
 * handover.c - a new binary takes our place without a client noticing.
 *
 * On SIGUSR2 the supervisor starts the program again, as it was started, with every heirloom and the end of a
 * pipe. Both then listen on the same sockets (the same, not equal ones: no connection that waits in a backlog belongs
 * to one of them). Only when the successor has said through the pipe that all its workers serve are ours told to drain;
 * so a successor that cannot start, for whatever reason, costs nothing but a line in the log.
 *
 * The tempting alternative is exec in place, which keeps the pid. Then nobody is left to go on when the new program
 * fails, and it would begin with children that it does not know.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "runtime/heirloom.h"
#include "runtime/log.h"
#include "runtime/process.h"
#include "runtime/supervisor_impl.h"

#define READY_NAME    "usher-ready"
#define ARGUMENTS_MAX 1024
#define COMMAND_BYTES (256 * 1024)
#define NAMES_BYTES   (HEIRLOOMS_MAX * (HEIRLOOM_NAME_MAX + 1))
#define KILL_GRACE_MS 1000

/* --- as predecessor ----------------------------------------------------------------------------------------------- */

static const char *refusal(const Supervisor *sv) {
    if (sv->options->handover_ms <= 0)
        return "this command has no successor; stop it and start it again";
    if (getpid() == 1)
        return "process 1 cannot be followed: its end is the end of the container; replace the container";
    if (sv->stopping)
        return "it is stopping";
    if (sv->successor.pid != 0)
        return "a successor is starting already";
    return sv->announced ? NULL : "not every worker has served yet";
}

/* Where the program is now. An argv[0] with a slash is looked up anew, so that a link which was moved to the new
 * version is followed; else the file we were started from, whatever has been put in its place. */
static Err find_program(Arena *arena, const char *given, const char **ret) {
    static const Str deleted = STR_INIT(" (deleted)");
    if (strchr(given, '/') != NULL) {
        *ret = given;
        return ERR_OK;
    }
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    if (n <= 0 || n == (ssize_t)sizeof path)
        return ERR_NOT_FOUND;
    Str program = {path, (size_t)n};
    if (str_ends_with(program, deleted))
        program.n -= deleted.n;
    *ret = arena_str(arena, program).p;
    return *ret == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* Our own command line, as it was given. */
static Err read_command(Arena *arena, const char **argv) {
    char *text = arena_alloc(arena, COMMAND_BYTES);
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    ssize_t got = 0;
    if (text == NULL || fd < 0)
        return ERR_IO;
    while (n < COMMAND_BYTES && (got = read(fd, text + n, COMMAND_BYTES - n)) > 0)
        n += (size_t)got;
    close(fd);
    if (got < 0 || n == 0 || n == COMMAND_BYTES || text[n - 1] != '\0')
        return ERR_IO;
    size_t count = 0;
    for (size_t at = 0; at < n; at += strlen(text + at) + 1) {
        if (count == ARGUMENTS_MAX)
            return ERR_LIMIT;
        argv[count++] = text + at;
    }
    argv[count] = NULL;
    return find_program(arena, argv[0], &argv[0]);
}

static Err start_successor(Supervisor *sv, int ready_fd) {
    Arena *arena CLEANUP(arena_freep) = arena_new(8 * COMMAND_BYTES);
    const char **argv = arena == NULL ? NULL : ARENA_ARRAY(arena, const char *, ARGUMENTS_MAX + 1);
    int *fds = arena == NULL ? NULL : ARENA_ARRAY(arena, int, HEIRLOOMS_MAX + 1);
    if (argv == NULL || fds == NULL)
        return ERR_NO_MEMORY;
    TRY(read_command(arena, argv));
    Buf names = buf_new(arena, NAMES_BYTES);
    size_t n = heirlooms_list(fds, &names);
    buf_add_c(&names, n == 0 ? READY_NAME : ":" READY_NAME);
    buf_add_char(&names, '\0');
    if (names.err != ERR_OK)
        return names.err;
    fds[n++] = ready_fd;
    ProcessOptions options = {.argv = argv,
                              .stdin_fd = PROCESS_KEEP,
                              .stdout_fd = PROCESS_KEEP,
                              .stderr_fd = PROCESS_KEEP,
                              .death_signal = PROCESS_OUTLIVES,
                              .fds = fds,
                              .n_fds = n,
                              .fd_names = names.p};
    TRY(process_spawn(&options, &sv->successor.pid));
    LOG_I(NULL, "successor started", F_C("program", argv[0]), F_INT("successor_pid", sv->successor.pid),
          F_INT("descriptors", (int64_t)n - 1));
    return ERR_OK;
}

static void forget_successor(Supervisor *sv) {
    if (sv->successor.ready_fd >= 0)
        close(sv->successor.ready_fd);
    sv->successor = (Successor){.ready_fd = -1};
}

static void failed(const char *why, int detail) {
    char state[160];
    LOG_E(NULL, "hand-over failed; everything goes on as before", F_C("why", why), F_INT("detail", detail));
    snprintf(state, sizeof state, "READY=1\nSTATUS=serving; the last hand-over failed: %s", why);
    sd_notify_send(state);
}

void handover_begin(Supervisor *sv) {
    const char *why = refusal(sv);
    if (why != NULL) {
        LOG_W(NULL, "hand-over refused", F_C("why", why));
        return;
    }
    char state[96];
    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_mono_ns() / 1000);
    sd_notify_send(state);
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        failed("no pipe", errno);
        return;
    }
    Err err = start_successor(sv, fds[1]);
    close(fds[1]);
    if (err != ERR_OK) {
        close(fds[0]);
        failed(err_name(err), 0);
        return;
    }
    sv->successor.ready_fd = fds[0];
    sv->successor.deadline_ms = clock_mono_ms() + sv->options->handover_ms;
}

/* It may have taken connections already: it is asked to finish them, and killed only when it does not. */
static void dismiss(Supervisor *sv) {
    if (sv->successor.ready_fd >= 0)
        close(sv->successor.ready_fd);
    sv->successor.ready_fd = -1;
    sv->successor.deadline_ms = clock_mono_ms() + sv->options->drain_ms + KILL_GRACE_MS;
    kill(sv->successor.pid, SIGTERM);
}

void handover_take(Supervisor *sv) {
    char byte;
    ssize_t n = read(sv->successor.ready_fd, &byte, 1);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    close(sv->successor.ready_fd);
    sv->successor.ready_fd = -1;
    if (n != 1)
        return; /* it ends, or its time will be over */
    char state[96];
    snprintf(state, sizeof state, "MAINPID=%d\nREADY=1\nSTATUS=handed over", (int)sv->successor.pid);
    sd_notify_send(state);
    LOG_I(NULL, "handed over", F_INT("successor_pid", sv->successor.pid));
    sv->succeeded = true;
    supervisor_stop(sv, 0);
}

void handover_reap(Supervisor *sv) {
    int status;
    if (sv->successor.pid == 0 || waitpid(sv->successor.pid, &status, WNOHANG) != sv->successor.pid)
        return;
    if (sv->succeeded)
        LOG_E(NULL, "successor ended after it had taken over", F_INT("status", status));
    else if (WIFSIGNALED(status))
        failed("the successor was killed by a signal", WTERMSIG(status));
    else
        failed("the successor ended; its own lines above say why", WEXITSTATUS(status));
    forget_successor(sv);
}

int64_t handover_at_ms(const Supervisor *sv) {
    return sv->successor.pid == 0 || sv->succeeded ? INT64_MAX : sv->successor.deadline_ms;
}

void handover_act_on_time(Supervisor *sv, int64_t now_ms) {
    if (handover_at_ms(sv) > now_ms)
        return;
    bool asked = sv->successor.ready_fd < 0;
    LOG_E(NULL, asked ? "successor does not end; killing it" : "successor did not serve in time; ending it",
          F_INT("successor_pid", sv->successor.pid), F_INT("handover_ms", sv->options->handover_ms));
    if (asked) {
        kill(sv->successor.pid, SIGKILL);
        sv->successor.deadline_ms = INT64_MAX; /* SIGCHLD tells the rest */
    } else {
        dismiss(sv);
    }
}

void handover_stop(Supervisor *sv) {
    if (sv->successor.pid != 0 && !sv->succeeded)
        dismiss(sv);
}

void handover_done(Supervisor *sv) {
    if (sv->successor.pid != 0 && !sv->succeeded) {
        kill(sv->successor.pid, SIGKILL);
        (void)waitpid(sv->successor.pid, NULL, 0);
    }
    forget_successor(sv);
}

/* --- as successor ------------------------------------------------------------------------------------------------- */

static int predecessor_fd = -1; /* a process has one predecessor at most */

Err handover_inherit(void) {
    TRY(heirlooms_inherit());
    predecessor_fd = heirloom_remove(READY_NAME);
    return ERR_OK;
}

bool handover_has_predecessor(void) {
    return predecessor_fd >= 0;
}

void handover_tell_ready(void) {
    if (predecessor_fd < 0)
        return;
    ssize_t n = write(predecessor_fd, "R", 1);
    (void)n; /* a predecessor that is gone needs no telling */
    close(predecessor_fd);
    predecessor_fd = -1;
}
