/*
 * args.c - a job's arguments between struct and JSON.
 *
 * Writing is exact and in the order of the table, so that equal arguments are equal bytes: unique rules hash them.
 * Reading is strict about what it knows (a wrong type is said and discards the job: no attempt would mend it) and
 * passes over what it does not, because during a roll-out a newer usher inserts what an older one runs.
 */
#include "jobs/internal.h"
#include "resource/value_json.h"

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void write_value(JsonWriter *w, const Attribute *a, const void *at) {
    const Slice_Id *ids = at;
    if (!a->list) {
        value_to_json(w, a->type, at);
        return;
    }
    json_array(w);
    for (size_t i = 0; i < ids->n; i++)
        json_write_id(w, ids->p[i]);
    json_array_end(w);
}

void args_write(const JobKind *kind, const void *args, const char *const *only, Buf *out) {
    JsonWriter w;
    json_writer_init(&w, out, JSON_ESCAPE_MINIMAL, 0);
    json_object(&w);
    for (const Attribute *a = kind->arguments; a != NULL && a->name != NULL; a++) {
        const void *at = (const char *)args + a->offset;
        if (!name_listed(only, a->name) || value_is_absent(a->type, a->optional, at))
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

static ValuePlace place_of(Ctx *ctx, const Attribute *a) {
    return (ValuePlace){ctx, "Argument", a->name};
}

static Err read_ids(const ValuePlace *place, JsonReader *r, Slice_Id *ret) {
    size_t capacity = 0;
    *ret = (Slice_Id){0};
    if (r->token != JSON_ARRAY_START)
        return value_refuse(place, "is not a list");
    for (;;) {
        TRY(json_next(r));
        if (r->token == JSON_ARRAY_END)
            return ERR_OK;
        if (ret->n == capacity) {
            size_t grown = MAX_OF(capacity * 2, (size_t)16);
            Id *p = arena_grow(place->ctx->arena, ret->p, capacity * sizeof(Id), grown * sizeof(Id));
            if (p == NULL)
                return ERR_NO_MEMORY;
            ret->p = p;
            capacity = grown;
        }
        TRY(value_id_from_json(place, r, &ret->p[ret->n]));
        ret->n++;
    }
}

/* The current token and, for containers, all up to its end. */
static Err read_value(Ctx *ctx, const Attribute *a, JsonReader *r, void *at) {
    ValuePlace place = place_of(ctx, a);
    return a->list ? read_ids(&place, r, at) : value_from_json(&place, a->type, a->optional, r, at);
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
        if (a->required && (seen >> (a - kind->arguments) & 1) == 0) {
            ValuePlace place = place_of(ctx, a);
            return value_refuse(&place, "is missing");
        }
    return ERR_OK;
}
