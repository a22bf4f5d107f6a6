/*
 * cmd_diffs.c - `usher diffs`: what differs between the old side and the new, by cause; what of it is expected.
 */
#include <stdlib.h>

#include "api_gateway/api_gateway.h"
#include "usher/cmd.h"
#include "usher/diffs.h"
#include "usher/trial_print.h"
#include "json/json.h"

const Option OPTIONS_diffs[] = {
    {"route", OPTION_TEXT, "ROUTE", "only this one, e.g. \"GET /events/{id}\"; expect: the route it is expected on"},
    {"class", OPTION_TEXT, "CLASS", "list, export: real, lag or expected"},
    {"all", OPTION_FLAG, NULL, "list: also those that were resolved"},
    {"pointer", OPTION_TEXT, "POINTER", "expect: the place, e.g. \"/*/Price\"; * is any one segment"},
    {"kind", OPTION_TEXT, "KIND", "expect: status, answer, header, bytes, value, type, missing, extra, id or message"},
    {"reason", OPTION_TEXT, "TEXT", "expect: why it is wanted"},
    {"owner", OPTION_TEXT, "NAME", "expect: who answers for it"},
    {"until", OPTION_TEXT, "TIME", "expect: when it counts again: 30d, or 2027-01-31"},
    {"by", OPTION_TEXT, "NAME", "who does this (default: your user name)"},
    {"json", OPTION_FLAG, NULL, "print JSON"},
    {.name = NULL},
};

static const char *const EXPLAINED[DIFFERENCE_KIND_COUNT] = {
    [DIFFERS_STATUS] = "The new side answers with another status.",
    [DIFFERS_ANSWER] =
        "The new side gives no whole answer: it is away, too slow, or ends early. The new value says how.",
    [DIFFERS_HEADER] = "A header that clients can see has another value, or is there on one side only.",
    [DIFFERS_BYTES] = "The bodies are not both JSON and differ byte by byte.",
    [DIFFERS_VALUE] = "A value differs, of the same type. Numbers and instants are compared exactly, by value.",
    [DIFFERS_TYPE] = "A value is of another JSON type.",
    [DIFFERS_MISSING] = "The new side lacks a member or an element.",
    [DIFFERS_EXTRA] = "The new side has a member or an element that the old one lacks.",
    [DIFFERS_ID] =
        ("An id differs. Either ids of that kind must be the same on both sides (SHADOW_LEARN_IDS names those "
         "that may not be), or it stands for another one already."),
    [DIFFERS_MESSAGE] =
        ("The new side would publish a message; on the broker none of this type and about this thing was seen "
         "within SHADOW_MESSAGE_WAIT."),
};

static int bad_use(Invocation *call, const char *text) {
    (void)ctx_problem(call->ctx, ERR_INVALID, NULL, "%s", text);
    return cli_fail(call->ctx, 2, "diffs");
}

static void write_row(JsonWriter *w, const PGresult *r, int row, const char *const *names) {
    json_object(w);
    for (int i = 0; names[i] != NULL; i++) {
        Str text = gateway_field(r, row, i);
        json_name(w, str_c(names[i]));
        Oid type = PQftype(r, i);
        if (text.p != NULL && (type == OID_INT8 || type == OID_INT4))
            json_write_raw(w, text);
        else
            json_write_string(w, text);
    }
    json_object_end(w);
}

static void print_rows(Invocation *call, const char *const *groups, PGresult *const *results,
                       const char *const *const *names) {
    Buf out = buf_new(call->ctx->arena, 64 << 20);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 1);
    json_object(&w);
    for (int i = 0; groups[i] != NULL; i++) {
        json_name(&w, str_c(groups[i]));
        json_array(&w);
        for (int row = 0; row < PQntuples(results[i]); row++)
            write_row(&w, results[i], row, names[i]);
        json_array_end(&w);
    }
    json_object_end(&w);
    buf_add_char(&out, '\n');
    out_str(buf_str(&out));
}

