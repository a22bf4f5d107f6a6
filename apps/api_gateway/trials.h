/*
 * trials.h - what a process for trials says of a request that it ran and rolled back: an envelope around the answer.
 *
 *   {"status", "headers": [[name, value]…], "body", "actions": [{"resource", "action", "tables", "messages"}…]}
 *
 * The process is the wiring's (apps/usher), which knows the contexts; who asks it are `usher shadow-write` and the
 * shadow worker.
 */
#pragma once
#include "http/http.h"
#include "resource/trial.h"
#include "json/json.h"

#define TRIAL_TYPE "application/vnd.usher.trial+json"
/** Carries a key that only usher's own processes know, where the process for trials is asked by other processes. */
#define TRIAL_KEY_HEADER "Usher-Trial"

/** What one request came to; all in the arena. */
typedef struct TrialAnswer {
    HttpAnswer answer;   /* 503: it was not tried to the end, so that nothing can be compared */
    const Json *actions; /* list; NULL: refused before any context was asked */
} TrialAnswer;

/** Appends an element of "actions", with the comma before it. */
void trial_action_add(Buf *out, const Trial *trial);
/** Puts the envelope of the answer in its place. actions: the elements. What is over max bytes is answered 507. */
void trial_envelope(Request *req, Response *res, const Buf *actions, size_t max);
/** What the envelope holds; or the answer itself, where it has none: what could not be read as a request is answered
 *  before any handler. ERR_LIMIT: 507; ERR_SYNTAX; ERR_NO_MEMORY. */
MUST_USE Err trial_answer_read(Arena *arena, const HttpAnswer *got, TrialAnswer *ret);
