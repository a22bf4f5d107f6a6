/*
 * files.h - reading and writing whole files, for the command line.
 */
#pragma once
#include "runtime/ctx.h"

/** The whole file in ctx's arena. ERR_NOT_FOUND, ERR_IO, ERR_LIMIT (over max): the problem names the file. */
MUST_USE Err file_read(Ctx *ctx, const char *path, size_t max, Str *ret);
/** Writes beside it and renames, so that a reader or a crash never sees half. ERR_IO. */
MUST_USE Err file_write(Ctx *ctx, const char *path, Str content);
