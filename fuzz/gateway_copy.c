/*
 * gateway_copy.c - fuzzes the record of an exchange on its way to a shadow worker: refused, or its texts lie inside it
 * and side by side, and written again it is the same record.
 */
#include "api_gateway/copies.h"

#include "fuzz.h"

static void inside(Str record, Str text) {
    FUZZ_CHECK(text.p >= record.p && text.p + text.n <= record.p + record.n);
}

/* Lines of the form that is written come back as they are. */
static void headers_check(Arena *arena, Str lines) {
    const Header *headers;
    size_t n;
    FUZZ_CHECK(copy_headers(arena, lines, &headers, &n) == ERR_OK);
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK(str_index(headers[i].name, ':') < 0 && str_index(headers[i].name, '\n') < 0 &&
                   str_index(headers[i].value, '\n') < 0);
    Copy copy = {.kind = COPY_EXCHANGE}, again;
    Buf out = buf_new(arena, 4 << 20);
    const Header *second;
    size_t second_n;
    FUZZ_CHECK(copy_write(&out, &copy, headers, n, headers, n) == ERR_OK);
    FUZZ_CHECK(copy_read(buf_str(&out), &again) == ERR_OK && str_eq(again.request_lines, again.answer_lines));
    FUZZ_CHECK(copy_headers(arena, again.answer_lines, &second, &second_n) == ERR_OK && second_n == n);
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK(str_eq(headers[i].name, second[i].name) && str_eq(headers[i].value, second[i].value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Str record = {size == 0 ? "" : (const char *)data, size};
    Copy copy, again;
    Arena *arena = arena_new(64 << 20);
    FUZZ_CHECK(arena != NULL);
    headers_check(arena, record);
    Err err = copy_read(record, &copy);
    FUZZ_CHECK(err == ERR_OK || err == ERR_SYNTAX);
    if (err == ERR_OK) {
        const Str texts[] = {copy.method, copy.target,       copy.request_lines, copy.answer_lines, copy.body,
                             copy.caller, copy.request_body, copy.sides[0],      copy.sides[1]};
        size_t all = 0;
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
            inside(record, texts[i]);
            all += texts[i].n;
        }
        FUZZ_CHECK(all < record.n && copy.route < BOARD_ROUTES_MAX && copy.primary <= BOARD_NEW);
        Buf out = buf_new(arena, 4 << 20);
        Copy bare = copy;
        FUZZ_CHECK(copy_write(&out, &bare, NULL, 0, NULL, 0) == ERR_OK);
        FUZZ_CHECK(copy_read(buf_str(&out), &again) == ERR_OK && again.kind == copy.kind && again.route == copy.route &&
                   again.status == copy.status && again.at_us == copy.at_us && str_eq(again.method, copy.method) &&
                   str_eq(again.target, copy.target) && str_eq(again.body, copy.body) &&
                   str_eq(again.caller, copy.caller) && str_eq(again.request_body, copy.request_body) &&
                   str_eq(again.sides[0], copy.sides[0]) && str_eq(again.sides[1], copy.sides[1]) &&
                   memcmp(again.trace.trace_id, copy.trace.trace_id, sizeof copy.trace.trace_id) == 0 &&
                   memcmp(again.trace.span_id, copy.trace.span_id, sizeof copy.trace.span_id) == 0 &&
                   again.trace.flags == copy.trace.flags && again.request_lines.n == 0);
    }
    arena_free(arena);
    return 0;
}
