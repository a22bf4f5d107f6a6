/*
 * jsonapi_cursor.c - page[after] and page[before]: a row's place in its order, as an opaque text.
 *
 * base64url of a JSON array: the order it was made under, then one value per sort attribute (null where the row has
 * none). A cursor is only a set of values, each read as strictly as a filter's and sent as a parameter, and it is
 * refused under another order; there is nothing in it that a client might not say, so it needs no signature.
 */
#include "api/jsonapi_internal.h"

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void base64_write(Str bytes, Buf *out) {
    for (size_t i = 0; i < bytes.n; i += 3) {
        uint32_t group = 0;
        size_t n = MIN_OF(bytes.n - i, (size_t)3);
        for (size_t j = 0; j < 3; j++)
            group = group << 8 | (j < n ? (unsigned char)bytes.p[i + j] : 0);
        for (size_t j = 0; j <= n; j++)
            buf_add_char(out, ALPHABET[group >> (18 - 6 * j) & 63]);
    }
}

static Err base64_read(Arena *arena, Str text, Str *ret) {
    char *out = arena_alloc(arena, text.n / 4 * 3 + 3);
    if (out == NULL)
        return ERR_NO_MEMORY;
    size_t n = 0;
    uint32_t group = 0;
    int bits = 0;
    for (size_t i = 0; i < text.n; i++) {
        const char *at = memchr(ALPHABET, text.p[i], sizeof ALPHABET - 1);
        if (at == NULL)
            return ERR_SYNTAX;
        group = group << 6 | (uint32_t)(at - ALPHABET);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[n++] = (char)(group >> bits & 255);
        }
    }
    *ret = (Str){out, n};
    return ERR_OK;
}

void api_cursor_write(const ApiCall *call, const void *row, Buf *out) {
    const ListQuery *list = &call->query.list;
    Buf json = buf_new(call->ctx->arena, out->max);
    JsonWriter w;
    json_writer_init(&w, &json, JSON_ESCAPE_MINIMAL, 0);
    json_array(&w);
    json_write_string(&w, call->query.order.p == NULL ? STR("") : call->query.order);
    for (size_t i = 0; i < list->n_sort; i++) {
        if (!attribute_is_present(list->sort[i].attribute, row)) {
            json_write_null(&w);
            continue;
        }
        Buf value = buf_new(call->ctx->arena, out->max);
        api_format_value(list->sort[i].attribute, row, &value);
        json_write_string(&w, buf_str(&value));
        if (value.err != ERR_OK)
            out->err = value.err;
    }
    json_array_end(&w);
    if (json.err != ERR_OK)
        out->err = json.err;
    base64_write(buf_str(&json), out);
}

static Err read_values(ApiCall *call, const Json *array, void *row) {
    const ListQuery *list = &call->query.list;
    const Json *value = array->first;
    if (array->kind != JSON_ARRAY_START || array->count != list->n_sort + 1 || value->kind != JSON_STRING ||
        !str_eq(value->text, call->query.order))
        return ERR_SYNTAX;
    for (size_t i = 0; i < list->n_sort; i++) {
        const Attribute *a = list->sort[i].attribute;
        value = value->next;
        if (value->kind == JSON_NULL && attribute_is_nullable(a))
            continue;
        if (value->kind != JSON_STRING)
            return ERR_SYNTAX;
        TRY(api_parse_value(a, value->text, call->ctx->arena, row));
    }
    return ERR_OK;
}

Err api_cursor_read(ApiCall *call, const ApiSource *source, Str parameter, Str text) {
    void *row = arena_alloc(call->ctx->arena, source->resource->size);
    Str json;
    Json *array;
    if (row == NULL)
        return ERR_NO_MEMORY;
    Err err = base64_read(call->ctx->arena, text, &json);
    if (err == ERR_OK)
        err = json_parse(json, call->ctx->arena, JSON_DUPLICATES_REJECT, &array, NULL);
    if (err == ERR_OK)
        err = read_values(call, array, row);
    if (err == ERR_NO_MEMORY)
        return err;
    if (err != ERR_OK)
        return api_error_param(call, 400, "invalid-cursor", parameter,
                               "This is no cursor of this list in this order; take one from a page's links.");
    call->query.list.from = row;
    return ERR_OK;
}
