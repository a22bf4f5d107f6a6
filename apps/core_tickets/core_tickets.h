/*
 * core_tickets.h - front door of the Tickets context.
 *
 * Tickets learns of events and users by message only, and announces nothing: the old system told nobody of a sale.
 */
#pragma once
#include "bus/bus.h"
#include "jobs/jobs.h"

extern const Context CORE_TICKETS_CONTEXT;
/** Its background work. */
extern const JobBoard CORE_TICKETS_JOBS;

/** What Tickets does with each message; ended by type == NULL. */
extern const Subscription CORE_TICKETS_SUBSCRIPTIONS[];
