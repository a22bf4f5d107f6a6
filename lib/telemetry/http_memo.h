/*
 * http_memo.h - what the spans of many requests have in common, encoded once. Internal to lib/telemetry.
 *
 * Two small tables, each line replaced by who comes later: by the request's kind, which its metric has too, and by who
 * asks. A line that does not match is made anew; nothing depends on finding one.
 */
#pragma once
#include "base/str.h"

/** Words that live for ever, known by their address. */
typedef struct HttpKind {
    const char *method, *scheme, *route, *version, *backend; /* route and backend may be NULL */
    int64_t status;
} HttpKind;

#define KIND_BYTES_MAX 384
typedef struct KindMemo {
    HttpKind kind;
    uint32_t generation;     /* of the metrics; 0: nothing here */
    struct Series *duration; /* NULL: not asked for yet */
    size_t n;                /* 0: not encoded yet */
    char bytes[KIND_BYTES_MAX];
} KindMemo;

/** The line of that kind, emptied where it was another's. */
KindMemo *memo_of_kind(const HttpKind *kind);

#define ASKER_TEXT_MAX  320
#define ASKER_BYTES_MAX 512
typedef struct AskerMemo {
    size_t text_n[3], n; /* n 0: not encoded yet */
    char texts[ASKER_TEXT_MAX], bytes[ASKER_BYTES_MAX];
} AskerMemo;

/** The line of who asks, as three texts; NULL: they are too long for one. */
AskerMemo *memo_of_asker(Str peer, Str agent, Str host);

/** Keeps what was encoded, where it fits. */
void memo_keep(Str encoded, char *bytes, size_t bytes_max, size_t *n);
