/*
 * message_actions.c - many messages, one effect each, in few statements.
 *
 * A set holds messages in the order in which their aggregates sent them. Each is checked against the state that the
 * ones before it leave behind; of several about one event or user only the last good one is written, because each
 * carries the whole state. Released tickets are never taken back: running a message twice, or one of an already known
 * event, adds what is missing and nothing else. That is what makes every event repairable by sending its message again.
 */
#include "core_tickets/message_actions.h"

#include "base/map.h"
#include "core_tickets/message_rules.h"
#include "core_tickets_queries.h"

/** The part of a message that tickets are made from, whichever message it was. */
typedef struct Release {
    const EventUpserted *full; /* NULL for the short message */
    Id event_id;
    int32_t venue;
    Decimal price;
    bool known, has_venue; /* in the database, before this set */
    bool good;
} Release;

static void add_release_ids(PgParams *params, const Release *releases, size_t n) {
    pg_array_begin(params, OID_UUID_ARRAY);
    for (size_t i = 0; i < n; i++)
        pg_array_id(params, releases[i].event_id);
    pg_array_end(params);
}

static void add_release_venues(PgParams *params, const Release *releases, size_t n) {
    pg_array_begin(params, OID_INT4_ARRAY);
    for (size_t i = 0; i < n; i++)
        pg_array_i32(params, releases[i].venue);
    pg_array_end(params);
}

static void add_release_prices(PgParams *params, const Release *releases, size_t n) {
    pg_array_begin(params, OID_NUMERIC_ARRAY);
    for (size_t i = 0; i < n; i++)
        pg_array_decimal(params, releases[i].price);
    pg_array_end(params);
}

static CO_FN Err read_known(PgTx *tx, Set *set, Release *releases) {
    PgParams ids, keys;
    PgResult result;
    pg_params_init(&ids, set->ctx->arena);
    add_release_ids(&ids, releases, set->n);
    pg_tx_send(tx, SQL_TICKETS_OF_EVENTS_LOCK, &ids);
    pg_params_init(&keys, set->ctx->arena);
    add_release_ids(&keys, releases, set->n);
    add_release_venues(&keys, releases, set->n);
    TRY(pg_tx_query(tx, SQL_EVENTS_AS_KNOWN, &keys, &result));
    for (int row = 0; row < result.rows; row++) {
        Release *release = &releases[pg_i64(&result, row, 0) - 1];
        release->known = pg_bool(&result, row, 1);
        release->has_venue = pg_bool(&result, row, 2);
    }
    return ERR_OK;
}

static bool known_from_set(const Release *releases, size_t i) {
    for (size_t j = 0; j < i; j++)
        if (releases[j].good && releases[j].full != NULL && id_eq(releases[j].event_id, releases[i].event_id))
            return true;
    return false;
}

static bool is_superseded(const Release *releases, size_t i, size_t n) {
    for (size_t j = i + 1; j < n; j++)
        if (releases[j].good && id_eq(releases[j].event_id, releases[i].event_id))
            return true;
    return false;
}

/* Settles the members; moves the last good message of each event to the front, in order, and returns how many. */
static size_t judge(Set *set, Release *releases) {
    for (size_t i = 0; i < set->n; i++) {
        Release *release = &releases[i];
        Member *member = set->members[i];
        member->outcome = release->full == NULL
                              ? release_message_check(member->ctx, release->has_venue)
                              : event_message_check(member->ctx, release->full,
                                                    release->known || known_from_set(releases, i), release->has_venue);
        release->good = member->outcome == ERR_OK;
    }
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++)
        if (releases[i].good && !is_superseded(releases, i, set->n))
            releases[n++] = releases[i];
    return n;
}

