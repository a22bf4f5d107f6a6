/*
 * ctx.c - the beginning of a piece of work, and its one problem.
 *
 * The first problem stays because it is the cause; what fails afterwards mostly follows from it.
 */
#include "runtime/ctx.h"

#include <stdarg.h>
#include <stdio.h>

void ctx_init(Ctx *ctx, Arena *arena, int64_t deadline_ms) {
    *ctx = (Ctx){.arena = arena, .now = clock_now(), .deadline_ms = deadline_ms};
    trace_new(&ctx->trace);
}

static Str format_into(Arena *arena, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *p = n < 0 || arena == NULL ? NULL : arena_alloc_raw(arena, (size_t)n + 1);
    if (p == NULL)
        return (Str){NULL, 0};
    vsnprintf(p, (size_t)n + 1, format, args);
    return (Str){p, (size_t)n};
}

Err ctx_problem(Ctx *ctx, Err code, const char *field, const char *format, ...) {
    ASSERT(code != ERR_OK);
    if (ctx->problem.code != ERR_OK)
        return code;
    va_list args;
    va_start(args, format);
    Str message = format_into(ctx->arena, format, args);
    va_end(args);
    /* An arena that refuses even this still leaves the kind of the problem. */
    ctx->problem =
        (Problem){.code = code, .message = message.p != NULL ? message : str_c(err_name(code)), .field = str_c(field)};
    return code;
}
