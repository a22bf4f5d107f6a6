/*
 * span_memo.c - finding the lines.
 */
#include "telemetry/span_memo.h"

#include "telemetry/metrics.h"

enum { KIND_LINES = 128, ASKER_LINES = 64 };
static SpanMemo kinds[KIND_LINES];
static AskerMemo askers[ASKER_LINES];

static size_t mixed(uint64_t hash, size_t lines) {
    return (size_t)(hash * 0x9E3779B97F4A7C15u >> 40) % lines;
}

SpanMemo *span_memo(const uint64_t key[MEMO_WORDS]) {
    uint64_t hash = 0;
    for (size_t i = 0; i < MEMO_WORDS; i++)
        hash = (hash ^ key[i]) * 0xBF58476D1CE4E5B9u;
    SpanMemo *memo = &kinds[mixed(hash, KIND_LINES)];
    uint32_t generation = metrics_generation();
    if (memo->generation == generation && memcmp(memo->key, key, sizeof memo->key) == 0)
        return memo;
    memcpy(memo->key, key, sizeof memo->key);
    memo->generation = generation;
    memo->duration = memo->active = NULL;
    memo->n = 0;
    return memo;
}

#define ABSENT SIZE_MAX /* is not the same as empty: it has no attribute */

static size_t length_of(Str text) {
    return text.p == NULL ? ABSENT : text.n;
}

/* The last bytes are where addresses and versions differ. */
static uint64_t tail_of(Str text) {
    uint64_t tail = 0;
    size_t n = MIN_OF(text.n, sizeof tail);
    if (n > 0)
        memcpy(&tail, text.p + text.n - n, n);
    return tail + text.n;
}

static bool is_line_of(const AskerMemo *memo, const Str texts[3]) {
    const char *at = memo->texts;
    for (size_t i = 0; i < 3; i++) {
        if (memo->text_n[i] != length_of(texts[i]) || !str_eq((Str){at, texts[i].n}, texts[i]))
            return false;
        at += texts[i].n;
    }
    return true;
}

AskerMemo *span_memo_asker(Str peer, Str agent, Str host) {
    const Str texts[3] = {peer, agent, host};
    uint64_t hash = 0;
    if (peer.n + agent.n + host.n > ASKER_TEXT_MAX)
        return NULL;
    for (size_t i = 0; i < 3; i++)
        hash = (hash ^ tail_of(texts[i])) * 0xBF58476D1CE4E5B9u;
    AskerMemo *memo = &askers[mixed(hash, ASKER_LINES)];
    if (is_line_of(memo, texts))
        return memo;
    char *to = memo->texts;
    for (size_t i = 0; i < 3; i++) {
        memo->text_n[i] = length_of(texts[i]);
        if (texts[i].n > 0)
            memcpy(to, texts[i].p, texts[i].n);
        to += texts[i].n;
    }
    memo->n = 0;
    return memo;
}

void span_memo_keep(Str encoded, char *bytes, size_t bytes_max, size_t *n) {
    if (encoded.p == NULL || encoded.n > bytes_max)
        return;
    memcpy(bytes, encoded.p, encoded.n);
    *n = encoded.n;
}