static Err send_events(PgTx *tx, Set *set, const Release *releases, size_t n) {
    static const char *const written[] = {"id", "event_name", "start_date", "end_date", "venue", "price", NULL};
    TicketsEvent *events = ARENA_ARRAY(set->ctx->arena, TicketsEvent, n);
    const void **rows = ARENA_ARRAY(set->ctx->arena, const void *, n);
    if (events == NULL || rows == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        const EventUpserted *full = releases[i].full;
        events[i] = (TicketsEvent){
            .id = full->id,
            .event_name = full->event_name,
            .start_date = full->start_date,
            .end_date = {full->end_date, true},
            .venue = full->venue,
            .price = full->price,
        };
        rows[i] = &events[i];
    }
    PgParams params;
    pg_params_init(&params, set->ctx->arena);
    for (const char *const *name = written; *name != NULL; name++)
        resource_add_array(&params, resource_attribute(&TICKETS_EVENT_RESOURCE, *name), rows, n);
    pg_tx_send(tx, SQL_EVENTS_UPSERT, &params);
    return ERR_OK;
}

static void send_tickets(PgTx *tx, Set *set, const Release *releases, size_t n) {
    PgParams made, priced;
    pg_params_init(&made, set->ctx->arena);
    add_release_ids(&made, releases, n);
    add_release_venues(&made, releases, n);
    add_release_prices(&made, releases, n);
    pg_tx_send(tx, SQL_TICKETS_RELEASE, &made);
    pg_params_init(&priced, set->ctx->arena);
    add_release_ids(&priced, releases, n);
    add_release_prices(&priced, releases, n);
    pg_tx_send(tx, SQL_TICKETS_REPRICE, &priced);
}

CO_FN Err events_take_message(PgTx *tx, Set *set) {
    Release *releases = ARENA_ARRAY(set->ctx->arena, Release, set->n);
    if (releases == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < set->n; i++) {
        const EventUpserted *message = set->members[i]->input;
        releases[i] =
            (Release){.full = message, .event_id = message->id, .venue = message->venue, .price = message->price};
    }
    TRY(read_known(tx, set, releases));
    size_t n = judge(set, releases);
    if (n == 0)
        return ERR_OK;
    TRY(send_events(tx, set, releases, n));
    send_tickets(tx, set, releases, n);
    return ERR_OK;
}

CO_FN Err events_take_release(PgTx *tx, Set *set) {
    Release *releases = ARENA_ARRAY(set->ctx->arena, Release, set->n);
    if (releases == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < set->n; i++) {
        const TicketsEventUpserted *message = set->members[i]->input;
        releases[i] = (Release){.event_id = message->id, .venue = message->venue, .price = message->price};
    }
    TRY(read_known(tx, set, releases));
    size_t n = judge(set, releases);
    if (n > 0)
        send_tickets(tx, set, releases, n);
    return ERR_OK;
}

/* Of several good messages about one user the last counts: it stands in the map. */
static Err last_of_each_user(const Set *set, Map **ret) {
    *ret = map_new(set->ctx->arena, set->n);
    if (*ret == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < set->n; i++) {
        const UserUpserted *message = set->members[i]->input;
        if (set->members[i]->outcome == ERR_OK)
            TRY(map_put(*ret, (Str){(const char *)message->id.bytes, sizeof message->id.bytes}, set->members[i], NULL));
    }
    return ERR_OK;
}

CO_FN Err users_take_message(PgTx *tx, Set *set) {
    static const char *const written[] = {"id", "full_name", "email", NULL};
    TicketsUser *users = ARENA_ARRAY(set->ctx->arena, TicketsUser, set->n);
    const void **rows = ARENA_ARRAY(set->ctx->arena, const void *, set->n);
    Map *last;
    if (users == NULL || rows == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < set->n; i++)
        set->members[i]->outcome = user_message_check(set->members[i]->ctx, set->members[i]->input);
    TRY(last_of_each_user(set, &last));
    size_t n = 0;
    Str key;
    void *member;
    for (size_t at = 0; map_next(last, &at, &key, &member);) {
        const UserUpserted *message = ((const Member *)member)->input;
        users[n] = (TicketsUser){.id = message->id, .full_name = message->full_name, .email = message->email};
        rows[n] = &users[n];
        n++;
    }
    if (n == 0)
        return ERR_OK;
    PgParams params;
    pg_params_init(&params, set->ctx->arena);
    for (const char *const *name = written; *name != NULL; name++)
        resource_add_array(&params, resource_attribute(&TICKETS_USER_RESOURCE, *name), rows, n);
    pg_tx_send(tx, SQL_USERS_UPSERT, &params);
    return ERR_OK;
}
