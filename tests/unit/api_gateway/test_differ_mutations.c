/*
 * test_differ_mutations.c - every recorded answer, altered at one place at a time: each alteration is a real
 * difference; and what only looks different is none.
 *
 * How to add an alteration: a row in ALTERATIONS whose function changes the node (or says that it does not apply) such
 * that no reader could take the two documents for the same.
 */
#include "answers.h"

/* Under valgrind one answer of sixteen: memory is what is looked at there, and it takes fifty times as long. */
#ifdef USHER_VALGRIND
enum { ONE_OF = 16 };
#else
enum { ONE_OF = 1 };
#endif

typedef struct Altered {
    Json *parent, *node;
    Arena *arena;
    bool is_set; /* the parent is a list whose order means nothing */
} Altered;

static Json *copy_of(Arena *arena, const Json *value) {
    Json *copy = ARENA_NEW(arena, Json), **last = &copy->first;
    *copy = *value;
    copy->first = copy->next = NULL;
    for (const Json *member = value->first; member != NULL; member = member->next) {
        *last = copy_of(arena, member);
        last = &(*last)->next;
    }
    return copy;
}

static bool change_text(Altered *at) {
    if (at->node->kind != JSON_STRING)
        return false;
    Id id;
    if (at->node->text.n == ID_TEXT_LEN && id_parse(at->node->text, ID_FORM_D, &id) == ERR_OK) {
        Str other = arena_str(at->arena, at->node->text);
        ((char *)other.p)[35] = other.p[35] == '0' ? '1' : '0'; /* still an id */
        at->node->text = other;
    } else {
        at->node->text = arena_printf(at->arena, "%.*sx", STR_ARG(at->node->text));
    }
    return true;
}

static bool change_case(Altered *at) {
    if (at->node->kind != JSON_STRING)
        return false;
    Str other = arena_str(at->arena, at->node->text);
    for (size_t i = 0; i < other.n; i++)
        if ((other.p[i] | 0x20) >= 'a' && (other.p[i] | 0x20) <= 'z') {
            ((char *)other.p)[i] ^= 0x20;
            at->node->text = other;
            return true;
        }
    return false;
}

static bool change_instant(Altered *at) {
    Instant instant;
    if (at->node->kind != JSON_STRING || at->node->text.n < 20 || instant_parse(at->node->text, &instant) != ERR_OK ||
        instant.ticks >= TICKS_MAX)
        return false;
    char text[INSTANT_TEXT_MAX];
    instant.ticks++; /* 100 ns */
    at->node->text = arena_str(at->arena, (Str){text, instant_format(instant, text)});
    return true;
}

static bool change_number(Altered *at) {
    if (at->node->kind != JSON_NUMBER)
        return false;
    const char *point = str_index(at->node->text, '.') < 0 ? "." : "";
    at->node->text =
        arena_printf(at->arena, "%.*s%s00000000000000000000000000000000000001", STR_ARG(at->node->text), point);
    return true;
}

static bool change_sign(Altered *at) {
    if (at->node->kind != JSON_NUMBER || json_number_same(at->node->text, STR("0")) || at->node->text.p[0] == '-')
        return false;
    at->node->text = arena_printf(at->arena, "-%.*s", STR_ARG(at->node->text));
    return true;
}

static bool change_truth(Altered *at) {
    if (at->node->kind != JSON_TRUE && at->node->kind != JSON_FALSE)
        return false;
    at->node->kind = at->node->kind == JSON_TRUE ? JSON_FALSE : JSON_TRUE;
    return true;
}

static bool change_to_null(Altered *at) {
    if (at->node->kind == JSON_NULL)
        at->node->kind = JSON_FALSE;
    else
        at->node->kind = JSON_NULL;
    at->node->first = NULL;
    at->node->count = 0;
    at->node->text = (Str){0};
    return true;
}

static bool change_number_to_text(Altered *at) {
    if (at->node->kind != JSON_NUMBER)
        return false;
    at->node->kind = JSON_STRING;
    return true;
}

static bool add_member(Altered *at) {
    if (at->node->kind != JSON_OBJECT_START)
        return false;
    Json *member = ARENA_NEW(at->arena, Json);
    *member = (Json){.kind = JSON_NULL, .name = STR("Zz"), .next = at->node->first};
    at->node->first = member;
    at->node->count++;
    return true;
}

static bool drop(Altered *at) {
    if (at->parent == NULL)
        return false;
    for (Json **link = &at->parent->first; *link != NULL; link = &(*link)->next)
        if (*link == at->node) {
            *link = at->node->next;
            at->parent->count--;
            return true;
        }
    return false;
}

static bool repeat(Altered *at) {
    if (at->parent == NULL)
        return false;
    Json *copy = copy_of(at->arena, at->node);
    copy->next = at->node->next;
    at->node->next = copy;
    at->parent->count++;
    return true;
}

