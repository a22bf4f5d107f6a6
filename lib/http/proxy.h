/*
 * proxy.h - a client's request to an upstream, and the answer back, as they flow.
 *
 * Bodies pass piece by piece with back-pressure both ways: memory does not depend on their size. The client's answer
 * begins with the first byte that the upstream's head is complete; what fails before that is told to the caller, who
 * may answer; what fails later cuts the client's connection, so that nobody takes half an answer for a whole one.
 */
#pragma once
#include "http/forward.h"
#include "http/upstream.h"

typedef struct ProxyOptions {
    const ForwardRules *rules;
    size_t copy_max; /* bytes of each body to keep; 0: none */
} ProxyOptions;

typedef struct ProxyResult {
    UpstreamFailure failure;
    UpstreamAnswer answer;   /* its head; status 0: none came */
    Err client;              /* what was wrong with the client's body, or ERR_EOF: it left */
    bool begun;              /* the client's answer has begun: nothing else can be said to it */
    bool complete;           /* … and was given out whole */
    int64_t answered_ns;     /* clock_mono_ns when the final head had come; 0: never */
    uint64_t sent, received; /* bytes of the bodies, without framing */
    char peer[72];           /* which instance; empty: none */
    Str request_body, body;  /* copies; absent: not wanted, or cut */
    bool request_cut, body_cut;
} ProxyResult;

/** Sends the request, gives the answer to the client (res->head's lines behind the upstream's). Nothing is answered
 *  where !ret->begun. Suspends. */
CO_FN void proxy_pass(Request *req, Response *res, Upstream *upstream, const ProxyOptions *options, ProxyResult *ret);
