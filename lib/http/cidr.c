/*
 * cidr.c - networks as 128 bits and a length; IPv4 in its mapped place, so that one comparison serves both.
 */
#include "http/cidr.h"

#include <arpa/inet.h>

static bool address_parse(Str text, uint8_t out[16]) {
    char host[INET6_ADDRSTRLEN] = "";
    if (text.n == 0 || text.n >= sizeof host)
        return false;
    memcpy(host, text.p, text.n);
    memset(out, 0, 16);
    out[10] = out[11] = 0xff;
    return inet_pton(AF_INET, host, out + 12) == 1 || inet_pton(AF_INET6, host, out) == 1;
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, int bits) {
    int bytes = bits / 8, rest = bits % 8;
    return memcmp(a, b, (size_t)bytes) == 0 && (rest == 0 || ((a[bytes] ^ b[bytes]) >> (8 - rest)) == 0);
}

Err cidr_parse(Str text, Cidr *ret) {
    *ret = (Cidr){.bits = -1};
    if (str_eq(text, STR("unix")))
        return ERR_OK;
    Str rest = text, host = str_cut(&rest, '/');
    if (!address_parse(host, ret->address))
        return ERR_SYNTAX;
    int most = str_index(host, ':') < 0 ? 32 : 128;
    uint64_t bits = (uint64_t)most;
    if (rest.p != NULL && str_to_u64(rest, (uint64_t)most, &bits) != ERR_OK)
        return ERR_SYNTAX;
    ret->bits = (int)bits + 128 - most;
    uint8_t masked[16] = {0};
    memcpy(masked, ret->address, (size_t)(ret->bits / 8));
    if (ret->bits % 8 != 0)
        masked[ret->bits / 8] = (uint8_t)(ret->address[ret->bits / 8] & (0xff00 >> (ret->bits % 8)));
    return memcmp(masked, ret->address, 16) == 0 ? ERR_OK : ERR_SYNTAX;
}

bool cidr_has(const CidrList *list, Str address) {
    uint8_t bytes[16];
    if (list->n == 0)
        return false;
    bool is_unix = str_eq(address, STR("unix"));
    if (!is_unix && !address_parse(address, bytes))
        return false;
    for (size_t i = 0; i < list->n; i++)
        if (is_unix ? list->items[i].bits < 0
                    : list->items[i].bits >= 0 && bits_equal(bytes, list->items[i].address, list->items[i].bits))
            return true;
    return false;
}

/* Cuts the last member off a comma list. */
static Str last_member(Str *list) {
    size_t at = list->n;
    while (at > 0 && list->p[at - 1] != ',')
        at--;
    Str member = str_trim(str_slice(*list, at, list->n), " \t");
    *list = str_slice(*list, 0, at > 0 ? at - 1 : 0);
    return member;
}

Str cidr_client(const CidrList *trusted, Str peer, const Str *values, size_t n) {
    Str client = peer;
    while (n > 0 && cidr_has(trusted, client)) {
        Str rest = values[--n];
        while (rest.n > 0) {
            Str member = last_member(&rest);
            uint8_t bytes[16];
            if (!address_parse(member, bytes))
                return client; /* "unknown", or nonsense: nobody further back can be believed */
            client = member;
            if (!cidr_has(trusted, client))
                return client;
        }
    }
    return client;
}
