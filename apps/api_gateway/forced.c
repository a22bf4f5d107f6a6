/*
 * forced.c - signing and checking Usher-Side.
 */
#include "api_gateway/forced.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

#include "base/sha256.h"

#define MAC_HEX 64

static bool mac_of(Str text, Str secret, char out[MAC_HEX]) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (secret.n == 0 || secret.n > INT32_MAX ||
        HMAC(EVP_sha256(), secret.p, (int)secret.n, (const unsigned char *)text.p, text.n, bytes, &n) == NULL ||
        n != 32)
        return false;
    hex_format(bytes, 32, out);
    return true;
}

static int64_t seconds_of(Instant t) {
    return instant_to_unix_us(t) / 1000000;
}

bool forced_side(Str value, Str secret, Instant now, GatewaySide *ret) {
    Str rest = value, side = str_cut(&rest, ';'), until_text = str_cut(&rest, ';');
    uint64_t until;
    char mac[MAC_HEX];
    if (until_text.p == NULL || rest.p == NULL || rest.n != MAC_HEX ||
        str_to_u64(until_text, INT64_MAX, &until) != ERR_OK ||
        !mac_of(str_slice(value, 0, side.n + 1 + until_text.n), secret, mac) ||
        CRYPTO_memcmp(mac, rest.p, MAC_HEX) != 0 || (int64_t)until <= seconds_of(now))
        return false;
    if (!str_eq_c(side, "new") && !str_eq_c(side, "legacy"))
        return false;
    *ret = str_eq_c(side, "new") ? SIDE_NEW : SIDE_OLD;
    return true;
}

size_t forced_sign(GatewaySide side, Str secret, Instant until, char out[FORCED_TEXT_MAX]) {
    int n = snprintf(out, FORCED_TEXT_MAX - MAC_HEX, "%s;%lld", side == SIDE_NEW ? "new" : "legacy",
                     (long long)seconds_of(until));
    char mac[MAC_HEX];
    if (n <= 0 || n >= FORCED_TEXT_MAX - MAC_HEX - 1 || !mac_of((Str){out, (size_t)n}, secret, mac))
        return 0;
    out[n] = ';';
    memcpy(out + n + 1, mac, MAC_HEX);
    return (size_t)n + 1 + MAC_HEX;
}
