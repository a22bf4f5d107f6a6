/*
 * cmd_doctor.c - checks what serving needs, and says how to mend what is wrong.
 *
 * Each check is a short function that reports one or more findings: fine, a warning, or wrong with its mend. Nothing is
 * changed anywhere.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "resource/migrate.h"
#include "runtime/confine.h"
#include "usher/app.h"
#include "usher/cmd.h"
#include "usher/doctor.h"
#include "usher/tls.h"

enum { ASK_MS = 10000 };

const Option OPTIONS_doctor[] = {{"json", OPTION_FLAG, NULL, "print JSON"}, {.name = NULL}};

void found(Doctor *doctor, Finding finding, const char *subject, Str what, const char *mend) {
    static const char *const words[] = {"ok", "warning", "wrong"};
    doctor->wrong += finding == WRONG;
    doctor->warnings += finding == WARNING;
    if (doctor->json == NULL) {
        out_printf("%-8s %-18s %.*s\n", words[finding], subject, STR_ARG(what));
        if (mend != NULL)
            out_printf("%-8s %-18s -> %s\n", "", "", mend);
        return;
    }
    json_object(doctor->json);
    json_name(doctor->json, STR("finding"));
    json_write_string(doctor->json, str_c(words[finding]));
    json_name(doctor->json, STR("subject"));
    json_write_string(doctor->json, str_c(subject));
    json_name(doctor->json, STR("what"));
    json_write_string(doctor->json, what);
    json_name(doctor->json, STR("mend"));
    json_write_string(doctor->json, str_c(mend));
    json_object_end(doctor->json);
}

/* One value of one row, as text; absent on failure (told as a finding). */
static Str ask(Doctor *doctor, PGconn *conn, const char *subject, const char *sql, const char *value) {
    PGresult *result = NULL;
    const char *values[] = {value};
    doctor->ctx->problem = (Problem){0};
    doctor->ctx->deadline_ms = clock_mono_ms() + ASK_MS;
    Err err = pg_sync_exec_params(doctor->ctx, conn, sql, value == NULL ? 0 : 1, values, &result);
    doctor->ctx->deadline_ms = 0;
    if (err != ERR_OK) {
        found(doctor, WRONG, subject, doctor->ctx->problem.message, "see the server's log");
        return (Str){NULL, 0};
    }
    Str answer = PQntuples(result) == 0 ? STR("") : arena_str(doctor->ctx->arena, str_c(PQgetvalue(result, 0, 0)));
    PQclear(result);
    return answer;
}

static void check_server(Doctor *doctor, const Context *context, PGconn *conn) {
    int version = PQserverVersion(conn);
    found(doctor, version >= 140000 ? FINE : WRONG, context->name,
          SAY(doctor, "Postgres %d.%d", version / 10000, version % 10000),
          version >= 140000 ? NULL : "usher needs Postgres 14 or newer");
    Str durable = ask(doctor, conn, context->name,
                      "SELECT string_agg(name, ', ') FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', "
                      "'full_page_writes') AND setting = 'off'",
                      NULL);
    if (durable.p != NULL && durable.n > 0)
        found(doctor, WARNING, context->name, SAY(doctor, "%.*s off: a crash can lose commits", STR_ARG(durable)),
              "switch them on in postgresql.conf");
    Str skew = ask(doctor, conn, context->name, "SELECT (extract(epoch from clock_timestamp()) * 1000)::bigint", NULL);
    int64_t server_ms = skew.p == NULL ? 0 : strtoll(skew.p, NULL, 10),
            ours_ms = instant_to_unix_us(clock_now()) / 1000;
    int64_t apart = llabs(server_ms - ours_ms);
    if (skew.p != NULL)
        found(doctor, apart < 2000 ? FINE : WRONG, context->name,
              SAY(doctor, "clocks are %lld ms apart", (long long)apart),
              apart < 2000 ? NULL : "run an NTP client on both machines: dates are compared with both clocks");
    Str spare = ask(doctor, conn, context->name,
                    "SELECT current_setting('max_connections')::int - (SELECT count(*) FROM pg_stat_activity WHERE "
                    "backend_type = 'client backend')",
                    NULL);
    int64_t needed = 3 * (doctor->settings->http_workers + 2) + 4 * doctor->settings->jobs_workers;
    if (spare.p != NULL)
        found(doctor, strtoll(spare.p, NULL, 10) >= needed ? FINE : WARNING, context->name,
              SAY(doctor, "%.*s free connections, %lld needed by one usher", STR_ARG(spare), (long long)needed),
              strtoll(spare.p, NULL, 10) >= needed ? NULL : "raise max_connections, or lower HTTP_WORKERS");
}

