/*
 * region.c - the shared mapping and its rings.
 *
 * The head is published (release) after the record's bytes, so a worker killed half-way leaves a ring that is whole:
 * what it was writing never was. The tail moves after the bytes were copied out, likewise.
 */
#include "telemetry/region.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER = 4 };

/* Nobody has more; a predecessor that says so is not believed. */
#define SLOTS_MAX      4096
#define RING_BYTES_MAX ((size_t)1 << 30)

static size_t region_size(size_t n_slots, size_t ring_bytes) {
    return sizeof(Region) + n_slots * sizeof(Slot) + n_slots * ring_bytes;
}

/* What the numbers in it mean is decided by these. */
static uint64_t region_layout(void) {
    return metrics_layout() ^ (sizeof(Region) << 40) ^ (sizeof(Slot) << 16) ^ offsetof(Slot, series);
}

static Region *map(int fd, size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* A file in memory and not an anonymous mapping, so that it can be handed to a successor. */
Region *region_new(size_t n_slots, size_t ring_bytes, int *ret_fd) {
    size_t power = 64 * 1024;
    while (power < ring_bytes)
        power *= 2;
    size_t size = region_size(n_slots, power);
    int fd = memfd_create("usher-telemetry", MFD_CLOEXEC);
    Region *region = fd >= 0 && ftruncate(fd, (off_t)size) == 0 ? map(fd, size) : NULL;
    if (region == NULL) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    region->layout = region_layout();
    region->n_slots = n_slots;
    region->ring_bytes = power;
    *ret_fd = fd;
    return region;
}

Region *region_map(int fd) {
    struct stat info;
    Region head;
    if (fstat(fd, &info) != 0 || pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head ||
        head.layout != region_layout() || head.n_slots > SLOTS_MAX || head.ring_bytes > RING_BYTES_MAX ||
        (uint64_t)info.st_size != region_size(head.n_slots, head.ring_bytes))
        return NULL;
    return map(fd, (size_t)info.st_size);
}

void region_free(Region *region) {
    if (region != NULL)
        munmap(region, region_size(region->n_slots, region->ring_bytes));
}

uint8_t *region_ring_bytes(Region *region, size_t slot) {
    return (uint8_t *)&region->slots[region->n_slots] + slot * region->ring_bytes;
}

/* Across the end and on at the beginning. */
static void copy_in(uint8_t *ring, size_t size, uint64_t at, const uint8_t *bytes, size_t n) {
    size_t from = at & (size - 1), first = MIN_OF(n, size - from);
    memcpy(ring + from, bytes, first);
    memcpy(ring, bytes + first, n - first);
}

static void copy_out(const uint8_t *ring, size_t size, uint64_t at, uint8_t *bytes, size_t n) {
    size_t from = at & (size - 1), first = MIN_OF(n, size - from);
    memcpy(bytes, ring + from, first);
    memcpy(bytes + first, ring, n - first);
}

bool ring_put(Region *region, size_t slot, RecordKind kind, const uint8_t *bytes, size_t n) {
    Ring *ring = &region->slots[slot].ring;
    uint64_t head = load_u64(&ring->head), tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
    if (n > RECORD_MAX || HEADER + n > region->ring_bytes - (size_t)(head - tail)) {
        add_u64(&ring->dropped, 1);
        return false;
    }
    const uint8_t header[HEADER] = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)kind, 0};
    uint8_t *data = region_ring_bytes(region, slot);
    copy_in(data, region->ring_bytes, head, header, HEADER);
    copy_in(data, region->ring_bytes, head + HEADER, bytes, n);
    __atomic_store_n(&ring->head, head + HEADER + n, __ATOMIC_RELEASE);
    return true;
}

bool ring_peek(Region *region, size_t slot, RecordKind *ret_kind, uint8_t *out, size_t *ret_n) {
    Ring *ring = &region->slots[slot].ring;
    uint64_t tail = load_u64(&ring->tail), head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
    if (head == tail)
        return false;
    const uint8_t *data = region_ring_bytes(region, slot);
    uint8_t header[HEADER];
    copy_out(data, region->ring_bytes, tail, header, HEADER);
    size_t n = (size_t)header[0] | (size_t)header[1] << 8;
    ASSERT(n <= RECORD_MAX && HEADER + n <= head - tail);
    copy_out(data, region->ring_bytes, tail + HEADER, out, n);
    *ret_kind = (RecordKind)header[2];
    *ret_n = n;
    return true;
}

void ring_skip(Region *region, size_t slot, size_t n) {
    Ring *ring = &region->slots[slot].ring;
    __atomic_store_n(&ring->tail, load_u64(&ring->tail) + HEADER + n, __ATOMIC_RELEASE);
}

size_t ring_fill(const Region *region, size_t slot) {
    const Ring *ring = &region->slots[slot].ring;
    return (size_t)(__atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) - load_u64(&ring->tail));
}
