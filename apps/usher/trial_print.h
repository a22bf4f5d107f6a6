/*
 * trial_print.h - what a trial would have written and published, for people.
 */
#pragma once
#include "json/json.h"

/** "actions" of an envelope (api_gateway/trials.h), a line for each table and each message. NULL: nothing. */
void trial_print_actions(Arena *arena, const Json *actions);