static bool rename_member(Altered *at) {
    if (at->parent == NULL || at->parent->kind != JSON_OBJECT_START)
        return false;
    at->node->name = arena_printf(at->arena, "%.*s_", STR_ARG(at->node->name));
    return true;
}

static Str written(Arena *arena, const Json *value) {
    Buf out = buf_new(arena, 8 << 20);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 0);
    json_write_value(&w, value);
    return buf_str(&out);
}

static bool swap_with_next(Altered *at) {
    Json *next = at->node->next;
    if (at->parent == NULL || at->parent->kind != JSON_ARRAY_START || next == NULL || at->is_set ||
        str_eq(written(at->arena, at->node), written(at->arena, next)))
        return false;
    Json node = *at->node;
    at->node->kind = next->kind, at->node->text = next->text, at->node->first = next->first,
    at->node->count = next->count;
    next->kind = node.kind, next->text = node.text, next->first = node.first, next->count = node.count;
    return true;
}

static const struct {
    const char *label;
    bool (*alter)(Altered *at);
} ALTERATIONS[] = {
    {"another text", change_text},
    {"another case", change_case},
    {"100 ns later", change_instant},
    {"a number in its 38th decimal", change_number},
    {"another sign", change_sign},
    {"another truth", change_truth},
    {"null", change_to_null},
    {"a number as text", change_number_to_text},
    {"one more member", add_member},
    {"dropped", drop},
    {"twice", repeat},
    {"another name", rename_member},
    {"out of order", swap_with_next},
};

/* --- walking ------------------------------------------------------------------------------------------------------ */

static size_t altered_n, bodies_n;
static Differ differ = {.learn = ALL_KINDS};
static Map *seen; /* bodies that have been done */
static Arena *seen_arena;

static size_t count_nodes(const Json *value) {
    size_t n = 1;
    for (const Json *member = value->first; member != NULL; member = member->next)
        n += count_nodes(member);
    return n;
}

/** The index-th node in document order, and what holds it. */
static Json *node_at(Json *value, size_t *index, Json *parent, Json **ret_parent) {
    if ((*index)-- == 0) {
        *ret_parent = parent;
        return value;
    }
    for (Json *member = value->first; member != NULL; member = member->next) {
        Json *found = node_at(member, index, value, ret_parent);
        if (found != NULL)
            return found;
    }
    return NULL;
}

static Comparison compare(Arena *arena, Str route, const Answer *old_answer, const Answer *again,
                          const Answer *new_answer) {
    Comparison comparison;
    assert_int_equal(differ_compare(&differ, arena, route, old_answer, again, new_answer, &comparison), ERR_OK);
    return comparison;
}

static void alter_everywhere(const Recorded *recorded, Str route, const Answer *answer, const Json *root) {
    size_t n = count_nodes(root);
    for (size_t i = 0; i < n * ARRAY_LEN(ALTERATIONS); i++) {
        Arena *arena = arena_new(64 << 20);
        Json *tree = copy_of(arena, root);
        size_t index = i / ARRAY_LEN(ALTERATIONS);
        Altered at = {.arena = arena};
        at.node = node_at(tree, &index, NULL, &at.parent);
        at.is_set = at.parent == tree && route_rule(route)->lists != NULL;
        if (ALTERATIONS[i % ARRAY_LEN(ALTERATIONS)].alter(&at)) {
            Answer altered = *answer;
            altered.body = written(arena, tree);
            Comparison comparison = compare(arena, route, answer, NULL, &altered);
            if (comparison.real == 0)
                fail_msg("%s[%zu]: not seen: %s: %.*s", recorded->file, recorded->index,
                         ALTERATIONS[i % ARRAY_LEN(ALTERATIONS)].label, STR_ARG(altered.body));
            altered_n++;
        }
        arena_free(arena);
    }
}

static void alter_head(const Recorded *recorded, Str route, const Answer *answer, Arena *arena) {
    Answer altered = *answer;
    altered.status++;
    assert_int_equal(compare(arena, route, answer, NULL, &altered).real, 1);
    static const char *const seen_by_clients[] = {"Content-Type", "Location", "Allow", "Cache-Control", "Expires"};
    Header *headers = ARENA_ARRAY(arena, Header, answer->header_count + 1);
    for (size_t i = 0; i < ARRAY_LEN(seen_by_clients); i++) {
        altered = *answer;
        altered.headers = headers;
        altered.header_count = 0;
        bool had = false;
        for (size_t j = 0; j < answer->header_count; j++)
            if (str_eq_nocase(answer->headers[j].name, str_c(seen_by_clients[i])))
                had = true;
            else
                headers[altered.header_count++] = answer->headers[j];
        if (!had)
            headers[altered.header_count++] = (Header){str_c(seen_by_clients[i]), STR("x")};
        if (compare(arena, route, answer, NULL, &altered).real != 1)
            fail_msg("%s[%zu]: header %s", recorded->file, recorded->index, seen_by_clients[i]);
        altered_n++;
    }
}

