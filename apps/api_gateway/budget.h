/*
 * budget.h - does the new side fail too often? Looked at once a second, over the last 5, 15, 30 and 60 s.
 *
 * A row of the stages steps back when, in one of these windows, it is certain (99 %, exact bound) that more requests
 * fail than the budget allows, and more than fail on the old side in the same time. What is not certain changes
 * nothing: an inconclusive window neither steps back nor promotes. Only what was seen since the row's last change
 * counts.
 */
#pragma once
#include "api_gateway/board.h"

#define BUDGET_SECONDS 60

typedef struct BudgetTotals {
    uint64_t requests[2], errors[2]; /* by BOARD_LEGACY, BOARD_NEW */
} BudgetTotals;

typedef struct BudgetRow {
    int64_t epoch;                            /* of the stage that the history belongs to; -1: none */
    size_t n;                                 /* seconds that are known, at most BUDGET_SECONDS + 1 */
    BudgetTotals history[BUDGET_SECONDS + 1]; /* totals at the end of each second, newest at (next - 1) */
    size_t next;
} BudgetRow;

typedef enum BudgetVerdict { BUDGET_HOLDS, BUDGET_BROKEN } BudgetVerdict;

typedef struct BudgetReport {
    BudgetVerdict verdict;
    int seconds; /* the window that broke it */
    uint64_t requests, errors, old_requests, old_errors;
} BudgetReport;

/** One more second: totals of all routes that the stage decides about. @limit_ppm  failures of a million that are
 *  allowed. */
BudgetReport budget_second(BudgetRow *row, const Stage *stage, const BudgetTotals *totals, int64_t limit_ppm);
