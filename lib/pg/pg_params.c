/*
 * pg_params.c - parameters in binary, built in the order of $1, $2 ….
 *
 * All values of a statement lie one after another in one Buf; only at send time are they turned into the pointers that
 * libpq wants, because the Buf moves while it grows. No append is checked: the Buf remembers a refusal, and sending
 * returns it.
 */
#include "pg/pg_numeric.h"
#include "pg/pg_private.h"

/* One statement's parameters. The largest real ones are sets of rows as arrays; the coroutine's arena bounds them
 * earlier. */
#define PARAMS_BYTES_MAX ((size_t)64 * 1024 * 1024)

void pg_params_init(PgParams *params, Arena *arena) {
    *params = (PgParams){.data = buf_new(arena, PARAMS_BYTES_MAX)};
}

static void param_begin(PgParams *params, Oid oid) {
    ASSERT(params->n < PG_PARAMS_MAX);
    params->oids[params->n] = oid;
    params->at[params->n] = params->data.n;
    params->nulls[params->n] = false;
}

static void param_end(PgParams *params) {
    params->lengths[params->n] = (int)(params->data.n - params->at[params->n]);
    params->n++;
}

void pg_add_null(PgParams *params, Oid oid) {
    param_begin(params, oid);
    params->nulls[params->n] = true;
    param_end(params);
}

void pg_add_bool(PgParams *params, bool value) {
    param_begin(params, OID_BOOL);
    buf_add_char(&params->data, value ? 1 : 0);
    param_end(params);
}

void pg_add_i16(PgParams *params, int16_t value) {
    param_begin(params, OID_INT2);
    buf_add_be16(&params->data, (uint16_t)value);
    param_end(params);
}

void pg_add_i32(PgParams *params, int32_t value) {
    param_begin(params, OID_INT4);
    buf_add_be32(&params->data, (uint32_t)value);
    param_end(params);
}

void pg_add_i64(PgParams *params, int64_t value) {
    param_begin(params, OID_INT8);
    buf_add_be64(&params->data, (uint64_t)value);
    param_end(params);
}

static void param_str(PgParams *params, Oid oid, Str value) {
    if (value.p == NULL) {
        pg_add_null(params, oid);
        return;
    }
    param_begin(params, oid);
    if (oid == OID_JSONB)
        buf_add_char(&params->data, PG_JSONB_VERSION);
    buf_add(&params->data, value);
    param_end(params);
}

void pg_add_text(PgParams *params, Str value) {
    param_str(params, OID_TEXT, value);
}

void pg_add_jsonb(PgParams *params, Str value) {
    param_str(params, OID_JSONB, value);
}

void pg_add_bytea(PgParams *params, Str value) {
    param_str(params, OID_BYTEA, value);
}

void pg_add_id(PgParams *params, Id value) {
    param_begin(params, OID_UUID);
    buf_add_bytes(&params->data, value.bytes, sizeof value.bytes);
    param_end(params);
}

void pg_add_decimal(PgParams *params, Decimal value) {
    uint8_t bytes[PG_NUMERIC_BYTES_MAX];
    size_t n = pg_numeric_encode(value, bytes);
    param_begin(params, OID_NUMERIC);
    buf_add_bytes(&params->data, bytes, n);
    param_end(params);
}

static uint64_t instant_to_wire(Instant value) {
    int ticks;
    return (uint64_t)instant_to_pg_us(value, &ticks);
}

void pg_add_instant(PgParams *params, Instant value) {
    param_begin(params, OID_TIMESTAMPTZ);
    buf_add_be64(&params->data, instant_to_wire(value));
    param_end(params);
}

/* --- arrays --- */

/* array_send (src/backend/utils/adt/arrayfuncs.c): number of dimensions, has-null, element type, then for one dimension
 * its length and lower bound, then each element behind its own length. */

enum { ARRAY_HEAD = 12, ARRAY_HEAD_AND_DIMENSION = 20 };

