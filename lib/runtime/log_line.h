/*
 * log_line.h - one line of log, built in bounded memory. Internal to lib/runtime.
 */
#pragma once
#include <limits.h>

#include "runtime/log.h"

/* One write(2) of at most PIPE_BUF bytes to a pipe is whole or not at all (POSIX write), so that workers that share
 * stderr never cut each other's lines. */
#define LOG_LINE_MAX PIPE_BUF

typedef struct LogLine {
    char p[LOG_LINE_MAX];
    size_t n;
} LogLine;

/* What both forms show besides the fields. */
typedef struct LogHead {
    Instant now;
    LogLevel level;
    const char *event;
    const char *role; /* NULL: none */
    int pid;
    const Trace *trace; /* NULL: none */
} LogHead;

/** Each writes a whole line with its newline; fields that do not fit are left out and their number is told. */
void log_line_json(LogLine *line, const LogHead *head, const LogField *fields, size_t n);
void log_line_text(LogLine *line, const LogHead *head, const LogField *fields, size_t n);
/** debug, info, warn, error. */
const char *log_level_name(LogLevel level);
