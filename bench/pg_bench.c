/*
 * pg_bench.c - how many reads by primary key one worker gets out of Postgres.
 *
 *   pg_bench (points|any) COROUTINES SECONDS     against DATABASE_URL; makes its table of 10,000 rows
 *
 * points: each coroutine asks for one row at a time, so that a turn holds up to COROUTINES queries, each with its own
 * Sync. any:    one coroutine asks for COROUTINES keys at a time with = ANY: what keyed reads are coalesced into above
 * lib/pg. Prints rows per second. bench/pg-against-pgbench runs both beside pgbench on one cluster.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "pg/pg.h"

enum { ROWS = 10000, KEYS_MAX = 1024 };

static const Statement POINT = {.name = "point", .sql = "SELECT id, name, price, at FROM bench_row WHERE id = $1"};
static const Statement ANY = {.name = "any", .sql = "SELECT id, name, price, at FROM bench_row WHERE id = ANY($1)"};

static PgPool *pool;
static Loop *loop;
static int64_t end_ms;
static uint64_t rows;
static int left, keys;

static void fail(const char *what) {
    fprintf(stderr, "pg_bench: %s: %.*s\n", what, STR_ARG(pg_pool_last_error(pool)));
    exit(1);
}

/* The arena of a request is given back when it ends; here that is after each query. */
static void read_row(const PgResult *r, int row) {
    Decimal price;
    if (pg_i32(r, row, 0) <= 0 || pg_text(r, row, 1).n == 0 || pg_decimal(r, row, 2, &price) != ERR_OK ||
        pg_instant(r, row, 3).ticks == 0)
        fail("a wrong row");
}

static void points(Ctx *ctx, void *arg) {
    (void)arg;
    while (clock_mono_ms() < end_ms) {
        PgParams params;
        PgResult r;
        pg_params_init(&params, ctx->arena);
        pg_add_i32(&params, 1 + (int32_t)random_below(ROWS));
        if (pg_query(pool, &POINT, &params, &r) != ERR_OK || r.rows != 1)
            fail("query");
        read_row(&r, 0);
        rows++;
        arena_reset(ctx->arena);
    }
    if (--left == 0)
        loop_stop(loop);
}

static void any(Ctx *ctx, void *arg) {
    (void)arg;
    while (clock_mono_ms() < end_ms) {
        PgParams params;
        PgResult r;
        pg_params_init(&params, ctx->arena);
        pg_array_begin(&params, OID_INT4_ARRAY);
        for (int i = 0; i < keys; i++)
            pg_array_i32(&params, 1 + (int32_t)random_below(ROWS));
        pg_array_end(&params);
        if (pg_query(pool, &ANY, &params, &r) != ERR_OK)
            fail("query");
        for (int row = 0; row < r.rows; row++)
            read_row(&r, row);
        rows += (uint64_t)keys;
        arena_reset(ctx->arena);
    }
    if (--left == 0)
        loop_stop(loop);
}

static void setup(const char *url) {
    Arena *arena = arena_new(1 << 20);
    Ctx ctx;
    PGconn *conn;
    ctx_init(&ctx, arena, 0);
    if (pg_sync_connect(&ctx, str_c(url), (Str){NULL, 0}, &conn) != ERR_OK ||
        pg_sync_exec(&ctx, conn,
                     "DROP TABLE IF EXISTS bench_row; CREATE TABLE bench_row (id int4 PRIMARY KEY, name text NOT NULL, "
                     "price numeric(18,2) NOT NULL, at timestamptz NOT NULL); INSERT INTO bench_row SELECT i, 'Event "
                     "number ' || i, i / 100.0, '2030-01-01'::timestamptz + i * interval '1 minute' FROM "
                     "generate_series(1, 10000) i; ANALYZE bench_row",
                     NULL) != ERR_OK) {
        fprintf(stderr, "pg_bench: %.*s\n", STR_ARG(ctx.problem.message));
        exit(1);
    }
    PQfinish(conn);
    arena_free(arena);
}

int main(int argc, char **argv) {
    const char *url = getenv("DATABASE_URL");
    uint64_t n, seconds;
    if (argc != 4 || url == NULL || str_to_u64(str_c(argv[2]), KEYS_MAX, &n) != ERR_OK || n == 0 ||
        str_to_u64(str_c(argv[3]), 3600, &seconds) != ERR_OK) {
        fprintf(stderr, "usage: DATABASE_URL=… pg_bench points|any COROUTINES SECONDS\n");
        return 2;
    }
    if (getenv("PG_BENCH_KEEP") == NULL)
        setup(url);
    bool by_point = str_eq_c(STR("points"), argv[1]);
    PgConfig config = {.url = str_c(url), .application_name = STR("bench"), .writers = 1};
    if (loop_new(&loop) != ERR_OK || pg_pool_new(loop, &config, &pool) != ERR_OK)
        return 1;
    int64_t begin_ms = clock_mono_ms();
    end_ms = begin_ms + (int64_t)seconds * 1000;
    keys = (int)n;
    left = by_point ? (int)n : 1;
    for (int i = 0; i < left; i++) {
        if (co_spawn(loop, by_point ? points : any, NULL, NULL, NULL) != ERR_OK)
            fail("spawn");
    }
    loop_run(loop);
    double took = (double)(clock_mono_ms() - begin_ms) / 1000;
    printf("%s %" PRIu64 ": %.0f rows/s\n", argv[1], n, (double)rows / took);
    pg_pool_free(pool);
    loop_run(loop);
    loop_free(loop);
    return 0;
}
