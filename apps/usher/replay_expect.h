/*
 * replay_expect.h - the differences that are wanted: an --expect file, a list of {"scenario", "exchange" (left out:
 * all), "reason"}.
 */
#pragma once
#include "runtime/ctx.h"
#include "json/json.h"

typedef struct Expectations {
    const Json *list;
    bool used[4096];
    bool replayed[4096]; /* the row's scenario was among the files */
} Expectations;

/** path NULL: nothing is expected. ERR_SYNTAX and what file_read fails with; the problem says where. */
MUST_USE Err expectations_read(Ctx *ctx, const char *path, Expectations *ret);
/** Is this exchange expected to differ? Remembers that it does. */
bool expectations_hold(Expectations *expectations, Str scenario, int64_t exchange);
/** The scenario was among those looked at. */
void expectations_note(Expectations *expectations, Str scenario);
