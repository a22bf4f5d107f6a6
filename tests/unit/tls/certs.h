/*
 * certs.h - authorities, certificates and keys made for one test, in a folder of its own.
 *
 * By OpenSSL's functions and not its program, so that each takes a millisecond (P-256). The folder is the caller's to
 * remove.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dirent.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tls/tls.h"

typedef struct TestCert {
    X509 *x509;
    EVP_PKEY *key;
} TestCert;

typedef struct CertOptions {
    const char *subject; /* CN */
    const char *names;   /* "DNS:a.example,IP:127.0.0.1"; NULL: none */
    const TestCert *issuer;
    bool is_authority;
    long from_s, to_s; /* relative to now; both 0: an hour around it */
} CertOptions;

static inline void cert_extension(X509 *x509, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, x509, x509, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
}

static inline TestCert cert_make(const CertOptions *options) {
    static long serial = 1;
    TestCert made = {.x509 = X509_new(), .key = EVP_EC_gen("P-256")};
    X509 *x509 = made.x509;
    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), serial++);
    bool dated = options->from_s != 0 || options->to_s != 0;
    X509_gmtime_adj(X509_getm_notBefore(x509), dated ? options->from_s : -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509), dated ? options->to_s : 3600);
    X509_set_pubkey(x509, made.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC, (const unsigned char *)options->subject,
                               -1, -1, 0);
    const TestCert *issuer = options->issuer == NULL ? &made : options->issuer;
    X509_set_issuer_name(x509, X509_get_subject_name(issuer->x509));
    cert_extension(x509, NID_basic_constraints, options->is_authority ? "critical,CA:TRUE" : "CA:FALSE");
    if (options->names != NULL)
        cert_extension(x509, NID_subject_alt_name, options->names);
    assert_true(X509_sign(x509, issuer->key, EVP_sha256()) > 0);
    return made;
}

static inline void cert_free(TestCert *cert) {
    X509_free(cert->x509);
    EVP_PKEY_free(cert->key);
}

static inline FILE *cert_file(const char *folder, const char *name, char path[256]) {
    (void)snprintf(path, 256, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    return file;
}

/* NAME.crt (with the issuer behind it, when asked for) and NAME.key. */
static inline void cert_write(const char *folder, const char *name, const TestCert *cert, const TestCert *above) {
    char path[256], file_name[128];
    (void)snprintf(file_name, sizeof file_name, "%s.crt", name);
    FILE *file = cert_file(folder, file_name, path);
    PEM_write_X509(file, cert->x509);
    if (above != NULL)
        PEM_write_X509(file, above->x509);
    fclose(file);
    (void)snprintf(file_name, sizeof file_name, "%s.key", name);
    file = cert_file(folder, file_name, path);
    PEM_write_PrivateKey(file, cert->key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    chmod(path, 0600);
}

static inline void folder_make(char folder[64]) {
    (void)snprintf(folder, 64, "/tmp/usher-certs-XXXXXX");
    assert_non_null(mkdtemp(folder));
}

static inline void folder_remove(const char *folder) {
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        char path[512];
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        (void)unlink(path);
    }
    closedir(dir);
    rmdir(folder);
}

/* What most tests need: ca.crt, and from it server.crt (localhost, 127.0.0.1), a.crt (a.example), b.crt (*.b.example),
 * client.crt; stranger-ca.crt and from that stranger.crt, which nobody believes. */
static inline void certs_usual(const char *folder) {
    TestCert ca = cert_make(&(CertOptions){.subject = "usher test authority", .is_authority = true});
    TestCert other = cert_make(&(CertOptions){.subject = "strange authority", .is_authority = true});
    static const struct {
        const char *file, *names;
        bool strange;
        long from_s, to_s;
    } rows[] = {
        {"server", "DNS:localhost,IP:127.0.0.1", false, 0, 0},
        {"a", "DNS:a.example", false, 0, 0},
        {"b", "DNS:*.b.example", false, 0, 0},
        {"client", NULL, false, 0, 0},
        {"expired", "DNS:localhost,IP:127.0.0.1", false, -7200, -3600},
        {"stranger", "DNS:localhost,IP:127.0.0.1", true, 0, 0},
    };
    cert_write(folder, "ca", &ca, NULL);
    cert_write(folder, "stranger-ca", &other, NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        TestCert one = cert_make(&(CertOptions){.subject = rows[i].file,
                                                .names = rows[i].names,
                                                .issuer = rows[i].strange ? &other : &ca,
                                                .from_s = rows[i].from_s,
                                                .to_s = rows[i].to_s});
        cert_write(folder, rows[i].file, &one, NULL);
        cert_free(&one);
    }
    cert_free(&ca);
    cert_free(&other);
}
