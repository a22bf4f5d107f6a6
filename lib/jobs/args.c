/*
 * args.c - a job's arguments between struct and JSON.
 *
 * Writing is exact and in the order of the table, so that equal arguments are equal bytes: unique rules hash them.
 * Reading is strict about what it knows (a wrong type is said and discards the job: no attempt would mend it) and
 * passes over what it does not, because during a roll-out a newer usher inserts what an older one runs.
 */
#include "jobs/internal.h"
#include "json/json.h"

/* --- writing ------------------------------------------------------------------------------------------------------ */

static bool is_absent(const Attribute *a, const void *at) {
    if (a->type == TYPE_TEXT)
        return ((const Str *)at)->p == NULL;
    if (a->type == TYPE_JSON)
        return ((const JsonText *)at)->text.p == NULL;
    if (a->optional && a->type == TYPE_ID)
        return !((const OptId *)at)->present;
    return a->optional && a->type == TYPE_INSTANT && !((const OptInstant *)at)->present;
}

static void write_ids(JsonWriter *w, const Slice_Id *ids) {
    json_array(w);
    for (size_t i = 0; i < ids->n; i++)
        json_write_id(w, ids->p[i]);
    json_array_end(w);
}

/* An OptId and an OptInstant begin with their value. */
static void write_value(JsonWriter *w, const Attribute *a, const void *at) {
    switch (a->type) {
    case TYPE_BOOL:
        json_write_bool(w, *(const bool *)at);
        return;
    case TYPE_INT16:
        json_write_i64(w, *(const int16_t *)at);
        return;
    case TYPE_INT32:
        json_write_i64(w, *(const int32_t *)at);
        return;
    case TYPE_INT64:
        json_write_i64(w, *(const int64_t *)at);
        return;
    case TYPE_TEXT:
        json_write_string(w, *(const Str *)at);
        return;
    case TYPE_ID:
        if (a->list)
            write_ids(w, at);
        else
            json_write_id(w, *(const Id *)at);
        return;
    case TYPE_DECIMAL:
        json_write_decimal(w, *(const Decimal *)at);
        return;
    case TYPE_INSTANT:
        json_write_instant(w, *(const Instant *)at);
        return;
    case TYPE_JSON:
        json_write_raw(w, ((const JsonText *)at)->text);
        return;
    case TYPE_NONE:
        break;
    }
    ASSERT(a->type != TYPE_NONE);
}

void args_write(const JobKind *kind, const void *args, const char *const *only, Buf *out) {
    JsonWriter w;
    json_writer_init(&w, out, JSON_ESCAPE_MINIMAL, 0);
    json_object(&w);
    for (const Attribute *a = kind->arguments; a != NULL && a->name != NULL; a++) {
        const void *at = (const char *)args + a->offset;
        if (!name_listed(only, a->name) || is_absent(a, at))
            continue;
        json_name(&w, str_c(a->name));
        write_value(&w, a, at);
    }
    json_object_end(&w);
}