/* --- list --------------------------------------------------------------------------------------------------------- */

static const char *const CLUSTER_NAMES[] = {"id",         "route",     "pointer",   "kind",      "class",   "count",
                                            "first_seen", "last_seen", "old_value", "new_value", "samples", NULL};
static const char *const EFFECT_NAMES[] = {"route", "what", "inserted", "updated", "deleted", "published", NULL};
static const char *const TALLY_NAMES[] = {"route", "source",   "compared", "equal",   "real",
                                          "lag",   "expected", "noisy",    "skipped", NULL};

#define CLUSTER_COLUMNS                                                                                                \
    "c.id, c.route, c.pointer, c.kind, c.class, c.count, to_char(c.first_seen AT TIME ZONE 'UTC', "                    \
    "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), to_char(c.last_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), "   \
    "c.old_value, c.new_value, (SELECT count(*) FROM gateway.samples s WHERE s.cluster_id = c.id)"

static int list(Invocation *call, PGconn *conn) {
    PGresult *clusters CLEANUP(gateway_clear) = NULL, *tallies CLEANUP(gateway_clear) = NULL;
    PGresult *effects CLEANUP(gateway_clear) = NULL;
    const char *values[] = {option_text(call, "route"), option_text(call, "class"),
                            option_flag(call, "all") ? "t" : "f"};
    if (gateway_ask(call, conn,
                    "SELECT " CLUSTER_COLUMNS " FROM gateway.clusters c WHERE ($1::text IS NULL OR c.route = $1) AND "
                    "($2::text IS NULL OR c.class = $2) AND ($3::boolean OR c.resolved_at IS NULL) "
                    "ORDER BY c.class = 'real' DESC, c.count DESC, c.id LIMIT 1000",
                    3, values, &clusters) != ERR_OK ||
        gateway_ask(
            call, conn,
            "SELECT route, source, sum(compared)::bigint, sum(equal)::bigint, sum(real)::bigint, sum(lag)::bigint, "
            "sum(expected)::bigint, sum(noisy)::bigint, sum(skipped)::bigint FROM gateway.tallies "
            "WHERE $1::text IS NULL OR route = $1 GROUP BY route, source ORDER BY route, source",
            1, values, &tallies) != ERR_OK ||
        gateway_ask(call, conn,
                    "SELECT route, what, inserted, updated, deleted, published FROM gateway.effects WHERE $1::text IS "
                    "NULL OR route = $1 ORDER BY route, what LIMIT 1000",
                    1, values, &effects) != ERR_OK)
        return 2;
    if (option_flag(call, "json")) {
        print_rows(call, (const char *const[]){"causes", "routes", "effects", NULL},
                   (PGresult *const[]){clusters, tallies, effects},
                   (const char *const *const[]){CLUSTER_NAMES, TALLY_NAMES, EFFECT_NAMES});
        return 0;
    }
    out_printf("%-44s %9s %9s %7s %7s %9s %9s\n", "route", "compared", "equal", "real", "lag", "expected", "skipped");
    for (int row = 0; row < PQntuples(tallies); row++)
        out_printf("%-44s %9s %9s %7s %7s %9s %9s%s\n", PQgetvalue(tallies, row, 0), PQgetvalue(tallies, row, 2),
                   PQgetvalue(tallies, row, 3), PQgetvalue(tallies, row, 4), PQgetvalue(tallies, row, 5),
                   PQgetvalue(tallies, row, 6), PQgetvalue(tallies, row, 8),
                   strcmp(PQgetvalue(tallies, row, 1), "live") == 0 ? "" : "  (replayed)");
    if (PQntuples(effects) > 0)
        out_printf("\n%-24s %-44s %9s %9s %7s %9s\n", "would write, publish", "what", "new", "changed", "gone",
                   "published");
    for (int row = 0; row < PQntuples(effects); row++)
        out_printf("%-24s %-44s %9s %9s %7s %9s\n", PQgetvalue(effects, row, 0), PQgetvalue(effects, row, 1),
                   PQgetvalue(effects, row, 2), PQgetvalue(effects, row, 3), PQgetvalue(effects, row, 4),
                   PQgetvalue(effects, row, 5));
    out_printf("\n%6s %-8s %8s  %-8s %s\n", "id", "class", "count", "kind", "where");
    for (int row = 0; row < PQntuples(clusters); row++)
        out_printf("%6s %-8s %8s  %-8s %s %s: %s / %s\n", PQgetvalue(clusters, row, 0), PQgetvalue(clusters, row, 4),
                   PQgetvalue(clusters, row, 5), PQgetvalue(clusters, row, 3), PQgetvalue(clusters, row, 1),
                   PQgetlength(clusters, row, 2) == 0 ? "(whole)" : PQgetvalue(clusters, row, 2),
                   PQgetvalue(clusters, row, 8), PQgetvalue(clusters, row, 9));
    return 0;
}

