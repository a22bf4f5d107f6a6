/*
 * uuid.h - 128-bit identifiers.
 */
#pragma once
#include "base/buf.h"

typedef struct Id {
    uint8_t bytes[16]; /* RFC 9562 order, the order Postgres stores */
} Id;

/** A nullable Id, as a column may be. */
typedef struct OptId {
    Id value;
    bool present;
} OptId;

SLICE_OF(Id);

#define ID_TEXT_LEN 36

/** Which spellings are read. */
typedef enum IdForms {
    ID_FORM_D,   /* 8-4-4-4-12 only (what the old system takes in JSON) */
    ID_FORM_ANY, /* also {…}, (…), no dashes, surrounding white space and .NET's {0x…,…} (Guid.Parse, in paths) */
} IdForms;

MUST_USE Err id_parse(Str text, IdForms forms, Id *ret);
/** Writes the 36 lower-case characters; no NUL. */
void id_format(const Id *id, char out[ID_TEXT_LEN]);
void buf_add_id(Buf *buf, Id id);
static inline bool id_eq(Id a, Id b) {
    return memcmp(a.bytes, b.bytes, 16) == 0;
}
static inline int id_compare(Id a, Id b) {
    return memcmp(a.bytes, b.bytes, 16);
}
bool id_is_zero(Id id);