bool name_listed(const char *const *names, const char *name) {
    if (names == NULL || names[0] == NULL)
        return true;
    for (; *names != NULL; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

Err job_args_encode(const JobKind *kind, const void *args, Arena *arena, Str *ret) {
    Buf out = buf_new(arena, ARGS_MAX);
    args_write(kind, args, NULL, &out);
    return buf_finish(&out, ret);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static Err refuse(Ctx *ctx, const Attribute *a, const char *why) {
    return ctx_problem(ctx, ERR_INVALID, a->name, "Argument %s %s.", a->name, why);
}

static Err read_integer(Ctx *ctx, const Attribute *a, const JsonReader *r, int64_t max, int64_t *ret) {
    if (r->token != JSON_NUMBER)
        return refuse(ctx, a, "is not a number");
    Str digits = r->lexeme;
    bool negative = digits.n > 0 && digits.p[0] == '-';
    uint64_t magnitude;
    Err err = str_to_u64(str_slice(digits, negative, digits.n), (uint64_t)max + negative, &magnitude);
    if (err == ERR_SYNTAX)
        return refuse(ctx, a, "is not a whole number");
    if (err != ERR_OK)
        return refuse(ctx, a, "is out of range");
    *ret = !negative ? (int64_t)magnitude : magnitude == 0 ? 0 : -(int64_t)(magnitude - 1) - 1;
    return ERR_OK;
}

static Err read_string(Ctx *ctx, const Attribute *a, const JsonReader *r, Str *ret) {
    if (r->token != JSON_STRING)
        return refuse(ctx, a, "is not a string");
    Err err = json_string(r, ctx->arena, ret);
    return err == ERR_SYNTAX ? refuse(ctx, a, "is not well-formed text") : err;
}

static Err read_one_id(Ctx *ctx, const Attribute *a, const JsonReader *r, Id *ret) {
    Str text = {0};
    TRY(read_string(ctx, a, r, &text));
    return id_parse(text, ID_FORM_D, ret) == ERR_OK ? ERR_OK : refuse(ctx, a, "is not a UUID");
}

static Err read_ids(Ctx *ctx, const Attribute *a, JsonReader *r, Slice_Id *ret) {
    size_t capacity = 0;
    *ret = (Slice_Id){0};
    if (r->token != JSON_ARRAY_START)
        return refuse(ctx, a, "is not a list");
    for (;;) {
        TRY(json_next(r));
        if (r->token == JSON_ARRAY_END)
            return ERR_OK;
        if (ret->n == capacity) {
            size_t grown = MAX_OF(capacity * 2, (size_t)16);
            Id *p = arena_grow(ctx->arena, ret->p, capacity * sizeof(Id), grown * sizeof(Id));
            if (p == NULL)
                return ERR_NO_MEMORY;
            ret->p = p;
            capacity = grown;
        }
        TRY(read_one_id(ctx, a, r, &ret->p[ret->n]));
        ret->n++;
    }
}

static Err read_id(Ctx *ctx, const Attribute *a, JsonReader *r, void *at) {
    Id id;
    if (a->list)
        return read_ids(ctx, a, r, at);
    TRY(read_one_id(ctx, a, r, &id));
    if (a->optional)
        *(OptId *)at = (OptId){.value = id, .present = true};
    else
        *(Id *)at = id;
    return ERR_OK;
}

static Err read_instant(Ctx *ctx, const Attribute *a, const JsonReader *r, void *at) {
    Str text = {0};
    Instant instant;
    TRY(read_string(ctx, a, r, &text));
    if (instant_parse(text, &instant) != ERR_OK)
        return refuse(ctx, a, "is not a date and time");
    if (a->optional)
        *(OptInstant *)at = (OptInstant){.value = instant, .present = true};
    else
        *(Instant *)at = instant;
    return ERR_OK;
}

static Err read_decimal(Ctx *ctx, const Attribute *a, const JsonReader *r, Decimal *ret) {
    if (r->token != JSON_NUMBER)
        return refuse(ctx, a, "is not a number");
    return decimal_parse(r->lexeme, ret) == ERR_OK ? ERR_OK : refuse(ctx, a, "is out of range");
}

/* The current token and, for containers, all up to its end. */
static Err read_value(Ctx *ctx, const Attribute *a, JsonReader *r, void *at) {
    int64_t whole = 0;
    switch (a->type) {
    case TYPE_BOOL:
        if (r->token != JSON_TRUE && r->token != JSON_FALSE)
            return refuse(ctx, a, "is neither true nor false");
        *(bool *)at = r->token == JSON_TRUE;
        return ERR_OK;
    case TYPE_INT16:
        TRY(read_integer(ctx, a, r, INT16_MAX, &whole));
        *(int16_t *)at = (int16_t)whole;
        return ERR_OK;
    case TYPE_INT32:
        TRY(read_integer(ctx, a, r, INT32_MAX, &whole));
        *(int32_t *)at = (int32_t)whole;
        return ERR_OK;
    case TYPE_INT64:
        TRY(read_integer(ctx, a, r, INT64_MAX, &whole));
        *(int64_t *)at = whole;
        return ERR_OK;
    case TYPE_TEXT:
        return read_string(ctx, a, r, at);
    case TYPE_ID:
        return read_id(ctx, a, r, at);
    case TYPE_DECIMAL:
        return read_decimal(ctx, a, r, at);
    case TYPE_INSTANT:
        return read_instant(ctx, a, r, at);
    case TYPE_JSON: {
        size_t from = r->token_at;
        TRY(json_skip(r));
        ((JsonText *)at)->text = str_slice(r->input, from, r->at);
        return ERR_OK;
    }
    case TYPE_NONE:
        break;
    }
    ASSERT(a->type != TYPE_NONE);
    return ERR_INTERNAL;
}

static const Attribute *argument_named(const JobKind *kind, Str name) {
    for (const Attribute *a = kind->arguments; a != NULL && a->name != NULL; a++)
        if (str_eq_c(name, a->name))
            return a;
    return NULL;
}

static Err read_members(const JobKind *kind, Ctx *ctx, JsonReader *r, void *ret, uint64_t *seen) {
    TRY(json_next(r));
    if (r->token != JSON_OBJECT_START)
        return ctx_problem(ctx, ERR_INVALID, NULL, "The arguments are not a JSON object.");
    for (;;) {
        TRY(json_next(r));
        if (r->token == JSON_OBJECT_END)
            break;
        Str name;
        if (json_string(r, ctx->arena, &name) != ERR_OK)
            return ctx_problem(ctx, ERR_SYNTAX, NULL, "A name in the arguments is not well-formed text.");
        const Attribute *a = argument_named(kind, name);
        TRY(json_next(r));
        if (a == NULL) {
            TRY(json_skip(r));
            continue;
        }
        if (r->token == JSON_NULL) /* as if it were not there */
            continue;
        TRY(read_value(ctx, a, r, (char *)ret + a->offset));
        *seen |= UINT64_C(1) << (a - kind->arguments);
    }
    return json_next(r);
}

Err job_args_decode(const JobKind *kind, Ctx *ctx, Str json, void *ret) {
    JsonReader r;
    uint64_t seen = 0;
    memset(ret, 0, kind->size);
    json_reader_init(&r, json, JSON_DEPTH_MAX);
    Err err = read_members(kind, ctx, &r, ret, &seen);
    if (r.error != JSON_OK) {
        JsonPosition at = json_position(&r);
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "The arguments are not JSON: line %lld, byte %lld.",
                           (long long)at.line, (long long)at.column);
    }
    TRY(err);
    for (const Attribute *a = kind->arguments; a != NULL && a->name != NULL; a++)
        if (a->required && (seen >> (a - kind->arguments) & 1) == 0)
            return refuse(ctx, a, "is missing");
    return ERR_OK;
}
