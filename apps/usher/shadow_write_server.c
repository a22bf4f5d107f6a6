/*
 * shadow_write_server.c - the contexts as they serve clients, on pools that roll back.
 *
 * A process of its own, not a mode of one that serves: what cannot commit must never be mistaken for what can. One
 * request has one transaction at a time per context, so trials of a context stand in line; PG_WAITING_MAX and the
 * request's deadline bound that line.
 */
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/jsonapi.h"
#include "http/client.h"
#include "legacy/quirks.h"
#include "usher/app.h"
#include "usher/shadow_write.h"

#define ENVELOPE_TYPE   "application/vnd.usher.trial+json"
#define ENVELOPE_MAX    (64 * 1024 * 1024)
#define REQUEST_MS      5000
#define ASK_MS          20000
#define CONNECTIONS_MAX 8 /* trials at once; further ones wait in the backlog */
/* A process that is being killed closes its connections some time before it can be waited for. */
#define DEATH_MS    300
#define DEATH_LOOKS 30

/* One request in work; on its coroutine's stack. */
typedef struct TrialCall {
    Ctx *ctx;
    Buf actions; /* JSON list's elements */
    struct TrialCall *next;
} TrialCall;

/* The process's own. */
static struct {
    App app;
    HttpServer *server;
    CompatApp compat;
    CompatStyle style;
    TrialCall *calls;
} self;

/* --- what was told of the actions --------------------------------------------------------------------------------- */

static void write_tables(JsonWriter *w, const Trial *trial) {
    json_name(w, STR("tables"));
    json_array(w);
    for (size_t i = 0; i < trial->table_n; i++) {
        const TrialTable *table = &trial->tables[i];
        json_object(w);
        json_name(w, STR("table"));
        json_write_string(w, table->name);
        json_name(w, STR("inserted"));
        json_write_i64(w, table->inserted);
        json_name(w, STR("updated"));
        json_write_i64(w, table->updated);
        json_name(w, STR("deleted"));
        json_write_i64(w, table->deleted);
        if (table->rows.p != NULL) {
            json_name(w, STR("rows"));
            json_write_raw(w, table->rows);
        }
        json_object_end(w);
    }
    json_array_end(w);
}

static void note_trial(Ctx *ctx, const Trial *trial, void *data UNUSED) {
    TrialCall *call = self.calls;
    while (call != NULL && call->ctx != ctx)
        call = call->next;
    if (call == NULL)
        return;
    JsonWriter w;
    if (call->actions.n > 0)
        buf_add_char(&call->actions, ',');
    json_writer_init(&w, &call->actions, JSON_ESCAPE_MINIMAL, 0);
    json_object(&w);
    json_name(&w, STR("resource"));
    json_write_string(&w, str_c(trial->resource->name));
    json_name(&w, STR("action"));
    json_write_string(&w, str_c(trial->action->name));
    write_tables(&w, trial);
    json_name(&w, STR("messages"));
    json_array(&w);
    for (const Outgoing *message = trial->messages; message != NULL; message = message->next) {
        json_object(&w);
        json_name(&w, STR("type"));
        json_write_string(&w, message->type);
        json_name(&w, STR("message"));
        json_write_raw(&w, message->payload);
        json_object_end(&w);
    }
    json_array_end(&w);
    json_object_end(&w);
}

/* --- the envelope ------------------------------------------------------------------------------------------------- */

static void write_headers(JsonWriter *w, Str lines) {
    json_name(w, STR("headers"));
    json_array(w);
    while (lines.p != NULL && lines.n > 0) {
        Str line = str_trim(str_cut(&lines, '\n'), "\r"), name = str_cut(&line, ':');
        if (name.n == 0)
            continue;
        json_array(w);
        json_write_string(w, name);
        json_write_string(w, str_trim(line, " "));
        json_array_end(w);
    }
    json_array_end(w);
}

static void answer_envelope(Request *req, Response *res, const TrialCall *call) {
    Buf out = buf_new(req->ctx->arena, ENVELOPE_MAX);
    Buf list = buf_new(req->ctx->arena, ENVELOPE_MAX);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 0);
    json_object(&w);
    json_name(&w, STR("status"));
    json_write_i64(&w, res->status);
    write_headers(&w, buf_str(&res->head));
    json_name(&w, STR("body"));
    json_write_string(&w, res->body.n == 0 ? STR("") : buf_str(&res->body));
    json_name(&w, STR("actions"));
    buf_add_char(&list, '[');
    buf_add(&list, buf_str(&call->actions));
    buf_add_char(&list, ']');
    json_write_raw(&w, buf_str(&list));
    json_object_end(&w);
    bool whole = out.err == ERR_OK && list.err == ERR_OK && call->actions.err == ERR_OK;
    *res = (Response){.status = whole ? 200 : 507,
                      .body = whole ? out : buf_new(req->ctx->arena, 1024),
                      .head = buf_new(req->ctx->arena, 1024)};
    response_header(res, "Content-Type", STR(ENVELOPE_TYPE));
}

