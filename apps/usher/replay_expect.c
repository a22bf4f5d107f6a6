/*
 * replay_expect.c - which differences are wanted, and which of them there were.
 */
#include "usher/replay_expect.h"

#include "usher/files.h"

Err expectations_read(Ctx *ctx, const char *path, Expectations *ret) {
    Str text;
    Json *list;
    JsonProblem problem = {0};
    if (path == NULL)
        return ERR_OK;
    TRY(file_read(ctx, path, 4 * 1024 * 1024, &text));
    if (json_parse(text, ctx->arena, JSON_DUPLICATES_REJECT, &list, &problem) != ERR_OK)
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "%s: %.*s", path, STR_ARG(problem.message));
    if (list->kind != JSON_ARRAY_START || list->count > ARRAY_LEN(ret->used))
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "%s: a list of at most %zu expected differences is wanted", path,
                           ARRAY_LEN(ret->used));
    for (const Json *row = list->first; row != NULL; row = row->next)
        if (json_text(json_member(row, "scenario")).p == NULL || json_text(json_member(row, "reason")).n == 0)
            return ctx_problem(ctx, ERR_SYNTAX, NULL, "%s: each row needs a \"scenario\" and a \"reason\"", path);
    ret->list = list;
    return ERR_OK;
}

bool expectations_hold(Expectations *expectations, Str scenario, int64_t exchange) {
    size_t i = 0;
    const Json *first = expectations->list == NULL ? NULL : expectations->list->first;
    for (const Json *row = first; row != NULL; row = row->next, i++) {
        if (!str_eq(json_text(json_member(row, "scenario")), scenario) ||
            json_i64(json_member(row, "exchange"), exchange) != exchange)
            continue;
        expectations->used[i] = true;
        return true;
    }
    return false;
}

void expectations_note(Expectations *expectations, Str scenario) {
    size_t i = 0;
    const Json *first = expectations->list == NULL ? NULL : expectations->list->first;
    for (const Json *row = first; row != NULL; row = row->next, i++)
        if (str_eq(json_text(json_member(row, "scenario")), scenario))
            expectations->replayed[i] = true;
}
