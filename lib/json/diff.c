/*
 * diff.c - what differs between two documents.
 *
 * Compares structures, not texts: a moved member or another indent is no difference unless asked for. Numbers are
 * compared as written, or exactly by value; never through a rounded binary or decimal type, since 12.50 against 12.5 is
 * the very thing that must be seen here. Whoever asks sees each difference with its place (diff_text.c writes lines).
 *
 * Whatever a list is compared as, none of its elements is forgotten: where a key is missing or stands twice on a side,
 * elements are compared in order.
 */
#include "base/map.h"
#include "json/json.h"

enum { INDEX_FROM = 32, ARENA_BYTES = 256 << 20, UNKEYED_MAX = 512 };

typedef struct Diff {
    const JsonDiffOptions *options;
    Arena *arena; /* for indexes; NULL until one is needed */
    size_t most, n;
    JsonDiffVisit visit; /* NULL: only counted, and nothing is asked or learnt */
    void *data;
} Diff;

static void report(Diff *d, const JsonPath *path, const Json *want, const Json *got) {
    if (d->n++ < d->most && d->visit != NULL)
        d->visit(d->data, path, want, got);
}

/* --- finding the other side --------------------------------------------------------------------------------------- */

/** An index of the list, NULL where there is no memory for one. */
static Map *map_of(Diff *d, const Json *array) {
    if (d->arena == NULL)
        d->arena = arena_new(ARENA_BYTES);
    return d->arena == NULL ? NULL : map_new(d->arena, array->count);
}

/** Items of a container by key: mostly they come in the same order on both sides, so the next one is looked at
 *  first. */
typedef struct Finder {
    const Json *container, *hint;
    Str list_key; /* of array elements; absent: members by name */
    Map *map;
    bool mapped;
} Finder;

static Str text_or_number(const Json *value) {
    return value != NULL && (value->kind == JSON_STRING || value->kind == JSON_NUMBER) ? value->text : (Str){0};
}

static Str key_of(const Json *item, Str list_key) {
    if (list_key.p == NULL)
        return item->name;
    if (item->kind != JSON_OBJECT_START)
        return (Str){0};
    const Json *member = item->first;
    while (member != NULL && !str_eq(member->name, list_key))
        member = member->next;
    return text_or_number(member);
}

static void build_map(Diff *d, Finder *f) {
    f->mapped = true;
    if (f->container->count < INDEX_FROM)
        return;
    f->map = map_of(d, f->container);
    for (Json *item = f->container->first; item != NULL && f->map != NULL; item = item->next) {
        Str key = key_of(item, f->list_key);
        if (map_get(f->map, key) == NULL && map_put(f->map, key, item, NULL) != ERR_OK)
            f->map = NULL; /* no memory: searched one by one instead */
    }
}

static const Json *find(Diff *d, Finder *f, Str key) {
    const Json *item = f->hint;
    if (item == NULL || !str_eq(key_of(item, f->list_key), key)) {
        if (!f->mapped)
            build_map(d, f);
        if (f->map != NULL) {
            item = map_get(f->map, key);
        } else {
            item = f->container->first;
            while (item != NULL && !str_eq(key_of(item, f->list_key), key))
                item = item->next;
        }
    }
    if (item != NULL)
        f->hint = item->next;
    return item;
}

/* --- which rule a list goes by ------------------------------------------------------------------------------------ */

static Str last_segment(Str *pattern) {
    size_t at = pattern->n;
    while (at > 0 && pattern->p[at - 1] != '/')
        at--;
    Str segment = str_slice(*pattern, at, pattern->n);
    *pattern = str_slice(*pattern, 0, at == 0 ? 0 : at - 1);
    return segment;
}

bool json_path_matches(const JsonPath *path, Str pattern) {
    for (; path != NULL && pattern.n > 0; path = path->up) {
        Str segment = last_segment(&pattern);
        if (!str_eq_c(segment, "*") && (path->element || !str_eq(segment, path->name)))
            return false;
    }
    return path == NULL && pattern.n == 0;
}

/** The key of the list at path: absent: in order; empty: a set of whole values. */
static Str list_key_at(const Diff *d, const JsonPath *path) {
    for (const JsonListRule *rule = d->options->lists; rule != NULL && rule->pattern.p != NULL; rule++)
        if (json_path_matches(path, rule->pattern))
            return rule->key;
    return d->options->list_key;
}

static bool stands_before(const Json *array, const Json *item, Str key, Str list_key) {
    for (const Json *earlier = array->first; earlier != item; earlier = earlier->next)
        if (str_eq(key_of(earlier, list_key), key))
            return true;
    return false;
}

/** Every element has a key, and no two the same. */
static bool is_keyed(Diff *d, const Json *array, Str list_key) {
    Map *seen = array->count < INDEX_FROM ? NULL : map_of(d, array);
    for (Json *item = array->first; item != NULL; item = item->next) {
        Str key = key_of(item, list_key);
        if (key.p == NULL)
            return false;
        if (seen == NULL ? stands_before(array, item, key, list_key) : map_get(seen, key) != NULL)
            return false;
        if (seen != NULL && map_put(seen, key, item, NULL) != ERR_OK)
            seen = NULL; /* no memory: searched one by one instead */
    }
    return true;
}

/* --- walking ------------------------------------------------------------------------------------------------------ */

static void compare(Diff *d, const JsonPath *path, const Json *want, const Json *got);

