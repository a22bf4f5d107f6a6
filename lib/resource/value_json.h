/*
 * value_json.h - a declared value between its member of a struct and JSON, for messages and for arguments of jobs.
 *
 * What both say alike stands here; what differs (decimals as text, null, lists, what may be missing) stays with them.
 */
#pragma once
#include "resource/resource.h"
#include "json/json.h"

/** Whose value it is, for the words of a refusal: "Argument seats is not a number." */
typedef struct ValuePlace {
    Ctx *ctx;
    const char *whose; /* "Argument", "The message's" */
    const char *name;
} ValuePlace;

/** ctx's problem becomes "WHOSE NAME WHY."; returns ERR_INVALID. */
MUST_USE Err value_refuse(const ValuePlace *place, const char *why);

/** A string's text, borrowed from the input where it has no escapes. ERR_INVALID, ERR_NO_MEMORY. */
MUST_USE Err value_text_from_json(const ValuePlace *place, const JsonReader *r, Str *ret);
/** A UUID in its usual form. ERR_INVALID, ERR_NO_MEMORY. */
MUST_USE Err value_id_from_json(const ValuePlace *place, const JsonReader *r, Id *ret);
/** The text of a number. ERR_INVALID. */
MUST_USE Err value_decimal_from_text(const ValuePlace *place, Str text, Decimal *ret);
/**
 * The current token (for TYPE_JSON all up to its end) into a member of that type; never null.
 *
 * @optional  the member is an OptId or OptInstant
 * Integers are plain digits: 3.0 and 3e0 are none, nor is "3", as System.Text.Json has it. Decimals are numbers.
 * ERR_INVALID, ERR_NO_MEMORY, or what the reader said of what is not JSON.
 */
MUST_USE Err value_from_json(const ValuePlace *place, Type type, bool optional, JsonReader *r, void *at);

/** An OptId or OptInstant that is not there, a text or JSON that is none. */
bool value_is_absent(Type type, bool optional, const void *at);
/** A member that is there, as value_from_json reads it. */
void value_to_json(JsonWriter *w, Type type, const void *at);
