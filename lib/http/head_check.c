/*
 * head_check.c - judging a complete head: Host, framing of the body, connection options.
 *
 * The rules here decide where a request ends, so that each doubt is a refusal: two Content-Lengths (even equal ones), a
 * transfer coding other than one plain "chunked", both together (RFC 9112 §6.1 lets a server refuse that; the old
 * system took it, which is how requests are smuggled).
 */
#include "http/head.h"

#include "http/chars.h"
#include "http/target.h"

typedef struct Seen {
    int hosts, lengths, codings, expects;
    Str host, length, coding, expect;
    bool close;
} Seen;

/* One member of a comma list in `value` equals token (any case)? */
static bool list_has(Str value, Str token) {
    while (value.p != NULL) {
        Str member = str_trim(str_cut(&value, ','), " \t");
        if (str_eq_nocase(member, token))
            return true;
    }
    return false;
}

#define FIELD_IS(literal) (name.n == sizeof(literal) - 1 && str_eq_nocase(name, STR(literal)))

static void field_note(Str name, Str value, Seen *seen, HeadFacts *facts) {
    switch (name.n) { /* most fields are let go after one comparison */
    case 4:
        if (FIELD_IS("Host")) {
            seen->hosts++;
            seen->host = value;
        }
        return;
    case 6:
        if (FIELD_IS("Expect")) {
            seen->expects++;
            seen->expect = value;
        }
        return;
    case 7:
        if (FIELD_IS("baggage") && facts->baggages++ == 0)
            facts->baggage = value;
        return;
    case 10:
        if (FIELD_IS("Connection"))
            seen->close = seen->close || list_has(value, STR("close"));
        else if (FIELD_IS("tracestate") && facts->tracestates++ == 0)
            facts->tracestate = value;
        return;
    case 11:
        if (FIELD_IS("traceparent")) {
            facts->traceparents++;
            facts->traceparent = value;
        }
        return;
    case 14:
        if (FIELD_IS("Content-Length")) {
            seen->lengths++;
            seen->length = value;
        }
        return;
    case 17:
        if (FIELD_IS("Transfer-Encoding")) {
            seen->codings++;
            seen->coding = value;
        }
        return;
    default:
        return;
    }
}

/* RFC 9112 §6.3, with every "could be" a refusal. */
static int framing_check(const Seen *seen, int minor, HeadFacts *facts) {
    if (seen->codings > 0) {
        if (seen->lengths > 0 || seen->codings > 1 || minor == 0 || !str_eq_nocase(seen->coding, STR("chunked")))
            return 400;
        facts->body_kind = BODY_CHUNKED;
        return 0;
    }
    if (seen->lengths > 0) {
        if (seen->lengths > 1 || str_to_u64(seen->length, INT64_MAX, &facts->content_length) != ERR_OK)
            return 400;
        facts->body_kind = facts->content_length > 0 ? BODY_LENGTH : BODY_NONE;
        return 0;
    }
    /* An HTTP/1.0 client that sends a body must say how long it is (RFC 1945 §8.3); recorded as 400. */
    return minor == 0 && (facts->method == METHOD_POST || facts->method == METHOD_PUT) ? 400 : 0;
}

static int host_check(const Seen *seen, int minor, const Target *target) {
    if (seen->hosts > 1 || (seen->hosts == 0 && minor == 1))
        return 400; /* RFC 9112 §3.2 */
    if (seen->hosts == 1 && !authority_is_valid(seen->host))
        return 400;
    if (seen->hosts == 1 && target->authority.p != NULL &&
        !authority_same(target->authority, seen->host, target->https))
        return 400;
    return 0;
}

int head_check(const HeadParser *parser, const char *p, char *scratch, HeadFacts *ret) {
    *ret = (HeadFacts){0};
    Seen seen = {0};
    for (uint32_t i = 0; i < parser->field_count; i++) {
        const HeadField *f = &parser->fields[i];
        field_note((Str){p + f->name, f->name_n}, (Str){p + f->value, f->value_n}, &seen, ret);
    }
    ret->method_text = (Str){p + parser->start, parser->method_n};
    ret->target = (Str){p + parser->target, parser->target_n};
    ret->method = method_of(ret->method_text);
    Target target;
    int status = target_parse(ret->target, ret->method, scratch, &target);
    ret->allow = target.allow;
    ret->path = target.path;
    ret->query = target.query;
    /* Framing first: while it is in doubt nothing else of the request matters. */
    int framing = framing_check(&seen, parser->minor, ret);
    if (framing != 0)
        return framing;
    if (status == 400 || host_check(&seen, parser->minor, &target) != 0)
        return 400;
    if (status != 0)
        return status;
    ret->keep_alive = parser->minor == 1 && !seen.close && ret->method != METHOD_CONNECT;
    if (seen.expects > 0 && parser->minor == 1) { /* RFC 9110 §10.1.1 */
        if (seen.expects > 1 || !str_eq_nocase(seen.expect, STR("100-continue")))
            return 417;
        ret->expect_continue = ret->body_kind != BODY_NONE;
    }
    return 0;
}
