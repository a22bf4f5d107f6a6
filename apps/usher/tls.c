/*
 * tls.c - certificates from settings to servers.
 *
 * The parent looks first and tells workers only when it could read all of it; each worker then reads for itself. So a
 * bad file stops a start, and a reload it leaves everything as it was.
 */
#include "usher/tls.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "runtime/log.h"
#include "usher/settings_file.h"

enum { EXPIRY_WARNING_DAYS = 14 };

/* The process's; workers are forked with the parent's. */
static TlsTickets tickets;
static bool in_use;

/* --- settings ----------------------------------------------------------------------------------------------------- */

Err check_tls_version(Ctx *ctx, Str value) {
    if (!str_eq_c(value, "1.2") && !str_eq_c(value, "1.3"))
        return ctx_problem(ctx, ERR_INVALID, NULL, "it is 1.3 or 1.2");
    return ERR_OK;
}

Err check_tls_clients(Ctx *ctx, Str value) {
    if (!str_eq_c(value, "required") && !str_eq_c(value, "optional"))
        return ctx_problem(ctx, ERR_INVALID, NULL, "it is required or optional");
    return ERR_OK;
}

static bool is_secure(Str address) {
    return str_starts_with(address, STR("https://"));
}

bool tls_is_wanted(Str listen) {
    while (listen.p != NULL)
        if (is_secure(str_trim(str_cut(&listen, ','), " ")))
            return true;
    return false;
}

/* --- which files -------------------------------------------------------------------------------------------------- */

typedef struct Files {
    TlsCertificateFiles rows[TLS_CERTIFICATES_MAX];
    size_t n;
} Files;

static Err add(Ctx *ctx, Files *files, Str certificate, Str key) {
    if (files->n == TLS_CERTIFICATES_MAX)
        return ctx_problem(ctx, ERR_INVALID, NULL, "TLS_CERT: more than %d certificates", TLS_CERTIFICATES_MAX);
    files->rows[files->n++] = (TlsCertificateFiles){certificate, key};
    return ERR_OK;
}

static int by_name(const void *a, const void *b) {
    return str_compare(((const TlsCertificateFiles *)a)->certificate, ((const TlsCertificateFiles *)b)->certificate);
}

/* NAME.crt or NAME.pem, each with NAME.key beside it or the key inside; in order of names, so the first is known. */
static Err add_folder(Ctx *ctx, Files *files, Str folder) {
    DIR *dir = opendir(folder.p);
    if (dir == NULL)
        return ctx_problem(ctx, ERR_INVALID, NULL, "TLS_CERT: the folder %s cannot be read: %s", folder.p,
                           strerror(errno));
    Err err = ERR_OK;
    const struct dirent *entry;
    while (err == ERR_OK && (entry = readdir(dir)) != NULL) {
        Str name = str_c(entry->d_name);
        if (!str_ends_with(name, STR(".crt")) && !str_ends_with(name, STR(".pem")))
            continue;
        struct stat status;
        Str path = arena_printf(ctx->arena, "%s/%s", folder.p, entry->d_name);
        Str key = arena_printf(ctx->arena, "%s/%.*s.key", folder.p, (int)name.n - 4, name.p);
        if (path.p == NULL || key.p == NULL)
            err = ERR_NO_MEMORY;
        else
            err = add(ctx, files, path, stat(key.p, &status) == 0 ? key : (Str){NULL, 0});
    }
    (void)closedir(dir);
    TRY(err);
    if (files->n == 0)
        return ctx_problem(ctx, ERR_INVALID, NULL, "TLS_CERT: there is no file *.crt or *.pem in the folder %s",
                           folder.p);
    qsort(files->rows, files->n, sizeof files->rows[0], by_name);
    return ERR_OK;
}

static Err add_list(Ctx *ctx, Files *files, Str certificates, Str keys) {
    bool inside = keys.p == NULL || keys.n == 0;
    while (certificates.p != NULL) {
        Str certificate = str_trim(str_cut(&certificates, ','), " ");
        if (!inside && keys.p == NULL)
            return ctx_problem(ctx, ERR_INVALID, NULL, "TLS_KEY names fewer files than TLS_CERT; name one for each");
        TRY(add(ctx, files, certificate, inside ? (Str){NULL, 0} : str_trim(str_cut(&keys, ','), " ")));
    }
    if (!inside && keys.p != NULL)
        return ctx_problem(ctx, ERR_INVALID, NULL, "TLS_KEY names more files than TLS_CERT; name one for each");
    return ERR_OK;
}

