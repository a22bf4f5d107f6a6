/*
 * api_gateway.h - front door of the gateway: one worker of it, from configuration to answers.
 *
 *   supervisor  gateway_shared_new     before the first fork: what all workers count in
 *   worker      gateway_new            routes, upstreams; then gateway_serve is the server's handler
 *               gateway_reload         other routes, without a request lost
 *
 *
 * Hooks for stages and mirrors: gateway.h; what usher hooks there: switch.h in the gateway workers, shadow.h in workers
 * of their own, board.h between them.
 */
#pragma once
#include "api_gateway/bounds.h"
#include "api_gateway/forced.h"
#include "api_gateway/gateway.h"
#include "api_gateway/redact.h"
#include "api_gateway/shadow.h"
#include "api_gateway/switch.h"
#include "api_gateway/trials.h"
#include "resource/resource.h"

/** Schema gateway: differences, stages, counts. */
extern const Context GATEWAY_CONTEXT;

typedef struct GatewayShared GatewayShared;

typedef struct GatewayOptions {
    Str old_url, new_url;       /* LEGACY_URL, NEW_URL; absent: the routes file names upstreams */
    Str file_name, file_text;   /* the routes file; absent: none */
    Str trusted_proxies;        /* comma list beside the file's */
    const Route *const *tables; /* routes of usher's own contexts */
    size_t table_count;
    GatewayShared *shared; /* NULL: limits count for this worker alone */
    Str access_log;        /* "off", "stdout" or a path */
    bool access_combined;  /* Apache's combined format instead of JSON */
    bool traces;           /* the gateway's spans stand between the client's and the sides' */
} GatewayOptions;

/** ERR_NO_MEMORY as NULL. Shared by the processes that are forked later. */
GatewayShared *gateway_shared_new(void);

/** Options' texts need not live on. Mistakes as gateway_check prints them. ERR_INVALID: there are some. */
MUST_USE Err gateway_new(Loop *loop, const GatewayOptions *options, Buf *mistakes, Gateway **ret);
/** Takes on another configuration, or stays as it is when that has mistakes. Requests in work end with the one they
 *  began with; upstreams that did not change keep their connections. Opens the access log anew. */
MUST_USE Err gateway_reload(Gateway *gateway, const GatewayOptions *options, Buf *mistakes);
/** What waits to be written is written. Every request must have ended. */
void gateway_free(Gateway *gateway);
/** A Handler; data is the Gateway. */
CO_FN void gateway_serve(Request *req, Response *res, void *data);

/** Reads and checks a configuration without running it, and explains what each route does: text or JSON. Returns the
 *  number of mistakes (in `mistakes`, one a line). */
size_t gateway_check(const GatewayOptions *options, bool json, Buf *out, Buf *mistakes);
