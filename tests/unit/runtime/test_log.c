/* Log lines: both forms, redaction, escaping, and what happens when stderr is full. */
#include "runtime_test.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "runtime/log.h"

/* Standard error is a pipe while a line is written, then itself again. */
static int real_stderr = -1;
static int reader = -1;

static void redirect(int fd) {
    real_stderr = dup(STDERR_FILENO);
    assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    close(fd);
}

static void capture_begin(const char *level, const char *format) {
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    reader = fds[0];
    redirect(fds[1]);
    assert_ok(log_configure(str_c(level), str_c(format)));
}

static const char *capture_end(void) {
    static char text[65536 * 2];
    assert_int_equal(dup2(real_stderr, STDERR_FILENO), STDERR_FILENO);
    close(real_stderr);
    assert_ok(log_configure(STR("info"), STR("auto"))); /* lets go of the pipe, so that it ends */
    size_t n = 0;
    ssize_t got;
    while ((got = read(reader, text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    close(reader);
    text[n] = '\0';
    return text;
}

/* From the event on; what stands before it holds the time and the pid. */
static const char *from(const char *line, const char *what) {
    const char *at = strstr(line, what);
    if (at == NULL)
        fail_msg("no %s in %s", what, line);
    return at;
}

static void forms(void **state) {
    (void)state;
    static const struct {
        const char *label;
        LogField field;
        const char *json, *text;
    } cases[] = {
        {"a word", {"path", LOG_FIELD_STR, {"/x", 2}, 0}, ",\"path\":\"/x\"}\n", " path=/x\n"},
        {"white space", {"v", LOG_FIELD_STR, {"a b", 3}, 0}, ",\"v\":\"a b\"}\n", " v=\"a b\"\n"},
        {"quotes", {"v", LOG_FIELD_STR, {"\"\\", 2}, 0}, ",\"v\":\"\\\"\\\\\"}\n", " v=\"\\\"\\\\\"\n"},
        {"a forged line",
         {"v", LOG_FIELD_STR, {"a\nb\r\t", 5}, 0},
         ",\"v\":\"a\\nb\\r\\t\"}\n",
         " v=\"a\\nb\\r\\t\"\n"},
        {"terminal escapes",
         {"v", LOG_FIELD_STR, {"\x1b[2J\x7f", 5}, 0},
         ",\"v\":\"\\u001b[2J\\u007f\"}\n",
         " v=\"\\u001b[2J\\u007f\"\n"},
        {"C1 controls", {"v", LOG_FIELD_STR, {"\xc2\x9b", 2}, 0}, ",\"v\":\"\\u009b\"}\n", " v=\"\\u009b\"\n"},
        {"a direction override",
         {"v", LOG_FIELD_STR, {"\xe2\x80\xae", 3}, 0},
         ",\"v\":\"\\u202e\"}\n",
         " v=\"\\u202e\"\n"},
        {"a NUL", {"v", LOG_FIELD_STR, {"\0", 1}, 0}, ",\"v\":\"\\u0000\"}\n", " v=\"\\u0000\"\n"},
        {"malformed UTF-8",
         {"v", LOG_FIELD_STR, {"\xff", 1}, 0},
         ",\"v\":\"\xef\xbf\xbd\"}\n",
         " v=\"\xef\xbf\xbd\"\n"},
        {"UTF-8", {"v", LOG_FIELD_STR, {"\xc3\xa4", 2}, 0}, ",\"v\":\"\xc3\xa4\"}\n", " v=\"\xc3\xa4\"\n"},
        {"empty", {"v", LOG_FIELD_STR, {"", 0}, 0}, ",\"v\":\"\"}\n", " v=\"\"\n"},
        {"absent", {"v", LOG_FIELD_STR, {NULL, 0}, 0}, ",\"v\":null}\n", " v=-\n"},
        {"a number",
         {"v", LOG_FIELD_INT, {NULL, 0}, INT64_MIN},
         ",\"v\":-9223372036854775808}\n",
         " v=-9223372036854775808\n"},
        {"true", {"v", LOG_FIELD_BOOL, {NULL, 0}, 1}, ",\"v\":true}\n", " v=true\n"},
        {"false", {"v", LOG_FIELD_BOOL, {NULL, 0}, 0}, ",\"v\":false}\n", " v=false\n"},
        {"a password", {"password", LOG_FIELD_STR, {"x", 1}, 0}, ",\"password\":\"***\"}\n", " password=***\n"},
        {"a secret", {"Secret", LOG_FIELD_STR, {"x", 1}, 0}, ",\"Secret\":\"***\"}\n", " Secret=***\n"},
        {"a token", {"token", LOG_FIELD_STR, {"x", 1}, 0}, ",\"token\":\"***\"}\n", " token=***\n"},
        {"a URL", {"database_url", LOG_FIELD_STR, {"x", 1}, 0}, ",\"database_url\":\"***\"}\n", " database_url=***\n"},
        {"no URL", {"curl", LOG_FIELD_STR, {"x", 1}, 0}, ",\"curl\":\"x\"}\n", " curl=x\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int json = 0; json < 2; json++) {
            capture_begin("info", json ? "json" : "text");
            log_event(NULL, LOG_INFO, "event", &cases[i].field, 1);
            const char *line = capture_end();
            const char *want = json ? cases[i].json : cases[i].text;
            if (!str_ends_with(str_c(line), str_c(want)))
                fail_msg("%s: %s", cases[i].label, line);
        }
}

static void a_line_carries_time_level_role_and_trace(void **state) {
    (void)state;
    Arena *arena CLEANUP(arena_freep) = arena_new(4096);
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    memset(ctx.trace.trace_id, 0xab, 16);
    memset(ctx.trace.span_id, 0xcd, 8);
    clock_freeze(instant_from_unix_us(1763900705000042));
    log_set_role("http");
    char pid[32];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    char want[512];

    capture_begin("info", "json");
    LOG_W(&ctx, "slow request", F_INT("ms", 1200), F_ERR(ERR_TIMEOUT));
    snprintf(
        want, sizeof want,
        "{\"time\":\"2025-11-23T12:25:05.000042Z\",\"level\":\"warn\",\"event\":\"slow request\",\"role\":\"http\","
        "\"pid\":%s,\"trace_id\":\"abababababababababababababababab\",\"span_id\":\"cdcdcdcdcdcdcdcd\",\"ms\":1200,"
        "\"error\":\"timeout\"}\n",
        pid);
    assert_string_equal(capture_end(), want);

    capture_begin("info", "text");
    LOG_E(&ctx, "slow request", F_BOOL("again", true));
    snprintf(want, sizeof want,
             "12:25:05.000 ERROR [http %s] slow request again=true trace=abababababababababababababababab\n", pid);
    assert_string_equal(capture_end(), want);
    log_set_role(NULL);
    clock_thaw();
}

static void levels(void **state) {
    (void)state;
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (int level = 0; level < 4; level++) {
        capture_begin(names[level], "json");
        LOG_D(NULL, "d");
        LOG_I(NULL, "i");
        LOG_W(NULL, "w");
        LOG_E(NULL, "e");
        const char *text = capture_end();
        int lines = 0;
        for (const char *at = text; *at != '\0'; at++)
            lines += *at == '\n';
        assert_int_equal(lines, 4 - level);
    }
    assert_err(log_configure(STR("loud"), STR("auto")), ERR_INVALID);
    assert_err(log_configure(STR("info"), STR("xml")), ERR_INVALID);
    assert_err(log_configure((Str){NULL, 0}, STR("auto")), ERR_INVALID);
}

static void a_pipe_gets_json_and_a_terminal_text(void **state) {
    (void)state;
    capture_begin("info", "auto");
    LOG_I(NULL, "hello");
    assert_int_equal(capture_end()[0], '{');

    int master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    redirect(open(ptsname(master), O_RDWR | O_NOCTTY));
    assert_ok(log_configure(STR("info"), STR("auto")));
    LOG_I(NULL, "hello");
    char text[256] = "";
    assert_true(read(master, text, sizeof text - 1) > 0);
    reader = open("/dev/null", O_RDONLY);
    (void)capture_end();
    close(master);
    assert_non_null(strstr(text, "INFO  hello"));
}

static void a_long_line_is_cut_between_fields(void **state) {
    (void)state;
    static char big[20000];
    memset(big, 'x', sizeof big);
    LogField fields[] = {F_STR("a", ((Str){big, sizeof big})), F_STR("b", ((Str){big, sizeof big})),
                         F_STR("c", ((Str){big, sizeof big})), F_INT("last", 7)};
    for (int json = 0; json < 2; json++) {
        capture_begin("info", json ? "json" : "text");
        log_event(NULL, LOG_INFO, "long", fields, ARRAY_LEN(fields));
        const char *line = capture_end();
        assert_true(strlen(line) <= PIPE_BUF);
        assert_non_null(strstr(line, "\xE2\x80\xA6")); /* each value is cut too … */
        assert_non_null(strstr(line, json ? ",\"last\":7,\"fields_left_out\":1}\n" : " last=7 (1 fields left out)\n"));
    }
}

static void a_full_pipe_drops_lines_and_tells(void **state) {
    (void)state;
    capture_begin("info", "json");
    uint64_t before = log_dropped();
    int n = 0;
    while (log_dropped() == before && n < 100000) {
        LOG_I(NULL, "filling", F_INT("n", n));
        n++;
    }
    LOG_I(NULL, "lost as well");
    assert_int_equal(log_dropped() - before, 2);
    static char taken[1 << 20];
    assert_true(read(reader, taken, sizeof taken) > 0); /* somebody reads again */
    LOG_I(NULL, "here");
    const char *text = capture_end();
    const char *here = from(text, "\"event\":\"here\"");
    from(here, "\"event\":\"log lines dropped\"");
    from(here, "\"lines\":2}");
    assert_null(strstr(text, "lost as well"));
}

static void our_stderr_itself_stays_blocking(void **state) {
    (void)state;
    capture_begin("info", "json");
    LOG_I(NULL, "x");
    int flags = fcntl(STDERR_FILENO, F_GETFL);
    (void)capture_end();
    assert_int_equal(flags & O_NONBLOCK, 0);
}

static void a_full_socket_drops_lines_too(void **state) {
    (void)state;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    reader = fds[0];
    redirect(fds[1]);
    assert_ok(log_configure(STR("info"), STR("json")));
    uint64_t before = log_dropped();
    for (int i = 0; i < 100000 && log_dropped() == before; i++)
        LOG_I(NULL, "filling");
    bool dropped = log_dropped() > before;
    assert_int_equal(dup2(real_stderr, STDERR_FILENO), STDERR_FILENO);
    close(real_stderr);
    close(reader);
    assert_ok(log_configure(STR("info"), STR("auto")));
    assert_true(dropped);
}

/* A limit on the file's size cuts a write short as a full disk does. */
static void a_line_cut_by_a_full_disk_is_ended_before_the_next(void **state) {
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){.rlim_cur = 300, .rlim_max = before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    redirect(dup(fileno(file)));
    assert_ok(log_configure(STR("info"), STR("json")));
    uint64_t dropped = log_dropped();
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 5; i++)
        LOG_I(NULL, "filling");
    dropped = log_dropped() - dropped;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    LOG_I(NULL, "here");
    signal(SIGXFSZ, handler);
    assert_int_equal(dup2(real_stderr, STDERR_FILENO), STDERR_FILENO);
    close(real_stderr);
    assert_ok(log_configure(STR("info"), STR("auto")));
    char text[4096];
    ssize_t n = pread(fileno(file), text, sizeof text - 1, 0);
    fclose(file);
    assert_true(n > 300);
    text[n] = '\0';
    assert_true(dropped >= 1 && text[300] == '\n'); /* the torn piece is a line of its own … */
    from(text + 301, "{\"time\"");                  /* … and so is what comes behind it */
    from(text + 301, "\"event\":\"here\"");
    from(text + 301, "\"event\":\"log lines dropped\"");
    assert_int_equal(text[301], '{');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms),
        cmocka_unit_test(a_line_carries_time_level_role_and_trace),
        cmocka_unit_test(levels),
        cmocka_unit_test(a_pipe_gets_json_and_a_terminal_text),
        cmocka_unit_test(a_long_line_is_cut_between_fields),
        cmocka_unit_test(a_full_pipe_drops_lines_and_tells),
        cmocka_unit_test(our_stderr_itself_stays_blocking),
        cmocka_unit_test(a_full_socket_drops_lines_too),
        cmocka_unit_test(a_line_cut_by_a_full_disk_is_ended_before_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
