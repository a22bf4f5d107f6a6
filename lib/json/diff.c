/*
 * diff.c - what differs between two documents, said in lines that a person can act on.
 *
 * Compares structures, not texts: a moved member or another indent is no difference unless asked for. Numbers are
 * compared as written, or exactly by value; never through a rounded binary or decimal type, since 12.50 against 12.5 is
 * the very thing that must be seen here.
 */
#include "base/map.h"
#include "json/json.h"

enum { SHOWN_MAX = 160, INDEX_FROM = 32, ARENA_BYTES = 256 << 20 };

/** Where in the documents: a chain through the callers' stacks, so that no path is built unless it is printed. */
typedef struct Path {
    const struct Path *up;
    Str name; /* absent: index */
    size_t index;
} Path;

typedef struct Diff {
    const JsonDiffOptions *options;
    Arena *arena; /* for indexes; NULL until one is needed */
    size_t most, n;
    Buf *out;
} Diff;

/* --- saying it ---------------------------------------------------------------------------------------------------- */

static void add_path(Buf *out, const Path *path) {
    if (path == NULL)
        return;
    add_path(out, path->up);
    buf_add_char(out, '/');
    if (path->name.p == NULL) {
        buf_add_u64(out, path->index);
        return;
    }
    for (size_t i = 0; i < path->name.n; i++) { /* RFC 6901 §3 */
        char c = path->name.p[i];
        if (c == '~' || c == '/')
            buf_add(out, c == '~' ? STR("~0") : STR("~1"));
        else
            buf_add_char(out, c);
    }
}

static void add_value(Buf *out, const Json *value) {
    if (value == NULL)
        buf_add(out, STR("nothing"));
    else if (value->kind == JSON_OBJECT_START)
        buf_printf(out, "an object of %zu", value->count);
    else if (value->kind == JSON_ARRAY_START)
        buf_printf(out, "an array of %zu", value->count);
    else if (value->kind == JSON_STRING)
        json_escape(out, str_slice(value->text, 0, SHOWN_MAX), JSON_ESCAPE_RELAXED);
    else if (value->kind == JSON_NUMBER)
        buf_add(out, str_slice(value->text, 0, SHOWN_MAX));
    else
        buf_add(out, value->kind == JSON_TRUE ? STR("true") : value->kind == JSON_FALSE ? STR("false") : STR("null"));
    if (value != NULL && value->text.n > SHOWN_MAX)
        buf_printf(out, "… (%zu bytes)", value->text.n);
}

