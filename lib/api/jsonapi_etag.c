/*
 * jsonapi_etag.c - entity tags of single resources (RFC 9110 §8.8.3).
 *
 * The tag is the digest of the row (resource_fingerprint): strong, because equal rows are shown as equal documents by
 * one version of the program, and the version is in the digest's beginning.
 */
#include "api/jsonapi_internal.h"
#include "base/sha256.h"

Err api_etag(const Resource *resource, Arena *arena, const void *row, char out[ETAG_LEN], Fingerprint *ret) {
    TRY(resource_fingerprint(resource, arena, row, ret));
    Sha256 hash;
    uint8_t mixed[SHA256_BYTES];
    sha256_begin(&hash);
    sha256_add(&hash, USHER_VERSION, strlen(USHER_VERSION));
    sha256_add(&hash, ret->bytes, sizeof ret->bytes);
    sha256_end(&hash, mixed);
    out[0] = out[ETAG_LEN - 1] = '"';
    hex_format(mixed, (ETAG_LEN - 2) / 2, out + 1);
    return ERR_OK;
}

bool etag_matches(Str list, Str etag, bool strong) {
    if (str_eq(str_trim(list, " \t"), STR("*")))
        return true;
    while (list.p != NULL) {
        Str tag = str_trim(str_cut(&list, ','), " \t");
        bool weak = str_starts_with(tag, STR("W/"));
        if (weak && strong)
            continue;
        if (str_eq(weak ? str_slice(tag, 2, tag.n) : tag, etag))
            return true;
    }
    return false;
}