/* --- show, explain ------------------------------------------------------------------------------------------------ */

static const char *const SAMPLE_NAMES[] = {"id",         "taken_at",    "method",       "target",     "request_headers",
                                           "old_status", "old_headers", "old_body",     "new_status", "new_headers",
                                           "new_body",   "differences", "request_body", "effects",    NULL};

/* What a trial would have done, in the words of `usher shadow-write`. */
static void show_effects(Ctx *ctx, Str text) {
    Json *actions;
    if (text.n == 0)
        return;
    if (json_parse(text, ctx->arena, JSON_DUPLICATES_LAST, &actions, NULL) == ERR_OK)
        trial_print_actions(ctx->arena, actions);
    else
        out_printf("would write and publish: %.*s\n", STR_ARG(text)); /* it was cut */
}

static void show_sample(Ctx *ctx, const PGresult *r, int row) {
    bool wrote = PQgetlength(r, row, 12) > 0 || PQgetlength(r, row, 13) > 0;
    out_printf("\nsample %s of %s\n%s %s\n%s%s%s\nold: %s\n%s%s\n\n%s: %s\n%s%s\n\n", PQgetvalue(r, row, 0),
               PQgetvalue(r, row, 1), PQgetvalue(r, row, 2), PQgetvalue(r, row, 3), PQgetvalue(r, row, 4),
               PQgetvalue(r, row, 12), wrote ? "\n" : "", PQgetvalue(r, row, 5), PQgetvalue(r, row, 6),
               PQgetvalue(r, row, 7), wrote ? "new, tried and rolled back" : "new", PQgetvalue(r, row, 8),
               PQgetvalue(r, row, 9), PQgetvalue(r, row, 10));
    show_effects(ctx, gateway_field(r, row, 13));
    out_printf("%s", PQgetvalue(r, row, 11));
}

static bool find_cause(Invocation *call, PGconn *conn, PGresult **ret, int *ret_status) {
    uint64_t id;
    if (call->argument_count < 2 || str_to_u64(str_c(call->arguments[1]), INT64_MAX, &id) != ERR_OK) {
        *ret_status = bad_use(call, "say which cause, by the id that `usher diffs list` shows");
        return false;
    }
    *ret_status = 2;
    if (gateway_ask(call, conn, "SELECT " CLUSTER_COLUMNS " FROM gateway.clusters c WHERE c.id = $1::bigint", 1,
                    &call->arguments[1], ret) != ERR_OK)
        return false;
    if (PQntuples(*ret) == 1)
        return true;
    *ret_status = bad_use(call, "there is no such cause");
    return false;
}

