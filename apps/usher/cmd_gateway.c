/*
 * cmd_gateway.c - the gateway alone: serving, and looking at its configuration.
 */
#include <stdlib.h>

#include "usher/cmd.h"
#include "usher/gateway_role.h"

enum { CHECK_OUTPUT_MAX = 64 << 20 };

const Option OPTIONS_gateway[] = {
    {"listen", OPTION_TEXT, "ADDR:PORT", "instead of GATEWAY_LISTEN"},
    {"legacy", OPTION_TEXT, "URL", "instead of LEGACY_URL"},
    {"new", OPTION_TEXT, "URL", "instead of NEW_URL"},
    {"routes", OPTION_TEXT, "FILE", "instead of GATEWAY_ROUTES"},
    {"config", OPTION_TEXT, "FILE", "instead of USHER_CONFIG: a file of NAME=value lines, read again on SIGHUP"},
    {"to", OPTION_TEXT, "FILE", "record: where to (default: recorded.json)"},
    {"json", OPTION_FLAG, NULL, "check: explain in JSON"},
    {.name = NULL},
};

static int check(Invocation *call, const Settings *settings) {
    GatewayOptions options;
    Buf out = buf_new(call->ctx->arena, CHECK_OUTPUT_MAX), mistakes = buf_new(call->ctx->arena, CHECK_OUTPUT_MAX);
    if (gateway_options(call->ctx, settings, &options) != ERR_OK)
        return cli_fail(call->ctx, 2, "gateway check");
    size_t n = gateway_check(&options, option_flag(call, "json"), &out, &mistakes);
    out_str(buf_str(&mistakes));
    if (n > 0)
        out_printf("%zu %s\n", n, n == 1 ? "mistake" : "mistakes");
    out_str(buf_str(&out));
    return n == 0 ? 0 : 1;
}

int cmd_gateway(Invocation *call) {
    static const struct {
        const char *option, *setting;
    } names[] = {{"listen", "GATEWAY_LISTEN"}, {"legacy", "LEGACY_URL"},   {"new", "NEW_URL"},
                 {"routes", "GATEWAY_ROUTES"}, {"config", "USHER_CONFIG"}, {"to", "GATEWAY_RECORD"}};
    Settings settings;
    int status;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *value = option_text(call, names[i].option);
        if (value != NULL && setenv(names[i].setting, value, 1) != 0)
            return cli_fail(call->ctx, 2, "gateway");
    }
    bool records = call->argument_count == 1 && strcmp(call->arguments[0], "record") == 0;
    if (setenv("ROLES", "gateway", 1) != 0 ||
        (records && (setenv("GATEWAY_RECORD", "recorded.json", 0) != 0 || setenv("GATEWAY_WORKERS", "1", 1) != 0)))
        return cli_fail(call->ctx, 2, "gateway");
    if (!cli_settings(call, &settings, &status))
        return status;
    if (call->argument_count == 1 && strcmp(call->arguments[0], "check") == 0)
        return check(call, &settings);
    if (call->argument_count == 1 && !records) {
        err_printf(
            "gateway: there is no \"%s\"; say `usher gateway`, `usher gateway check` or `usher gateway record`\n",
            call->arguments[0]);
        return 2;
    }
    return serve_run(&settings, NULL);
}
