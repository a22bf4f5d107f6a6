/*
 * cmd_info.c - commands that only tell: routes, quirks, config, version, help.
 */
#include <libpq-fe.h>
#include <stdlib.h>
#include <uv.h>

#include "legacy/quirks.h"
#include "usher/app.h"
#include "usher/cmd.h"
#include "usher/coverage.h"
#include "json/json.h"

static int print_buf(Invocation *call, const Buf *out, const char *what) {
    Str text;
    Err err = buf_finish(out, &text);
    if (err != ERR_OK) {
        call->ctx->problem.code = err;
        return cli_fail(call->ctx, 2, what);
    }
    out_str(text);
    return 0;
}

/* --- routes ------------------------------------------------------------------------------------------------------ */

const Option OPTIONS_routes[] = {
    {"json", OPTION_FLAG, NULL, "print JSON"},
    {"contracts", OPTION_TEXT, "DIR",
     "folder of the recordings (default: contracts); shows which of them cover each route"},
    {.name = NULL},
};

static const char *method_name(Method method) {
    static const char *const names[] = {[METHOD_OTHER] = "?",
#define NAME(name) [METHOD_##name] = #name,
                                        HTTP_METHODS(NAME)
#undef NAME
    };
    return names[method];
}

static void route_json(JsonWriter *w, const Route *route, const Coverage *coverage) {
    json_object(w);
    json_name(w, STR("method"));
    json_write_string(w, str_c(method_name(route->method)));
    json_name(w, STR("path"));
    json_write_string(w, str_c(route->pattern));
    json_name(w, STR("context"));
    json_write_string(w, str_c(route->context));
    json_name(w, STR("action"));
    json_write_string(w, str_c(route->action));
    json_name(w, STR("surface"));
    json_write_string(w, str_c(route->surface));
    json_name(w, STR("quirks"));
    json_array(w);
    for (const char *const *name = route->quirks; name != NULL && *name != NULL; name++)
        json_write_string(w, str_c(*name));
    json_array_end(w);
    json_name(w, STR("recordings"));
    json_object(w);
    for (size_t i = 0; coverage != NULL && i < coverage->n; i++) {
        size_t count = coverage_count(coverage, i, route);
        if (count > 0) {
            json_name(w, coverage->names[i]);
            json_write_i64(w, (int64_t)count);
        }
    }
    json_object_end(w);
    json_object_end(w);
}

static void route_line(const Route *route, const Coverage *coverage) {
    out_printf("%-5s %-44s %-8s %-10s", method_name(route->method), route->pattern, route->context, route->action);
    size_t exchanges = 0, scenarios = 0;
    for (size_t i = 0; coverage != NULL && i < coverage->n; i++) {
        size_t count = coverage_count(coverage, i, route);
        exchanges += count;
        scenarios += count > 0;
    }
    if (coverage != NULL)
        out_printf(" %3zu exchanges in %2zu recordings", exchanges, scenarios);
    out_printf("\n");
    for (const char *const *name = route->quirks; name != NULL && *name != NULL; name++)
        out_printf("      %s %s\n", name == route->quirks ? "quirks" : "      ", *name);
}

int cmd_routes(Invocation *call) {
    Router *router;
    Err err = app_router(call->ctx, call->ctx->arena, &router);
    if (err != ERR_OK)
        return cli_fail(call->ctx, 2, "routes");
    const char *folder = option_text(call, "contracts");
    Coverage coverage;
    err = coverage_read(call->ctx, router, folder == NULL ? "contracts" : folder, &coverage);
    if (err != ERR_OK && folder != NULL)
        return cli_fail(call->ctx, 2, "routes");
    const Coverage *seen = err == ERR_OK ? &coverage : NULL;
    size_t at = 0;
    const Route *route;
    if (!option_flag(call, "json")) {
        while ((route = router_each(router, &at)) != NULL)
            route_line(route, seen);
        return 0;
    }
    Buf out = buf_new(call->ctx->arena, 4 * 1024 * 1024);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 2);
    json_array(&w);
    while ((route = router_each(router, &at)) != NULL)
        route_json(&w, route, seen);
    json_array_end(&w);
    buf_add_char(&out, '\n');
    return print_buf(call, &out, "routes");
}

