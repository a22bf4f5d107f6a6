/*
 * user_actions.c - changing users, a set at a time.
 *
 * Create is derived: one statement, in which the unique address decides. Update is not, because its answer depends on
 * who else has the address and whether the user is there at all, in that order. It locks the rows concerned (in order
 * of id), decides, and writes; the unique index stays the judge: an address that another worker took meanwhile fails
 * the statement.
 */
#include "core_users/user_actions.h"

#include "core_users/user_rules.h"
#include "core_users_queries.h"
#include "messaging/messages.h"

static CO_FN Err read_users(PgTx *tx, Set *set, const UserAsk *asks, User **ret, size_t *ret_n) {
    PgParams params;
    PgResult result;
    pg_params_init(&params, set->ctx->arena);
    pg_array_begin(&params, OID_UUID_ARRAY);
    for (size_t i = 0; i < set->n; i++)
        pg_array_id(&params, asks[i].user->id);
    pg_array_end(&params);
    pg_array_begin(&params, OID_TEXT_ARRAY);
    for (size_t i = 0; i < set->n; i++)
        pg_array_text(&params, asks[i].user->email);
    pg_array_end(&params);
    TRY(pg_tx_query(tx, SQL_USERS_CONCERNED_LOCK, &params, &result));

    User *users = ARENA_ARRAY(set->ctx->arena, User, (size_t)result.rows);
    if (users == NULL)
        return ERR_NO_MEMORY;
    for (int row = 0; row < result.rows; row++)
        TRY(resource_decode(&USER_RESOURCE, &result, row, &users[row]));
    *ret = users;
    *ret_n = (size_t)result.rows;
    return ERR_OK;
}

static CO_FN Err write_users(PgTx *tx, Set *set, const UserAsk *asks) {
    static const char *const written[] = {"id", "full_name", "email", NULL};
    const void **accepted = ARENA_ARRAY(set->ctx->arena, const void *, set->n);
    if (accepted == NULL)
        return ERR_NO_MEMORY;
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++) {
        Member *member = set->members[i];
        member->outcome = user_refuse(member->ctx, asks[i].refusal);
        if (member->outcome == ERR_OK)
            accepted[n++] = asks[i].user;
    }
    if (n == 0)
        return ERR_OK;
    PgParams params;
    PgResult result;
    pg_params_init(&params, set->ctx->arena);
    for (const char *const *name = written; *name != NULL; name++)
        resource_add_array(&params, resource_attribute(&USER_RESOURCE, *name), accepted, n);
    Err err = pg_tx_query(tx, SQL_USERS_UPDATE, &params, &result);
    /* Somebody outside this set committed the address after we looked (or two of this set swap theirs: they are then
     * run one by one). For a set of one that is the answer. */
    if (err == ERR_CONFLICT && set->n == 1)
        return user_refuse(set->members[0]->ctx, USER_EMAIL_TAKEN);
    TRY(err);
    return (size_t)result.affected == n ? ERR_OK : ERR_RETRY;
}

CO_FN Err users_update(PgTx *tx, Set *set) {
    UserAsk *asks = ARENA_ARRAY(set->ctx->arena, UserAsk, set->n);
    if (asks == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < set->n; i++)
        asks[i] = (UserAsk){.user = set->members[i]->input};
    User *users;
    size_t n_users;
    TRY(read_users(tx, set, asks, &users, &n_users));
    users_arbitrate_updates(users, n_users, asks, set->n);
    return write_users(tx, set, asks);
}

Err user_announce(const Action *action, Member *member) {
    (void)action;
    const User *user = member->input;
    UserUpserted message = {.id = user->id, .full_name = user->full_name, .email = user->email};
    return message_announce(member, &MESSAGE_USER_UPSERTED, &message);
}