static int show(Invocation *call, PGconn *conn) {
    PGresult *cause CLEANUP(gateway_clear) = NULL, *samples CLEANUP(gateway_clear) = NULL;
    int status;
    if (!find_cause(call, conn, &cause, &status))
        return status;
    if (gateway_ask(
            call, conn,
            "SELECT id, taken_at, method, target, request_headers, old_status, old_headers, old_body, new_status, "
            "new_headers, new_body, differences, request_body, effects FROM gateway.samples WHERE cluster_id = "
            "$1::bigint ORDER BY id",
            1, &call->arguments[1], &samples) != ERR_OK)
        return 2;
    if (option_flag(call, "json")) {
        print_rows(call, (const char *const[]){"cause", "samples", NULL}, (PGresult *const[]){cause, samples},
                   (const char *const *const[]){CLUSTER_NAMES, SAMPLE_NAMES});
        return 0;
    }
    out_printf("%s %s %s: %s / %s (%s times)\n", PQgetvalue(cause, 0, 1), PQgetvalue(cause, 0, 3),
               PQgetvalue(cause, 0, 2), PQgetvalue(cause, 0, 8), PQgetvalue(cause, 0, 9), PQgetvalue(cause, 0, 5));
    for (int row = 0; row < PQntuples(samples); row++)
        show_sample(call->ctx, samples, row);
    return 0;
}

static const char *explained(Str kind) {
    for (DifferenceKind each = 0; each < DIFFERENCE_KIND_COUNT; each++)
        if (str_eq_c(kind, difference_kind_name(each)))
            return EXPLAINED[each];
    return "";
}

static int explain(Invocation *call, PGconn *conn) {
    PGresult *cause CLEANUP(gateway_clear) = NULL, *share CLEANUP(gateway_clear) = NULL;
    int status;
    if (!find_cause(call, conn, &cause, &status))
        return status;
    const char *route = PQgetvalue(cause, 0, 1), *class = PQgetvalue(cause, 0, 4), *id = call->arguments[1];
    bool write = !str_starts_with(str_c(route), STR("GET "));
    if (gateway_ask(call, conn, "SELECT coalesce(sum(compared), 0)::bigint FROM gateway.tallies WHERE route = $1", 1,
                    &route, &share) != ERR_OK)
        return 2;
    out_printf("%s, at %s\n\n%s\n", route, PQgetlength(cause, 0, 2) == 0 ? "the whole answer" : PQgetvalue(cause, 0, 2),
               explained(gateway_field(cause, 0, 3)));
    out_printf("Seen %s times in %s comparisons of this route, first %s, last %s. Last old value: %s; new: %s.\n\n",
               PQgetvalue(cause, 0, 5), PQgetvalue(share, 0, 0), PQgetvalue(cause, 0, 6), PQgetvalue(cause, 0, 7),
               PQgetvalue(cause, 0, 8), PQgetvalue(cause, 0, 9));
    if (strcmp(class, "lag") == 0 && write)
        out_printf("Class lag: what the write is about was not on the new side yet, and was a little later. It does "
                   "not count against a\ngate, but says that the new side is behind.\n");
    else if (strcmp(class, "lag") == 0)
        out_printf(
            "Class lag: it was gone when both sides were asked again a little later. It does not count against a "
            "gate,\nbut says that the new side is behind.\n");
    else if (strcmp(class, "expected") == 0)
        out_printf(
            "Class expected: a row of gateway.expected_differences names it; when that expires it counts again.\n");
    else if (write)
        out_printf("Class real: tried once, behind the old side's answer, and rolled back; nobody is asked again for a "
                   "write. Where the data\nare kept in step, it may have met what the old side had written "
                   "(docs/cutover.md).\nSee it whole, and what it would have written: usher diffs show %s. Try it "
                   "again: usher diffs export %s > sample.json;\nusher shadow-write sample.json.\nIs it wanted: usher "
                   "diffs expect %s --reason … --owner … --until 30d.\n",
                   id, id, id);
    else
        out_printf(
            "Class real: it was still there when both sides were asked again, and the old side does not differ from "
            "itself there.\nSee it whole: usher diffs show %s. Replay it: usher diffs export %s > sample.json; usher "
            "replay sample.json --against URL.\nIs it wanted: usher diffs expect %s --reason … --owner … --until "
            "30d.\n",
            id, id, id);
    return 0;
}

