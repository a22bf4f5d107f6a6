/*
 * keeper.c - the board in step with Postgres, and the error budget.
 *
 * Only shadow worker 0 writes the stages and watches budgets. While Postgres is away the board stays as it is: the last
 * known stages go on. A stage that breaks its budget is stepped back on the board at once, and in Postgres as soon as
 * that can be reached; until then the board's word counts here.
 */
#include <stdio.h>
#include <unistd.h>

#include "api_gateway/shadow_impl.h"
#include "api_gateway_queries.h"
#include "runtime/log.h"

enum {
    SECOND_MS = 1000,
    POLL_MS = 5000, /* in case a NOTIFY is lost: a pooler between may do that */
    PAUSED_MS = 10,
    EXPECTED_BYTES = 1 << 20,
    PAIRS_LOADED = 100000,
    WHY_MAX = 200
};

/* --- stages ------------------------------------------------------------------------------------------------------- */

static bool take_text(char *out, size_t max, Str text) {
    if (text.n >= max)
        return false;
    memcpy(out, text.p, text.n);
    out[text.n] = 0;
    return true;
}

static int64_t instant_us(const PgResult *r, int row, int column) {
    return pg_is_null(r, row, column) ? 0 : instant_to_unix_us(pg_instant(r, row, column));
}

static bool read_stage(const PgResult *r, int row, Stage *ret) {
    StageKind kind;
    memset(ret, 0, sizeof *ret); /* compared as bytes */
    if (!take_text(ret->context, sizeof ret->context, pg_text(r, row, 0)) ||
        !take_text(ret->route, sizeof ret->route, pg_text(r, row, 2)) ||
        stage_parse(pg_text(r, row, 3), &kind) != ERR_OK)
        return false;
    ret->part = str_eq_c(pg_text(r, row, 1), "writes") ? PART_WRITES : PART_READS;
    ret->kind = (uint8_t)kind;
    ret->canary_percent = pg_i32(r, row, 4);
    ret->epoch = pg_i64(r, row, 5);
    ret->paused_until_us = instant_us(r, row, 6);
    ret->deprecated_us = instant_us(r, row, 7);
    ret->gone_us = instant_us(r, row, 8);
    return true;
}

/* What stepped back here and is not known there yet stays so, unless somebody has decided otherwise since. */
static void keep_steps_back(const StageTable *before, StageTable *now) {
    for (size_t i = 0; i < before->n; i++)
        for (size_t j = 0; before->rows[i].stepped_back && j < now->n; j++)
            if (strcmp(before->rows[i].context, now->rows[j].context) == 0 &&
                strcmp(before->rows[i].route, now->rows[j].route) == 0 && before->rows[i].part == now->rows[j].part &&
                before->rows[i].epoch == now->rows[j].epoch)
                now->rows[j] = before->rows[i];
}

static void publish(Shadow *shadow) {
    Keeper *keeper = &shadow->keeper;
    bool known = board_version(shadow->options.board) != 0;
    if (known && keeper->read.n == keeper->stages.n &&
        memcmp(keeper->read.rows, keeper->stages.rows, keeper->read.n * sizeof(Stage)) == 0)
        return;
    keeper->stages = keeper->read;
    board_stages_put(shadow->options.board, &keeper->stages);
    LOG_I(NULL, "stages changed", F_INT("rows", keeper->stages.n));
}

static CO_FN Err load_stages(Shadow *shadow, Ctx *ctx) {
    Keeper *keeper = &shadow->keeper;
    PgResult result;
    begin_work(ctx);
    TRY(pg_query(shadow->options.pool, SQL_GATEWAY_STAGES, NULL, &result));
    keeper->read.n = 0;
    for (int row = 0; row < result.rows && keeper->read.n < STAGES_MAX; row++)
        if (read_stage(&result, row, &keeper->read.rows[keeper->read.n]))
            keeper->read.n++;
        else
            LOG_W(ctx, "stage not understood", F_STR("context", pg_text(&result, row, 0)),
                  F_STR("stage", pg_text(&result, row, 3)));
    keep_steps_back(&keeper->stages, &keeper->read);
    publish(shadow);
    return ERR_OK;
}

