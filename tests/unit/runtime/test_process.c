/* Child programs: what they get, how they end, and that they end with us. */
#include "runtime_test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "runtime/process.h"

static int64_t much_later(void) {
    return clock_mono_ms() + 60000;
}

#define QUIET .stdin_fd = PROCESS_NULL, .stdout_fd = PROCESS_NULL, .stderr_fd = PROCESS_NULL

static void the_status_comes_back(void **state) {
    (void)state;
    static const struct {
        const char *script;
        int status;
    } cases[] = {{"exit 0", 0}, {"exit 7", 7 << 8}, {"kill -9 $$", SIGKILL}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ProcessOptions options = {.argv = (const char *const[]){"sh", "-c", cases[i].script, NULL}, QUIET};
        pid_t pid;
        int status = -1;
        assert_ok(process_spawn(&options, &pid));
        assert_ok(process_wait(pid, much_later(), &status));
        assert_int_equal(status, cases[i].status);
        assert_err(process_wait(pid, much_later(), &status), ERR_NOT_FOUND); /* no zombie is left */
    }
}

static void what_cannot_run_is_an_error(void **state) {
    (void)state;
    static const struct {
        const char *program, *cwd;
        Err want;
    } cases[] = {
        {"/nonexistent/program", NULL, ERR_NOT_FOUND},
        {"no-such-program-in-path", NULL, ERR_NOT_FOUND},
        {"/etc/passwd", NULL, ERR_REFUSED},
        {"/etc", NULL, ERR_REFUSED},
        {"true", "/nonexistent", ERR_NOT_FOUND},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ProcessOptions options = {.argv = (const char *const[]){cases[i].program, NULL}, .cwd = cases[i].cwd, QUIET};
        pid_t pid = -1;
        assert_err(process_spawn(&options, &pid), cases[i].want);
        assert_int_equal(pid, -1);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
    }
}

/* Runs a script with its output in a pipe; returns what it wrote. */
static const char *output_of(ProcessOptions options, const char *script) {
    static char text[4096];
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    options.argv = (const char *const[]){"sh", "-c", script, NULL};
    options.stdin_fd = PROCESS_NULL;
    options.stdout_fd = fds[1];
    options.stderr_fd = fds[1];
    pid_t pid;
    int status;
    assert_ok(process_spawn(&options, &pid));
    close(fds[1]);
    size_t n = 0;
    ssize_t got;
    while ((got = read(fds[0], text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    close(fds[0]);
    text[n] = '\0';
    assert_ok(process_wait(pid, much_later(), &status));
    return text;
}

static void a_child_gets_what_was_asked_and_nothing_else(void **state) {
    (void)state;
    assert_string_equal(output_of((ProcessOptions){.cwd = "/"}, "pwd; echo error >&2"), "/\nerror\n");
    const char *const envp[] = {"PATH=/bin:/usr/bin", "ONLY=this", NULL};
    assert_string_equal(output_of((ProcessOptions){.envp = envp}, "echo $ONLY$HOME"), "this\n");
    int leak = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */
    assert_true(leak > 2);
    char script[128];
    snprintf(script, sizeof script, "test -e /proc/$$/fd/%d && echo leaked || echo closed", leak);
    assert_string_equal(output_of((ProcessOptions){0}, script), "closed\n");
    close(leak);
}

static uint64_t mask_of(const char *name) {
    char script[64];
    snprintf(script, sizeof script, "grep %s /proc/self/status", name);
    const char *line = output_of((ProcessOptions){0}, script);
    assert_true(strlen(line) > strlen("SigXxx:\t"));
    return strtoull(line + strlen("SigXxx:\t"), NULL, 16);
}

static void signals_are_those_of_a_new_process(void **state) {
    (void)state;
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_SETMASK, &all, &before);
    uint64_t blocked = mask_of("SigBlk");
    uint64_t ignored = mask_of("SigIgn");
    sigprocmask(SIG_SETMASK, &before, NULL);
    signal(SIGPIPE, SIG_DFL);
    assert_int_equal(blocked, 0);
    /* 32 and 33 belong to the C library, which lets nobody touch them; whoever started the tests may have ignored
     * them. */
    assert_int_equal(ignored & ~(UINT64_C(3) << 31), 0);
}

static void another_user(void **state) {
    (void)state;
    if (geteuid() != 0)
        skip(); /* skipped: only root may become another */
    ProcessOptions options = {.switch_user = true, .uid = 65534, .gid = 65534};
    assert_string_equal(output_of(options, "id -u; id -g; id -G"), "65534\n65534\n65534\n");
}

static void becoming_a_user_one_may_not_be_is_refused(void **state) {
    (void)state;
    pid_t tester = fork(); /* a process of its own, since it gives up its rights for good */
    if (tester == 0) {
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(1);
        ProcessOptions options = {
            .argv = (const char *const[]){"true", NULL}, .switch_user = true, .uid = 0, .gid = 0, QUIET};
        pid_t pid;
        _exit(process_spawn(&options, &pid) == ERR_REFUSED ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(tester, &status, 0), tester);
    assert_int_equal(status, 0);
}

static void waiting_ends_at_its_deadline(void **state) {
    (void)state;
    ProcessOptions options = {.argv = (const char *const[]){"sleep", "600", NULL}, QUIET};
    pid_t pid;
    int status = -1;
    assert_ok(process_spawn(&options, &pid));
    assert_err(process_wait(pid, clock_mono_ms() + 10, &status), ERR_TIMEOUT);
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_ok(process_wait(pid, 0, &status));
    assert_int_equal(status, SIGTERM);
}

/* The child holds the writing end of a pipe; when the last holder is gone the pipe ends. */
static void a_child_does_not_outlive_us(void **state) {
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t parent = fork();
    if (parent == 0) {
        ProcessOptions options = {.argv = (const char *const[]){"sleep", "600", NULL},
                                  .stdin_fd = PROCESS_NULL,
                                  .stdout_fd = fds[1],
                                  .stderr_fd = PROCESS_NULL,
                                  .switch_user =
                                      geteuid() == 0, /* the change of user must not clear the death signal */
                                  .uid = 65534,
                                  .gid = 65534,
                                  .new_group = true};
        pid_t pid;
        if (process_spawn(&options, &pid) != ERR_OK || write(fds[1], "s", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(fds[1]);
    char byte = 0;
    assert_int_equal(read(fds[0], &byte, 1), 1);
    struct pollfd ended = {.fd = fds[0], .events = POLLIN};
    assert_int_equal(poll(&ended, 1, 0), 0); /* both live */
    assert_int_equal(kill(parent, SIGKILL), 0);
    assert_int_equal(read(fds[0], &byte, 1), 0); /* both are gone */
    close(fds[0]);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_status_comes_back),
        cmocka_unit_test(what_cannot_run_is_an_error),
        cmocka_unit_test(a_child_gets_what_was_asked_and_nothing_else),
        cmocka_unit_test(signals_are_those_of_a_new_process),
        cmocka_unit_test(another_user),
        cmocka_unit_test(becoming_a_user_one_may_not_be_is_refused),
        cmocka_unit_test(waiting_ends_at_its_deadline),
        cmocka_unit_test(a_child_does_not_outlive_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
