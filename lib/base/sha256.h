/*
 * sha256.h - FIPS 180-4 SHA-256: fingerprints of rows and requests, for comparing, never for secrets.
 */
#pragma once
#include "base/str.h"

#define SHA256_BYTES 32

typedef struct Sha256 {
    uint32_t state[8];
    uint64_t n; /* bytes so far */
    uint8_t block[64];
} Sha256;

void sha256_begin(Sha256 *hash);
void sha256_add(Sha256 *hash, const void *bytes, size_t n);
void sha256_end(Sha256 *hash, uint8_t ret[SHA256_BYTES]);
/** Lower-case hex of n bytes into out (2 * n characters, no NUL). */
void hex_format(const uint8_t *bytes, size_t n, char *out);
