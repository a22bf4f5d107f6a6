/*
 * uuid.c - every accepted spelling names one identifier, and the strict form is part of the loose one.
 */
#include "base/uuid.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Str text = {(const char *)data, size};
    Id strict, loose, again;
    Err as_d = id_parse(text, ID_FORM_D, &strict), as_any = id_parse(text, ID_FORM_ANY, &loose);
    if (as_d == ERR_OK)
        FUZZ_CHECK(as_any == ERR_OK && id_eq(strict, loose));
    if (as_any != ERR_OK)
        return 0;
    char shown[ID_TEXT_LEN];
    id_format(&loose, shown);
    FUZZ_CHECK(id_parse((Str){shown, ID_TEXT_LEN}, ID_FORM_D, &again) == ERR_OK && id_eq(loose, again));
    return 0;
}
