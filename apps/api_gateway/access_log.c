/*
 * access_log.c - lines gather in 64 kB and leave a second after the first, or when half of it is full.
 *
 * Each write is one of whole lines to a file opened for appending, so that several workers may share it. What a client
 * sent is escaped: nobody may write lines of his own.
 */
#include "api_gateway/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/heap.h"
#include "json/json.h"

enum { BUFFER_MAX = 64 * 1024, LINE_MAX_BYTES = 16 * 1024, FLUSH_MS = 1000, FIELD_MAX = 2048 };

struct AccessLog {
    Loop *loop;
    Timer timer;
    Buf lines;
    Str path; /* absent: stdout */
    int fd;
    bool combined;
    uint64_t dropped;
};

static void flush(AccessLog *log) {
    Str rest = buf_str(&log->lines);
    while (rest.n > 0 && log->fd >= 0) {
        ssize_t n = write(log->fd, rest.p, rest.n);
        if (n >= 0)
            rest = str_slice(rest, (size_t)n, rest.n);
        else if (errno != EINTR)
            break;
    }
    for (size_t i = 0; i < rest.n; i++)
        log->dropped += rest.p[i] == '\n';
    buf_clear(&log->lines);
}

static void on_timer(Timer *timer) {
    flush((AccessLog *)((char *)timer - offsetof(AccessLog, timer)));
}

static int open_path(Str path) {
    return open(path.p, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

Err access_log_new(Loop *loop, Str target, bool combined, AccessLog **ret) {
    AccessLog *log = HEAP_NEW(AccessLog);
    if (log == NULL)
        return ERR_NO_MEMORY;
    log->loop = loop;
    log->timer.fn = on_timer;
    log->combined = combined;
    log->lines = buf_new(NULL, BUFFER_MAX);
    log->fd = STDOUT_FILENO;
    if (!str_eq(target, STR("stdout"))) {
        char *path = heap_alloc(target.n + 1);
        if (path == NULL) {
            heap_free(log);
            return ERR_NO_MEMORY;
        }
        memcpy(path, target.p, target.n);
        log->path = (Str){path, target.n};
        log->fd = open_path(log->path);
    }
    if (log->fd < 0) {
        access_log_free(log);
        return ERR_IO;
    }
    *ret = log;
    return ERR_OK;
}

void access_log_reopen(AccessLog *log) {
    if (log == NULL || log->path.p == NULL)
        return;
    flush(log);
    int fd = open_path(log->path);
    if (fd < 0)
        return; /* the old file is better than none */
    close(log->fd);
    log->fd = fd;
}

void access_log_free(AccessLog *log) {
    if (log == NULL)
        return;
    flush(log);
    timer_disarm(log->loop, &log->timer);
    if (log->path.p != NULL && log->fd >= 0)
        close(log->fd);
    heap_free((void *)(uintptr_t)log->path.p);
    buf_done(&log->lines);
    heap_free(log);
}

uint64_t access_log_dropped(const AccessLog *log) {
    return log == NULL ? 0 : log->dropped;
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

static void member(JsonWriter *w, const char *name, Str value) {
    if (value.p == NULL || value.n == 0)
        return;
    json_name(w, str_c(name));
    json_write_string(w, str_slice(value, 0, FIELD_MAX));
}

static void number(JsonWriter *w, const char *name, int64_t value) {
    json_name(w, str_c(name));
    json_write_i64(w, value);
}

static void hex(Str bytes, char *out) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes.n; i++) {
        out[2 * i] = digits[(uint8_t)bytes.p[i] >> 4];
        out[2 * i + 1] = digits[(uint8_t)bytes.p[i] & 15];
    }
}

/* "2026-11-23T10:00:00.123Z" from the parts that Instant prints. */
static Str time_text(char out[INSTANT_TEXT_MAX]) {
    Instant now = clock_now();
    now.ticks -= now.ticks % 10000;
    return (Str){out, instant_format(now, out)};
}

/* second: as HTTP/2 is called, "2" in telemetry (RFC 9113 has no minor number), "2.0" where readers expect one. */
static Str version_text(const Request *req, Str second) {
    return req->major == 2 ? second : req->minor == 0 ? STR("1.0") : STR("1.1");
}

static void json_line(const AccessEntry *entry, Buf *out) {
    const Request *req = entry->req;
    const ProxyResult *result = entry->result;
    char time[INSTANT_TEXT_MAX], trace[32];
    JsonWriter w;
    hex((Str){(const char *)req->ctx->trace.trace_id, 16}, trace);
    json_writer_init(&w, out, JSON_ESCAPE_MINIMAL, 0);
    json_object(&w);
    member(&w, "time", time_text(time));
    member(&w, "client", entry->client);
    member(&w, "peer", req->peer);
    member(&w, "method", req->method_text);
    member(&w, "target", req->target);
    member(&w, "scheme", req->secure ? STR("https") : STR("http"));
    member(&w, "version", version_text(req, STR("2")));
    member(&w, "host", request_header(req, "Host"));
    number(&w, "status", entry->status);
    number(&w, "duration_us", (entry->ended_ns - entry->began_ns) / 1000);
    member(&w, "route", entry->route == NULL ? STR("") : str_c(entry->route->route->name));
    member(&w, "backend", str_c(entry->side));
    member(&w, "upstream", entry->upstream);
    if (result != NULL) {
        member(&w, "instance", str_c(result->peer));
        if (result->answered_ns != 0)
            number(&w, "first_byte_us", (result->answered_ns - entry->began_ns) / 1000);
        number(&w, "bytes_in", (int64_t)result->sent);
        number(&w, "bytes_out", (int64_t)result->received);
        member(&w, "failure", str_c(upstream_failure_name(result->failure)));
        if (result->client != ERR_OK)
            member(&w, "client_error", str_c(err_name(result->client)));
    }
    member(&w, "user_agent", request_header(req, "User-Agent"));
    member(&w, "trace_id", (Str){trace, sizeof trace});
    json_object_end(&w);
}

/* Apache's way to keep a quoted field in its quotes. */
static void quoted(Buf *out, Str value) {
    buf_add_char(out, '"');
    value = str_slice(value, 0, FIELD_MAX);
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            buf_printf(out, "\\x%02x", c);
        else
            buf_add_char(out, (char)c);
    }
    buf_add_char(out, '"');
}

