"""The handler sqlite: what goes in and comes out, who waits for what, and what
happens when the file does not do."""
# ctest: timeout=180 builds=release,asan,tsan

import json
import os
import re
import shutil
import sqlite3
import subprocess
import threading
import unittest

import database
import harness
from harness import FEW, HCSD, SLOW, post_bytes

MODULE = database.module("sqlite")
MISSING = "hcsd was built without SQLite (scripts/packages.sh build)"

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS items (
    id INTEGER PRIMARY KEY,
    name TEXT UNIQUE,
    size INTEGER CHECK (size > 0)
);
CREATE TABLE IF NOT EXISTS parts (item INTEGER NOT NULL REFERENCES items (id));
"""

STATEMENTS = """
-- name: add
INSERT INTO items (name, size) VALUES (:name, :size) RETURNING id;

-- name: rename
UPDATE items SET name = :name WHERE id = :id;

-- name: all
SELECT id, name, size FROM items ORDER BY id;

-- name: count
SELECT count(*) AS count FROM items;

-- name: remove
DELETE FROM items;

-- name: add_part
INSERT INTO parts (item) VALUES (:item);

-- name: value
SELECT :value AS value, typeof(:value) AS type;

-- name: kinds
SELECT 1 AS "a ""b"" \\", -0.5 AS half, 5.0 AS five, 1e300 AS large, 9e999 AS inf,
       -9e999 AS less, 0.1 AS tenth, x'000102ff' AS blob, x'' AS empty, NULL AS none,
       x'61626364' AS four, 'it''s' AS text, CAST(x'61ff62' AS TEXT) AS bad;

-- name: digits
SELECT 9007199254740993 AS a, 9223372036854775807 AS b, -9223372036854775808 AS c;

-- name: run
-- Runs for long, and changes nothing.
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :steps)
SELECT count(*) AS steps FROM n;

-- name: fill
-- Runs for long, and changes much.
INSERT INTO items (size)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
SELECT i FROM n;

-- name: rows
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
SELECT i, hex(zeroblob(:width)) AS text FROM n;

-- name: fill_and_tell
INSERT INTO items (size, name)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
SELECT i, 'row ' || i FROM n
RETURNING id, name, hex(zeroblob(100000)) AS text;

-- name: begin
BEGIN;

