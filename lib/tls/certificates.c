/*
 * certificates.c - certificates and keys from files, and which of them a client gets.
 *
 * A pair is judged whole when it is loaded: that both can be read, that the key belongs to the certificate, that
 * OpenSSL's security level takes them. So a mistake is a sentence for whoever made it, not a failing handshake at
 * night. Dates are not judged: a server with an expired certificate is of more use than none, and `usher doctor` tells.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include "tls/tls_impl.h"

/* Asking at a terminal would stop a server that has one. */
static int no_passphrase(char *out, int size, int writing, void *data) {
    (void)out;
    (void)size;
    (void)writing;
    *(bool *)data = true;
    return -1;
}

static Err load_chain(Ctx *ctx, BIO *file, Certificate *certificate) {
    const char *path = certificate->files.certificate.p;
    bool encrypted = false;
    certificate->leaf = PEM_read_bio_X509_AUX(file, NULL, no_passphrase, &encrypted);
    if (certificate->leaf == NULL)
        return tls_problem(ctx, "there is no certificate (PEM) in %s", path);
    certificate->chain = sk_X509_new_null();
    if (certificate->chain == NULL)
        return ERR_NO_MEMORY;
    X509 *next;
    while ((next = PEM_read_bio_X509(file, NULL, no_passphrase, &encrypted)) != NULL) {
        if (sk_X509_push(certificate->chain, next) == 0) {
            X509_free(next);
            return ERR_NO_MEMORY;
        }
    }
    unsigned long last = ERR_peek_last_error();
    if (ERR_GET_LIB(last) != ERR_LIB_PEM || ERR_GET_REASON(last) != PEM_R_NO_START_LINE)
        return tls_problem(ctx, "certificate %d in %s cannot be read", sk_X509_num(certificate->chain) + 2, path);
    ERR_clear_error();
    return ERR_OK;
}

static Err load_key(Ctx *ctx, BIO *file, Certificate *certificate) {
    bool encrypted = false;
    certificate->key = PEM_read_bio_PrivateKey(file, NULL, no_passphrase, &encrypted);
    if (certificate->key != NULL)
        return ERR_OK;
    if (encrypted)
        return tls_problem(ctx, "the key in %s has a passphrase, which usher cannot ask for; store it without one",
                           certificate->files.key.p);
    return tls_problem(ctx, "there is no private key (PEM) in %s", certificate->files.key.p);
}

static Err judge(Ctx *ctx, const Certificate *certificate) {
    if (X509_check_private_key(certificate->leaf, certificate->key) != 1)
        return tls_problem(ctx, "the key in %s does not belong to the certificate in %s", certificate->files.key.p,
                           certificate->files.certificate.p);
    SSL_CTX *scratch = SSL_CTX_new(TLS_method());
    if (scratch == NULL)
        return ERR_NO_MEMORY;
    Err err = ERR_OK;
    if (SSL_CTX_use_cert_and_key(scratch, certificate->leaf, certificate->key, certificate->chain, 1) != 1)
        err = tls_problem(ctx, "the certificate in %s cannot be served", certificate->files.certificate.p);
    SSL_CTX_free(scratch);
    return err;
}

static Err open_file(Ctx *ctx, const char *path, const char *what, BIO **ret) {
    *ret = BIO_new_file(path, "r");
    return *ret == NULL ? tls_problem(ctx, "the %s file %s cannot be opened", what, path) : ERR_OK;
}

Err certificate_load(Ctx *ctx, Arena *arena, const TlsCertificateFiles *files, Certificate *ret) {
    ret->files.certificate = arena_str(arena, files->certificate);
    ret->files.key = arena_str(arena, files->key.p == NULL ? files->certificate : files->key);
    if (ret->files.certificate.p == NULL || ret->files.key.p == NULL)
        return ERR_NO_MEMORY;
    BIO *file = NULL;
    Err err = open_file(ctx, ret->files.certificate.p, "certificate", &file);
    if (err == ERR_OK)
        err = load_chain(ctx, file, ret);
    BIO_free(file);
    TRY(err);
    err = open_file(ctx, ret->files.key.p, "key", &file);
    if (err == ERR_OK)
        err = load_key(ctx, file, ret);
    BIO_free(file);
    TRY(err);
    return judge(ctx, ret);
}

void certificate_done(Certificate *certificate) {
    X509_free(certificate->leaf);
    EVP_PKEY_free(certificate->key);
    sk_X509_pop_free(certificate->chain, X509_free);
    *certificate = (Certificate){0};
}

/* --- which one a client gets -------------------------------------------------------------------------------------- */

