/*
 * schema_internal.h - what schema.c, schema_compat.c and openapi.c share.
 */
#pragma once
#include "api/jsonapi_internal.h"
#include "api/schema.h"

/** Schema of one value; input: as it may be sent, else as it is shown. */
void schema_value(Buf *out, const Attribute *attribute, bool input);
MUST_USE Err schema_give(SchemaEach fn, void *data, Str name, Buf *out);
/** Compat bodies and answers, and messages. */
MUST_USE Err schemas_compat(const Schemas *schemas, Buf *out, SchemaEach fn, void *data);
