/*
 * media_type.h - Content-Type and Accept as the old framework understood them. Internal to lib/api and its tests.
 */
#pragma once
#include "base/str.h"

typedef enum BodyType {
    BODY_TYPE_UNSUPPORTED, /* 415 */
    BODY_TYPE_UTF8,
    BODY_TYPE_UTF16,
    BODY_TYPE_FORM, /* multipart/form-data, which the old framework tried to read as a form first, and choked on */
} BodyType;

/** What a body of this Content-Type (absent: none sent) is. */
BodyType body_type(Str content_type);

typedef enum AnswerType { ANSWER_TYPE_JSON, ANSWER_TYPE_TEXT_JSON, ANSWER_TYPE_NONE } AnswerType;

/** Which of application/json and text/json the client prefers; ANSWER_TYPE_NONE: neither (the old system then sends
 *  application/json all the same). */
AnswerType answer_type(Str accept);

/** RFC 9110 §12.5.1: would the client take either? The most specific range that matches a type decides. */
bool accepts_json(Str accept);
