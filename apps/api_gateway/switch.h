/*
 * switch.h - the gateway's hooks: which side answers a request by its stage, and what becomes of it afterwards.
 *
 * A gateway worker never talks to Postgres: it reads the stages from the board, and hands copies to the shadow worker
 * there. So nothing that a client waits for depends on more than this process.
 */
#pragma once
#include "api_gateway/board.h"
#include "api_gateway/gateway.h"
#include "api_gateway/recorder.h"
#include "http/router.h"

typedef struct SwitchOptions {
    Board *board;
    size_t worker;
    const Router *router; /* of usher's own routes, which the board's labels are of */
    int64_t sample_ppm;   /* of a million requests that may be mirrored */
    bool mirror_back;     /* in canary and new, compare with the other side too */
    bool tries;           /* there are processes for trials: writes are mirrored too */
    Str canary_key;       /* "address", "cookie:NAME" or "header:NAME" */
    Recorder *recorder;   /* NULL: nothing is recorded */
    Str tester_secret;    /* of Usher-Side; absent: nobody can force a side */
} SwitchOptions;

typedef struct Switch Switch;

/** Begins to follow the stages. The options' texts stay the caller's. ERR_NO_MEMORY. */
MUST_USE Err switch_new(Loop *loop, const SwitchOptions *options, Switch **ret);
void switch_free(Switch *sw);
/** For gateway_hook; lives as long as the switch. */
const GatewayHooks *switch_hooks(const Switch *sw);

/** The board's routes: "other" (never switched) first, then usher's own as METHOD and pattern, then one for each part
 *  of each context, for what the routes file gives to it besides. Returns how many. */
size_t switch_routes(const Router *router, BoardRoute out[BOARD_ROUTES_MAX]);
/** "/events/{id:id}" → "GET /events/{id}". */
void switch_label(const Route *route, char out[STAGE_ROUTE_MAX]);
/** "other events reads": what the routes file switches with a context beside usher's own routes. */
void switch_label_other(const char *context, StagePart part, char out[STAGE_ROUTE_MAX]);
