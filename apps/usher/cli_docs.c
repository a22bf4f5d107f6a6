/*
 * cli_docs.c - help, man page and completion, all made from COMMANDS and SETTINGS.
 */
#include "usher/cli.h"

static void help_option(const Option *option) {
    Buf left CLEANUP(buf_done) = buf_new(NULL, 256);
    buf_printf(&left, "--%s%s%s", option->name, option->value_name == NULL ? "" : " ",
               option->value_name == NULL ? "" : option->value_name);
    out_printf("  %-24.*s %s\n", STR_ARG(buf_str(&left)), option->doc);
}

/* NAME=value, as an environment file wants it, and the meaning beside it or, where that is long, below. */
void cli_settings_list(const Settings *settings) {
    enum { LEFT = 38 };
    for (const Setting *row = SETTINGS; row->env != NULL; row++) {
        Buf left CLEANUP(buf_done) = buf_new(NULL, 8192);
        buf_printf(&left, "%s=", row->env);
        if (settings != NULL)
            config_show(row, settings, &left);
        else
            buf_add_c(&left, row->fallback == NULL ? "" : row->fallback);
        bool beside = left.n <= LEFT;
        out_printf("%-*.*s%s%-*s %s%s\n", beside ? LEFT : 0, STR_ARG(buf_str(&left)), beside ? "" : "\n",
                   beside ? 0 : LEFT, "", row->doc, row->reload ? " (Read again on SIGHUP.)" : "");
    }
}

void cli_help(const Command *command) {
    if (command == NULL) {
        out_printf(
            "usher - takes over a ticketing backend, and then is that backend\n\nuse: usher COMMAND [OPTIONS]\n\n");
        for (const Command *row = COMMANDS; row->name != NULL; row++)
            out_printf("  %-12s %s\n", row->name, row->brief);
        out_printf("\n`usher help COMMAND` says more of one; `usher help config` lists the environment variables.\n");
        return;
    }
    out_printf("use: usher %s%s%s%s\n\n%s\n", command->name, command->options == NULL ? "" : " [OPTIONS]",
               command->arguments[0] == '\0' ? "" : " ", command->arguments, command->doc);
    if (command->options != NULL && command->options[0].name != NULL)
        out_printf("\n");
    for (const Option *option = command->options; option != NULL && option->name != NULL; option++)
        help_option(option);
    if (strcmp(command->name, "config") == 0) {
        out_printf("\n");
        cli_settings_list(NULL);
    }
}

/* roff: a leading dot or quote and every backslash and hyphen need care. */
static void man_text(Buf *out, const char *text) {
    bool line_start = true;
    for (; *text != '\0'; text++) {
        if (line_start && (*text == '.' || *text == '\''))
            buf_add_c(out, "\\&");
        if (*text == '\\')
            buf_add_c(out, "\\e");
        else if (*text == '-')
            buf_add_c(out, "\\-");
        else
            buf_add_char(out, *text);
        line_start = *text == '\n';
    }
    buf_add_char(out, '\n');
}

static void man_command(Buf *out, const Command *command) {
    buf_printf(out, ".SS usher %s %s\n", command->name, command->arguments);
    man_text(out, command->doc);
    for (const Option *option = command->options; option != NULL && option->name != NULL; option++) {
        buf_printf(out, ".TP\n.B \\-\\-%s %s\n", option->name, option->value_name == NULL ? "" : option->value_name);
        man_text(out, option->doc);
    }
}

void cli_man(Buf *out) {
    buf_add_c(out,
              ".\\\" Made by `usher help --man`; do not edit.\n.TH USHER 1 \"\" usher \"User Commands\"\n.SH NAME\n"
              "usher \\- takes over a ticketing backend, and then is that backend\n.SH SYNOPSIS\n.B usher\n"
              ".I COMMAND\n[\\fIOPTIONS\\fR]\n.SH DESCRIPTION\nOne program serves the events, users and tickets "
              "contexts on Postgres,\nanswering exactly as the old system does.\n.SH COMMANDS\n");
    for (const Command *command = COMMANDS; command->name != NULL; command++)
        man_command(out, command);
    buf_add_c(out, ".SH ENVIRONMENT\n.TP\n.B USHER_CONFIG\nA file of NAME=value lines for the settings below; the "
                   "environment wins. Default: none.\n");
    for (const Setting *row = SETTINGS; row->env != NULL; row++) {
        buf_printf(out, ".TP\n.B %s\n", row->env);
        man_text(out, row->doc);
        if (row->fallback != NULL && row->fallback[0] != '\0')
            buf_printf(out, "Default: %s.\n", row->fallback);
    }
    buf_add_c(out, ".SH SIGNALS\n.TP\n.B SIGTERM, SIGINT\nDrain: finish what is in flight, then end. A second SIGINT "
                   "ends at once.\n.TP\n.B SIGHUP\nRead the file of USHER_CONFIG again and apply LOG_LEVEL and "
                   "QUIRKS_OFF.\n.SH EXIT STATUS\n0 fine; 1 the command "
                   "found a difference, drift or failed check; 2 wrong use or trouble with the surroundings.\n");
}

void cli_completion(Buf *out) {
    buf_add_c(out, "# bash completion for usher; made by `usher help --completion`, do not edit.\n_usher() {\n"
                   "    local current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]}\n"
                   "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W \"");
    for (const Command *command = COMMANDS; command->name != NULL; command++)
        buf_printf(out, "%s%s", command == COMMANDS ? "" : " ", command->name);
    buf_add_c(out, "\" -- \"$current\"))\n        return\n    fi\n    case $command in\n");
    for (const Command *command = COMMANDS; command->name != NULL; command++) {
        buf_printf(out, "    %s) COMPREPLY=($(compgen -W \"%s", command->name,
                   command->subcommands == NULL ? "" : command->subcommands);
        for (const Option *option = command->options; option != NULL && option->name != NULL; option++)
            buf_printf(out, " --%s", option->name);
        buf_printf(out, "\" %s-- \"$current\")) ;;\n", command->arguments_max != 0 ? "-f " : "");
    }
    buf_add_c(out, "    esac\n}\ncomplete -F _usher usher\n");
}