static void report(Diff *d, const Path *path, const Json *want, const Json *got) {
    if (d->n++ >= d->most)
        return;
    if (path == NULL)
        buf_add(d->out, STR("(whole)"));
    add_path(d->out, path);
    buf_add(d->out, STR(": want "));
    add_value(d->out, want);
    buf_add(d->out, STR(", got "));
    add_value(d->out, got);
    buf_add_char(d->out, '\n');
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

/** ±0.d1d2… × 10^exponent: the significant digits lie in text[first..end), a point among them is passed over. */
typedef struct Number {
    Str text;
    bool negative, simple; /* simple: exponent is small enough to be reckoned with */
    size_t first, end;     /* first == end: zero */
    int64_t exponent;
} Number;

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static int64_t exponent_of(Str text, size_t at, bool *ret_simple) {
    bool negative = text.p[at] == '-';
    if (negative || text.p[at] == '+')
        at++;
    uint64_t value = 0;
    *ret_simple = str_to_u64(str_slice(text, at, text.n), 1000000000, &value) == ERR_OK;
    return negative ? -(int64_t)value : (int64_t)value;
}

static Number number_of(Str text) {
    Number n = {.text = text, .simple = true};
    size_t at = 0, point = SIZE_MAX;
    n.negative = text.p[0] == '-';
    n.first = SIZE_MAX;
    for (at = n.negative; at < text.n && (text.p[at] | 0x20) != 'e'; at++) {
        if (text.p[at] == '.')
            point = at;
        else if (text.p[at] != '0') {
            n.first = MIN_OF(n.first, at);
            n.end = at + 1;
        }
    }
    size_t digits_end = MIN_OF(at, point);
    if (n.first == SIZE_MAX) { /* zero, whatever its sign and exponent */
        n.first = n.end = 0;
        n.negative = false;
        return n;
    }
    if (at < text.n)
        n.exponent = exponent_of(text, at + 1, &n.simple);
    n.exponent += n.first < digits_end ? (int64_t)(digits_end - n.first) : -(int64_t)(n.first - digits_end - 1);
    return n;
}

static bool same_number(Str a, Str b) {
    if (str_eq(a, b))
        return true;
    Number x = number_of(a), y = number_of(b);
    if (!x.simple || !y.simple || x.negative != y.negative || x.exponent != y.exponent)
        return false;
    size_t i = x.first, j = y.first;
    for (;;) {
        i += i < x.end && !is_digit(a.p[i]);
        j += j < y.end && !is_digit(b.p[j]);
        if (i >= x.end || j >= y.end)
            return i >= x.end && j >= y.end;
        if (a.p[i++] != b.p[j++])
            return false;
    }
}

/* --- finding the other side --------------------------------------------------------------------------------------- */

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
    if (d->arena == NULL && (d->arena = arena_new(ARENA_BYTES)) == NULL)
        return;
    f->map = map_new(d->arena, f->container->count);
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

/* --- walking ------------------------------------------------------------------------------------------------------ */

static void compare(Diff *d, const Path *path, const Json *want, const Json *got);

/** Objects' members, or keyed lists' elements. */
static void compare_keyed(Diff *d, const Path *path, const Json *want, const Json *got, Str list_key) {
    Finder in_got = {.container = got, .hint = got->first, .list_key = list_key};
    Finder in_want = {.container = want, .hint = want->first, .list_key = list_key};
    for (const Json *item = want->first; item != NULL && d->n < d->most; item = item->next) {
        Str key = key_of(item, list_key);
        Path here = {path, key.p == NULL ? STR("") : key, 0};
        const Json *other = find(d, &in_got, key);
        if (other == NULL)
            report(d, &here, item, NULL);
        else
            compare(d, &here, item, other);
    }
    for (const Json *item = got->first; item != NULL && d->n < d->most; item = item->next) {
        Str key = key_of(item, list_key);
        Path here = {path, key.p == NULL ? STR("") : key, 0};
        if (find(d, &in_want, key) == NULL)
            report(d, &here, NULL, item);
    }
}

static void compare_ordered(Diff *d, const Path *path, const Json *want, const Json *got, bool named) {
    const Json *w = want->first, *g = got->first;
    for (size_t i = 0; (w != NULL || g != NULL) && d->n < d->most; i++) {
        Path here = {path, named ? (w != NULL ? w->name : g->name) : (Str){0}, i};
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

static bool all_keyed(const Json *array, Str list_key) {
    for (const Json *item = array->first; item != NULL; item = item->next) {
        if (key_of(item, list_key).p == NULL)
            return false;
    }
    return true;
}

static void compare(Diff *d, const Path *path, const Json *want, const Json *got) {
    Str list_key = d->options->list_key;
    if (want->kind != got->kind) {
        report(d, path, want, got);
    } else if (want->kind == JSON_OBJECT_START) {
        if (d->options->object_order)
            compare_ordered(d, path, want, got, true);
        else
            compare_keyed(d, path, want, got, (Str){0});
    } else if (want->kind == JSON_ARRAY_START) {
        if (list_key.p != NULL && want->count > 0 && all_keyed(want, list_key) && all_keyed(got, list_key))
            compare_keyed(d, path, want, got, list_key);
        else
            compare_ordered(d, path, want, got, false);
    } else if (want->kind == JSON_NUMBER && d->options->numbers_by_value) {
        if (!same_number(want->text, got->text))
            report(d, path, want, got);
    } else if (!str_eq(want->text, got->text)) {
        report(d, path, want, got);
    }
}

size_t json_diff(const Json *want, const Json *got, const JsonDiffOptions *options, size_t most, Buf *out) {
    Diff d = {.options = options, .most = most, .out = out};
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
