/*
 * json.h - strict JSON (RFC 8259): a pull reader that keeps number lexemes and says exactly where it failed, and a
 * streaming writer.
 *
 * The reader walks tokens without building a tree: the compat surface must convert properties in document order and
 * report the first failure with the byte position at which the old system's reader stood. A tree (json_parse) is built
 * on top.
 *
 * Position conventions follow System.Text.Json's Utf8JsonReader, which the old system's error texts quote: `line`
 * counts \n from 0, `column` is bytes since the last \n. After json_next, json_position is behind the token (behind the
 * opening brace of a container); after an error it is where that reader reports it.
 */
#pragma once
#include "base/buf.h"
#include "base/decimal.h"
#include "base/instant.h"
#include "base/utf8.h"
#include "base/uuid.h"

typedef enum JsonToken {
    JSON_END, /* the document is complete and nothing but white space follows */
    JSON_OBJECT_START,
    JSON_OBJECT_END,
    JSON_ARRAY_START,
    JSON_ARRAY_END,
    JSON_NAME,
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
} JsonToken;

/* Why reading failed. Each maps to one wording of the old system (lib/api/json_wording.c); the reader itself knows no
 * wording. The kinds and positions are those of Utf8JsonReader's exception resources; tests/unit/json/test_reader.c
 * shows each. */
typedef enum JsonError {
    JSON_OK,
    JSON_ERR_NO_TOKENS,      /* only white space */
    JSON_ERR_OPEN_AT_END,    /* an object or array is not closed */
    JSON_ERR_NAME_OPEN,      /* input ends behind a name, before its ':' */
    JSON_ERR_COMMA_OPEN,     /* input ends behind a ',' */
    JSON_ERR_VALUE_START,    /* '%c' is an invalid start of a value */
    JSON_ERR_NAME_START,     /* … of a property name */
    JSON_ERR_NAME_END,       /* no ':' behind a name */
    JSON_ERR_AFTER_VALUE,    /* neither ',' nor a closing bracket */
    JSON_ERR_AFTER_DOCUMENT, /* something behind the one value */
    JSON_ERR_TRAILING_COMMA_OBJECT,
    JSON_ERR_TRAILING_COMMA_ARRAY,
    JSON_ERR_LITERAL, /* tru, nul: `bad_text` holds what stood there (to the end of input), `expected` the literal */
    JSON_ERR_LEADING_ZERO,
    JSON_ERR_NUMBER_END,          /* '%c' is an invalid end of a number */
    JSON_ERR_NUMBER_END_EXPONENT, /* the same behind decimals, where only e or E could follow */
    JSON_ERR_NUMBER_AFTER_POINT,
    JSON_ERR_NUMBER_AFTER_SIGN, /* also behind e/E, as the old reader words it */
    JSON_ERR_NUMBER_OPEN,       /* input ends within a number */
    JSON_ERR_STRING_CONTROL,    /* raw byte < 0x20 within a string */
    JSON_ERR_STRING_ESCAPE,     /* \x */
    JSON_ERR_STRING_HEX,        /* \u12g4 */
    JSON_ERR_STRING_OPEN,       /* input ends within a string */
    JSON_ERR_DEPTH_OBJECT,
    JSON_ERR_DEPTH_ARRAY,
    JSON_ERR_MISMATCH, /* ] closes {, or } closes [ */
    /* From json_parse only, which looks into strings and names: */
    JSON_ERR_STRING_ENCODING, /* not UTF-8, or half a surrogate pair */
    JSON_ERR_DUPLICATE_NAME,
} JsonError;

#define JSON_DEPTH_MAX 64

typedef struct JsonReader {
    Str input;
    size_t at;       /* next byte */
    size_t token_at; /* first byte of the current token */
    Str lexeme;   /* current token as written: a number's lexeme; a string or name without its quotes, escapes unread */
    bool escaped; /* lexeme has backslashes */
    int64_t line; /* of `at` */
    size_t line_start; /* offset of the line's first byte */
    int depth, depth_max;
    uint64_t in_object; /* bit d: container at depth d+1 is an object */
    int state;          /* private */
    JsonToken token;
    JsonError error;
    unsigned char bad; /* the offending byte, where one is */
    Str bad_text;      /* JSON_ERR_LITERAL: what stood there */
    const char *expected;
} JsonReader;

typedef struct JsonPosition {
    int64_t line, column;
} JsonPosition;

/** Starts reading input (borrowed; a UTF-8 BOM is passed over and not counted). depth_max 1..JSON_DEPTH_MAX. */
void json_reader_init(JsonReader *r, Str input, int depth_max);
/** The next token into r->token. ERR_SYNTAX with r->error set; repeated calls repeat it. Strings are checked for
 *  escapes and control bytes here, for UTF-8 and surrogates only in json_string. */
MUST_USE Err json_next(JsonReader *r);
/** Passes over the value whose first token is the current one, to its last token. */
MUST_USE Err json_skip(JsonReader *r);
/** Where the reader stands now (see above). */
JsonPosition json_position(const JsonReader *r);
/** Where the current token begins. */
JsonPosition json_token_position(const JsonReader *r);
/** The current string or name, unescaped; borrowed from the input where it has no escapes, else in arena.
 *  ERR_SYNTAX: not UTF-8, or a lone surrogate escape; ERR_NO_MEMORY. */
MUST_USE Err json_string(const JsonReader *r, Arena *arena, Str *ret);

/* --- a tree, for documents that are looked at as a whole (recordings, snapshots, diffs) --------------------------- */

