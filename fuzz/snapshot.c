/*
 * snapshot.c - any bytes as a snapshot: refused in words, or a Model that writes itself back, agrees with itself, and
 * can be migrated from and to.
 */
#include "resource/diff.h"
#include "resource/sqltext.h"

#include "fuzz.h"

static void check_diff(Arena *arena, const Model *from, const Model *to, DiffMode mode, bool same) {
    Changes changes = {0};
    Err err = diff_models(arena, from, to, mode, &changes);
    FUZZ_CHECK(err == ERR_OK || err == ERR_NO_MEMORY);
    FUZZ_CHECK(!same || changes.n == 0);
    size_t n = 0;
    for (const Change *c = changes.first; c != NULL; c = c->next, n++) {
        FUZZ_CHECK(c->sql.p != NULL && c->summary.n > 0);
        FUZZ_CHECK(mode != DIFF_DOWN || c->flag.p == NULL);
    }
    FUZZ_CHECK(n == changes.n);
}

/* What the online half builds is exactly what the first half left out. */
static void check_halves(Arena *arena, const Model *from, const Model *to) {
    Model middle;
    if (diff_intermediate(arena, from, to, NULL, &middle) != ERR_OK)
        return;
    check_diff(arena, from, &middle, DIFF_UP, false);
    check_diff(arena, &middle, to, DIFF_ONLINE, false);
    check_diff(arena, to, &middle, DIFF_DOWN, false);
}

static void check_model(Ctx *ctx, const Model *model, const Model *other) {
    Buf once = buf_new(ctx->arena, MODEL_SNAPSHOT_MAX), twice = buf_new(ctx->arena, MODEL_SNAPSHOT_MAX);
    model_write(model, &once);
    Model again;
    Err err = once.err != ERR_OK ? once.err : model_from_snapshot(ctx, buf_str(&once), &again);
    FUZZ_CHECK(err == ERR_OK || err == ERR_NO_MEMORY || err == ERR_LIMIT);
    if (err != ERR_OK)
        return;
    model_write(&again, &twice);
    FUZZ_CHECK(twice.err != ERR_OK || str_eq(buf_str(&once), buf_str(&twice)));
    check_diff(ctx->arena, model, &again, DIFF_UP, true);
    Buf questions = buf_new(ctx->arena, 1 << 20);
    rename_questions(model, other, NULL, &questions);
    check_halves(ctx->arena, model, other);
    check_halves(ctx->arena, other, model);
    Model renamed;
    Changes up = {0}, down = {0};
    static const char *const renames[] = {"a.b=c", NULL};
    err = rename_apply(ctx, model, other, renames, &renamed, &up, &down);
    FUZZ_CHECK(err == ERR_OK || err == ERR_INVALID || err == ERR_NO_MEMORY);
    FUZZ_CHECK(err != ERR_OK || up.n == down.n);
}

static const char OTHER[] =
    "{\"format\":1,\"schema\":\"s\",\"tables\":[{\"name\":\"a\",\"storage\":\"fillfactor=70\",\"columns\":[{\"name\":"
    "\"c\","
    "\"type\":\"uuid\",\"not_null\":true},{\"name\":\"d\",\"type\":\"numeric(18,2)\",\"default\":\"0\"}],"
    "\"constraints\":[{"
    "\"name\":\"a_pkey\",\"kind\":\"primary key\",\"definition\":\"PRIMARY KEY (c)\"},{\"name\":\"a_fkey\",\"kind\":"
    "\"foreign key\",\"definition\":\"FOREIGN KEY (c)\",\"target\":\"a (c)\"}],\"indexes\":[{\"name\":\"a_d\","
    "\"definition\":\"btree (d)\"}]}]}";

/* Every statement is a part of the text, behind the one before; the text ends. */
static void check_split(Str sql) {
    Str rest = sql, statement;
    const char *behind = sql.p;
    while (sql_next(&rest, &statement)) {
        FUZZ_CHECK(statement.n > 0 && statement.p >= behind && statement.p + statement.n <= sql.p + sql.n);
        behind = statement.p + statement.n;
    }
    bool drops = sql_has_word(sql, "truncate");
    FUZZ_CHECK(!drops || sql_loses_data(sql));
    (void)sql_no_transaction(sql);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena *arena = arena_new((size_t)64 << 20);
    FUZZ_CHECK(arena != NULL);
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    Model model, other;
    FUZZ_CHECK(model_from_snapshot(&ctx, str_c(OTHER), &other) == ERR_OK);
    Err err = model_from_snapshot(&ctx, (Str){(const char *)data, size}, &model);
    FUZZ_CHECK(err == ERR_OK || err == ERR_SYNTAX || err == ERR_LIMIT || err == ERR_NO_MEMORY);
    FUZZ_CHECK(err != ERR_SYNTAX || ctx.problem.message.n > 0);
    check_split((Str){(const char *)data, size});
    if (err == ERR_OK)
        check_model(&ctx, &model, &other);
    arena_free(arena);
    return 0;
}
