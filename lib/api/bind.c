/*
 * bind.c - walks a body as the old deserialiser did, so that it stumbles at the same stone and says the same thing.
 *
 * One pass over the tokens; each known property is converted when it is met, and checked at once, because the old
 * system's converters threw from within the walk: a bad name before a bad date is a domain error, behind it the date's
 * error wins. A tree built first and validated later would be simpler and answer differently.
 */
#include "api/bind.h"

#include <stdio.h>

enum { DEPTH_MAX = 32, NAME_SHOWN_MAX = 512 };

#define EMPTY_BODY "A non-empty request body is required."

typedef struct Binder {
    JsonReader r;
    const CompatPayload *payload;
    const CompatStyle *style;
    Ctx *ctx;
    CompatRefusal *refusal;
    void *object;
    Str property;      /* the one being read; absent: between properties */
    ptrdiff_t element; /* of the list being read; -1: none */
    uint64_t seen;     /* bit i: field i was there */
    Err rule_err;      /* code of the first check that refused */
} Binder;

/* --- refusing ----------------------------------------------------------------------------------------------------- */

/** A name with one of these is shown as ['name'], not .name (ReadStack.JsonPath). */
static bool needs_brackets(Str name) {
    for (size_t i = 0; i < name.n; i++) {
        if (str_index(STR(". '/\"[]()\t\n\r\f\b\\"), name.p[i]) >= 0)
            return true;
    }
    return str_find(name, STR("\xC2\x85")) >= 0 || str_find(name, STR("\xE2\x80\xA8")) >= 0 ||
           str_find(name, STR("\xE2\x80\xA9")) >= 0;
}

static Str path_of(const Binder *b) {
    Buf path = buf_new(b->ctx->arena, 2 * NAME_SHOWN_MAX + 64);
    buf_add_char(&path, '$');
    if (b->property.p != NULL) {
        bool brackets = needs_brackets(b->property);
        buf_add(&path, brackets ? STR("['") : STR("."));
        buf_add(&path, b->property);
        buf_add(&path, brackets ? STR("']") : STR(""));
    }
    if (b->element >= 0)
        buf_printf(&path, "[%td]", b->element);
    return path.err == ERR_OK ? buf_str(&path) : (Str){0};
}

/** Error form 2 at the reader's position. */
static Err refuse(Binder *b, Str words) {
    Str path = path_of(b);
    JsonPosition at = json_position(&b->r);
    Str message = {0};
    if (words.p != NULL && path.p != NULL)
        message = arena_printf(b->ctx->arena, "%.*s Path: %.*s | LineNumber: %lld | BytePositionInLine: %lld.",
                               STR_ARG(words), STR_ARG(path), (long long)at.line, (long long)at.column);
    if (message.p == NULL)
        return ERR_NO_MEMORY;
    *b->refusal = (CompatRefusal){.key = path, .message = message, .payload_missing = true};
    return ERR_SYNTAX;
}

static Err refuse_conversion(Binder *b, const char *type) {
    return refuse(b, arena_printf(b->ctx->arena, "The JSON value could not be converted to %s.", type));
}

static Err next(Binder *b) {
    return json_next(&b->r) == ERR_OK ? ERR_OK : refuse(b, compat_json_wording(b->ctx->arena, &b->r));
}

static Err skip(Binder *b) {
    return json_skip(&b->r) == ERR_OK ? ERR_OK : refuse(b, compat_json_wording(b->ctx->arena, &b->r));
}

static Err refuse_empty(Binder *b) {
    *b->refusal = (CompatRefusal){.key = STR(""), .message = STR(EMPTY_BODY), .payload_missing = true};
    return ERR_SYNTAX;
}

/** A check's refusal: ends reading, or is kept beside others. */
static Err refuse_rule(Binder *b, const CompatField *field, Err err) {
    if (err == ERR_NO_MEMORY)
        return err;
    b->ctx->problem.field = str_c(field->name); /* the check does not know whose value it judges */
    if (b->refusal->rules_n < REFUSAL_RULES_MAX)
        b->refusal->rules[b->refusal->rules_n++] = b->ctx->problem;
    if (b->rule_err == ERR_OK)
        b->rule_err = err;
    if (b->style->one_error_only)
        return err;
    b->ctx->problem = (Problem){0}; /* room for the next one */
    return ERR_OK;
}

/* --- converting --------------------------------------------------------------------------------------------------- */

