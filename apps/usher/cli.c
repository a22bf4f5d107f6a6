/*
 * cli.c - parsing of command lines and what follows from the tables: help, man page, completion.
 */
#include "usher/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "legacy/quirks.h"
#include "runtime/log.h"
#include "usher/settings_file.h"

void out_str(Str text) {
    (void)fwrite(text.p, 1, text.n, stdout);
}

void out_printf(const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
}

void err_printf(const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)fputs("usher: ", stderr);
    (void)vfprintf(stderr, format, args);
    va_end(args);
}

int cli_fail(const Ctx *ctx, int status, const char *what) {
    Str message = ctx->problem.message;
    if (message.p == NULL)
        message = str_c(err_name(ctx->problem.code));
    err_printf("%s: %.*s\n", what, STR_ARG(message));
    if (ctx->problem.hint.p != NULL)
        err_printf("%.*s\n", STR_ARG(ctx->problem.hint));
    return status;
}

const char *option_text(const Invocation *call, const char *name) {
    const char *found = NULL;
    for (int i = 0; i < call->value_count; i++)
        if (strcmp(call->values[i].option->name, name) == 0)
            found = call->values[i].value;
    return found;
}

bool option_flag(const Invocation *call, const char *name) {
    for (int i = 0; i < call->value_count; i++)
        if (strcmp(call->values[i].option->name, name) == 0)
            return true;
    return false;
}

const char *const *option_list(const Invocation *call, const char *name) {
    const char **list = ARENA_ARRAY(call->ctx->arena, const char *, (size_t)call->value_count + 1);
    ASSERT(list != NULL);
    size_t n = 0;
    for (int i = 0; i < call->value_count; i++)
        if (strcmp(call->values[i].option->name, name) == 0)
            list[n++] = call->values[i].value;
    return list;
}

bool cli_settings(Invocation *call, Settings *ret, int *ret_status) {
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 64 * 1024);
    memset(ret, 0, sizeof *ret);
    if (settings_file_read(call->ctx) != ERR_OK) {
        *ret_status = cli_fail(call->ctx, 2, "configuration");
        return false;
    }
    Err err = config_load(SETTINGS, ret, call->ctx->arena, settings_lookup, &mistakes);
    if (err == ERR_OK && log_configure(ret->log_level, ret->log_format) != ERR_OK) {
        buf_add_c(&mistakes, "LOG_LEVEL is debug, info, warn or error; LOG_FORMAT is auto, text or json\n");
        err = ERR_INVALID;
    }
    if (err == ERR_OK)
        err = quirks_configure(call->ctx, ret->quirks_off);
    if (err == ERR_OK)
        return true;
    err_printf("the configuration has mistakes:\n");
    (void)fwrite(mistakes.p, 1, mistakes.n, stderr);
    *ret_status = 2;
    return false;
}

/* --- parsing ---------------------------------------------------------------------------------------------------- */

static const Command *find_command(const char *name) {
    for (const Command *command = COMMANDS; command->name != NULL; command++)
        if (strcmp(command->name, name) == 0)
            return command;
    return NULL;
}

static const Option *find_option(const Command *command, const char *name, size_t n) {
    for (const Option *option = command->options; option != NULL && option->name != NULL; option++)
        if (strlen(option->name) == n && memcmp(option->name, name, n) == 0)
            return option;
    return NULL;
}

/* One "--name", "--name=value" or "--name value". Returns how many argv entries it took, 0 on a mistake (already
 * said). */
static int parse_option(Invocation *call, int left, char **argv) {
    const char *name = argv[0] + 2;
    const char *equals = strchr(name, '=');
    size_t n = equals == NULL ? strlen(name) : (size_t)(equals - name);
    const Option *option = find_option(call->command, name, n);
    if (option == NULL) {
        err_printf("%s has no option --%.*s; `usher help %s` lists them\n", call->command->name, (int)n, name,
                   call->command->name);
        return 0;
    }
    if (call->value_count == OPTION_VALUES_MAX) {
        err_printf("at most %d options can be given\n", OPTION_VALUES_MAX);
        return 0;
    }
    const char *value = equals == NULL ? NULL : equals + 1;
    int taken = 1;
    if (option->kind == OPTION_FLAG && value != NULL) {
        err_printf("--%s takes no value\n", option->name);
        return 0;
    }
    if (option->kind != OPTION_FLAG && value == NULL) {
        if (left < 2) {
            err_printf("--%s needs a value: --%s %s\n", option->name, option->name, option->value_name);
            return 0;
        }
        value = argv[1];
        taken = 2;
    }
    call->values[call->value_count].option = option;
    call->values[call->value_count++].value = value;
    return taken;
}

static bool parse_arguments(Invocation *call, int argc, char **argv) {
    bool only_arguments = false;
    for (int i = 0; i < argc;) {
        if (!only_arguments && strcmp(argv[i], "--") == 0) {
            only_arguments = true;
            i++;
        } else if (!only_arguments && strncmp(argv[i], "--", 2) == 0) {
            int taken = parse_option(call, argc - i, argv + i);
            if (taken == 0)
                return false;
            i += taken;
        } else if (call->argument_count == (int)ARRAY_LEN(call->arguments)) {
            err_printf("too many arguments; at most %zu\n", ARRAY_LEN(call->arguments));
            return false;
        } else {
            call->arguments[call->argument_count++] = argv[i++];
        }
    }
    const Command *command = call->command;
    if (call->argument_count < command->arguments_min ||
        (command->arguments_max >= 0 && call->argument_count > command->arguments_max)) {
        err_printf("use: usher %s %s\n", command->name, command->arguments);
        return false;
    }
    return true;
}

int cli_main(int argc, char **argv) {
    Arena *arena CLEANUP(arena_freep) = arena_new(256 * 1024 * 1024);
    ASSERT(arena != NULL);
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    if (argc < 2) {
        cli_help(NULL);
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    const Command *command = find_command(name);
    if (command == NULL) {
        err_printf("there is no command \"%s\"; `usher help` lists them\n", name);
        return 2;
    }
    static Invocation call;
    call = (Invocation){.command = command, .ctx = &ctx};
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0) {
            cli_help(command);
            return 0;
        }
    if (!parse_arguments(&call, argc - 2, argv + 2))
        return 2;
    int status = command->run(&call);
    return fflush(stdout) == 0 ? status : 2;
}