/** Objects' members, or keyed lists' elements. */
static void compare_keyed(Diff *d, const JsonPath *path, const Json *want, const Json *got, Str list_key) {
    Finder in_got = {.container = got, .hint = got->first, .list_key = list_key};
    Finder in_want = {.container = want, .hint = want->first, .list_key = list_key};
    size_t before = d->n;
    for (const Json *item = want->first; item != NULL && d->n < d->most; item = item->next) {
        Str key = key_of(item, list_key);
        JsonPath here = {path, key.p == NULL ? STR("") : key, 0, list_key.p != NULL};
        const Json *other = find(d, &in_got, key);
        if (other == NULL)
            report(d, &here, item, NULL);
        else
            compare(d, &here, item, other);
    }
    for (const Json *item = got->first; item != NULL && d->n < d->most; item = item->next) {
        Str key = key_of(item, list_key);
        JsonPath here = {path, key.p == NULL ? STR("") : key, 0, list_key.p != NULL};
        if (find(d, &in_want, key) == NULL)
            report(d, &here, NULL, item);
    }
    if (d->n == before && want->count != got->count) /* a name that stands twice on one side */
        report(d, path, want, got);
}

static void compare_ordered(Diff *d, const JsonPath *path, const Json *want, const Json *got, bool named) {
    const Json *w = want->first, *g = got->first;
    for (size_t i = 0; (w != NULL || g != NULL) && d->n < d->most; i++) {
        JsonPath here = {path, named ? (w != NULL ? w->name : g->name) : (Str){0}, i, !named};
        if (w == NULL || g == NULL || (named && !str_eq(w->name, g->name))) {
            if (w != NULL)
                report(d, &here, w, NULL);
            here.name = named && g != NULL ? g->name : here.name;
            if (g != NULL)
                report(d, &here, NULL, g);
        } else {
            compare(d, &here, w, g);
        }
        w = w == NULL ? NULL : w->next;
        g = g == NULL ? NULL : g->next;
    }
}

/** Elements that are found on the other side in whatever place, each once; what is left over is told in pairs, in the
 *  order in which it stands. */
static void compare_unkeyed(Diff *d, const JsonPath *path, const Json *want, const Json *got) {
    bool w_used[UNKEYED_MAX] = {false}, g_used[UNKEYED_MAX] = {false};
    size_t i = 0;
    for (const Json *w = want->first; w != NULL; w = w->next, i++) {
        size_t j = 0;
        for (const Json *g = got->first; g != NULL && !w_used[i]; g = g->next, j++) {
            Diff quiet = {.options = d->options, .most = 1};
            if (!g_used[j])
                compare(&quiet, path, w, g);
            if (quiet.arena != NULL)
                arena_free(quiet.arena);
            if (!g_used[j] && quiet.n == 0)
                w_used[i] = g_used[j] = true;
        }
    }
    const Json *w = want->first, *g = got->first;
    for (size_t at_w = 0, at_g = 0; d->n < d->most; at_w++, at_g++) {
        for (; w != NULL && w_used[at_w]; at_w++)
            w = w->next;
        for (; g != NULL && g_used[at_g]; at_g++)
            g = g->next;
        if (w == NULL && g == NULL)
            return;
        JsonPath here = {path, (Str){0}, w != NULL ? at_w : at_g, true};
        if (w == NULL || g == NULL)
            report(d, &here, w, g);
        else
            compare(d, &here, w, g);
        w = w == NULL ? NULL : w->next;
        g = g == NULL ? NULL : g->next;
    }
}

static void compare_lists(Diff *d, const JsonPath *path, const Json *want, const Json *got) {
    Str list_key = list_key_at(d, path);
    if (list_key.n > 0 && want->count > 0 && is_keyed(d, want, list_key) && is_keyed(d, got, list_key))
        compare_keyed(d, path, want, got, list_key);
    else if (list_key.p != NULL && list_key.n == 0 && want->count <= UNKEYED_MAX && got->count <= UNKEYED_MAX)
        compare_unkeyed(d, path, want, got);
    else
        compare_ordered(d, path, want, got, false);
}

static bool same_string(const Diff *d, const JsonPath *path, const Json *want, const Json *got) {
    if (d->options->same_string == NULL || d->visit == NULL)
        return str_eq(want->text, got->text);
    return d->options->same_string(d->data, path, want, got);
}

static void compare(Diff *d, const JsonPath *path, const Json *want, const Json *got) {
    if (want->kind != got->kind) {
        report(d, path, want, got);
    } else if (want->kind == JSON_OBJECT_START) {
        if (d->options->object_order)
            compare_ordered(d, path, want, got, true);
        else
            compare_keyed(d, path, want, got, (Str){0});
    } else if (want->kind == JSON_ARRAY_START) {
        compare_lists(d, path, want, got);
    } else if (want->kind == JSON_NUMBER && d->options->numbers_by_value) {
        if (!json_number_same(want->text, got->text))
            report(d, path, want, got);
    } else if (want->kind == JSON_STRING) {
        if (!same_string(d, path, want, got))
            report(d, path, want, got);
    } else if (!str_eq(want->text, got->text)) {
        report(d, path, want, got);
    }
}

size_t json_diff_each(const Json *want, const Json *got, const JsonDiffOptions *options, size_t most,
                      JsonDiffVisit visit, void *data) {
    Diff d = {.options = options, .most = most, .visit = visit, .data = data};
    if (want == NULL || got == NULL) {
        if (want != got)
            report(&d, NULL, want, got);
    } else {
        compare(&d, NULL, want, got);
    }
    if (d.arena != NULL)
        arena_free(d.arena);
    return MIN_OF(d.n, most);
}
