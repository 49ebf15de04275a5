/* Field values by their grammar, one octet wrong at a time. */
#include "http/syntax.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Not a byte more than the value has: a look beyond its end is seen. */
static char *exactly(const char *text, size_t length)
{
    char *copy = malloc(length + (length == 0));

    assert_non_null(copy);
    memcpy(copy, text, length);
    return copy;
}

static int ends_in_chunked(const char *text, size_t length)
{
    char *copy = exactly(text, length);
    bool verdict = hcs_syntax_ends_in_chunked(copy, copy + length);

    free(copy);
    return verdict;
}

static int is_json(const char *text, size_t length)
{
    char *copy = exactly(text, length);
    bool verdict = hcs_syntax_is_json(copy, copy + length);

    free(copy);
    return verdict;
}

static int tags(const char *text, size_t length)
{
    char *copy = exactly(text, length);
    enum hcs_tags verdict = hcs_syntax_tags(copy, copy + length);

    free(copy);
    return (int)verdict;
}

typedef int verdict_fn(const char *text, size_t length);

static void check(
    verdict_fn *verdict, int expected, const char *const *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int got = verdict(values[i], strlen(values[i]));

        if (got != expected) {
            print_message("%s: %d\n", values[i], got);
        }
        assert_int_equal(got, expected);
    }
}

#define CHECK(verdict, expected, ...)                                          \
    do {                                                                       \
        static const char *const values[] = {__VA_ARGS__};                     \
        check(verdict, expected, values, sizeof values / sizeof values[0]);    \
    } while (0)

/* Each octet in the place of the "@" of a value: where does the value stand?
 */
static void check_octets(
    verdict_fn *verdict, const char *value, bool (*stands)(unsigned char))
{
    char text[64];
    size_t length = strlen(value);
    char *place;

    assert_true(length < sizeof text);
    memcpy(text, value, length + 1);
    place = strchr(text, '@');
    assert_non_null(place);
    for (int octet = 0; octet < 256; octet++) {
        *place = (char)octet;
        if ((verdict(text, length) == 1) != stands((unsigned char)octet)) {
            print_message("octet %02x in %s\n", (unsigned)octet, value);
            fail();
        }
    }
}

static bool in_token(unsigned char c)
{
    static const char set[] = "!#$%&'*+-.^_`|~0123456789"
                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              "abcdefghijklmnopqrstuvwxyz";

    return memchr(set, c, sizeof set - 1) != NULL;
}

/* A comma makes two of one. */
static bool in_codings(unsigned char c)
{
    return in_token(c) || c == ',';
}

/* A backslash makes a pair with the octet behind it. */
static bool in_quotes(unsigned char c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f && c != '"');
}

