/*
 * metrics.c - finding a series, adding to it, and adding up all workers.
 *
 * A label set becomes a text once; afterwards the addresses of its parts find the series in a cache, so that recording
 * compares a few words and hashes no text. The table per worker is bounded: what comes when it is full is counted under
 * otel.metric.overflow, as OpenTelemetry's SDKs do, because a route's totals must stay right when its labels cannot.
 */
#include "telemetry/metrics.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/map.h"
#include "telemetry/state.h"

#define METRIC_ROW(id, name_, kind_, unit_, bounds_, doc_)                                                             \
    [id] = {.name = (name_), .unit = (unit_), .doc = (doc_), .kind = (kind_), .bounds = (bounds_)},
const Metric METRIC_TABLE[METRIC_COUNT] = {METRICS(METRIC_ROW)};

#define MS 1000000LL
static const int64_t HTTP_BOUNDS[] = {5 * MS,   10 * MS,  25 * MS,   50 * MS,   75 * MS,   100 * MS,  250 * MS,
                                      500 * MS, 750 * MS, 1000 * MS, 2500 * MS, 5000 * MS, 7500 * MS, 10000 * MS};
static const int64_t DB_BOUNDS[] = {1 * MS,   5 * MS,    10 * MS,   50 * MS,   100 * MS,
                                    500 * MS, 1000 * MS, 5000 * MS, 10000 * MS};
static const int64_t MESSAGING_BOUNDS[] = {5 * MS,   10 * MS,  25 * MS,   50 * MS,   75 * MS,   100 * MS,  250 * MS,
                                           500 * MS, 750 * MS, 1000 * MS, 2500 * MS, 5000 * MS, 7500 * MS, 10000 * MS};
static const int64_t SIZE_BOUNDS[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
_Static_assert(ARRAY_LEN(HTTP_BOUNDS) < BUCKETS_MAX, "raise BUCKETS_MAX");

const int64_t *metric_bounds(MetricBounds which, size_t *ret_n) {
    static const struct {
        const int64_t *bounds;
        size_t n;
    } all[] = {
        [BOUNDS_NONE] = {NULL, 0},
        [BOUNDS_HTTP] = {HTTP_BOUNDS, ARRAY_LEN(HTTP_BOUNDS)},
        [BOUNDS_DB] = {DB_BOUNDS, ARRAY_LEN(DB_BOUNDS)},
        [BOUNDS_MESSAGING] = {MESSAGING_BOUNDS, ARRAY_LEN(MESSAGING_BOUNDS)},
        [BOUNDS_SIZE] = {SIZE_BOUNDS, ARRAY_LEN(SIZE_BOUNDS)},
    };
    *ret_n = all[which].n;
    return all[which].bounds;
}

/* --- finding a series --------------------------------------------------------------------------------------------- */

typedef struct CacheLine {
    Series *series; /* NULL: free */
    MetricId id;
    size_t n;
    Label labels[LABELS_MAX];
} CacheLine;

enum { CACHE_LINES = 512 };
static CacheLine cache[CACHE_LINES];
static uint32_t generation;

void metrics_forget(void) {
    memset(cache, 0, sizeof cache);
    generation++;
}

uint32_t metrics_generation(void) {
    return generation;
}

static size_t cache_place(MetricId id, const Label *labels, size_t n) {
    uint64_t hash = (uint64_t)id + 1;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uintptr_t)labels[i].name ^ (uintptr_t)labels[i].text << 1 ^ (uint64_t)labels[i].number << 7) *
               0x9E3779B97F4A7C15u;
    return (size_t)(hash >> 40) % CACHE_LINES;
}

static bool same_labels(const CacheLine *line, MetricId id, const Label *labels, size_t n) {
    if (line->series == NULL || line->id != id || line->n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (line->labels[i].name != labels[i].name || line->labels[i].text != labels[i].text ||
            line->labels[i].number != labels[i].number)
            return false;
    return true;
}

/* The labels as text; a set that is too long is treated as an overflow: 0. */
static size_t labels_text(const Label *labels, size_t n, char out[SERIES_LABELS_MAX]) {
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        char digits[24];
        if (labels[i].name == NULL)
            continue;
        const char *text = labels[i].text;
        if (text == NULL) {
            (void)snprintf(digits, sizeof digits, "%lld", (long long)labels[i].number);
            text = digits;
        }
        size_t room = SERIES_LABELS_MAX - at;
        int length = snprintf(out + at, room, "%s%s%c%s", at == 0 ? "" : "\x1f", labels[i].name,
                              labels[i].text == NULL ? '#' : '=', text);
        if (length < 0 || (size_t)length >= room)
            return 0;
        at += (size_t)length;
    }
    return at;
}

static Series *series_find(Slot *slot, MetricId id, const char *labels, size_t n) {
    for (size_t i = 0; i < slot->series_n; i++) {
        Series *series = &slot->series[i];
        if (series->metric == id && series->labels_n == n && memcmp(series->labels, labels, n) == 0)
            return series;
    }
    return NULL;
}

