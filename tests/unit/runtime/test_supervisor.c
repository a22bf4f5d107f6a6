/*
 * The supervisor, from outside: a process of its own runs it, its workers report what they do through a pipe.
 *
 * The pipe is also the proof that nobody is left: it ends when the last process that holds its writing end is gone.
 */
#include "runtime_test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "runtime/log.h"
#include "runtime/supervisor.h"

#define PATIENCE_MS 60000

typedef struct Report {
    uint64_t random;
    int what; /* P prepare, Y all ready, S start, D drain, C coroutine cancelled, R reload, L reload in the parent */
    int index;
    pid_t pid;
    int filler; /* no padding: every byte is written */
} Report;

static int report_fd = -1;

static void report(char what, int index) {
    Report r = {.what = what, .index = index, .pid = getpid(), .random = random_u64()};
    if (write(report_fd, &r, sizeof r) != (ssize_t)sizeof r)
        _exit(99);
}

/* --- what workers do --------------------------------------------------------------------------------------------- */

static Err start_well(Worker *worker) {
    report('S', worker->index);
    return ERR_OK;
}
static Err start_badly(Worker *worker) {
    report('S', worker->index);
    return ERR_IO;
}
static Err start_and_crash(Worker *worker) {
    report('S', worker->index);
    abort();
}
static void drain_at_once(Worker *worker) {
    report('D', worker->draining ? worker->index : -1);
    worker_drained(worker);
}
static void drain_never(Worker *worker) {
    report('D', worker->index);
}
static void drain_stuck(Worker *worker) {
    report('D', worker->index);
    for (;;)
        pause();
}
static Err reload_worker(Worker *worker) {
    report('R', worker->index);
    return ERR_OK;
}

/* A worker with a coroutine in it that ends only by cancellation, and says that it did. */
static void stay(Ctx *ctx, void *arg) {
    (void)ctx;
    Wait wait = {0};
    if (co_wait(&wait, 0) == ERR_CANCELLED)
        report('C', *(int *)arg);
}
static Err start_with_coroutine(Worker *worker) {
    report('S', worker->index);
    return co_spawn(worker->loop, stay, &worker->index, NULL, NULL);
}
static void drain_coroutines(Worker *worker) {
    report('D', worker->index);
    if (co_drain(worker->loop, clock_mono_ms() + PATIENCE_MS) == ERR_OK)
        worker_drained(worker);
}

static void all_ready(void *settings) {
    (void)settings;
    report('Y', 0);
}
static Err prepare_well(void *settings) {
    (void)settings;
    report('P', 0);
    return ERR_OK;
}
static Err prepare_badly(void *settings) {
    (void)settings;
    return ERR_IO;
}
static Err reload_parent(void *settings) {
    (void)settings;
    report('L', 0);
    return ERR_OK;
}

/* --- running one ------------------------------------------------------------------------------------------------- */

typedef struct Run {
    pid_t pid;
    int reports;
    int log; /* what it wrote to stderr */
} Run;

static Run run_begin(SupervisorOptions options) {
    int fds[2];
    int log_fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(pipe(log_fds), 0);
    (void)random_u64(); /* the parent has drawn before it forks: workers must not repeat it */
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fds[0]);
        close(log_fds[0]);
        report_fd = fds[1];
        dup2(log_fds[1], STDERR_FILENO);
        close(log_fds[1]);
        if (log_configure(STR("info"), STR("json")) != ERR_OK)
            _exit(98);
        _exit(supervisor_run(&options));
    }
    close(fds[1]);
    close(log_fds[1]);
    return (Run){pid, fds[0], log_fds[0]};
}

/* false: everybody is gone. */
static bool next_report(const Run *run, Report *ret) {
    struct pollfd ready = {.fd = run->reports, .events = POLLIN};
    if (poll(&ready, 1, PATIENCE_MS) != 1)
        fail_msg("nothing was reported within a minute");
    ssize_t n = read(run->reports, ret, sizeof *ret);
    assert_true(n == 0 || n == (ssize_t)sizeof *ret);
    return n > 0;
}

/* Reads reports up to and with the n-th of a kind; the last of them is returned. */
static Report await(const Run *run, char what, int n) {
    Report r = {0};
    while (n > 0) {
        if (!next_report(run, &r))
            fail_msg("all ended before '%c' was reported", what);
        n -= r.what == what;
    }
    return r;
}

