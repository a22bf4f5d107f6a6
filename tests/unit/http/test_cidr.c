/*
 * test_cidr.c - networks, and which address behind trusted proxies is the client's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/cidr.h"

static const struct {
    const char *network, *address;
    bool inside;
} cases[] = {
    {"10.0.0.0/8", "10.255.0.1", true},
    {"10.0.0.0/8", "11.0.0.1", false},
    {"192.0.2.7", "192.0.2.7", true},
    {"192.0.2.7", "192.0.2.8", false},
    {"192.0.2.0/25", "192.0.2.127", true},
    {"192.0.2.0/25", "192.0.2.128", false},
    {"0.0.0.0/0", "255.1.2.3", true},
    {"0.0.0.0/0", "2001:db8::1", false},
    {"::/0", "2001:db8::1", true},
    {"2001:db8::/33", "2001:db8:7fff::1", true},
    {"2001:db8::/33", "2001:db8:8000::", false},
    {"10.0.0.0/8", "::ffff:10.1.1.1", true},
    {"unix", "unix", true},
    {"unix", "10.0.0.1", false},
    {"0.0.0.0/0", "unix", false},
    {"0.0.0.0/0", "nonsense", false},
    {"0.0.0.0/0", "", false},
};

static void an_address_is_inside_or_not(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Cidr cidr;
        assert_int_equal(cidr_parse(str_c(cases[i].network), &cidr), ERR_OK);
        if (cidr_has(&(CidrList){&cidr, 1}, str_c(cases[i].address)) != cases[i].inside)
            fail_msg("%s in %s", cases[i].address, cases[i].network);
    }
}

static void what_is_no_network_is_refused(void **state) {
    static const char *const bad[] = {"",   "10.0.0.0/33", "10.0.0.1/8", "10.0.0/8",       "10.0.0.0/-1", "::/129",
                                      "/8", "10.0.0.0/ 8", "Unix",       "2001:db8::1/64", "example.org"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        Cidr cidr;
        if (cidr_parse(str_c(bad[i]), &cidr) != ERR_SYNTAX)
            fail_msg("'%s' was taken", bad[i]);
    }
}

static const struct {
    const char *label, *peer, *first, *second, *want;
} chains[] = {
    {"a stranger's word counts for nothing", "192.0.2.1", "203.0.113.5", NULL, "192.0.2.1"},
    {"a trusted peer's does", "10.0.0.1", "203.0.113.5", NULL, "203.0.113.5"},
    {"the last that is not trusted", "10.0.0.1", "6.6.6.6, 203.0.113.5, 10.0.0.9", NULL, "203.0.113.5"},
    {"several fields are one list", "10.0.0.1", "6.6.6.6", "203.0.113.5 , 10.0.0.9", "203.0.113.5"},
    {"all trusted: the first", "10.0.0.1", "10.0.0.3, 10.0.0.2", NULL, "10.0.0.3"},
    {"behind nonsense nobody is believed", "10.0.0.1", "203.0.113.5, unknown, 10.0.0.9", NULL, "10.0.0.9"},
    {"an empty field", "10.0.0.1", "", NULL, "10.0.0.1"},
};

static void the_client_is_found_behind_proxies(void **state) {
    Cidr cidr;
    (void)state;
    assert_int_equal(cidr_parse(STR("10.0.0.0/8"), &cidr), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(chains); i++) {
        Str values[2] = {str_c(chains[i].first), str_c(chains[i].second)};
        Str client =
            cidr_client(&(CidrList){&cidr, 1}, str_c(chains[i].peer), values, chains[i].second == NULL ? 1 : 2);
        if (!str_eq_c(client, chains[i].want))
            fail_msg("%s: %.*s", chains[i].label, STR_ARG(client));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_address_is_inside_or_not),
                                       cmocka_unit_test(what_is_no_network_is_refused),
                                       cmocka_unit_test(the_client_is_found_behind_proxies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
