/* The language of HANDLERS and of HANDLERS_FILE. */
#include "app/routes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { ERROR_SIZE = 1024 };

static int parse(struct hcs_routes *routes, const char *text, char *error)
{
    struct hcs_message message;

    memset(routes, 0, sizeof *routes);
    hcs_message_init(&message, error, ERROR_SIZE);
    return hcs_routes_parse(routes, text, &message);
}

static void parse_good(struct hcs_routes *routes, const char *text)
{
    char error[ERROR_SIZE];

    if (parse(routes, text, error) != 0) {
        fail_msg("%s was refused: %s", text, error);
    }
    assert_string_equal(error, "");
}

/* --- HANDLERS. */

static void assert_same(const char *got, const char *expected)
{
    if (expected == NULL) {
        assert_null(got);
    } else {
        assert_non_null(got);
        assert_string_equal(got, expected);
    }
}

static void entry_is_taken_apart_and_decoded(void **state)
{
    static const struct {
        const char *entry, *path, *kind, *argument, *query;
    } cases[] = {
        {"/=echo", "/", "echo", NULL, NULL},
        {"/a/b=sleep:100ms", "/a/b", "sleep", "100ms", NULL},
        {"/s=module:./s.so?a=1&b=2", "/s", "module", "./s.so", "a=1&b=2"},
        {"/q=echo?a=b", "/q", "echo", NULL, "a=b"},
        {"/e=echo:", "/e", "echo", "", NULL},
        {"/e=echo?", "/e", "echo", NULL, ""},
        {"/e=echo:?", "/e", "echo", "", ""},
        {"/c=a:b:c=d?e?f:g", "/c", "a", "b:c=d", "e?f:g"},
        {"/k=My-Kind_2", "/k", "My-Kind_2", NULL, NULL},
        {"/%61%3Db%2fc=echo", "/a=b/c", "echo", NULL, NULL},
        {"/p=k:%3f%20%25%0A%c3%A9", "/p", "k", "? %\n\xc3\xa9", NULL},
        {"/r=k?a=%20%zz", "/r", "k", NULL, "a=%20%zz"},
        {"/l-._~!$&'()*+,;:@/=k", "/l-._~!$&'()*+,;:@/", "k", NULL, NULL},
        {"\"/b=k:a b?c=d e\"", "/b", "k", "a b", "c=d e"},
        {"/b=k:\"a b\"?c=\"d e\"", "/b", "k", "a b", "c=d e"},
        {"\"/b\"=\"k\"", "/b", "k", NULL, NULL},
        {"/n=k:a#b", "/n", "k", "a#b", NULL},
        {"/u=k:\xc3\xa9", "/u", "k", "\xc3\xa9", NULL},
        {"/problems=k", "/problems", "k", NULL, NULL},
        {"/health/x=k", "/health/x", "k", NULL, NULL},
        {"/Health=k", "/Health", "k", NULL, NULL},
        {"\t\r\n /w=k \n", "/w", "k", NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct hcs_routes routes;

        parse_good(&routes, cases[i].entry);
        assert_int_equal(routes.count, 1);
        assert_same(routes.entries[0].path, cases[i].path);
        assert_same(routes.entries[0].kind, cases[i].kind);
        assert_same(routes.entries[0].argument, cases[i].argument);
        assert_same(routes.entries[0].query, cases[i].query);
        hcs_routes_fini(&routes);
    }
}

static void entries_stand_between_blanks(void **state)
{
    struct hcs_routes routes;

    (void)state;
    parse_good(&routes, "/=echo  \"/b=exec:a b\"\t/c=sleep:1s\n/d=x");
    assert_int_equal(routes.count, 4);
    assert_string_equal(routes.entries[0].path, "/");
    assert_string_equal(routes.entries[1].argument, "a b");
    assert_string_equal(routes.entries[2].argument, "1s");
    assert_string_equal(routes.entries[3].path, "/d");
    hcs_routes_fini(&routes);
    assert_null(routes.entries);
    assert_int_equal(routes.count, 0);
}

#define LEGAL "the path may hold letters, digits and -._~!$&'()*+,;=:@/ only"
#define KIND_NAME "the handler's name must be letters, digits, - and _"
#define PATH_CODE "a bad percent-encoding in the path"
#define ARGUMENT_CODE "a bad percent-encoding in the argument"
#define OWN "the path is one of the daemon's own"
#define CONTROL "a control character; write it as %XX"
#define START "the path must start with /"

static void bad_entry_is_refused_and_named(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {" ", "no entry"},
        {"echo", "\"echo\": " START},
        {"a=echo", "\"a=echo\": " START},
        {"\"\"", "\"\": " START},
        {"%2Fa=echo", "\"%2Fa=echo\": " START},
        {"#/a=echo", "\"#/a=echo\": " START},
        {"/a", "\"/a\": no =KIND behind the path"},
        {"/a=b /c", "\"/c\": no =KIND behind the path"},
        {"/a=", "\"/a=\": " KIND_NAME},
        {"/a=:x", "\"/a=:x\": " KIND_NAME},
        {"/a=?x", "\"/a=?x\": " KIND_NAME},
        {"/a=b.c", "\"/a=b.c\": " KIND_NAME},
        {"/a=b=c", "\"/a=b=c\": " KIND_NAME},
        {"/a=%65cho", "\"/a=%65cho\": " KIND_NAME},
        {"\"/a=b c\"", "\"/a=b c\": " KIND_NAME},
        {"/a?b=c", "\"/a?b=c\": " LEGAL},
        {"/a#b=c", "\"/a#b=c\": " LEGAL},
        {"/a%3Fb=c", "\"/a%3Fb=c\": " LEGAL},
        {"/a%20b=c", "\"/a%20b=c\": " LEGAL},
        {"\"/a b=c\"", "\"/a b=c\": " LEGAL},
        {"/a[=c", "\"/a[=c\": " LEGAL},
        {"/%C3%A9=c", "\"/%C3%A9=c\": " LEGAL},
        {"/a%22=c", "\"/a%22=c\": " LEGAL},
        {"/a%=c", "\"/a%=c\": " PATH_CODE},
        {"/a%4=c", "\"/a%4=c\": " PATH_CODE},
        {"/a%4g=c", "\"/a%4g=c\": " PATH_CODE},
        {"/a%00=c", "\"/a%00=c\": " PATH_CODE},
        {"/a=c:%", "\"/a=c:%\": " ARGUMENT_CODE},
        {"/a=c:%4", "\"/a=c:%4\": " ARGUMENT_CODE},
        {"/a=c:x%00y", "\"/a=c:x%00y\": " ARGUMENT_CODE},
        {"/a=c:%?41", "\"/a=c:%?41\": " ARGUMENT_CODE},
        {"/a=c:\"x", "a quote is not closed"},
        {"/a=c \"", "a quote is not closed"},
        {"/health=c", "\"/health=c\": " OWN},
        {"/livez=c", "\"/livez=c\": " OWN},
        {"/readyz=c", "\"/readyz=c\": " OWN},
        {"/healthz=c", "\"/healthz=c\": " OWN},
        {"/metrics=c", "\"/metrics=c\": " OWN},
        {"/%68ealth=c", "\"/%68ealth=c\": " OWN},
        {"/problems/=c", "\"/problems/=c\": " OWN},
        {"/problems/x=c", "\"/problems/x=c\": " OWN},
        {"/a=b /c=d /a=e", "\"/a=e\": a second handler on one path"},
        {"/a=b /%61=b", "\"/%61=b\": a second handler on one path"},
        {"/a=c:x\x01y", CONTROL},
        {"\"/a=c:x\ny\"", CONTROL},
        {"/a=c?\x7f", CONTROL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct hcs_routes routes;
        char error[ERROR_SIZE];

        if (parse(&routes, cases[i].text, error) != -EINVAL) {
            fail_msg("%s was taken", cases[i].text);
        }
        assert_string_equal(error, cases[i].why);
        hcs_routes_fini(&routes);
    }
}

static void as_many_handlers_as_allowed_and_no_more(void **state)
{
    struct hcs_routes routes;
    char text[16 * 1024];
    size_t used = 0;
    char error[ERROR_SIZE];

    (void)state;
    for (int i = 0; i < HCS_ROUTES_MAX; i++) {
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "/%d=echo ", i);
    }
    parse_good(&routes, text);
    assert_int_equal(routes.count, HCS_ROUTES_MAX);
    assert_string_equal(routes.entries[255].path, "/255");
    hcs_routes_fini(&routes);

    (void)snprintf(text + used, sizeof text - used, "/last=echo");
    assert_int_equal(parse(&routes, text, error), -EINVAL);
    assert_string_equal(error, "\"/last=echo\": more than 256 handlers");
    hcs_routes_fini(&routes);
}

