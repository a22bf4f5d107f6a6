/*
 * test_handover.c - descriptors with names, into a child and out of the environment. The hand-over itself needs two
 * real programs: tests/blackbox/test_handover.py.
 */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/heirloom.h"
#include "runtime/process.h"
#include "runtime_test.h"

/* In a child, since the table and the places from 3 on are the process's own; returns its exit status. */
static int in_child(int (*fn)(void)) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(fn());
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

/* --- what the environment says ------------------------------------------------------------------------------------ */

static const struct {
    const char *label, *pid, *fds, *names; /* pid "": ours; NULL: unset */
    Err want;
    int taken; /* of those named b */
} PASSED[] = {
    {"nothing", NULL, NULL, NULL, ERR_OK, 0},
    {"three, two of them b", "", "3", "a:b:b", ERR_OK, 2},
    {"for somebody else", "1", "3", "a:b:b", ERR_OK, 0},
    {"fewer names", "", "3", "b", ERR_OK, 1},
    {"no names", "", "3", NULL, ERR_OK, 0},
    {"more names", "", "2", "a:b:b:b", ERR_OK, 1},
    {"a count without a pid", NULL, "3", "a:b:b", ERR_OK, 0},
    {"no number", "", "three", "a:b:b", ERR_INVALID, 0},
    {"a negative number", "", "-1", "a", ERR_INVALID, 0},
    {"no pid", "me", "3", "a:b:b", ERR_INVALID, 0},
    {"a descriptor that is not open", "", "9", "a:b:b", ERR_INVALID, 0},
    {"too many", "", "2049", "b", ERR_LIMIT, 0},
};
static size_t at;

static bool is_b(int fd, const char *name, void *data) {
    (void)data;
    return strcmp(name, "b") == 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC;
}

static void set_or_unset(const char *name, const char *value) {
    if (value == NULL)
        unsetenv(name);
    else
        setenv(name, value, 1);
}

static int inherit_row(void) {
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    int null_fd = open("/dev/null", O_RDONLY);
    for (int fd = 3; fd < 6; fd++)
        if (dup2(null_fd, fd) != fd)
            return 1;
    for (int fd = 6; fd < 20; fd++)
        close(fd);
    set_or_unset("LISTEN_PID", PASSED[at].pid != NULL && PASSED[at].pid[0] == '\0' ? pid : PASSED[at].pid);
    set_or_unset("LISTEN_FDS", PASSED[at].fds);
    set_or_unset("LISTEN_FDNAMES", PASSED[at].names);
    if (heirlooms_inherit() != PASSED[at].want)
        return 2;
    bool ours = PASSED[at].pid != NULL && PASSED[at].pid[0] == '\0';
    if (PASSED[at].want == ERR_OK && ours && (getenv("LISTEN_FDS") != NULL || heirlooms_inherit() != ERR_OK))
        return 3;
    int taken = 0;
    while (PASSED[at].want == ERR_OK && heirloom_take(is_b, NULL) >= 0)
        taken++;
    return taken == PASSED[at].taken ? 0 : 4;
}

