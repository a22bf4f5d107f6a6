/*
 * event.h - a booked slot of a venue, with a name and a price.
 *
 * Kept as sent: offset and 100 ns of both instants, and the price with all its digits. What clients are shown is a
 * matter of quirks (events_compat.c). The rules are in event_rules.h.
 */
#pragma once
#include "resource/resource.h"

typedef struct Event {
    Id id;
    Str event_name;
    Instant start_date, end_date;
    int32_t venue;
    Decimal price;
} Event;

typedef struct EventVenue {
    int32_t number;
    Str code;  /* as in JSON: O2ArenaLondon */
    Str title; /* for people: The O2 Arena, London */
    int32_t capacity;
} EventVenue;

/** The old system booked every new event here (quirk venue-ignored-on-create). */
#define VENUE_FIRST_DIRECT_ARENA_LEEDS 5
/** Codes and numbers of the ten venues. */
extern const EnumValue VENUES[];

extern const Resource EVENT_RESOURCE;