/* --- what is expected, and which ids are which -------------------------------------------------------------------- */

static CO_FN Err load_expected(Shadow *shadow, Ctx *ctx) {
    PgResult result;
    begin_work(ctx);
    TRY(pg_query(shadow->options.pool, SQL_GATEWAY_EXPECTED, NULL, &result));
    int at = 1 - shadow->expected_at;
    if (shadow->expected_arenas[at] == NULL)
        shadow->expected_arenas[at] = arena_new(EXPECTED_BYTES);
    Arena *arena = shadow->expected_arenas[at];
    if (arena == NULL)
        return ERR_NO_MEMORY;
    arena_reset(arena);
    ExpectedDifference *rows = ARENA_ARRAY(arena, ExpectedDifference, (size_t)result.rows + 1);
    for (int row = 0; rows != NULL && row < result.rows; row++)
        rows[row] = (ExpectedDifference){
            .id = pg_i64(&result, row, 0),
            .route = arena_str(arena, pg_text(&result, row, 1)),
            .pointer = pg_is_null(&result, row, 2) ? (Str){NULL, 0} : arena_str(arena, pg_text(&result, row, 2)),
            .kind = arena_str(arena, pg_text(&result, row, 3)),
            .reason = arena_str(arena, pg_text(&result, row, 4)),
            .owner = arena_str(arena, pg_text(&result, row, 5)),
            .expires_at = pg_instant(&result, row, 6),
        };
    if (rows == NULL)
        return ERR_NO_MEMORY;
    shadow->expected_at = at;
    shadow->differ.expected = rows;
    shadow->differ.expected_n = (size_t)result.rows;
    return ERR_OK;
}

static CO_FN Err load_pairs(Shadow *shadow, Ctx *ctx) {
    PgParams params;
    PgResult result;
    begin_work(ctx);
    pg_params_init(&params, ctx->arena);
    pg_add_i64(&params, PAIRS_LOADED);
    TRY(pg_query(shadow->options.pool, SQL_GATEWAY_PAIRS, &params, &result));
    for (int row = 0; row < result.rows; row++) {
        Err err =
            id_pairs_put(shadow->differ.ids, pg_text(&result, row, 0), pg_id(&result, row, 1), pg_id(&result, row, 2));
        if (err != ERR_OK && err != ERR_CONFLICT)
            return err;
    }
    return ERR_OK;
}

/* --- following ---------------------------------------------------------------------------------------------------- */

static void on_notify(Str payload, void *data) {
    Keeper *keeper = data;
    (void)payload;
    keeper->notified = true;
    if (keeper->waiting)
        wait_wake(&keeper->wake, ERR_OK);
}

static CO_FN Err put_alive(Shadow *shadow, Ctx *ctx) {
    PgParams params;
    PgResult result;
    char host[64] = "";
    (void)gethostname(host, sizeof host - 1);
    begin_work(ctx);
    pg_params_init(&params, ctx->arena);
    pg_add_id(&params, board_id(shadow->options.board));
    pg_add_text(&params, str_c(host));
    pg_add_i64(&params, shadow->keeper.holding_epoch);
    pg_add_i32(&params, (int32_t)board_attached(shadow->options.board));
    pg_add_i64(&params, shadow->keeper.followed_epochs);
    return pg_query(shadow->options.pool, SQL_GATEWAY_ALIVE, &params, &result);
}

