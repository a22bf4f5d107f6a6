/*
 * buf.h - bytes that grow, up to a maximum given at birth.
 *
 * Writers never check each append: a Buf that was refused memory or passed its maximum remembers it (buf.err) and
 * ignores what follows; the one check stands at the end (buf_finish). A Buf grows in an arena or, with arena == NULL,
 * on the heap.
 */
#pragma once
#include "base/arena.h"

typedef struct Buf {
    char *p;
    size_t n;
    size_t capacity;
    size_t max;
    Arena *arena; /* NULL: heap, released by buf_done */
    Err err;      /* ERR_OK, ERR_LIMIT or ERR_NO_MEMORY: sticky */
} Buf;

/** A Buf in an arena (or on the heap with NULL) that may hold at most max bytes. Allocates nothing yet. */
Buf buf_new(Arena *arena, size_t max);
/** Releases a heap Buf; harmless otherwise. */
void buf_done(Buf *buf);
/** Forgets the contents and the error, keeps the memory. */
void buf_clear(Buf *buf);

/** Room for n more bytes behind p + n, to be claimed with buf->n += …; NULL sets err. */
char *buf_reserve(Buf *buf, size_t n);
void buf_add_c(Buf *buf, const char *c);
/** The part of buf_add_bytes that grows or refuses. */
void buf_add_bytes_slow(Buf *buf, const void *bytes, size_t n);

static inline void buf_add_bytes(Buf *buf, const void *bytes, size_t n) {
    if (buf->err == ERR_OK && buf->p != NULL && n <= buf->capacity - buf->n) {
        memcpy(buf->p + buf->n, bytes, n);
        buf->n += n;
    } else {
        buf_add_bytes_slow(buf, bytes, n);
    }
}

static inline void buf_add(Buf *buf, Str s) {
    if (s.n > 0)
        buf_add_bytes(buf, s.p, s.n);
}

static inline void buf_add_char(Buf *buf, char c) {
    if (buf->err == ERR_OK && buf->n < buf->capacity)
        buf->p[buf->n++] = c;
    else
        buf_add_bytes_slow(buf, &c, 1);
}

void buf_printf(Buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_add_u64(Buf *buf, uint64_t value);
void buf_add_i64(Buf *buf, int64_t value);
/** Network byte order. */
void buf_add_be16(Buf *buf, uint16_t value);
void buf_add_be32(Buf *buf, uint32_t value);
void buf_add_be64(Buf *buf, uint64_t value);
/** Drops the first n bytes. */
void buf_consume(Buf *buf, size_t n);

/** The contents as a view; valid until the next append. */
static inline Str buf_str(const Buf *buf) {
    return (Str){buf->p == NULL ? "" : buf->p, buf->n};
}

/** The sticky error, and the contents when there is none. */
MUST_USE Err buf_finish(const Buf *buf, Str *ret);
