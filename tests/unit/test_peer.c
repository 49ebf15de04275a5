/* Addresses of clients in one form. */
#include "base/peer.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void addresses_are_written_as_people_know_them(void **state)
{
    static const struct {
        int family;
        const char *address;
        const char *text;
    } rows[] = {
        {AF_INET, "192.0.2.1", "192.0.2.1"},
        {AF_INET6, "2001:db8::1", "2001:db8::1"},
        {AF_INET6, "::1", "::1"},
        /* A client of IPv4 at a socket of IPv6. */
        {AF_INET6, "::ffff:192.0.2.1", "192.0.2.1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        union hcs_peer_socket from = {
            .any.sa_family = (sa_family_t)rows[i].family};
        char text[HCS_PEER_TEXT];
        struct hcs_peer peer;

        assert_int_equal(
            inet_pton(rows[i].family, rows[i].address,
                rows[i].family == AF_INET ? (void *)&from.v4.sin_addr
                                          : (void *)&from.v6.sin6_addr),
            1);
        hcs_peer_from_socket(&peer, &from);
        assert_string_equal(hcs_peer_text(&peer, text), rows[i].text);
    }
}

static void both_forms_of_an_address_are_one_peer(void **state)
{
    union hcs_peer_socket v4 = {.any.sa_family = AF_INET};
    union hcs_peer_socket v6 = {.any.sa_family = AF_INET6};
    struct hcs_peer one;
    struct hcs_peer other;

    (void)state;
    inet_pton(AF_INET, "198.51.100.7", &v4.v4.sin_addr);
    inet_pton(AF_INET6, "::ffff:198.51.100.7", &v6.v6.sin6_addr);
    hcs_peer_from_socket(&one, &v4);
    hcs_peer_from_socket(&other, &v6);
    assert_memory_equal(&one, &other, sizeof(one));
}

static void other_families_are_not_known(void **state)
{
    union hcs_peer_socket from = {.any.sa_family = AF_UNIX};
    char text[HCS_PEER_TEXT];
    struct hcs_peer peer;

    (void)state;
    memset(&peer, 0xff, sizeof(peer));
    hcs_peer_from_socket(&peer, &from);
    assert_string_equal(hcs_peer_text(&peer, text), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_written_as_people_know_them),
        cmocka_unit_test(both_forms_of_an_address_are_one_peer),
        cmocka_unit_test(other_families_are_not_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
