/*
 * names.c - which characters a name may have.
 *
 * The old rule is the regular expression [^a-zA-Z0-9\s] with IgnoreCase: \s is any Unicode white space, and folding
 * case makes KELVIN SIGN (U+212A) a K. Written out here, as an engine for it would bring its own idea of both.
 */
#include "api/compat.h"

bool compat_is_name(Str text, bool digits) {
    for (size_t at = 0; at < text.n;) {
        int32_t c = utf8_next(text, &at);
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == 0x212A;
        bool digit = digits && c >= '0' && c <= '9';
        if (c < 0 || !(letter || digit || unicode_is_space((uint32_t)c)))
            return false;
    }
    return true;
}