-- name: overflow
SELECT abs(:value) AS value;
"""

ENDLESS = 10 ** 12


@unittest.skipUnless(os.path.exists(MODULE), MISSING)
class SqliteTest(database.DatabaseTest):
    STATEMENTS = STATEMENTS
    LONG = ("run", {"steps": ENDLESS})

    def setUp(self):
        super().setUp()
        self.schema = self.write("schema.sql", SCHEMA)
        self.file = self.path("items.db")

    def handlers(self, settings=""):
        return "/db=sqlite:%s?statements=%s&schema=%s%s /echo=echo" % (
            self.file, self.statements, self.schema, settings)


class Common(SqliteTest, database.CommonCases):
    WIDE = {"rows": 10 ** 7, "width": 100000}


class Values(SqliteTest):
    def test_rows_come_back_and_changes_are_counted(self):
        daemon = self.serve()
        for name in "ab":
            reply = self.ask(daemon, "add", name=name, size=3)
            self.assertEqual(reply.headers["content-type"], "application/json")
        self.assertEqual(reply.body, b'{"rows":[{"id":2}],"changes":1}')
        self.assertEqual(self.ask(daemon, "all").body,
                         b'{"rows":[{"id":1,"name":"a","size":3},'
                         b'{"id":2,"name":"b","size":3}],"changes":0}')
        self.assertEqual(self.ask(daemon, "rename", name="c", id=9).body,
                         b'{"rows":[],"changes":0}')
        self.assertEqual(self.ask(daemon, "remove").body, b'{"rows":[],"changes":2}')
        self.assertEqual(self.ask(daemon, "count").body, b'{"rows":[{"count":0}],"changes":0}')

    def value(self, daemon, raw):
        """What becomes of the JSON text as a parameter: value and type, as
        text."""
        reply = daemon.post('{"statement":"value","parameters":{"value":%s}}' % raw, "/db")
        self.assertEqual(reply.status, 200, reply)
        found = re.fullmatch(r'\{"rows":\[\{"value":(.*),"type":"(\w+)"\}\],"changes":0\}',
                             reply.body.decode())
        return found.groups()

    def test_parameters_keep_value_and_type(self):
        daemon = self.serve()
        for raw, value, kind in [
                ("9007199254740993", "9007199254740993", "integer"),
                ("-9223372036854775808", "-9223372036854775808", "integer"),
                ("0.1", "0.1", "real"), ("1e2", "100.0", "real"), ("2.0", "2.0", "real"),
                ("1.7976931348623157e308", "1.7976931348623157e+308", "real"),
                ("1e-400", "0.0", "real"), ("0.30000000000000004", "0.30000000000000004", "real"),
                ("true", "1", "integer"), ("false", "0", "integer"), ("null", "null", "null"),
                ('"a\\u0000b\\n\\ud83d\\ude00\\"\\/"', '"a\\u0000b\\n\U0001f600\\"/"', "text"),
                ('""', '""', "text"), ('"1"', '"1"', "text"),
                ('[1, 2.50 ,"x"]', '"[1, 2.50 ,\\"x\\"]"', "text"),
                ('{"a" :null}', '"{\\"a\\" :null}"', "text")]:
            self.assertEqual(self.value(daemon, raw), (value, kind), raw)

    def test_numbers_without_a_place_are_refused(self):
        daemon = self.serve()
        for raw in ("9223372036854775808", "-9223372036854775809", "1e309", "-1e309"):
            reply = daemon.post('{"statement":"value","parameters":{"value":%s}}' % raw, "/db")
            self.assert_invalid(reply, 'the parameter "value" is too large for SQLite')
        self.assertEqual(self.value(daemon, "1"), ("1", "integer"))

    def test_each_type_has_its_json(self):
        daemon = self.serve()
        row = self.rows(daemon, "kinds")[0]
        self.assertEqual(row, {
            'a "b" \\': 1, "half": -0.5, "five": 5.0, "large": 1e300, "inf": "Infinity",
            "less": "-Infinity", "tenth": 0.1, "blob": "AAEC/w==", "empty": "", "none": None,
            "four": "YWJjZA==", "text": "it's", "bad": "a\ufffdb"})
        self.assertIn(b'"five":5.0,"large":1e+300', self.ask(daemon, "kinds").body)
        self.assertIn(b'{"a":9007199254740993,"b":9223372036854775807,"c":-9223372036854775808}',
                      self.ask(daemon, "digits").body)

class Refusals(SqliteTest):
    def test_names_may_be_escaped_and_the_first_of_two_members_counts(self):
        daemon = self.serve()
        reply = daemon.post('{"st\\u0061tement":"v\\u0061lue",'
                            '"parameters":{"v\\u0061lue":1,"value":2}}', "/db")
        self.assertEqual(reply.json()["rows"], [{"value": 1, "type": "integer"}])

    def test_what_the_tables_do_not_allow_is_the_clients_fault(self):
        daemon = self.serve()
        self.ask(daemon, "add", name="a", size=1)
        self.assert_invalid(self.ask(daemon, "add", name="a", size=1),
                            "UNIQUE constraint failed: items.name")
        self.assert_invalid(self.ask(daemon, "add", name="b", size=0),
                            "CHECK constraint failed: size > 0")
        self.assert_invalid(self.ask(daemon, "add_part", item=7),
                            "FOREIGN KEY constraint failed")
        self.assertEqual(self.rows(daemon, "count"), [{"count": 1}])

    def test_what_fails_otherwise_is_said_in_the_log(self):
        daemon = self.serve()
        reply = self.ask(daemon, "overflow", value=-2 ** 63)
        self.assertEqual((reply.status, reply.problem()), (500, "handler-failed"))
        self.assertEqual(reply.json()["detail"], "the database could not run the statement")
        self.assert_logged(daemon, "statement overflow: integer overflow")

    def test_a_transaction_does_not_outlast_its_statement(self):
        daemon = self.serve("&pool=1")
        reply = self.ask(daemon, "begin")
        self.assertEqual((reply.status, reply.json()["detail"]),
                         (500, "the statement left a transaction open"))
        self.ask(daemon, "add", name="a", size=1)
        with sqlite3.connect(self.file) as other:
            self.assertEqual(other.execute("SELECT count(*) FROM items").fetchall(), [(1,)])
        other.close()


class Pool(SqliteTest):
    def test_its_threads_have_names(self):
        daemon = self.serve("&pool=2")
        self.eventually(lambda: {"hcsd-sqlite-1", "hcsd-sqlite-2"} <= self.thread_names(daemon),
                        "the names of two threads")

    @staticmethod
    def thread_names(daemon):
        folder = "/proc/%d/task" % daemon.pid
        names = set()
        for thread in os.listdir(folder):
            with open(os.path.join(folder, thread, "comm")) as comm:
                names.add(comm.read().strip())
        return names

    def test_what_nobody_waits_for_is_not_run(self):
        daemon = self.serve("&pool=1")
        client, = self.occupy_pool(daemon, 1)
        count = 200  # more than the line has room for at first
        for i in range(count):
            waiting = self.client(daemon)
            waiting.send(post_bytes(json.dumps(
                {"statement": "add", "parameters": {"name": str(i), "size": 1}}), "/db"))
            if i % 2:
                waiting.close()
        self.eventually(lambda: daemon.metrics()["cancelled_requests"] == count // 2, "leaving")
        client.close()
        self.eventually(lambda: self.rows(daemon, "count")[0]["count"] == count // 2, "jobs")
        self.until(daemon, pool_busy=0, pool_waiting=0)
        self.assertEqual(self.rows(daemon, "count"), [{"count": count // 2}])

    def test_what_was_cut_off_is_rolled_back(self):
        daemon = self.serve("&pool=1")
        client = self.client(daemon)
        client.send(post_bytes(json.dumps(
            {"statement": "fill", "parameters": {"rows": ENDLESS}}), "/db"))
        self.until(daemon, pool_busy=1)
        client.close()
        self.until(daemon, pool_busy=0)
        self.assertEqual(self.rows(daemon, "count"), [{"count": 0}])

    def test_writers_wait_for_each_other(self):
        daemon = self.serve("&pool=8", WORKERS=2)
        each = 5 if FEW else 25
        failures = []

        def write(number):
            with daemon.client() as client:
                for i in range(each):
                    reply = client.post(json.dumps(
                        {"statement": "add",
                         "parameters": {"name": "%d/%d" % (number, i), "size": 1}}), "/db")
                    if reply.status != 200:
                        failures.append(reply)

        threads = [threading.Thread(target=write, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.rows(daemon, "count"), [{"count": 16 * each}])

    def test_a_lock_of_somebody_else_is_waited_for_so_long(self):
        daemon = self.serve("&busy=50ms")
        other = sqlite3.connect(self.file, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        reply = self.ask(daemon, "add", name="a", size=1)
        self.assertEqual((reply.status, reply.problem(), reply.json()["detail"]),
                         (503, "handler-unavailable",
                          "the statement was not run: database is locked"))
        self.assertEqual(self.rows(daemon, "count"), [{"count": 0}])
        other.execute("COMMIT")
        self.assertEqual(self.ask(daemon, "add", name="a", size=1).status, 200)

    def test_waiting_for_a_lock_ends_with_the_job(self):
        daemon = self.serve("&busy=1h&pool=1", JOB_TIMEOUT="300ms")
        other = sqlite3.connect(self.file, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        self.assertEqual(self.ask(daemon, "add", name="a", size=1).status, 504)
        self.until(daemon, pool_busy=0)
        self.assertEqual(self.rows_in_the_end(daemon, "count"), [{"count": 0}])

    @unittest.skipIf(SLOW, "rows of what is written are all in a temporary file first")
    def test_rows_of_what_is_written_for_which_there_is_no_memory(self):
        daemon = self.serve("&pool=1", MEMORY_BUDGET=database.BUDGET)
        reply = self.ask(daemon, "fill_and_tell", rows=1000)
        self.assertEqual(reply.status, 503, reply)
        self.assertEqual(self.rows_in_the_end(daemon, "count"), [{"count": 0}])

    def test_a_file_that_is_gone_and_comes_back(self):
        daemon = self.serve("&pool=2")
        self.ask(daemon, "add", name="a", size=1)
        saved = self.path("saved.db")
        with sqlite3.connect(self.file) as source, sqlite3.connect(saved) as target:
            source.backup(target)
        source.close()
        target.close()
        for suffix in ("", "-wal", "-shm"):
            os.rename(self.file + suffix, self.path("gone" + suffix))

        self.eventually(lambda: self.ask(daemon, "count").status == 503, "refusal")
        reply = self.ask(daemon, "count")
        self.assertEqual((reply.problem(), reply.json()["detail"]),
                         ("handler-unavailable",
                          "the database cannot be reached: unable to open database file"))
        self.assertFalse(os.path.exists(self.file), "made a new one")
        os.rename(saved, self.file)
        self.eventually(lambda: self.ask(daemon, "count").status == 200, "the file")
        self.assertEqual(self.rows(daemon, "count"), [{"count": 1}])
        self.until(daemon, pool_connected=2)
        self.assertGreaterEqual(self.figures(daemon)["pool_errors_total"], 2)
        self.assert_logged(daemon, "no connection to the database: ")

    def test_reads_under_load(self):
        daemon = self.serve("&pool=2", LOOPS=2)
        self.ask(daemon, "add", name="a", size=1)
        each = 20 if FEW else 200
        replies = []

        def read():
            with daemon.client() as client:
                for _ in range(each):
                    replies.append(client.post('{"statement":"all"}', "/db").body)

        threads = [threading.Thread(target=read) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(set(replies), {b'{"rows":[{"id":1,"name":"a","size":1}],"changes":0}'})
        self.assertEqual(len(replies), 16 * each)


class Start(SqliteTest):
    def refused_statements(self, text):
        line = self.refused("/db=sqlite:%s?statements=%s&schema=%s" % (
            self.file, self.write("bad.sql", text), self.schema))
        return line.split(self.path("bad.sql"), 1)[1]

    def test_what_does_not_fit_is_named(self):
        for text, error in [
                ("-- name: s\nSELECT *\nFROM missing;", ":2: statement s: no such table: missing"),
                ("-- name: s\nSELECT 1,\n  missing\nFROM items",
                 ":3: statement s: no such column: missing"),
                ("-- name: s\nSELECT 1;\n-- name: t\n\nSELECT 1 FORM items",
                 ':5: statement t: near "items": syntax error'),
                ('-- name: s\nSELECT "text"', ":2: statement s: no such column: text"),
                ("-- name: s\nSELECT 1 AS a, 2 AS a",
                 ':1: statement s: two columns are called "a"; name one by AS'),
                ("-- name: s\nSELECT :1",
                 ":1: statement s: parameters are written :name, of letters, digits and _"),
                ("-- name: s\nSELECT ?", ":2: parameters are written :name, not ?"),
                ("SELECT 1", ':1: a statement needs a line "-- name: NAME" before it')]:
            said = self.refused_statements(text)
            if sqlite3.sqlite_version_info < (3, 38):
                said, error = [re.sub(r"^:\d+", "", line) for line in (said, error)]
            self.assertEqual(said, error)

    def test_files_that_are_not_there(self):
        for handlers, error in [
                ("/db=sqlite:%s?statements=/nowhere.sql" % self.file,
                 "/nowhere.sql: No such file or directory"),
                ("/db=sqlite:%s?statements=%s" % (self.file, self.statements),
                 "%s: unable to open database file (with schema=FILE it would be created)"
                 % self.file),
                ("/db=sqlite:/nowhere/x.db?statements=%s&schema=%s"
                 % (self.statements, self.schema),
                 "/nowhere/x.db: unable to open database file"),
                ("/db=sqlite:%s?statements=%s&schema=/nowhere.sql" % (self.file, self.statements),
                 "/nowhere.sql: No such file or directory"),
                ("/db=sqlite::memory:?statements=%s&schema=%s" % (self.statements, self.schema),
                 ":memory: is not a file: each connection of the pool would have its own "
                 "database")]:
            self.assertEqual(self.refused(handlers).split("sqlite: ", 1)[1], error)

    def test_a_schema_that_fails(self):
        schema = self.write("bad.sql", "-- First\nCREATE TABLE a (x);\n\n\nCREATE TABLE\n a (y);\n")
        line = self.refused("/db=sqlite:%s?statements=%s&schema=%s" % (
            self.file, self.statements, schema))
        self.assertRegex(line, r": .*bad\.sql:[56]: table a already exists$")

    def test_a_file_that_is_no_database(self):
        self.write("items.db", "x" * 4096)
        self.assertIn("file is not a database", self.refused(self.handlers()))

    def test_settings(self):
        for settings, error in [
                ("&busy=1", "busy=1"), ("&busy=2h", "busy=2h")]:
            self.assertIn(error, self.refused(self.handlers(settings)))
        for handlers in ("/db=sqlite", "/db=sqlite:", "/db=sqlite:%s" % self.file,
                         "/db=sqlite?statements=%s" % self.statements):
            self.assertIn("sqlite:notes.db?statements=FILE", self.refused(handlers))

    def test_a_check_makes_nothing(self):
        done = subprocess.run([HCSD, "--check"], env=dict(os.environ, HANDLERS=self.handlers()),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              universal_newlines=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertFalse(os.path.exists(self.file))
        os.unlink(self.statements)
        done = subprocess.run([HCSD, "--check"], env=dict(os.environ, HANDLERS=self.handlers()),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              universal_newlines=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("items.sql: No such file or directory", done.stdout)

    def test_a_database_that_is_there_needs_no_schema(self):
        with sqlite3.connect(self.file) as other:
            other.executescript(SCHEMA + "INSERT INTO items (name) VALUES ('there');")
        other.close()
        daemon = self.start(HANDLERS="/db=sqlite:%s?statements=%s" % (self.file, self.statements))
        self.assertEqual(self.rows(daemon, "count"), [{"count": 1}])

    def test_a_locked_file_is_waited_for(self):
        with sqlite3.connect(self.file) as other:
            other.executescript(SCHEMA.replace("WAL", "DELETE"))
        other.execute("BEGIN EXCLUSIVE")
        daemon = self.start(HANDLERS="/db=sqlite:%s?statements=%s&busy=10ms" % (
            self.file, self.statements))
        self.eventually(lambda: "waiting for the database: " in daemon.output(), "the log")
        self.assertEqual(daemon.get("/readyz").status, 503)
        other.execute("ROLLBACK")
        other.close()
        self.eventually(lambda: daemon.get("/readyz").status == 200, "readiness")
        self.assertEqual(self.rows(daemon, "count"), [{"count": 0}])


class Example(SqliteTest):
    """docs/databases.md, as written: what stands behind "$" is run, and prints
    what stands below."""

    DOCS = os.path.join(os.path.dirname(__file__), "../../docs")

    def commands(self):
        with open(os.path.join(self.DOCS, "databases.md")) as page:
            blocks = re.findall(r"```console\n(.*?)```", page.read(), re.S)
        text = "\n".join(blocks).replace("\\\n", " ")
        for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
            command, _, expected = part.partition("\n")
            yield command, expected.strip()

    def test_the_example_of_the_page(self):
        ran = 0
        for name in ("schema.sql", "notes.sql"):
            shutil.copy(os.path.join(self.DOCS, "examples/sql", name), self.folder)
        port = None
        for command, expected in self.commands():
            if command.startswith("HANDLERS="):
                settings = re.search(r'HANDLERS="([^"]*)"', command).group(1)
                before = os.getcwd()
                os.chdir(self.folder)
                try:
                    daemon = self.start(HANDLERS=settings)
                finally:
                    os.chdir(before)
                port = daemon.port
                continue
            if not command.startswith("curl"):
                continue
            done = subprocess.run(command.replace(":8080", ":%d" % port), shell=True,
                                  cwd=self.folder, stdout=subprocess.PIPE,
                                  universal_newlines=True)
            ran += 1
            want = re.escape(expected).replace(r"\.\.\.", ".*").replace("…", ".*")
            self.assertRegex(done.stdout.strip(), "^%s$" % want, command)
        self.assertGreaterEqual(ran, 5)


del SqliteTest

if __name__ == "__main__":
    harness.main()
