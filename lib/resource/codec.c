/*
 * codec.c - a struct's members to parameters and back from rows, driven by the attribute table.
 *
 * An Instant is two columns (resource.h): microseconds in one, and in the other what a timestamptz cannot hold, the
 * offset it was written with and the 100-ns digit. A missing value keeps the second column at 0, so that it can stay
 * NOT NULL.
 */
#include "resource/compose.h"

const Attribute *resource_attribute(const Resource *resource, const char *name) {
    for (const Attribute *a = resource->attributes; a != NULL && a->name != NULL; a++) {
        if (strcmp(a->name, name) == 0)
            return a;
    }
    return NULL;
}

const Action *resource_action(const Resource *resource, const char *name) {
    for (const Action *a = resource->actions; a != NULL && a->name != NULL; a++) {
        if (strcmp(a->name, name) == 0)
            return a;
    }
    return NULL;
}

void resource_columns(const Resource *resource, const char *prefix, Buf *out) {
    const char *comma = "";
    for (const Attribute *a = resource->attributes; a->name != NULL; a++) {
        buf_printf(out, "%s%s%s", comma, prefix, a->name);
        if (attribute_has_fine(a))
            buf_printf(out, ", %s%s" FINE_SUFFIX, prefix, a->name);
        comma = ", ";
    }
}

int16_t instant_fine(Instant t) {
    int ticks;
    instant_to_pg_us(t, &ticks);
    return (int16_t)(t.offset_minutes * 10 + ticks);
}

Instant instant_with_fine(Instant coarse, int16_t fine) {
    int digit = ((fine % 10) + 10) % 10; /* C's % keeps the sign; the digit never has one */
    int unused_ticks;
    return instant_from_pg_us(instant_to_pg_us(coarse, &unused_ticks), digit, (int16_t)((fine - digit) / 10));
}

/* --- to parameters ----------------------------------------------------------------------------------------- */

static Oid scalar_oid(Type type) {
    static const Oid OIDS[] = {[TYPE_BOOL] = OID_BOOL,       [TYPE_INT16] = OID_INT2,          [TYPE_INT32] = OID_INT4,
                               [TYPE_INT64] = OID_INT8,      [TYPE_TEXT] = OID_TEXT,           [TYPE_ID] = OID_UUID,
                               [TYPE_DECIMAL] = OID_NUMERIC, [TYPE_INSTANT] = OID_TIMESTAMPTZ, [TYPE_JSON] = OID_JSONB};
    ASSERT(type > TYPE_NONE && type <= TYPE_JSON);
    return OIDS[type];
}

static Oid array_oid(Type type) {
    static const Oid OIDS[] = {
        [TYPE_BOOL] = OID_BOOL_ARRAY,       [TYPE_INT16] = OID_INT2_ARRAY,          [TYPE_INT32] = OID_INT4_ARRAY,
        [TYPE_INT64] = OID_INT8_ARRAY,      [TYPE_TEXT] = OID_TEXT_ARRAY,           [TYPE_ID] = OID_UUID_ARRAY,
        [TYPE_DECIMAL] = OID_NUMERIC_ARRAY, [TYPE_INSTANT] = OID_TIMESTAMPTZ_ARRAY, [TYPE_JSON] = OID_JSONB_ARRAY};
    ASSERT(type > TYPE_NONE && type <= TYPE_JSON);
    return OIDS[type];
}

/* One value as either an array element or a parameter of its own: the same switch serves both. */
#define PUT(kind, value) (in_array ? pg_array_##kind(params, (value)) : pg_add_##kind(params, (value)))

static void put_null(PgParams *params, Type type, bool in_array) {
    if (in_array)
        pg_array_null(params);
    else
        pg_add_null(params, scalar_oid(type));
}

static void put_optional(PgParams *params, const Attribute *a, const void *field, bool in_array) {
    if (a->type == TYPE_ID) {
        const OptId *id = field;
        if (id->present)
            PUT(id, id->value);
        else
            put_null(params, a->type, in_array);
        return;
    }
    const OptInstant *t = field;
    if (t->present)
        PUT(instant, t->value);
    else
        put_null(params, a->type, in_array);
}

/* Is the member one of the Opt structs? `optional` is also set by hand for nullable texts and JSON. */
static bool is_opt_struct(const Attribute *a) {
    return a->optional && (a->type == TYPE_ID || a->type == TYPE_INSTANT);
}

static void put_value(PgParams *params, const Attribute *a, const void *object, bool in_array) {
    const void *field = (const char *)object + a->offset;
    if (is_opt_struct(a)) {
        put_optional(params, a, field, in_array);
        return;
    }
    switch (a->type) {
    case TYPE_BOOL:
        PUT(bool, *(const bool *)field);
        break;
    case TYPE_INT16:
        PUT(i16, *(const int16_t *)field);
        break;
    case TYPE_INT32:
        PUT(i32, *(const int32_t *)field);
        break;
    case TYPE_INT64:
        PUT(i64, *(const int64_t *)field);
        break;
    case TYPE_TEXT:
        PUT(text, *(const Str *)field);
        break;
    case TYPE_ID:
        PUT(id, *(const Id *)field);
        break;
    case TYPE_DECIMAL:
        PUT(decimal, *(const Decimal *)field);
        break;
    case TYPE_INSTANT:
        PUT(instant, *(const Instant *)field);
        break;
    case TYPE_JSON:
        PUT(jsonb, ((const JsonText *)field)->text);
        break;
    case TYPE_NONE:
        ASSERT(a->type != TYPE_NONE);
    }
}