static bool behind_backslash(unsigned char c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

static bool in_tag(unsigned char c)
{
    return c > 0x20 && c != 0x7f && c != '"';
}

static void codings_that_end_in_chunked(void **state)
{
    (void)state;
    CHECK(ends_in_chunked, true, "chunked", "CHUNKED", "gzip, chunked",
        "gzip,chunked", "a , b\t,\tChunked", "a;b=c, chunked",
        "a ; b = c;d=\"e\" , chunked", "a;b=\", chunked;\", chunked",
        "a;b=\"\\\"\\\\\",chunked", "a;b=\"\",chunked");
}

static void codings_that_do_not_end_in_chunked(void **state)
{
    (void)state;
    CHECK(ends_in_chunked, false, "", ",", "gzip", "xchunked", "chunkedx",
        "chunke", "\"chunked\"", "chunked;a=b", "chunked;", "chunked ;",
        "chunked, gzip", "chunked, chunked", "chunked;a=b, chunked",
        "gzip, chunked;a=b", "gzip chunked", "gzip;chunked", "gzip,, chunked",
        ", chunked", "chunked,", "gzip, ", "a;, chunked", "a;b, chunked",
        "a;b=, chunked", "a;=b, chunked", "a;b=\", chunked",
        "a;b=\"c\\\", chunked", "a;b=\"", "a;b=\"c\\", "a;b=\"c\"d, chunked",
        "a;b=c d, chunked", "a b, chunked", "a;;b=c, chunked");
    assert_false(ends_in_chunked("a\0, chunked", 11));
}

static void media_types_that_are_json(void **state)
{
    (void)state;
    CHECK(is_json, true, "application/json", "APPLICATION/Json",
        "application/json;charset=utf-8", "application/json ; a=b\t;c=\"d\"",
        "application/json;", "application/json; ; ;;a=b;",
        "application/problem+json", "a/b+JSON", "a/+x+json", "a/b+json;c=d",
        "application/json;a=\"\"", "application/json;a=\";,\\\"\"");
}

static void media_types_that_are_not_json(void **state)
{
    (void)state;
    CHECK(is_json, false, "", "json", "+json", "/json", "application/",
        "application", "text/json", "application/jsonx", "xapplication/json",
        "application/xml", "application/+json", "a/json", "a/b+jso",
        "a/b+json+xml", "text/html/x+json", "a b+json", "a/b +json",
        "application/json,", "application/json, application/json",
        "text/plain, a/b+json", "text/plain;a=b+json", "application /json",
        "application/ json", "application/json a", "application/json;a",
        "application/json;a=", "application/json;=a", "application/json;a =b",
        "application/json;a= b", "application/json;a=\"",
        "application/json;a=\"\\\"", "application/json;a=\"b\"c",
        "application/json;a=b c", "\xff/a+json", "a/\xff+json");
    assert_false(is_json("application/json\0", 17));
}

static void tags_are_any_or_a_list(void **state)
{
    (void)state;
    CHECK(tags, HCS_TAGS_ANY, "*");
    CHECK(tags, HCS_TAGS_LIST, "", ",", " , ,", "\"\"", "\"a\"", "W/\"a\"",
        "\"a\",\"b\"", "\"a\" ,\tW/\"b\"", ",\"a\",,", "\"*\"", "\"a,b\"",
        "\"\\\"", "\"W/\"");
    CHECK(tags, HCS_TAGS_BAD, "a", "**", "*,", ",*", "*,*", "\"a\",*",
        "*,\"a\"", "\"", "\"a", "a\"", "W", "W/", "W\"a\"", "W/a", "w/\"a\"",
        "W /\"a\"", "W/ \"a\"", "\"a\"\"b\"", "\"a\" \"b\"", "\"a\"b",
        "\"a b\"", "\"\\\"\"", "'a'", "\"a\";b=c");
    assert_int_equal(tags("\"a\0b\"", 5), HCS_TAGS_BAD);
}

static void each_octet_of_an_element(void **state)
{
    (void)state;
    check_octets(ends_in_chunked, "a@b, chunked", in_codings);
    check_octets(ends_in_chunked, "a;b@c=d, chunked", in_token);
    check_octets(ends_in_chunked, "a;b=c@d, chunked", in_codings);
    check_octets(ends_in_chunked, "a;b=\"c@d\", chunked", in_quotes);
    check_octets(ends_in_chunked, "a;b=\"c\\@d\", chunked", behind_backslash);
    check_octets(is_json, "a@b/c+json", in_token);
    check_octets(is_json, "a/b@c+json", in_token);
    check_octets(is_json, "a/b+json;c@d=e", in_token);
    check_octets(is_json, "a/b+json;c=\"d@e\"", in_quotes);
    check_octets(is_json, "a/b+json;c=\"d\\@e\"", behind_backslash);
    _Static_assert(HCS_TAGS_LIST == 1, "what check_octets takes for a yes");
    check_octets(tags, "\"a@b\"", in_tag);
    check_octets(tags, "W/\"a@b\"", in_tag);
}

static int is_token(const char *text, size_t length)
{
    char *copy = exactly(text, length);
    bool verdict = hcs_syntax_is_token(copy, copy + length);

    free(copy);
    return verdict;
}

static int is_field_value(const char *text, size_t length)
{
    char *copy = exactly(text, length);
    bool verdict = hcs_syntax_is_field_value(copy, copy + length);

    free(copy);
    return verdict;
}

static bool in_value(unsigned char octet)
{
    return octet == '\t' || (octet >= 0x20 && octet != 0x7f);
}

static void names_of_fields_are_tokens(void **state)
{
    (void)state;
    CHECK(is_token, true, "a", "X-Long_Name", "!#$%&'*+-.^_`|~09azAZ");
    CHECK(is_token, false, "", " ", "a b", "a ", " a", "a:", "a\r\n", "(a)",
        "\xc3\xa9", "a\x7f", "\"a\"", "a,b", "a/b", "a;b");
    assert_false(is_token("a\0b", 3));
    check_octets(is_token, "a@b", in_token);
    check_octets(is_token, "@", in_token);
}

static void values_of_fields_are_text_without_blanks_around(void **state)
{
    (void)state;
    CHECK(is_field_value, true, "", "a", "one two", "a\tb", "\xc3\xa9\xff",
        "\"a\", b;c=d");
    CHECK(is_field_value, false, " ", "\t", " a", "a ", "\ta", "a\t", "a\r\nb",
        "a\nb", "a\rb", "a\x7f", "\x01");
    assert_false(is_field_value("a\0b", 3));
    check_octets(is_field_value, "a@b", in_value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codings_that_end_in_chunked),
        cmocka_unit_test(codings_that_do_not_end_in_chunked),
        cmocka_unit_test(media_types_that_are_json),
        cmocka_unit_test(media_types_that_are_not_json),
        cmocka_unit_test(tags_are_any_or_a_list),
        cmocka_unit_test(each_octet_of_an_element),
        cmocka_unit_test(names_of_fields_are_tokens),
        cmocka_unit_test(values_of_fields_are_text_without_blanks_around),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
