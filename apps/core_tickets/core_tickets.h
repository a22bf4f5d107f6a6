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

/** Which queues Tickets consumes, and how; ended by queue == NULL. */
extern const Pipeline CORE_TICKETS_PIPELINES[];
/** What Tickets does with each message; ended by type == NULL. */
extern const Subscription CORE_TICKETS_SUBSCRIPTIONS[];