static Series *series_make(Slot *slot, MetricId id, const char *labels, size_t n) {
    Series *series = &slot->series[slot->series_n];
    series->metric = (uint16_t)id;
    series->labels_n = (uint16_t)n;
    memcpy(series->labels, labels, n);
    __atomic_store_n(&series->ready, 1, __ATOMIC_RELEASE);
    __atomic_store_n(&slot->series_n, slot->series_n + 1, __ATOMIC_RELEASE);
    return series;
}

static Series *series_overflow(Slot *slot, MetricId id) {
    static const char overflow[] = "otel.metric.overflow=true";
    Series *series = series_find(slot, id, overflow, sizeof overflow - 1);
    return series != NULL ? series : series_make(slot, id, overflow, sizeof overflow - 1);
}

/* The last places are kept for the overflow series of each metric. */
static Series *series_placed(Slot *slot, MetricId id, const char *labels, size_t n) {
    Series *series = series_find(slot, id, labels, n);
    if (series != NULL)
        return series;
    bool room = slot->series_n < SLOT_SERIES_MAX - METRIC_COUNT;
    return room ? series_make(slot, id, labels, n) : series_overflow(slot, id);
}

static Series *series_named(Slot *slot, MetricId id, const Label *labels, size_t n) {
    char text[SERIES_LABELS_MAX];
    size_t length = labels_text(labels, n, text);
    bool too_long = length == 0 && n > 0 && labels[0].name != NULL;
    return too_long ? series_overflow(slot, id) : series_placed(slot, id, text, length);
}

static Series *series_of(MetricId id, const Label *labels, size_t n) {
    ASSERT(n <= LABELS_MAX);
    CacheLine *line = &cache[cache_place(id, labels, n)];
    if (same_labels(line, id, labels, n))
        return line->series;
    line->series = series_named(telemetry.slot, id, labels, n);
    line->id = id;
    line->n = n;
    for (size_t i = 0; i < n; i++)
        line->labels[i] = labels[i];
    return line->series;
}

static bool idle(void) {
    return telemetry.slot == NULL || !telemetry.recording;
}

void metric_add(MetricId id, int64_t by, const Label *labels, size_t n) {
    if (!idle())
        add_u64(&series_of(id, labels, n)->value, (uint64_t)by);
}

void series_add(Series *series, int64_t by) {
    add_u64(&series->value, (uint64_t)by);
}

void metric_set(MetricId id, int64_t value, const Label *labels, size_t n) {
    if (!idle())
        __atomic_store_n(&series_of(id, labels, n)->value, (uint64_t)value, __ATOMIC_RELAXED);
}

Series *metric_series(MetricId id, const Label *labels, size_t n) {
    return idle() ? NULL : series_of(id, labels, n);
}

void metric_record(MetricId id, int64_t value, const Label *labels, size_t n) {
    if (!idle())
        series_record(series_of(id, labels, n), value);
}

void series_record(Series *series, int64_t value) {
    MetricId id = series->metric;
    size_t n_bounds, at = 0;
    const int64_t *bounds = metric_bounds(METRIC_TABLE[id].bounds, &n_bounds);
    value = MAX_OF(value, 0);
    while (at < n_bounds && value > bounds[at]) /* a bucket holds what is at most its bound */
        at++;
    add_u64(&series->buckets[at], 1);
    add_u64(&series->sum, (uint64_t)value);
    add_u64(&series->value, 1);
}

/* --- adding up ---------------------------------------------------------------------------------------------------- */

static void point_add(MetricPoint *point, const Series *series) {
    int64_t value = (int64_t)load_u64(&series->value);
    if (METRIC_TABLE[point->id].kind == METRIC_GAUGE_MAX)
        point->value = MAX_OF(point->value, value);
    else
        point->value += value;
    point->sum += (int64_t)load_u64(&series->sum);
    for (size_t i = 0; i < BUCKETS_MAX; i++)
        point->buckets[i] += load_u64(&series->buckets[i]);
    if (METRIC_TABLE[point->id].kind == METRIC_HISTOGRAM) {
        /* Read while the worker writes: the count is what the buckets say. */
        point->value = 0;
        for (size_t i = 0; i < BUCKETS_MAX; i++)
            point->value += (int64_t)point->buckets[i];
    }
}

static int compare_points(const void *a, const void *b) {
    const MetricPoint *x = a, *y = b;
    return x->id != y->id ? (int)x->id - (int)y->id : str_compare(x->labels, y->labels);
}

/* Ours, then those of the generations before. */
static const Region *region_at(size_t i) {
    return i == 0 ? telemetry.region : telemetry.formers[i - 1];
}

/* What a predecessor's gauges say is no longer about this service. */
static bool is_counted(const Region *region, const Series *series) {
    MetricKind kind = METRIC_TABLE[series->metric].kind;
    return region == telemetry.region || kind == METRIC_COUNTER || kind == METRIC_HISTOGRAM;
}

