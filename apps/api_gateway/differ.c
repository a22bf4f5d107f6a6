/*
 * differ.c - two answers side by side.
 *
 * A difference is found (here, or by lib/json's walk), then judged: noise when the old side differs from itself in the
 * same way at the same place; expected when a rule names it; else real. Noise is asked for by place and kind, so that a
 * field which changes by itself may still not change its type or vanish.
 */
#include "api_gateway/differ.h"

#include "api_gateway/redact.h"

enum { VALUE_MAX = 256, POINTER_MAX = 512, HEADERS_TEXT_MAX = 16384 };

static const Str COMPARED_HEADERS[] = {
    STR_INIT("content-type"),
    STR_INIT("content-encoding"),
    STR_INIT("content-language"),
    STR_INIT("content-disposition"),
    STR_INIT("location"),
    STR_INIT("allow"),
    STR_INIT("cache-control"),
    STR_INIT("expires"),
    STR_INIT("pragma"),
    STR_INIT("etag"),
    STR_INIT("vary"),
    STR_INIT("retry-after"),
    STR_INIT("www-authenticate"),
    STR_INIT("access-control-allow-origin"),
    STR_INIT("access-control-allow-methods"),
    STR_INIT("access-control-allow-headers"),
    STR_INIT("access-control-allow-credentials"),
    STR_INIT("access-control-expose-headers"),
};

static const char *const KIND_NAMES[] = {
#define DIFFERENCE_NAME(code, name) name,
    DIFFERENCE_KINDS(DIFFERENCE_NAME)
#undef DIFFERENCE_NAME
};

const char *difference_kind_name(DifferenceKind kind) {
    return KIND_NAMES[kind];
}

/* One walk over two answers. */
typedef struct Walk {
    Differ *differ;
    Arena *arena;
    const RouteRule *rule;
    bool quiet; /* the old side with itself: nothing is learnt */
    Str prefix; /* of each place; absent: none */
    Difference *first, **last;
    size_t n;
    Err err;
} Walk;

/* --- telling ------------------------------------------------------------------------------------------------------ */

static Str text_of_path(Walk *walk, const JsonPath *path, bool any_element) {
    Buf out = buf_new(walk->arena, POINTER_MAX);
    buf_add(&out, walk->prefix);
    json_path_write(&out, path, any_element);
    out.err = out.err == ERR_LIMIT ? ERR_OK : out.err; /* cut: a place that deep is told as far as it fits */
    Str text;
    if (buf_finish(&out, &text) != ERR_OK)
        walk->err = ERR_NO_MEMORY;
    return text;
}

static Str text_of_value(Walk *walk, const JsonPath *path, const Json *value) {
    Buf out = buf_new(walk->arena, VALUE_MAX * 4);
    bool secret = false;
    for (const JsonPath *at = path; at != NULL; at = at->up)
        secret = secret || (!at->element && at->name.p != NULL && redact_is_secret(at->name));
    if (value != NULL && secret && value->kind != JSON_NULL)
        redact_mark(&out, value->text.n);
    else
        json_value_write(&out, value);
    Str text = {NULL, 0};
    if (buf_finish(&out, &text) != ERR_OK)
        walk->err = ERR_NO_MEMORY;
    return text;
}

static void tell(Walk *walk, DifferenceKind kind, Str pointer, Str place, Str old_value, Str new_value) {
    Difference *difference = walk->n >= DIFFERENCES_MAX ? NULL : ARENA_NEW(walk->arena, Difference);
    if (walk->n >= DIFFERENCES_MAX)
        return;
    if (difference == NULL) {
        walk->err = ERR_NO_MEMORY;
        return;
    }
    *difference =
        (Difference){.kind = kind, .pointer = pointer, .place = place, .old_value = old_value, .new_value = new_value};
    *walk->last = difference;
    walk->last = &difference->next;
    walk->n++;
}

static Str printed(Walk *walk, Str value) {
    Str text = value.p == NULL ? STR("(none)") : arena_str(walk->arena, str_slice(value, 0, VALUE_MAX));
    if (text.p == NULL)
        walk->err = ERR_NO_MEMORY;
    return text;
}

/* --- strings that are more than their bytes ----------------------------------------------------------------------- */

static bool is_id(Str text, Id *ret) {
    return text.n == ID_TEXT_LEN && id_parse(text, ID_FORM_D, ret) == ERR_OK;
}

static bool learns(const Differ *differ, Str kind) {
    for (const char *const *wanted = differ->learn; wanted != NULL && *wanted != NULL; wanted++)
        if (str_eq_c(kind, *wanted))
            return true;
    return false;
}

