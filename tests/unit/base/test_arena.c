/*
 * test_arena.c - arenas and heap: limits, refusals, lifetimes.
 */
#include "base/arena.h"
#include "base/heap.h"

#include "unit.h"

/* A mix of sizes: within a small chunk, across large ones, and blocks of their own. */
static const size_t sizes[] = {0, 1, 15, 16, 17, 1000, 3000, 5000, 8000, 8192, 20000, 40000, 100000, 7};

static void what_is_given_is_zeroed_aligned_and_apart(void **state) {
    (void)state;
    Arena *arena = arena_new(1 << 20);
    for (int round = 0; round < 3; round++) {
        char *given[ARRAY_LEN(sizes)];
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            given[i] = arena_alloc(arena, sizes[i]);
            assert_true(given[i] != NULL && (uintptr_t)given[i] % 16 == 0);
            for (size_t k = 0; k < sizes[i]; k++)
                assert_true(given[i][k] == 0);
            memset(given[i], (int)i + 1, sizes[i]);
        }
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
            for (size_t k = 0; k < sizes[i]; k++)
                assert_true(given[i][k] == (char)(i + 1));
        assert_true(arena_used(arena) >= 185000);
        arena_reset(arena);
        assert_int_equal(arena_used(arena), 0);
    }
    arena_free(arena);
}

static void the_limit_is_hard(void **state) {
    (void)state;
    Arena *arena = arena_new(1000);
    assert_int_equal(arena_limit(arena), 1000);
    assert_true(arena_alloc(arena, 1001) == NULL);
    assert_true(arena_alloc(arena, SIZE_MAX / 4) == NULL); /* the compiler refuses the larger ones outright */
    assert_true(arena_alloc(arena, 992) != NULL);
    assert_true(arena_alloc(arena, 1) == NULL);
    assert_true(arena_str(arena, STR("x")).p == NULL);
    assert_true(arena_printf(arena, "%d", 1).p == NULL);
    assert_true(!arena_on_reset(arena, NULL, NULL));
    assert_int_equal(arena_used(arena), 992);
    arena_reset(arena);
    assert_true(arena_alloc(arena, 992) != NULL);
    arena_free(arena);
    arena_free(NULL);
}

static void arrays_that_overflow_are_refused(void **state) {
    (void)state;
    Arena *arena = arena_new(SIZE_MAX);
    volatile size_t huge = SIZE_MAX / 8 + 1;
    assert_true(arena_alloc_array(arena, huge, 8) == NULL);
    assert_true(arena_alloc_array(arena, huge, 16) == NULL);
    assert_true(arena_alloc_raw(arena, huge * 7) == NULL);
    assert_true(arena_grow(arena, NULL, 0, huge * 7) == NULL);
    assert_true(heap_alloc_array(huge, 8) == NULL);
    assert_int_equal(arena_used(arena), 0);
    uint32_t *array = ARENA_ARRAY(arena, uint32_t, 10);
    assert_true(array != NULL && array[9] == 0);
    arena_free(arena);
}

/* Grown step by step from nothing to a block of its own, with and without a neighbour in the way. */
static void growing_keeps_the_contents(void **state) {
    (void)state;
    for (int neighbour = 0; neighbour < 2; neighbour++) {
        Arena *arena = arena_new(1 << 20);
        char *p = NULL;
        size_t had = 0;
        for (size_t size = 10; size < 60000; size = size * 3 / 2) {
            char *grown = arena_grow(arena, p, had, size);
            assert_true(grown != NULL);
            for (size_t i = 0; i < had; i++)
                assert_true(grown[i] == (char)i);
            for (size_t i = had; i < size; i++)
                grown[i] = (char)i;
            p = grown;
            had = size;
            if (neighbour)
                assert_true(arena_alloc(arena, 20000) != NULL || true);
        }
        if (!neighbour) /* in place, or one move out of each chunk: never the sum of all sizes */
            assert_true(arena_used(arena) < 3 * had);
        arena_free(arena);
    }
    Arena *arena = arena_new(100);
    char *p = arena_alloc(arena, 50);
    p[49] = 'x';
    assert_true(arena_grow(arena, p, 50, 101) == NULL && p[49] == 'x');
    arena_free(arena);
}

static int order[3], calls;
static void note(void *data) {
    order[calls++] = *(int *)data;
}

static void callbacks_run_newest_first_and_once(void **state) {
    (void)state;
    Arena *arena = arena_new(1 << 16);
    int *n = ARENA_ARRAY(arena, int, 3); /* the memory is still there when they run */
    for (int i = 0; i < 3; i++) {
        n[i] = i;
        assert_true(arena_on_reset(arena, note, &n[i]));
    }
    arena_reset(arena);
    assert_true(calls == 3 && order[0] == 2 && order[1] == 1 && order[2] == 0);
    arena_free(arena);
    assert_int_equal(calls, 3);
}

static void text(void **state) {
    (void)state;
    CLEANUP(arena_freep) Arena *arena = arena_new(1 << 16);
    Str s = arena_printf(arena, "%s-%05d", "seat", 42);
    assert_true(str_eq_c(s, "seat-00042") && s.p[s.n] == '\0');
    Str copy = arena_str(arena, s);
    assert_true(copy.p != s.p && str_eq(copy, s) && copy.p[copy.n] == '\0');
    assert_true(arena_str(arena, (Str){NULL, 0}).p == NULL);
    assert_true(arena_str(arena, STR("")).p != NULL);
}

