/*
 * values.h - the old system's value objects: what a name or an e-mail address may look like.
 *
 * The Events, Users and Tickets contexts each checked them with the same code (Tickets once more on every message it
 * received), so there is one copy here, below the contexts. Each check has the form of CompatField.check: it gets a
 * Str, records the old wording as ctx's problem and returns ERR_INVALID. What is odd about the rules is a quirk.
 */
#pragma once
#include "legacy/quirks.h"

/** "Name cannot be empty", "Name can only have alphanumerical characters". value is a const Str *; absent counts as
 *  empty. */
Err value_event_name(Ctx *ctx, const void *value);
/** The same without digits: "Name can only have alphabetical characters". */
Err value_full_name(Ctx *ctx, const void *value);
/** "Email cannot be empty", "Email must be valid": ^[^@\s]+@[^@\s]+\.[^@\s]+$ */
Err value_email(Ctx *ctx, const void *value);
