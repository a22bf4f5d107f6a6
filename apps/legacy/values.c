/*
 * values.c - names and e-mail addresses as the old system's regular expressions saw them.
 *
 * The expressions are written out as loops: they run once per request and once per message, and a regular expression
 * library would bring its own idea of white space. .NET's `\s` is unicode_is_space; its `$` also matches before a final
 * line feed, which is why an address may end in one (quirk).
 */
#include "legacy/values.h"

#include "base/utf8.h"

static bool is_ascii(Str text) {
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] >= 0x80)
            return false;
    return true;
}

static bool is_blank(Str text) {
    for (size_t at = 0; at < text.n;) {
        int32_t code_point = utf8_next(text, &at);
        if (code_point < 0 || !unicode_is_space((uint32_t)code_point))
            return false;
    }
    return true;
}

static Err check_name(Ctx *ctx, Str name, bool digits, const char *wording) {
    if (name.n == 0 || (is_blank(name) && !quirk(QUIRK_BLANK_NAMES)))
        return ctx_problem(ctx, ERR_INVALID, "name", "Name cannot be empty");
    /* Without the quirk white space and letters are ASCII's: K (U+212A) is then as foreign as any other letter. */
    if (!compat_is_name(name, digits) || (!is_ascii(name) && !quirk(QUIRK_UNICODE_SPACE_IN_NAMES)))
        return ctx_problem(ctx, ERR_INVALID, "name", "%s", wording);
    return ERR_OK;
}

Err value_event_name(Ctx *ctx, const void *value) {
    return check_name(ctx, *(const Str *)value, true, "Name can only have alphanumerical characters");
}

Err value_full_name(Ctx *ctx, const void *value) {
    return check_name(ctx, *(const Str *)value, false, "Name can only have alphabetical characters");
}

/* [^@\s]+@[^@\s]+\.[^@\s]+: one '@' with something before it, no white space, and behind it a dot that is neither the
 * first nor the last. NUL is refused besides: Postgres cannot store it, and the old system answered 500. */
static bool is_email(Str text) {
    ptrdiff_t split = str_index(text, '@');
    if (split <= 0)
        return false;
    for (size_t at = 0; at < text.n;) {
        int32_t code_point = utf8_next(text, &at);
        if (code_point <= 0 || unicode_is_space((uint32_t)code_point))
            return false;
    }
    Str domain = str_slice(text, (size_t)split + 1, text.n);
    if (str_index(domain, '@') >= 0)
        return false;
    for (size_t i = 1; i + 1 < domain.n; i++)
        if (domain.p[i] == '.')
            return true;
    return false;
}

Err value_email(Ctx *ctx, const void *value) {
    Str email = *(const Str *)value;
    if (email.n == 0)
        return ctx_problem(ctx, ERR_INVALID, "email", "Email cannot be empty");
    if (email.p[email.n - 1] == '\n' && quirk(QUIRK_EMAIL_TRAILING_NEWLINE))
        email.n--;
    if (!is_email(email))
        return ctx_problem(ctx, ERR_INVALID, "email", "Email must be valid");
    return ERR_OK;
}
