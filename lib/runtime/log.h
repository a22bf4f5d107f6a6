/*
 * log.h - events with fields.
 *
 *   LOG_I(ctx, "listening", F_STR("address", address), F_INT("backlog", 511));
 *
 * On a terminal a readable line; otherwise (or with LOG_FORMAT=json) one JSON object a line: time, level, event, role,
 * pid, trace_id, span_id, fields. Written with one write(2) to stderr; never blocks a worker for long (a full pipe
 * drops lines and counts them). A library returns errors; only the top of a request, job or batch logs them, once.
 * Values of fields named password, secret, token or *_url are redacted.
 */
#pragma once
#include "runtime/ctx.h"

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } LogLevel;

typedef struct LogField {
    const char *name;
    enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_BOOL } kind;
    Str str;
    int64_t num;
} LogField;

#define F_STR(name_, value)  ((LogField){.name = (name_), .kind = LOG_FIELD_STR, .str = (value)})
#define F_C(name_, value)    ((LogField){.name = (name_), .kind = LOG_FIELD_STR, .str = str_c(value)})
#define F_INT(name_, value)  ((LogField){.name = (name_), .kind = LOG_FIELD_INT, .num = (int64_t)(value)})
#define F_BOOL(name_, value) ((LogField){.name = (name_), .kind = LOG_FIELD_BOOL, .num = (value)})
#define F_ERR(err)           ((LogField){.name = "error", .kind = LOG_FIELD_STR, .str = str_c(err_name(err))})

/** ctx may be NULL (outside of any piece of work). */
void log_event(const Ctx *ctx, LogLevel level, const char *event, const LogField *fields, size_t n);
/* The terminator keeps the list of fields from being empty, which a pedantic compiler refuses. */
#define LOG_EVENT_(event, ...)  (event)
#define LOG_FIELDS_(event, ...) ((const LogField[]){__VA_ARGS__})
#define LOG_AT(ctx, level, ...)                                                                                        \
    log_event((ctx), (level), LOG_EVENT_(__VA_ARGS__, 0), LOG_FIELDS_(__VA_ARGS__, {.name = NULL}),                    \
              ARRAY_LEN(LOG_FIELDS_(__VA_ARGS__, {.name = NULL})) - 1)
#define LOG_D(ctx, ...) LOG_AT(ctx, LOG_DEBUG, __VA_ARGS__)
#define LOG_I(ctx, ...) LOG_AT(ctx, LOG_INFO, __VA_ARGS__)
#define LOG_W(ctx, ...) LOG_AT(ctx, LOG_WARN, __VA_ARGS__)
#define LOG_E(ctx, ...) LOG_AT(ctx, LOG_ERROR, __VA_ARGS__)

/** level: debug|info|warn|error; format: auto|text|json. ERR_INVALID. role is shown in each line. */
MUST_USE Err log_configure(Str level, Str format);
void log_set_role(const char *role);
/** Who sees every event that passes the level, from a layer above; NULL: nobody. It may not log. */
typedef void (*LogObserver)(const Ctx *ctx, LogLevel level, const char *event, const LogField *fields, size_t n);
void log_set_observer(LogObserver observer);
/** True when values of fields of that name are not to be shown. */
bool log_is_secret(const char *name);
/** Lines dropped because stderr was full. */
uint64_t log_dropped(void);