/* A pooler in transaction mode gives each transaction whatever connection is free: prepared statements, LISTEN and SET
 * ROLE then belong to somebody else. What is set in one round trip and gone in the next tells. */
static void check_pooler(Doctor *doctor, const Context *context, PGconn *conn) {
    bool pooled = doctor->settings->database_pooled;
    Str here = ask(doctor, conn, context->name, "SELECT pg_backend_pid()::text", NULL);
    bool between = here.p != NULL && strtoll(here.p, NULL, 10) != PQbackendPID(conn);
    if (pooled)
        found(doctor, FINE, context->name,
              STR("DATABASE_POOLED: statements are not prepared, relays and consumers wake by polling only"), NULL);
    else if (between)
        found(doctor, WRONG, context->name, STR("a pooler stands before Postgres"),
              "set DATABASE_POOLED=true and SET_ROLE=false (with a user for each context), or give usher a direct URL");
    if (pooled && doctor->settings->set_role)
        found(doctor, WRONG, context->name, STR("SET_ROLE cannot work through a pooler"),
              "set SET_ROLE=false; give each context's URL a user of its own that has its role's privileges");
}

static void check_migrations(Doctor *doctor, const Context *context, PGconn *conn) {
    MigrationStatus *rows;
    size_t n, pending = 0, odd = 0;
    doctor->ctx->problem = (Problem){0};
    if (migrate_status(doctor->ctx, context, conn, &rows, &n) != ERR_OK) {
        found(doctor, WRONG, context->name, doctor->ctx->problem.message, "run `usher migrate up`");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        pending += !rows[i].applied;
        odd += rows[i].checksum_differs || rows[i].unknown_here;
    }
    if (pending > 0)
        found(doctor, WRONG, context->name, SAY(doctor, "%zu migrations are not applied", pending),
              "run `usher migrate up`");
    else if (odd > 0)
        found(doctor, WRONG, context->name, SAY(doctor, "%zu migrations differ from this usher's", odd),
              "run `usher migrate status` and deploy the usher that applied them");
    else
        found(doctor, FINE, context->name, SAY(doctor, "%zu migrations applied", n), NULL);
}

static void check_privileges(Doctor *doctor, const Context *context, PGconn *conn) {
    if (!doctor->settings->set_role)
        return;
    Str exists = ask(doctor, conn, context->name, "SELECT count(*) FROM pg_roles WHERE rolname = $1", context->role);
    if (exists.p == NULL || str_eq(exists, STR("0"))) {
        found(doctor, WRONG, context->name, SAY(doctor, "there is no role %s", context->role),
              "run `usher migrate up` as a user that may create roles, or set SET_ROLE=false");
        return;
    }
    Str member =
        ask(doctor, conn, context->name, "SELECT pg_has_role(current_user, $1, 'MEMBER')::text", context->role);
    if (member.p != NULL && !str_eq(member, STR("true"))) {
        found(doctor, WRONG, context->name, SAY(doctor, "the URL's user may not become %s", context->role),
              "GRANT that role to it, or set SET_ROLE=false");
        return;
    }
    Str more =
        ask(doctor, conn, context->name, "SELECT rolsuper::text FROM pg_roles WHERE rolname = $1", context->role);
    found(doctor, str_eq(more, STR("true")) ? WARNING : FINE, context->name, SAY(doctor, "role %s", context->role),
          str_eq(more, STR("true")) ? "it is a superuser; least privilege would be safer" : NULL);
}

static void check_context(Doctor *doctor, const Context *context) {
    Str url = settings_database_url(doctor->settings, context->database_env);
    PGconn *conn;
    if (url.p == NULL || url.n == 0) {
        found(doctor, WRONG, context->name, STR("no database is configured"), "set DATABASE_URL, or try `usher dev`");
        return;
    }
    doctor->ctx->problem = (Problem){0};
    if (pg_sync_connect(doctor->ctx, url, (Str){NULL, 0}, &conn) != ERR_OK) {
        found(doctor, WRONG, context->name, doctor->ctx->problem.message,
              "is Postgres running, and does the URL name the right host, user and database?");
        return;
    }
    check_server(doctor, context, conn);
    check_pooler(doctor, context, conn);
    check_migrations(doctor, context, conn);
    check_privileges(doctor, context, conn);
    PQfinish(conn);
}

