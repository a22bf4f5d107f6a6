/*
 * shadow_settings.h - what may stand in the settings of shadow and stages.
 */
#pragma once
#include "usher/settings.h"

Err check_canary_key(Ctx *ctx, Str value);
Err check_percentage(Ctx *ctx, Str value);
Err check_secret(Ctx *ctx, Str value);

/** "12.5" of a hundred → 125000 of a million. The text has been checked. */
int64_t settings_ppm(Str percentage);
