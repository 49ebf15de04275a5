"""What the tests of the handlers for databases share: helpers, and the cases in
which each of these handlers does the same."""

import json
import os
import shutil
import tempfile
import time

import harness
from harness import HCSD, SLOW, post_bytes

# What a sanitizer keeps for itself counts too.
BUDGET = "768MiB" if SLOW else "64MiB"


def module(kind):
    """The file of the handler, which is there when its library was."""
    return os.path.join(os.path.dirname(HCSD), "modules", kind + ".so")


class DatabaseTest(harness.TestCase):
    """STATEMENTS: what the handler may run, with "count" of items, which are
    none at first, "add" of an item (name, size), and "rows" (rows, width).
    LONG: a statement that runs until somebody ends it, and its parameters."""

    STATEMENTS = ""
    LONG = ("", {})

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="hcsd-database-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.statements = self.write("items.sql", self.STATEMENTS)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def handlers(self, settings=""):
        """HANDLERS with the database at /db, and an echo at /echo."""
        raise NotImplementedError

    def serve(self, settings="", **more):
        daemon = self.start(HANDLERS=self.handlers(settings), **more)
        self.eventually(lambda: daemon.get("/readyz").status == 200, "readiness")
        return daemon

    def ask(self, daemon, statement, **parameters):
        return daemon.post(json.dumps({"statement": statement, "parameters": parameters}), "/db")

    def rows(self, daemon, statement, **parameters):
        reply = self.ask(daemon, statement, **parameters)
        self.assertEqual(reply.status, 200, reply)
        return reply.json()["rows"]

    def rows_in_the_end(self, daemon, statement):
        """Where jobs have deadlines that a busy machine may miss."""
        def look():
            reply = self.ask(daemon, statement)
            return reply.status == 200 and reply
        return self.eventually(look, "rows of " + statement).json()["rows"]

    def figures(self, daemon):
        return next(handler["figures"] for handler in daemon.metrics()["handlers"]
                    if handler["path"] == "/db")

    def assert_logged(self, daemon, text):
        self.eventually(lambda: text in daemon.output(), "the line: " + text)

    def until(self, daemon, **figures):
        def look():
            now = self.figures(daemon)
            return all(now[name] == value for name, value in figures.items())
        self.eventually(look, "%r" % figures)

    def assert_invalid(self, reply, detail):
        self.assertEqual((reply.status, reply.problem()), (422, "invalid-job"), reply)
        self.assertEqual(reply.json()["detail"], detail)

    def assert_unavailable(self, reply, detail):
        self.assertEqual((reply.status, reply.problem()), (503, "handler-unavailable"), reply)
        self.assertRegex(reply.json()["detail"], detail)
        self.assertIn("retry-after", reply.headers)

    def send_long(self, daemon, count):
        """Clients each of which asks for a statement that does not end."""
        clients = [self.client(daemon) for _ in range(count)]
        statement, parameters = self.LONG
        body = json.dumps({"statement": statement, "parameters": parameters})
        for client in clients:
            client.send(post_bytes(body, "/db"))
        return clients

    def occupy_pool(self, daemon, count):
        """The same, when all of them run."""
        clients = self.send_long(daemon, count)
        self.until(daemon, pool_busy=count)
        return clients

    def assert_running(self, count):
        """As the database itself counts, where it can be asked."""

    def refused(self, handlers):
        """The line that a start which fails says, from the kind's name on."""
        daemon = harness.Daemon(HANDLERS=handlers)
        self.assertNotEqual(daemon.wait(), 0)
        lines = [line for line in daemon.output().splitlines() if line.startswith("hcsd: ")]
        self.assertEqual(len(lines), 1, daemon.output())
        self.assertNotIn("Sanitizer", daemon.output())
        daemon.close_log()
        return lines[0]


