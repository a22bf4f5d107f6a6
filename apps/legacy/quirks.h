/*
 * quirks.h - the habits of the old system, one line each.
 *
 * How to add one: 1. a line here; 2. the code asks quirk(QUIRK_…) or a CompatStyle flag is filled from it in quirks.c;
 * 3. a test in both positions (tests/blackbox/test_quirks.py refuses a quirk without one); docs/quirks.md is made from
 * this table.
 *
 * All are on by default. QUIRKS_OFF=name,name switches some off, QUIRKS_OFF=all every one.
 */
#pragma once
#include "api/compat.h"

#define QUIRK_LIST(X)                                                                                                  \
    X(VENUE_IGNORED_ON_CREATE, "venue-ignored-on-create",                                                              \
      "POST /events reads Venue and then always books FirstDirectArenaLeeds.")                                         \
    X(ONE_DOMAIN_ERROR, "one-domain-error", "Only the first broken rule of a request is reported.")                    \
    X(MISSING_NAME_500, "missing-name-500", "A missing EventName or FullName gives 500 instead of 400.")               \
    X(PRICE_OVERFLOW_500, "price-overflow-500", "A price that does not fit numeric(18,2) gives 500 instead of 400.")   \
    X(UNICODE_SPACE_IN_NAMES, "unicode-space-in-names",                                                                \
      "Unicode white space, and KELVIN SIGN as a letter, pass in names.")                                              \
    X(BLANK_NAMES, "blank-names", "A name of nothing but white space passes.")                                         \
    X(EMAIL_TRAILING_NEWLINE, "email-trailing-newline", "An e-mail address may end in a line feed.")                   \
    X(ZERO_LENGTH_CLASH, "zero-length-clash", "An event of no length clashes at another's start, and at its end.")     \
    X(RESERVED_AFTER_PURCHASE, "reserved-after-purchase",                                                              \
      "A sold seat goes on showing Reserved: true until the hold runs out.")                                           \
    X(RESERVE_PARTLY, "reserve-partly", "A refused reservation keeps the seats before the refused one.")               \
    X(RESERVE_ANYTHING, "reserve-anything",                                                                            \
      "Seats and events that do not exist, and sold seats, can be reserved; unknown users can reserve and buy.")       \
    X(USER_TICKETS_NEVER_RESERVED, "user-tickets-never-reserved", "A user's ticket list never shows Reserved: true.")  \
    X(UNKNOWN_ID_PUT_400, "unknown-id-put-400", "PUT of an unknown id gives 400 instead of 404.")                      \
    X(INSTANTS_UTC_MICROS, "instants-utc-micros", "Instants are shown in UTC, cut to microseconds; off: as stored.")   \
    X(PRICE_SHOWN_ROUNDED, "price-shown-rounded", "An event's price is shown with two decimals, half away from zero.") \
    X(PAST_EVENTS_HIDDEN, "past-events-hidden", "GET /events lists only events that have not begun.")                  \
    X(DOMAIN_ERRORS_UNTYPED, "domain-errors-untyped",                                                                  \
      "Domain errors carry no Content-Type but no-cache headers; off: problem+json.")                                  \
    X(NAMES_ANY_CASE, "names-any-case", "JSON property names match in any case.")                                      \
    X(DUPLICATE_NAMES_LAST, "duplicate-names-last", "Of equal JSON property names the last wins; off: refused.")       \
    X(NUMBERS_FROM_STRINGS, "numbers-from-strings", "Decimals may come as JSON strings.")                              \
    X(ENUMS_LENIENT, "enums-lenient", "Enums take any case, blanks around, comma lists, and numbers out of range.")    \
    X(ACCEPT_IGNORED, "accept-ignored", "Accept never leads to 406; only text/json changes the Content-Type.")         \
    X(CORS_ANY, "cors-any", "Every origin, method and header is allowed, on any path.")                                \
    X(METHODS_ANY_CASE, "methods-any-case", "Methods match in any case.")                                              \
    X(PATHS_ANY_CASE, "paths-any-case", "Paths match in any case and with one trailing slash.")

typedef enum QuirkId {
#define QUIRK_ENUM(id, name, doc) QUIRK_##id,
    QUIRK_LIST(QUIRK_ENUM)
#undef QUIRK_ENUM
        QUIRK_COUNT
} QuirkId;

typedef struct Quirk {
    const char *name;
    const char *doc;
} Quirk;
extern const Quirk QUIRKS[QUIRK_COUNT];

/** Is it on? */
bool quirk(QuirkId id);
/** Would quirks_configure take it? Changes nothing. */
MUST_USE Err quirks_check(Ctx *ctx, Str off);
/** Sets all from a comma list of names to switch off ("", "all", "a,b"). ERR_INVALID: an unknown name; the problem
 *  names it and the nearest. */
MUST_USE Err quirks_configure(Ctx *ctx, Str off);
/** Fills the surface's flags. */
void quirks_style(CompatStyle *ret);
