/*
 * words.c - OpenSSL's queue of errors as one clause that a person can look up.
 *
 * The first entry of the queue is the cause, later ones are its consequences further up; the source file and line are
 * OpenSSL's own, which is what a search for the reason finds.
 */
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
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

/* How to add one: the code that openssl-verify(1) or sslerr.h names, and what a person does then. */
static const struct {
    long verified; /* X509_V_OK: none */
    int reason;    /* of OpenSSL's SSL library; 0: none */
    const char *mend;
} MENDS[] = {
#define NAME_ITS_AUTHORITY "name the PEM file of its authority: cacertfile=FILE; or have it send its whole chain"
#define NAME_IT            "write a name that its certificate has, or say which: server_name_indication=NAME"
#define SHOW_ONE           "it wants a certificate of an authority that it believes: certfile=FILE&keyfile=FILE"
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, 0, NAME_ITS_AUTHORITY},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, 0, NAME_ITS_AUTHORITY},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, 0, NAME_ITS_AUTHORITY},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, 0, NAME_ITS_AUTHORITY},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, 0, NAME_ITS_AUTHORITY},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE, 0, NAME_ITS_AUTHORITY},
    {X509_V_ERR_HOSTNAME_MISMATCH, 0, NAME_IT},
    {X509_V_ERR_IP_ADDRESS_MISMATCH, 0, NAME_IT},
    {X509_V_ERR_CERT_HAS_EXPIRED, 0, "renew the certificate over there, or set this machine's clock"},
    {X509_V_ERR_CERT_NOT_YET_VALID, 0, "set this machine's clock, or the one that made the certificate"},
    {X509_V_OK, SSL_R_WRONG_VERSION_NUMBER, "what answers there is not TLS: take the port with TLS, or no TLS"},
    {X509_V_OK, SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "it speaks neither TLS 1.3 nor 1.2: have it learn one"},
    {X509_V_OK, SSL_R_UNSUPPORTED_PROTOCOL, "it speaks neither TLS 1.3 nor 1.2: have it learn one"},
    {X509_V_OK, SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, SHOW_ONE},
    {X509_V_OK, SSL_R_TLSV1_ALERT_UNKNOWN_CA, SHOW_ONE},
    {X509_V_OK, SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, SHOW_ONE},
    {X509_V_OK, SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, SHOW_ONE},
    {X509_V_OK, SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, SHOW_ONE},
    {X509_V_OK, SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, SHOW_ONE},
    {X509_V_OK, SSL_R_TLSV1_UNRECOGNIZED_NAME, NAME_IT},
};

const char *tls_mend_of(long verified) {
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    for (size_t i = 0; i < ARRAY_LEN(MENDS); i++)
        if (verified != X509_V_OK ? MENDS[i].verified == verified : reason != 0 && MENDS[i].reason == reason)
            return MENDS[i].mend;
    return NULL;
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
