/*
 * http_target.c - fuzzes targets: a path that is accepted begins with '/', is UTF-8 without NUL, and never climbs.
 *
 * Input: 1 byte, the method; then the target.
 */
#include "base/utf8.h"
#include "http/chars.h"
#include "http/target.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char scratch[8193];
    if (size < 1 || size > 8192)
        return 0;
    Str text = {(const char *)data + 1, size - 1};
    if (!chars_all(text, CHAR_TARGET)) /* the head parser lets no others through */
        return 0;
    Target target;
    Method method = (Method)(data[0] % (METHOD_CONNECT + 1));
    int status = target_parse(text, method, scratch, &target);
    FUZZ_CHECK(status == 0 || status == 400 || (status == 405 && target.allow != NULL));
    if (status != 0 || method == METHOD_CONNECT || str_eq(target.path, STR("*")))
        return 0;
    FUZZ_CHECK(target.path.n > 0 && target.path.p[0] == '/' && utf8_valid(target.path) &&
               str_index(target.path, '\0') < 0);
    for (Str rest = target.path; rest.p != NULL;) {
        Str segment = str_cut(&rest, '/');
        FUZZ_CHECK(!str_eq(segment, STR(".")) && !str_eq(segment, STR("..")));
    }
    return 0;
}
