/*
 * words.c - OpenSSL's queue of errors as one clause that a person can look up.
 *
 * The first entry of the queue is the cause, later ones are its consequences further up; the source file and line are
 * OpenSSL's own, which is what a search for the reason finds.
 */
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>

#include "tls/tls_impl.h"

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

void tls_reason(char *out, size_t size) {
    const char *file = NULL, *data = NULL;
    int line = 0, flags = 0;
    unsigned long code = ERR_get_error_all(&file, &line, NULL, &data, &flags);
    out[0] = 0;
    if (code != 0) {
        const char *reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
        bool has_data = (flags & ERR_TXT_STRING) != 0 && data != NULL && data[0] != 0;
        (void)snprintf(out, size, "%s%s%s (%s:%d)", reason == NULL ? "unknown" : reason, has_data ? ": " : "",
                       has_data ? data : "", base_name(file), line);
    }
    ERR_clear_error();
}

Err tls_problem(Ctx *ctx, const char *format, ...) {
    char words[1024], reason[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    tls_reason(reason, sizeof reason);
    return ctx_problem(ctx, ERR_INVALID, NULL, "%s%s%s", words, reason[0] == 0 ? "" : "; OpenSSL: ", reason);
}
