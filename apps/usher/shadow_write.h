/*
 * shadow_write.h - a process in which the contexts answer, and nothing of what they do stays.
 *
 * It serves plain HTTP on a loopback socket. Each answer is an envelope (JSON): what would have been answered, and for
 * each action the tables it would have written and the messages it would have published.
 */
#pragma once
#include <sys/types.h>

#include "http/http.h"
#include "usher/settings.h"
#include "json/json.h"

typedef struct TrialProcess {
    pid_t pid;
    int port;
} TrialProcess;

/** Forks it; ends with its parent. ERR_IO, ERR_NO_MEMORY. */
MUST_USE Err trial_process_start(Ctx *ctx, const Settings *settings, TrialProcess *ret);
/** False once it has ended; waits a little for an end that a closed connection may be the first sign of. */
bool trial_process_lives(TrialProcess *process);
void trial_process_stop(TrialProcess *process);

/** What one request came to; all in the arena. */
typedef struct TrialAnswer {
    HttpAnswer answer;
    const Json *actions; /* list of {resource, action, tables, messages}; NULL: refused before any context was asked */
} TrialAnswer;

/** Sends the bytes of a request. ERR_UNAVAILABLE, ERR_EOF: the process died; ERR_TIMEOUT. */
MUST_USE Err trial_process_ask(Arena *arena, const TrialProcess *process, Str bytes, TrialAnswer *ret);