class CommonCases:
    """For a class that is a DatabaseTest too. WIDE: parameters of "rows" that need
    more memory than there is."""

    WIDE = {}

    def test_many_rows(self):
        daemon = self.serve()
        rows = self.rows(daemon, "rows", rows=20000, width=10)
        self.assertEqual([row["i"] for row in rows], list(range(1, 20001)))

    def test_jobs_that_are_none(self):
        daemon = self.serve()
        usage = 'expected {"statement": NAME, "parameters": {...}} by POST'
        for body in ('{}', '[]', '1', '{"statement":1}', '{"statement":null}',
                     '{"parameters":{}}'):
            self.assert_invalid(daemon.post(body, "/db"), usage)
        self.assert_invalid(daemon.get("/db"), usage)
        for body, detail in [
                ('{"statement":"nope"}', 'there is no statement "nope"'),
                ('{"statement":""}', 'there is no statement ""'),
                ('{"statement":"%s"}' % ("n" * 1000),
                 'there is no statement "' + "n" * 62),
                ('{"statement":"count","parameters":[]}', '"parameters" must be an object'),
                ('{"statement":"count","parameters":null}', '"parameters" must be an object'),
                ('{"statement":"count","parameters":{"x":1}}',
                 'the statement count has no parameter "x"'),
                ('{"statement":"count","parameters":{"%s":1}}' % ("x" * 1000),
                 'the statement count has no parameter "%s"' % ("x" * 63)),
                ('{"statement":"add","parameters":{"name":"a"}}',
                 'the statement add needs the parameter "size"'),
                ('{"statement":"add"}', 'the statement add needs the parameter "name"')]:
            self.assert_invalid(daemon.post(body, "/db"), detail)

    def test_the_size_of_the_pool_has_nothing_to_do_with_workers(self):
        daemon = self.serve("&pool=3", WORKERS=1)
        clients = self.occupy_pool(daemon, 3)
        self.assertEqual(daemon.post('{"data":1}', "/echo").status, 200)
        waiting = self.client(daemon)
        waiting.send(post_bytes('{"statement":"count"}', "/db"))
        self.until(daemon, pool_waiting=1, pool_busy=3, pool_size=3, pool_connected=3)
        self.assert_running(3)
        clients[0].close()
        self.assertEqual(waiting.read_reply().json()["rows"], [{"count": 0}])
        for client in clients:
            client.close()
        self.assert_running(0)
        self.until(daemon, pool_waiting=0, pool_busy=0)

    def test_waiting_and_running_end_at_the_deadline(self):
        daemon = self.serve("&pool=1", JOB_TIMEOUT="500ms")
        begin = time.monotonic()
        for client in self.send_long(daemon, 100):
            self.assertEqual(client.read_reply().problem(), "deadline-exceeded")
        self.assertGreater(time.monotonic() - begin, 0.45)
        self.assert_running(0)
        self.until(daemon, pool_busy=0, pool_waiting=0)
        self.assertEqual(self.rows_in_the_end(daemon, "count"), [{"count": 0}])
        # A statement is cancelled, and its connection kept.
        self.assertEqual(self.figures(daemon)["pool_connects_total"], 1)

    def test_rows_for_which_there_is_no_memory(self):
        daemon = self.serve("&pool=1", MEMORY_BUDGET=BUDGET)
        reply = self.ask(daemon, "rows", **self.WIDE)
        self.assertEqual(reply.status, 503, reply)
        self.assertEqual(self.rows_in_the_end(daemon, "count"), [{"count": 0}])
        self.assertEqual(self.figures(daemon)["pool_connects_total"], 1)

    def test_the_end_does_not_wait_for_statements(self):
        daemon = self.serve("&pool=2", SHUTDOWN_TIMEOUT="200ms")
        clients = self.occupy_pool(daemon, 2)
        self.assertEqual(daemon.stop(), 0, daemon.output())
        for client in clients:
            reply = client.read_reply()
            self.assertEqual(reply.status, 503, reply)
        self.assert_running(0)

    def test_settings_out_of_range(self):
        for settings in ("pool=0", "pool=257", "pool=x", "nothing=1"):
            self.assertIn(settings.replace("=1", ""), self.refused(self.handlers("&" + settings)))
