/*
 * asyncapi.h - the messages as an AsyncAPI 3.0 document.
 */
#pragma once
#include "api/schema.h"

typedef struct AsyncApi {
    Ctx *ctx;
    const JsonApi *json_api;
    const MessageType *const *messages; /* NULL-ended */
    const Binding *endpoints;           /* of the broker, rows of one queue together; ended by queue == NULL */
} AsyncApi;

/** The document, compact, in ctx's arena. */
MUST_USE Err asyncapi_make(const AsyncApi *api, Str *ret);
