/*
 * stack.h - stacks with a guard below them, and the switch between two of them (Boost.Context).
 *
 * Internal to lib/runtime. The sanitizers and valgrind are told of every stack and every switch here and nowhere else.
 */
#pragma once
#include "base/str.h"

typedef struct Stack {
    char *map; /* lowest address: the guard */
    char *low; /* lowest usable byte */
    size_t size;
    unsigned valgrind_id;
} Stack;

#define STACK_GUARD_BYTES (16 * 1024)

/** ERR_NO_MEMORY: the system refuses memory or another mapping (vm.max_map_count). */
MUST_USE Err stack_new(size_t size, Stack *ret);
void stack_free(Stack *stack);
/** Gives the memory back to the system and keeps the addresses. */
void stack_cool(Stack *stack);
/** Forgets what the sanitizer knows of dead frames, before the stack is used again. */
void stack_forget(const Stack *stack);
/** Fills with a pattern; stack_depth then tells how much was ever used since. */
void stack_paint(const Stack *stack);
size_t stack_depth(const Stack *stack);

/** A place to go on from. */
typedef struct SwitchPoint {
    void *context;    /* fcontext_t */
    void *fake_stack; /* ASan's, while it does not run */
    const void *low;  /* bounds of the stack it is on, for ASan */
    size_t size;
} SwitchPoint;

/** Makes *at the beginning of fn(data) on the stack. fn never returns: it ends in switch_end. */
void switch_prepare(SwitchPoint *at, const Stack *stack);
/** Leaves from → to; returns when somebody switches back to `from`. data reaches the entry of a new stack. */
void switch_to(SwitchPoint *from, SwitchPoint *to, void *data);
/** As switch_to, never to come back. */
NORETURN void switch_end(SwitchPoint *from, SwitchPoint *to);

/** What runs first on every new stack. Supplied by co.c. */
NORETURN void co_entry(void *data);