/** "EventId" and "eventId" are of an event; a plain "Id" is of what the route is about; others of their own name. */
static Str kind_of_member(Str name, const RouteRule *rule, char out[64]) {
    if (name.n == 0 || str_eq_nocase(name, STR("id")))
        return rule->id_kind == NULL ? STR("id") : str_c(rule->id_kind);
    size_t n = str_ends_with(name, STR("Id")) ? name.n - 2 : name.n;
    n = MIN_OF(n, (size_t)64);
    for (size_t i = 0; i < n; i++)
        out[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] - 'A' + 'a') : name.p[i];
    return (Str){out, n};
}

/** True when the pair is the same thing. Ids that are equal are remembered too: neither may stand for a third. */
static bool same_ids(Walk *walk, Str member, Id old_id, Id new_id) {
    char buffer[64];
    const IdPair *made = walk->differ->made;
    if (walk->quiet)
        return id_eq(old_id, new_id);
    if (made != NULL && (id_eq(made->old_id, old_id) || id_eq(made->new_id, new_id)))
        return id_eq(made->old_id, old_id) && id_eq(made->new_id, new_id);
    Str kind = kind_of_member(member, walk->rule, buffer);
    bool learn = !walk->differ->tries && learns(walk->differ, kind);
    IdVerdict verdict = id_pairs_judge(walk->differ->ids, kind, old_id, new_id, learn);
    if (verdict == ID_NO_MEMORY)
        walk->err = ERR_NO_MEMORY;
    return verdict == ID_KNOWN || verdict == ID_LEARNT || (verdict == ID_UNKNOWN && id_eq(old_id, new_id));
}

/** A point in time in full: date, time, and an offset; no more digits than an Instant keeps. */
static bool is_instant(Str text, Instant *ret) {
    if (text.n < 20 || text.n > INSTANT_TEXT_MAX || text.p[10] != 'T' || instant_parse(text, ret) != ERR_OK)
        return false;
    size_t digits = 0;
    ptrdiff_t point = str_index(text, '.');
    for (size_t i = point < 0 ? text.n : (size_t)point + 1; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++)
        digits++;
    Str zone = str_slice(text, 19, text.n);
    return digits <= 7 && (str_ends_with(text, STR("Z")) || str_index(zone, '+') >= 0 || str_index(zone, '-') >= 0);
}

static Str member_name(const JsonPath *path) {
    while (path != NULL && path->element)
        path = path->up;
    return path == NULL ? (Str){0} : path->name;
}

static bool same_string(void *data, const JsonPath *path, const Json *want, const Json *got) {
    Walk *walk = data;
    Id old_id, new_id;
    Instant old_instant, new_instant;
    if (is_id(want->text, &old_id) && is_id(got->text, &new_id)) {
        if (id_eq(old_id, new_id) && !str_eq(want->text, got->text))
            return false; /* another spelling */
        return same_ids(walk, member_name(path), old_id, new_id);
    }
    if (str_eq(want->text, got->text))
        return true;
    return is_instant(want->text, &old_instant) && is_instant(got->text, &new_instant) &&
           old_instant.ticks == new_instant.ticks;
}

/* --- bodies ------------------------------------------------------------------------------------------------------- */

static DifferenceKind kind_of(const Json *want, const Json *got) {
    Id id;
    if (got == NULL)
        return DIFFERS_MISSING;
    if (want == NULL)
        return DIFFERS_EXTRA;
    bool truths =
        (want->kind == JSON_TRUE || want->kind == JSON_FALSE) && (got->kind == JSON_TRUE || got->kind == JSON_FALSE);
    if (want->kind != got->kind && !truths)
        return DIFFERS_TYPE;
    if (want->kind == JSON_STRING && is_id(want->text, &id) && is_id(got->text, &id))
        return DIFFERS_ID;
    return DIFFERS_VALUE;
}

static void on_difference(void *data, const JsonPath *path, const Json *want, const Json *got) {
    Walk *walk = data;
    tell(walk, kind_of(want, got), text_of_path(walk, path, true), text_of_path(walk, path, false),
         text_of_value(walk, path, want), text_of_value(walk, path, got));
}

static void compare_bytes(Walk *walk, Str old_body, Str new_body) {
    size_t at = 0;
    if (str_eq(old_body, new_body))
        return;
    while (at < old_body.n && at < new_body.n && old_body.p[at] == new_body.p[at])
        at++;
    /* Not the bytes themselves: what is no JSON cannot be redacted by name. */
    tell(walk, DIFFERS_BYTES, STR(""), arena_printf(walk->arena, "byte %zu", at),
         arena_printf(walk->arena, "%zu bytes", old_body.n), arena_printf(walk->arena, "%zu bytes", new_body.n));
}