typedef enum JsonDuplicates { JSON_DUPLICATES_REJECT, JSON_DUPLICATES_LAST, JSON_DUPLICATES_KEEP } JsonDuplicates;

typedef struct Json Json;
struct Json {
    JsonToken kind; /* OBJECT_START, ARRAY_START, STRING, NUMBER, TRUE, FALSE, NULL */
    Str text;       /* string value, or number lexeme */
    Str name;       /* within an object */
    Json *first, *next;
    size_t count; /* members or elements */
};

/** Where and why a document was refused, for people: "line 3, column 14: …". */
typedef struct JsonProblem {
    JsonError error;
    JsonPosition position;
    Str message;
} JsonProblem;

/** Whole document into a tree in arena. ERR_SYNTAX fills *problem (may be NULL); ERR_LIMIT: depth; ERR_NO_MEMORY. */
MUST_USE Err json_parse(Str input, Arena *arena, JsonDuplicates duplicates, Json **ret, JsonProblem *problem);
/** Member by name, or NULL (also when object is NULL or no object): chains without checks. */
const Json *json_member(const Json *object, const char *name);
const Json *json_element(const Json *array, size_t index);
/** RFC 6901; NULL where it leads nowhere. */
const Json *json_pointer(const Json *root, Str pointer);
/** The string value, or absent; the whole number, or fallback. */
Str json_text(const Json *value);
int64_t json_i64(const Json *value, int64_t fallback);
bool json_bool(const Json *value, bool fallback);
static inline bool json_is_null(const Json *value) {
    return value == NULL || value->kind == JSON_NULL;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

typedef enum JsonEscaping {
    JSON_ESCAPE_MINIMAL, /* only what RFC 8259 demands */
    /* As .NET's JavaScriptEncoder.UnsafeRelaxedJsonEscaping: also each code point that its tables do not know as
     * printable, as \uXXXX in upper-case hex; \" for quotes. */
    JSON_ESCAPE_RELAXED,
} JsonEscaping;

typedef struct JsonWriter {
    Buf *out;
    JsonEscaping escaping;
    int indent; /* spaces per level, 0: compact */
    int depth;
    uint64_t has_any; /* bit d: level d has a member already */
    bool after_name;
} JsonWriter;

void json_writer_init(JsonWriter *w, Buf *out, JsonEscaping escaping, int indent);
void json_object(JsonWriter *w);
void json_object_end(JsonWriter *w);
void json_array(JsonWriter *w);
void json_array_end(JsonWriter *w);
void json_name(JsonWriter *w, Str name);
void json_write_string(JsonWriter *w, Str value); /* absent → null */
void json_write_i64(JsonWriter *w, int64_t value);
void json_write_bool(JsonWriter *w, bool value);
void json_write_null(JsonWriter *w);
/** A lexeme or ready JSON text, as it stands. */
void json_write_raw(JsonWriter *w, Str json);
void json_write_id(JsonWriter *w, Id value);
void json_write_decimal(JsonWriter *w, Decimal value);
void json_write_instant(JsonWriter *w, Instant value);
void json_write_value(JsonWriter *w, const Json *value);
/** Only the escaped string with its quotes, into buf. */
void json_escape(Buf *out, Str value, JsonEscaping escaping);

/* --- structural comparison ---------------------------------------------------------------------------------------- */

/** Where in the documents: a chain through the callers' stacks, so that no path is built unless it is wanted. NULL: the
 *  whole. */
typedef struct JsonPath {
    const struct JsonPath *up;
    Str name; /* a member's, or the key of an element; absent: index */
    size_t index;
    bool element; /* of a list */
} JsonPath;

/** How the list at a place is compared: as a set whose elements are known by a member, or (empty key) by their whole
 *  value. */
typedef struct JsonListRule {
    Str pattern; /* RFC 6901 pointer in which * is any one segment; empty: the document itself; absent: end of rules */
    Str key;     /* absent: in order */
} JsonListRule;

/** Shows one difference; a side is NULL where it has nothing there. Borrowed until it returns. */
typedef void (*JsonDiffVisit)(void *data, const JsonPath *path, const Json *want, const Json *got);

typedef struct JsonDiffOptions {
    bool numbers_by_value;     /* 12.50 equals 12.5 */
    bool object_order;         /* member order matters */
    Str list_key;              /* of lists that no rule names; absent: in order */
    const JsonListRule *lists; /* the first that fits decides; NULL: none */
    /** Are two strings the same? NULL: byte by byte. Not asked while an element without a key is looked for. */
    bool (*same_string)(void *data, const JsonPath *path, const Json *want, const Json *got);
} JsonDiffOptions;

/** Calls visit for each difference, want's order first. Returns how many (stops at most). */
size_t json_diff_each(const Json *want, const Json *got, const JsonDiffOptions *options, size_t most,
                      JsonDiffVisit visit, void *data);
/** Appends one line per difference: `/0/Price: want 12.50, got 12.5`. Returns how many (stops at most). */
size_t json_diff(const Json *want, const Json *got, const JsonDiffOptions *options, size_t most, Buf *out);
/** True when both lexemes are the same number, exactly. */
bool json_number_same(Str a, Str b);
/** The path as a pointer (RFC 6901); any_element: each list's element as *. */
void json_path_write(Buf *out, const JsonPath *path, bool any_element);
bool json_path_matches(const JsonPath *path, Str pattern);
/** A value in a few words: strings and numbers cut after 160 bytes. */
void json_value_write(Buf *out, const Json *value);
