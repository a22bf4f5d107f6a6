/*
 * span_memo.h - what many spans have in common, encoded once.
 *
 * Two small tables, each line replaced by who comes later: by the span's kind (route and status, resource and action),
 * which its metrics have too, and by who asks. A line that does not match is made anew; nothing depends on finding one.
 */
#pragma once
#include "base/str.h"

/* The metric's id and addresses of words that live for ever, or numbers. */
#define MEMO_WORDS     7
#define MEMO_BYTES_MAX 384
typedef struct SpanMemo {
    uint64_t key[MEMO_WORDS];
    uint32_t generation;              /* of the metrics */
    struct Series *duration, *active; /* NULL: not asked for yet */
    size_t n;                         /* 0: not encoded yet */
    char bytes[MEMO_BYTES_MAX];
} SpanMemo;

/** The line of that key, emptied where it was another's. */
SpanMemo *span_memo(const uint64_t key[MEMO_WORDS]);

#define ASKER_TEXT_MAX  320
#define ASKER_BYTES_MAX 512
typedef struct AskerMemo {
    size_t text_n[3], n; /* n 0: not encoded yet */
    char texts[ASKER_TEXT_MAX], bytes[ASKER_BYTES_MAX];
} AskerMemo;

/** The line of who asks, as three texts; NULL: they are too long for one. */
AskerMemo *span_memo_asker(Str peer, Str agent, Str host);

/** Keeps what was encoded, where it fits. */
void span_memo_keep(Str encoded, char *bytes, size_t bytes_max, size_t *n);