/* What no worker counts: it stands in the region itself. */
static size_t region_points(MetricPoint *points) {
    uint64_t exported = 0, dropped = 0, failed = 0;
    for (size_t r = 0; r <= telemetry.n_formers; r++) {
        const Region *region = region_at(r);
        exported += load_u64(&region->exported_spans);
        failed += load_u64(&region->failed_batches);
        dropped += load_u64(&region->refused_spans) + load_u64(&region->refused_logs);
        for (size_t i = 0; i < region->n_slots; i++)
            dropped += load_u64(&region->slots[i].ring.dropped);
    }
    points[0] = (MetricPoint){.id = METRIC_SPANS_EXPORTED, .value = (int64_t)exported};
    points[1] = (MetricPoint){.id = METRIC_SPANS_DROPPED, .value = (int64_t)dropped};
    points[2] = (MetricPoint){.id = METRIC_EXPORT_FAILURES, .value = (int64_t)failed};
    return 3;
}

typedef struct Collection {
    MetricPoint *points;
    size_t n, most;
    Map *known;
} Collection;

static Err collect_series(Collection *all, const Series *series) {
    /* The key is the metric's number and the labels, which lie one behind the other. */
    Str key = {(const char *)&series->metric, offsetof(Series, labels) - offsetof(Series, metric)};
    key.n += series->labels_n;
    MetricPoint *point = map_get(all->known, key);
    if (point == NULL) {
        point = &all->points[all->n++];
        *point = (MetricPoint){.id = series->metric, .labels = {series->labels, series->labels_n}};
        TRY(map_put(all->known, key, point, NULL));
    }
    point_add(point, series);
    return ERR_OK;
}

static Err collect_region(Collection *all, const Region *region) {
    for (size_t i = 0; i < region->n_slots; i++) {
        const Slot *slot = &region->slots[i];
        size_t n_series = __atomic_load_n(&slot->series_n, __ATOMIC_ACQUIRE);
        for (size_t j = 0; j < n_series && all->n < all->most; j++)
            if (is_counted(region, &slot->series[j]))
                TRY(collect_series(all, &slot->series[j]));
    }
    return ERR_OK;
}

Err metrics_collect(Arena *arena, MetricPoint **ret, size_t *ret_n) {
    *ret = NULL;
    *ret_n = 0;
    if (telemetry.region == NULL || !telemetry.recording)
        return ERR_OK;
    Collection all = {.most = 3};
    for (size_t r = 0; r <= telemetry.n_formers; r++)
        for (size_t i = 0; i < region_at(r)->n_slots; i++)
            all.most += __atomic_load_n(&region_at(r)->slots[i].series_n, __ATOMIC_ACQUIRE);
    all.points = ARENA_ARRAY(arena, MetricPoint, all.most);
    all.known = map_new(arena, all.most);
    if (all.points == NULL || all.known == NULL)
        return ERR_NO_MEMORY;
    all.n = region_points(all.points);
    for (size_t r = 0; r <= telemetry.n_formers; r++)
        TRY(collect_region(&all, region_at(r)));
    qsort(all.points, all.n, sizeof *all.points, compare_points);
    *ret = all.points;
    *ret_n = all.n;
    return ERR_OK;
}

/* --- of another generation ---------------------------------------------------------------------------------------- */

void metrics_fold(Slot *into, const Slot *from) {
    size_t n = MIN_OF(__atomic_load_n(&from->series_n, __ATOMIC_ACQUIRE), (uint32_t)SLOT_SERIES_MAX);
    for (size_t i = 0; i < n; i++) {
        const Series *old = &from->series[i];
        MetricKind kind = METRIC_TABLE[old->metric].kind;
        if (kind != METRIC_COUNTER && kind != METRIC_HISTOGRAM)
            continue;
        Series *series = series_placed(into, old->metric, old->labels, old->labels_n);
        add_u64(&series->value, load_u64(&old->value));
        add_u64(&series->sum, load_u64(&old->sum));
        for (size_t b = 0; b < BUCKETS_MAX; b++)
            add_u64(&series->buckets[b], load_u64(&old->buckets[b]));
    }
}

static uint64_t mix(uint64_t hash, const void *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ ((const uint8_t *)bytes)[i]) * 1099511628211ULL; /* FNV-1a */
    return hash;
}

uint64_t metrics_layout(void) {
    uint64_t hash = 14695981039346656037ULL;
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const Metric *metric = &METRIC_TABLE[i];
        size_t n;
        const int64_t *bounds = metric_bounds(metric->bounds, &n);
        hash = mix(hash, metric->name, strlen(metric->name) + 1);
        hash = mix(hash, metric->unit, strlen(metric->unit) + 1);
        hash = mix(hash, &metric->kind, sizeof metric->kind);
        hash = mix(hash, bounds, n * sizeof *bounds);
    }
    return hash;
}

bool metric_label_next(Str *rest, Str *name, Str *value, bool *is_number) {
    if (rest->p == NULL || rest->n == 0)
        return false;
    Str pair = str_cut(rest, METRIC_LABEL_END);
    size_t end = 0;
    while (end < pair.n && pair.p[end] != '=' && pair.p[end] != '#')
        end++;
    *name = str_slice(pair, 0, end);
    *value = str_slice(pair, end + 1, pair.n);
    *is_number = end < pair.n && pair.p[end] == '#';
    return true;
}
