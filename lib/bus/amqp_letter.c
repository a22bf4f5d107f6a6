/*
 * amqp_letter.c - a message of a dead queue, read for an operator.
 *
 * Its handle is a fingerprint of what stays the same however often it is looked at: where it lies, its id, when it
 * died, its body. Headers are left out, because a quorum queue counts its deliveries in one. Letters that are equal in
 * all of that are copies of one burial (a crash between copy and acknowledgement) and share the handle.
 *
 * Texts come from strangers: what is grouped and printed by the line has neither control characters nor malformed UTF-8
 * in it, so that no letter paints a terminal.
 */
#include <inttypes.h>

#include "base/sha256.h"
#include "base/utf8.h"
#include "bus/amqp_transport.h"
#include "json/json.h"

#define HEADERS_MAX  (4u * 1024 * 1024)
#define HANDLE_BYTES 8
#define TEXT_MAX     2000 /* of a reason; a stack trace in there helps nobody to group */

/* --- texts -------------------------------------------------------------------------------------------------------- */

static bool is_plain(Str s, bool line) {
    if (!utf8_valid(s))
        return false;
    for (size_t i = 0; line && i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return false;
    return true;
}

/* A copy; what is malformed (and with `line`: what is no printable part of a line) is replaced. Absent: refused. */
static Str clean(Arena *arena, Str s, bool line) {
    if (s.p == NULL || is_plain(s, line))
        return arena_str(arena, s.p == NULL ? STR("") : s);
    Buf out = buf_new(arena, s.n * 3 + 1);
    Str text = {NULL, 0};
    for (size_t at = 0; at < s.n;) {
        int32_t code_point = utf8_next(s, &at);
        if (code_point < 0)
            buf_add_utf8(&out, 0xfffd);
        else if (line && (code_point < ' ' || (code_point >= 0x7f && code_point < 0xa0)))
            buf_add_char(&out, ' ');
        else
            buf_add_utf8(&out, (uint32_t)code_point);
    }
    return buf_finish(&out, &text) == ERR_OK ? text : (Str){NULL, 0};
}

static Str header_text(const AmqpProperties *properties, const char *name) {
    return properties->headers.p == NULL ? (Str){NULL, 0} : amqp_table_text(properties->headers, name);
}

/* --- headers as JSON ---------------------------------------------------------------------------------------------- */

static void write_table(JsonWriter *w, Arena *arena, Str table);

static void write_text(JsonWriter *w, Arena *arena, Str text) {
    Str plain = clean(arena, text, false);
    json_write_string(w, plain);
}

/* A table was checked when it came, so nesting is bounded. */
static void write_field(JsonWriter *w, Arena *arena, const AmqpField *field) {
    AmqpField element;
    Str rest = field->bytes;
    switch (field->kind) {
    case 'S':
    case 'x':
        write_text(w, arena, field->bytes);
        break;
    case 't':
        json_write_bool(w, field->number != 0);
        break;
    case 'F':
        write_table(w, arena, field->bytes);
        break;
    case 'A':
        json_array(w);
        while (amqp_array_next(&rest, &element))
            write_field(w, arena, &element);
        json_array_end(w);
        break;
    case 'f':
    case 'd':
    case 'D':
    case 'V':
        json_write_null(w); /* MassTransit writes no floating-point header, and here is none that calculates */
        break;
    default:
        json_write_i64(w, field->number);
    }
}

static void write_table(JsonWriter *w, Arena *arena, Str table) {
    Str name;
    AmqpField field;
    json_object(w);
    while (amqp_table_next(&table, &name, &field)) {
        json_name(w, clean(arena, name, false));
        write_field(w, arena, &field);
    }
    json_object_end(w);
}

static Err headers_json(Arena *arena, const AmqpProperties *properties, Str *ret) {
    Buf out = buf_new(arena, HEADERS_MAX);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 0);
    write_table(&w, arena, properties->headers);
    return buf_finish(&out, ret);
}

/* --- the letter --------------------------------------------------------------------------------------------------- */

static Str died_at(Arena *arena, const AmqpProperties *properties) {
    Str text = header_text(properties, "MT-Fault-Timestamp");
    if (text.p != NULL || properties->timestamp < 0)
        return text;
    return arena_printf(arena, "%" PRId64, properties->timestamp);
}

