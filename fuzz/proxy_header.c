/*
 * proxy_header.c - fuzzes the PROXY protocol's header: cut anywhere it is the same header, it never claims bytes that
 * are not its own, and whom it names is an address.
 */
#include <arpa/inet.h>

#include "http/proxy_protocol.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 4096)
        return 0;
    Str bytes = {(const char *)data, size};
    char peer[48] = "198.51.100.1", cut_peer[48] = "198.51.100.1";
    size_t length = 0, cut_length = 0, at = 0;
    ProxyHeader whole = proxy_header_parse(bytes, &length, peer), cut = PROXY_MORE;
    while (at < size && cut == PROXY_MORE)
        cut = proxy_header_parse(str_slice(bytes, 0, ++at), &cut_length, cut_peer);
    FUZZ_CHECK(whole == cut || size == 0);
    if (whole != PROXY_DONE)
        return 0;
    uint8_t address[16];
    FUZZ_CHECK(length == cut_length && length == at && length > 0 && memcmp(peer, cut_peer, sizeof peer) == 0);
    FUZZ_CHECK(inet_pton(AF_INET, peer, address) == 1 || inet_pton(AF_INET6, peer, address) == 1);
    return 0;
}