static void compare_bodies(Walk *walk, Str old_body, Str new_body) {
    Json *want = NULL, *got = NULL;
    JsonDiffOptions options = {.numbers_by_value = true, .lists = walk->rule->lists, .same_string = same_string};
    Err old_err = json_parse(old_body, walk->arena, JSON_DUPLICATES_KEEP, &want, NULL);
    /* Mostly they are the same bytes; walked all the same, for the ids in them. */
    bool same = str_eq(old_body, new_body);
    Err new_err = same ? old_err : json_parse(new_body, walk->arena, JSON_DUPLICATES_KEEP, &got, NULL);
    if (same)
        got = want;
    if (old_err == ERR_NO_MEMORY || new_err == ERR_NO_MEMORY)
        walk->err = ERR_NO_MEMORY;
    else if (old_err == ERR_OK && new_err == ERR_OK)
        (void)json_diff_each(want, got, &options, DIFFERENCES_MAX, on_difference, walk);
    else
        compare_bytes(walk, old_body, new_body);
}

/* --- status and headers ------------------------------------------------------------------------------------------- */

/** All fields of that name, as RFC 9110 §5.3 joins them; absent: there is none. */
static Str header_values(Walk *walk, const Answer *answer, Str name) {
    Buf out = buf_new(walk->arena, HEADERS_TEXT_MAX);
    Str found = {NULL, 0};
    for (size_t i = 0; i < answer->header_count; i++) {
        if (answer->headers[i].name.n != name.n || !str_eq_nocase(answer->headers[i].name, name))
            continue;
        if (out.n > 0)
            buf_add_c(&out, ", ");
        buf_add(&out, answer->headers[i].value);
        found = STR("");
    }
    if (found.p != NULL && buf_finish(&out, &found) != ERR_OK)
        walk->err = ERR_NO_MEMORY;
    return found;
}

/** Addresses that are the same but for ids that stand for each other. */
static bool same_location(Walk *walk, Str old_value, Str new_value) {
    while (old_value.p != NULL && new_value.p != NULL) {
        Str old_part = str_cut(&old_value, '/'), new_part = str_cut(&new_value, '/');
        Id old_id, new_id;
        bool ids = is_id(old_part, &old_id) && is_id(new_part, &new_id);
        if (ids ? !same_ids(walk, (Str){0}, old_id, new_id) : !str_eq(old_part, new_part))
            return false;
    }
    return old_value.p == new_value.p;
}

static void compare_headers(Walk *walk, const Answer *old_answer, const Answer *new_answer) {
    for (size_t i = 0; i < ARRAY_LEN(COMPARED_HEADERS); i++) {
        Str name = COMPARED_HEADERS[i];
        Str old_value = header_values(walk, old_answer, name), new_value = header_values(walk, new_answer, name);
        bool same = (old_value.p == NULL) == (new_value.p == NULL) && str_eq(old_value, new_value);
        if (old_value.p != NULL && new_value.p != NULL && str_eq(name, STR("location")))
            same = same_location(walk, old_value, new_value);
        if (!same)
            tell(walk, DIFFERS_HEADER, name, name, printed(walk, old_value), printed(walk, new_value));
    }
}

static void compare_answers(Walk *walk, const Answer *old_answer, const Answer *new_answer) {
    walk->last = &walk->first;
    if (old_answer->status != new_answer->status && (old_answer->status == 0 || new_answer->status == 0)) {
        tell(walk, DIFFERS_ANSWER, STR(""), STR(""), arena_printf(walk->arena, "%d", old_answer->status),
             new_answer->status == 0 ? printed(walk, new_answer->body)
                                     : arena_printf(walk->arena, "%d", new_answer->status));
        return;
    }
    if (old_answer->status != new_answer->status)
        tell(walk, DIFFERS_STATUS, STR(""), STR(""), arena_printf(walk->arena, "%d", old_answer->status),
             arena_printf(walk->arena, "%d", new_answer->status));
    compare_headers(walk, old_answer, new_answer);
    compare_bodies(walk, old_answer->body, new_answer->body);
}

/* --- judging ------------------------------------------------------------------------------------------------------ */

static bool is_noise(const Difference *noise, const Difference *difference) {
    for (; noise != NULL; noise = noise->next)
        if (noise->kind == difference->kind && str_eq(noise->place, difference->place))
            return true;
    return false;
}

/** Segment by segment; * in the pattern is any one. */
static bool pointer_fits(Str pattern, Str pointer) {
    while (pattern.p != NULL && pointer.p != NULL) {
        Str wanted = str_cut(&pattern, '/'), given = str_cut(&pointer, '/');
        if (!str_eq(wanted, given) && !str_eq_c(wanted, "*"))
            return false;
    }
    return pattern.p == pointer.p;
}

static const ExpectedDifference *expected_of(const Differ *differ, Str route, const Difference *difference) {
    for (size_t i = 0; i < differ->expected_n; i++) {
        const ExpectedDifference *row = &differ->expected[i];
        if ((row->route.n == 0 || str_eq(row->route, route)) &&
            (row->pointer.p == NULL || pointer_fits(row->pointer, difference->pointer)) &&
            (row->kind.n == 0 || str_eq_c(row->kind, difference_kind_name(difference->kind))) &&
            instant_compare(differ->now, row->expires_at) < 0)
            return row;
    }
    return NULL;
}

