/*
 * decimal.c - what is read as a number is shown as one that reads the same, and rounding keeps its promises.
 */
#include "base/decimal.h"

#include "fuzz.h"

static bool same(Decimal a, Decimal b) {
    return a.lo == b.lo && a.mid == b.mid && a.hi == b.hi && a.scale == b.scale;
}

static void check_rescale(Decimal d, uint8_t scale) {
    Decimal to, back;
    Err err = decimal_rescale(d, scale, &to);
    FUZZ_CHECK(err == ERR_OK || (err == ERR_LIMIT && scale > d.scale));
    if (err != ERR_OK)
        return;
    FUZZ_CHECK(to.scale == scale);
    if (scale >= d.scale)
        FUZZ_CHECK(decimal_compare(to, d) == 0);
    FUZZ_CHECK(decimal_rescale(to, scale, &back) == ERR_OK && same(to, back));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Decimal d, again;
    Err err = decimal_parse((Str){(const char *)data, size}, &d);
    FUZZ_CHECK(err == ERR_OK || err == ERR_SYNTAX || err == ERR_LIMIT);
    if (err != ERR_OK)
        return 0;
    FUZZ_CHECK(d.scale <= DECIMAL_SCALE_MAX);
    char text[DECIMAL_TEXT_MAX];
    size_t n = decimal_format(d, text);
    FUZZ_CHECK(n > 0 && n <= sizeof text);
    FUZZ_CHECK(decimal_parse((Str){text, n}, &again) == ERR_OK && same(d, again) && decimal_compare(d, again) == 0);
    FUZZ_CHECK(decimal_compare(decimal_normalize(d), d) == 0);
    for (uint8_t scale = 0; scale <= DECIMAL_SCALE_MAX; scale++)
        check_rescale(d, scale);
    return 0;
}
