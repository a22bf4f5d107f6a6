/*
 * rehearse_ask.c - one question to the gateway, on a loop of its own: before there is a load there is none.
 *
 * By the same client as the load's, so that what reaches one reaches the other, TLS included.
 */
#include "http/upstream.h"
#include "runtime/co.h"
#include "usher/rehearse.h"

enum { ANSWER_MS = 20000, BODY_MAX = 64 << 20, ASK_BYTES = 192 << 20 };

typedef struct Question {
    Loop *loop;
    Upstream *upstream;
    Arena *arena; /* of whoever asks */
    UpstreamRequest request;
    HttpAnswer answer;
    UpstreamFailure failure;
    Err err;
} Question;

static Err answer_keep(Question *q, const UpstreamAnswer *from) {
    Header *headers = ARENA_ARRAY(q->arena, Header, from->header_count + 1);
    if (headers == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < from->header_count; i++) {
        headers[i] = (Header){arena_str(q->arena, from->headers[i].name), arena_str(q->arena, from->headers[i].value)};
        if (headers[i].name.p == NULL || headers[i].value.p == NULL)
            return ERR_NO_MEMORY;
    }
    q->answer = (HttpAnswer){.status = from->status,
                             .headers = headers,
                             .header_count = from->header_count,
                             .body = arena_str(q->arena, from->body)};
    return q->answer.body.p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static CO_FN void question_co(Ctx *ctx, void *arg) {
    Question *q = arg;
    UpstreamAnswer answer;
    q->err = upstream_fetch(ctx, q->upstream, &q->request, BODY_MAX, &answer, &q->failure);
    if (q->err == ERR_OK)
        q->err = answer_keep(q, &answer);
    loop_stop(q->loop);
}

static Err question_run(Question *q, const LoadPlan *plan) {
    UpstreamOptions options = {
        .name = STR("rehearsal"), .urls = &plan->dial, .url_count = 1, .limits = UPSTREAM_LIMITS_DEFAULT};
    CoOptions how = {.name = "question", .arena_limit_bytes = ASK_BYTES, .deadline_ms = clock_mono_ms() + ANSWER_MS};
    TRY(loop_new(&q->loop));
    Err err = upstream_new(q->loop, &options, &q->upstream);
    if (err == ERR_OK)
        err = co_spawn(q->loop, question_co, q, &how, NULL);
    if (err == ERR_OK)
        loop_run(q->loop);
    upstream_unref(q->upstream);
    if (co_drain(q->loop, clock_mono_ms() + ANSWER_MS) == ERR_OK)
        loop_free(q->loop);
    return err == ERR_OK ? q->err : err;
}

Err load_ask(Arena *arena, const LoadPlan *plan, Str target, HttpAnswer *ret, const char **ret_why) {
    Question q = {.arena = arena, .request = {.idempotent = true}, .err = ERR_CANCELLED};
    q.request.head = arena_printf(arena,
                                  "GET %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: usher-rehearse\r\n"
                                  "Accept: application/json\r\nConnection: close\r\n\r\n",
                                  STR_ARG(target), STR_ARG(plan->authority));
    if (q.request.head.p == NULL)
        return ERR_NO_MEMORY;
    Err err = question_run(&q, plan);
    if (err == ERR_NO_MEMORY)
        return err;
    *ret_why = q.failure == UPSTREAM_WELL ? err_name(err) : upstream_failure_name(q.failure);
    *ret = q.answer;
    return err == ERR_OK ? ERR_OK : ERR_UNAVAILABLE;
}
