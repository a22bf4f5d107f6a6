/*
 * test_confine.c - what a worker can no longer do. Everything is tried in a child, since it cannot be undone.
 */
#include "runtime/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/supervisor.h"
#include "runtime_test.h"

static const Confinement ALL = {.drop = true, .filter = true};

/* --- system calls ------------------------------------------------------------------------------------------------- */

static long try_execve(void) {
    char *const argv[] = {(char[]){"true"}, NULL};
    return execve("/bin/true", argv, argv + 1);
}
static long try_execveat(void) {
    char *const argv[] = {(char[]){"true"}, NULL};
    return syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, argv + 1, 0);
}
static long try_fork(void) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid;
}
static long try_clone3(void) {
    return syscall(SYS_clone3, NULL, 0);
}
static long try_ptrace(void) {
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}
static long try_read_other(void) {
    return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0);
}
static long try_unshare(void) {
    return unshare(CLONE_NEWUSER);
}
static long try_mount(void) {
    return mount("none", "/nowhere", "tmpfs", 0, NULL);
}
static long try_bpf(void) {
    return syscall(SYS_bpf, 0, NULL, 0);
}
static long try_io_uring(void) {
    return syscall(SYS_io_uring_setup, 1, NULL);
}
static long try_setuid(void) {
    return setuid(geteuid());
}
static long try_socket(void) {
    return socket(AF_INET, SOCK_STREAM, 0);
}
static long try_open(void) {
    return open("/dev/null", O_RDONLY);
}
static void *in_thread(void *arg) {
    return arg;
}
static long try_thread(void) {
    pthread_t thread;
    errno = pthread_create(&thread, NULL, in_thread, NULL);
    return errno == 0 ? pthread_join(thread, NULL) : -1;
}

static const struct {
    const char *label;
    long (*call)(void);
    int want; /* errno; 0: it works */
} CALLS[] = {
    {"a program", try_execve, EPERM},
    {"a program, by descriptor", try_execveat, EPERM},
    {"a process", try_fork, EPERM},
    {"a process, the new way", try_clone3, ENOSYS},
    {"to be traced", try_ptrace, EPERM},
    {"another's memory", try_read_other, EPERM},
    {"a name space", try_unshare, EPERM},
    {"a mount", try_mount, EPERM},
    {"a program in the kernel", try_bpf, EPERM},
    {"an io_uring", try_io_uring, EPERM},
    {"another user", try_setuid, EPERM},
    {"a socket", try_socket, 0},
    {"a file", try_open, 0},
    {"a thread", try_thread, 0},
};

/* What the child's function returns; -1: it died. */
static int in_child(int (*fn)(void)) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(fn());
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static size_t at;

static int try_confined(void) {
    if (confine(&ALL) != ERR_OK)
        return 255;
    errno = 0;
    return CALLS[at].call() < 0 ? errno : 0;
}

static int try_free(void) {
    errno = 0;
    return CALLS[at].call() < 0 ? errno : 0;
}

static void calls_are_refused(void **state) {
    (void)state;
    if (confine_filter_missing() != NULL)
        skip();
    for (at = 0; at < ARRAY_LEN(CALLS); at++) {
        int got = in_child(try_confined);
        if (got != CALLS[at].want)
            fail_msg("%s: got %s", CALLS[at].label, got < 0 ? "killed" : strerror(got));
    }
}

/* Or the test above would prove nothing: most of these are refused to nobody. */
static void the_same_calls_work_without(void **state) {
    (void)state;
    static const char *const always[] = {"a process", "to be traced", "another user", "a socket"};
    for (at = 0; at < ARRAY_LEN(CALLS); at++)
        for (size_t i = 0; i < ARRAY_LEN(always); i++)
            if (strcmp(CALLS[at].label, always[i]) == 0)
                assert_int_equal(in_child(try_free), 0);
}

/* --- rights ------------------------------------------------------------------------------------------------------- */

/* A line of /proc/self/status as a hexadecimal or decimal number. */
static unsigned long status_value(const char *name) {
    char text[8192];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n < 0 ? 0 : n] = '\0';
    const char *line = strstr(text, name);
    return line == NULL ? ~0UL : strtoul(line + strlen(name) + 1, NULL, 16);
}

static int look_at_rights(void) {
    if (confine(&(Confinement){.drop = true}) != ERR_OK)
        return 1;
    static const char *const sets[] = {"CapInh:", "CapPrm:", "CapEff:", "CapAmb:"};
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        if (status_value(sets[i]) != 0)
            return 2;
    if (geteuid() == 0 && status_value("CapBnd:") != 0)
        return 3;
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 4;
}

