/*
 * tls_doctor.c - what `usher doctor` says of certificates.
 */
#include "usher/tls.h"

enum { SOON_DAYS = 30, DAY_S = 86400 };

#define SAY(...) arena_printf(ctx->arena, __VA_ARGS__)

static void look_at_dates(Ctx *ctx, const TlsCertificateFacts *facts, const TlsExamination *examination) {
    Str file = facts->file;
    int64_t left_s = (facts->not_after.ticks - clock_now().ticks) / TICKS_PER_SECOND;
    if (instant_compare(clock_now(), facts->not_before) < 0)
        examination->wrong(examination->data, SAY("%.*s is not valid yet", STR_ARG(file)),
                           "wait, or set this machine's clock");
    else if (left_s < 0)
        examination->wrong(examination->data,
                           SAY("%.*s expired %lld days ago", STR_ARG(file), (long long)(-left_s / DAY_S)),
                           "renew it, put the new one in its place, and send SIGHUP");
    else if (left_s < (int64_t)SOON_DAYS * DAY_S)
        examination->warning(examination->data,
                             SAY("%.*s expires in %lld days", STR_ARG(file), (long long)(left_s / DAY_S)),
                             "renew it, put the new one in its place, and send SIGHUP");
    else
        examination->fine(examination->data,
                          SAY("%.*s: %.*s (%.*s), %lld days left, its key fits", STR_ARG(file), STR_ARG(facts->subject),
                              STR_ARG(facts->names), (long long)(left_s / DAY_S)));
}

static void look_at_trust(Ctx *ctx, const TlsCertificateFacts *facts, const TlsExamination *examination) {
    Str file = facts->file;
    if (facts->names.n == 0)
        examination->warning(examination->data, SAY("%.*s names no host or address", STR_ARG(file)),
                             "clients look for theirs in subjectAltName, and refuse; make one that has it");
    if (!facts->chain_complete)
        examination->wrong(examination->data, SAY("%.*s: its chain is out of order or has a gap", STR_ARG(file)),
                           "the file holds the server's certificate first, then each one's issuer");
    else if (facts->distrust != NULL)
        examination->warning(examination->data,
                             SAY("%.*s is not believed by this machine: %s", STR_ARG(file), facts->distrust),
                             "append the missing issuer; all is well if clients are told of your own authority");
    if (facts->key_readable_by_others)
        examination->wrong(examination->data, SAY("anybody may read or write %.*s", STR_ARG(facts->key_file)),
                           "chmod o= it, and make a new key if others have been on this machine");
}

void tls_examine(Ctx *ctx, const Settings *settings, Str listen, const TlsExamination *examination) {
    TlsContext *context;
    TlsCertificateFacts facts;
    if (!tls_is_wanted(listen))
        return;
    problem_clear(ctx);
    if (tls_context_open(ctx, settings, &context) != ERR_OK) {
        examination->wrong(examination->data, ctx->problem.message, "mend TLS_CERT, TLS_KEY or the file");
        return;
    }
    for (size_t i = 0; tls_certificate_facts(context, i, ctx->arena, &facts); i++) {
        look_at_dates(ctx, &facts, examination);
        look_at_trust(ctx, &facts, examination);
    }
    tls_context_unref(context);
}
