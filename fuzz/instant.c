/*
 * instant.c - what is read as a date is shown as one that reads the same, whatever stores it in between.
 */
#include "base/instant.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Instant t, again;
    if (instant_parse((Str){(const char *)data, size}, &t) != ERR_OK)
        return 0;
    FUZZ_CHECK(t.ticks >= 0 && t.ticks <= TICKS_MAX && size >= 10 && size <= 42);
    char text[INSTANT_TEXT_MAX];
    size_t n = instant_format(t, text);
    FUZZ_CHECK(n <= sizeof text && instant_parse((Str){text, n}, &again) == ERR_OK);
    FUZZ_CHECK(again.ticks == t.ticks && again.offset_minutes == t.offset_minutes);
    int ticks;
    int64_t us = instant_to_pg_us(t, &ticks);
    again = instant_from_pg_us(us, ticks, t.offset_minutes);
    FUZZ_CHECK(again.ticks == t.ticks && ticks >= 0 && ticks < TICKS_PER_US);
    again = instant_utc_micros(t);
    FUZZ_CHECK(again.offset_minutes == 0 && t.ticks - again.ticks >= 0 && t.ticks - again.ticks < TICKS_PER_US);
    return 0;
}
