/*
 * compose.h - SQL derived from declarations, and the parameters that go with it. Internal to lib/resource and lib/bus.
 *
 * A statement is composed once at start-up; binding fills its parameters from a set. Both walk the declarations in the
 * same order, which is the only agreement between them, and they stand side by side in sql.c for that reason.
 *
 * One derived action over a whole set is one statement: the rows come in as arrays, the messages of those rows that
 * were really written go to the outbox, and the relay is woken, all in the one commit. Rows it did not write (an
 * identity refused them, or their key is not there) are missing from the answer, and so are their messages.
 */
#pragma once
#include "resource/resource.h"

/** SELECT of all columns of the rows whose key is in $1 (uuid[]). Needs a resource with a single key of TYPE_ID. */
MUST_USE Err compose_get(Arena *arena, const Resource *resource, Statement *ret);

/**
 * The statement of a derived create, update or destroy (action->run == NULL). Its answer has a row per member that was
 * written; column 0 is the row's key. A create lets identities decide (ON CONFLICT DO NOTHING); an update that breaks
 * one fails as a whole with
 * 23505. With context's outbox the last parameters are the set's messages.
 */
MUST_USE Err compose_action(Arena *arena, const Context *context, const Resource *resource, const Action *action,
                            Statement *ret);
/** Its parameters, from the members whose outcome is ERR_OK. Updates and destroys are bound in order of key, so that
 *  two sets lock in one order. */
MUST_USE Err compose_bind(PgParams *params, const Context *context, const Set *set);

/** Inserts messages into the context's outbox and wakes the relay: for actions with a run of their own. */
MUST_USE Err compose_outbox(Arena *arena, const Context *context, Statement *ret);
/** Its parameters: the outgoing of all members whose outcome is ERR_OK, in order of arrival. Returns how many
 *  messages. */
size_t compose_outbox_bind(PgParams *params, const Set *set);

/** The context's outbox resource, or NULL. Its NOTIFY channel is "<schema>_outbox". */
const Resource *context_outbox(const Context *context);
/** The single key attribute of TYPE_ID, or NULL where a resource has none or several. */
const Attribute *resource_key(const Resource *resource);
/** The key of one of the resource's structs. */
Id resource_key_of(const Resource *resource, const void *object);
/** Does this create or update take the attribute from its input? (action->accept; empty: all but key and identity.) */
bool action_accepts(const Action *action, const Attribute *attribute);

/** A lossless instant has two columns: the second's name is this suffix behind the first's. */
#define FINE_SUFFIX "_fine"
static inline bool attribute_has_fine(const Attribute *attribute) {
    return attribute->type == TYPE_INSTANT && !attribute->coarse;
}
/** offset_minutes * 10 + 100-ns digit, and back. */
int16_t instant_fine(Instant t);
Instant instant_with_fine(Instant coarse, int16_t fine);
