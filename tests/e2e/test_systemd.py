# ctest: timeout=120
"""The service manager's side of $NOTIFY_SOCKET (sd_notify(3)).

The test plays it, on a path and on an abstract name, and looks at each message
and at what was true at the moment in which it came.
"""

import os
import re
import shutil
import socket
import tempfile
import time

import harness
from harness import SLOW, get_bytes


class Manager:
    """Listens where the daemon is told to send its messages."""

    def __init__(self, address, name):
        self.name = name
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.sock.settimeout(harness.PATIENCE)
        self.messages = []

    def read(self):
        """The next message, as a dictionary; each assignment at most once."""
        text = self.sock.recv(65536).decode()
        lines = [line for line in text.split("\n") if line]
        fields = dict(line.split("=", 1) for line in lines)
        assert len(fields) == len(lines), text
        self.messages.append(fields)
        return fields

    def rest(self):
        """All that came and was not read."""
        self.sock.setblocking(False)
        try:
            while True:
                self.read()
        except BlockingIOError:
            pass
        return self.messages

    def close(self):
        self.sock.close()


class Notify(harness.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def manager(self, abstract=False):
        if abstract:
            name = "hcsd-test-%d-%s" % (os.getpid(), os.path.basename(self.folder))
            manager = Manager("\0" + name, "@" + name)
        else:
            path = os.path.join(self.folder, "notify")
            manager = Manager(path, path)
        self.addCleanup(manager.close)
        return manager

    def begin(self, manager, **settings):
        """Starts a daemon without waiting for it."""
        daemon = harness.Daemon(env={"NOTIFY_SOCKET": manager.name}, **settings)
        self.addCleanup(self._end, daemon)
        return daemon

    def find_port(self, status):
        found = re.search(r":(\d+)$", status)
        self.assertIsNotNone(found, status)
        return int(found.group(1))

    def serves_when_ready(self, abstract, **settings):
        manager = self.manager(abstract)
        daemon = self.begin(manager, **settings)
        first = manager.read()
        # Not a moment later: this very message says that it serves.
        self.assertEqual(first["READY"], "1")
        daemon.port = self.find_port(first["STATUS"])
        reply = daemon.get("/readyz")
        self.assertEqual(reply.status, 200)
        self.assertEqual(daemon.wait_ready().port, self.find_port(first["STATUS"]))
        daemon.signal()
        second = manager.read()
        self.assertEqual(second["STOPPING"], "1")
        self.assertIn("STATUS", second)
        self.assertEqual(daemon.wait(), 0, daemon.output())
        messages = manager.rest()
        self.assertEqual([m for m in messages if "READY" in m], [first])
        self.assertEqual([m for m in messages if "STOPPING" in m], [second])
        self.assertIn("EXTEND_TIMEOUT_USEC", set().union(*messages[1:]))

    def test_it_serves_when_it_says_so_on_a_path(self):
        self.serves_when_ready(False, LOOPS=4)

    def test_it_serves_when_it_says_so_on_an_abstract_name(self):
        self.serves_when_ready(True, LOOPS=1)

    def test_readiness_comes_after_every_loop_serves(self):
        """A connection may land on any loop: all of them must be up."""
        manager = self.manager()
        daemon = self.begin(manager, LOOPS=4)
        daemon.port = self.find_port(manager.read()["STATUS"])
        clients = [self.client(daemon, timeout=harness.PATIENCE) for _ in range(40)]
        for client in clients:
            client.send(get_bytes())
        for client in clients:
            self.assertEqual(client.read_reply().status, 200)
            client.close()
        self.assertEqual(daemon.stop(), 0)

    def test_a_drain_asks_for_more_time_as_long_as_it_lasts(self):
        manager = self.manager()
        daemon = self.begin(manager, HANDLERS="/=echo /long=sleep:3s")
        daemon.port = self.find_port(manager.read()["STATUS"])
        client = self.client(daemon)
        client.send(get_bytes("/long"))
        self.eventually(lambda: daemon.metrics()["workers_busy"] == 1, "busy worker")
        daemon.signal()
        self.assertEqual(manager.read()["STOPPING"], "1")
        self.assertEqual(client.read_reply().status, 200)
        self.assertEqual(daemon.wait(), 0, daemon.output())
        messages = manager.rest()
        extensions = [int(m["EXTEND_TIMEOUT_USEC"]) for m in messages
                      if "EXTEND_TIMEOUT_USEC" in m]
        # At once, and each second: before the last one has passed.
        self.assertGreaterEqual(len(extensions), 3)
        for extension in extensions:
            self.assertGreaterEqual(extension, 5 * 1000 * 1000)
        self.assertNotIn("EXTEND_TIMEOUT_USEC", messages[0])
        statuses = [m["STATUS"] for m in messages if "STATUS" in m]
        self.assertTrue(any(re.search("1 connection", status) for status in statuses),
                        statuses)

    def test_the_delay_of_a_drain_asks_for_more_time_too(self):
        manager = self.manager()
        daemon = self.begin(manager, DRAIN_DELAY="1500ms")
        manager.read()
        daemon.signal()
        self.assertEqual(manager.read()["STOPPING"], "1")
        self.assertEqual(daemon.wait(), 0, daemon.output())
        self.assertGreaterEqual(
            len([m for m in manager.rest() if "EXTEND_TIMEOUT_USEC" in m]), 2)

    def test_a_start_that_fails_never_says_ready(self):
        taken = self.start()
        manager = self.manager()
        daemon = harness.Daemon(env={"NOTIFY_SOCKET": manager.name}, PORT=taken.port)
        self.addCleanup(daemon.log.close)
        self.addCleanup(daemon.kill)
        self.assertEqual(daemon.wait(), os.EX_UNAVAILABLE, daemon.output())
        self.assertEqual([m for m in manager.rest() if "READY" in m], [])

    def test_a_manager_that_is_not_there_does_not_stop_the_start(self):
        for name in (os.path.join(self.folder, "nobody"), "@hcsd-test-nobody",
                     "relative", "@", "/" + "x" * 200):
            with self.subTest(NOTIFY_SOCKET=name):
                daemon = harness.Daemon(env={"NOTIFY_SOCKET": name}).wait_ready()
                self.addCleanup(self._end, daemon)
                self.assertEqual(daemon.get("/").status, 200)
                self.assertIn("NOTIFY_SOCKET", daemon.output())
                self.assertEqual(daemon.stop(), 0)

    def test_a_manager_that_does_not_read_delays_nothing_for_long(self):
        """Its queue holds some ten messages; who fills it must not hang."""
        manager = self.manager()
        filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(filler.close)
        filler.setblocking(False)
        try:
            while True:
                filler.sendto(b"X=1", manager.name)
        except BlockingIOError:
            pass
        begun = time.monotonic()
        daemon = self.begin(manager).wait_ready()
        self.assertEqual(daemon.get("/").status, 200)
        self.assertEqual(daemon.stop(), 0)
        self.assertLess(time.monotonic() - begun, 10 * (4 if SLOW else 1))


if __name__ == "__main__":
    harness.main()
