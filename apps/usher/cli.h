/*
 * cli.h - the command line: one table row per command and per option.
 *
 * From these rows come parsing, `usher help`, bash completion and the man page. How to add a command: 1. a cmd_*.c file
 * with its run function and option table; 2. a row in COMMANDS (cli_commands.c); 3. `make docs` renews man page and
 * completion.
 *
 * Exit statuses: 0 fine; 1 the command found or did something wrong (a difference, drift, a failed check); 2 wrong use
 * or trouble with the surroundings (no database, unreadable file).
 */
#pragma once
#include "base/buf.h"
#include "usher/settings.h"

typedef enum OptionKind { OPTION_FLAG, OPTION_TEXT, OPTION_LIST } OptionKind;

typedef struct Option {
    const char *name; /* without dashes */
    OptionKind kind;
    const char *value_name; /* "ADDR:PORT"; NULL for flags */
    const char *doc;        /* one sentence */
} Option;

typedef struct Invocation Invocation;

typedef struct Command {
    const char *name;
    const char *arguments;            /* "FILES…"; "" for none */
    const char *brief;                /* one line */
    const char *doc;                  /* paragraphs for help and man page */
    const Option *options;            /* ended by name == NULL; may be NULL */
    int arguments_min, arguments_max; /* max -1: any number */
    int (*run)(Invocation *call);
    const char *subcommands; /* "generate verify up down status", for completion; NULL: none */
} Command;

extern const Command COMMANDS[]; /* ended by name == NULL */

#define OPTION_VALUES_MAX 64

/** One parsed command line. */
struct Invocation {
    const Command *command;
    Ctx *ctx; /* for problems and memory */
    const char *arguments[512];
    int argument_count;
    struct {
        const Option *option;
        const char *value; /* NULL for flags */
    } values[OPTION_VALUES_MAX];
    int value_count;
};

/** The option's last value; NULL when not given. */
const char *option_text(const Invocation *call, const char *name);
bool option_flag(const Invocation *call, const char *name);
/** All values of a repeatable option, NULL-ended, in ctx's arena. */
const char *const *option_list(const Invocation *call, const char *name);

/** Parses argv and runs the command. Returns the exit status. */
int cli_main(int argc, char **argv);
/** Prints to stdout / stderr; stderr lines begin with "usher: ". */
void out_str(Str text);
void out_printf(const char *format, ...) PRINTF_LIKE(1, 2);
void err_printf(const char *format, ...) PRINTF_LIKE(1, 2);
/** Prints ctx's problem (message, hint) and returns status. */
int cli_fail(const Ctx *ctx, int status, const char *what);
/** Settings from the environment, or an explanation on stderr and exit status 2 in *ret_status. */
bool cli_settings(Invocation *call, Settings *ret, int *ret_status);
/** Help for one command or (NULL) the list of all. */
void cli_help(const Command *command);
/** Every setting with its value (NULL: its default) and meaning. */
void cli_settings_list(const Settings *settings);
/** The man page (roff) and the bash completion, made from the tables. */
void cli_man(Buf *out);
void cli_completion(Buf *out);
