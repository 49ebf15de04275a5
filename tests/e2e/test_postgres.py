"""The handler postgres, against a real server: what goes in and comes out, and
what happens when the server goes and comes back, idle and under load."""
# ctest: timeout=300 builds=release,asan,tsan

import json
import os
import signal
import socket
import threading
import unittest

import database
import harness
import postgres_server
from harness import post_bytes

MODULE = database.module("postgres")
MISSING = "hcsd was built without libpq (scripts/packages.sh build)"

SCHEMA = """
CREATE TABLE items (id bigserial PRIMARY KEY, name text UNIQUE, size int CHECK (size > 0));
CREATE TABLE ledger (entry text NOT NULL);
CREATE TABLE shaped (a int);
CREATE TABLE checked (id int PRIMARY KEY, other int,
    CONSTRAINT late FOREIGN KEY (other) REFERENCES checked DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE secret (a int);
CREATE ROLE plain LOGIN;
GRANT ALL ON items, ledger, shaped, checked TO plain;
GRANT ALL ON SEQUENCE items_id_seq TO plain;
CREATE ROLE locked LOGIN PASSWORD 'right';
CREATE ROLE stranger LOGIN;
CREATE FUNCTION refuse(text) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'refused: %', $1; END $$;
"""

STATEMENTS = r"""
-- name: add
INSERT INTO items (name, size) VALUES (:name, :size) RETURNING id;

-- name: rename
UPDATE items SET name = :name WHERE id = :id;

-- name: items
SELECT id, name, size FROM items ORDER BY id;

-- name: count
SELECT count(*) AS count FROM items;

-- name: log
INSERT INTO ledger VALUES (:entry);

-- name: typed
SELECT :int::int AS int, :big::bigint AS big, :num::numeric AS num, :real::float8 AS real,
       :text::text AS text, :bool::bool AS bool, :json::jsonb AS json;

-- name: text
SELECT :text::text AS text;

-- name: kinds
SELECT 1::int2 AS i2, 2::int4 AS i4, 9007199254740993::int8 AS i8,
       1.5::float4 AS f4, 0.1::float8 AS f8, 1e300::float8 AS large,
       'NaN'::float8 AS nan, '-Infinity'::float8 AS inf, 'NaN'::numeric AS numeric_nan,
       12345678901234567890.10::numeric AS numeric, true AS yes, false AS no,
       '{"b" : 1.0, "a":[ ]}'::json AS json, '{"b":9007199254740993}'::jsonb AS jsonb,
       NULL::int AS none, NULL::json AS no_json, '2024-02-29'::date AS date,
       '\x00ff'::bytea AS bytes, ARRAY[1, 2] AS list, E'a"\n' AS "te""xt\";

-- name: any
SELECT count(*) AS count FROM generate_series(1, 10) AS n
WHERE n = ANY (SELECT jsonb_array_elements_text(:ids::jsonb)::int);

-- name: pid
SELECT pg_backend_pid() AS pid;

-- name: sleep
SELECT pg_sleep(:seconds::float8)::text AS slept, pg_backend_pid() AS pid;

-- name: divide
SELECT 1 / (10 - n) AS n FROM generate_series(1, :rows::int) AS n;

-- name: rows
SELECT i, repeat('x', :width::int) AS text FROM generate_series(1, :rows::int) AS i;

-- name: refuse
SELECT refuse(:why) AS refused;

-- name: late
INSERT INTO checked VALUES (:id, :other);

-- name: shaped
SELECT * FROM shaped;

-- name: begin
BEGIN;

-- name: copy
COPY items TO STDOUT;

"""

SECRET = "\n-- name: secret\nSELECT a FROM secret;\n"

server = None


def setUpModule():
    global server
    if postgres_server.PROGRAMS and os.path.exists(MODULE):
        server = postgres_server.Server().start()
        server.sql(SCHEMA)


def tearDownModule():
    if server:
        server.close()


@unittest.skipUnless(os.path.exists(MODULE), MISSING)
@unittest.skipUnless(postgres_server.PROGRAMS, postgres_server.MISSING)
class PostgresTest(database.DatabaseTest):
    STATEMENTS = STATEMENTS
    LONG = ("sleep", {"seconds": 600})

    def setUp(self):
        super().setUp()
        self.addCleanup(server.start)  # whatever a test did to it
        server.sql("TRUNCATE items, ledger, shaped, checked RESTART IDENTITY")

    def handlers(self, settings="", statements=None, **conninfo):
        return "/db=postgres:%s?statements=%s%s /echo=echo" % (
            server.conninfo(**conninfo), statements or self.statements, settings)

    def assert_running(self, count):
        self.eventually(lambda: self.sleepers() == count, "%d statements" % count)

    def sleepers(self):
        return int(server.sql("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
                              "AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"))