/* Waits until every process has ended; the supervisor's exit status. rest: what was still reported, one letter each. */
static int run_end(Run *run, Story *rest) {
    Report r;
    while (next_report(run, &r))
        if (rest != NULL)
            tell(rest, (char)r.what);
    int status;
    assert_int_equal(waitpid(run->pid, &status, 0), run->pid);
    close(run->reports);
    close(run->log);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const char *run_log(const Run *run) {
    static char text[65536];
    ssize_t n = read(run->log, text, sizeof text - 1);
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static SupervisorOptions options_of(const Role *roles) {
    return (SupervisorOptions){
        .roles = roles, .drain_ms = PATIENCE_MS, .intensity = 5, .period_ms = PATIENCE_MS, .ready = all_ready};
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

static void workers_start_serve_and_drain(void **state) {
    (void)state;
    const Role roles[] = {{.name = "http", .count = 2, .start = start_well, .drain = drain_at_once},
                          {.name = "off", .count = 0, .start = start_badly},
                          {.name = "relay", .count = 1, .start = start_well},
                          {.name = NULL}};
    SupervisorOptions options = options_of(roles);
    options.prepare = prepare_well;
    Run run = run_begin(options);
    Report prepared = await(&run, 'P', 1);
    assert_int_equal(prepared.pid, run.pid);
    Report started[3];
    for (int i = 0; i < 3; i++)
        started[i] = await(&run, 'S', 1);
    for (int i = 0; i < 3; i++) {
        assert_int_not_equal(started[i].pid, run.pid);
        assert_true(started[i].random != started[(i + 1) % 3].random);
        assert_true(started[i].random != prepared.random);
    }
    assert_int_equal(await(&run, 'Y', 1).pid, run.pid);
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    Story rest = {0};
    assert_int_equal(run_end(&run, &rest), 0);
    assert_string_equal(rest.text, "DD"); /* and nobody started again */
}

static void sigint_drains_too(void **state) {
    (void)state;
    const Role roles[] = {{.name = "http", .count = 1, .start = start_well, .drain = drain_at_once}, {.name = NULL}};
    Run run = run_begin(options_of(roles));
    await(&run, 'Y', 1);
    assert_int_equal(kill(run.pid, SIGINT), 0);
    assert_int_equal(run_end(&run, NULL), 0);
}

/* A Ctrl-C reaches workers as well; it is their parent's to act on. */
static void a_workers_own_sigint_is_ignored(void **state) {
    (void)state;
    const Role roles[] = {
        {.name = "http", .count = 1, .start = start_well, .drain = drain_at_once, .reload = reload_worker},
        {.name = NULL}};
    Run run = run_begin(options_of(roles));
    pid_t worker = await(&run, 'S', 1).pid;
    await(&run, 'Y', 1);
    assert_int_equal(kill(worker, SIGINT), 0);
    assert_int_equal(kill(worker, SIGHUP), 0);
    assert_int_equal(await(&run, 'R', 1).pid, worker); /* it lives */
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    assert_int_equal(run_end(&run, NULL), 0);
}

static void a_killed_worker_is_started_again(void **state) {
    (void)state;
    const Role roles[] = {{.name = "http", .count = 2, .start = start_well, .drain = drain_at_once}, {.name = NULL}};
    Run run = run_begin(options_of(roles));
    Report victim = await(&run, 'S', 1);
    await(&run, 'Y', 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kill(victim.pid, SIGKILL), 0);
        Report again = await(&run, 'S', 1);
        assert_int_equal(again.index, victim.index);
        assert_int_not_equal(again.pid, victim.pid);
        assert_int_equal(kill(victim.pid, 0), -1); /* no zombie */
        assert_int_equal(errno, ESRCH);
        victim = again;
    }
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    assert_non_null(strstr(run_log(&run), "\"event\":\"worker killed\""));
    Story rest = {0};
    assert_int_equal(run_end(&run, &rest), 0);
    assert_string_equal(rest.text, "DD");
}

static void too_many_deaths_give_up(void **state) {
    (void)state;
    static const struct {
        const char *label;
        Err (*start)(Worker *worker);
        const char *in_log;
    } cases[] = {
        {"start fails", start_badly, "worker cannot start"},
        {"start crashes", start_and_crash, "\"signal\":\"ABRT\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const Role roles[] = {{.name = "good", .count = 1, .start = start_well, .drain = drain_at_once},
                              {.name = "bad", .count = 1, .start = cases[i].start},
                              {.name = NULL}};
        SupervisorOptions options = options_of(roles);
        options.intensity = 3;
        Run run = run_begin(options);
        Report r;
        Story story = {0};
        while (story.n < 5 && next_report(&run, &r)) /* one good start, three bad ones, and the good one drains */
            tell(&story, (char)r.what);
        if (strchr(story.text, 'Y') != NULL)
            fail_msg("%s: ready was reported", cases[i].label);
        const char *text = run_log(&run);
        assert_non_null(strstr(text, cases[i].in_log));
        assert_int_equal(run_end(&run, &story), 1);
        size_t starts = 0;
        for (size_t at = 0; at < story.n; at++)
            starts += story.text[at] == 'S';
        assert_int_equal(starts, 4);
        assert_non_null(strchr(story.text, 'D'));
    }
}

/* Four deaths are one too many for anybody else. */
static void the_dispensable_may_die_often(void **state) {
    (void)state;
    const Role roles[] = {{.name = "good", .count = 1, .start = start_well, .drain = drain_at_once},
                          {.name = "bad", .count = 1, .start = start_badly, .dispensable = true},
                          {.name = NULL}};
    SupervisorOptions options = options_of(roles);
    options.intensity = 3;
    Run run = run_begin(options);
    Report r;
    Story story = {0};
    while (story.n < 6 && next_report(&run, &r)) /* one good start, five bad ones */
        tell(&story, (char)r.what);
    assert_string_equal(story.text, "SSSSSS");
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    assert_int_equal(run_end(&run, &story), 0); /* drained, not given up */
}

static void workers_die_with_their_parent(void **state) {
    (void)state;
    const Role roles[] = {{.name = "http", .count = 3, .start = start_well, .drain = drain_never}, {.name = NULL}};
    Run run = run_begin(options_of(roles));
    await(&run, 'Y', 1);
    assert_int_equal(kill(run.pid, SIGKILL), 0);
    Story rest = {0};
    assert_int_equal(run_end(&run, &rest), -1); /* returns: the pipe ended, so nobody is left */
    assert_string_equal(rest.text, "");
}

static void hup_reloads_the_parent_and_then_the_workers(void **state) {
    (void)state;
    const Role roles[] = {
        {.name = "http", .count = 2, .start = start_well, .drain = drain_at_once, .reload = reload_worker},
        {.name = "plain", .count = 1, .start = start_well},
        {.name = NULL}};
    SupervisorOptions options = options_of(roles);
    options.reload = reload_parent;
    Run run = run_begin(options);
    await(&run, 'Y', 1);
    assert_int_equal(kill(run.pid, SIGHUP), 0);
    Report r;
    assert_true(next_report(&run, &r));
    assert_int_equal(r.what, 'L');
    assert_int_equal(r.pid, run.pid);
    await(&run, 'R', 2);
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    assert_int_equal(run_end(&run, NULL), 0);
}

static void a_drain_may_wait_for_coroutines(void **state) {
    (void)state;
    const Role roles[] = {{.name = "http", .count = 1, .start = start_with_coroutine, .drain = drain_coroutines},
                          {.name = NULL}};
    Run run = run_begin(options_of(roles));
    await(&run, 'Y', 1);
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    Story rest = {0};
    assert_int_equal(run_end(&run, &rest), 0);
    assert_string_equal(rest.text, "DC");
}

/* What a drain leaves over is cancelled at its deadline, so that cleanups run. */
static void the_drain_deadline_cancels_what_is_left(void **state) {
    (void)state;
    const Role roles[] = {{.name = "http", .count = 1, .start = start_with_coroutine, .drain = drain_never},
                          {.name = NULL}};
    SupervisorOptions options = options_of(roles);
    options.drain_ms = 20;
    Run run = run_begin(options);
    await(&run, 'Y', 1);
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    Story rest = {0};
    assert_int_equal(run_end(&run, &rest), 0);
    assert_string_equal(rest.text, "DC");
}

static void a_stuck_worker_is_killed_at_the_deadline(void **state) {
    (void)state;
    const Role roles[] = {{.name = "http", .count = 1, .start = start_well, .drain = drain_stuck}, {.name = NULL}};
    SupervisorOptions options = options_of(roles);
    options.drain_ms = 20;
    Run run = run_begin(options);
    await(&run, 'Y', 1);
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    assert_int_equal(run_end(&run, NULL), 1);
}

static void the_second_sigint_kills_at_once(void **state) {
    (void)state;
    const Role roles[] = {{.name = "http", .count = 1, .start = start_well, .drain = drain_stuck}, {.name = NULL}};
    SupervisorOptions options = options_of(roles);
    options.drain_ms = 24 * 3600 * 1000;
    Run run = run_begin(options);
    await(&run, 'Y', 1);
    assert_int_equal(kill(run.pid, SIGINT), 0);
    await(&run, 'D', 1);
    assert_int_equal(kill(run.pid, SIGINT), 0);
    assert_int_equal(run_end(&run, NULL), 1);
}

static void what_cannot_begin_ends_with_one(void **state) {
    (void)state;
    const Role none[] = {{.name = "http", .count = 0, .start = start_well}, {.name = NULL}};
    Run run = run_begin(options_of(none));
    assert_int_equal(run_end(&run, NULL), 1);

    const Role roles[] = {{.name = "http", .count = 1, .start = start_well}, {.name = NULL}};
    SupervisorOptions options = options_of(roles);
    options.prepare = prepare_badly;
    run = run_begin(options);
    Story rest = {0};
    assert_int_equal(run_end(&run, &rest), 1);
    assert_string_equal(rest.text, ""); /* no worker was started */
}

/* --- systemd ----------------------------------------------------------------------------------------------------- */

/* Reads datagrams up to one that holds the words. */
static const char *await_state(int fd, const char *words) {
    static char text[512];
    do {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, PATIENCE_MS) != 1)
            fail_msg("systemd was not told %s", words);
        ssize_t n = recv(fd, text, sizeof text - 1, 0);
        assert_true(n >= 0);
        text[n] = '\0';
    } while (strstr(text, words) == NULL);
    return text;
}

