/*
 * copies.h - what Tickets remembers of other contexts' events and users, from their messages.
 */
#pragma once
#include "resource/resource.h"

typedef struct TicketsEvent {
    Id id;
    Str event_name;
    Instant start_date;
    OptInstant end_date;
    int32_t venue;
    Decimal price;
} TicketsEvent;

typedef struct TicketsUser {
    Id id;
    Str full_name;
    Str email;
} TicketsUser;

typedef struct TicketsVenue {
    int32_t number;
    Str code;
    Str title;
    int32_t capacity;
} TicketsVenue;

extern const Resource TICKETS_EVENT_RESOURCE;
extern const Resource TICKETS_USER_RESOURCE;
extern const Resource TICKETS_VENUE_RESOURCE;
