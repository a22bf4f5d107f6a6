/*
 * answer.h - the forms in which the compat surface answers. Internal to lib/api and its tests.
 */
#pragma once
#include "api/bind.h"

/** Which answer an action's failure becomes. */
typedef enum OutcomeForm {
    OUTCOME_RULE = 1, /* form 1: {"Message", "Errors": [problem]} */
    OUTCOME_PROBLEM,  /* problem+json without errors (RFC 9457) */
    OUTCOME_CRASH,    /* form 3: {"Message": "An unexpected error occurred.", "Errors": []} */
} OutcomeForm;

typedef struct Outcome {
    int status;
    OutcomeForm form;
    bool retry_after;
} Outcome;

/** Of any Err but ERR_OK. A read that finds nothing is 404; a write is form 1 (style). */
Outcome compat_outcome(Err err, CompatAnswer answer, const CompatStyle *style);

/* Each replaces what res held. When the arena refuses, what is left is a 503 without a body. */

/** problem+json: type, title, status, [detail,] traceId. detail absent: none. */
void answer_problem(Ctx *ctx, Response *res, int status, Str detail);
/** Form 2. */
void answer_refused_model(Ctx *ctx, Response *res, const CompatRefusal *refusal);
/** Form 1 with these problems' messages. */
void answer_refused_rules(Ctx *ctx, Response *res, const CompatStyle *style, const Problem *rules, size_t n);
/** Form 3. */
void answer_crash(Ctx *ctx, Response *res, const CompatStyle *style);
/** By compat_outcome, with ctx's problem. */
void answer_error(Ctx *ctx, Response *res, Err err, CompatAnswer answer, const CompatStyle *style);

/** Rows as the shape says: one object, or an array of them. ERR_INVALID: the shape names no such attribute (a
 *  verifier's matter). */
MUST_USE Err compat_encode(const CompatShape *shape, const CompatStyle *style, const Ctx *ctx, const void *rows,
                           size_t n, bool list, Buf *out);
