/*
 * shadow_write.h - the command's own process for trials (trial_server.h), on a loopback socket.
 */
#pragma once
#include <sys/types.h>

#include "api_gateway/api_gateway.h"
#include "usher/settings.h"

typedef struct TrialProcess {
    pid_t pid;
    int port;
} TrialProcess;

/** Forks it; ends with its parent. ERR_IO, ERR_NO_MEMORY. */
MUST_USE Err trial_process_start(Ctx *ctx, const Settings *settings, TrialProcess *ret);
/** False once it has ended; waits a little for an end that a closed connection may be the first sign of. */
bool trial_process_lives(TrialProcess *process);
void trial_process_stop(TrialProcess *process);

/** Sends the bytes of a request. ERR_UNAVAILABLE, ERR_EOF: the process died; ERR_TIMEOUT. */
MUST_USE Err trial_process_ask(Arena *arena, const TrialProcess *process, Str bytes, TrialAnswer *ret);
