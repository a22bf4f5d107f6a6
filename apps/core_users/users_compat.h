/*
 * users_compat.h - the Users routes of the old system. Used by user_resource.c.
 */
#pragma once
#include "api/compat.h"

extern const Route USERS_ROUTES[];