/* --- expect, resolve ---------------------------------------------------------------------------------------------- */

static bool is_kind(const char *kind) {
    for (DifferenceKind each = 0; kind != NULL && each < DIFFERENCE_KIND_COUNT; each++)
        if (strcmp(kind, difference_kind_name(each)) == 0)
            return true;
    return kind == NULL;
}

static int expect(Invocation *call, PGconn *conn) {
    PGresult *cause CLEANUP(gateway_clear) = NULL, *made CLEANUP(gateway_clear) = NULL;
    const char *route = option_text(call, "route"), *pointer = option_text(call, "pointer"),
               *kind = option_text(call, "kind");
    const char *reason = option_text(call, "reason"), *owner = option_text(call, "owner"),
               *until = option_text(call, "until");
    int status;
    Str expires;
    if (reason == NULL || owner == NULL || until == NULL)
        return bad_use(call, "an expected difference needs --reason, --owner and --until");
    if (gateway_time(call->ctx, "until", until, &expires) != ERR_OK)
        return cli_fail(call->ctx, 2, "diffs");
    if (call->argument_count > 1) {
        if (!find_cause(call, conn, &cause, &status))
            return status;
        route = PQgetvalue(cause, 0, 1);
        pointer = PQgetvalue(cause, 0, 2);
        kind = PQgetvalue(cause, 0, 3);
    } else if (route == NULL && pointer == NULL) {
        return bad_use(call, "say what is expected: a cause's id, or --route and --pointer");
    }
    if (!is_kind(kind))
        return bad_use(call, "--kind is status, answer, header, bytes, value, type, missing, extra, id or message");
    const char *values[] = {route == NULL ? "" : route, pointer, kind == NULL ? "" : kind, reason, owner, expires.p,
                            gateway_who(call)};
    if (gateway_ask(
            call, conn,
            "WITH made AS (INSERT INTO gateway.expected_differences (route, pointer, kind, reason, owner, expires_at, "
            "created_at, created_by) VALUES ($1, $2, $3, $4, $5, $6::timestamptz, clock_timestamp(), $7) RETURNING "
            "id), gone AS (UPDATE gateway.clusters SET resolved_at = clock_timestamp() WHERE route = $1 AND pointer = "
            "$2 AND kind = $3 AND class = 'real') SELECT id, pg_notify('gateway_stages', '') FROM made",
            7, values, &made) != ERR_OK)
        return 2;
    out_printf("expected difference %s, until %s\n", PQgetvalue(made, 0, 0), expires.p);
    return 0;
}

static int resolve(Invocation *call, PGconn *conn) {
    PGresult *cause CLEANUP(gateway_clear) = NULL, *done CLEANUP(gateway_clear) = NULL;
    int status;
    if (!find_cause(call, conn, &cause, &status))
        return status;
    if (gateway_ask(call, conn, "UPDATE gateway.clusters SET resolved_at = clock_timestamp() WHERE id = $1::bigint", 1,
                    &call->arguments[1], &done) != ERR_OK)
        return 2;
    out_printf("resolved; if it comes again it is listed again\n");
    return 0;
}

static const struct {
    const char *name;
    int (*run)(Invocation *call, PGconn *conn);
} SUBCOMMANDS[] = {
    {"list", list},     {"show", show},       {"explain", explain},
    {"expect", expect}, {"resolve", resolve}, {"export", diffs_export},
};

int cmd_diffs(Invocation *call) {
    Settings settings;
    PGconn *conn CLEANUP(gateway_finish) = NULL;
    int status;
    for (size_t i = 0; i < ARRAY_LEN(SUBCOMMANDS); i++) {
        if (strcmp(call->arguments[0], SUBCOMMANDS[i].name) != 0)
            continue;
        return gateway_connect(call, &settings, &conn, &status) ? SUBCOMMANDS[i].run(call, conn) : status;
    }
    return bad_use(call, "diffs list, show ID, explain ID, expect ID, resolve ID or export [ID]");
}
