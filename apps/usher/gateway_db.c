/*
 * gateway_db.c - connecting, asking, and times as people write them.
 *
 * Every statement has two limits. Postgres's own comes first and is clean: the statement is undone and the connection
 * goes on. Ours is for a Postgres that hangs, or a network that swallows: then nothing is known, and the connection
 * ends.
 */
#include "usher/gateway_db.h"

#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "api_gateway/api_gateway.h"

enum { ASK_MS = 10000, OPEN_MS = 20000 };
static const char LIMIT_SQL[] = "SET statement_timeout = '8s'"; /* below ASK_MS */

Err gateway_open(Ctx *ctx, const Settings *settings, PGconn **ret) {
    Str url = settings_database_url(settings, GATEWAY_CONTEXT.database_env);
    Str role = settings->set_role ? str_c(GATEWAY_CONTEXT.role) : (Str){NULL, 0};
    PGconn *conn = NULL;
    ctx->deadline_ms = clock_mono_ms() + OPEN_MS;
    Err err = pg_sync_connect(ctx, url, role, &conn);
    if (err == ERR_OK)
        err = pg_sync_exec(ctx, conn, LIMIT_SQL, NULL);
    ctx->deadline_ms = 0;
    if (err == ERR_OK)
        *ret = conn;
    else
        gateway_finish(&conn);
    return err;
}

bool gateway_connect(Invocation *call, Settings *settings, PGconn **ret, int *ret_status) {
    if (!cli_settings(call, settings, ret_status))
        return false;
    if (gateway_open(call->ctx, settings, ret) == ERR_OK)
        return true;
    *ret_status = cli_fail(call->ctx, 2, "the gateway's database");
    return false;
}

Err gateway_ask(Invocation *call, PGconn *conn, const char *sql, int n, const char *const *values, PGresult **ret) {
    problem_clear(call->ctx);
    call->ctx->deadline_ms = clock_mono_ms() + ASK_MS;
    Err err = pg_sync_exec_params(call->ctx, conn, sql, n, values, ret);
    call->ctx->deadline_ms = 0;
    if (err != ERR_OK)
        (void)cli_fail(call->ctx, 2, "the gateway's database");
    return err == ERR_TIMEOUT ? ERR_UNAVAILABLE : err;
}

Str gateway_field(const PGresult *result, int row, int column) {
    if (PQgetisnull(result, row, column))
        return (Str){NULL, 0};
    return (Str){PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column)};
}

int64_t gateway_number(const PGresult *result, int row, int column) {
    Str text = gateway_field(result, row, column);
    bool negative = text.n > 0 && text.p[0] == '-';
    uint64_t value = 0;
    if (str_to_u64(str_slice(text, negative, text.n), INT64_MAX, &value) != ERR_OK)
        return 0;
    return negative ? -(int64_t)value : (int64_t)value;
}

void gateway_clear(PGresult **result) {
    if (*result != NULL)
        PQclear(*result);
    *result = NULL;
}

void gateway_finish(PGconn **conn) {
    if (*conn != NULL)
        PQfinish(*conn);
    *conn = NULL;
}

Err gateway_time(Ctx *ctx, const char *option, const char *text, Str *ret) {
    Str given = str_c(text);
    int64_t ms;
    uint64_t days;
    Instant at;
    if (given.n > 1 && str_ends_with(given, STR("d")) &&
        str_to_u64(str_slice(given, 0, given.n - 1), 36500, &days) == ERR_OK)
        ms = (int64_t)days * 86400000;
    else if (config_parse_duration(given, &ms) != ERR_OK)
        ms = -1;
    if (ms >= 0) {
        at = clock_now();
        at.ticks += ms * (TICKS_PER_SECOND / 1000);
    } else if (instant_parse(given, &at) != ERR_OK) {
        return ctx_problem(ctx, ERR_INVALID, option, "--%s takes a time such as 12h, 30d or 2027-01-31, not \"%s\"",
                           option, text);
    }
    char out[INSTANT_TEXT_MAX];
    *ret = arena_str(ctx->arena, (Str){out, instant_format(at, out)});
    return ret->p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

const char *gateway_who(Invocation *call) {
    const char *by = option_text(call, "by");
    const struct passwd *user = by == NULL ? getpwuid(getuid()) : NULL;
    return by != NULL ? by : user != NULL ? user->pw_name : "unknown";
}
