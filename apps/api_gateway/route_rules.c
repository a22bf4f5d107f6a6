/*
 * route_rules.c - what is known of the routes' answers: which lists have no order, and what their ids are of.
 *
 * How to add one: 1. a list whose order the old system does not define gets a JsonListRule: the place of the list, and
 * the member that its elements are known by on both sides (never an id that each side makes for itself). 2. a row in
 * RULES. A route without a row is compared in order.
 */
#include "api_gateway/differ.h"

/* Tickets are inserted in the order of ids that each side makes for itself; a seat's number is the same on both. */
static const JsonListRule BY_SEAT[] = {{STR_INIT(""), STR_INIT("SeatNumber")}, {{0}, {0}}};
/* GET /users has no ORDER BY. An address belongs to one user. */
static const JsonListRule BY_EMAIL[] = {{STR_INIT(""), STR_INIT("Email")}, {{0}, {0}}};

static const RouteRule RULES[] = {
    {"GET /events", NULL, "event"},
    {"GET /events/{id}", NULL, "event"},
    {"POST /events", NULL, "event"},
    {"PUT /events/{id}", NULL, "event"},
    {"GET /users", BY_EMAIL, "user"},
    {"GET /users/{id}", NULL, "user"},
    {"POST /users", NULL, "user"},
    {"PUT /users/{id}", NULL, "user"},
    {"GET /events/{id}/tickets", BY_SEAT, "ticket"},
    {"GET /events/{id}/tickets/user/{userId}", BY_SEAT, "ticket"},
    {0},
};

static const RouteRule PLAIN = {NULL, NULL, NULL};

const RouteRule *route_rule(Str route) {
    for (const RouteRule *rule = RULES; rule->route != NULL; rule++)
        if (str_eq_c(route, rule->route))
            return rule;
    return &PLAIN;
}
