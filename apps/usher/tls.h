/*
 * tls.h - the wiring of lib/tls: its settings, its certificates in every HTTP worker, and how they are replaced.
 */
#pragma once
#include "http/http.h"
#include "usher/settings.h"

/* Checks of settings; the words name what may stand there. */
Err check_tls_version(Ctx *ctx, Str value);
Err check_tls_clients(Ctx *ctx, Str value);

/** Does any address in LISTEN (or another setting of its form) begin with https://? */
bool tls_is_wanted(Str listen);

/** Certificates and rules as settings say. ERR_INVALID: the problem names the setting, the file and what is wrong. */
MUST_USE Err tls_context_open(Ctx *ctx, const Settings *settings, TlsContext **ret);

/** In the parent, before the first fork: the keys of session tickets, and a look at the certificates, so that a mistake
 *  stops the start. listen: what http_listen_socket was given. */
MUST_USE Err tls_prepare(Ctx *ctx, const Settings *settings, Str listen);
/** In a worker: what http_server_new must know of its n sockets: those bound to an https:// address of `listen` speak
 *  TLS. The caller gives options->tls back when the server has it. */
MUST_USE Err tls_options(Ctx *ctx, const Settings *settings, Str listen, const int *fds, size_t n,
                         HttpServerOptions *options);
/** SIGHUP, behind settings_reload: reads settings and files again. In the parent server is NULL, and this only looks.
 *  On failure the problem says why, and the server goes on with what it has. */
MUST_USE Err tls_reload(Ctx *ctx, HttpServer *server);

/** Where tls_examine tells what it finds. */
typedef struct TlsExamination {
    void (*fine)(void *data, Str what);
    void (*warning)(void *data, Str what, const char *mend);
    void (*wrong)(void *data, Str what, const char *mend);
    void *data;
} TlsExamination;
/** Dates, chains, keys and their permissions of what TLS_CERT names. Nothing where no address is https. */
void tls_examine(Ctx *ctx, const Settings *settings, Str listen, const TlsExamination *examination);
