/*
 * region.h - the memory that the workers of one usher share: counts, and spans on their way out. Private to
 * lib/telemetry.
 *
 * Mapped before the first fork. Each worker writes its own slot and nobody else's, and a worker is one thread: so there
 * is no lock, no read-modify-write on a shared line and nothing that a dead worker could hold. The telemetry process
 * reads all slots; of the rings it owns the tails.
 */
#pragma once
#include <sys/types.h>

#include "telemetry/metrics.h"

/* Label sets of all metrics together in one worker; further ones share an overflow series per metric. */
#define SLOT_SERIES_MAX   384
#define SERIES_LABELS_MAX 232
#define BUCKETS_MAX       16

typedef struct Series {
    uint32_t ready; /* published last: the rest is whole when this is 1 */
    uint16_t metric;
    uint16_t labels_n;
    char labels[SERIES_LABELS_MAX]; /* see MetricPoint */
    uint64_t value;                 /* of a counter; of a gauge (signed); of a histogram how many */
    uint64_t sum;                   /* of a histogram: ns, or plain numbers */
    uint64_t buckets[BUCKETS_MAX];  /* not cumulative; the last one used is above all bounds */
} Series;

/* One producer, one consumer; positions only grow. A record is a header of four bytes (length, kind) and its bytes. */
typedef struct Ring {
    uint64_t head __attribute__((aligned(64))); /* the worker's */
    uint64_t dropped;
    uint64_t tail __attribute__((aligned(64))); /* the exporter's */
} Ring;

typedef enum RecordKind { RECORD_SPAN = 1, RECORD_LOG } RecordKind;

typedef struct Slot {
    const char *role; /* text of the parent: the same address in every fork */
    int index;
    pid_t pid;       /* 0: never attached */
    uint32_t starts; /* how often a worker began here */
    uint32_t ready;  /* its pools are connected */
    uint32_t draining;
    int64_t beat_ms; /* clock_mono_ms of its last sign of life */
    uint32_t series_n;
    Series series[SLOT_SERIES_MAX];
    Ring ring;
} Slot;

typedef struct Region {
    uint64_t layout;            /* what another build must share to read this: region_layout */
    size_t n_slots, ring_bytes; /* a power of two */
    int64_t began_unix_ns;
    uint32_t started; /* every worker has served once */
    uint64_t exported_spans, exported_logs, failed_batches, refused_spans, refused_logs;
    Slot slots[];
} Region;

/** Shared and zeroed, with a descriptor by which another program can map it (the caller's to close). ring_bytes becomes
 *  a power of two. NULL: the system refuses. */
Region *region_new(size_t n_slots, size_t ring_bytes, int *ret_fd);
/** A predecessor's. NULL: it is none, or of another layout. */
Region *region_map(int fd);
void region_free(Region *region);
uint8_t *region_ring_bytes(Region *region, size_t slot);

/** False (and counted): no room. */
bool ring_put(Region *region, size_t slot, RecordKind kind, const uint8_t *bytes, size_t n);
/** Looks at the oldest record; NULL: none. Copies into `out` (of RECORD_MAX bytes). */
#define RECORD_MAX (16 * 1024)
bool ring_peek(Region *region, size_t slot, RecordKind *ret_kind, uint8_t *out, size_t *ret_n);
/** Forgets the record just looked at. */
void ring_skip(Region *region, size_t slot, size_t n);
/** Bytes that wait. */
size_t ring_fill(const Region *region, size_t slot);

/* metrics.c: the cache knows series of the slot before. */
void metrics_forget(void);
/** Adds the counters and histograms of one slot to another's. What finds no place counts as overflow. */
void metrics_fold(Slot *into, const Slot *from);
/** Changes whenever a series of one build would mean something else in another. */
uint64_t metrics_layout(void);

static inline uint64_t load_u64(const uint64_t *p) {
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}
/** One writer: load and store need no lock prefix; readers in other processes see whole numbers. */
static inline void add_u64(uint64_t *p, uint64_t by) {
    __atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + by, __ATOMIC_RELAXED);
}
