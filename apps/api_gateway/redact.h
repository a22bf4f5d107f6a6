/*
 * redact.h - what is never stored: secrets and personal data.
 *
 * By name: of a JSON member, a header or a query parameter. A value is replaced by its length, so that a sample still
 * shows its form. Nothing but names decides: a secret under an innocent name is not recognised, which is why the list
 * is open (SHADOW_REDACT).
 */
#pragma once
#include "json/json.h"

/** Further names, comma-separated, beside the built-in ones, in the place of those given before; copied.
 *  ERR_NO_MEMORY: nothing has changed. */
MUST_USE Err redact_configure(Str names);
bool redact_is_secret(Str name);
#define REDACTED_SIGN "bytes redacted]"
/** "[17 bytes redacted]". */
void redact_mark(Buf *out, size_t n);
/** JSON with the secret members' values replaced, written compactly; to the byte where there are none. What is no JSON
 *  is replaced as a whole unless it is empty. */
MUST_USE Err redact_body(Arena *arena, Str body, Str *ret);
/** A request target with the secret parameters' values replaced. */
MUST_USE Err redact_target(Arena *arena, Str target, Str *ret);
