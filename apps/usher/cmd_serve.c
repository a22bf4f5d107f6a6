/*
 * cmd_serve.c - serving the configured databases, and small commands on them.
 */
#include <stdlib.h>

#include "api_gateway/api_gateway.h"
#include "usher/app.h"
#include "usher/cmd.h"
#include "usher/dev_data.h"

const Option OPTIONS_serve[] = {
    {"listen", OPTION_TEXT, "ADDR:PORT", "instead of LISTEN"},
    {"config", OPTION_TEXT, "FILE", "instead of USHER_CONFIG: a file of NAME=value lines, read again on SIGHUP"},
    {"roles", OPTION_TEXT, "ROLES", "instead of ROLES: a comma list of http, relay, consume, jobs, gateway"},
    {.name = NULL},
};

static bool has_databases(const Settings *settings) {
    for (const Context *const *context = CONTEXTS; *context != NULL; context++) {
        Str url = settings_database_url(settings, (*context)->database_env);
        if ((url.p != NULL && url.n > 0) || *context == &GATEWAY_CONTEXT) /* a gateway does without */
            continue;
        err_printf("no database for the %s context: set DATABASE_URL (or %s), or try `usher dev`\n", (*context)->name,
                   (*context)->database_env);
        return false;
    }
    return true;
}

int cmd_serve(Invocation *call) {
    Settings settings;
    int status;
    const char *listen = option_text(call, "listen"), *roles = option_text(call, "roles");
    const char *config = option_text(call, "config");
    if ((listen != NULL && setenv("LISTEN", listen, 1) != 0) || (roles != NULL && setenv("ROLES", roles, 1) != 0) ||
        (config != NULL && setenv("USHER_CONFIG", config, 1) != 0))
        return cli_fail(call->ctx, 2, "serve");
    if (!cli_settings(call, &settings, &status))
        return status;
    return has_databases(&settings) ? serve_run(&settings, NULL) : 2;
}

/* --- seed, reset -------------------------------------------------------------------------------------------------- */

const Option OPTIONS_seed[] = {
    {"data", OPTION_TEXT, "DIR", "the database of `usher dev --data DIR` instead of DATABASE_URL"},
    {.name = NULL},
};

static bool settings_of(Invocation *call, const char *directory, Settings *settings, int *status) {
    if (directory != NULL && dev_data_environment(call->ctx, directory) != ERR_OK) {
        *status = cli_fail(call->ctx, 2, call->command->name);
        return false;
    }
    return cli_settings(call, settings, status);
}

int cmd_seed(Invocation *call) {
    Settings settings;
    int status;
    if (!settings_of(call, option_text(call, "data"), &settings, &status))
        return status;
    if (!has_databases(&settings))
        return 2;
    Buf report = buf_new(call->ctx->arena, 64 * 1024);
    if (app_seed(call->ctx, &settings, &report) != ERR_OK)
        return cli_fail(call->ctx, 2, "seed");
    out_str(buf_str(&report));
    return 0;
}

const Option OPTIONS_reset[] = {
    {"data", OPTION_TEXT, "DIR", "folder of `usher dev` (default: var)"},
    {"yes", OPTION_FLAG, NULL, "really do it"},
    {.name = NULL},
};

int cmd_reset(Invocation *call) {
    Settings settings;
    int status;
    const char *directory = option_text(call, "data") == NULL ? "var" : option_text(call, "data");
    if (!option_flag(call, "yes")) {
        err_printf("this deletes every event, user, ticket and message under %s; say --yes to do it\n", directory);
        return 2;
    }
    if (!settings_of(call, directory, &settings, &status))
        return status;
    int64_t began = clock_mono_ms();
    if (app_reset(call->ctx, &settings) != ERR_OK)
        return cli_fail(call->ctx, 2, "reset");
    out_printf("emptied in %lld ms\n", (long long)(clock_mono_ms() - began));
    return 0;
}
