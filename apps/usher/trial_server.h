/*
 * trial_server.h - the contexts as they serve clients, on pools that roll back.
 *
 * In a process of its own, never in one that serves: what cannot commit must never be mistaken for what can. One
 * request has one transaction at a time per context, so trials of a context stand in line; the server's connections and
 * the request's deadline bound that line. Answers are envelopes (api_gateway/trials.h).
 */
#pragma once
#include "usher/app.h"

#define TRIALS_AT_ONCE 8 /* of one asker; further ones wait for their turn */

typedef struct TrialServerOptions {
    Loop *loop;
    const Settings *settings; /* stay the caller's */
    const int *fds;           /* listening; taken over */
    size_t n_fds;
    int askers; /* processes that may ask at once */
    Str key;    /* each request carries it in TRIAL_KEY_HEADER, else it is answered 404; absent: whoever comes */
} TrialServerOptions;

/** A process has one. Databases are connected to with the first request, as long as there is none it costs them
 *  nothing. ERR_NO_MEMORY; what http_server_new fails with. */
MUST_USE Err trial_server_start(const TrialServerOptions *options);
/** Quirks and routes anew, for requests to come. */
MUST_USE Err trial_server_reload(void);
void trial_server_drain(void (*done)(void *data), void *data);
