/*
 * tree.c - a whole document at once, for recordings, snapshots and diffs.
 *
 * Built without recursion, so that a deep document costs no stack. Members stay a linked list: documents looked at here
 * have few members per object. Where one has many, a hash map finds its duplicates, so that nobody can make parsing
 * quadratic.
 */
#include "base/map.h"
#include "json/json.h"

enum { SCAN_MAX = 16 }; /* members up to which duplicates are sought one by one */

typedef struct Level {
    Json *container, *last;
    Map *names; /* once the object has more than SCAN_MAX members */
} Level;

typedef struct Builder {
    JsonReader reader;
    Arena *arena;
    JsonDuplicates duplicates;
    Level levels[JSON_DEPTH_MAX];
    int depth;
    Json *root;
    Json *pending; /* node of the name just read */
} Builder;

static Err refuse(Builder *b, JsonError error) {
    b->reader.error = error;
    return ERR_SYNTAX;
}

static Err text_of(Builder *b, Str *ret) {
    Err err = json_string(&b->reader, b->arena, ret);
    return err == ERR_SYNTAX ? refuse(b, JSON_ERR_STRING_ENCODING) : err;
}

static Err index_names(Builder *b, Level *level) {
    level->names = map_new(b->arena, 4 * SCAN_MAX);
    if (level->names == NULL)
        return ERR_NO_MEMORY;
    for (Json *member = level->container->first; member != NULL; member = member->next)
        TRY(map_put(level->names, member->name, member, NULL));
    return ERR_OK;
}

/** The member of that name already there, or NULL. */
static Err find_member(Builder *b, Level *level, Str name, Json **ret) {
    *ret = NULL;
    if (b->duplicates == JSON_DUPLICATES_KEEP)
        return ERR_OK;
    if (level->container->count == SCAN_MAX && level->names == NULL)
        TRY(index_names(b, level));
    if (level->names != NULL) {
        *ret = map_get(level->names, name);
        return ERR_OK;
    }
    for (Json *member = level->container->first; member != NULL && *ret == NULL; member = member->next) {
        if (str_eq(member->name, name))
            *ret = member;
    }
    return ERR_OK;
}

static void append(Level *level, Json *node) {
    if (level->last == NULL)
        level->container->first = node;
    else
        level->last->next = node;
    level->last = node;
    level->container->count++;
}

static Err take_name(Builder *b) {
    Level *level = &b->levels[b->depth - 1];
    Str name;
    TRY(text_of(b, &name));
    Json *node;
    TRY(find_member(b, level, name, &node));
    if (node != NULL) {
        if (b->duplicates == JSON_DUPLICATES_REJECT)
            return refuse(b, JSON_ERR_DUPLICATE_NAME);
        *node = (Json){.name = node->name, .next = node->next};
    } else {
        node = ARENA_NEW(b->arena, Json);
        if (node == NULL)
            return ERR_NO_MEMORY;
        node->name = name;
        append(level, node);
        if (level->names != NULL)
            TRY(map_put(level->names, name, node, NULL));
    }
    b->pending = node;
    return ERR_OK;
}

static Err take_value(Builder *b) {
    Json *node = b->pending;
    b->pending = NULL;
    if (node == NULL) {
        node = ARENA_NEW(b->arena, Json);
        if (node == NULL)
            return ERR_NO_MEMORY;
        if (b->depth > 0)
            append(&b->levels[b->depth - 1], node);
        else
            b->root = node;
    }
    node->kind = b->reader.token;
    if (node->kind == JSON_STRING)
        return text_of(b, &node->text);
    if (node->kind == JSON_NUMBER)
        node->text = b->reader.lexeme;
    else if (node->kind == JSON_OBJECT_START || node->kind == JSON_ARRAY_START)
        b->levels[b->depth++] = (Level){.container = node};
    return ERR_OK;
}

static Err build(Builder *b) {
    for (;;) {
        TRY(json_next(&b->reader));
        switch (b->reader.token) {
        case JSON_END:
            return ERR_OK;
        case JSON_OBJECT_END:
        case JSON_ARRAY_END:
            b->depth--;
            break;
        case JSON_NAME:
            TRY(take_name(b));
            break;
        default:
            TRY(take_value(b));
            break;
        }
    }
}

