/*
 * tickets_compat.h - the ticket routes of the old system. Used by ticket_resource.c.
 */
#pragma once
#include "api/compat.h"

extern const Route TICKETS_ROUTES[];
