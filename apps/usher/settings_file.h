/*
 * settings_file.h - settings from a file, beside the environment.
 *
 * USHER_CONFIG (or --config) names a file of NAME=value lines, as systemd's EnvironmentFile: blank lines and lines that
 * begin with # are passed over, a value may stand in double quotes. The environment wins. The file is what SIGHUP reads
 * again.
 */
#pragma once
#include "usher/settings.h"

/** Reads the file that USHER_CONFIG names (none named: nothing to do) for settings_lookup. ERR_NOT_FOUND, ERR_SYNTAX
 *  (the problem names file and line), ERR_INVALID: a name that is no setting. What was read before stays on failure. */
MUST_USE Err settings_file_read(Ctx *ctx);
/** The same from its text; the path is for words. */
MUST_USE Err settings_file_take(Ctx *ctx, const char *path, Str text);
/** The environment's value, else the file's, else NULL. For config_load. */
const char *settings_lookup(const char *name);
/** Reads file and settings again and applies those that may change at run time: log level, quirks and SHADOW_REDACT. On
 *  failure the problem (and `mistakes`) say why, and nothing has changed. */
MUST_USE Err settings_reload(Ctx *ctx, Buf *mistakes);
