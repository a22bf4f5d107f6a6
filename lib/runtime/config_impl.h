/*
 * config_impl.h - what the files of config know of each other.
 */
#pragma once
#include "runtime/config.h"

typedef struct Unit {
    const char *name;
    int64_t factor;
} Unit;

/** "1500ms", "2s"; "16kB". */
void config_add_duration(Buf *out, int64_t ms);
void config_add_bytes(Buf *out, int64_t bytes);
/** A URL with *** in the place of its passwords (user information and password=…). */
void config_add_url_masked(Buf *out, Str url);
/** A number in the form of the setting's kind. */
void config_add_number(Buf *out, SettingKind kind, int64_t value);