static void the_environment_is_read(void **state) {
    (void)state;
    for (at = 0; at < ARRAY_LEN(PASSED); at++) {
        int got = in_child(inherit_row);
        if (got != 0)
            fail_msg("%s: step %d", PASSED[at].label, got);
    }
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

static int keep_a_table(void) {
    int fds[HEIRLOOMS_MAX], pipe_fds[2];
    Buf names = buf_new(NULL, 4096);
    if (pipe(pipe_fds) != 0 || heirloom_add("usher-http", pipe_fds[0]) != ERR_OK ||
        heirloom_add("usher-admin", pipe_fds[1]) != ERR_OK)
        return 1;
    if (heirlooms_list(fds, &names) != 2 || !str_eq_c(buf_str(&names), "usher-http:usher-admin") ||
        fds[1] != pipe_fds[1])
        return 2;
    if (heirloom_remove("usher-http") != pipe_fds[0] || heirloom_remove("usher-http") != -1)
        return 3;
    buf_clear(&names);
    if (heirlooms_list(fds, &names) != 1 || !str_eq_c(buf_str(&names), "usher-admin"))
        return 4;
    for (int i = 1; i < HEIRLOOMS_MAX; i++)
        if (heirloom_add("x", pipe_fds[0]) != ERR_OK)
            return 5;
    buf_done(&names);
    return heirloom_add("x", pipe_fds[0]) == ERR_LIMIT && heirlooms_close_untaken() == 0 ? 0 : 6;
}

static void what_is_ours_is_handed_on(void **state) {
    (void)state;
    assert_int_equal(in_child(keep_a_table), 0);
}

static int leave_untaken(void) {
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    int null_fd = open("/dev/null", O_RDONLY);
    if (dup2(null_fd, 3) != 3 || dup2(null_fd, 4) != 4)
        return 1;
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "2", 1);
    setenv("LISTEN_FDNAMES", "a:b", 1);
    Buf names CLEANUP(buf_done) = buf_new(NULL, 4096);
    int fds[HEIRLOOMS_MAX];
    if (heirlooms_inherit() != ERR_OK || heirloom_take(is_b, NULL) != 4 || heirlooms_close_untaken() != 1)
        return 2;
    return fcntl(3, F_GETFD) == -1 && heirlooms_list(fds, &names) == 1 && fds[0] == 4 ? 0 : 3;
}

static void what_nobody_wants_is_closed(void **state) {
    (void)state;
    assert_int_equal(in_child(leave_untaken), 0);
}

/* --- into a child ------------------------------------------------------------------------------------------------- */

/* Descriptors are given in an order that overwrites them unless each is moved away first. */
static void a_child_gets_descriptors_in_order(void **state) {
    (void)state;
    int a[2], b[2], out[2];
    assert_int_equal(pipe(a) | pipe(b) | pipe(out), 0);
    assert_int_equal(write(a[1], "one\n", 4), 4);
    assert_int_equal(write(b[1], "two\n", 4), 4);
    int first = dup2(b[0], 20), second = dup2(a[0], 3) == 3 ? 3 : -1;
    const int fds[] = {first, second};
    static const char script[] = "read x <&3; read y <&4; [ $LISTEN_PID = $$ ] && [ $WATCHDOG_PID = $$ ] && "
                                 "echo $x $y $LISTEN_FDS $LISTEN_FDNAMES; [ ! -e /proc/self/fd/5 ]";
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    ProcessOptions options = {.argv = argv,
                              .stdin_fd = PROCESS_NULL,
                              .stdout_fd = out[1],
                              .stderr_fd = PROCESS_KEEP,
                              .fds = fds,
                              .n_fds = 2,
                              .fd_names = "b:a"};
    pid_t pid;
    int status;
    setenv("WATCHDOG_PID", "1", 1);
    assert_ok(process_spawn(&options, &pid));
    unsetenv("WATCHDOG_PID");
    assert_null(getenv("LISTEN_FDS"));
    assert_ok(process_wait(pid, 0, &status));
    char text[64] = "";
    assert_true(read(out[0], text, sizeof text - 1) > 0);
    assert_string_equal(text, "two one 2 b:a\n");
    assert_int_equal(status, 0);
    const int all[] = {a[1], b[0], b[1], out[0], out[1], first, second};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        close(all[i]);
}

static void too_many_descriptors_are_refused(void **state) {
    (void)state;
    pid_t pid;
    const char *const argv[] = {"/bin/true", NULL};
    assert_err(process_spawn(&(ProcessOptions){.argv = argv, .n_fds = PROCESS_FDS_MAX + 1}, &pid), ERR_LIMIT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_is_read),          cmocka_unit_test(what_is_ours_is_handed_on),
        cmocka_unit_test(what_nobody_wants_is_closed),      cmocka_unit_test(a_child_gets_descriptors_in_order),
        cmocka_unit_test(too_many_descriptors_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