class Common(PostgresTest, database.CommonCases):
    WIDE = {"rows": 10 ** 7, "width": 200000}


class Values(PostgresTest):
    def test_rows_come_back_and_changes_are_counted(self):
        daemon = self.serve()
        self.ask(daemon, "add", name="a", size=1)
        self.assertEqual(self.ask(daemon, "add", name="b", size=2).body,
                         b'{"rows":[{"id":2}],"changes":1}')
        self.assertEqual(self.ask(daemon, "rename", name="c", id=1).body,
                         b'{"rows":[],"changes":1}')
        self.assertEqual(self.ask(daemon, "rename", name="c", id=9).body,
                         b'{"rows":[],"changes":0}')
        self.assertEqual(self.ask(daemon, "items").body,
                         b'{"rows":[{"id":1,"name":"c","size":1},'
                         b'{"id":2,"name":"b","size":2}],"changes":0}')

    def test_parameters_keep_their_value(self):
        daemon = self.serve()
        reply = daemon.post(
            '{"statement":"typed","parameters":{"int":-7,"big":9007199254740993,'
            '"num":0.1000000000000000000000000000000000001,"real":1e-7,'
            '"text":"\\u00e4\\ud83d\\ude00\\n\\"","bool":true,'
            '"json":{"n": 12345678901234567890.5, "s": "x"}}}', "/db")
        self.assertEqual(
            reply.body.decode(),
            '{"rows":[{"int":-7,"big":9007199254740993,'
            '"num":0.1000000000000000000000000000000000001,"real":1e-07,'
            '"text":"\u00e4\U0001f600\\n\\"","bool":true,'
            '"json":{"n": 12345678901234567890.5, "s": "x"}}],"changes":0}')
        reply = daemon.post(
            '{"statement":"typed","parameters":{"int":null,"big":"12","num":"NaN","real":null,'
            '"text":17.50,"bool":null,"json":"text"}}', "/db")
        self.assertEqual(reply.body.decode(),
                         '{"rows":[{"int":null,"big":12,"num":"NaN","real":null,'
                         '"text":"17.50","bool":null,"json":"text"}],"changes":0}')

    def test_json_parameters_are_values_and_null_is_null(self):
        daemon = self.serve()
        for raw, value in [("true", True), ("1.0", 1.0), ("[]", []), ('"true"', "true"),
                           ("null", None)]:
            reply = daemon.post(
                '{"statement":"typed","parameters":{"int":1,"big":1,"num":1,"real":1,'
                '"text":"","bool":false,"json":%s}}' % raw, "/db")
            self.assertEqual(reply.json()["rows"][0]["json"], value, reply)
        self.assertEqual(self.rows(daemon, "any", ids=[1, 3, 99]), [{"count": 2}])
        self.assertEqual(self.rows(daemon, "text", text=[1, "a"]), [{"text": '[1, "a"]'}])

    def test_each_type_has_its_json(self):
        daemon = self.serve()
        self.assertEqual(
            self.ask(daemon, "kinds").body.decode(),
            '{"rows":[{"i2":1,"i4":2,"i8":9007199254740993,"f4":1.5,"f8":0.1,"large":1e+300,'
            '"nan":"NaN","inf":"-Infinity","numeric_nan":"NaN",'
            '"numeric":12345678901234567890.10,"yes":true,"no":false,'
            '"json":{"b" : 1.0, "a":[ ]},"jsonb":{"b": 9007199254740993},"none":null,'
            '"no_json":null,"date":"2024-02-29","bytes":"\\\\x00ff","list":"{1,2}",'
            '"te\\"xt\\\\":"a\\"\\n"}],"changes":0}')

