/*
 * events_compat.h - the Events routes of the old system. Used by event_resource.c.
 */
#pragma once
#include "api/compat.h"

extern const Route EVENTS_ROUTES[];