static Err files_of(Ctx *ctx, const Settings *settings, Files *files) {
    struct stat status;
    Str path = settings->tls_cert.p == NULL ? settings->tls_cert : arena_str(ctx->arena, settings->tls_cert);
    if (path.p == NULL || path.n == 0)
        return ctx_problem(ctx, ERR_INVALID, NULL,
                           "an address begins with https://, and TLS_CERT names no certificate; set it and TLS_KEY");
    if (stat(path.p, &status) == 0 && S_ISDIR(status.st_mode))
        return add_folder(ctx, files, path);
    return add_list(ctx, files, path, settings->tls_key);
}

/* --- contexts ----------------------------------------------------------------------------------------------------- */

Err tls_context_open(Ctx *ctx, const Settings *settings, TlsContext **ret) {
    Files files = {.n = 0};
    TRY(files_of(ctx, settings, &files));
    bool has_ca = settings->tls_client_ca.p != NULL && settings->tls_client_ca.n > 0;
    TlsServerOptions options = {
        .certificates = files.rows,
        .n_certificates = files.n,
        .client_ca = settings->tls_client_ca,
        .clients = !has_ca                                           ? TLS_CLIENTS_UNASKED
                   : str_eq_c(settings->tls_client_auth, "optional") ? TLS_CLIENTS_MAY
                                                                     : TLS_CLIENTS_MUST,
        .version_min = str_eq_c(settings->tls_min_version, "1.2") ? TLS_1_2 : TLS_1_3,
        .http2 = settings->http2,
        .tickets = &tickets,
    };
    return tls_server_new(ctx, &options, ret);
}

static void warn_of_dates(Ctx *ctx, const TlsContext *context) {
    TlsCertificateFacts facts;
    for (size_t i = 0; tls_certificate_facts(context, i, ctx->arena, &facts); i++) {
        int64_t left_s = (facts.not_after.ticks - clock_now().ticks) / TICKS_PER_SECOND;
        if (left_s < (int64_t)EXPIRY_WARNING_DAYS * 86400)
            LOG_W(NULL, "tls.certificate_expires", F_STR("file", facts.file), F_INT("days", left_s / 86400));
    }
}

Err tls_prepare(Ctx *ctx, const Settings *settings, Str listen) {
    if (!tls_is_wanted(listen))
        return ERR_OK;
    if (!in_use)
        tls_tickets_init(&tickets);
    in_use = true;
    TlsContext *context;
    TRY(tls_context_open(ctx, settings, &context));
    warn_of_dates(ctx, context);
    tls_context_unref(context);
    return ERR_OK;
}

/* By what it is bound to, and not by its place: sockets may be inherited, in any order. */
static bool speaks_tls(int fd, Str listen, Arena *arena) {
    while (listen.p != NULL) {
        Str address = str_trim(str_cut(&listen, ','), " ");
        if (is_secure(address) && http_socket_listens_on(fd, address, arena))
            return true;
    }
    return false;
}

Err tls_options(Ctx *ctx, const Settings *settings, Str listen, const int *fds, size_t n, HttpServerOptions *options) {
    options->http2_cleartext = settings->http2_cleartext;
    options->tls_listeners = 0;
    for (size_t i = 0; i < n && i < 64; i++)
        if (speaks_tls(fds[i], listen, ctx->arena))
            options->tls_listeners |= (uint64_t)1 << i;
    return options->tls_listeners == 0 ? ERR_OK : tls_context_open(ctx, settings, &options->tls);
}

Err tls_reload(Ctx *ctx, HttpServer *server) {
    if (!in_use)
        return ERR_OK;
    Settings settings = {0};
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 64 * 1024);
    TRY(config_load(SETTINGS, &settings, ctx->arena, settings_lookup, &mistakes));
    TlsContext *context;
    TRY(tls_context_open(ctx, &settings, &context));
    if (server != NULL)
        http_server_set_tls(server, context);
    else
        warn_of_dates(ctx, context);
    tls_context_unref(context);
    return ERR_OK;
}
