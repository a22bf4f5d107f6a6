/*
 * pg_prepared.c - which statements one connection knows: open addressing from Statement's address to a state.
 *
 * The table has a fixed size: statements are static or made at start-up, so a program that needs more than three
 * quarters of PG_STATEMENTS still works, unprepared beyond that. base/map.h hashes bytes with a secret key, which
 * pointers of our own do not need on the path of every query.
 */
#include "pg/pg_private.h"

#define FULL (PG_STATEMENTS / 4 * 3)

static size_t entry_of(const PgPrepared *table, const Statement *statement) {
    size_t at = (size_t)((uint64_t)((uintptr_t)statement >> 3) * 0x9E3779B97F4A7C15u >> 40) % PG_STATEMENTS;
    while (table->entries[at].statement != NULL && table->entries[at].statement != statement)
        at = (at + 1) % PG_STATEMENTS;
    return at;
}

PgPreparedState prepared_get(const PgPrepared *table, const Statement *statement) {
    size_t at = entry_of(table, statement);
    if (table->entries[at].statement == NULL)
        return table->n >= FULL ? PREPARED_FULL : PREPARED_NO;
    return table->entries[at].state;
}

void prepared_set(PgPrepared *table, const Statement *statement, PgPreparedState state) {
    size_t at = entry_of(table, statement);
    if (table->entries[at].statement == NULL) {
        ASSERT(table->n < FULL);
        table->n++;
    }
    table->entries[at].statement = statement;
    table->entries[at].state = state;
}
