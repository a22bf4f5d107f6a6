/*
 * chunk.c - the chunked coding as a machine of one byte at a time, but for the data itself, which is passed on in
 * place.
 *
 * As strict as the head, for the same reason: sizes are plain hexadecimal of at most 16 digits, lines end in CRLF,
 * spaces stand only in front of an extension. Extensions and trailers are checked for bytes that could split a line and
 * bounded; extensions are dropped, trailers too unless the reader asks for them, as a proxy does (RFC 9112 §7.1.1,
 * §7.1.2). The extensions' bound is per body: a client that pays an extension per byte is attacking.
 */
#include "http/chunk.h"

#include "http/chars.h"

enum {
    SIZE,
    SIZE_SPACE, /* white space behind the size: an extension must follow */
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
    END,
    BAD
};

static int size_step(ChunkDecoder *decoder, char c) {
    int digit = hex_value(c);
    if (digit >= 0) {
        if (++decoder->digits > CHUNK_DIGITS_MAX || decoder->left > (INT64_MAX >> 4))
            return BAD;
        decoder->left = decoder->left << 4 | (uint64_t)digit;
        return SIZE;
    }
    if (decoder->digits == 0)
        return BAD;
    switch (c) {
    case '\r':
        return SIZE_LF;
    case ';':
        return EXTENSION;
    case ' ':
    case '\t':
        return SIZE_SPACE;
    default:
        return BAD;
    }
}

static int extension_step(ChunkDecoder *decoder, int state, char c) {
    if (++decoder->extensions > CHUNK_EXTENSIONS_MAX)
        return BAD;
    if (state == SIZE_SPACE)
        return c == ';' ? EXTENSION : c == ' ' || c == '\t' ? SIZE_SPACE : BAD;
    if (c == '\r')
        return SIZE_LF;
    return char_is(c, CHAR_VALUE) ? EXTENSION : BAD;
}

static int trailer_step(ChunkDecoder *decoder, int state, char c) {
    if (++decoder->trailers > CHUNK_TRAILERS_MAX)
        return BAD;
    if (decoder->kept != NULL && state != END_LF && (state != TRAILER_START || c != '\r'))
        buf_add_char(decoder->kept, c);
    switch (state) {
    case TRAILER_START:
        return c == '\r' ? END_LF : char_is(c, CHAR_TOKEN) ? TRAILER_NAME : BAD;
    case TRAILER_NAME:
        return c == ':' ? TRAILER_VALUE : char_is(c, CHAR_TOKEN) ? TRAILER_NAME : BAD;
    case TRAILER_VALUE:
        return c == '\r' ? TRAILER_LF : char_is(c, CHAR_VALUE) ? TRAILER_VALUE : BAD;
    case TRAILER_LF:
        return c == '\n' ? TRAILER_START : BAD;
    default: /* END_LF */
        return c == '\n' ? END : BAD;
    }
}

static int step(ChunkDecoder *decoder, char c) {
    switch (decoder->state) {
    case SIZE:
        return size_step(decoder, c);
    case SIZE_SPACE:
    case EXTENSION:
        return extension_step(decoder, decoder->state, c);
    case SIZE_LF:
        if (c != '\n')
            return BAD;
        return decoder->left == 0 ? TRAILER_START : DATA;
    case DATA_CR:
        return c == '\r' ? DATA_LF : BAD;
    case DATA_LF:
        decoder->digits = 0;
        return c == '\n' ? SIZE : BAD;
    default:
        return trailer_step(decoder, decoder->state, c);
    }
}

ChunkResult chunk_decode(ChunkDecoder *decoder, Str input, size_t *used, Str *piece) {
    size_t at = 0;
    ChunkResult result = CHUNK_MORE;
    while (result == CHUNK_MORE && decoder->state != END && at < input.n) {
        if (decoder->state == DATA) {
            size_t n = decoder->left < input.n - at ? (size_t)decoder->left : input.n - at;
            *piece = (Str){input.p + at, n};
            at += n;
            decoder->left -= n;
            if (decoder->left == 0)
                decoder->state = DATA_CR;
            result = CHUNK_PIECE;
            break;
        }
        if (decoder->state == BAD)
            break;
        decoder->state = step(decoder, input.p[at++]);
    }
    *used = at;
    if (decoder->state == BAD)
        return CHUNK_BAD;
    return decoder->state == END ? CHUNK_END : result;
}
