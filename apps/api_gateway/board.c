/*
 * board.c - shared memory: stages, counts, rings.
 */
#include "api_gateway/board.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"

#define SLOTS_MAX (2 * BOARD_WORKERS_MAX)

/* One producer, one consumer; positions only grow. A record is its length and its bytes. */
typedef struct CopyRing {
    uint64_t head __attribute__((aligned(64))); /* the gateway worker's */
    uint64_t tail __attribute__((aligned(64))); /* the shadow worker's */
} CopyRing;

/* What one worker writes and nobody else. */
typedef struct BoardSlot {
    Traffic traffic[BOARD_ROUTES_MAX][BOARD_SIDES];
    uint64_t skips[BOARD_ROUTES_MAX][SKIP_COUNT];
    int64_t in_work[BOARD_ROUTES_MAX][BOARD_SIDES];
    uint64_t adopted;
    uint32_t attached;
    CopyRing ring;
} BoardSlot;

struct Board {
    size_t size, gateways, shadows, ring_bytes, route_n;
    Id id;
    BoardRoute routes[BOARD_ROUTES_MAX];
    int wake_fds[BOARD_WORKERS_MAX];
    uint32_t sleeping[BOARD_WORKERS_MAX];
    uint64_t version; /* odd: being written */
    StageTable stages;
    BoardSlot slots[]; /* gateways, then shadows; the rings' bytes behind them */
};

const int64_t TRAFFIC_BOUNDS[TRAFFIC_BUCKETS - 1] = {
    250000,   500000,    1000000,   2000000,   4000000,    7000000,    10000000,    20000000,
    40000000, 100000000, 250000000, 500000000, 1000000000, 2500000000, 10000000000,
};

static const char *const SKIP_NAMES[] = {
#define SKIP_NAME(code, name) name,
    SKIP_REASONS(SKIP_NAME)
#undef SKIP_NAME
};

const char *skip_reason_name(SkipReason reason) {
    return SKIP_NAMES[reason];
}

const char *board_side_name(BoardSide side) {
    static const char *const names[] = {"legacy", "new", "mirror", "trial"};
    return names[side];
}