static void notify(const struct sockaddr_un *address, socklen_t length, const char *variable) {
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)address, length), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", variable, 1), 0);
    assert_int_equal(setenv("WATCHDOG_USEC", "20000", 1), 0);
    const Role roles[] = {
        {.name = "http", .count = 2, .start = start_well, .drain = drain_at_once, .reload = reload_worker},
        {.name = NULL}};
    Run run = run_begin(options_of(roles));
    assert_string_equal(await_state(fd, "READY=1"), "READY=1\nSTATUS=2 of 2 workers serve");
    await_state(fd, "WATCHDOG=1");
    await_state(fd, "WATCHDOG=1");
    assert_int_equal(kill(run.pid, SIGHUP), 0);
    const char *reloading = await_state(fd, "RELOADING=1");
    const char *at = strstr(reloading, "\nMONOTONIC_USEC=");
    assert_non_null(at);
    uint64_t usec = 0;
    assert_ok(str_to_u64(str_c(at + strlen("\nMONOTONIC_USEC=")), INT64_MAX, &usec));
    assert_true(usec > 0 && usec <= (uint64_t)clock_mono_ns() / 1000);
    await_state(fd, "READY=1");
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    await_state(fd, "STOPPING=1");
    assert_int_equal(run_end(&run, NULL), 0);
    close(fd);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
}

