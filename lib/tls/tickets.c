/*
 * tickets.c - session tickets whose keys turn over every hour (RFC 8446 §4.6.1, RFC 5077 §4).
 *
 * The state is a ratchet: the next hour's is a hash of this one's, and keys are hashes of the state, so a process that
 * is broken into gives away this hour's and the last one's tickets and no earlier ones. The parent of all workers keeps
 * the state it began with, so that a worker started later arrives at the same keys; it never talks to a network. A
 * resumed connection still makes new keys of its own (psk_dhe_ke), so that a ticket's key alone opens no traffic of TLS
 * 1.3.
 *
 * Tempting: keys in a file, as web servers in a farm share them. Nobody rotates those.
 */
#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "base/sha256.h"
#include "tls/tls_impl.h"

static void derive(const uint8_t state[32], const char *label, uint8_t ret[32]) {
    Sha256 hash;
    sha256_begin(&hash);
    sha256_add(&hash, label, strlen(label));
    sha256_add(&hash, state, 32);
    sha256_end(&hash, ret);
}

static void make_key(TlsTickets *tickets) {
    struct TlsTicketKey *key = &tickets->keys[0];
    uint8_t name[32];
    derive(tickets->state, "name", name);
    memcpy(key->name, name, sizeof key->name);
    derive(tickets->state, "cipher", key->cipher);
    derive(tickets->state, "mac", key->mac);
}

static int64_t hour_now(void) {
    return (clock_now().ticks - TICKS_UNIX_EPOCH) / TICKS_PER_SECOND / TLS_TICKET_SECONDS;
}

void tls_tickets_init(TlsTickets *tickets) {
    *tickets = (TlsTickets){.hour = hour_now()};
    random_bytes(tickets->state, sizeof tickets->state);
    make_key(tickets);
}

/* A clock that was set back changes nothing: there is no way back. */
static void advance(TlsTickets *tickets) {
    int64_t now = hour_now();
    while (tickets->hour < now) {
        uint8_t next[32];
        derive(tickets->state, "next", next);
        memcpy(tickets->state, next, sizeof next);
        tickets->keys[1] = tickets->keys[0];
        make_key(tickets);
        tickets->hour++;
    }
}

static int start_mac(EVP_MAC_CTX *mac, const struct TlsTicketKey *key) {
    uint8_t secret[32];
    char digest[] = "SHA256";
    memcpy(secret, key->mac, sizeof secret);
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, secret, sizeof secret),
                           OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    return EVP_MAC_CTX_set_params(mac, params);
}

/* As SSL_CTX_set_tlsext_ticket_key_evp_cb(3) wants it: 1 take it, 2 take it and give a new one, 0 a full handshake. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                     int encrypting) {
    const TlsContext *context = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    TlsTickets *tickets = context->tickets;
    advance(tickets);
    if (encrypting != 0) {
        const struct TlsTicketKey *key = &tickets->keys[0];
        memcpy(name, key->name, sizeof key->name);
        random_bytes(iv, (size_t)EVP_CIPHER_get_iv_length(EVP_aes_256_cbc()));
        return EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) == 1 && start_mac(mac, key) == 1
                   ? 1
                   : -1;
    }
    for (size_t i = 0; i < ARRAY_LEN(tickets->keys); i++) {
        const struct TlsTicketKey *key = &tickets->keys[i];
        if (memcmp(name, key->name, sizeof key->name) != 0)
            continue;
        if (start_mac(mac, key) != 1 || EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) != 1)
            return -1;
        return i > 0 || SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1; /* a ticket is used once (RFC 8446 §C.4) */
    }
    return 0;
}

void tickets_offer(TlsContext *context) {
    SSL_CTX *ssl = context->ssl;
    (void)SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF); /* whatever is kept, the client keeps */
    if (context->tickets == NULL) {
        (void)SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
        (void)SSL_CTX_set_num_tickets(ssl, 0);
        return;
    }
    (void)SSL_CTX_set_num_tickets(ssl, 1);
    (void)SSL_CTX_set_timeout(ssl, TLS_TICKET_SECONDS);
    (void)SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, on_ticket);
}
