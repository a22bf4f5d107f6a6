/*
 * verify_attribute.c - context_verify's look at the attributes of one resource.
 */
#include "resource/model.h"
#include "resource/verify.h"

static size_t member_size(const Attribute *a) {
    switch (a->type) {
    case TYPE_BOOL:
        return sizeof(bool);
    case TYPE_INT16:
        return sizeof(int16_t);
    case TYPE_INT32:
        return sizeof(int32_t);
    case TYPE_INT64:
        return sizeof(int64_t);
    case TYPE_TEXT:
        return sizeof(Str);
    case TYPE_ID:
        return a->optional ? sizeof(OptId) : sizeof(Id);
    case TYPE_DECIMAL:
        return sizeof(Decimal);
    case TYPE_INSTANT:
        return a->optional ? sizeof(OptInstant) : sizeof(Instant);
    case TYPE_JSON:
        return sizeof(JsonText);
    case TYPE_NONE:
        break;
    }
    return 0;
}

static bool can_be_absent(const Attribute *a) {
    return a->optional || a->type == TYPE_TEXT || a->type == TYPE_JSON;
}

static void verify_shape(Verifier *v, const Attribute *a) {
    if (member_size(a) == 0)
        mistake(v, "attribute %s has no .type; declare it with ATTR", a->name);
    else if (a->offset + member_size(a) > v->resource->size)
        mistake(v, "attribute %s lies outside of the struct; is .size of the same struct as ATTR?", a->name);
    if (!a->required && !a->key && !a->identity && !can_be_absent(a))
        mistake(v,
                "attribute %s may be NULL in the database, but its member cannot say so; set .required or use an Opt "
                "type",
                a->name);
    if (a->required && a->optional)
        mistake(v, "attribute %s is .required, but its member may be absent; choose one", a->name);
}

static void verify_options(Verifier *v, const Attribute *a) {
    if (a->precision != 0 && a->type != TYPE_DECIMAL)
        mistake(v, "attribute %s: .precision is for decimals", a->name);
    if (a->precision < 0 || a->precision > 1000 || a->scale < 0 || a->scale > DECIMAL_SCALE_MAX ||
        (a->scale > a->precision))
        mistake(v, "attribute %s: want 0 <= .scale <= .precision, .scale at most %d", a->name, DECIMAL_SCALE_MAX);
    if (a->coarse && a->type != TYPE_INSTANT)
        mistake(v, "attribute %s: .coarse is for instants", a->name);
    if (a->identity && (a->type != TYPE_INT64 || a->default_sql != NULL))
        mistake(v, "attribute %s: an .identity is an int64_t without .default_sql", a->name);
    if (a->generated && (a->type != TYPE_ID || a->optional))
        mistake(v, "attribute %s: .generated makes Ids; its member must be an Id", a->name);
    if (a->key && a->optional)
        mistake(v, "attribute %s: a key cannot be absent", a->name);
    if (a->values != NULL && a->type != TYPE_INT16 && a->type != TYPE_INT32 && a->type != TYPE_INT64)
        mistake(v, "attribute %s: .values name whole numbers", a->name);
}

static void verify_values(Verifier *v, const Attribute *a) {
    for (const EnumValue *value = a->values; value != NULL && value->name != NULL; value++) {
        for (const EnumValue *before = a->values; before < value; before++) {
            if (before->number == value->number || strcmp(before->name, value->name) == 0)
                mistake(v, "attribute %s: value %s is there twice", a->name, value->name);
        }
    }
}

static void verify_reference(Verifier *v, const Attribute *a) {
    const Resource *target = verify_find_resource(v->context, a->references);
    if (target == NULL) {
        mistake(v, "attribute %s: there is no resource '%s' in this context; other contexts' rows are not referenced",
                a->name, a->references);
        return;
    }
    const Attribute *key = NULL;
    size_t keys = 0;
    for (const Attribute *k = target->attributes; k != NULL && k->name != NULL; k++) {
        if (k->key) {
            key = k;
            keys++;
        }
    }
    if (keys != 1 || key->type != a->type)
        mistake(v, "attribute %s: resource %s needs a single key of the same type to be referenced", a->name,
                target->name);
}

static bool is_fine_name(Str name, const Attribute *of) {
    Str base = str_c(of->name);
    return attribute_has_fine(of) && name.n == base.n + sizeof FINE_SUFFIX - 1 && str_starts_with(name, base) &&
           str_ends_with(name, STR(FINE_SUFFIX));
}

static void verify_name(Verifier *v, const Attribute *a) {
    Str name = str_c(a->name);
    if (!name_is_plain(name) || name_is_reserved(name))
        mistake(v, "attribute '%s': want a lower-case SQL name that is no reserved word", a->name);
    if (a->renamed_from != NULL && !name_is_plain(str_c(a->renamed_from)))
        mistake(v, "attribute %s: .renamed_from must be a column's name", a->name);
    for (const Attribute *other = v->resource->attributes; other->name != NULL; other++) {
        if (other < a && strcmp(other->name, a->name) == 0)
            mistake(v, "attribute %s is there twice", a->name);
        if (other != a && is_fine_name(name, other))
            mistake(v, "attribute %s has the name of the second column of %s; rename it or make that one .coarse",
                    a->name, other->name);
    }
}

void verify_attributes(Verifier *v) {
    size_t keys = 0;
    for (const Attribute *a = v->resource->attributes; a->name != NULL; a++) {
        verify_name(v, a);
        verify_shape(v, a);
        verify_options(v, a);
        verify_values(v, a);
        if (a->references != NULL)
            verify_reference(v, a);
        keys += a->key;
    }
    if (keys == 0)
        mistake(v, "no attribute is a .key; every table needs a primary key");
}
