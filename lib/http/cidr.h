/*
 * cidr.h - lists of networks: whose word about a client's address is taken.
 */
#pragma once
#include "base/arena.h"

typedef struct Cidr {
    uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
    int bits;            /* of 128; -1: peers on a unix socket */
} Cidr;

typedef struct CidrList {
    const Cidr *items;
    size_t n;
} CidrList;

/** "10.0.0.0/8", "::1", "192.0.2.7", "unix". ERR_SYNTAX; bits behind the mask that are set are a mistake too. */
MUST_USE Err cidr_parse(Str text, Cidr *ret);
/** Is this textual address ("10.1.2.3", "2001:db8::1", "unix") in one of them? What is no address is in none. */
bool cidr_has(const CidrList *list, Str address);
/**
 * The client behind the proxies: the peer, or, where the peer is trusted, the last address of X-Forwarded-For (several
 * fields as one list, in `values`) that is not itself trusted. Borrowed from its arguments.
 */
Str cidr_client(const CidrList *trusted, Str peer, const Str *values, size_t n);
