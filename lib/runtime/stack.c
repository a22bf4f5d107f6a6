/*
 * stack.c - mmap'ed stacks with a guard, and Boost.Context's jump.
 *
 * The guard is made with MADV_GUARD_INSTALL where the kernel knows it (6.13): it does not split the mapping, so that
 * neighbouring stacks merge and vm.max_map_count (65,530 by default) is no bound. Elsewhere mprotect makes it, two
 * mappings a stack: some 32,700 coroutines fit, and one more is ERR_NO_MEMORY. Huge pages are refused: they would make
 * 2 MB of a stack of which one page is used.
 *
 * Boost's assembler is reached through its C symbols; docs/adr/0002-coroutines.md says why not our own.
 */
#include "runtime/stack.h"

#include <sys/mman.h>
#ifdef USHER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef USHER_VALGRIND
#include <valgrind/memcheck.h>
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#define PAINT 0xA5

typedef struct Transfer {
    void *context;
    void *data;
} Transfer;

/* libboost_context's assembler, C calling convention (boost/context/detail/fcontext.hpp). */
Transfer jump_fcontext(void *to, void *data);
void *make_fcontext(void *top, size_t size, void (*fn)(Transfer));

/* What travels through a jump: who left, so that the arriving side can note where. */
typedef struct Journey {
    SwitchPoint *from;
    void *data;
} Journey;

Err stack_new(size_t size, Stack *ret) {
    char *map = mmap(NULL, STACK_GUARD_BYTES + size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (map == MAP_FAILED)
        return ERR_NO_MEMORY;
    (void)madvise(map, STACK_GUARD_BYTES + size, MADV_NOHUGEPAGE);
    if (madvise(map, STACK_GUARD_BYTES, MADV_GUARD_INSTALL) != 0 && mprotect(map, STACK_GUARD_BYTES, PROT_NONE) != 0) {
        munmap(map, STACK_GUARD_BYTES + size);
        return ERR_NO_MEMORY;
    }
    *ret = (Stack){.map = map, .low = map + STACK_GUARD_BYTES, .size = size};
#ifdef USHER_VALGRIND
    ret->valgrind_id = (unsigned)VALGRIND_STACK_REGISTER(ret->low, ret->low + size);
#endif
    return ERR_OK;
}

void stack_free(Stack *stack) {
    if (stack->map == NULL)
        return;
#ifdef USHER_VALGRIND
    VALGRIND_STACK_DEREGISTER(stack->valgrind_id);
#endif
    stack_forget(stack);
    munmap(stack->map, STACK_GUARD_BYTES + stack->size);
    *stack = (Stack){0};
}

void stack_cool(Stack *stack) {
    stack_forget(stack);
    (void)madvise(stack->low, stack->size, MADV_DONTNEED);
}

void stack_forget(const Stack *stack) {
#ifdef USHER_ASAN
    __asan_unpoison_memory_region(stack->low, stack->size);
#elif defined(USHER_VALGRIND)
    (void)VALGRIND_MAKE_MEM_UNDEFINED(stack->low, stack->size);
#else
    (void)stack;
#endif
}

void stack_paint(const Stack *stack) {
    stack_forget(stack);
    memset(stack->low, PAINT, stack->size);
}

size_t stack_depth(const Stack *stack) {
    stack_forget(stack);
#ifdef USHER_VALGRIND
    (void)VALGRIND_MAKE_MEM_DEFINED(stack->low, stack->size);
#endif
    size_t untouched = 0;
    while (untouched < stack->size && (unsigned char)stack->low[untouched] == PAINT)
        untouched++;
    return stack->size - untouched;
}

static void arrive(Transfer transfer) {
    Journey journey = *(Journey *)transfer.data;
    journey.from->context = transfer.context;
#ifdef USHER_ASAN
    __sanitizer_finish_switch_fiber(NULL, &journey.from->low, &journey.from->size);
#endif
    co_entry(journey.data);
}

void switch_prepare(SwitchPoint *at, const Stack *stack) {
    *at = (SwitchPoint){.context = make_fcontext(stack->low + stack->size, stack->size, arrive),
                        .low = stack->low,
                        .size = stack->size};
}

void switch_to(SwitchPoint *from, SwitchPoint *to, void *data) {
    Journey journey = {from, data};
#ifdef USHER_ASAN
    __sanitizer_start_switch_fiber(&from->fake_stack, to->low, to->size);
#endif
    /* journey lies on the stack that is being left, which stays until somebody comes back to it: the arriving side
     * reads it at once. */
    Transfer transfer = jump_fcontext(to->context, &journey);
    const Journey *back = transfer.data;
    if (back != NULL)
        back->from->context = transfer.context;
#ifdef USHER_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}

void switch_end(SwitchPoint *from, SwitchPoint *to) {
    (void)from;
#ifdef USHER_ASAN
    __sanitizer_start_switch_fiber(NULL, to->low, to->size); /* NULL: this side's fake stack dies */
#endif
    jump_fcontext(to->context, NULL); /* NULL: nobody may look at this stack any more */
    __builtin_unreachable();
}
