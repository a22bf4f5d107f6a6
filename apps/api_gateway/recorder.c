/*
 * recorder.c - each exchange is written over the end of the document, and the end behind it.
 */
#include "api_gateway/recorder.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api_gateway/redact.h"
#include "base/heap.h"

enum { EXCHANGE_MAX = 1 << 20, CAPTURES_MAX = 8 << 20, EXCHANGE_ARENA = 8 << 20 };

struct Recorder {
    int fd;
    int64_t began_ns;
    off_t end; /* where the next exchange begins */
    uint64_t n, left_out, captures_n;
    Buf captures; /* members of the object "captures" */
    Buf out;
    Arena *arena;
};

static void write_tail(const Recorder *recorder, Buf *out) {
    buf_add_c(out, "\n ],\n \"captures\": {");
    buf_add(out, buf_str(&recorder->captures));
    buf_add_c(out, "}\n}\n");
}

static bool put_at(const Recorder *recorder, const Buf *out) {
    for (size_t done = 0; done < out->n;) {
        ssize_t n = pwrite(recorder->fd, out->p + done, out->n - done, recorder->end + (off_t)done);
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

Err recorder_open(const char *path, Recorder **ret, const char **ret_why) {
    Recorder *recorder = HEAP_NEW(Recorder);
    *ret_why = "no memory";
    if (recorder == NULL)
        return ERR_NO_MEMORY;
    *recorder = (Recorder){.began_ns = clock_mono_ns(),
                           .captures = buf_new(NULL, CAPTURES_MAX),
                           .out = buf_new(NULL, EXCHANGE_MAX + CAPTURES_MAX),
                           .arena = arena_new(EXCHANGE_ARENA)};
    recorder->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    buf_add_c(&recorder->out,
              "{\n \"name\": \"recorded\",\n \"description\": \"recorded by usher gateway record; redacted\",\n"
              " \"volatile_headers\": [\"Date\"],\n \"exchanges\": [");
    size_t head = recorder->out.n;
    write_tail(recorder, &recorder->out);
    if (recorder->arena != NULL && recorder->fd >= 0 && recorder->out.err == ERR_OK &&
        put_at(recorder, &recorder->out)) {
        recorder->end = (off_t)head;
        *ret = recorder;
        return ERR_OK;
    }
    *ret_why = recorder->fd < 0 ? "the file cannot be made" : "the file cannot be written";
    recorder_close(recorder);
    return ERR_IO;
}

void recorder_close(Recorder *recorder) {
    if (recorder == NULL)
        return;
    if (recorder->fd >= 0)
        (void)close(recorder->fd);
    if (recorder->arena != NULL)
        arena_free(recorder->arena);
    buf_done(&recorder->captures);
    buf_done(&recorder->out);
    heap_free(recorder);
}

uint64_t recorder_written(const Recorder *recorder) {
    return recorder->n;
}

uint64_t recorder_left_out(const Recorder *recorder) {
    return recorder->left_out;
}

/* --- one exchange ------------------------------------------------------------------------------------------------- */

static void write_headers(JsonWriter *w, const Header *headers, size_t n) {
    json_array(w);
    for (size_t i = 0; i < n; i++) {
        json_array(w);
        json_write_string(w, headers[i].name);
        json_write_string(w, redact_is_secret(headers[i].name) ? STR("redacted") : headers[i].value);
        json_array_end(w);
    }
    json_array_end(w);
}

static void write_body(JsonWriter *w, Arena *arena, Str body) {
    Str text;
    if (body.n == 0)
        return;
    json_name(w, STR("body"));
    json_write_string(w, redact_body(arena, body, &text) == ERR_OK && utf8_valid(text) ? text : STR("[not kept]"));
}

static void write_exchange(Recorder *recorder, const GatewayExchange *exchange) {
    const Request *req = exchange->req;
    JsonWriter writer, *w = &writer;
    Str target;
    json_writer_init(w, &recorder->out, JSON_ESCAPE_MINIMAL, 0);
    json_object(w);
    json_name(w, STR("at_ms"));
    json_write_i64(w, (exchange->began_ns - recorder->began_ns) / 1000000);
    json_name(w, STR("request"));
    json_object(w);
    json_name(w, STR("method"));
    json_write_string(w, req->method_text);
    json_name(w, STR("path"));
    json_write_string(w, redact_target(recorder->arena, req->target, &target) == ERR_OK ? target : STR("/"));
    json_name(w, STR("headers"));
    write_headers(w, req->headers, req->header_count);
    write_body(w, recorder->arena, exchange->request_body);
    json_object_end(w);
    json_name(w, STR("response"));
    json_object(w);
    json_name(w, STR("status"));
    json_write_i64(w, exchange->status);
    json_name(w, STR("headers"));
    write_headers(w, exchange->headers, exchange->header_count);
    write_body(w, recorder->arena, exchange->body);
    json_object_end(w);
    json_object_end(w);
}

/** What was made is known by the id at the end of its Location. */
static void note_capture(Recorder *recorder, const GatewayExchange *exchange) {
    Id id;
    for (size_t i = 0; exchange->status == 201 && i < exchange->header_count; i++) {
        Str value = exchange->headers[i].value;
        if (!str_eq_nocase(exchange->headers[i].name, STR("location")) || value.n < ID_TEXT_LEN)
            continue;
        value = str_slice(value, value.n - ID_TEXT_LEN, value.n);
        if (id_parse(value, ID_FORM_D, &id) != ERR_OK)
            continue;
        recorder->captures_n++;
        buf_printf(&recorder->captures,
                   "%s\n  \"made_%llu\": {\"exchange\": %llu, \"header\": \"Location\", \"value\": \"%.*s\"}",
                   recorder->captures.n == 0 ? "" : ",", (unsigned long long)recorder->captures_n,
                   (unsigned long long)recorder->n, STR_ARG(value));
    }
}

void recorder_add(Recorder *recorder, const GatewayExchange *exchange) {
    if (exchange->status == 0 || exchange->request_cut || exchange->body_cut || recorder->captures.err != ERR_OK) {
        recorder->left_out++;
        return;
    }
    arena_reset(recorder->arena);
    buf_clear(&recorder->out);
    buf_add_c(&recorder->out, recorder->n == 0 ? "\n  " : ",\n  ");
    write_exchange(recorder, exchange);
    size_t n = recorder->out.n, captures = recorder->captures.n;
    note_capture(recorder, exchange);
    write_tail(recorder, &recorder->out);
    if (recorder->out.err != ERR_OK || !put_at(recorder, &recorder->out)) {
        recorder->captures.n = captures;
        recorder->left_out++;
        return;
    }
    recorder->end += (off_t)n;
    recorder->n++;
}
