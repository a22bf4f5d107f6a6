/*
 * cmd.h - the commands' run functions and option tables, for the table in cli_commands.c.
 */
#pragma once
#include "usher/cli.h"

#define COMMAND_LIST(X)                                                                                                \
    X(serve)                                                                                                           \
    X(gateway)                                                                                                         \
    X(bus)                                                                                                             \
    X(jobs)                                                                                                            \
    X(dev)                                                                                                             \
    X(reset)                                                                                                           \
    X(seed)                                                                                                            \
    X(migrate)                                                                                                         \
    X(routes)                                                                                                          \
    X(replay)                                                                                                          \
    X(diffs)                                                                                                           \
    X(cutover)                                                                                                         \
    X(rehearse)                                                                                                        \
    X(shadow_write)                                                                                                    \
    X(quirks)                                                                                                          \
    X(doctor)                                                                                                          \
    X(schema)                                                                                                          \
    X(asyncapi)                                                                                                        \
    X(config)                                                                                                          \
    X(version)                                                                                                         \
    X(help)

#define COMMAND_DECLARE(name)                                                                                          \
    int cmd_##name(Invocation *call);                                                                                  \
    extern const Option OPTIONS_##name[];
COMMAND_LIST(COMMAND_DECLARE)
#undef COMMAND_DECLARE