static uint64_t load(const uint64_t *p) {
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void add(uint64_t *p, uint64_t by) {
    __atomic_store_n(p, load(p) + by, __ATOMIC_RELAXED);
}

static uint8_t *ring_bytes_of(const Board *board, size_t worker) {
    return (uint8_t *)board + board->size - (board->gateways - worker) * board->ring_bytes;
}

/* --- making it ---------------------------------------------------------------------------------------------------- */

static size_t power_of_two(size_t n) {
    size_t power = 4096;
    while (power < n)
        power *= 2;
    return power;
}

Err board_new(const BoardOptions *options, Board **ret) {
    if (options->route_n > BOARD_ROUTES_MAX || options->gateways > BOARD_WORKERS_MAX ||
        options->shadows > BOARD_WORKERS_MAX || options->shadows == 0 || options->route_n == 0)
        return ERR_LIMIT;
    size_t ring_bytes = power_of_two(options->ring_bytes);
    size_t size = sizeof(Board) + (options->gateways + options->shadows) * sizeof(BoardSlot);
    size = (size + 4095) / 4096 * 4096 + options->gateways * ring_bytes;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return ERR_NO_MEMORY;
    Board *board = memory;
    board->size = size;
    board->id = id_random();
    board->gateways = options->gateways;
    board->shadows = options->shadows;
    board->ring_bytes = ring_bytes;
    board->route_n = options->route_n;
    memcpy(board->routes, options->routes, options->route_n * sizeof *options->routes);
    for (size_t i = 0; i < options->shadows; i++) {
        board->wake_fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (board->wake_fds[i] < 0) {
            board->shadows = i;
            board_free(board);
            return ERR_IO;
        }
    }
    *ret = board;
    return ERR_OK;
}

void board_free(Board *board) {
    if (board == NULL)
        return;
    for (size_t i = 0; i < board->shadows; i++)
        (void)close(board->wake_fds[i]);
    (void)munmap(board, board->size);
}

const BoardRoute *board_route(const Board *board, size_t route) {
    return &board->routes[route];
}

size_t board_route_count(const Board *board) {
    return board->route_n;
}

Id board_id(const Board *board) {
    return board->id;
}

size_t board_gateways(const Board *board) {
    return board->gateways;
}

size_t board_shadows(const Board *board) {
    return board->shadows;
}

/* --- stages ------------------------------------------------------------------------------------------------------- */

uint64_t board_version(const Board *board) {
    return __atomic_load_n(&board->version, __ATOMIC_ACQUIRE);
}

/* A writer that died half-way leaves an odd version: readers go on with what they have until the next one has
 * written. */
bool board_stages(const Board *board, uint64_t *version, StageTable *ret) {
    uint64_t before = board_version(board);
    if (before == *version || (before & 1) != 0)
        return false;
    memcpy(ret, &board->stages, sizeof *ret); /* too large for a coroutine's stack, hence into the caller's spare one */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (load(&board->version) != before)
        return false;
    *version = before;
    return true;
}

void board_stages_put(Board *board, const StageTable *table) {
    uint64_t version = load(&board->version) | 1;
    __atomic_store_n(&board->version, version, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    board->stages = *table;
    __atomic_store_n(&board->version, version + 1, __ATOMIC_RELEASE);
}

/* --- counts ------------------------------------------------------------------------------------------------------- */

void board_attach(Board *board, size_t worker) {
    BoardSlot *slot = &board->slots[worker];
    memset(slot->in_work, 0, sizeof slot->in_work);
    slot->adopted = 0;
    __atomic_store_n(&slot->attached, 1, __ATOMIC_RELEASE);
}

void board_detach(Board *board, size_t worker) {
    __atomic_store_n(&board->slots[worker].attached, 0, __ATOMIC_RELEASE);
}

void board_begin(Board *board, size_t worker, size_t route, BoardSide side) {
    int64_t *in_work = &board->slots[worker].in_work[route][side];
    __atomic_store_n(in_work, *in_work + 1, __ATOMIC_RELEASE);
}

static void count(Traffic *traffic, bool error, int64_t ns) {
    size_t bucket = 0;
    while (bucket < TRAFFIC_BUCKETS - 1 && ns > TRAFFIC_BOUNDS[bucket])
        bucket++;
    add(&traffic->errors, error);
    add(&traffic->ns_sum, (uint64_t)MAX_OF(ns, 0));
    add(&traffic->buckets[bucket], 1);
    add(&traffic->requests, 1);
}

void board_end(Board *board, size_t worker, size_t route, BoardSide side, bool error, int64_t ns) {
    BoardSlot *slot = &board->slots[worker];
    count(&slot->traffic[route][side], error, ns);
    __atomic_store_n(&slot->in_work[route][side], slot->in_work[route][side] - 1, __ATOMIC_RELEASE);
}

void board_skipped(Board *board, size_t worker, size_t route, SkipReason reason) {
    add(&board->slots[worker].skips[route][reason], 1);
}

void board_adopted(Board *board, size_t worker, uint64_t version) {
    __atomic_store_n(&board->slots[worker].adopted, version, __ATOMIC_RELEASE);
}

size_t board_shadow_slot(const Board *board, size_t shadow) {
    return board->gateways + shadow;
}

void board_traffic(const Board *board, size_t route, BoardSide side, Traffic *ret) {
    *ret = (Traffic){0};
    for (size_t i = 0; i < board->gateways + board->shadows; i++) {
        const Traffic *traffic = &board->slots[i].traffic[route][side];
        ret->requests += load(&traffic->requests);
        ret->errors += load(&traffic->errors);
        ret->ns_sum += load(&traffic->ns_sum);
        for (size_t j = 0; j < TRAFFIC_BUCKETS; j++)
            ret->buckets[j] += load(&traffic->buckets[j]);
    }
}

uint64_t board_skips(const Board *board, size_t route, SkipReason reason) {
    uint64_t n = 0;
    for (size_t i = 0; i < board->gateways + board->shadows; i++)
        n += load(&board->slots[i].skips[route][reason]);
    return n;
}

bool board_quiet(const Board *board, uint64_t version, Str context, StagePart part, Str route, BoardSide side) {
    for (size_t i = 0; i < board->gateways; i++) {
        const BoardSlot *slot = &board->slots[i];
        if (__atomic_load_n(&slot->attached, __ATOMIC_ACQUIRE) == 0)
            continue;
        if (__atomic_load_n(&slot->adopted, __ATOMIC_ACQUIRE) < version)
            return false;
        for (size_t j = 0; j < board->route_n; j++)
            if (board->routes[j].part == part && str_eq_c(context, board->routes[j].context) &&
                (route.n == 0 || str_eq_c(route, board->routes[j].label)) &&
                __atomic_load_n(&slot->in_work[j][side], __ATOMIC_ACQUIRE) > 0)
                return false;
    }
    return true;
}

bool board_followed(const Board *board) {
    uint64_t version = board_version(board);
    for (size_t i = 0; i < board->gateways; i++)
        if (__atomic_load_n(&board->slots[i].attached, __ATOMIC_ACQUIRE) != 0 &&
            __atomic_load_n(&board->slots[i].adopted, __ATOMIC_ACQUIRE) < version)
            return false;
    return true;
}

size_t board_attached(const Board *board) {
    size_t n = 0;
    for (size_t i = 0; i < board->gateways; i++)
        n += __atomic_load_n(&board->slots[i].attached, __ATOMIC_ACQUIRE);
    return n;
}

/* --- rings -------------------------------------------------------------------------------------------------------- */

static void ring_write(const Board *board, size_t worker, uint64_t at, const void *bytes, size_t n) {
    uint8_t *ring = ring_bytes_of(board, worker);
    size_t offset = (size_t)at & (board->ring_bytes - 1), first = MIN_OF(n, board->ring_bytes - offset);
    memcpy(ring + offset, bytes, first);
    memcpy(ring, (const uint8_t *)bytes + first, n - first);
}

static void ring_read(const Board *board, size_t worker, uint64_t at, void *bytes, size_t n) {
    const uint8_t *ring = ring_bytes_of(board, worker);
    size_t offset = (size_t)at & (board->ring_bytes - 1), first = MIN_OF(n, board->ring_bytes - offset);
    memcpy(bytes, ring + offset, first);
    memcpy((uint8_t *)bytes + first, ring, n - first);
}

bool board_put(Board *board, size_t worker, Str record) {
    CopyRing *ring = &board->slots[worker].ring;
    uint32_t n = (uint32_t)record.n;
    uint64_t head = load(&ring->head), tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
    if (record.n + sizeof n > board->ring_bytes - (size_t)(head - tail))
        return false;
    ring_write(board, worker, head, &n, sizeof n);
    ring_write(board, worker, head + sizeof n, record.p, record.n);
    __atomic_store_n(&ring->head, head + sizeof n + n, __ATOMIC_RELEASE);
    return true;
}

bool board_sleeps(const Board *board, size_t worker) {
    /* Between our publishing and our look at the sleeper, and its announcing and its look at the ring, one sees the
     * other. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(&board->sleeping[worker % board->shadows], __ATOMIC_RELAXED) != 0;
}

void board_wake(Board *board, size_t worker) {
    size_t shadow = worker % board->shadows;
    uint64_t one = 1;
    if (__atomic_exchange_n(&board->sleeping[shadow], 0, __ATOMIC_RELAXED) == 0)
        return;
    ssize_t written = write(board->wake_fds[shadow], &one, sizeof one);
    (void)written; /* full: it is readable */
}

bool board_half_full(const Board *board, size_t worker) {
    const CopyRing *ring = &board->slots[worker].ring;
    return load(&ring->head) - __atomic_load_n(&ring->tail, __ATOMIC_RELAXED) > board->ring_bytes / 2;
}

int board_wake_fd(const Board *board, size_t shadow) {
    return board->wake_fds[shadow];
}

static bool has_any(const Board *board, size_t shadow) {
    for (size_t i = shadow; i < board->gateways; i += board->shadows)
        if (__atomic_load_n(&board->slots[i].ring.head, __ATOMIC_ACQUIRE) != load(&board->slots[i].ring.tail))
            return true;
    return false;
}

bool board_sleep(Board *board, size_t shadow) {
    uint64_t drained;
    if (has_any(board, shadow))
        return false;
    ssize_t got = read(board->wake_fds[shadow], &drained, sizeof drained);
    (void)got;
    __atomic_store_n(&board->sleeping[shadow], 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return !has_any(board, shadow);
}

static bool take_from(Board *board, size_t worker, Buf *ret, bool *ret_lost) {
    CopyRing *ring = &board->slots[worker].ring;
    uint64_t tail = load(&ring->tail), head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
    uint32_t n;
    if (tail == head)
        return false;
    ring_read(board, worker, tail, &n, sizeof n);
    ASSERT(n <= head - tail - sizeof n);
    buf_clear(ret);
    char *bytes = buf_reserve(ret, n);
    if (bytes != NULL)
        ring_read(board, worker, tail + sizeof n, bytes, n);
    ret->n = bytes == NULL ? 0 : n;
    __atomic_store_n(&ring->tail, tail + sizeof n + n, __ATOMIC_RELEASE);
    *ret_lost = bytes == NULL;
    return bytes != NULL;
}

bool board_take(Board *board, size_t shadow, Buf *ret, bool *ret_lost) {
    *ret_lost = false;
    for (size_t i = shadow; i < board->gateways && !*ret_lost; i += board->shadows)
        if (take_from(board, i, ret, ret_lost))
            return true;
    return false;
}
