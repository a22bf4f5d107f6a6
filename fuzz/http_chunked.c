/*
 * http_chunked.c - fuzzes the chunk decoder: the same body, end and verdict for every way of cutting the input.
 *
 * Input: 1 byte, the size of the steps; then the body.
 */
#include "http/chunk.h"

#include "fuzz.h"

typedef struct Outcome {
    ChunkResult result;
    size_t used, length;
    uint64_t hash;
} Outcome;

static Outcome decode(Str input, size_t step) {
    ChunkDecoder decoder = {0};
    Outcome o = {.result = CHUNK_MORE, .hash = 14695981039346656037u};
    while (o.used < input.n && o.result != CHUNK_END && o.result != CHUNK_BAD) {
        size_t used = 0;
        Str piece = {NULL, 0};
        Str part = str_slice(input, o.used, o.used + MIN_OF(step, input.n - o.used));
        o.result = chunk_decode(&decoder, part, &used, &piece);
        FUZZ_CHECK(used > 0 && used <= part.n);
        o.used += used;
        if (o.result != CHUNK_PIECE)
            continue;
        FUZZ_CHECK(piece.n > 0 && piece.p >= part.p && piece.p + piece.n <= part.p + used);
        o.length += piece.n;
        for (size_t i = 0; i < piece.n; i++)
            o.hash = (o.hash ^ (uint8_t)piece.p[i]) * 1099511628211u;
    }
    if (o.result == CHUNK_PIECE)
        o.result = CHUNK_MORE;
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    Str input = {(const char *)data + 1, size - 1};
    Outcome whole = decode(input, SIZE_MAX / 2), split = decode(input, (size_t)data[0] % 16 + 1);
    FUZZ_CHECK(whole.result == split.result && whole.used == split.used && whole.length == split.length &&
               whole.hash == split.hash);
    return 0;
}