static Oid array_element(Oid array_oid) {
    static const struct {
        Oid array, element;
    } table[] = {
        {OID_BOOL_ARRAY, OID_BOOL},       {OID_BYTEA_ARRAY, OID_BYTEA}, {OID_INT2_ARRAY, OID_INT2},
        {OID_INT4_ARRAY, OID_INT4},       {OID_TEXT_ARRAY, OID_TEXT},   {OID_INT8_ARRAY, OID_INT8},
        {OID_UUID_ARRAY, OID_UUID},       {OID_JSONB_ARRAY, OID_JSONB}, {OID_TIMESTAMPTZ_ARRAY, OID_TIMESTAMPTZ},
        {OID_NUMERIC_ARRAY, OID_NUMERIC},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].array == array_oid)
            return table[i].element;
    }
    return 0;
}

void pg_array_begin(PgParams *params, Oid array_oid) {
    Oid element = array_element(array_oid);
    ASSERT(element != 0);
    param_begin(params, array_oid);
    params->array_at = params->data.n;
    params->array_n = 0;
    params->array_has_null = false;
    char head[ARRAY_HEAD_AND_DIMENSION] = {0}; /* filled in at the end, when the count is known */
    buf_add_bytes(&params->data, head, sizeof head);
}

/* An element of n bytes follows. */
static void element_begin(PgParams *params, Oid array_oid, size_t n) {
    ASSERT(params->oids[params->n] == array_oid);
    buf_add_be32(&params->data, (uint32_t)n);
    params->array_n++;
}

void pg_array_null(PgParams *params) {
    buf_add_be32(&params->data, UINT32_MAX);
    params->array_n++;
    params->array_has_null = true;
}

void pg_array_bool(PgParams *params, bool value) {
    element_begin(params, OID_BOOL_ARRAY, 1);
    buf_add_char(&params->data, value ? 1 : 0);
}

void pg_array_i16(PgParams *params, int16_t value) {
    element_begin(params, OID_INT2_ARRAY, 2);
    buf_add_be16(&params->data, (uint16_t)value);
}

void pg_array_i32(PgParams *params, int32_t value) {
    element_begin(params, OID_INT4_ARRAY, 4);
    buf_add_be32(&params->data, (uint32_t)value);
}

void pg_array_i64(PgParams *params, int64_t value) {
    element_begin(params, OID_INT8_ARRAY, 8);
    buf_add_be64(&params->data, (uint64_t)value);
}

void pg_array_text(PgParams *params, Str value) {
    if (value.p == NULL) {
        pg_array_null(params);
        return;
    }
    element_begin(params, OID_TEXT_ARRAY, value.n);
    buf_add(&params->data, value);
}

void pg_array_jsonb(PgParams *params, Str value) {
    if (value.p == NULL) {
        pg_array_null(params);
        return;
    }
    element_begin(params, OID_JSONB_ARRAY, value.n + 1);
    buf_add_char(&params->data, PG_JSONB_VERSION);
    buf_add(&params->data, value);
}

void pg_array_id(PgParams *params, Id value) {
    element_begin(params, OID_UUID_ARRAY, sizeof value.bytes);
    buf_add_bytes(&params->data, value.bytes, sizeof value.bytes);
}

void pg_array_decimal(PgParams *params, Decimal value) {
    uint8_t bytes[PG_NUMERIC_BYTES_MAX];
    size_t n = pg_numeric_encode(value, bytes);
    element_begin(params, OID_NUMERIC_ARRAY, n);
    buf_add_bytes(&params->data, bytes, n);
}

void pg_array_instant(PgParams *params, Instant value) {
    element_begin(params, OID_TIMESTAMPTZ_ARRAY, 8);
    buf_add_be64(&params->data, instant_to_wire(value));
}

static void put_be32(char *at, uint32_t value) {
    for (int i = 0; i < 4; i++)
        at[i] = (char)(value >> (24 - 8 * i));
}

void pg_array_end(PgParams *params) {
    if (params->data.err == ERR_OK) {
        char *head = params->data.p + params->array_at;
        bool empty = params->array_n == 0; /* an empty array has no dimension */
        put_be32(head, empty ? 0 : 1);
        put_be32(head + 4, params->array_has_null);
        put_be32(head + 8, array_element(params->oids[params->n]));
        put_be32(head + 12, (uint32_t)params->array_n);
        put_be32(head + 16, 1);
        if (empty)
            params->data.n = params->array_at + ARRAY_HEAD;
    }
    param_end(params);
}
