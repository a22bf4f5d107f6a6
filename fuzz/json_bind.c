/*
 * json_bind.c - any body becomes a payload or an answer that is itself good JSON and of bounded size.
 *
 * The first byte picks payload and style.
 */
#include "api/answer.h"

#include "fuzz.h"

typedef struct Payload {
    Str text;
    Instant at;
    Decimal price;
    Id id;
    Slice(Id) ids;
    int32_t kind;
} Payload;

static Err check(Ctx *ctx, const void *value) {
    return compat_is_name(*(const Str *)value, true) ? ERR_OK : ctx_problem(ctx, ERR_INVALID, "text", "no name");
}

static const EnumValue kinds[] = {{"Zero", 0}, {"One", 1}, {"Two", 2}, {0}};

static const CompatField fields[] = {
    {.name = "T", .kind = COMPAT_TEXT, .offset = offsetof(Payload, text), .check = check},
    {.name = "A", .kind = COMPAT_INSTANT, .offset = offsetof(Payload, at)},
    {.name = "P", .kind = COMPAT_DECIMAL, .offset = offsetof(Payload, price)},
    {.name = "I", .kind = COMPAT_ID, .offset = offsetof(Payload, id)},
    {.name = "L", .kind = COMPAT_ID_LIST, .offset = offsetof(Payload, ids)},
    {.name = "K", .kind = COMPAT_ENUM, .offset = offsetof(Payload, kind), .values = kinds},
    {0},
};
static const CompatPayload payload = {"Fuzz.Payload", sizeof(Payload), fields};

static void check_answer(Arena *arena, const Response *res) {
    Json *root;
    FUZZ_CHECK(res->status == 400 && res->body.err == ERR_OK && res->body.n < 64 << 10);
    FUZZ_CHECK(json_parse(buf_str(&res->body), arena, JSON_DUPLICATES_REJECT, &root, NULL) == ERR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t flags = size > 0 ? data[0] : 0;
    Str body = size > 0 ? (Str){(const char *)data + 1, size - 1} : STR("");
    CompatStyle style = {.names_any_case = flags & 1,
                         .one_error_only = flags & 2,
                         .domain_errors_untyped = flags & 4,
                         .numbers_from_strings = flags & 8,
                         .enums_lenient = flags & 16,
                         .duplicate_names_last = flags & 32};
    Arena *arena = arena_new(64 << 20);
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    Response res = {.body = buf_new(arena, 1 << 20), .head = buf_new(arena, 1 << 14)};
    void *object = NULL;
    CompatRefusal refusal;
    Err err = compat_bind(&payload, body, &style, &ctx, &object, &refusal);
    FUZZ_CHECK(err == ERR_OK || err == ERR_SYNTAX || err == ERR_INVALID);
    /* Where all rules are told, the action is asked for its own beside those of the body: it needs the object. */
    FUZZ_CHECK((object != NULL) == (err == ERR_OK || (err == ERR_INVALID && !style.one_error_only)));
    if (err == ERR_SYNTAX)
        answer_refused_model(&ctx, &res, &refusal);
    else if (err == ERR_INVALID)
        answer_refused_rules(&ctx, &res, &style, refusal.rules, refusal.rules_n);
    if (err != ERR_OK)
        check_answer(arena, &res);
    else
        FUZZ_CHECK(utf8_valid(((Payload *)object)->text));
    arena_free(arena);
    return 0;
}
