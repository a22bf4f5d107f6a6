/*
 * replay_ids.c - the correspondence between recorded ids and this server's.
 */
#include "usher/replay.h"

#define SWAPPED_MAX (64 * 1024 * 1024)
enum { ID_MAX = 128 }; /* what is longer is no id */

Err ids_put(Ids *ids, Arena *arena, Str from, Str to) {
    if (from.n > ID_MAX || to.n > ID_MAX)
        return ERR_OK;
    for (size_t i = 0; i < ids->n; i++) {
        if (!str_eq(ids->from[i], from))
            continue;
        ids->to[i] = to;
        return ERR_OK;
    }
    if (ids->n == ids->capacity) {
        size_t capacity = ids->capacity == 0 ? 32 : ids->capacity * 2;
        Str *from_new = ARENA_ARRAY(arena, Str, capacity), *to_new = ARENA_ARRAY(arena, Str, capacity);
        if (from_new == NULL || to_new == NULL)
            return ERR_NO_MEMORY;
        for (size_t i = 0; i < ids->n; i++) {
            from_new[i] = ids->from[i];
            to_new[i] = ids->to[i];
        }
        ids->from = from_new;
        ids->to = to_new;
        ids->capacity = capacity;
    }
    ids->from[ids->n] = from;
    ids->to[ids->n++] = to;
    return ERR_OK;
}

/* One spelling of an id: bit 0 upper case, bit 1 without dashes. Returns its length. */
static size_t spell(Str id, int form, char out[ID_MAX]) {
    size_t n = 0;
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        if (c == '-' && (form & 2) != 0)
            continue;
        out[n++] = (form & 1) != 0 && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    return n;
}

static Err replace_all(Arena *arena, Str text, Str from, Str to, Str *ret) {
    ptrdiff_t at = from.n == 0 ? -1 : str_find(text, from);
    *ret = text;
    if (at < 0)
        return ERR_OK;
    Buf out = buf_new(arena, SWAPPED_MAX);
    while (at >= 0) {
        buf_add(&out, str_slice(text, 0, (size_t)at));
        buf_add(&out, to);
        text = str_slice(text, (size_t)at + from.n, text.n);
        at = str_find(text, from);
    }
    buf_add(&out, text);
    return buf_finish(&out, ret);
}

Err ids_swap(const Ids *ids, Arena *arena, Str text, Str *ret) {
    for (size_t i = 0; i < ids->n; i++) {
        for (int form = 0; form < 4; form++) {
            char from[ID_MAX], to[ID_MAX];
            size_t from_n = spell(ids->from[i], form, from), to_n = spell(ids->to[i], form, to);
            if (str_find(text, (Str){from, from_n}) >= 0)
                TRY(replace_all(arena, text, (Str){from, from_n}, (Str){to, to_n}, &text));
        }
    }
    *ret = text;
    return ERR_OK;
}

static Str last_segment(Str value) {
    Str rest = value;
    while (rest.p != NULL)
        value = str_cut(&rest, '/');
    return value;
}

static const Json *selected_row(const Json *list, const Json *select) {
    for (const Json *row = list->first; row != NULL; row = row->next) {
        bool all = true;
        for (const Json *wanted = select->first; wanted != NULL && all; wanted = wanted->next) {
            const Json *member = NULL;
            for (const Json *m = row->first; m != NULL; m = m->next)
                if (str_eq(m->name, wanted->name))
                    member = m;
            all = member != NULL && member->kind == wanted->kind && str_eq(member->text, wanted->text);
        }
        if (all)
            return row;
    }
    return NULL;
}

Str capture_value(Arena *arena, const Json *capture, const HttpAnswer *got) {
    Str header = json_text(json_member(capture, "header"));
    for (size_t i = 0; header.p != NULL && i < got->header_count; i++)
        if (str_eq_nocase(got->headers[i].name, header))
            return last_segment(got->headers[i].value);
    Str pointer = json_text(json_member(capture, "body_pointer"));
    Json *document;
    if (pointer.p == NULL || str_find(pointer, STR("traceId")) >= 0 ||
        json_parse(got->body, arena, JSON_DUPLICATES_LAST, &document, NULL) != ERR_OK)
        return (Str){NULL, 0};
    const Json *select = json_member(capture, "select");
    if (select == NULL)
        return json_text(json_pointer(document, pointer));
    const Json *row = selected_row(document, select);
    Str last = arena_str(arena, last_segment(pointer));
    return row == NULL || last.p == NULL ? (Str){NULL, 0} : json_text(json_member(row, last.p));
}