static const char *const SENTENCES[] = {
    [JSON_OK] = "nothing is wrong",
    [JSON_ERR_NO_TOKENS] = "there is no value",
    [JSON_ERR_OPEN_AT_END] = "an object or array is not closed",
    [JSON_ERR_NAME_OPEN] = "the document ends behind a name",
    [JSON_ERR_COMMA_OPEN] = "the document ends behind a comma",
    [JSON_ERR_VALUE_START] = "no value begins like this",
    [JSON_ERR_NAME_START] = "a name must begin with a quote",
    [JSON_ERR_NAME_END] = "a colon must follow a name",
    [JSON_ERR_AFTER_VALUE] = "a comma or a closing bracket must follow a value",
    [JSON_ERR_AFTER_DOCUMENT] = "nothing may follow the value",
    [JSON_ERR_TRAILING_COMMA_OBJECT] = "a comma stands before a closing brace",
    [JSON_ERR_TRAILING_COMMA_ARRAY] = "a comma stands before a closing bracket",
    [JSON_ERR_LITERAL] = "only true, false and null are written without quotes",
    [JSON_ERR_LEADING_ZERO] = "a number may not begin with a zero and another digit",
    [JSON_ERR_NUMBER_END] = "a number ends in a byte that is none of it",
    [JSON_ERR_NUMBER_END_EXPONENT] = "only an exponent may follow decimals",
    [JSON_ERR_NUMBER_AFTER_POINT] = "a digit must follow the decimal point",
    [JSON_ERR_NUMBER_AFTER_SIGN] = "a digit must follow the sign or the e",
    [JSON_ERR_NUMBER_OPEN] = "the document ends within a number",
    [JSON_ERR_STRING_CONTROL] = "control bytes must be escaped within a string",
    [JSON_ERR_STRING_ESCAPE] = "there is no such escape",
    [JSON_ERR_STRING_HEX] = "four hex digits must follow \\u",
    [JSON_ERR_STRING_OPEN] = "the document ends within a string",
    [JSON_ERR_DEPTH_OBJECT] = "nested too deep",
    [JSON_ERR_DEPTH_ARRAY] = "nested too deep",
    [JSON_ERR_MISMATCH] = "this bracket closes the other kind",
    [JSON_ERR_STRING_ENCODING] = "the string is not UTF-8, or has half a surrogate pair",
    [JSON_ERR_DUPLICATE_NAME] = "the object has this name already",
};

static void describe(const Builder *b, JsonProblem *ret) {
    const JsonReader *r = &b->reader;
    bool token = r->error == JSON_ERR_STRING_ENCODING || r->error == JSON_ERR_DUPLICATE_NAME;
    *ret = (JsonProblem){.error = r->error, .position = token ? json_token_position(r) : json_position(r)};
    ret->message = arena_printf(b->arena, "line %lld, column %lld: %s", (long long)ret->position.line + 1,
                                (long long)ret->position.column + 1, SENTENCES[r->error]);
}

Err json_parse(Str input, Arena *arena, JsonDuplicates duplicates, Json **ret, JsonProblem *problem) {
    Builder b = {.arena = arena, .duplicates = duplicates};
    json_reader_init(&b.reader, input, JSON_DEPTH_MAX);
    Err err = build(&b);
    if (err == ERR_SYNTAX && problem != NULL)
        describe(&b, problem);
    if (err == ERR_SYNTAX && (b.reader.error == JSON_ERR_DEPTH_OBJECT || b.reader.error == JSON_ERR_DEPTH_ARRAY))
        return ERR_LIMIT;
    TRY(err);
    *ret = b.root;
    return ERR_OK;
}

const Json *json_member(const Json *object, const char *name) {
    if (object == NULL || object->kind != JSON_OBJECT_START)
        return NULL;
    Str wanted = str_c(name);
    const Json *member = object->first;
    while (member != NULL && !str_eq(member->name, wanted))
        member = member->next;
    return member;
}

const Json *json_element(const Json *array, size_t index) {
    if (array == NULL || array->kind != JSON_ARRAY_START)
        return NULL;
    const Json *element = array->first;
    while (element != NULL && index-- > 0)
        element = element->next;
    return element;
}

/** Does a pointer's token, with ~0 and ~1 read as ~ and /, spell this name? */
static bool token_spells(Str token, Str name) {
    size_t at = 0;
    for (size_t i = 0; i < token.n; i++, at++) {
        char c = token.p[i];
        if (c == '~') {
            if (++i >= token.n || (token.p[i] != '0' && token.p[i] != '1'))
                return false;
            c = token.p[i] == '0' ? '~' : '/';
        }
        if (at >= name.n || name.p[at] != c)
            return false;
    }
    return at == name.n;
}

const Json *json_pointer(const Json *root, Str pointer) {
    if (pointer.n == 0)
        return root;
    if (pointer.p[0] != '/')
        return NULL;
    Str rest = str_slice(pointer, 1, pointer.n);
    const Json *node = root;
    while (node != NULL && rest.p != NULL) {
        Str token = str_cut(&rest, '/');
        if (node->kind == JSON_OBJECT_START) {
            const Json *member = node->first;
            while (member != NULL && !token_spells(token, member->name))
                member = member->next;
            node = member;
        } else {
            uint64_t index;
            if (node->kind != JSON_ARRAY_START || (token.n > 1 && token.p[0] == '0') ||
                str_to_u64(token, SIZE_MAX, &index) != ERR_OK)
                return NULL;
            node = json_element(node, index);
        }
    }
    return node;
}

Str json_text(const Json *value) {
    return value != NULL && value->kind == JSON_STRING ? value->text : (Str){0};
}

int64_t json_i64(const Json *value, int64_t fallback) {
    if (value == NULL || value->kind != JSON_NUMBER)
        return fallback;
    Str digits = value->text;
    bool negative = digits.p[0] == '-';
    if (negative)
        digits = str_slice(digits, 1, digits.n);
    uint64_t magnitude;
    if (str_to_u64(digits, (uint64_t)INT64_MAX + negative, &magnitude) != ERR_OK)
        return fallback;
    return negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
}

bool json_bool(const Json *value, bool fallback) {
    if (value == NULL || (value->kind != JSON_TRUE && value->kind != JSON_FALSE))
        return fallback;
    return value->kind == JSON_TRUE;
}
