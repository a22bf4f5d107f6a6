/*
 * macros.h - the few attributes and helpers that every file may use.
 */
#pragma once
#include <stddef.h>

/** The result may not be ignored. */
#define MUST_USE __attribute__((warn_unused_result))

/** Marks a function that may suspend the calling coroutine. Written first in its declaration and definition;
 *  tools/check-co refuses a call to such a function from one that is not marked. */
#define CO_FN

/** Runs fn(&variable) when the variable goes out of scope. fn accepts zeroed and half-built objects. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

#define PRINTF_LIKE(format_index, first_index) __attribute__((format(printf, format_index, first_index)))
#define UNUSED                                 __attribute__((unused))
#define NORETURN                               __attribute__((noreturn))

/** Number of elements of a true array. */
#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

/* Not MIN and MAX: <sys/param.h> has those. The arguments are evaluated twice. */
#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))

/** A view of n elements of type T: `Slice(Id) seats`. Declared once per type with SLICE_OF. */
#define Slice(T) Slice_##T
#define SLICE_OF(T)                                                                                                    \
    typedef struct Slice_##T {                                                                                         \
        T *p;                                                                                                          \
        size_t n;                                                                                                      \
    } Slice_##T
