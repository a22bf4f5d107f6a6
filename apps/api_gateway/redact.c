/*
 * redact.c - secrets and personal data, known by their names.
 */
#include "api_gateway/redact.h"

#include "base/heap.h"
#include "runtime/log.h"

enum { NAME_MAX_BYTES = 64, REDACTED_MAX = 4 << 20 };

/* A name that holds one of these, in any case, dashes and underscores left out. */
static const char *const PARTS[] = {
    "password", "passwd", "secret",   "token",      "apikey",   "authorization", "cookie",
    "session",  "email",  "fullname", "firstname",  "lastname", "surname",       "phone",
    "address",  "birth",  "iban",     "cardnumber", "cvv",      "ssn",           "signature",
};

static Str further_names;

Err redact_configure(Str names) {
    char *copy = names.n == 0 ? NULL : heap_alloc(names.n);
    if (names.n > 0 && copy == NULL)
        return ERR_NO_MEMORY;
    if (copy != NULL)
        memcpy(copy, names.p, names.n);
    heap_free((void *)(uintptr_t)further_names.p);
    further_names = (Str){copy, names.n};
    return ERR_OK;
}

/** Lower case, without what names are joined by. */
static Str plain(Str name, char out[NAME_MAX_BYTES]) {
    size_t n = 0;
    for (size_t i = 0; i < name.n && n < NAME_MAX_BYTES; i++) {
        char c = name.p[i];
        if (c == '-' || c == '_')
            continue;
        out[n++] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    return (Str){out, n};
}

bool redact_is_secret(Str name) {
    char buffer[NAME_MAX_BYTES], other[NAME_MAX_BYTES];
    Str given = plain(name, buffer);
    for (size_t i = 0; i < ARRAY_LEN(PARTS); i++)
        if (str_find(given, str_c(PARTS[i])) >= 0)
            return true;
    Str rest = further_names;
    while (rest.p != NULL) {
        Str wanted = plain(str_trim(str_cut(&rest, ','), " "), other);
        if (wanted.n > 0 && str_eq(given, wanted))
            return true;
    }
    return false;
}

void redact_mark(Buf *out, size_t n) {
    buf_printf(out, "[%zu bytes redacted]", n);
}

static Err redact_value(Arena *arena, Json *value, bool *ret_any) {
    for (Json *member = value->first; member != NULL; member = member->next) {
        bool secret = member->name.p != NULL && redact_is_secret(member->name);
        if (!secret || member->kind == JSON_NULL) {
            TRY(redact_value(arena, member, ret_any));
            continue;
        }
        Buf mark = buf_new(arena, NAME_MAX_BYTES);
        redact_mark(&mark, member->text.n);
        TRY(buf_finish(&mark, &member->text));
        member->kind = JSON_STRING;
        *ret_any = true;
        member->first = NULL;
        member->count = 0;
    }
    return ERR_OK;
}

Err redact_body(Arena *arena, Str body, Str *ret) {
    Json *root;
    Buf out = buf_new(arena, REDACTED_MAX);
    *ret = body;
    if (body.n == 0)
        return ERR_OK;
    if (json_parse(body, arena, JSON_DUPLICATES_KEEP, &root, NULL) != ERR_OK) {
        redact_mark(&out, body.n);
        return buf_finish(&out, ret);
    }
    JsonWriter w;
    bool any = false;
    TRY(redact_value(arena, root, &any));
    if (!any)
        return ERR_OK; /* to the byte */
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 0);
    json_write_value(&w, root);
    return buf_finish(&out, ret);
}

Err redact_target(Arena *arena, Str target, Str *ret) {
    ptrdiff_t at = str_index(target, '?');
    *ret = target;
    if (at < 0)
        return ERR_OK;
    Buf out = buf_new(arena, target.n * 4 + 64);
    buf_add(&out, str_slice(target, 0, (size_t)at));
    Str rest = str_slice(target, (size_t)at + 1, target.n);
    for (char before = '?'; rest.p != NULL; before = '&') {
        Str value = str_cut(&rest, '&'), name = str_cut(&value, '=');
        buf_add_char(&out, before);
        buf_add(&out, name);
        if (value.p != NULL) {
            buf_add_char(&out, '=');
            buf_add(&out, redact_is_secret(name) ? STR("redacted") : value);
        }
    }
    return buf_finish(&out, ret);
}