static void combined_line(const AccessEntry *entry, Buf *out) {
    const Request *req = entry->req;
    Str date = http_date(); /* "Mon, 23 Nov 2026 10:00:00 GMT" */
    Str agent = request_header(req, "User-Agent"), referer = request_header(req, "Referer");
    Buf line CLEANUP(buf_done) = buf_new(NULL, LINE_MAX_BYTES);
    buf_add(&line, req->method_text);
    buf_add_char(&line, ' ');
    buf_add(&line, req->target);
    buf_add(&line, STR(" HTTP/"));
    buf_add(&line, version_text(req, STR("2.0")));
    buf_add(out, entry->client);
    buf_printf(out, " - - [%.2s/%.3s/%.4s:%.8s +0000] ", date.p + 5, date.p + 8, date.p + 12, date.p + 17);
    quoted(out, buf_str(&line));
    buf_printf(out, " %d %llu ", entry->status,
               (unsigned long long)(entry->result == NULL ? 0 : entry->result->received));
    quoted(out, referer.p == NULL ? STR("-") : referer);
    buf_add_char(out, ' ');
    quoted(out, agent.p == NULL ? STR("-") : agent);
}

void access_log_add(AccessLog *log, const AccessEntry *entry) {
    if (log == NULL)
        return;
    if (log->lines.n > BUFFER_MAX / 2)
        flush(log);
    size_t before = log->lines.n;
    if (log->combined)
        combined_line(entry, &log->lines);
    else
        json_line(entry, &log->lines);
    buf_add_char(&log->lines, '\n');
    if (log->lines.err != ERR_OK) {
        log->dropped++;
        log->lines.err = ERR_OK;
        log->lines.n = before;
        return;
    }
    if (log->timer.heap_index == 0 && timer_arm(log->loop, &log->timer, clock_mono_ms() + FLUSH_MS) != ERR_OK)
        flush(log);
}
