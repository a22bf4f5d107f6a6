/*
 * gateway_db.h - the gateway's database, as the command line asks it.
 */
#pragma once
#include "usher/app.h"
#include "usher/cli.h"

/** A connection under the gateway's role, in seconds or not at all. ERR_* as pg_sync_connect, or ERR_TIMEOUT. */
MUST_USE Err gateway_open(Ctx *ctx, const Settings *settings, PGconn **ret);
/** The same for a command. On failure the problem is printed and *ret_status is the exit status. */
bool gateway_connect(Invocation *call, Settings *settings, PGconn **ret, int *ret_status);
/** One statement, for some seconds; values as text, NULL for NULL. Prints the problem when it fails. ERR_UNAVAILABLE:
 *  it took too long, too; where Postgres does not even say so, the connection is beyond use (PQstatus), and whether the
 *  statement had its effect is not known. Never ERR_TIMEOUT, by which callers mean what they themselves wait for. */
MUST_USE Err gateway_ask(Invocation *call, PGconn *conn, const char *sql, int n, const char *const *values,
                         PGresult **ret);
/** A field as text; absent for NULL. Borrowed from the result. */
Str gateway_field(const PGresult *result, int row, int column);
int64_t gateway_number(const PGresult *result, int row, int column);
/** For CLEANUP. */
void gateway_clear(PGresult **result);
void gateway_finish(PGconn **conn);
/** "2h", "7d" or a date "2027-01-31[T…]" → a point in time after (or, for "2h" with past, before) now, as Postgres
 *  reads it, in ctx's arena. ERR_INVALID with words. */
MUST_USE Err gateway_time(Ctx *ctx, const char *option, const char *text, Str *ret);
/** Who works here: --by, else the user's name at this machine. */
const char *gateway_who(Invocation *call);
