"""scripts/check-layers.sh, on small trees that each break one rule."""

import contextlib
import io
import os
import resource
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
sys.path.insert(0, os.path.join(TOP, "scripts"))

import check_layers

SCRIPT = os.path.join(TOP, "scripts/check-layers.sh")

# A tree that breaks no rule. A test changes or adds what it is about.
CLEAN = {
    "include/hcs/handler.h":
        "#ifdef __cplusplus\nextern \"C\" {\n#endif\n"
        "struct hcs_job;\nvoid hcs_job_write(struct hcs_job *job);\n"
        "#ifdef __cplusplus\n}\n#endif\n",
    "src/CMakeLists.txt":
        "set(HCS_SOURCES\n    base/text.c\n    handlers/echo.c\n"
        "    handlers/exec/exec.c\n    handlers/sql/pool.c\n    http/head.c\n"
        "    job/job.c\n    sync/queue.c\n    main.c)\n",
    "src/base/text.h": "int hcs_text(int c);\nenum { HCS_TEXT_MAX = 3 };\n",
    "src/base/text.c":
        "#include \"base/text.h\"\n\n#include <string.h>\n\n"
        "int hcs_text(int c)\n{\n    return c;\n}\n",
    "src/http/head.h": "struct hcs_head;\nint hcs_head(void);\n",
    "src/http/head.c":
        "#include \"http/head.h\"\n\n#include \"base/text.h\"\n\n"
        "enum { MOST = HCS_TEXT_MAX };\n"
        "static const int LIMIT[] = {MOST, 2};\n\n"
        "int hcs_head(void)\n{\n    return hcs_text(LIMIT[0]);\n}\n",
    "src/sync/queue.h": "int hcs_queue(void);\n",
    "src/sync/queue.c":
        "#include \"sync/queue.h\"\n\nint hcs_queue(void)\n{\n    return 0;\n}\n",
    "src/job/job.h": "#include \"hcs/handler.h\"\n",
    "src/job/job.c":
        "#include \"job/job.h\"\n\n#include \"http/head.h\"\n\n"
        "void hcs_job_write(struct hcs_job *job)\n{\n"
        "    (void)job;\n    hcs_head();\n}\n",
    "src/handlers/echo.h": "extern const int hcs_echo;\n",
    "src/handlers/echo.c":
        "#include \"handlers/echo.h\"\n\n#include <hcs/handler.h>\n\n"
        "static void run(struct hcs_job *job)\n{\n    hcs_job_write(job);\n}\n\n"
        "const int hcs_echo = sizeof(run);\n",
    "src/handlers/exec/exec.h": "int hcs_exec(void);\n",
    "src/handlers/exec/exec.c":
        "#include \"handlers/exec/exec.h\"\n\n"
        "int hcs_exec(void)\n{\n    return 0;\n}\n",
    "src/handlers/sql/pool.h": "int hcs_pool(void);\n",
    "src/handlers/sql/pool.c":
        "#include \"handlers/sql/pool.h\"\n\n"
        "int hcs_pool(void)\n{\n    return 0;\n}\n",
    "src/main.c":
        "#include \"handlers/echo.h\"\n#include \"sync/queue.h\"\n\n"
        "int main(void)\n{\n    return hcs_queue() + hcs_echo;\n}\n",
    "docs/page.md": "See `src/main.c` and `http/head.h`.\n",
}


