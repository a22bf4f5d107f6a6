/*
 * replay_compare.c - is this answer the recorded one?
 */
#include <stdlib.h>

#include "api_gateway/api_gateway.h"
#include "usher/replay.h"

#define CANONICAL_MAX        (64 * 1024 * 1024)
#define STRUCTURAL_LINES_MAX 12

static const char *const COMPARED[] = {
    "content-type",
    "location",
    "allow",
    "cache-control",
    "expires",
    "pragma",
    "etag",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
};

static Str header_of(const Header *headers, size_t n, const char *name) {
    Str found = {NULL, 0};
    for (size_t i = 0; i < n; i++)
        if (str_eq_nocase(headers[i].name, str_c(name)))
            found = headers[i].value;
    return found;
}

static bool is_hex(Str text) {
    for (size_t i = 0; i < text.n; i++)
        if (!((text.p[i] >= '0' && text.p[i] <= '9') || (text.p[i] >= 'a' && text.p[i] <= 'f')))
            return false;
    return true;
}

/* "traceId":"00-<32>-<16>-<2>" becomes "traceId":"TRACE" where it has the form. */
static Err without_trace_ids(Arena *arena, Str body, Str *ret) {
    Str mark = STR("\"traceId\":\"");
    ptrdiff_t at = str_find(body, mark);
    *ret = body;
    if (at < 0)
        return ERR_OK;
    Buf out = buf_new(arena, CANONICAL_MAX);
    while (at >= 0) {
        Str head = str_slice(body, 0, (size_t)at + mark.n);
        Str id = str_slice(body, head.n, head.n + 55);
        body = str_slice(body, head.n, body.n);
        buf_add(&out, head);
        if (id.n == 55 && str_starts_with(id, STR("00-")) && id.p[35] == '-' && id.p[52] == '-' &&
            is_hex(str_slice(id, 3, 35)) && is_hex(str_slice(id, 36, 52)) && is_hex(str_slice(id, 53, 55))) {
            buf_add_c(&out, "TRACE");
            body = str_slice(body, 55, body.n);
        }
        at = str_find(body, mark);
    }
    buf_add(&out, body);
    return buf_finish(&out, ret);
}

/* Sort key as the recorder's: the text, filled with zeros on the left to 40. */
typedef struct Row {
    const Json *json;
    char key[44];
} Row;

static int compare_rows(const void *a, const void *b) {
    return strcmp(((const Row *)a)->key, ((const Row *)b)->key);
}

static void fill_key(Row *row, Str text) {
    Str cut = str_slice(text, 0, 40);
    memset(row->key, '0', 40 - cut.n);
    memcpy(row->key + 40 - cut.n, cut.p == NULL ? "" : cut.p, cut.n);
    row->key[40] = '\0';
}

/* A list in the order of its key; anything else as it stands. */
static Err sorted(Arena *arena, Str body, Str key, Str *ret) {
    Json *list;
    *ret = body;
    if (key.p == NULL || json_parse(body, arena, JSON_DUPLICATES_KEEP, &list, NULL) != ERR_OK ||
        list->kind != JSON_ARRAY_START)
        return ERR_OK;
    Row *rows = ARENA_ARRAY(arena, Row, list->count + 1);
    Str name = arena_str(arena, key);
    if (rows == NULL || name.p == NULL)
        return ERR_NO_MEMORY;
    size_t n = 0;
    for (const Json *row = list->first; row != NULL; row = row->next) {
        const Json *member = json_member(row, name.p);
        rows[n].json = row;
        fill_key(&rows[n++], member == NULL ? STR("None") : member->text);
    }
    qsort(rows, n, sizeof *rows, compare_rows);
    Buf out = buf_new(arena, CANONICAL_MAX);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 0);
    json_array(&w);
    for (size_t i = 0; i < n; i++)
        json_write_value(&w, rows[i].json);
    json_array_end(&w);
    return buf_finish(&out, ret);
}

static Str shown(Str value) {
    return value.p == NULL ? STR("(none)") : value;
}

static size_t compare_headers(const Expected *want, const HttpAnswer *got, Buf *out) {
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(COMPARED); i++) {
        Str w = header_of(want->headers, want->header_count, COMPARED[i]);
        Str g = header_of(got->headers, got->header_count, COMPARED[i]);
        if ((w.p == NULL) == (g.p == NULL) && str_eq(w, g))
            continue;
        buf_printf(out, "header %s: want %.*s, got %.*s\n", COMPARED[i], STR_ARG(shown(w)), STR_ARG(shown(g)));
        n++;
    }
    return n;
}

/* Where JSON differs, its structure says it best; where only spelling differs, the bytes do. */
static void explain_body(Arena *arena, Str want, Str got, Buf *out) {
    Json *w, *g;
    JsonDiffOptions options = {.object_order = true};
    if (json_parse(want, arena, JSON_DUPLICATES_KEEP, &w, NULL) == ERR_OK &&
        json_parse(got, arena, JSON_DUPLICATES_KEEP, &g, NULL) == ERR_OK &&
        json_diff(w, g, &options, STRUCTURAL_LINES_MAX, out) > 0)
        return;
    size_t at = 0;
    while (at < want.n && at < got.n && want.p[at] == got.p[at])
        at++;
    size_t from = at > 40 ? at - 40 : 0;
    Str w_part = str_slice(want, from, at + 80), g_part = str_slice(got, from, at + 80);
    buf_printf(out, "body at byte %zu: want …%.*s…, got …%.*s…\n", at, STR_ARG(w_part), STR_ARG(g_part));
}

Err replay_compare(Arena *arena, const Expected *want, const HttpAnswer *got, Buf *out, size_t *ret_n) {
    *ret_n = 0;
    if (want->status != got->status) {
        buf_printf(out, "status: want %d, got %d\n", want->status, got->status);
        *ret_n = 1;
        if (want->status == 0 || got->status == 0)
            return ERR_OK;
    }
    *ret_n += compare_headers(want, got, out);
    Str w, g;
    TRY(without_trace_ids(arena, want->body, &w));
    TRY(without_trace_ids(arena, got->body, &g));
    /* A sample that `usher diffs export` wrote; what is equal as it stands needs no such allowance. */
    if (!str_eq(w, g) && str_find(w, STR(REDACTED_SIGN)) >= 0)
        TRY(redact_body(arena, g, &g));
    TRY(sorted(arena, w, want->unordered_by, &w));
    TRY(sorted(arena, g, want->unordered_by, &g));
    if (!str_eq(w, g)) {
        explain_body(arena, w, g, out);
        *ret_n += 1;
    }
    return ERR_OK;
}