class Refusals(PostgresTest):
    def test_what_is_the_clients_fault(self):
        daemon = self.serve()
        self.ask(daemon, "add", name="a", size=1)
        for reply, detail in [
                (self.ask(daemon, "add", name="a", size=1),
                 'duplicate key value violates unique constraint "items_name_key"'),
                (self.ask(daemon, "add", name="b", size=0),
                 'new row for relation "items" violates check constraint "items_size_check"'),
                (self.ask(daemon, "add", name="b", size="x"),
                 'invalid input syntax for type integer: "x"'),
                (self.ask(daemon, "add", name="b", size=1e20),
                 'invalid input syntax for type integer: "1e+20"'),
                (self.ask(daemon, "text", text="a\0b"),
                 'the parameter "text" holds a NUL, which a text of PostgreSQL cannot hold'),
                (self.ask(daemon, "divide", rows=20), "division by zero"),
                (self.ask(daemon, "late", id=1, other=7),
                 'insert or update on table "checked" violates foreign key constraint "late"'),
                (self.ask(daemon, "refuse", why="so"), "refused: so")]:
            self.assert_invalid(reply, detail)
        self.assertEqual(len(self.rows(daemon, "items")), 1)
        self.assertEqual(self.figures(daemon)["pool_errors_total"], 0)

    def test_what_is_not_is_said_in_the_log(self):
        statements = self.write("more.sql", STATEMENTS + SECRET)
        daemon = self.start(HANDLERS=self.handlers("&pool=1", statements, user="plain"))
        reply = self.ask(daemon, "secret")
        self.assertEqual((reply.status, reply.problem()), (500, "handler-failed"))
        self.assertEqual(reply.json()["detail"], "the database could not run the statement")
        self.assert_logged(daemon, "statement secret: permission denied for table secret (42501)")
        self.assertEqual(self.rows(daemon, "items"), [])

    def test_a_transaction_or_a_copy_does_not_outlast_its_statement(self):
        daemon = self.serve("&pool=1")
        self.assertEqual(self.ask(daemon, "begin").json()["detail"],
                         "the statement left a transaction open")
        self.assertEqual(self.ask(daemon, "add", name="a", size=1).status, 200)
        self.assertEqual(server.sql("SELECT count(*) FROM items"), "1")
        self.assertEqual(self.ask(daemon, "copy").json()["detail"],
                         "the statement is a COPY, which jobs cannot run")
        self.assertEqual(len(self.rows(daemon, "items")), 1)

    def test_tables_that_are_altered(self):
        daemon = self.serve("&pool=1")
        self.assertEqual(self.rows(daemon, "shaped"), [])
        server.sql("ALTER TABLE shaped ADD b int; INSERT INTO shaped VALUES (1, 2)")
        try:
            self.assert_unavailable(self.ask(daemon, "shaped"), "prepared again")
            self.eventually(lambda: self.ask(daemon, "shaped").status == 200, "prepared")
            self.assertEqual(self.rows(daemon, "shaped"), [{"a": 1, "b": 2}])
        finally:
            server.sql("ALTER TABLE shaped DROP b")


class Pool(PostgresTest):
    def test_statements_of_the_server_time_out(self):
        conninfo = {"options": "-cstatement_timeout=100"}
        daemon = self.start(HANDLERS=self.handlers("&pool=1", **conninfo))
        reply = self.ask(daemon, "sleep", seconds=600)
        self.assertEqual(reply.status, 504, reply)
        self.assertEqual(reply.json()["detail"],
                         "canceling statement due to statement timeout")

    def test_a_job_that_has_a_deadline_is_answered_while_a_server_is_frozen(self):
        daemon = self.serve("&pool=1&connect_timeout=300ms", JOB_TIMEOUT="500ms")
        server.freeze(True)
        try:
            self.assertEqual(self.ask(daemon, "pid").status, 504)
            self.assertIn(self.ask(daemon, "pid").status, (503, 504))
            self.eventually(lambda: self.ask(daemon, "pid").status == 503, "refusal")
            self.assert_unavailable(self.ask(daemon, "pid"), "does not answer")
        finally:
            server.freeze(False)
        self.eventually(lambda: self.ask(daemon, "pid").status == 200, "the server")

    def test_a_frozen_server_does_not_hold_up_the_end(self):
        daemon = self.serve("&pool=2", SHUTDOWN_TIMEOUT="200ms")
        clients = self.occupy_pool(daemon, 2)
        server.freeze(True)
        try:
            self.assertEqual(daemon.stop(), 0, daemon.output())
        finally:
            server.freeze(False)
        for client in clients:
            self.assertEqual(client.read_reply().status, 503)
        # The daemon need not have asked for the end of its statements: without this
        # they would run on into the next test.
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'active' "
                   "AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()")
        self.eventually(lambda: self.sleepers() == 0, "no statements")

    def test_a_frozen_server_is_noticed_without_jobs(self):
        daemon = self.serve("&pool=2&connect_timeout=300ms")
        server.freeze(True)
        try:
            self.until(daemon, pool_connected=0)
            self.assert_unavailable(self.ask(daemon, "pid"), "does not answer")
        finally:
            server.freeze(False)
        self.until(daemon, pool_connected=2)