/* Each answer's own, and made anew by each side. */
static bool is_trace(const Differ *differ, const Difference *difference) {
    return differ->tries && difference->kind == DIFFERS_VALUE && str_eq_c(difference->place, "/traceId");
}

static void judge(const Differ *differ, Str route, const Difference *noise, Difference *found, Comparison *comparison) {
    for (Difference *difference = found; difference != NULL; difference = difference->next) {
        difference->noise = is_noise(noise, difference) || is_trace(differ, difference);
        difference->expected = difference->noise ? NULL : expected_of(differ, route, difference);
        comparison->n++;
        comparison->noise += difference->noise;
        comparison->expected += difference->expected != NULL;
        comparison->real += !difference->noise && difference->expected == NULL;
    }
}

static bool has_contradiction(const Comparison *comparison) {
    for (const Difference *difference = comparison->first; difference != NULL; difference = difference->next)
        if (difference->kind == DIFFERS_ID || difference->kind == DIFFERS_STATUS || difference->kind == DIFFERS_ANSWER)
            return true;
    return false;
}

Err differ_compare(Differ *differ, Arena *arena, Str route, const Answer *old_answer, const Answer *old_again,
                   const Answer *new_answer, Comparison *ret) {
    Walk walk = {.differ = differ, .arena = arena, .rule = route_rule(route)};
    Walk noise = {.differ = differ, .arena = arena, .rule = walk.rule, .quiet = true};
    Comparison comparison = {0};
    id_pairs_begin(differ->ids);
    compare_answers(&walk, old_answer, new_answer);
    if (old_again != NULL && old_again->status != 0)
        compare_answers(&noise, old_answer, old_again);
    comparison.first = walk.first;
    judge(differ, route, noise.first, walk.first, &comparison);
    bool keep = walk.err == ERR_OK && !differ->tries && !has_contradiction(&comparison);
    comparison.learnt = id_pairs_end(differ->ids, keep, arena);
    TRY(walk.err);
    TRY(noise.err);
    *ret = comparison;
    return ERR_OK;
}

/* --- trials ------------------------------------------------------------------------------------------------------- */

Err differ_message(Differ *differ, Arena *arena, Str route, Str type, const Json *old_message, const Json *new_message,
                   Comparison *comparison) {
    Walk walk = {.differ = differ, .arena = arena, .rule = route_rule(route)};
    JsonDiffOptions options = {.numbers_by_value = true, .same_string = same_string};
    Difference **last = &comparison->first;
    walk.last = &walk.first;
    walk.prefix = arena_printf(arena, "message %.*s", STR_ARG(type));
    if (walk.prefix.p == NULL)
        return ERR_NO_MEMORY;
    id_pairs_begin(differ->ids);
    if (old_message == NULL)
        tell(&walk, DIFFERS_MESSAGE, walk.prefix, walk.prefix, STR("no message seen"), STR("would be published"));
    else
        (void)json_diff_each(old_message, new_message, &options, DIFFERENCES_MAX, on_difference, &walk);
    (void)id_pairs_end(differ->ids, false, arena);
    TRY(walk.err);
    judge(differ, route, NULL, walk.first, comparison);
    while (*last != NULL)
        last = &(*last)->next;
    *last = walk.first;
    return ERR_OK;
}

bool answer_made(const Answer *answer, Id *ret) {
    Str body = str_trim(answer->body, " \r\n");
    if (answer->status != 201)
        return false;
    if (body.n == ID_TEXT_LEN + 2 && body.p[0] == '"' && is_id(str_slice(body, 1, ID_TEXT_LEN + 1), ret))
        return true;
    for (size_t i = 0; i < answer->header_count; i++) {
        Str value = answer->headers[i].value;
        if (str_eq_nocase(answer->headers[i].name, STR("location")) && value.n >= ID_TEXT_LEN &&
            is_id(str_slice(value, value.n - ID_TEXT_LEN, value.n), ret))
            return true;
    }
    return false;
}

static bool has_same(const Comparison *comparison, const Difference *wanted) {
    for (const Difference *difference = comparison->first; difference != NULL; difference = difference->next)
        if (!difference->noise && difference->kind == wanted->kind && str_eq(difference->pointer, wanted->pointer))
            return true;
    return false;
}

bool comparison_same(const Comparison *a, const Comparison *b) {
    for (const Difference *difference = a->first; difference != NULL; difference = difference->next)
        if (!difference->noise && difference->expected == NULL && !has_same(b, difference))
            return false;
    return a->real > 0;
}