/* A body of six allocations, two of them not in the arena: each in turn fails, and nothing leaks. */
static Err body(void) {
    CLEANUP(arena_freep) Arena *arena = arena_new(1 << 16);
    if (arena == NULL)
        return ERR_NO_MEMORY;
    char *on_heap = heap_alloc(10);
    if (on_heap == NULL || !arena_on_reset(arena, heap_free, on_heap)) {
        heap_free(on_heap);
        return ERR_NO_MEMORY;
    }
    if (arena_alloc(arena, 40000) == NULL || arena_str(arena, STR("a")).p == NULL)
        return ERR_NO_MEMORY;
    char *p = arena_alloc(arena, 10);
    return p == NULL || arena_grow(arena, p, 10, 20) == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static void each_allocation_fails_once(void **state) {
    (void)state;
    uint64_t n = 1;
    for (;; n++) {
        arena_fail_nth(n);
        if (body() == ERR_OK)
            break;
        assert_true(n < 100);
    }
    assert_int_equal(n, 8);
    assert_int_equal(heap_allocations(), 7);
    heap_fail_nth(0);
    assert_int_equal(body(), ERR_OK);
}

static void heap_blocks_are_zeroed(void **state) {
    (void)state;
    char *p = heap_alloc(0);
    assert_true(p != NULL);
    heap_free(p);
    int *array = HEAP_ARRAY(int, 4);
    array[3] = 9;
    int *grown = heap_realloc(array, 4 * sizeof(int), 1000 * sizeof(int));
    assert_true(grown != NULL && grown[3] == 9 && grown[4] == 0 && grown[999] == 0);
    heap_fail_nth(1);
    assert_true(heap_realloc(grown, 1000 * sizeof(int), 2000 * sizeof(int)) == NULL);
    heap_fail_nth(0);
    assert_int_equal(grown[3], 9);
    heap_free(grown);
    heap_free(NULL);
}

/* More arenas than the cache holds, so that chunks go back to the system too. */
static void many_arenas(void **state) {
    (void)state;
    static Arena *arenas[600];
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(arenas); i++) {
            arenas[i] = arena_new(1 << 20);
            assert_true(arenas[i] != NULL && arena_alloc(arenas[i], 6000) != NULL);
        }
        for (size_t i = 0; i < ARRAY_LEN(arenas); i++)
            arena_freep(&arenas[i]);
        assert_true(arenas[0] == NULL);
    }
}

/* One with much waits for memory that is not there; those with little go on, and so does it once there is room. */
static void the_budget_refuses_the_large_only(void **state) {
    (void)state;
    size_t before = arena_total();
    Arena *large = arena_new((size_t)8 << 20), *other = arena_new((size_t)8 << 20), *small = arena_new(1 << 20);
    arena_set_budget(before + ((size_t)1 << 20));
    char *grown = arena_alloc_raw(large, 900000);
    assert_true(grown != NULL);
    assert_true(arena_alloc_raw(large, 200000) == NULL);
    assert_true(arena_grow(large, grown, 900000, 1100000) == NULL);
    assert_true(arena_alloc_raw(other, 200000) == NULL);
    for (int i = 0; i < 10; i++)
        assert_true(arena_alloc_raw(small, 12000) != NULL);
    assert_true(arena_total() >= before + 1020000);
    arena_reset(large);
    assert_true(arena_alloc_raw(other, 800000) != NULL);
    arena_free(large);
    arena_free(other);
    arena_free(small);
    arena_set_budget(0);
    assert_int_equal(arena_total(), before);
}

#ifdef USHER_ASAN
#include <sanitizer/asan_interface.h>
static void the_sanitizer_sees_overruns_and_late_uses(void **state) {
    (void)state;
    Arena *arena = arena_new(1 << 16);
    char *p = arena_alloc(arena, 20);
    assert_true(!__asan_address_is_poisoned(p + 19) && __asan_address_is_poisoned(p + 20));
    char *next = arena_alloc(arena, 20);
    assert_true(__asan_address_is_poisoned(next - 1) && !__asan_address_is_poisoned(next));
    arena_reset(arena);
    assert_true(__asan_address_is_poisoned(p) && __asan_address_is_poisoned(next));
    arena_free(arena);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_given_is_zeroed_aligned_and_apart),
        cmocka_unit_test(the_limit_is_hard),
        cmocka_unit_test(arrays_that_overflow_are_refused),
        cmocka_unit_test(growing_keeps_the_contents),
        cmocka_unit_test(callbacks_run_newest_first_and_once),
        cmocka_unit_test(text),
        cmocka_unit_test(each_allocation_fails_once),
        cmocka_unit_test(heap_blocks_are_zeroed),
        cmocka_unit_test(many_arenas),
        cmocka_unit_test(the_budget_refuses_the_large_only),
#ifdef USHER_ASAN
        cmocka_unit_test(the_sanitizer_sees_overruns_and_late_uses),
#endif
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
