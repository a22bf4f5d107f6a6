/*
 * jsonapi_key.c - the Idempotency-Key of a request (draft-ietf-httpapi-idempotency-key-header-07).
 *
 * The draft has a quoted string (RFC 8941 §3.3.3); most clients send the bare text, which is taken as well. Escapes and
 * parameters are refused: nobody needs them in a key, and two spellings of one key would be two keys.
 */
#include "api/jsonapi_internal.h"

Err api_key_refused(ApiCall *call, int status, const char *code, const char *why) {
    return api_error_header(call, status, code, "Idempotency-Key", "%s", why);
}

Err api_read_key(ApiCall *call, Str *ret) {
    Str key = request_header(call->req, "Idempotency-Key");
    if (request_header_count(call->req, "Idempotency-Key") > 1)
        return api_key_refused(call, 400, "invalid-key", "One key is enough.");
    if (key.p == NULL) {
        *ret = key;
        return ERR_OK;
    }
    if (key.n >= 2 && key.p[0] == '"' && key.p[key.n - 1] == '"')
        key = str_slice(key, 1, key.n - 1);
    if (key.n == 0 || key.n > KEEP_KEY_MAX)
        return api_key_refused(call, 400, "invalid-key", "A key has 1 to 255 characters.");
    for (size_t i = 0; i < key.n; i++)
        if (key.p[i] < 0x20 || key.p[i] > 0x7e || key.p[i] == '"' || key.p[i] == '\\')
            return api_key_refused(call, 400, "invalid-key", "A key is visible ASCII.");
    *ret = key;
    return ERR_OK;
}
