/*
 * replay_tally.c - counting a replay by route.
 */
#include "usher/replay_tally.h"

#include <stdio.h>

#include "api_gateway/api_gateway.h"
#include "usher/gateway_db.h"

enum { EXCHANGES_MAX = 65536, NUMBER_MAX = 24 };

struct ReplayTally {
    Router *router;
    BoardRoute routes[BOARD_ROUTES_MAX];
    const Route *known[BOARD_ROUTES_MAX];
    size_t route_n;
    uint8_t by_exchange[EXCHANGES_MAX]; /* index of its route, plus one; 0: not compared */
    int64_t compared[BOARD_ROUTES_MAX], real[BOARD_ROUTES_MAX];
};

Err replay_tally_new(Ctx *ctx, ReplayTally **ret) {
    ReplayTally *tally = ARENA_NEW(ctx->arena, ReplayTally);
    size_t at = 0, n = 1;
    if (tally == NULL)
        return ERR_NO_MEMORY;
    TRY(app_router(ctx, ctx->arena, &tally->router));
    tally->route_n = switch_routes(tally->router, tally->routes);
    for (const Route *route = router_each(tally->router, &at); route != NULL && n < tally->route_n;
         route = router_each(tally->router, &at))
        tally->known[n++] = route;
    *ret = tally;
    return ERR_OK;
}

static Method method_of(Str text) {
#define METHOD_IS(name)                                                                                                \
    if (str_eq_c(text, #name))                                                                                         \
        return METHOD_##name;
    HTTP_METHODS(METHOD_IS)
#undef METHOD_IS
    return METHOD_OTHER;
}

void replay_tally_compared(void *data, int64_t exchange, const Json *request) {
    ReplayTally *tally = data;
    Str path = json_text(json_member(request, "path")), method = json_text(json_member(request, "method"));
    Request req = {.method = method_of(method), .method_text = method, .path = str_cut(&path, '?')};
    Str allow;
    if (exchange >= EXCHANGES_MAX || req.path.n == 0 || router_match(tally->router, &req, &allow) != ROUTE_FOUND)
        return;
    for (size_t i = 1; i < tally->route_n; i++)
        if (tally->known[i] == req.route) {
            tally->by_exchange[exchange] = (uint8_t)(i + 1);
            tally->compared[i]++;
        }
}

void replay_tally_differs(ReplayTally *tally, int64_t exchange) {
    if (exchange >= 0 && exchange < EXCHANGES_MAX && tally->by_exchange[exchange] > 0)
        tally->real[tally->by_exchange[exchange] - 1]++;
}

void replay_tally_end(ReplayTally *tally) {
    memset(tally->by_exchange, 0, sizeof tally->by_exchange);
}

int replay_tally_write(Invocation *call, const ReplayTally *tally) {
    Settings settings;
    PGconn *conn CLEANUP(gateway_finish) = NULL;
    int status;
    if (!gateway_connect(call, &settings, &conn, &status))
        return status;
    for (size_t i = 1; i < tally->route_n; i++) {
        PGresult *result CLEANUP(gateway_clear) = NULL;
        char compared[NUMBER_MAX], real[NUMBER_MAX];
        if (tally->compared[i] == 0)
            continue;
        (void)snprintf(compared, sizeof compared, "%lld", (long long)tally->compared[i]);
        (void)snprintf(real, sizeof real, "%lld", (long long)tally->real[i]);
        const char *values[] = {tally->routes[i].label, tally->routes[i].context,
                                stage_part_name((StagePart)tally->routes[i].part), compared, real};
        if (gateway_ask(
                call, conn,
                "INSERT INTO gateway.tallies AS t (route, source, minute, context, part, compared, equal, real, lag, "
                "expected, noisy, skipped) VALUES ($1, 'replay', date_trunc('minute', clock_timestamp()), $2, $3, "
                "$4::bigint, $4::bigint - $5::bigint, $5::bigint, 0, 0, 0, 0) ON CONFLICT (route, source, minute) DO "
                "UPDATE SET compared = t.compared + excluded.compared, equal = t.equal + excluded.equal, real = t.real "
                "+ excluded.real",
                5, values, &result) != ERR_OK)
            return 2;
    }
    return 0;
}