static void check_listen(Doctor *doctor) {
    Str rest = doctor->settings->listen;
    while (rest.p != NULL) {
        Str address = str_trim(str_cut(&rest, ','), " "), why = {NULL, 0};
        int fd;
        if (http_listen_socket(address, &fd, &why, doctor->ctx->arena) == ERR_OK) {
            (void)close(fd);
            found(doctor, FINE, "listen", SAY(doctor, "%.*s can be bound", STR_ARG(address)), NULL);
        } else {
            found(doctor, WARNING, "listen", why,
                  "an usher that serves already explains this; else choose another LISTEN");
        }
    }
}

static void tls_fine(void *data, Str what) {
    found(data, FINE, "tls", what, NULL);
}

static void tls_warning(void *data, Str what, const char *mend) {
    found(data, WARNING, "tls", what, mend);
}

static void tls_wrong(void *data, Str what, const char *mend) {
    found(data, WRONG, "tls", what, mend);
}

static void check_tls(Doctor *doctor) {
    const TlsExamination examination = {tls_fine, tls_warning, tls_wrong, doctor};
    bool http = tls_is_wanted(doctor->settings->listen);
    tls_examine(doctor->ctx, doctor->settings, http ? doctor->settings->listen : doctor->settings->gateway_listen,
                &examination);
}

static int64_t read_number(const char *path) {
    char text[64] = "";
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -1;
    size_t n = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    return n == 0 ? -1 : strtoll(text, NULL, 10);
}

static void check_limits(Doctor *doctor) {
    struct rlimit files;
    int64_t wanted = doctor->settings->connections_max + 256;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        found(doctor, (int64_t)files.rlim_cur >= wanted ? FINE : WARNING, "open files",
              SAY(doctor, "%lld allowed, %lld wanted by CONNECTIONS_MAX", (long long)files.rlim_cur, (long long)wanted),
              (int64_t)files.rlim_cur >= wanted ? NULL
                                                : "raise it (ulimit -n, LimitNOFILE=), or lower CONNECTIONS_MAX");
    int64_t maps = read_number("/proc/sys/vm/max_map_count");
    if (maps > 0)
        found(doctor, maps >= 65530 ? FINE : WARNING, "memory maps",
              SAY(doctor, "vm.max_map_count is %lld", (long long)maps),
              maps >= 65530 ? NULL : "sysctl vm.max_map_count=65530: each coroutine stack takes two");
    int64_t backlog = read_number("/proc/sys/net/core/somaxconn");
    if (backlog > 0 && backlog < 1024)
        found(doctor, WARNING, "backlog", SAY(doctor, "net.core.somaxconn is %lld", (long long)backlog),
              "sysctl net.core.somaxconn=4096: bursts of new clients wait there");
}

static void check_confinement(Doctor *doctor) {
    const char *missing = confine_filter_missing();
    if (!doctor->settings->confine)
        found(doctor, WARNING, "confinement", STR("CONFINE is off: workers keep every right and system call"),
              "unset CONFINE, unless something here needs them");
    else if (missing != NULL)
        found(doctor, WARNING, "confinement", str_c(missing),
              "serve with a release build, on a kernel with CONFIG_SECCOMP_FILTER");
    else
        found(doctor, FINE, "confinement", STR("no capabilities, no new privileges, system calls are filtered"), NULL);
    if (geteuid() == 0 && doctor->settings->run_as.n == 0)
        found(doctor, WARNING, "user", STR("workers run as root"), "set RUN_AS to an account of usher's own");
}

int cmd_doctor(Invocation *call) {
    Settings settings;
    int status;
    if (!cli_settings(call, &settings, &status))
        return status;
    Buf out = buf_new(call->ctx->arena, 1024 * 1024);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 1);
    Doctor doctor = {.ctx = call->ctx, .settings = &settings, .json = option_flag(call, "json") ? &w : NULL};
    if (doctor.json != NULL)
        json_array(&w);
    for (const Context *const *context = CONTEXTS; *context != NULL; context++) {
        Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 1024 * 1024);
        if (context_verify(*context, &mistakes) > 0)
            found(&doctor, WRONG, (*context)->name, arena_str(call->ctx->arena, buf_str(&mistakes)),
                  "mend the declarations");
        check_context(&doctor, *context);
    }
    check_broker(&doctor);
    check_listen(&doctor);
    check_tls(&doctor);
    check_limits(&doctor);
    check_confinement(&doctor);
    if (doctor.json != NULL) {
        json_array_end(&w);
        buf_add_char(&out, '\n');
        out_str(buf_str(&out));
    } else {
        out_printf("%zu wrong, %zu warnings\n", doctor.wrong, doctor.warnings);
    }
    return doctor.wrong == 0 ? 0 : 1;
}