/* --- quirks ------------------------------------------------------------------------------------------------------ */

const Option OPTIONS_quirks[] = {{"json", OPTION_FLAG, NULL, "print JSON"}, {.name = NULL}};

int cmd_quirks(Invocation *call) {
    Settings settings;
    int status;
    if (!cli_settings(call, &settings, &status))
        return status;
    Buf out = buf_new(call->ctx->arena, 1024 * 1024);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 2);
    json_array(&w);
    for (QuirkId id = 0; id < QUIRK_COUNT; id++) {
        if (!option_flag(call, "json")) {
            out_printf("%-28s %-4s %s\n", QUIRKS[id].name, quirk(id) ? "on" : "off", QUIRKS[id].doc);
            continue;
        }
        json_object(&w);
        json_name(&w, STR("name"));
        json_write_string(&w, str_c(QUIRKS[id].name));
        json_name(&w, STR("on"));
        json_write_bool(&w, quirk(id));
        json_name(&w, STR("doc"));
        json_write_string(&w, str_c(QUIRKS[id].doc));
        json_object_end(&w);
    }
    json_array_end(&w);
    buf_add_char(&out, '\n');
    return option_flag(call, "json") ? print_buf(call, &out, "quirks") : 0;
}

/* --- config ------------------------------------------------------------------------------------------------------ */

const Option OPTIONS_config[] = {{"json", OPTION_FLAG, NULL, "print JSON"}, {.name = NULL}};

int cmd_config(Invocation *call) {
    Settings settings;
    int status;
    if (!cli_settings(call, &settings, &status))
        return status;
    if (!option_flag(call, "json")) {
        cli_settings_list(&settings);
        return 0;
    }
    Buf out = buf_new(call->ctx->arena, 1024 * 1024);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 2);
    json_object(&w);
    for (const Setting *row = SETTINGS; row->env != NULL; row++) {
        Buf value = buf_new(call->ctx->arena, 8192);
        config_show(row, &settings, &value);
        json_name(&w, str_c(row->env));
        json_write_string(&w, buf_str(&value));
    }
    json_object_end(&w);
    buf_add_char(&out, '\n');
    return print_buf(call, &out, "config");
}

/* --- version, help ------------------------------------------------------------------------------------------------ */

const Option OPTIONS_version[] = {{"json", OPTION_FLAG, NULL, "print JSON"}, {.name = NULL}};

int cmd_version(Invocation *call) {
    int pq = PQlibVersion();
    if (option_flag(call, "json"))
        out_printf("{\"usher\":\"%s\",\"compiler\":\"%s\",\"libpq\":\"%d.%d\",\"libuv\":\"%s\"}\n", USHER_VERSION,
                   __VERSION__, pq / 10000, pq % 10000, uv_version_string());
    else
        out_printf("usher %s (compiled by %s; libpq %d.%d, libuv %s)\n", USHER_VERSION, __VERSION__, pq / 10000,
                   pq % 10000, uv_version_string());
    return 0;
}

const Option OPTIONS_help[] = {
    {"man", OPTION_FLAG, NULL, "print the man page (roff)"},
    {"completion", OPTION_FLAG, NULL, "print the bash completion"},
    {.name = NULL},
};

int cmd_help(Invocation *call) {
    if (option_flag(call, "man") || option_flag(call, "completion")) {
        Buf out = buf_new(call->ctx->arena, 1024 * 1024);
        if (option_flag(call, "man"))
            cli_man(&out);
        else
            cli_completion(&out);
        return print_buf(call, &out, "help");
    }
    if (call->argument_count == 0) {
        cli_help(NULL);
        return 0;
    }
    for (const Command *command = COMMANDS; command->name != NULL; command++) {
        if (strcmp(command->name, call->arguments[0]) != 0)
            continue;
        cli_help(command);
        return 0;
    }
    err_printf("there is no command \"%s\"; `usher help` lists them\n", call->arguments[0]);
    return 2;
}