def check(changes, *options):
    """(exit status, lines printed) for the clean tree with these changes. A
    text that begins with + is added to the file; None removes it."""
    tree = dict(CLEAN)
    for path, text in changes.items():
        if text is None:
            del tree[path]
        elif isinstance(text, str) and text.startswith("+"):
            tree[path] += text[1:]
        else:
            tree[path] = text
    with tempfile.TemporaryDirectory() as root:
        for path, text in tree.items():
            path = os.path.join(root, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(text if isinstance(text, bytes) else text.encode())
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            status = check_layers.main([*options, root])
    return status, printed.getvalue().splitlines()


def lines(count):
    return "    hcs_head();\n" * count


# Rule: (changes, what the one complaint says).
BROKEN = {
    "include goes up": (
        {"src/base/text.c": "+#include \"sync/queue.h\"\n"},
        "src/base/text.c:9: base may not include sync/queue.h "
        "(only from: base hcs)"),
    "include goes up in angle brackets": (
        {"src/base/text.c": "+#include <sync/queue.h>\n"},
        "src/base/text.c:9: base may not include sync/queue.h "
        "(only from: base hcs)"),
    "include goes aside": (
        {"src/http/head.c": "+#include \"sync/queue.h\"\n"},
        "src/http/head.c:12: http may not include sync/queue.h "
        "(only from: http base hcs)"),
    "exec includes sql": (
        {"src/handlers/exec/exec.c": "+#include \"handlers/sql/pool.h\"\n"},
        "src/handlers/exec/exec.c:7: handlers/exec may not include "
        "handlers/sql/pool.h (only from: handlers/exec handlers hcs)"),
    "sql includes exec": (
        {"src/handlers/sql/pool.c": "+#include \"handlers/exec/exec.h\"\n"},
        "src/handlers/sql/pool.c:7: handlers/sql may not include "
        "handlers/exec/exec.h (only from: handlers/sql handlers hcs)"),
    "handler includes the daemon": (
        {"src/handlers/echo.c": "+#include \"base/text.h\"\n"},
        "src/handlers/echo.c:11: handlers may not include base/text.h "
        "(only from: handlers hcs)"),
    "public header includes the daemon": (
        {"include/hcs/handler.h": "+#include \"base/text.h\"\n"},
        "include/hcs/handler.h:9: hcs may not include base/text.h "
        "(only from: hcs)"),
    "room is not in the table": (
        {"src/cellar/wine.h": "int hcs_wine(void);\n"},
        "src/cellar/wine.h: no room is called cellar (TABLE in "
        "scripts/check_layers.py)"),
    "include is not relative to src": (
        {"src/base/text.c": "+#include \"text.h\"\n"},
        "src/base/text.c:9: write \"text.h\" relative to src"),
    "included file is gone": (
        {"src/base/text.c": "+#include \"base/gone.h\"\n"},
        "src/base/text.c:9: there is no src/base/gone.h"),
    "call goes aside without an include": (
        {"src/http/head.c":
            "+int hcs_queue(void);\n\nstatic int aside(void)\n{\n"
            "    return hcs_queue();\n}\n"},
        "src/http/head.c:16: http may not use hcs_queue of src/sync/queue.c"),
    "handler calls the daemon": (
        {"src/handlers/echo.c":
            "+\nint hcs_text(int c);\n\nstatic int (*const text)(int) = hcs_text;\n"},
        "src/handlers/echo.c:14: handlers may not use hcs_text of "
        "src/base/text.c"),
    "own header is not first": (
        {"src/sync/queue.c":
            "#include <string.h>\n#include \"sync/queue.h\"\n"
            "int hcs_queue(void)\n{\n    return 0;\n}\n"},
        "src/sync/queue.c: includes string.h before its own \"sync/queue.h\""),
    "source is not built": (
        {"src/base/extra.c": "static int extra;\n"},
        "src/base/extra.c: not in src/CMakeLists.txt"),
    "http includes a socket's header": (
        {"src/http/head.c": "+#include <sys/socket.h>\n"},
        "src/http/head.c:12: http is pure: no socket, thread or clock, so no "
        "sys/socket.h"),
    "http calls a clock": (
        {"src/http/head.c": "+static long now(void)\n{\n    return time(0);\n}\n"},
        "src/http/head.c:14: http is pure: no socket, thread or clock, so no "
        "time()"),
    "http starts a thread": (
        {"src/http/head.c":
            "+static void go(void)\n{\n    pthread_create(0, 0, 0, 0);\n}\n"},
        "src/http/head.c:14: http is pure: no socket, thread or clock, so no "
        "pthread_create()"),
    "function is offered under any name": (
        {"src/base/text.c": "+\nint shown(void)\n{\n    return 0;\n}\n"},
        "src/base/text.c:10: shown is neither static nor called hcs_..."),
    "object is offered under any name": (
        {"src/base/text.c": "+\nint shown[3];\n"},
        "src/base/text.c:10: shown is neither static nor called hcs_..."),
    "function has 81 lines": (
        {"src/job/job.c": "+\nstatic void\nlong_one(void)\n{\n" + lines(77) + "}\n"},
        "src/job/job.c:11: long_one has 81 lines; the most is 80"),
    "file has 801 lines": (
        {"src/job/job.c": "+" + "\n" * 792},
        "src/job/job.c: has 801 lines; the most is 800"),
    "page names a path that is gone": (
        {"docs/page.md": "+\nAnd `tests/unit/test_gone.c`.\n"},
        "docs/page.md:3: there is no tests/unit/test_gone.c"),
    "page names a source below src that is gone": (
        {"docs/page.md": "+\nAnd `http/gone.h`.\n"},
        "docs/page.md:3: there is no src/http/gone.h"),
    "page links to a page that is gone": (
        {"docs/page.md": "+[a](../README.md)\n"},
        "docs/page.md:2: there is no README.md"),
    "page links to a heading that is gone": (
        {"docs/page.md": "+# One, two\n[a](#one-two) [b](page.md#three)\n"},
        "docs/page.md:3: docs/page.md has no heading #three"),
    "list of uncovered lines names a function that is gone": (
        {"tests/coverage-exceptions.txt":
            "src/http/head.c hcs_head: return  hcs_text(LIMIT[0]);\n    Why.\n"
            "src/http/head.c hcs_head: *\n    Why.\n"
            "src/http/head.c gone: *\n    Why.\n"},
        "tests/coverage-exceptions.txt:5: src/http/head.c has no gone"),
    "list of uncovered lines names a line that is gone": (
        {"tests/coverage-exceptions.txt":
            "src/http/head.c hcs_head: return 0;\n    Why.\n"},
        "tests/coverage-exceptions.txt:1: hcs_head has no line return 0;"),
    "list of atomic operations names a function that is gone": (
        {"tests/model/operations.txt": "src/sync/queue.c gone load x | [x]\n"},
        "tests/model/operations.txt:1: src/sync/queue.c has no gone"),
    "text is not UTF-8": (
        {"docs/page.md": b"caf\xe9\n"}, "docs/page.md: not UTF-8"),
    "text has control characters": (
        {"docs/page.md": b"bell\a\n"}, "docs/page.md: has control characters"),
    "text has a character that cannot be seen": (
        {"docs/page.md": "one\ntwo\u200b\n"},
        "docs/page.md:2: has a character that cannot be seen (U+200B)"),
}

# Circles: (changes, the lines that draw it).
CIRCLES = {
    "by includes": (
        {"src/base/text.h": "+#include \"base/other.h\"\n",
         "src/base/other.h": "#include \"base/text.h\"\n"},
        ["circle: base/other > base/text > base/other",
         "    base/other > base/text: #include base/text.h (src/base/other.h:1)",
         "    base/text > base/other: #include base/other.h (src/base/text.h:3)"]),
    "by calls": (
        {"src/CMakeLists.txt": "+# base/a.c base/b.c\n",
         "src/base/both.h": "void hcs_a(void);\nvoid hcs_b(void);\n",
         "src/base/a.c":
            "#include \"base/both.h\"\n\nvoid hcs_a(void)\n{\n    hcs_b();\n}\n",
         "src/base/b.c":
            "#include \"base/both.h\"\n\nvoid hcs_b(void)\n{\n    hcs_a();\n}\n"},
        ["circle: base/a > base/b > base/a",
         "    base/a > base/b: hcs_b (src/base/a.c:5)",
         "    base/b > base/a: hcs_a (src/base/b.c:5)"]),
    "by a table": (
        {"src/CMakeLists.txt": "+# base/a.c base/b.c\n",
         "src/base/a.c": "const int hcs_a = 1;\nextern int hcs_b;\n"
                         "static const int *const all[] = {&hcs_b};\n",
         "src/base/b.c": "extern int hcs_a;\nint hcs_b = hcs_a;\n"},
        ["circle: base/a > base/b > base/a",
         "    base/a > base/b: hcs_b (src/base/a.c:3)",
         "    base/b > base/a: hcs_a (src/base/b.c:2)"]),
}

# What looks like a breach and is none.
FINE = {
    "names in comments and strings": {
        "src/base/text.c":
            "+/* calls hcs_queue() */\nstatic const char *say = \"hcs_queue()\";\n"
            "// hcs_head()\n"},
    "types and members of the same name": {
        "src/base/text.c":
            "+struct hcs_queue;\nstruct pair {\n    int hcs_head;\n};\n"
            "static int get(struct hcs_queue *q, struct pair *p)\n{\n"
            "    struct pair other = {.hcs_head = 1};\n\n"
            "    return q != 0 ? p->hcs_head : other.hcs_head;\n}\n"},
    "a function of 80 lines": {
        "src/job/job.c": "+\nstatic void just(void)\n{\n" + lines(77) + "}\n"},
    "a brace in a literal": {
        "src/base/text.c": "+\nstatic int brace(void)\n{\n    return '{' + \"{\"[0];\n}\n"},
    "a macro with an open brace": {
        "src/base/text.c":
            "+#define OPEN {\n#define SHUT \\\n    }\n"
            "static int brace(void)\n{\n    return 0;\n}\n"},
    "a comment in a macro of several lines": {
        "src/base/text.c":
            "+#define LIST(X) \\\n    /* one \\\n     * more */ \\\n    X(a, 1) \\\n"
            "    X(b, 2)\n\nstruct list {\n    int a;\n};\n"},
    "a function behind an attribute": {
        "src/base/text.c":
            "+__attribute__((format(printf, 1, 2))) static void\n"
            "say(const char *format, ...)\n{\n    (void)format;\n}\n"},
    "an enum and a struct at the file's level": {
        "src/base/text.c":
            "+enum { ONE = 1, TWO = ONE + 1 };\nstruct one {\n    int a;\n};\n"
            "static struct two {\n    int b;\n} both[TWO];\n"},
}


class CheckLayers(unittest.TestCase):
    def test_clean_tree_passes(self):
        status, printed = check({})
        self.assertEqual(printed, ["check-layers: 16 sources, 18 texts: no complaint"])
        self.assertEqual(status, 0)

    def test_each_breach_is_one_complaint(self):
        for name, (changes, complaint) in BROKEN.items():
            with self.subTest(name):
                status, printed = check(changes)
                self.assertEqual(printed, [complaint, "check-layers: 1 complaint"])
                self.assertEqual(status, 1)

    def test_circles_are_drawn_with_their_names(self):
        for name, (changes, drawn) in CIRCLES.items():
            with self.subTest(name):
                status, printed = check(changes)
                self.assertEqual(printed, drawn + ["check-layers: 1 complaint"])
                self.assertEqual(status, 1)

    def test_what_only_looks_like_a_breach_passes(self):
        for name, changes in FINE.items():
            with self.subTest(name):
                status, printed = check(changes)
                self.assertEqual(status, 0, printed)

    def test_options_choose_rules(self):
        breach = {**BROKEN["file has 801 lines"][0], **CIRCLES["by includes"][0],
                  **BROKEN["text is not UTF-8"][0]}
        self.assertEqual(check(breach, "--sizes")[1], [
            BROKEN["file has 801 lines"][1], "check-layers: 1 complaint"])
        self.assertEqual(check(breach, "--circles")[1], [
            *CIRCLES["by includes"][1], "check-layers: 1 complaint"])

    def test_wrong_use_has_a_status_of_its_own(self):
        for arguments in (["--nonsense"], ["/nonexistent"], [TOP, TOP]):
            done = subprocess.run([SCRIPT, *arguments], capture_output=True,
                                  text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertNotEqual(done.stderr, "")

    def test_own_tree_is_read_quickly(self):
        """Prints the CPU time; on a slow machine it proves nothing. What the
        rules say of this tree is a step of scripts/test.sh."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([SCRIPT, TOP], capture_output=True, text=True,
                              timeout=120, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = (after.ru_utime + after.ru_stime -
                 before.ru_utime - before.ru_stime)
        print(f"check-layers.sh: {spent:.2f} s of CPU time")
        self.assertIn(done.returncode, (0, 1), done.stderr)


if __name__ == "__main__":
    unittest.main()
