/*
 * core_events.h - front door of the Events context.
 *
 * Events announces each change with MESSAGE_EVENT_UPSERTED and consumes nothing.
 */
#pragma once
#include "core_events/event.h"
#include "jobs/jobs.h"

extern const Context CORE_EVENTS_CONTEXT;
/** Its background work. */
extern const JobBoard CORE_EVENTS_JOBS;