class Loss(PostgresTest):
    def test_an_idle_connection_that_ends_costs_no_job(self):
        daemon = self.serve("&pool=1")
        for _ in range(5):
            pid = self.rows(daemon, "pid")[0]["pid"]
            server.sql("SELECT pg_terminate_backend(%d)" % pid)
            self.eventually(lambda: server.sql("SELECT count(*) FROM pg_stat_activity "
                                               "WHERE pid = %d" % pid) == "0", "its end")
            self.assertNotEqual(self.rows(daemon, "pid")[0]["pid"], pid)
        self.assertEqual(self.figures(daemon)["pool_connects_total"], 6)

    def test_a_connection_that_ends_under_a_job(self):
        daemon = self.serve("&pool=1")
        client, = self.occupy_pool(daemon, 1)
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                   "WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()")
        self.assert_unavailable(client.read_reply(), "may or may not have been executed")
        self.assertEqual(self.rows(daemon, "items"), [])
        self.assert_logged(daemon, "lost a connection to the database: terminating connection")

    def test_a_server_that_is_away(self):
        daemon = self.serve("&pool=2")
        server.stop()
        self.until(daemon, pool_connected=0)
        self.assert_unavailable(self.ask(daemon, "items"),
                                "^the database cannot be reached: ")
        self.eventually(lambda: "refused" in self.ask(daemon, "items").json()["detail"],
                        "the reason")
        reply = self.ask(daemon, "items")
        self.assert_unavailable(reply, "^the database cannot be reached: Connection refused$")
        # What is wrong with a job is still told.
        self.assertEqual(self.ask(daemon, "nope").status, 422)
        self.assertEqual(daemon.get("/readyz").status, 200)
        self.assert_logged(daemon, "no connection to the database: ")
        server.start()
        self.eventually(lambda: self.ask(daemon, "items").status == 200, "the server")
        self.until(daemon, pool_connected=2)

    def load(self, daemon, threads, stop, replies):
        """Clients that add one entry after the other to the ledger. What each got:
        entry -> (status, detail)."""
        def run(number):
            i = 0
            with daemon.client() as client:
                while not stop.is_set():
                    entry = "%d/%d" % (number, i)
                    reply = client.post(json.dumps(
                        {"statement": "log", "parameters": {"entry": entry}}), "/db")
                    replies[entry] = (reply.status, reply.body)
                    i += 1

        running = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
        for thread in running:
            thread.start()
        return running

    def test_under_load(self):
        daemon = self.serve("&pool=4", LOOPS=2, WORKERS=2)
        stop = threading.Event()
        replies = {}
        running = self.load(daemon, 12, stop, replies)

        def count(status):
            return sum(1 for reply in list(replies.values()) if reply[0] == status)

        def more(status):
            had = count(status)
            self.eventually(lambda: count(status) > had + 20, "replies with %d" % status)

        try:
            for end in (server.kill, server.stop, lambda: server.stop(signal.SIGQUIT)):
                more(200)
                end()
                more(503)
                server.start()
                more(200)
        finally:
            stop.set()
            for thread in running:
                thread.join()

        # Every request has its reply; each of them is one of these two.
        self.assertEqual({status for status, _ in replies.values()}, {200, 503})
        for status, body in replies.values():
            if status == 503:
                problem = json.loads(body)
                self.assertEqual(problem["type"], "/problems/handler-unavailable")
                self.assertRegex(problem["detail"],
                                 "cannot be reached: .|may or may not have been executed")
        # None was run twice, and each that was confirmed was run. Those that were
        # refused because there was no server, were not.
        entries = server.sql("SELECT entry FROM ledger").split("\n")
        self.assertEqual(len(entries), len(set(entries)))
        confirmed = {entry for entry, (status, _) in replies.items() if status == 200}
        unknown = {entry for entry, (_, body) in replies.items() if b"may or may not" in body}
        self.assertLessEqual(confirmed, set(entries))
        self.assertLessEqual(set(entries), confirmed | unknown)
        self.until(daemon, pool_busy=0, pool_waiting=0, pool_connected=4)
        self.assertNotIn("password", daemon.output())