/* Is something paused; and does every worker here hold it, with nothing in work on the side that it leaves? */
static bool look_at_pauses(Shadow *shadow, bool *ret_news) {
    Keeper *keeper = &shadow->keeper;
    uint64_t version = board_version(shadow->options.board);
    int64_t now_us = instant_to_unix_us(clock_now());
    bool paused = false;
    for (size_t i = 0; i < keeper->stages.n; i++) {
        const Stage *stage = &keeper->stages.rows[i];
        if (stage->paused_until_us <= now_us)
            continue;
        paused = true;
        BoardSide leaves = stage->kind == STAGE_NEW ? BOARD_NEW : BOARD_LEGACY;
        if (stage->epoch > keeper->holding_epoch && board_quiet(shadow->options.board, version, str_c(stage->context),
                                                                (StagePart)stage->part, str_c(stage->route), leaves)) {
            keeper->holding_epoch = stage->epoch;
            *ret_news = true;
        }
    }
    return paused;
}

/* True while workers do not go by the stages yet. Each change makes one epoch larger, so their sum says which table it
 * is. */
static bool look_at_workers(Shadow *shadow, bool *ret_news) {
    Keeper *keeper = &shadow->keeper;
    int64_t epochs = 0;
    for (size_t i = 0; i < keeper->stages.n; i++)
        epochs += keeper->stages.rows[i].epoch;
    if (epochs == keeper->followed_epochs)
        return false;
    if (!board_followed(shadow->options.board))
        return true;
    keeper->followed_epochs = epochs;
    *ret_news = true;
    return false;
}

static CO_FN void follow_co(Ctx *ctx, void *arg) {
    Shadow *shadow = arg;
    Keeper *keeper = &shadow->keeper;
    int64_t load_at_ms = 0, alive_at_ms = 0;
    for (;;) {
        bool news = false, paused = is_first(shadow) && look_at_pauses(shadow, &news);
        bool soon = (is_first(shadow) && look_at_workers(shadow, &news)) || paused;
        int64_t now_ms = clock_mono_ms();
        if (keeper->notified || now_ms >= load_at_ms) {
            keeper->notified = false;
            bool loaded =
                load_expected(shadow, ctx) == ERR_OK && (!is_first(shadow) || load_stages(shadow, ctx) == ERR_OK);
            shadow->pairs_known = shadow->pairs_known || (loaded && load_pairs(shadow, ctx) == ERR_OK);
            load_at_ms = clock_mono_ms() + (loaded && shadow->pairs_known ? POLL_MS : SECOND_MS);
            continue;
        }
        if (is_first(shadow) && (news || now_ms >= alive_at_ms)) {
            if (put_alive(shadow, ctx) != ERR_OK && news)
                keeper->holding_epoch = keeper->followed_epochs = 0; /* nobody was told: say it again */
            alive_at_ms = clock_mono_ms() + SECOND_MS;
        }
        end_work(ctx);
        keeper->wake = (Wait){0};
        keeper->waiting = true;
        Err err = keeper->notified ? ERR_OK : co_wait(&keeper->wake, clock_mono_ms() + (soon ? PAUSED_MS : SECOND_MS));
        keeper->waiting = false;
        if (err == ERR_CANCELLED || co_is_cancelled())
            return;
    }
}

/* --- the error budget --------------------------------------------------------------------------------------------- */

static CO_FN Err step_back_there(Shadow *shadow, Ctx *ctx, const Stage *stage, const char *why) {
    PgParams params;
    PgResult result;
    begin_work(ctx);
    pg_params_init(&params, ctx->arena);
    pg_add_text(&params, str_c(stage->context));
    pg_add_text(&params, str_c(stage_part_name((StagePart)stage->part)));
    pg_add_text(&params, str_c(stage->route));
    pg_add_i64(&params, stage->epoch);
    pg_add_text(&params, str_c(why));
    return pg_query(shadow->options.pool, SQL_GATEWAY_STEP_BACK, &params, &result);
}

static void step_back_here(Shadow *shadow, size_t row, const BudgetReport *report) {
    Stage *stage = &shadow->keeper.stages.rows[row];
    LOG_E(NULL, "stepped back", F_C("context", stage->context), F_C("part", stage_part_name((StagePart)stage->part)),
          F_C("route", stage->route), F_C("from", stage_name((StageKind)stage->kind)),
          F_INT("seconds", report->seconds), F_INT("requests", report->requests), F_INT("errors", report->errors));
    stage->kind = STAGE_SHADOW;
    stage->canary_percent = 0;
    stage->stepped_back = true;
    board_stages_put(shadow->options.board, &shadow->keeper.stages);
}