static bool fits(const Certificate *certificate, const char *host) {
    return X509_check_host(certificate->leaf, host, strlen(host), 0, NULL) == 1;
}

/* All that fit, for there may be one per kind of key, and the client chooses. 1: go on; 0: give up. */
static int on_certificate_wanted(SSL *ssl, void *data) {
    const TlsContext *context = data;
    const char *host = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (host == NULL || fits(&context->certificates[0], host)) {
        bool found = false; /* the first is in place; are there further ones of that name? */
        for (size_t i = 1; host != NULL && i < context->n_certificates && !found; i++)
            found = fits(&context->certificates[i], host);
        if (!found)
            return 1;
    }
    bool cleared = false;
    for (size_t i = 0; i < context->n_certificates; i++) {
        const Certificate *one = &context->certificates[i];
        if (!fits(one, host))
            continue;
        if (!cleared)
            SSL_certs_clear(ssl);
        cleared = true;
        if (SSL_use_cert_and_key(ssl, one->leaf, one->key, one->chain, 1) != 1)
            return 0;
    }
    return 1;
}

void certificates_offer(TlsContext *context) {
    if (context->is_server && context->n_certificates > 1)
        SSL_CTX_set_cert_cb(context->ssl, on_certificate_wanted, context);
}

/* --- facts -------------------------------------------------------------------------------------------------------- */

static Instant instant_of(const ASN1_TIME *time) {
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    (void)ASN1_TIME_diff(&days, &seconds, epoch, time);
    ASN1_TIME_free(epoch);
    return instant_from_unix_us(((int64_t)days * 86400 + seconds) * 1000000);
}

Str certificate_names(X509 *leaf, Arena *arena) {
    Buf names = buf_new(arena, 64 * 1024);
    GENERAL_NAMES *list = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(list); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(list, i);
        if (name->type != GEN_DNS && name->type != GEN_IPADD)
            continue;
        if (names.n > 0)
            buf_add_c(&names, ", ");
        const unsigned char *p = ASN1_STRING_get0_data(name->d.ia5);
        int n = ASN1_STRING_length(name->d.ia5);
        if (name->type == GEN_DNS)
            buf_add_bytes(&names, p, (size_t)n);
        else if (n == 4)
            buf_printf(&names, "%d.%d.%d.%d", p[0], p[1], p[2], p[3]);
        else
            buf_add_c(&names, "an IPv6 address");
    }
    GENERAL_NAMES_free(list);
    return names.err == ERR_OK ? buf_str(&names) : (Str){NULL, 0};
}

static bool chain_is_complete(const Certificate *certificate) {
    X509 *below = certificate->leaf;
    for (int i = 0; i < sk_X509_num(certificate->chain); i++) {
        X509 *above = sk_X509_value(certificate->chain, i);
        if (X509_check_issued(above, below) != X509_V_OK)
            return false;
        below = above;
    }
    return true;
}

/* Would a machine that believes the same authorities as this one believe it? */
static const char *distrust_of(const Certificate *certificate) {
    const char *why = "OpenSSL cannot say";
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    if (store != NULL && check != NULL && X509_STORE_set_default_paths(store) == 1 &&
        X509_STORE_CTX_init(check, store, certificate->leaf, certificate->chain) == 1) {
        X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(check), X509_V_FLAG_NO_CHECK_TIME);
        why = X509_verify_cert(check) == 1 ? NULL : X509_verify_cert_error_string(X509_STORE_CTX_get_error(check));
    }
    X509_STORE_CTX_free(check);
    X509_STORE_free(store);
    ERR_clear_error();
    return why;
}

bool tls_certificate_facts(const TlsContext *context, size_t index, Arena *arena, TlsCertificateFacts *ret) {
    if (index >= context->n_certificates)
        return false;
    const Certificate *one = &context->certificates[index];
    char subject[512];
    struct stat status;
    (void)X509_NAME_oneline(X509_get_subject_name(one->leaf), subject, sizeof subject);
    *ret = (TlsCertificateFacts){
        .file = one->files.certificate,
        .key_file = one->files.key,
        .subject = arena_str(arena, str_c(subject)),
        .names = certificate_names(one->leaf, arena),
        .not_before = instant_of(X509_get0_notBefore(one->leaf)),
        .not_after = instant_of(X509_get0_notAfter(one->leaf)),
        .self_signed = X509_self_signed(one->leaf, 0) == 1,
        .chain_complete = chain_is_complete(one),
        .key_readable_by_others = stat(one->files.key.p, &status) == 0 && (status.st_mode & (S_IROTH | S_IWOTH)) != 0,
        .distrust = distrust_of(one),
    };
    return true;
}