static void systemd_is_told(void **state) {
    (void)state;
    char folder[] = "/tmp/usher-notify-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", folder);
    notify(&address, sizeof address, address.sun_path);
    unlink(address.sun_path);
    rmdir(folder);

    char name[64];
    int n = snprintf(name, sizeof name, "@usher-notify-%d", (int)getpid());
    struct sockaddr_un abstract = {.sun_family = AF_UNIX};
    memcpy(abstract.sun_path + 1, name + 1, (size_t)n - 1);
    notify(&abstract, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n), name);
}

static void nobody_to_tell_is_no_error(void **state) {
    (void)state;
    static const char *const values[] = {"", "relative/path", "/nonexistent/socket", "@"};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        setenv("NOTIFY_SOCKET", values[i], 1);
        sd_notify_send("READY=1");
    }
    unsetenv("NOTIFY_SOCKET");
    sd_notify_send("READY=1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_start_serve_and_drain),
        cmocka_unit_test(sigint_drains_too),
        cmocka_unit_test(a_workers_own_sigint_is_ignored),
        cmocka_unit_test(a_killed_worker_is_started_again),
        cmocka_unit_test(too_many_deaths_give_up),
        cmocka_unit_test(the_dispensable_may_die_often),
        cmocka_unit_test(workers_die_with_their_parent),
        cmocka_unit_test(hup_reloads_the_parent_and_then_the_workers),
        cmocka_unit_test(a_drain_may_wait_for_coroutines),
        cmocka_unit_test(the_drain_deadline_cancels_what_is_left),
        cmocka_unit_test(a_stuck_worker_is_killed_at_the_deadline),
        cmocka_unit_test(the_second_sigint_kills_at_once),
        cmocka_unit_test(what_cannot_begin_ends_with_one),
        cmocka_unit_test(systemd_is_told),
        cmocka_unit_test(nobody_to_tell_is_no_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