static void totals_of(const Shadow *shadow, const Stage *stage, BudgetTotals *ret) {
    const Board *board = shadow->options.board;
    *ret = (BudgetTotals){0};
    for (size_t i = 0; i < board_route_count(board); i++) {
        const BoardRoute *route = board_route(board, i);
        if (stage_of(&shadow->keeper.stages, str_c(route->context), (StagePart)route->part, str_c(route->label)) !=
            stage)
            continue;
        for (BoardSide side = BOARD_LEGACY; side <= BOARD_NEW; side++) {
            Traffic traffic;
            board_traffic(board, i, side, &traffic);
            ret->requests[side] += traffic.requests;
            ret->errors[side] += traffic.errors;
        }
    }
}

static CO_FN void budget_co(Ctx *ctx, void *arg) {
    Shadow *shadow = arg;
    Keeper *keeper = &shadow->keeper;
    char why[WHY_MAX] = "it failed more often than its error budget allows";
    while (co_sleep(SECOND_MS) == ERR_OK) {
        for (size_t i = 0; i < keeper->stages.n; i++) {
            BudgetTotals totals;
            totals_of(shadow, &keeper->stages.rows[i], &totals);
            BudgetReport report =
                budget_second(&keeper->budgets[i], &keeper->stages.rows[i], &totals, shadow->options.budget_ppm);
            if (report.verdict != BUDGET_BROKEN)
                continue;
            (void)snprintf(why, sizeof why,
                           "error budget: %llu of %llu failed on the new side in %d s (%llu of %llu on the old)",
                           (unsigned long long)report.errors, (unsigned long long)report.requests, report.seconds,
                           (unsigned long long)report.old_errors, (unsigned long long)report.old_requests);
            step_back_here(shadow, i, &report);
        }
        for (size_t i = 0; i < keeper->stages.n; i++) {
            Stage stage = keeper->stages.rows[i]; /* the table may change while we wait */
            if (stage.stepped_back && pg_pool_ready(shadow->options.pool))
                (void)step_back_there(shadow, ctx, &stage, why); /* its NOTIFY makes us read it */
        }
        end_work(ctx);
    }
}

/* ------------------------------------------------------------------------------------------------------------------ */

Err keeper_start(Shadow *shadow) {
    Keeper *keeper = &shadow->keeper;
    uint64_t version = 1; /* never a published one */
    keeper->run = id_random();
    keeper->minute = instant_to_unix_us(clock_now()) / 60000000;
    /* What the worker before us knew goes on until Postgres says otherwise. */
    if (!board_stages(shadow->options.board, &version, &keeper->stages) || version == 0)
        keeper->stages.n = 0;
    for (size_t i = 0; i < board_route_count(shadow->options.board); i++)
        for (BoardSide side = 0; side < BOARD_SIDES; side++)
            board_traffic(shadow->options.board, i, side, &keeper->base[i][side]);
    TRY(pg_listen(shadow->options.pool, "gateway_stages", on_notify, keeper));
    TRY(co_spawn(shadow->loop, follow_co, shadow, &(CoOptions){.name = "follow", .arena_limit_bytes = 32 << 20}, NULL));
    TRY(co_spawn(shadow->loop, keeper_write_co, shadow, &(CoOptions){.name = "findings", .arena_limit_bytes = 64 << 20},
                 NULL));
    if (!is_first(shadow))
        return ERR_OK;
    TRY(co_spawn(shadow->loop, keeper_prune_co, shadow, &(CoOptions){.name = "prune"}, NULL));
    return co_spawn(shadow->loop, budget_co, shadow, &(CoOptions){.name = "budget"}, NULL);
}
