/*
 * forward.h - a client's request as it goes on to another server: what is left out, what is added.
 */
#pragma once
#include "http/cidr.h"
#include "http/http.h"

typedef struct ForwardRules {
    CidrList trusted;     /* peers whose Forwarded and X-Forwarded-* are continued; all others' are replaced */
    Str via;              /* our name in Via */
    bool hides_forwarded; /* adds no Forwarded */
    bool hides_x;         /* adds no X-Forwarded-* */
    bool traces;          /* traceparent of ctx in the place of the client's */
    const Str *upgrades;  /* protocols that a client may switch to ("websocket"); others' wish is left out */
    size_t upgrade_count;
} ForwardRules;

/** The body that will follow the head. */
typedef struct ForwardBody {
    BodyKind kind; /* BODY_NONE, BODY_LENGTH, BODY_CHUNKED */
    uint64_t length;
    bool expect_continue; /* the client's Expect goes on */
    bool upgrade;         /* its wish to switch protocols goes on */
} ForwardBody;

/** The body as the client announced it. */
ForwardBody forward_body(const Request *req, const ForwardRules *rules);
/** The client's address behind trusted proxies; borrowed from the request. */
Str forward_client(const Request *req, const ForwardRules *rules);
/** Appends request line and fields up to and with the empty line. Fields of the client keep order and case; ours come
 *  behind them. ctx: whose span is the parent of what follows. */
void forward_head(const Request *req, const ForwardRules *rules, const ForwardBody *body, Ctx *ctx, Buf *out);
/** Appends the trailer lines that may go on: no framing, no routing, nothing of one connection (RFC 9110 §6.5.1). */
void forward_trailers(Str lines, Buf *out);
