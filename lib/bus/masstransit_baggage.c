/*
 * masstransit_baggage.c - baggage in its two forms: W3C's header text, and MassTransit's list of keys and values.
 *
 * MassTransit refuses a whole message whose list is anything but a list, so what goes out is made, never passed on.
 * Properties of an entry (behind ';') have no place in the list and are dropped (https://www.w3.org/TR/baggage/).
 */
#include "bus/masstransit.h"
#include "json/json.h"

#define BAGGAGE_MAX 8192

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static Str percent_decoded(Str text, Arena *arena) {
    Buf out = buf_new(arena, BAGGAGE_MAX);
    for (size_t i = 0; i < text.n; i++) {
        int high = text.p[i] == '%' && i + 2 < text.n ? hex_digit(text.p[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text.p[i + 2]) : -1;
        if (low < 0) {
            buf_add_char(&out, text.p[i]);
            continue;
        }
        buf_add_char(&out, (char)(high * 16 + low));
        i += 2;
    }
    return buf_str(&out);
}

Str mt_baggage_json(Str baggage, Arena *arena) {
    Buf out = buf_new(arena, 8 * BAGGAGE_MAX);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_RELAXED, 0);
    json_array(&w);
    while (baggage.p != NULL) {
        Str entry = str_cut(&baggage, ','), value = str_cut(&entry, ';');
        Str key = str_trim(str_cut(&value, '='), " \t");
        if (key.n == 0 || value.p == NULL)
            continue;
        Str plain = percent_decoded(str_trim(value, " \t"), arena);
        if (!utf8_valid(plain))
            continue;
        json_object(&w);
        json_name(&w, STR("key"));
        json_write_string(&w, key);
        json_name(&w, STR("value"));
        json_write_string(&w, plain);
        json_object_end(&w);
    }
    json_array_end(&w);
    Str json;
    return buf_finish(&out, &json) == ERR_OK ? json : (Str){NULL, 0};
}

/* --- back --------------------------------------------------------------------------------------------------------- */

/* What may stand in a header's value as it is (baggage-octet), and what in a key (token). */
static bool is_plain(char c, bool key) {
    const char *refused = key ? "()<>@,;:\\\"/[]?={}% " : "\",;\\% ";
    return c > 0x20 && c < 0x7f && strchr(refused, c) == NULL;
}

static void add_encoded(Buf *out, Str text, bool key) {
    for (size_t i = 0; i < text.n; i++) {
        if (is_plain(text.p[i], key))
            buf_add_char(out, text.p[i]);
        else
            buf_printf(out, "%%%02X", (unsigned char)text.p[i]);
    }
}

/* One {key, value}; whatever else stands in it is passed over. */
static Err read_entry(JsonReader *r, Arena *arena, Buf *out) {
    Str key = {NULL, 0}, value = {NULL, 0};
    for (;;) {
        TRY(json_next(r));
        if (r->token == JSON_OBJECT_END)
            break;
        Str name = {NULL, 0};
        TRY(json_string(r, arena, &name));
        TRY(json_next(r));
        if (r->token == JSON_STRING && str_eq_nocase(name, STR("key")))
            TRY(json_string(r, arena, &key));
        else if (r->token == JSON_STRING && str_eq_nocase(name, STR("value")))
            TRY(json_string(r, arena, &value));
        else
            TRY(json_skip(r));
    }
    if (key.n == 0)
        return ERR_OK;
    if (out->n > 0)
        buf_add_char(out, ',');
    add_encoded(out, key, true);
    buf_add_char(out, '=');
    add_encoded(out, value.p == NULL ? STR("") : value, false);
    return ERR_OK;
}

Err mt_baggage_read(JsonReader *r, Arena *arena, Str *ret) {
    Buf out = buf_new(arena, BAGGAGE_MAX);
    if (r->token != JSON_ARRAY_START)
        return ERR_INVALID;
    for (;;) {
        TRY(json_next(r));
        if (r->token == JSON_ARRAY_END)
            break;
        if (r->token != JSON_OBJECT_START)
            return ERR_INVALID;
        TRY(read_entry(r, arena, &out));
    }
    if (out.err == ERR_LIMIT || out.n == 0) /* too much to pass on: as if there were none */
        return ERR_OK;
    return buf_finish(&out, ret);
}
