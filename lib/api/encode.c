/*
 * encode.c - rows in the shape that the old system showed.
 *
 * The attribute's type decides the JSON form; a shape only names and orders, and asks for the few forms that differ.
 */
#include "api/answer.h"

enum { OUTPUTS_MAX = 32 };

static void write_enum(JsonWriter *w, const EnumValue *values, int64_t number) {
    for (const EnumValue *value = values; value != NULL && value->name != NULL; value++) {
        if (value->number == number) {
            json_write_string(w, str_c(value->name));
            return;
        }
    }
    json_write_i64(w, number);
}

static void write_integer(JsonWriter *w, const CompatOutput *output, int64_t number) {
    if (output->form == SHOW_ENUM)
        write_enum(w, output->values, number);
    else
        json_write_i64(w, number);
}

static void write_decimal(JsonWriter *w, const CompatOutput *output, Decimal value) {
    Decimal rounded;
    if (output->form == SHOW_SCALE_2 && decimal_rescale(value, 2, &rounded) == ERR_OK)
        value = rounded;
    json_write_decimal(w, value);
}

static void write_instant(JsonWriter *w, const CompatOutput *output, const CompatStyle *style, Instant value) {
    bool cut = output->form == SHOW_INSTANT && style->instants_utc_micros;
    json_write_instant(w, cut ? instant_utc_micros(value) : value);
}

static bool is_absent(const Attribute *attribute, const void *value) {
    if (!attribute->optional)
        return false;
    if (attribute->type == TYPE_ID)
        return !((const OptId *)value)->present;
    if (attribute->type == TYPE_INSTANT)
        return !((const OptInstant *)value)->present;
    return false;
}

static void write_attribute(JsonWriter *w, const CompatOutput *output, const Attribute *attribute,
                            const CompatStyle *style, const void *value) {
    if (is_absent(attribute, value)) {
        json_write_null(w);
        return;
    }
    switch (attribute->type) { /* the value stands first in an OptId or OptInstant */
    case TYPE_BOOL:
        json_write_bool(w, *(const bool *)value);
        break;
    case TYPE_INT16:
        write_integer(w, output, *(const int16_t *)value);
        break;
    case TYPE_INT32:
        write_integer(w, output, *(const int32_t *)value);
        break;
    case TYPE_INT64:
        write_integer(w, output, *(const int64_t *)value);
        break;
    case TYPE_TEXT:
        json_write_string(w, *(const Str *)value);
        break;
    case TYPE_ID:
        json_write_id(w, *(const Id *)value);
        break;
    case TYPE_DECIMAL:
        write_decimal(w, output, *(const Decimal *)value);
        break;
    case TYPE_INSTANT:
        write_instant(w, output, style, *(const Instant *)value);
        break;
    case TYPE_JSON: {
        Str text = ((const JsonText *)value)->text;
        json_write_raw(w, text.p == NULL ? STR("null") : text);
        break;
    }
    case TYPE_NONE:
        json_write_null(w);
        break;
    }
}

/** Looks each attribute up once, not once per row. */
static Err resolve(const CompatShape *shape, const Attribute *attributes[OUTPUTS_MAX]) {
    for (size_t i = 0; shape->outputs[i].name != NULL; i++) {
        const CompatOutput *output = &shape->outputs[i];
        ASSERT(i < OUTPUTS_MAX);
        if (output->form == SHOW_CUSTOM)
            continue;
        attributes[i] = shape->resource == NULL || output->attribute == NULL
                            ? NULL
                            : resource_attribute(shape->resource, output->attribute);
        if (attributes[i] == NULL)
            return ERR_INVALID;
    }
    return ERR_OK;
}

Err compat_encode(const CompatShape *shape, const CompatStyle *style, const Ctx *ctx, const void *rows, size_t n,
                  bool list, Buf *out) {
    const Attribute *attributes[OUTPUTS_MAX] = {0};
    TRY(resolve(shape, attributes));
    JsonWriter w;
    json_writer_init(&w, out, JSON_ESCAPE_RELAXED, 0);
    if (list)
        json_array(&w);
    for (size_t row = 0; row < n && out->err == ERR_OK; row++) {
        const char *base = (const char *)rows + row * shape->row_size;
        json_object(&w);
        for (size_t i = 0; shape->outputs[i].name != NULL; i++) {
            const CompatOutput *output = &shape->outputs[i];
            json_name(&w, str_c(output->name));
            if (output->form == SHOW_CUSTOM)
                output->write(&w, ctx, base);
            else if (attributes[i] != NULL) /* resolve has seen to it */
                write_attribute(&w, output, attributes[i], style, base + attributes[i]->offset);
        }
        json_object_end(&w);
    }
    if (list)
        json_array_end(&w);
    return out->err;
}
