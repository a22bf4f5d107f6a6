/*
 * pipelines.c - how Tickets takes its messages.
 *
 * To add one: 1. a row here; 2. bindings of its queue in apps/messaging; 3. subscriptions in copies_resource.c where it
 * brings new types. pipeline_verify (in unit tests, and when `serve` starts) says what is missing.
 */
#include "core_tickets/core_tickets.h"
#include "messaging/messages.h"

/* Retries are the recorded ones (at 0, 0.5, 1.5 s). One set at a time: a set of events' messages writes all their
 * seats, and two side by side would only wait for each other's locks and disk. */
const Pipeline CORE_TICKETS_PIPELINES[] = {
    {
        .queue = "tickets-inbox-events",
        .doc = "Events: their copy here, and their seats.",
        .bindings = BINDINGS,
        .subscriptions = CORE_TICKETS_SUBSCRIPTIONS,
        .batch = 100,
    },
    {
        .queue = "tickets-inbox-users",
        .doc = "Users: their copy here.",
        .bindings = BINDINGS,
        .subscriptions = CORE_TICKETS_SUBSCRIPTIONS,
        .batch = 100,
    },
    {0},
};
