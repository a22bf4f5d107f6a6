/*
 * ticket_actions.c - a whole set of buyers, one lock, one commit.
 *
 * Reserve and purchase alike: lock the ticket rows of all wishes in order of id (so that two sets never wait for each
 * other in a circle), read tickets and live holds in a second statement (its snapshot is taken when the locks are
 * ours), decide in order of arrival, write. Every write to a ticket or to its hold happens under that ticket's lock, so
 * what was read is still true when it is written.
 *
 * Two things stay outside that lock, and the writes are guarded against them: seats that are no rows (a hold needs
 * none) and rows that appeared after the lock was asked for. There the hold's own key decides (ON CONFLICT … WHERE);
 * when fewer rows were written than decided, somebody was faster, and the set is run again (ERR_RETRY) and sees them.
 *
 * Time is the database's, read once behind the locks: no worker's clock can make a hold longer or shorter.
 */
#include "core_tickets/ticket_actions.h"

#include "base/map.h"
#include "core_tickets/ticket_rules.h"
#include "core_tickets_queries.h"
#include "legacy/quirks.h"

typedef struct SeatKey {
    Id event_id, ticket_id;
} SeatKey;

/** All wishes of a set with their seats, each distinct seat once. */
typedef struct Wishes {
    Claim *claims;
    Seat *seats;
    size_t n_seats;
    Instant moment; /* the database's, behind the locks */
} Wishes;

static const TicketWish *wish_of(const Set *set, size_t i) {
    return set->members[i]->input;
}

/* The index of a seat, made known where it is new. Map values are index + 1: NULL means unknown. */
static Err seat_index(Wishes *wishes, Map *known, SeatKey *keys, SeatKey key, size_t *ret) {
    Str bytes = {(const char *)&key, sizeof key};
    uintptr_t found = (uintptr_t)map_get(known, bytes);
    if (found != 0) {
        *ret = found - 1;
        return ERR_OK;
    }
    size_t at = wishes->n_seats;
    keys[at] = key; /* the map borrows its keys */
    TRY(map_put(known, (Str){(const char *)&keys[at], sizeof key}, (void *)(uintptr_t)(at + 1), NULL));
    wishes->seats[at] = (Seat){.event_id = key.event_id, .ticket_id = key.ticket_id};
    wishes->n_seats++;
    *ret = at;
    return ERR_OK;
}

static Err collect_wishes(Set *set, Wishes *ret) {
    Arena *arena = set->ctx->arena;
    size_t total = 0;
    for (size_t i = 0; i < set->n; i++)
        total += wish_of(set, i)->ticket_ids.n;
    Wishes wishes = {.claims = ARENA_ARRAY(arena, Claim, set->n), .seats = ARENA_ARRAY(arena, Seat, total)};
    size_t *indexes = ARENA_ARRAY(arena, size_t, total);
    SeatKey *keys = ARENA_ARRAY(arena, SeatKey, total);
    Map *known = map_new(arena, total);
    if (wishes.claims == NULL || wishes.seats == NULL || indexes == NULL || keys == NULL || known == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < set->n; i++) {
        const TicketWish *wish = wish_of(set, i);
        wishes.claims[i] = (Claim){.user_id = wish->user_id, .seats = indexes, .n = wish->ticket_ids.n};
        for (size_t j = 0; j < wish->ticket_ids.n; j++)
            TRY(seat_index(&wishes, known, keys, (SeatKey){wish->event_id, wish->ticket_ids.p[j]}, indexes++));
    }
    *ret = wishes;
    return ERR_OK;
}

static void add_seats(PgParams *params, const Wishes *wishes, bool events) {
    pg_array_begin(params, OID_UUID_ARRAY);
    for (size_t i = 0; i < wishes->n_seats; i++)
        pg_array_id(params, events ? wishes->seats[i].event_id : wishes->seats[i].ticket_id);
    pg_array_end(params);
}

/* Which buyers Tickets has not heard of. The old system never asked. */
static CO_FN Err read_users(PgTx *tx, Set *set, Wishes *wishes) {
    PgParams params;
    PgResult result;
    pg_params_init(&params, set->ctx->arena);
    pg_array_begin(&params, OID_UUID_ARRAY);
    for (size_t i = 0; i < set->n; i++)
        pg_array_id(&params, wishes->claims[i].user_id);
    pg_array_end(&params);
    TRY(pg_tx_query(tx, SQL_USERS_UNKNOWN, &params, &result));
    for (int row = 0; row < result.rows; row++)
        wishes->claims[pg_i64(&result, row, 0) - 1].user_unknown = true;
    return ERR_OK;
}