static void printed_entries_read_back_as_the_same(void **state)
{
    static const char text[] = "/a%3Db=k:%22%3F%25%20%0A%7F:=?x=%20 "
                               "\"/b=k?c d\" /c=e: /d=e?";
    struct hcs_routes routes;
    char *printed = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&printed, &length);

    (void)state;
    assert_non_null(out);
    parse_good(&routes, text);
    hcs_routes_print(&routes, out);
    hcs_routes_fini(&routes);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(printed, text);

    parse_good(&routes, printed);
    assert_int_equal(routes.count, 4);
    assert_string_equal(routes.entries[0].path, "/a=b");
    assert_string_equal(routes.entries[0].argument, "\"?% \n\x7f:=");
    assert_string_equal(routes.entries[0].query, "x=%20");
    assert_string_equal(routes.entries[1].query, "c d");
    hcs_routes_fini(&routes);
    free(printed);
}

/* --- HANDLERS_FILE. */

/* Reads a file of that content. */
static int read_content(
    struct hcs_routes *routes, const char *content, size_t length, char *error)
{
    char name[] = "/tmp/hcs-handlers-XXXXXX";
    struct hcs_message message;
    int fd = mkstemp(name);
    int rc;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, length), (ssize_t)length);
    close(fd);
    memset(routes, 0, sizeof *routes);
    hcs_message_init(&message, error, ERROR_SIZE);
    rc = hcs_routes_read_file(routes, name, &message);
    assert_int_equal(unlink(name), 0);
    return rc;
}

