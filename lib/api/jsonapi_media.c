/*
 * jsonapi_media.c - content negotiation (https://jsonapi.org/format/1.1/#content-negotiation).
 *
 * The media type takes two parameters: ext, of which we support none, so that any is refused, and profile, which may
 * always be ignored. Any other parameter makes it another type.
 */
#include "api/jsonapi_internal.h"

/* From the least specific to the most (RFC 9110 §12.5.1); the last three are one media type. */
typedef enum MediaFit {
    MEDIA_OTHER,
    MEDIA_ALL,         /* a range over everything */
    MEDIA_APPLICATION, /* a range over application */
    MEDIA_JSONAPI,
    MEDIA_EXTENDED,
    MEDIA_MODIFIED
} MediaFit;

/* The next piece up to `separator`, none inside a quoted string. */
static Str cut_unquoted(Str *rest, char separator) {
    bool quoted = false;
    for (size_t i = 0; i < rest->n; i++) {
        if (rest->p[i] == '\\' && quoted)
            i++;
        else if (rest->p[i] == '"')
            quoted = !quoted;
        else if (rest->p[i] == separator && !quoted) {
            Str piece = str_slice(*rest, 0, i);
            *rest = str_slice(*rest, i + 1, rest->n);
            return piece;
        }
    }
    Str piece = *rest;
    *rest = (Str){NULL, 0};
    return piece;
}

static bool is_zero_weight(Str value) {
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] != '0' && value.p[i] != '.')
            return false;
    return value.n > 0;
}

/* A media type, or (weight not NULL) a media range, whose q and what follows it belong to Accept and not to the type
 * (RFC 9110 §12.5.1). *weight false: q=0. */
static MediaFit media_fit(Str range, bool *weight) {
    Str name = str_trim(cut_unquoted(&range, ';'), " \t");
    MediaFit fit = MEDIA_OTHER;
    if (str_eq_c(name, "*/*"))
        fit = MEDIA_ALL;
    else if (str_eq_nocase(name, STR("application/*")))
        fit = MEDIA_APPLICATION;
    else if (str_eq_nocase(name, STR(JSONAPI_MEDIA_TYPE)))
        fit = MEDIA_JSONAPI;
    while (range.p != NULL) {
        Str value = str_trim(cut_unquoted(&range, ';'), " \t");
        Str key = str_trim(str_cut(&value, '='), " \t");
        if (key.n == 0)
            continue;
        if (weight != NULL && str_eq_nocase(key, STR("q"))) {
            *weight = !is_zero_weight(str_trim(value, " \t"));
            break;
        }
        if (fit != MEDIA_JSONAPI && fit != MEDIA_EXTENDED)
            continue;
        if (str_eq_nocase(key, STR("ext")))
            fit = MEDIA_EXTENDED;
        else if (!str_eq_nocase(key, STR("profile")))
            return MEDIA_MODIFIED;
    }
    return fit;
}

/* The most specific ranges decide: an instance of our own type that cannot be served is not outdone by a wildcard
 * (#content-negotiation-servers says so too). */
static void weigh_ranges(Str rest, MediaFit *best, bool *takes) {
    while (rest.p != NULL) {
        bool weight = true;
        MediaFit fit = media_fit(str_trim(cut_unquoted(&rest, ','), " \t"), &weight);
        MediaFit depth = MIN_OF(fit, MEDIA_JSONAPI);
        bool fits = weight && fit <= MEDIA_JSONAPI;
        if (fit == MEDIA_OTHER || depth < *best)
            continue;
        *takes = fits || (depth == *best && *takes);
        *best = depth;
    }
}

Err api_check_accept(ApiCall *call) {
    bool any = false, takes = false;
    MediaFit best = MEDIA_OTHER;
    for (size_t i = 0; i < call->req->header_count; i++) {
        const Header *header = &call->req->headers[i];
        if (!str_eq_nocase(header->name, STR("Accept")))
            continue;
        any = any || str_trim(header->value, " \t,").n > 0;
        weigh_ranges(header->value, &best, &takes);
    }
    if (!any || takes)
        return ERR_OK;
    return api_error_header(call, 406, "not-acceptable", "Accept",
                            "Answers are " JSONAPI_MEDIA_TYPE " without extensions or other parameters.");
}

Err api_check_content_type(ApiCall *call) {
    Str type = request_header(call->req, "Content-Type");
    if (type.p != NULL && request_header_count(call->req, "Content-Type") == 1 &&
        media_fit(type, NULL) == MEDIA_JSONAPI)
        return ERR_OK;
    return api_error_header(call, 415, "unsupported-media-type", "Content-Type",
                            "Documents are " JSONAPI_MEDIA_TYPE " without extensions or other parameters.");
}