static void rights_are_gone(void **state) {
    (void)state;
    assert_int_equal(in_child(look_at_rights), 0);
}

static int become_nobody(void) {
    Arena *arena CLEANUP(arena_freep) = arena_new(64 * 1024);
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    Confinement confinement = {.drop = true};
    if (confine_find_user(&ctx, STR("nobody"), &confinement) != ERR_OK || confine(&confinement) != ERR_OK)
        return 1;
    const struct passwd *nobody = getpwnam("nobody");
    if (nobody == NULL || getuid() != nobody->pw_uid || geteuid() != nobody->pw_uid || getgid() != nobody->pw_gid)
        return 2;
    gid_t groups[64];
    int n = getgroups((int)ARRAY_LEN(groups), groups);
    for (int i = 0; i < n; i++)
        if (groups[i] == 0)
            return 3; /* root's group went along */
    return setuid(0) == -1 && open("/etc/shadow", O_RDONLY) == -1 ? 0 : 4;
}

static void root_becomes_somebody_else(void **state) {
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(in_child(become_nobody), 0);
}

static const struct {
    const char *text;
    Err want;
} USERS[] = {
    {"root", ERR_OK},         {"0", ERR_OK},
    {"root:root", ERR_OK},    {"root:0", ERR_OK},
    {"", ERR_NOT_FOUND},      {"no such user", ERR_NOT_FOUND},
    {"root:", ERR_NOT_FOUND}, {"root:no such group", ERR_NOT_FOUND},
    {":root", ERR_NOT_FOUND}, {"4294967295", ERR_NOT_FOUND},
    {"-1", ERR_NOT_FOUND},
};

static void users_are_found_by_name_and_number(void **state) {
    (void)state;
    Arena *arena = arena_new(1024 * 1024);
    for (size_t i = 0; i < ARRAY_LEN(USERS); i++) {
        Ctx ctx;
        Confinement found = {0};
        ctx_init(&ctx, arena, 0);
        Err got = confine_find_user(&ctx, str_c(USERS[i].text), &found);
        if (got != USERS[i].want || found.switch_user != (got == ERR_OK) || (got != ERR_OK && ctx.problem.code != got))
            fail_msg("\"%s\": got %s", USERS[i].text, err_name(got));
    }
    arena_free(arena);
}

/* --- a worker ----------------------------------------------------------------------------------------------------- */

static int worker_pipe[2];

static Err start_curious(Worker *worker) {
    char *const argv[] = {(char[]){"true"}, NULL};
    int results[3] = {0};
    results[0] = execve("/bin/true", argv, argv + 1) < 0 ? errno : 0;
    results[1] = ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) < 0 ? errno : 0;
    results[2] = status_value("CapEff:") == 0 ? EPERM : 0;
    bool told = write(worker_pipe[1], results, sizeof results) == (ssize_t)sizeof results;
    (void)worker;
    return told ? ERR_OK : ERR_IO;
}

static void end_at_once(void *settings) {
    (void)settings;
    raise(SIGTERM);
}

static int supervise(void) {
    const Role roles[] = {{.name = "curious", .count = 1, .start = start_curious}, {.name = NULL}};
    return supervisor_run(&(SupervisorOptions){.roles = roles,
                                               .drain_ms = 10000,
                                               .intensity = 1,
                                               .period_ms = 1000,
                                               .confinement = &ALL,
                                               .ready = end_at_once});
}

static void a_worker_is_confined_before_its_role_begins(void **state) {
    (void)state;
    if (confine_filter_missing() != NULL)
        skip();
    assert_int_equal(pipe(worker_pipe), 0);
    assert_int_equal(in_child(supervise), 0);
    int results[3];
    assert_int_equal(read(worker_pipe[0], results, sizeof results), sizeof results);
    for (size_t i = 0; i < ARRAY_LEN(results); i++)
        assert_int_equal(results[i], EPERM);
    close(worker_pipe[0]);
    close(worker_pipe[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_refused),
        cmocka_unit_test(the_same_calls_work_without),
        cmocka_unit_test(rights_are_gone),
        cmocka_unit_test(root_becomes_somebody_else),
        cmocka_unit_test(users_are_found_by_name_and_number),
        cmocka_unit_test(a_worker_is_confined_before_its_role_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
