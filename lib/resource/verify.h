/*
 * verify.h - what the files of context_verify share. Internal.
 */
#pragma once
#include "base/map.h"
#include "resource/compose.h"

typedef struct Verifier {
    const Context *context;
    const Resource *resource; /* in hand */
    Buf *mistakes;
    size_t n;
} Verifier;

/** Appends "resource ticket: …\n" (or "context tickets: …\n" while no resource is in hand). */
void mistake(Verifier *v, const char *format, ...) PRINTF_LIKE(2, 3);
const Resource *verify_find_resource(const Context *context, const char *name);
void verify_attributes(Verifier *v);
void verify_actions(Verifier *v);