static Err convert_list(Binder *b, const CompatField *field) {
    Slice(Id) *list = (void *)((char *)b->object + field->offset);
    *list = (Slice(Id)){0};
    if (b->r.token == JSON_NULL)
        return ERR_OK;
    if (b->r.token != JSON_ARRAY_START)
        return refuse_conversion(b, "System.Guid[]");
    /* An element takes more bytes in the text than as an Id, so the input's length is bound enough. */
    Buf ids = buf_new(b->ctx->arena, b->r.input.n);
    CompatField element = {.kind = COMPAT_ID_LIST};
    for (b->element = 0;; b->element++) {
        TRY(next(b));
        if (b->r.token == JSON_ARRAY_END)
            break;
        Id id;
        Err err = compat_convert(&element, &b->r, b->style, b->ctx->arena, &id);
        if (err != ERR_OK)
            return err == ERR_SYNTAX ? refuse_conversion(b, "System.Guid") : err;
        buf_add_bytes(&ids, id.bytes, sizeof id.bytes);
    }
    b->element = -1;
    if (ids.err != ERR_OK)
        return ERR_NO_MEMORY;
    *list = (Slice(Id)){.p = ids.p == NULL ? arena_alloc(b->ctx->arena, 0) : (void *)ids.p, .n = ids.n / sizeof(Id)};
    return list->p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/** Converters with rules of their own read ahead in the old system: a syntax mistake within a list or object that is of
 *  the wrong type anyway is found first. */
static Err read_ahead(Binder *b) {
    JsonReader here = b->r;
    TRY(skip(b));
    b->r = here;
    return ERR_OK;
}

static Err convert_field(Binder *b, const CompatField *field) {
    if (field->kind == COMPAT_ID_LIST)
        return convert_list(b, field);
    if (field->check != NULL && (b->r.token == JSON_OBJECT_START || b->r.token == JSON_ARRAY_START))
        TRY(read_ahead(b));
    Err err = compat_convert(field, &b->r, b->style, b->ctx->arena, b->object);
    if (err == ERR_SYNTAX)
        return refuse_conversion(b, b->payload->type_name);
    TRY(err);
    if (field->check == NULL)
        return ERR_OK;
    err = field->check(b->ctx, (char *)b->object + field->offset);
    return err == ERR_OK ? ERR_OK : refuse_rule(b, field, err);
}

static const CompatField *find_field(const Binder *b, Str name) {
    for (const CompatField *field = b->payload->fields; field->name != NULL; field++) {
        Str known = str_c(field->name);
        if (str_eq(known, name) || (b->style->names_any_case && str_eq_nocase(known, name)))
            return field;
    }
    return NULL;
}

static Err note_seen(Binder *b, const CompatField *field) {
    uint64_t bit = 1ull << (field - b->payload->fields);
    if ((b->seen & bit) && !b->style->duplicate_names_last)
        return refuse(b, arena_printf(b->ctx->arena,
                                      "Duplicate property '%s' encountered during deserialization of type '%s'.",
                                      field->name, b->payload->type_name));
    b->seen |= bit;
    if (field->seen_offset != 0)
        *(bool *)((char *)b->object + field->seen_offset) = true;
    return ERR_OK;
}

/** A property whose name is the current token. */
static Err bind_property(Binder *b) {
    Str name;
    Err err = json_string(&b->r, b->ctx->arena, &name);
    if (err != ERR_OK)
        return err == ERR_SYNTAX ? refuse_conversion(b, b->payload->type_name) : err;
    b->property = name.n <= NAME_SHOWN_MAX ? name : compat_printable(b->ctx->arena, name, NAME_SHOWN_MAX);
    if (b->property.p == NULL)
        return ERR_NO_MEMORY;
    const CompatField *field = find_field(b, name);
    if (field != NULL)
        TRY(note_seen(b, field));
    TRY(next(b));
    TRY(field == NULL ? skip(b) : convert_field(b, field));
    b->property = (Str){0};
    return ERR_OK;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static Err bind_defaults(Binder *b) {
    for (const CompatField *field = b->payload->fields; field->name != NULL; field++) {
        if (field->fallback == NULL)
            continue;
        JsonReader r;
        json_reader_init(&r, str_c(field->fallback), 1);
        TRY(json_next(&r));
        TRY(compat_convert(field, &r, b->style, b->ctx->arena, b->object));
    }
    return ERR_OK;
}

static Err require_lists(Binder *b) {
    for (const CompatField *field = b->payload->fields; field->name != NULL; field++) {
        const Slice(Id) *list = (const void *)((char *)b->object + field->offset);
        if (!field->required_list || list->p != NULL)
            continue;
        Str message = arena_printf(b->ctx->arena, "The %s field is required.", field->name);
        if (message.p == NULL)
            return ERR_NO_MEMORY;
        *b->refusal = (CompatRefusal){.key = str_c(field->name), .message = message};
        return ERR_SYNTAX;
    }
    return ERR_OK;
}

static Err bind_object(Binder *b) {
    if (b->r.token != JSON_OBJECT_START)
        return refuse_conversion(b, b->payload->type_name);
    TRY(bind_defaults(b));
    for (;;) {
        TRY(next(b));
        if (b->r.token == JSON_OBJECT_END)
            break;
        TRY(bind_property(b));
    }
    return next(b);
}

static Err bind(Binder *b) {
    if (b->r.input.n == 0)
        return refuse_empty(b);
    TRY(next(b));
    if (b->r.token == JSON_NULL) {
        TRY(next(b));
        return refuse_empty(b);
    }
    TRY(bind_object(b));
    TRY(b->rule_err);
    return require_lists(b);
}

Err compat_bind(const CompatPayload *payload, Str body, const CompatStyle *style, Ctx *ctx, void **ret,
                CompatRefusal *refusal) {
    Binder b = {.payload = payload, .style = style, .ctx = ctx, .refusal = refusal, .element = -1};
    *refusal = (CompatRefusal){0};
    json_reader_init(&b.r, body, DEPTH_MAX);
    b.object = arena_alloc(ctx->arena, payload->size);
    if (b.object == NULL)
        return ERR_NO_MEMORY;
    Err err = bind(&b);
    if (err == ERR_OK || (err == b.rule_err && !style->one_error_only))
        *ret = b.object;
    return err;
}