static void fingerprint(const char *queue, const AmqpDelivery *delivery, uint8_t ret[SHA256_BYTES]) {
    const Str parts[] = {str_c(queue), delivery->properties.message_id,
                         header_text(&delivery->properties, "MT-Fault-Timestamp"), delivery->body};
    Sha256 hash;
    sha256_begin(&hash);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        uint64_t n = parts[i].n;
        sha256_add(&hash, &n, sizeof n);
        if (n > 0)
            sha256_add(&hash, parts[i].p, n);
    }
    sha256_end(&hash, ret);
}

Str amqp_letter_handle(Arena *arena, const char *queue, const AmqpDelivery *delivery) {
    uint8_t digest[SHA256_BYTES];
    char hex[HANDLE_BYTES * 2];
    fingerprint(queue, delivery, digest);
    hex_format(digest, HANDLE_BYTES, hex);
    return arena_printf(arena, "%.*s", (int)sizeof hex, hex);
}

Id amqp_letter_id(const char *queue, const AmqpDelivery *delivery) {
    uint8_t digest[SHA256_BYTES];
    Id id;
    fingerprint(queue, delivery, digest);
    memcpy(&id, digest, sizeof id);
    return id;
}

bool amqp_letter_envelope(Ctx *ctx, const AmqpDelivery *delivery, MtReceived *ret) {
    Problem before = ctx->problem;
    MtUnreadable why = MT_READABLE;
    *ret = (MtReceived){0};
    Err err = mt_read(ctx, delivery->body, ret, &why);
    if (err != ERR_OK && why == MT_NO_ENVELOPE)
        err = mt_read_raw(ctx, delivery->body, &delivery->properties, ret, &why);
    if (err != ERR_OK)
        *ret = (MtReceived){0};
    mt_read_headers(&delivery->properties, ret);
    ctx->problem = before;
    return err == ERR_OK;
}

/* The cause: what failed and its words; of a skipped one, that nothing failed. */
static Str cause_of(Arena *arena, const AmqpProperties *properties) {
    Str kind = header_text(properties, "MT-Fault-ExceptionType"), words = header_text(properties, "MT-Fault-Message");
    Str reason = header_text(properties, "MT-Reason");
    if (kind.p == NULL && words.p == NULL && str_eq_c(reason, "dead-letter"))
        return STR("skipped: nothing there takes its type");
    if (kind.p == NULL && words.p == NULL)
        return reason.p == NULL ? STR("not said") : clean(arena, str_slice(reason, 0, TEXT_MAX), true);
    Str said = clean(arena, str_slice(words, 0, TEXT_MAX), true);
    return kind.p == NULL ? said : arena_printf(arena, "%.*s: %.*s", STR_ARG(clean(arena, kind, true)), STR_ARG(said));
}

static Str type_of(Arena *arena, const AmqpProperties *properties, const MtReceived *received) {
    Str type = received->n_types > 0 ? received->types[0] : header_text(properties, "MT-Fault-MessageType");
    return type.p == NULL ? STR("unknown type") : clean(arena, type, true);
}

Err amqp_letter_read(Ctx *ctx, const char *queue, const AmqpDelivery *delivery, bool payloads, DeadLetter *ret) {
    Arena *arena = ctx->arena;
    const AmqpProperties *properties = &delivery->properties;
    MtReceived received;
    char id[ID_TEXT_LEN];
    (void)amqp_letter_envelope(ctx, delivery, &received);
    if (received.message_id.present)
        id_format(&received.message_id.value, id);
    DeadLetter letter = {.handle = amqp_letter_handle(arena, queue, delivery),
                         .queue = arena_str(arena, str_c(queue)),
                         .message_id = received.message_id.present ? arena_str(arena, (Str){id, ID_TEXT_LEN})
                                                                   : clean(arena, properties->message_id, true),
                         .type = type_of(arena, properties, &received),
                         .reason = cause_of(arena, properties),
                         .died_at = clean(arena, died_at(arena, properties), true)};
    if (payloads) {
        TRY(headers_json(arena, properties, &letter.headers));
        letter.payload = clean(arena, delivery->body, false);
    }
    if (letter.handle.p == NULL || letter.queue.p == NULL || letter.message_id.p == NULL || letter.type.p == NULL ||
        letter.reason.p == NULL || letter.died_at.p == NULL || (payloads && letter.payload.p == NULL))
        return ERR_NO_MEMORY;
    *ret = letter;
    return ERR_OK;
}
