/*
 * http_forward.c - fuzzes the rewriting of requests: what goes on is read by the next server as what came, and says of
 * the client only what the gateway knows.
 *
 * Input: 1 byte of flags (bit 0: the peer is trusted, 1: tracing, 2 and 3: which Forwarded fields are left out), then a
 * request's head.
 */
#include "http/forward.h"
#include "http/head.h"

#include "fuzz.h"

static bool head_read(HeadParser *parser, Str bytes, HeadFacts *facts) {
    static char scratch[1 << 16];
    static const HttpLimits limits = {.request_line_max = 60000, .headers_total_max = 120000, .headers_count_max = 128};
    head_reset(parser);
    return head_parse(parser, &limits, bytes.p, bytes.n) == HEAD_DONE &&
           head_check(parser, bytes.p, scratch, facts) == 0;
}

static size_t count(const HeadParser *parser, const char *p, const char *name, Str *ret_last) {
    size_t n = 0;
    for (uint32_t i = 0; i < parser->field_count; i++) {
        const HeadField *f = &parser->fields[i];
        if (!str_eq_nocase((Str){p + f->name, f->name_n}, str_c(name)))
            continue;
        *ret_last = (Str){p + f->value, f->value_n};
        n++;
    }
    return n;
}

static void check(const Request *req, const ForwardRules *rules, const HeadFacts *before, Str out) {
    static HeadParser parser;
    HeadFacts after;
    Str value = {NULL, 0};
    FUZZ_CHECK(head_read(&parser, out, &after) && parser.end == out.n && parser.minor == 1);
    FUZZ_CHECK(str_eq(after.method_text, req->method_text));
    FUZZ_CHECK(after.body_kind == before->body_kind && after.content_length == before->content_length);
    FUZZ_CHECK(count(&parser, out.p, "host", &value) == 1);
    FUZZ_CHECK(count(&parser, out.p, "x-forwarded-for", &value) == (rules->hides_x ? 0 : 1));
    FUZZ_CHECK(rules->hides_x || rules->trusted.n > 0 || str_eq(value, req->peer));
    FUZZ_CHECK(count(&parser, out.p, "forwarded", &value) == (rules->hides_forwarded ? 0 : 1));
    FUZZ_CHECK(count(&parser, out.p, "keep-alive", &value) + count(&parser, out.p, "proxy-connection", &value) == 0);
    FUZZ_CHECK(count(&parser, out.p, "connection", &value) <= 1);
    FUZZ_CHECK(count(&parser, out.p, "upgrade", &value) == 0 || str_eq_nocase(value, STR("websocket")));
    FUZZ_CHECK(!rules->traces || count(&parser, out.p, "traceparent", &value) == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static HeadParser parser;
    static const Str upgrades[] = {STR_INIT("websocket")};
    if (size < 2 || size > 32000)
        return 0;
    Str bytes = {(const char *)data + 1, size - 1};
    HeadFacts facts;
    if (!head_read(&parser, bytes, &facts) || parser.field_count > 100 || facts.method == METHOD_CONNECT)
        return 0;
    Arena *arena = arena_new(4 << 20);
    Header headers[128];
    for (uint32_t i = 0; i < parser.field_count; i++) {
        const HeadField *f = &parser.fields[i];
        headers[i] = (Header){{bytes.p + f->name, f->name_n}, {bytes.p + f->value, f->value_n}};
    }
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    Request req = {.ctx = &ctx,
                   .method = facts.method,
                   .method_text = facts.method_text,
                   .target = facts.target,
                   .path = facts.path,
                   .query = facts.query,
                   .minor = parser.minor,
                   .headers = headers,
                   .header_count = parser.field_count,
                   .body_kind = facts.body_kind,
                   .content_length = facts.content_length,
                   .expect_continue = facts.expect_continue,
                   .peer = STR("192.0.2.1")};
    Cidr cidr;
    Err err = cidr_parse(STR("192.0.2.0/24"), &cidr);
    ForwardRules rules = {.trusted = {&cidr, err == ERR_OK ? data[0] & 1 : 0},
                          .via = STR("usher"),
                          .traces = (data[0] & 2) != 0,
                          .hides_x = (data[0] & 4) != 0,
                          .hides_forwarded = (data[0] & 8) != 0,
                          .upgrades = upgrades,
                          .upgrade_count = 1};
    ForwardBody body = forward_body(&req, &rules);
    Buf out = buf_new(arena, 256 * 1024);
    forward_head(&req, &rules, &body, &ctx, &out);
    if (out.err == ERR_OK)
        check(&req, &rules, &facts, buf_str(&out));
    (void)forward_client(&req, &rules);
    arena_free(arena);
    return 0;
}
