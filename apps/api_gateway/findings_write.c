/*
 * findings_write.c - a batch of findings to Postgres, in one transaction.
 */
#include "api_gateway/findings_impl.h"
#include "api_gateway_queries.h"

static const char *const CLASS_NAMES[] = {"real", "lag", "expected"};

typedef struct Writing {
    Findings *findings;
    Batch *batch;
    Arena *arena;
} Writing;

typedef Str (*CauseText)(const Writing *writing, const Cause *cause);

static Str cause_route(const Writing *writing, const Cause *cause) {
    return str_c(board_route(writing->findings->board, cause->route)->label);
}
static Str cause_pointer(const Writing *writing, const Cause *cause) {
    (void)writing;
    return cause->pointer;
}
static Str cause_kind(const Writing *writing, const Cause *cause) {
    (void)writing;
    return str_c(difference_kind_name(cause->kind));
}
static Str cause_class(const Writing *writing, const Cause *cause) {
    (void)writing;
    return str_c(CLASS_NAMES[cause->class]);
}
static Str storable(Str text) {
    return text.p == NULL || !utf8_valid(text) || (text.n > 0 && memchr(text.p, 0, text.n) != NULL) ? STR("[not kept]")
                                                                                                    : text;
}
static Str cause_old(const Writing *writing, const Cause *cause) {
    (void)writing;
    return storable(cause->old_value);
}
static Str cause_new(const Writing *writing, const Cause *cause) {
    (void)writing;
    return storable(cause->new_value);
}

static void add_texts(PgParams *params, const Writing *writing, CauseText text) {
    size_t at = 0;
    void *cause;
    Str key;
    pg_array_begin(params, OID_TEXT_ARRAY);
    while (map_next(writing->batch->causes, &at, &key, &cause))
        pg_array_text(params, text(writing, cause));
    pg_array_end(params);
}

static void send_sample(PgTx *tx, const Writing *writing, int64_t cluster, const Sample *sample) {
    PgParams params;
    pg_params_init(&params, writing->arena);
    pg_add_i64(&params, cluster);
    pg_add_text(&params, storable(sample->method));
    pg_add_text(&params, storable(sample->target));
    pg_add_text(&params, storable(sample->request_headers));
    pg_add_text(&params, storable(sample->request_body));
    pg_add_i32(&params, sample->old_status);
    pg_add_text(&params, storable(sample->old_headers));
    pg_add_text(&params, storable(sample->old_body));
    pg_add_i32(&params, sample->new_status);
    pg_add_text(&params, storable(sample->new_headers));
    pg_add_text(&params, storable(sample->new_body));
    pg_add_text(&params, storable(sample->differences));
    pg_add_i64(&params, writing->findings->samples_max);
    pg_add_text(&params, storable(sample->effects));
    pg_tx_send(tx, SQL_GATEWAY_SAMPLE_ADD, &params);
}

static CO_FN Err write_causes(PgTx *tx, const Writing *writing) {
    PgParams params;
    PgResult result;
    size_t at = 0;
    void *found;
    Str key;
    if (map_count(writing->batch->causes) == 0)
        return ERR_OK;
    pg_params_init(&params, writing->arena);
    add_texts(&params, writing, cause_route);
    add_texts(&params, writing, cause_pointer);
    add_texts(&params, writing, cause_kind);
    add_texts(&params, writing, cause_class);
    pg_array_begin(&params, OID_INT8_ARRAY);
    while (map_next(writing->batch->causes, &at, &key, &found))
        pg_array_i64(&params, ((const Cause *)found)->count);
    pg_array_end(&params);
    add_texts(&params, writing, cause_old);
    add_texts(&params, writing, cause_new);
    pg_array_begin(&params, OID_TIMESTAMPTZ_ARRAY);
    for (at = 0; map_next(writing->batch->causes, &at, &key, &found);)
        pg_array_instant(&params, instant_from_unix_us(((const Cause *)found)->at_us));
    pg_array_end(&params);
    TRY(pg_tx_query(tx, SQL_GATEWAY_CLUSTERS_ADD, &params, &result));
    for (int row = 0; row < result.rows; row++) {
        for (at = 0; map_next(writing->batch->causes, &at, &key, &found);) {
            const Cause *cause = found;
            if (cause->sample != NULL && str_eq(cause_route(writing, cause), pg_text(&result, row, 1)) &&
                str_eq(cause->pointer, pg_text(&result, row, 2)) &&
                str_eq(cause_kind(writing, cause), pg_text(&result, row, 3)) &&
                str_eq(cause_class(writing, cause), pg_text(&result, row, 4)))
                send_sample(tx, writing, pg_i64(&result, row, 0), cause->sample);
        }
    }
    return ERR_OK;
}

static int64_t tally_number(const Tally *tally, int column) {
    const int64_t *outcomes = tally->outcomes;
    int64_t all = 0;
    for (size_t i = 0; i < ARRAY_LEN(tally->outcomes); i++)
        all += outcomes[i];
    switch (column) {
    case 0:
        return all;
    case 1:
        return outcomes[OUTCOME_EQUAL] + outcomes[OUTCOME_NOISY];
    case 2:
        return outcomes[OUTCOME_REAL];
    case 3:
        return outcomes[OUTCOME_LAG];
    case 4:
        return outcomes[OUTCOME_EXPECTED];
    case 5:
        return outcomes[OUTCOME_NOISY];
    default:
        return tally->skipped;
    }
}

