/*
 * diff_text.c - differences said in lines that a person can act on.
 */
#include "json/json.h"

enum { SHOWN_MAX = 160 };

static void add_escaped(Buf *out, Str name) {
    for (size_t i = 0; i < name.n; i++) { /* RFC 6901 §3 */
        char c = name.p[i];
        if (c == '~' || c == '/')
            buf_add(out, c == '~' ? STR("~0") : STR("~1"));
        else
            buf_add_char(out, c);
    }
}

void json_path_write(Buf *out, const JsonPath *path, bool any_element) {
    if (path == NULL)
        return;
    json_path_write(out, path->up, any_element);
    buf_add_char(out, '/');
    if (path->element && any_element)
        buf_add_char(out, '*');
    else if (path->name.p == NULL)
        buf_add_u64(out, path->index);
    else
        add_escaped(out, path->name);
}

void json_value_write(Buf *out, const Json *value) {
    if (value == NULL)
        buf_add(out, STR("nothing"));
    else if (value->kind == JSON_OBJECT_START)
        buf_printf(out, "an object of %zu", value->count);
    else if (value->kind == JSON_ARRAY_START)
        buf_printf(out, "an array of %zu", value->count);
    else if (value->kind == JSON_STRING)
        json_escape(out, str_slice(value->text, 0, SHOWN_MAX), JSON_ESCAPE_RELAXED);
    else if (value->kind == JSON_NUMBER)
        buf_add(out, str_slice(value->text, 0, SHOWN_MAX));
    else
        buf_add(out, value->kind == JSON_TRUE ? STR("true") : value->kind == JSON_FALSE ? STR("false") : STR("null"));
    if (value != NULL && value->text.n > SHOWN_MAX)
        buf_printf(out, "… (%zu bytes)", value->text.n);
}

static void add_line(void *data, const JsonPath *path, const Json *want, const Json *got) {
    Buf *out = data;
    if (path == NULL)
        buf_add(out, STR("(whole)"));
    json_path_write(out, path, false);
    buf_add(out, STR(": want "));
    json_value_write(out, want);
    buf_add(out, STR(", got "));
    json_value_write(out, got);
    buf_add_char(out, '\n');
}

size_t json_diff(const Json *want, const Json *got, const JsonDiffOptions *options, size_t most, Buf *out) {
    ASSERT(options->same_string == NULL); /* its data would be our Buf */
    return json_diff_each(want, got, options, most, add_line, out);
}