/* Locks, then reads: both in one flush. */
static CO_FN Err read_seats(PgTx *tx, Set *set, Wishes *wishes) {
    if (!quirk(QUIRK_RESERVE_ANYTHING))
        TRY(read_users(tx, set, wishes));
    PgParams ids, keys;
    PgResult result;
    pg_params_init(&ids, set->ctx->arena);
    add_seats(&ids, wishes, false);
    pg_tx_send(tx, SQL_TICKETS_LOCK, &ids);
    pg_params_init(&keys, set->ctx->arena);
    add_seats(&keys, wishes, true);
    add_seats(&keys, wishes, false);
    TRY(pg_tx_query(tx, SQL_SEATS_AS_THEY_STAND, &keys, &result));
    ASSERT((size_t)result.rows == wishes->n_seats);
    for (int row = 0; row < result.rows; row++) {
        Seat *seat = &wishes->seats[pg_i64(&result, row, 0) - 1];
        seat->exists = pg_bool(&result, row, 1);
        seat->sold = pg_bool(&result, row, 2);
        if (!pg_is_null(&result, row, 3))
            seat->holder = (OptId){pg_id(&result, row, 3), true};
        wishes->moment = pg_instant(&result, row, 4);
    }
    return ERR_OK;
}

static void add_taken(PgParams *params, const Wishes *wishes, Id (*of)(const Seat *seat)) {
    pg_array_begin(params, OID_UUID_ARRAY);
    for (size_t i = 0; i < wishes->n_seats; i++)
        if (wishes->seats[i].taken)
            pg_array_id(params, of(&wishes->seats[i]));
    pg_array_end(params);
}

static Id event_of(const Seat *seat) {
    return seat->event_id;
}
static Id ticket_of(const Seat *seat) {
    return seat->ticket_id;
}
static Id holder_of(const Seat *seat) {
    return seat->holder.value;
}
static Id buyer_of(const Seat *seat) {
    return seat->buyer;
}

static size_t count_taken(const Wishes *wishes) {
    size_t n = 0;
    for (size_t i = 0; i < wishes->n_seats; i++)
        n += wishes->seats[i].taken;
    return n;
}

static void settle(Set *set, const Wishes *wishes) {
    for (size_t i = 0; i < set->n; i++)
        set->members[i]->outcome = ticket_refuse(set->members[i]->ctx, wishes->claims[i].refusal);
}

CO_FN Err tickets_reserve(PgTx *tx, Set *set) {
    Wishes wishes;
    TRY(collect_wishes(set, &wishes));
    if (wishes.n_seats == 0) /* only empty lists: all fine */
        return ERR_OK;
    TRY(read_seats(tx, set, &wishes));
    claims_reserve(wishes.seats, wishes.claims, set->n);
    settle(set, &wishes);
    size_t n = count_taken(&wishes);
    if (n == 0)
        return ERR_OK;

    PgParams params;
    PgResult result;
    pg_params_init(&params, set->ctx->arena);
    add_taken(&params, &wishes, event_of);
    add_taken(&params, &wishes, ticket_of);
    add_taken(&params, &wishes, holder_of);
    pg_add_instant(&params, wishes.moment);
    TRY(pg_tx_query(tx, SQL_RESERVATIONS_TAKE, &params, &result));
    return (size_t)result.affected == n ? ERR_OK : ERR_RETRY;
}

CO_FN Err tickets_purchase(PgTx *tx, Set *set) {
    Wishes wishes;
    TRY(collect_wishes(set, &wishes));
    if (wishes.n_seats == 0)
        return ERR_OK;
    TRY(read_seats(tx, set, &wishes));
    claims_purchase(wishes.seats, wishes.claims, set->n);
    settle(set, &wishes);
    size_t n = count_taken(&wishes);
    if (n == 0)
        return ERR_OK;

    PgParams params;
    PgResult result;
    pg_params_init(&params, set->ctx->arena);
    add_taken(&params, &wishes, ticket_of);
    add_taken(&params, &wishes, buyer_of);
    pg_add_instant(&params, wishes.moment);
    TRY(pg_tx_query(tx, SQL_TICKETS_SELL, &params, &result));
    return (size_t)result.affected == n ? ERR_OK : ERR_RETRY;
}
