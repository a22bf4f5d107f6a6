/*
 * shadow_write_messages.h - what the old side put on the bus in a recorded conversation, and whether a trial would have
 * published the same.
 */
#pragma once
#include "usher/replay.h"

typedef struct SeenMessage {
    Str type, body; /* the exchange's name; the envelope, absent where the recording leaves it out */
    bool used;
} SeenMessage;

typedef struct SeenMessages {
    SeenMessage *rows; /* NULL: not recorded, nothing is compared */
    size_t n;
} SeenMessages;

/**
 * The messages of a recording: of `path`, or (NULL) of the file of that name in ../messages beside it; none there is no
 * error. ERR_SYNTAX: no such list; what file_read fails with.
 */
MUST_USE Err seen_messages_read(Ctx *ctx, const char *recording, const char *path, SeenMessages *ret);

/** Looks for the message that stands for this one, and appends a line per difference. ids: recorded → this trial's. */
MUST_USE Err seen_messages_compare(SeenMessages *seen, Arena *arena, const Ids *ids, Str type, const Json *would,
                                   Buf *lines, size_t *ret_n);
/** Appends a line for each message of a command that no trial would have published. */
size_t seen_messages_left(const SeenMessages *seen, Buf *lines);
