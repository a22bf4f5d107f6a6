/*
 * budget.c - windows over totals that only grow.
 */
#include "api_gateway/budget.h"

#include "api_gateway/bounds.h"

enum { ERRORS_MIN = 3, OLD_REQUESTS_MIN = 30, PPM = 1000000 };

static const size_t WINDOWS[] = {5, 15, 30, BUDGET_SECONDS};

/** Totals of so many seconds ago; the oldest known where there are fewer. */
static const BudgetTotals *ago(const BudgetRow *row, size_t seconds) {
    size_t back = seconds < row->n ? seconds : row->n - 1;
    return &row->history[(row->next + 2 * (BUDGET_SECONDS + 1) - 1 - back) % (BUDGET_SECONDS + 1)];
}

static bool is_broken(const BudgetReport *window, int64_t limit_ppm) {
    if (window->errors < ERRORS_MIN)
        return false;
    double surely = rate_lower_bound(window->errors, window->requests, 0.99);
    double old_rate =
        window->old_requests < OLD_REQUESTS_MIN ? 0 : rate_upper_bound(window->old_errors, window->old_requests, 0.95);
    return surely > (double)limit_ppm / PPM && (window->old_errors == 0 || surely > old_rate);
}

BudgetReport budget_second(BudgetRow *row, const Stage *stage, const BudgetTotals *totals, int64_t limit_ppm) {
    BudgetReport report = {.verdict = BUDGET_HOLDS};
    if (row->n == 0 || row->epoch != stage->epoch) {
        *row = (BudgetRow){.epoch = stage->epoch};
    }
    row->history[row->next] = *totals;
    row->next = (row->next + 1) % (BUDGET_SECONDS + 1);
    row->n = row->n > BUDGET_SECONDS ? row->n : row->n + 1;
    bool promoted = stage->kind == STAGE_CANARY || stage->kind == STAGE_NEW || stage->kind == STAGE_RETIRED;
    for (size_t i = 0; promoted && i < ARRAY_LEN(WINDOWS); i++) {
        const BudgetTotals *then = ago(row, WINDOWS[i]);
        BudgetReport window = {
            .verdict = BUDGET_BROKEN,
            .seconds = (int)WINDOWS[i],
            .requests = totals->requests[BOARD_NEW] - then->requests[BOARD_NEW],
            .errors = totals->errors[BOARD_NEW] - then->errors[BOARD_NEW],
            .old_requests = totals->requests[BOARD_LEGACY] - then->requests[BOARD_LEGACY],
            .old_errors = totals->errors[BOARD_LEGACY] - then->errors[BOARD_LEGACY],
        };
        if (is_broken(&window, limit_ppm))
            return window;
    }
    return report;
}
