/*
 * chunk.h - decoding the chunked transfer coding (RFC 9112 §7.1). Private to lib/http.
 */
#pragma once
#include "base/buf.h"

typedef struct ChunkDecoder {
    int state;
    int digits;          /* of the size being read */
    uint64_t left;       /* bytes of the chunk still to come */
    uint32_t extensions; /* bytes of extensions so far, all chunks */
    uint32_t trailers;   /* bytes of trailers so far */
    Buf *kept;           /* where trailer lines go, with their CRLF; NULL: dropped */
} ChunkDecoder;

typedef enum ChunkResult {
    CHUNK_MORE,  /* all input used, nothing for the reader yet */
    CHUNK_PIECE, /* *piece is a part of the body, in the input */
    CHUNK_END,   /* the body is complete, trailers read */
    CHUNK_BAD
} ChunkResult;

enum { CHUNK_EXTENSIONS_MAX = 16 * 1024, CHUNK_TRAILERS_MAX = 8 * 1024, CHUNK_DIGITS_MAX = 16 };

/** Zeroed is the beginning. *used: how much of the input was taken. After CHUNK_BAD nothing more may be decoded. */
ChunkResult chunk_decode(ChunkDecoder *decoder, Str input, size_t *used, Str *piece);