static int16_t fine_of(const Attribute *a, const void *object) {
    const void *field = (const char *)object + a->offset;
    if (!a->optional)
        return instant_fine(*(const Instant *)field);
    const OptInstant *t = field;
    return t->present ? instant_fine(t->value) : 0;
}

void resource_add_value(PgParams *params, const Attribute *attribute, const void *object) {
    put_value(params, attribute, object, false);
    if (attribute_has_fine(attribute))
        pg_add_i16(params, fine_of(attribute, object));
}

void resource_add_array(PgParams *params, const Attribute *attribute, const void *const *structs, size_t n) {
    pg_array_begin(params, array_oid(attribute->type));
    for (size_t i = 0; i < n; i++)
        put_value(params, attribute, structs[i], true);
    pg_array_end(params);
    if (!attribute_has_fine(attribute))
        return;
    pg_array_begin(params, OID_INT2_ARRAY);
    for (size_t i = 0; i < n; i++)
        pg_array_i16(params, fine_of(attribute, structs[i]));
    pg_array_end(params);
}

/* --- from rows --------------------------------------------------------------------------------------------- */

/* The column of this name, tried first where the declared order would have it; -1: not in the answer. */
static int find_column(const PgResult *result, const char *name, const char *suffix, int *guess) {
    size_t length = strlen(name);
    for (int i = 0; i < result->columns; i++) {
        int column = (*guess + i) % result->columns;
        const char *have = PQfname(result->raw, column);
        if (strncmp(have, name, length) == 0 && strcmp(have + length, suffix) == 0) {
            *guess = column + 1;
            return column;
        }
    }
    return -1;
}

static Err take_instant(const PgResult *result, int row, int column, int fine, const Attribute *a, void *field) {
    bool null = pg_is_null(result, row, column);
    Instant t = null ? (Instant){0} : pg_instant(result, row, column);
    if (!null && fine >= 0 && !pg_is_null(result, row, fine))
        t = instant_with_fine(t, pg_i16(result, row, fine));
    if (a->optional)
        *(OptInstant *)field = (OptInstant){t, !null};
    else
        *(Instant *)field = t;
    return ERR_OK;
}

static Err take_value(const PgResult *result, int row, int column, const Attribute *a, void *field) {
    bool null = pg_is_null(result, row, column);
    if (a->type == TYPE_ID && a->optional) {
        *(OptId *)field = null ? (OptId){0} : (OptId){pg_id(result, row, column), true};
        return ERR_OK;
    }
    if (null && a->type != TYPE_TEXT && a->type != TYPE_JSON) /* no room for "absent": keeps its zero */
        return ERR_OK;
    switch (a->type) {
    case TYPE_BOOL:
        *(bool *)field = pg_bool(result, row, column);
        return ERR_OK;
    case TYPE_INT16:
        *(int16_t *)field = pg_i16(result, row, column);
        return ERR_OK;
    case TYPE_INT32:
        *(int32_t *)field = pg_i32(result, row, column);
        return ERR_OK;
    case TYPE_INT64:
        *(int64_t *)field = pg_i64(result, row, column);
        return ERR_OK;
    case TYPE_TEXT:
        *(Str *)field = pg_text(result, row, column);
        return ERR_OK;
    case TYPE_ID:
        *(Id *)field = pg_id(result, row, column);
        return ERR_OK;
    case TYPE_DECIMAL:
        return pg_decimal(result, row, column, field);
    case TYPE_JSON:
        ((JsonText *)field)->text = pg_text(result, row, column);
        return ERR_OK;
    case TYPE_INSTANT:
    case TYPE_NONE:
        break;
    }
    return ERR_INTERNAL;
}

/* One attribute of all rows. */
static Err take_column(const Attribute *a, const PgResult *result, int column, int fine, int first, int n, char *field,
                       size_t stride) {
    for (int i = 0; i < n; i++, field += stride) {
        if (a->type == TYPE_INSTANT)
            TRY(take_instant(result, first + i, column, fine, a, field));
        else
            TRY(take_value(result, first + i, column, a, field));
    }
    return ERR_OK;
}

/* Column by column, so that names are looked up once for all rows. */
Err resource_decode_rows(const Resource *resource, const PgResult *result, int first, int n, void *objects,
                         size_t stride) {
    int guess = 0;
    for (const Attribute *a = resource->attributes; a->name != NULL; a++) {
        int column = find_column(result, a->name, "", &guess);
        if (column < 0)
            continue;
        /* A query that returns another type is a mistake of its author: an error here, before a getter asserts. */
        if (PQftype(result->raw, column) != scalar_oid(a->type))
            return ERR_INTERNAL;
        int fine = attribute_has_fine(a) ? find_column(result, a->name, FINE_SUFFIX, &guess) : -1;
        if (fine >= 0 && PQftype(result->raw, fine) != OID_INT2)
            return ERR_INTERNAL;
        TRY(take_column(a, result, column, fine, first, n, (char *)objects + a->offset, stride));
    }
    return ERR_OK;
}

Err resource_decode(const Resource *resource, const PgResult *result, int row, void *object) {
    return resource_decode_rows(resource, result, row, 1, object, resource->size);
}
