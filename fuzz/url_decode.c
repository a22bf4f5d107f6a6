/*
 * url_decode.c - what is percent-decoded is valid UTF-8, agrees with the rule said plainly, and every text can be
 * written so that it is read again.
 */
#include "api/jsonapi_internal.h"

#include "fuzz.h"

static int digit(char c) {
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c == 0 ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)((at - digits) % 16);
}

/* WHATWG URL §1.3 and §5.1, byte by byte, without what it says of UTF-8. */
static Str plainly(Arena *arena, Str text) {
    Buf out = buf_new(arena, text.n + 1);
    while (text.n > 0) {
        size_t used = 1;
        char c = text.p[0] == '+' ? ' ' : text.p[0];
        if (c == '%' && text.n > 2 && digit(text.p[1]) >= 0 && digit(text.p[2]) >= 0) {
            c = (char)(digit(text.p[1]) << 4 | digit(text.p[2]));
            used = 3;
        }
        buf_add_char(&out, c);
        text = str_slice(text, used, text.n);
    }
    return buf_str(&out);
}

static Str encoded(Arena *arena, Str text) {
    Buf out = buf_new(arena, 3 * text.n + 1);
    for (size_t i = 0; i < text.n; i++)
        buf_printf(&out, "%%%02x", (unsigned char)text.p[i]);
    return buf_str(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena *arena = arena_new((size_t)16 << 20);
    Str text = {(const char *)data, size}, got, back;
    FUZZ_CHECK(api_url_decode(arena, text, &got) == ERR_OK);
    Str want = plainly(arena, text);
    FUZZ_CHECK(utf8_valid(got) && utf8_valid(want) == str_eq(got, want) && got.n <= 3 * size + 3);
    FUZZ_CHECK(api_url_decode(arena, encoded(arena, got), &back) == ERR_OK && str_eq(back, got));
    arena_free(arena);
    return 0;
}