static void alter(const Recorded *recorded, Arena *arena) {
    Str route = route_of(recorded),
        key = arena_printf(seen_arena, "%.*s %.*s", STR_ARG(route), STR_ARG(recorded->answer));
    Json *root;
    if (recorded->status == 0 || map_get(seen, key) != NULL || recorded->answer.n > 16384)
        return;
    assert_int_equal(map_put(seen, key, seen, NULL), ERR_OK);
    if (bodies_n++ % ONE_OF != 0)
        return;
    Answer answer = answer_of(recorded, arena);
    Comparison same = compare(arena, route, &answer, NULL, &answer); /* also learns that ids are themselves */
    assert_int_equal(same.n, 0);
    alter_head(recorded, route, &answer, arena);
    if (json_parse(recorded->answer, arena, JSON_DUPLICATES_KEEP, &root, NULL) == ERR_OK)
        alter_everywhere(recorded, route, &answer, root);
}

static void every_alteration_is_reported(void **state) {
    (void)state;
    seen_arena = arena_new(64 << 20);
    seen = map_new(seen_arena, 1000);
    differ.ids = id_pairs_new(10000);
    size_t n = recordings_each(alter);
    print_message("%zu exchanges, %zu different answers, %zu alterations\n", n, bodies_n, altered_n);
    assert_true(n > 800 && bodies_n > 300 && altered_n > 20000 / ONE_OF / 2);
    id_pairs_free(differ.ids);
    arena_free(seen_arena);
}

/* --- what is no difference ---------------------------------------------------------------------------------------- */

/** The same document, written otherwise: members backwards, numbers with another scale, instants in another offset. */
static Json *other_form(Arena *arena, const Json *value, bool set) {
    Json *copy = ARENA_NEW(arena, Json);
    *copy = *value;
    copy->first = copy->next = NULL;
    Instant instant;
    bool key = str_eq_c(value->name, "SeatNumber"); /* of the set: matched as it is written */
    if (value->kind == JSON_NUMBER && !key && str_index(value->text, 'e') < 0 && str_index(value->text, 'E') < 0)
        copy->text = arena_printf(arena, "%.*s%s0", STR_ARG(value->text), str_index(value->text, '.') < 0 ? "." : "");
    if (value->kind == JSON_STRING && value->text.n >= 25 && value->text.p[10] == 'T' &&
        instant_parse(value->text, &instant) == ERR_OK) {
        char text[INSTANT_TEXT_MAX];
        instant.offset_minutes = 60;
        copy->text = arena_str(arena, (Str){text, instant_format(instant, text)});
    }
    bool backwards = value->kind == JSON_OBJECT_START || set;
    Json **last = &copy->first;
    for (const Json *member = value->first; member != NULL; member = member->next) {
        Json *other = other_form(arena, member, false);
        if (backwards) {
            other->next = copy->first;
            copy->first = other;
        } else {
            *last = other;
            last = &other->next;
        }
    }
    return copy;
}

static size_t noisy_n;

static void quiet(const Recorded *recorded, Arena *arena) {
    Json *root;
    if (recorded->status == 0 || recorded->answer.n > 16384 ||
        json_parse(recorded->answer, arena, JSON_DUPLICATES_KEEP, &root, NULL) != ERR_OK)
        return;
    Str route = route_of(recorded);
    Answer answer = answer_of(recorded, arena), again = answer, other = answer;
    other.body = written(arena, other_form(arena, root, route_rule(route)->lists != NULL));
    Comparison comparison = compare(arena, route, &answer, NULL, &other);
    if (comparison.n != 0)
        fail_msg("%s[%zu]: %.*s for %.*s", recorded->file, recorded->index, STR_ARG(comparison.first->place),
                 STR_ARG(other.body));
    Json *trace = (Json *)json_member(root, "traceId");
    if (trace == NULL)
        return;
    trace->text = STR("00-11111111111111111111111111111111-1111111111111111-01");
    again.body = written(arena, root);
    trace->text = STR("00-22222222222222222222222222222222-2222222222222222-01");
    other.body = written(arena, root);
    assert_int_equal(compare(arena, route, &answer, NULL, &other).real, 1); /* without a second look it counts */
    comparison = compare(arena, route, &answer, &again, &other);
    assert_int_equal(comparison.real, 0);
    assert_int_equal(comparison.noise, 1);
    trace->kind = JSON_NULL; /* noise may change, but not become something else */
    other.body = written(arena, root);
    assert_int_equal(compare(arena, route, &answer, &again, &other).real, 1);
    noisy_n++;
}

static void noise_is_none(void **state) {
    (void)state;
    differ.ids = id_pairs_new(10000);
    recordings_each(quiet);
    assert_true(noisy_n > 50);
    id_pairs_free(differ.ids);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_alteration_is_reported),
        cmocka_unit_test(noise_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