class Start(PostgresTest):
    def refused(self, handlers):
        return super().refused(handlers).split("postgres: ", 1)[1]

    def test_what_does_not_fit_is_named(self):
        for text, error in [
                ("-- name: s\nSELECT 1\nFROM missing",
                 ':3: statement s: relation "missing" does not exist'),
                ("-- name: s\nSELECT 1;\n-- name: t\n\nSELECT '\u00e4\u00f6', :a,\n  missing",
                 ':6: statement t: column "missing" does not exist'),
                ("-- name: s\nSELECT 1 FORM items", ':2: statement s: syntax error at or near '
                                                    '"items"'),
                ("-- name: s\nSELECT 1 AS a, 2 AS a",
                 ':1: statement s: two columns are called "a"; name one by AS'),
                ("-- name: s\nSELECT $1", ":2: parameters are written :name, not $1")]:
            path = self.write("bad.sql", text)
            self.assertEqual(self.refused(self.handlers(statements=path)), path + error)

    def test_what_waiting_does_not_mend(self):
        for conninfo, error in [
                ({"dbname": "missing"}, 'FATAL:  3D000: database "missing" does not exist'),
                ({"user": "nobody_here"}, 'FATAL:  28000: role "nobody_here" does not exist'),
                ({"user": "stranger"}, "FATAL:  28000: pg_hba.conf rejects connection"),
                ({"user": "locked", "password": "wrong"},
                 'FATAL:  28P01: password authentication failed for user "locked"'),
                ({"user": "locked"}, "fe_sendauth: no password supplied"),
                ({"sslmode": "require"}, "server does not support SSL, but SSL was required"),
                ({"sslmode": "bad"}, 'invalid sslmode value: "bad"'),
                ({"nonsense": "1"}, 'the connection string cannot be read: invalid connection '
                                    'option "nonsense"')]:
            self.assertIn(error, self.refused(self.handlers(**conninfo)))
        daemon = self.start(HANDLERS=self.handlers(user="locked", password="right",
                                                   statements=self.write(
                                                       "one.sql", "-- name: s\nSELECT 1 AS a")))
        self.assertEqual(self.rows(daemon, "s"), [{"a": 1}])

    def test_settings(self):
        self.assertIn("connect_timeout=1ms", self.refused(self.handlers("&connect_timeout=1ms")))
        self.assertIn("statements=FILE", self.refused("/db=postgres:host=x"))
        self.assertIn("/nowhere.sql: No such file or directory",
                      self.refused(self.handlers(statements="/nowhere.sql")))

    def test_a_server_that_is_not_there_yet_is_waited_for(self):
        server.stop()
        daemon = self.start(HANDLERS=self.handlers())
        self.eventually(lambda: "waiting for the database: " in daemon.output(), "the log")
        self.assertEqual(daemon.get("/livez").status, 200)
        self.assertEqual(daemon.get("/readyz").status, 503)
        waiting = self.client(daemon)
        waiting.send(post_bytes('{"statement":"items"}', "/db"))
        self.eventually(lambda: daemon.metrics()["queue_depth"] == 1, "a job that waits")
        server.start()
        self.assertEqual(waiting.read_reply().json()["rows"], [])
        self.eventually(lambda: daemon.get("/readyz").status == 200, "readiness")

    def test_waiting_for_a_server_ends_with_the_daemon(self):
        server.stop()
        daemon = self.start(HANDLERS=self.handlers())
        self.eventually(lambda: "waiting for the database: " in daemon.output(), "the log")
        self.assertEqual(daemon.stop(), 0, daemon.output())

    def test_the_first_of_two_hosts_may_be_down(self):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # and does not listen
            daemon = self.start(HANDLERS=self.handlers(
                host="127.0.0.1,127.0.0.1",
                port="%d,%d" % (closed.getsockname()[1], server.port)))
            self.eventually(lambda: daemon.get("/readyz").status == 200, "readiness")
            self.assertEqual(self.rows(daemon, "items"), [])

    def test_a_server_that_accepts_and_is_silent(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(64)
            daemon = self.start(HANDLERS=self.handlers("&connect_timeout=100ms",
                                                       port=silent.getsockname()[1]))
            self.eventually(lambda: "does not answer in time" in daemon.output(), "the log")
            self.assertEqual(daemon.get("/readyz").status, 503)


del PostgresTest

if __name__ == "__main__":
    harness.main()