static CO_FN void serve_trial(Request *req, Response *res, void *data UNUSED) {
    TrialCall call = {.ctx = req->ctx, .actions = buf_new(req->ctx->arena, ENVELOPE_MAX), .next = self.calls};
    self.calls = &call;
    surfaces_serve(req, res, &self.compat);
    for (TrialCall **at = &self.calls; *at != NULL; at = &(*at)->next) {
        if (*at == &call) {
            *at = call.next;
            break;
        }
    }
    if (!res->streaming)
        answer_envelope(req, res, &call);
}

/* --- the process -------------------------------------------------------------------------------------------------- */

static Engine *engine_of(const char *context, void *data) {
    return app_engine((const App *)data, context);
}

static Err serve(const Settings *settings, int fd) {
    Loop *loop;
    Ctx ctx;
    TRY(loop_new(&loop));
    TRY(app_open_trial(&self.app, loop, settings, (const char *const[]){"events", "users", "tickets", NULL}, note_trial,
                       NULL));
    ctx_init(&ctx, self.app.arena, 0);
    quirks_style(&self.style);
    self.compat = (CompatApp){.engine_of = engine_of,
                              .data = &self.app,
                              .style = &self.style,
                              .body_max = (uint64_t)settings->body_max_bytes};
    TRY(app_router(&ctx, self.app.arena, &self.compat.router));
    HttpServerOptions options = {.limits = HTTP_LIMITS_DEFAULT, .handler = serve_trial};
    options.limits.connections_max = CONNECTIONS_MAX;
    options.limits.request_timeout_ms = REQUEST_MS;
    options.limits.body_max = (uint64_t)settings->body_max_bytes;
    TRY(http_server_new(loop, &fd, 1, &options, &self.server));
    loop_run(loop);
    return ERR_OK;
}

Err trial_process_start(Ctx *ctx, const Settings *settings, TrialProcess *ret) {
    int fd;
    Str why;
    struct sockaddr_in address = {0};
    socklen_t n = sizeof address;
    if (http_listen_socket(STR("127.0.0.1:0"), &fd, &why, ctx->arena) != ERR_OK)
        return ctx_problem(ctx, ERR_IO, NULL, "no socket for trials: %.*s", STR_ARG(why));
    pid_t parent = getpid(), pid = -1;
    if (getsockname(fd, (struct sockaddr *)&address, &n) == 0)
        pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing here can be left half done */
        if (getppid() != parent)
            _exit(1);
        _exit(serve(settings, fd) == ERR_OK ? 0 : 1);
    }
    (void)close(fd);
    if (pid < 0)
        return ctx_problem(ctx, ERR_IO, NULL, "no process for trials can be started");
    *ret = (TrialProcess){.pid = pid, .port = ntohs(address.sin_port)};
    return ERR_OK;
}

bool trial_process_lives(TrialProcess *process) {
    for (int i = 0; process->pid > 0 && i < DEATH_LOOKS; i++) {
        if (waitpid(process->pid, NULL, WNOHANG) != 0)
            process->pid = 0;
        else
            clock_sleep_ms(DEATH_MS / DEATH_LOOKS);
    }
    return process->pid > 0;
}

void trial_process_stop(TrialProcess *process) {
    if (process->pid <= 0)
        return;
    (void)kill(process->pid, SIGKILL);
    (void)waitpid(process->pid, NULL, 0);
    process->pid = 0;
}

/* --- asking it ---------------------------------------------------------------------------------------------------- */

static bool is_envelope(const HttpAnswer *got) {
    for (size_t i = 0; i < got->header_count; i++)
        if (str_eq_nocase(got->headers[i].name, STR("content-type")))
            return str_eq_c(got->headers[i].value, ENVELOPE_TYPE);
    return false;
}

Err trial_process_ask(Arena *arena, const TrialProcess *process, Str bytes, TrialAnswer *ret) {
    HttpAnswer got = {0};
    Json *envelope;
    TRY(http_client_exchange(arena, "127.0.0.1", process->port, bytes, false, ASK_MS, &got));
    *ret = (TrialAnswer){.answer = got};
    if (!is_envelope(&got)) /* what could not be read as a request is answered before the handler */
        return ERR_OK;
    if (got.status != 200)
        return ERR_LIMIT;
    TRY(json_parse(got.body, arena, JSON_DUPLICATES_LAST, &envelope, NULL));
    const Json *pairs = json_member(envelope, "headers");
    Header *headers = ARENA_ARRAY(arena, Header, pairs == NULL ? 1 : pairs->count + 1);
    if (headers == NULL)
        return ERR_NO_MEMORY;
    size_t n = 0;
    for (const Json *pair = pairs == NULL ? NULL : pairs->first; pair != NULL; pair = pair->next)
        headers[n++] = (Header){.name = json_text(json_element(pair, 0)), .value = json_text(json_element(pair, 1))};
    ret->answer = (HttpAnswer){.status = (int)json_i64(json_member(envelope, "status"), 0),
                               .headers = headers,
                               .header_count = n,
                               .body = json_text(json_member(envelope, "body"))};
    ret->actions = json_member(envelope, "actions");
    return ERR_OK;
}
