/*
 * keeper_counts.c - what was counted and found, to Postgres once a second.
 */
#include "api_gateway/shadow_impl.h"
#include "api_gateway_queries.h"
#include "runtime/log.h"

enum { SECOND_MS = 1000 };

typedef struct TrafficLine {
    size_t route;
    BoardSide side;
    Traffic traffic;
} TrafficLine;

static Str buckets_text(Arena *arena, const Traffic *traffic) {
    Buf out = buf_new(arena, 512);
    for (size_t i = 0; i < TRAFFIC_BUCKETS; i++)
        buf_printf(&out, "%s%llu", i == 0 ? "" : ",", (unsigned long long)traffic->buckets[i]);
    return buf_str(&out);
}

static size_t traffic_lines(Shadow *shadow, bool new_minute, TrafficLine *lines) {
    const Board *board = shadow->options.board;
    size_t n = 0;
    for (size_t i = 0; i < board_route_count(board); i++)
        for (BoardSide side = 0; side < BOARD_SIDES; side++) {
            Traffic now, *base = &shadow->keeper.base[i][side];
            board_traffic(board, i, side, &now);
            TrafficLine line = {
                i, side, {now.requests - base->requests, now.errors - base->errors, now.ns_sum - base->ns_sum, {0}}};
            for (size_t j = 0; j < TRAFFIC_BUCKETS; j++)
                line.traffic.buckets[j] = now.buckets[j] - base->buckets[j];
            if (line.traffic.requests > 0)
                lines[n++] = line;
            if (new_minute)
                *base = now;
        }
    return n;
}

static void traffic_column(PgParams *params, const Shadow *shadow, const TrafficLine *lines, size_t n, int column,
                           Arena *arena, Instant minute) {
    pg_array_begin(params, column < 4 || column == 8 ? OID_TEXT_ARRAY
                           : column == 4             ? OID_TIMESTAMPTZ_ARRAY
                                                     : OID_INT8_ARRAY);
    for (size_t i = 0; i < n; i++) {
        const BoardRoute *route = board_route(shadow->options.board, lines[i].route);
        const Traffic *traffic = &lines[i].traffic;
        if (column == 4)
            pg_array_instant(params, minute);
        else if (column == 8)
            pg_array_text(params, buckets_text(arena, traffic));
        else if (column > 4)
            pg_array_i64(params, (int64_t)(column == 5   ? traffic->requests
                                           : column == 6 ? traffic->errors
                                                         : traffic->ns_sum));
        else
            pg_array_text(params, str_c(column == 0   ? route->label
                                        : column == 1 ? board_side_name(lines[i].side)
                                        : column == 2 ? route->context
                                                      : stage_part_name((StagePart)route->part)));
    }
    pg_array_end(params);
}

/* Written over each second; at the end of a minute for the last time. */
static CO_FN Err put_traffic(Shadow *shadow, Ctx *ctx) {
    PgParams params;
    PgResult result;
    begin_work(ctx);
    int64_t minute = instant_to_unix_us(clock_now()) / 60000000, of = shadow->keeper.minute;
    TrafficLine *lines = ARENA_ARRAY(ctx->arena, TrafficLine, (size_t)BOARD_ROUTES_MAX * BOARD_SIDES);
    if (lines == NULL)
        return ERR_NO_MEMORY;
    size_t n = traffic_lines(shadow, minute != of, lines);
    shadow->keeper.minute = minute;
    if (n == 0)
        return ERR_OK;
    pg_params_init(&params, ctx->arena);
    pg_add_id(&params, shadow->keeper.run);
    for (int column = 0; column < 9; column++)
        traffic_column(&params, shadow, lines, n, column, ctx->arena, instant_from_unix_us(of * 60000000));
    return pg_query(shadow->options.pool, SQL_GATEWAY_TRAFFIC_PUT, &params, &result);
}

/* The gateway ends: nobody need wait for it any more. */
static CO_FN Err put_gone(Shadow *shadow, Ctx *ctx) {
    PgParams params;
    PgResult result;
    begin_work(ctx);
    pg_params_init(&params, ctx->arena);
    pg_add_id(&params, board_id(shadow->options.board));
    return pg_query(shadow->options.pool, SQL_GATEWAY_GONE, &params, &result);
}

static void count_skips(Shadow *shadow) {
    for (size_t i = 0; i < board_route_count(shadow->options.board); i++) {
        uint64_t total = 0;
        for (SkipReason reason = 0; reason < SKIP_COUNT; reason++)
            total += board_skips(shadow->options.board, i, reason);
        findings_skipped(shadow->findings, i, total);
    }
}

CO_FN void keeper_write_co(Ctx *ctx, void *arg) {
    Shadow *shadow = arg;
    bool last = false;
    while (!last) {
        end_work(ctx);
        last = co_sleep(SECOND_MS) != ERR_OK;
        if (last)
            (void)co_shield(true); /* what was found goes out, within QUERY_MS */
        if (is_first(shadow))
            count_skips(shadow);
        if (!pg_pool_ready(shadow->options.pool))
            continue;
        Err err = is_first(shadow) ? put_traffic(shadow, ctx) : ERR_OK;
        begin_work(ctx);
        if (err == ERR_OK)
            err = findings_write(shadow->findings, ctx, shadow->options.pool);
        if (err != ERR_OK && err != ERR_UNAVAILABLE && err != ERR_TIMEOUT && err != ERR_CANCELLED)
            LOG_W(ctx, "findings not written", F_ERR(err), F_STR("why", ctx->problem.message));
        if (last && is_first(shadow) && put_gone(shadow, ctx) != ERR_OK)
            LOG_W(ctx, "not signed off", F_STR("why", ctx->problem.message));
    }
}
