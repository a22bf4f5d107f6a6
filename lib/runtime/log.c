/*
 * log.c - levels, and the way to stderr.
 *
 * stderr is often one pipe or terminal shared with other processes, so its own O_NONBLOCK must not be touched: that
 * flag belongs to the open file description, not to us. A pipe or terminal is therefore opened once more through
 * /proc/self/fd (a description of our own, non-blocking), and a socket (journald's) is sent to with MSG_DONTWAIT. Where
 * neither works, poll(2) asks first. What cannot be written now is dropped and counted; the next line that gets through
 * is followed by the count.
 */
#include "runtime/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/log_line.h"

typedef enum LogSink { SINK_UNKNOWN, SINK_BLOCKING, SINK_NONBLOCKING, SINK_SOCKET } LogSink;

/* One process is one worker and one thread: this state is its own. */
static struct {
    LogLevel level;
    bool json;
    LogSink sink;
    int fd;
    const char *role;
    uint64_t dropped, dropped_told;
    LogObserver observer;
    bool torn; /* a full disk has cut the last line short: the next one must not be glued to it */
} self = {.level = LOG_INFO, .json = true, .fd = STDERR_FILENO};

static void open_sink(void) {
    if (self.sink == SINK_NONBLOCKING)
        close(self.fd);
    self.fd = STDERR_FILENO;
    self.sink = SINK_BLOCKING;
    self.torn = false;
    struct stat st;
    if (fstat(STDERR_FILENO, &st) != 0)
        return;
    if (S_ISSOCK(st.st_mode)) {
        self.sink = SINK_SOCKET;
        return;
    }
    if (!S_ISFIFO(st.st_mode) && !isatty(STDERR_FILENO))
        return; /* a regular file never blocks for long */
    int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return;
    self.fd = fd;
    self.sink = SINK_NONBLOCKING;
}

static bool put(const LogLine *line) {
    if (self.sink == SINK_SOCKET)
        return send(self.fd, line->p, line->n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)line->n;
    if (self.torn && write(self.fd, "\n", 1) != 1)
        return false;
    self.torn = false;
    if (self.sink == SINK_BLOCKING) {
        struct pollfd ready = {.fd = self.fd, .events = POLLOUT};
        if (poll(&ready, 1, 0) != 1)
            return false;
    }
    ssize_t n;
    do
        n = write(self.fd, line->p, line->n);
    while (n < 0 && errno == EINTR);
    self.torn = n > 0 && n < (ssize_t)line->n;
    return n == (ssize_t)line->n;
}

static bool write_line(const Ctx *ctx, LogLevel level, const char *event, const LogField *fields, size_t n) {
    static LogLine line; /* not on a coroutine's stack; nothing suspends between filling and writing */
    LogHead head = {.now = clock_now(),
                    .level = level,
                    .event = event,
                    .role = self.role,
                    .pid = (int)getpid(),
                    .trace = ctx == NULL ? NULL : &ctx->trace};
    if (self.json)
        log_line_json(&line, &head, fields, n);
    else
        log_line_text(&line, &head, fields, n);
    return put(&line);
}

void log_event(const Ctx *ctx, LogLevel level, const char *event, const LogField *fields, size_t n) {
    if (level < self.level)
        return;
    int saved_errno = errno;
    if (self.sink == SINK_UNKNOWN) {
        self.json = isatty(STDERR_FILENO) == 0;
        open_sink();
    }
    if (!write_line(ctx, level, event, fields, n)) {
        self.dropped++;
    } else if (self.dropped > self.dropped_told) {
        LogField lost = F_INT("lines", self.dropped - self.dropped_told);
        if (write_line(NULL, LOG_WARN, "log lines dropped", &lost, 1))
            self.dropped_told = self.dropped;
    }
    if (self.observer != NULL)
        self.observer(ctx, level, event, fields, n);
    errno = saved_errno;
}

void log_set_observer(LogObserver observer) {
    self.observer = observer;
}

Err log_configure(Str level, Str format) {
    LogLevel wanted = LOG_DEBUG;
    while (wanted <= LOG_ERROR && !str_eq_c(level, log_level_name(wanted)))
        wanted++;
    bool is_auto = str_eq_c(format, "auto");
    if (wanted > LOG_ERROR || !(is_auto || str_eq_c(format, "text") || str_eq_c(format, "json")))
        return ERR_INVALID;
    self.level = wanted;
    self.json = is_auto ? isatty(STDERR_FILENO) == 0 : str_eq_c(format, "json");
    open_sink();
    return ERR_OK;
}

void log_set_role(const char *role) {
    self.role = role;
}

uint64_t log_dropped(void) {
    return self.dropped;
}