static void file_has_one_entry_a_line_and_comments(void **state)
{
    static const char content[] =
        "# the handlers of this machine, \"all\n"
        "\n"
        " \t/=echo\n"
        "/b=exec:\"a # b\" # not in quotes: a comment, \" too\r\n"
        "   # another\n"
        "/c=sleep:x#y";
    struct hcs_routes routes;
    char error[ERROR_SIZE];

    (void)state;
    assert_int_equal(
        read_content(&routes, content, sizeof content - 1, error), 0);
    assert_string_equal(error, "");
    assert_int_equal(routes.count, 3);
    assert_string_equal(routes.entries[0].path, "/");
    assert_string_equal(routes.entries[1].path, "/b");
    assert_string_equal(routes.entries[1].argument, "a # b");
    assert_string_equal(routes.entries[2].argument, "x#y");
    hcs_routes_fini(&routes);
}

static void bad_file_is_refused_with_its_line(void **state)
{
#define BAD_FILE(content, why)                                                 \
    {                                                                          \
        content, sizeof(content) - 1, why                                      \
    }
    static const struct {
        const char *content;
        size_t length;
        const char *why;
    } cases[] = {
        BAD_FILE("", "no entry"),
        BAD_FILE("# nothing\n\n", "no entry"),
        BAD_FILE("/=echo\n\n/a\n", "line 3: \"/a\": no =KIND behind the path"),
        BAD_FILE(
            "/a=b\n/a=c\n", "line 2: \"/a=c\": a second handler on one path"),
        BAD_FILE("/health=b\n",
            "line 1: \"/health=b\": the path is one of the daemon's own"),
        BAD_FILE(
            "/a=b /c=d\n", "line 1: more than one entry; put blanks in quotes"),
        BAD_FILE("/a=b:\"c\nd\"\n", "line 1: a quote is not closed"),
        BAD_FILE("/a=b \"c\n", "line 1: a quote is not closed"),
        BAD_FILE("/a=b\n/c=d\0\n", "line 2: a NUL byte; not a text file"),
        BAD_FILE("/a=b:\x01\n", "line 1: a control character; write it as %XX"),
    };
#undef BAD_FILE

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct hcs_routes routes;
        char error[ERROR_SIZE];

        assert_int_equal(
            read_content(&routes, cases[i].content, cases[i].length, error),
            -EINVAL);
        assert_string_equal(error, cases[i].why);
        hcs_routes_fini(&routes);
    }
}

static void line_of_a_file_is_bounded(void **state)
{
    enum { LONGEST = 8191 };
    struct hcs_routes routes;
    char content[LONGEST + 2];
    char error[ERROR_SIZE];

    (void)state;
    memset(content, 'x', sizeof content);
    memcpy(content, "/a=k:", 5);
    content[LONGEST] = '\n';
    assert_int_equal(read_content(&routes, content, LONGEST + 1, error), 0);
    assert_int_equal(strlen(routes.entries[0].argument), LONGEST - 5);
    hcs_routes_fini(&routes);

    content[LONGEST] = 'x';
    content[LONGEST + 1] = '\n';
    assert_int_equal(
        read_content(&routes, content, LONGEST + 2, error), -EINVAL);
    assert_string_equal(error, "line 1: longer than 8191 bytes");
    hcs_routes_fini(&routes);
}

static void file_that_cannot_be_read_is_refused(void **state)
{
    static const struct {
        const char *name, *why;
    } cases[] = {
        {"/nonexistent/handlers", "No such file or directory"},
        {"/tmp", "Is a directory"},
        {"/dev/zero", "line 1: a NUL byte; not a text file"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct hcs_routes routes = {0};
        struct hcs_message message;
        char error[ERROR_SIZE];

        hcs_message_init(&message, error, sizeof error);
        assert_int_equal(
            hcs_routes_read_file(&routes, cases[i].name, &message), -EINVAL);
        assert_string_equal(error, cases[i].why);
        hcs_routes_fini(&routes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_is_taken_apart_and_decoded),
        cmocka_unit_test(entries_stand_between_blanks),
        cmocka_unit_test(bad_entry_is_refused_and_named),
        cmocka_unit_test(as_many_handlers_as_allowed_and_no_more),
        cmocka_unit_test(printed_entries_read_back_as_the_same),
        cmocka_unit_test(file_has_one_entry_a_line_and_comments),
        cmocka_unit_test(bad_file_is_refused_with_its_line),
        cmocka_unit_test(line_of_a_file_is_bounded),
        cmocka_unit_test(file_that_cannot_be_read_is_refused),
    };

    return cmocka_run_group_tests_name("routes", tests, NULL, NULL);
}