static void send_tallies(PgTx *tx, const Writing *writing) {
    PgParams params;
    size_t n = board_route_count(writing->findings->board);
    pg_params_init(&params, writing->arena);
    for (int column = 0; column < 12; column++) {
        pg_array_begin(&params, column < 4 ? OID_TEXT_ARRAY : column == 4 ? OID_TIMESTAMPTZ_ARRAY : OID_INT8_ARRAY);
        for (size_t i = 0; i < n; i++) {
            const BoardRoute *route = board_route(writing->findings->board, i);
            const Tally *tally = &writing->batch->tallies[i];
            if (tally_number(tally, 0) + tally->skipped == 0)
                continue;
            if (column == 4)
                pg_array_instant(&params, clock_now());
            else if (column > 4)
                pg_array_i64(&params, tally_number(tally, column - 5));
            else
                pg_array_text(&params, column == 0   ? str_c(route->label)
                                       : column == 1 ? str_c(writing->findings->source)
                                       : column == 2 ? str_c(route->context)
                                                     : str_c(stage_part_name((StagePart)route->part)));
        }
        pg_array_end(&params);
    }
    pg_tx_send(tx, SQL_GATEWAY_TALLIES_ADD, &params);
}

static void send_pairs(PgTx *tx, const Writing *writing) {
    PgParams params;
    if (writing->batch->pairs == NULL)
        return;
    pg_params_init(&params, writing->arena);
    pg_array_begin(&params, OID_TEXT_ARRAY);
    for (const IdPair *pair = writing->batch->pairs; pair != NULL; pair = pair->next)
        pg_array_text(&params, pair->kind);
    pg_array_end(&params);
    for (int side = 0; side < 2; side++) {
        pg_array_begin(&params, OID_UUID_ARRAY);
        for (const IdPair *pair = writing->batch->pairs; pair != NULL; pair = pair->next)
            pg_array_id(&params, side == 0 ? pair->old_id : pair->new_id);
        pg_array_end(&params);
    }
    pg_tx_send(tx, SQL_GATEWAY_PAIRS_ADD, &params);
}

static void send_callers(PgTx *tx, const Writing *writing) {
    PgParams params;
    if (map_count(writing->batch->callers) == 0)
        return;
    pg_params_init(&params, writing->arena);
    for (int column = 0; column < 3; column++) {
        size_t at = 0;
        Str key;
        void *found;
        pg_array_begin(&params, column < 2 ? OID_TEXT_ARRAY : OID_INT8_ARRAY);
        while (map_next(writing->batch->callers, &at, &key, &found)) {
            const Caller *caller = found;
            if (column == 2)
                pg_array_i64(&params, caller->count);
            else
                pg_array_text(&params, column == 0 ? str_c(board_route(writing->findings->board, caller->route)->label)
                                                   : storable(caller->caller));
        }
        pg_array_end(&params);
    }
    pg_tx_send(tx, SQL_GATEWAY_CALLERS_ADD, &params);
}

static int64_t effect_number(const Effect *effect, int column) {
    return column == 2   ? effect->inserted
           : column == 3 ? effect->updated
           : column == 4 ? effect->deleted
                         : effect->published;
}

static void send_effects(PgTx *tx, const Writing *writing) {
    PgParams params;
    if (map_count(writing->batch->effects) == 0)
        return;
    pg_params_init(&params, writing->arena);
    for (int column = 0; column < 6; column++) {
        size_t at = 0;
        Str key;
        void *found;
        pg_array_begin(&params, column < 2 ? OID_TEXT_ARRAY : OID_INT8_ARRAY);
        while (map_next(writing->batch->effects, &at, &key, &found)) {
            const Effect *effect = found;
            if (column > 1)
                pg_array_i64(&params, effect_number(effect, column));
            else
                pg_array_text(&params, column == 0 ? str_c(board_route(writing->findings->board, effect->route)->label)
                                                   : storable(effect->what));
        }
        pg_array_end(&params);
    }
    pg_tx_send(tx, SQL_GATEWAY_EFFECTS_ADD, &params);
}

static CO_FN Err write_all(PgTx *tx, void *arg) {
    const Writing *writing = arg;
    TRY(write_causes(tx, writing));
    send_tallies(tx, writing);
    send_pairs(tx, writing);
    send_callers(tx, writing);
    send_effects(tx, writing);
    return ERR_OK;
}

CO_FN Err findings_write(Findings *findings, Ctx *ctx, PgPool *pool) {
    int other = 1 - findings->gathering;
    if (!findings->batches[other].any) {
        if (!findings->batches[findings->gathering].any)
            return ERR_OK;
        findings->gathering = other; /* it is empty */
        other = 1 - other;
    }
    Batch *batch = &findings->batches[other];
    Writing writing = {.findings = findings, .batch = batch, .arena = ctx->arena};
    Err err = pg_transaction(pool, write_all, &writing);
    if (err != ERR_OK && err != ERR_INVALID && err != ERR_CONFLICT && err != ERR_INTERNAL)
        return err;
    if (err != ERR_OK)
        findings->lost++; /* it would fail again for ever */
    return batch_clear(batch) ? err : ERR_NO_MEMORY;
}
