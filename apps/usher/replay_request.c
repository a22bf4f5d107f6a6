/*
 * replay_request.c - a recorded request as bytes.
 *
 * `raw` holds every byte, one code point up to U+00FF each. Otherwise method, path, headers and one of body,
 * body_base64 and body_generator. A numeric Content-Length is renewed, since swapped ids could have changed the body's
 * length; beside a generator it stays as recorded.
 */
#include "usher/replay.h"

#define REQUEST_MAX (64 * 1024 * 1024)

static void add_latin1(Buf *out, Str text) {
    for (size_t at = 0; at < text.n;) {
        int32_t code = utf8_next(text, &at);
        buf_add_char(out, (char)(code < 0 || code > 255 ? '?' : code));
    }
}

static int base64_value(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static Err add_base64(Buf *out, Str text) {
    uint32_t bits = 0;
    int held = 0;
    for (size_t i = 0; i < text.n && text.p[i] != '='; i++) {
        int value = base64_value(text.p[i]);
        if (value < 0)
            return ERR_SYNTAX;
        bits = (bits << 6) | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            buf_add_char(out, (char)(uint8_t)(bits >> held));
        }
    }
    return ERR_OK;
}

static Err body_bytes(Arena *arena, const Ids *ids, const Json *request, Str *ret) {
    const Json *generator = json_member(request, "body_generator");
    Str base64 = json_text(json_member(request, "body_base64"));
    Str body = json_text(json_member(request, "body"));
    Buf out = buf_new(arena, REQUEST_MAX);
    if (generator != NULL) {
        buf_add(&out, json_text(json_member(generator, "prefix")));
        Str repeat = json_text(json_member(generator, "repeat"));
        int64_t count = repeat.n == 0 ? 0 : json_i64(json_member(generator, "count"), 0);
        for (int64_t i = 0; i < count && out.err == ERR_OK; i++)
            buf_add(&out, repeat);
        buf_add(&out, json_text(json_member(generator, "suffix")));
    } else if (base64.p != NULL) {
        TRY(add_base64(&out, base64));
    } else if (body.p != NULL) {
        TRY(ids_swap(ids, arena, body, &body));
        buf_add(&out, body);
    }
    return buf_finish(&out, ret);
}

static bool all_digits(Str text) {
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
    return text.n > 0;
}

static Err add_headers(Arena *arena, const Ids *ids, const Json *request, size_t body_n, Buf *out) {
    const Json *headers = json_member(request, "headers");
    bool fixed = json_member(request, "body_generator") != NULL;
    for (const Json *pair = headers == NULL ? NULL : headers->first; pair != NULL; pair = pair->next) {
        Str name = json_text(json_element(pair, 0)), value = json_text(json_element(pair, 1));
        TRY(ids_swap(ids, arena, value, &value));
        add_latin1(out, name);
        buf_add_c(out, ": ");
        if (!fixed && str_eq_nocase(name, STR("content-length")) && all_digits(value))
            buf_add_u64(out, body_n);
        else
            add_latin1(out, value);
        buf_add_c(out, "\r\n");
    }
    return ERR_OK;
}

Err replay_request_bytes(Arena *arena, const Ids *ids, const Json *request, Str *ret) {
    Buf out = buf_new(arena, REQUEST_MAX);
    Str raw = json_text(json_member(request, "raw"));
    if (raw.p != NULL) {
        TRY(ids_swap(ids, arena, raw, &raw));
        add_latin1(&out, raw);
        return buf_finish(&out, ret);
    }
    Str body, path = json_text(json_member(request, "path"));
    TRY(body_bytes(arena, ids, request, &body));
    TRY(ids_swap(ids, arena, path, &path));
    add_latin1(&out, json_text(json_member(request, "method")));
    buf_add_char(&out, ' ');
    add_latin1(&out, path);
    buf_add_c(&out, " HTTP/1.1\r\n");
    TRY(add_headers(arena, ids, request, body.n, &out));
    buf_add_c(&out, "\r\n");
    buf_add(&out, body);
    return buf_finish(&out, ret);
}
