/*
 * utf8.c - the checker, the decoder and the encoder agree; UTF-16 gives well-formed UTF-8 or an error.
 */
#include "base/utf8.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Str s = {(const char *)data, size};
    Buf copy = buf_new(NULL, 1 << 20), wide = buf_new(NULL, 1 << 20);
    bool good = true;
    for (size_t at = 0, before = 0; at < s.n; before = at) {
        int32_t c = utf8_next(s, &at);
        FUZZ_CHECK(at > before && at <= s.n);
        good = good && c >= 0;
        if (c >= 0)
            buf_add_utf8(&copy, (uint32_t)c);
    }
    FUZZ_CHECK(good == utf8_valid(s));
    FUZZ_CHECK(!good || str_eq(buf_str(&copy), s));
    if (utf8_from_utf16(s, &wide) == ERR_OK)
        FUZZ_CHECK(utf8_valid(buf_str(&wide)) && wide.n <= size / 2 * 3);
    buf_done(&copy);
    buf_done(&wide);
    return 0;
}
