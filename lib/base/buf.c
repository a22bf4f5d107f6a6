/*
 * buf.c - a growing run of bytes with a ceiling.
 *
 * The fast path of each append is inline in the header; what stands here runs when there is no room or an error.
 * One byte more than the capacity is always allocated, so that vsnprintf's NUL never needs a copy.
 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/heap.h"

#define CAPACITY_MIN 120

Buf buf_new(Arena *arena, size_t max) {
    return (Buf){.max = MIN_OF(max, SIZE_MAX / 4), .arena = arena};
}

void buf_done(Buf *buf) {
    if (buf->arena == NULL)
        heap_free(buf->p);
    buf->p = NULL;
    buf->n = buf->capacity = 0;
}

void buf_clear(Buf *buf) {
    buf->n = 0;
    buf->err = ERR_OK;
}

static char *fail(Buf *buf, Err err) {
    buf->err = err;
    return NULL;
}

char *buf_reserve(Buf *buf, size_t n) {
    if (buf->err != ERR_OK)
        return NULL;
    if (buf->p != NULL && n <= buf->capacity - buf->n)
        return buf->p + buf->n;
    if (n > buf->max - buf->n)
        return fail(buf, ERR_LIMIT);
    size_t capacity = MAX_OF(MAX_OF(buf->n + n, 2 * buf->capacity), (size_t)CAPACITY_MIN);
    capacity = MIN_OF(capacity, buf->max);
    size_t had = buf->p == NULL ? 0 : buf->capacity + 1;
    char *p = buf->arena == NULL ? heap_realloc(buf->p, had, capacity + 1)
                                 : arena_grow(buf->arena, buf->p, had, capacity + 1);
    if (p == NULL)
        return fail(buf, ERR_NO_MEMORY);
    buf->p = p;
    buf->capacity = capacity;
    return p + buf->n;
}

void buf_add_bytes_slow(Buf *buf, const void *bytes, size_t n) {
    char *p = buf_reserve(buf, n);
    if (p != NULL && n > 0) {
        memcpy(p, bytes, n);
        buf->n += n;
    }
}

void buf_add_c(Buf *buf, const char *c) {
    buf_add_bytes(buf, c, strlen(c));
}

void buf_printf(Buf *buf, const char *format, ...) {
    size_t room = buf->capacity - buf->n;
    for (int pass = 0; pass < 2 && buf->err == ERR_OK; pass++) {
        va_list arguments;
        va_start(arguments, format);
        int n = vsnprintf(buf->p == NULL ? NULL : buf->p + buf->n, buf->p == NULL ? 0 : room + 1, format, arguments);
        va_end(arguments);
        if (n < 0) {
            buf->err = ERR_INVALID; /* an encoding error or a length over INT_MAX */
        } else if (buf->p != NULL && (size_t)n <= room) {
            buf->n += (size_t)n;
            return;
        } else {
            (void)buf_reserve(buf, (size_t)n);
            room = buf->capacity - buf->n;
        }
    }
}

static const char DIGIT_PAIRS[] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444"
    "5464748495051525354555657585960616263646566676869707172737475767778798081828384858687888990"
    "919293949596979899";

void buf_add_u64(Buf *buf, uint64_t value) {
    char text[20], *at = text + sizeof text;
    while (value >= 100) {
        at -= 2;
        memcpy(at, DIGIT_PAIRS + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10) {
        at -= 2;
        memcpy(at, DIGIT_PAIRS + value * 2, 2);
    } else {
        *--at = (char)('0' + value);
    }
    buf_add_bytes(buf, at, (size_t)(text + sizeof text - at));
}

void buf_add_i64(Buf *buf, int64_t value) {
    if (value < 0)
        buf_add_char(buf, '-');
    buf_add_u64(buf, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void buf_add_be16(Buf *buf, uint16_t value) {
    value = __builtin_bswap16(value);
    buf_add_bytes(buf, &value, sizeof value);
}

void buf_add_be32(Buf *buf, uint32_t value) {
    value = __builtin_bswap32(value);
    buf_add_bytes(buf, &value, sizeof value);
}

void buf_add_be64(Buf *buf, uint64_t value) {
    value = __builtin_bswap64(value);
    buf_add_bytes(buf, &value, sizeof value);
}

void buf_consume(Buf *buf, size_t n) {
    ASSERT(n <= buf->n);
    if (n == 0)
        return;
    buf->n -= n;
    memmove(buf->p, buf->p + n, buf->n);
}

Err buf_finish(const Buf *buf, Str *ret) {
    if (buf->err == ERR_OK)
        *ret = buf_str(buf);
    return buf->err;
}
