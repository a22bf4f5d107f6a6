/*
 * writer.c - JSON out, member by member, into a Buf.
 *
 * The writer keeps no text and no stack: one bit per level says whether a comma is due. Misuse (a value without its
 * name, more levels than JSON_DEPTH_MAX, an end without its start) is a bug, not an error. Refusals of memory are
 * remembered by the Buf.
 */
#include "json/json.h"

void json_writer_init(JsonWriter *w, Buf *out, JsonEscaping escaping, int indent) {
    *w = (JsonWriter){.out = out, .escaping = escaping, .indent = indent};
}

static void new_line(JsonWriter *w) {
    if (w->indent == 0)
        return;
    static const char blanks[] = "                                ";
    buf_add_char(w->out, '\n');
    for (size_t n = (size_t)w->indent * (size_t)w->depth; n > 0;) {
        size_t piece = MIN_OF(n, sizeof blanks - 1);
        buf_add_bytes(w->out, blanks, piece);
        n -= piece;
    }
}

/** What stands before a name, an element or the document. */
static void begin_item(JsonWriter *w) {
    if (w->after_name) {
        w->after_name = false;
        return;
    }
    if (w->depth == 0)
        return;
    uint64_t bit = 1ull << (w->depth - 1);
    if (w->has_any & bit)
        buf_add_char(w->out, ',');
    w->has_any |= bit;
    new_line(w);
}

static void open_level(JsonWriter *w, char bracket) {
    begin_item(w);
    ASSERT(w->depth < JSON_DEPTH_MAX);
    buf_add_char(w->out, bracket);
    w->has_any &= ~(1ull << w->depth++);
}

static void close_level(JsonWriter *w, char bracket) {
    ASSERT(w->depth > 0 && !w->after_name);
    bool any = w->has_any >> --w->depth & 1;
    if (any)
        new_line(w);
    buf_add_char(w->out, bracket);
}

void json_object(JsonWriter *w) {
    open_level(w, '{');
}

void json_object_end(JsonWriter *w) {
    close_level(w, '}');
}

void json_array(JsonWriter *w) {
    open_level(w, '[');
}

void json_array_end(JsonWriter *w) {
    close_level(w, ']');
}

void json_name(JsonWriter *w, Str name) {
    ASSERT(w->depth > 0 && !w->after_name);
    begin_item(w);
    json_escape(w->out, name, w->escaping);
    buf_add(w->out, w->indent > 0 ? STR(": ") : STR(":"));
    w->after_name = true;
}

void json_write_string(JsonWriter *w, Str value) {
    begin_item(w);
    if (value.p == NULL)
        buf_add(w->out, STR("null"));
    else
        json_escape(w->out, value, w->escaping);
}

void json_write_i64(JsonWriter *w, int64_t value) {
    begin_item(w);
    buf_add_i64(w->out, value);
}

void json_write_bool(JsonWriter *w, bool value) {
    json_write_raw(w, value ? STR("true") : STR("false"));
}

void json_write_null(JsonWriter *w) {
    json_write_raw(w, STR("null"));
}

void json_write_raw(JsonWriter *w, Str json) {
    begin_item(w);
    buf_add(w->out, json);
}

void json_write_id(JsonWriter *w, Id value) {
    begin_item(w);
    buf_add_char(w->out, '"');
    buf_add_id(w->out, value);
    buf_add_char(w->out, '"');
}

void json_write_decimal(JsonWriter *w, Decimal value) {
    begin_item(w);
    buf_add_decimal(w->out, value);
}

void json_write_instant(JsonWriter *w, Instant value) {
    begin_item(w);
    buf_add_char(w->out, '"');
    buf_add_instant(w->out, value);
    buf_add_char(w->out, '"');
}

static void write_leaf(JsonWriter *w, const Json *value) {
    switch (value->kind) {
    case JSON_STRING:
        json_write_string(w, value->text);
        break;
    case JSON_NUMBER:
        json_write_raw(w, value->text);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        json_write_bool(w, value->kind == JSON_TRUE);
        break;
    default:
        json_write_null(w);
        break;
    }
}

void json_write_value(JsonWriter *w, const Json *value) {
    /* A stack of its own: trees are at most JSON_DEPTH_MAX deep, and coroutine stacks are small. */
    const Json *open[JSON_DEPTH_MAX];
    int depth = 0;
    for (const Json *node = value;;) {
        if (node == NULL) {
            json_write_null(w);
        } else {
            if (depth > 0 && open[depth - 1]->kind == JSON_OBJECT_START)
                json_name(w, node->name);
            if (node->kind == JSON_OBJECT_START || node->kind == JSON_ARRAY_START) {
                ASSERT(depth < JSON_DEPTH_MAX);
                open_level(w, node->kind == JSON_OBJECT_START ? '{' : '[');
                open[depth++] = node;
                node = node->first;
                if (node != NULL)
                    continue;
            } else {
                write_leaf(w, node);
            }
        }
        /* Closes what has no further member, then goes on with the next. */
        while (depth > 0) {
            const Json *container = open[depth - 1];
            const Json *next = node == NULL ? NULL : node->next;
            if (next != NULL) {
                node = next;
                break;
            }
            close_level(w, container->kind == JSON_OBJECT_START ? '}' : ']');
            node = container;
            depth--;
        }
        if (depth == 0)
            return;
    }
}
