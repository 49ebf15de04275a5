# ctest: timeout=180 builds=release,asan,tsan
"""The service manager's side of $NOTIFY_SOCKET (sd_notify(3)) and of $LISTEN_FDS
(sd_listen_fds(3)).

The test plays it, on a path and on an abstract name, and looks at each message
and at what was true at the moment in which it came; and it listens, and hands
that over, to one daemon after the other.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

import harness
from harness import get_bytes


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
        route, open_gate = self.gate()
        daemon = self.begin(manager, HANDLERS="/=echo /long=" + route)
        daemon.port = self.find_port(manager.read()["STATUS"])
        client = self.client(daemon)
        client.send(get_bytes("/long"))
        self.eventually(lambda: daemon.metrics()["workers_busy"] == 1, "busy worker")
        daemon.signal()
        self.assertEqual(manager.read()["STOPPING"], "1")
        seen = 0
        while seen < 3:
            seen += "EXTEND_TIMEOUT_USEC" in manager.read()
        open_gate()
        self.assertEqual(client.read_reply().status, 200)
        self.assertEqual(daemon.wait(), 0, daemon.output())
        messages = manager.rest()
        extensions = [int(m["EXTEND_TIMEOUT_USEC"]) for m in messages
                      if "EXTEND_TIMEOUT_USEC" in m]
        # At once, and each second: before the last one has passed.
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
        self.addCleanup(daemon.close_log)
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
        daemon = self.begin(manager).wait_ready()
        self.assertEqual(daemon.get("/").status, 200)
        self.assertEqual(daemon.stop(), 0)


def listen(address="127.0.0.1", kind=socket.SOCK_STREAM, family=socket.AF_INET):
    sock = socket.socket(family, kind)
    sock.bind((address, 0) if family != socket.AF_UNIX else address)
    if kind == socket.SOCK_STREAM:
        sock.listen(4096)
    return sock


def port_of(listener):
    return listener.getsockname()[1]


class Activation(harness.TestCase):
    def listener(self, **kwargs):
        sock = listen(**kwargs)
        self.addCleanup(sock.close)
        return sock

    def test_it_serves_there_and_not_on_its_port(self):
        with listen() as taken:  # so PORT could not even be had
            listener = self.listener()
            for names in (None, "http", "hcsd.socket", "unknown", ""):
                with self.subTest(names=names):
                    daemon = self.start(
                        inherit=[listener], PORT=port_of(taken), ADDRESS="127.0.0.1", LOOPS=2,
                        env={} if names is None else {"LISTEN_FDNAMES": names})
                    self.assertEqual(daemon.port, port_of(listener))
                    self.assertEqual(daemon.start_line()["inherited"], 1)
                    self.assertIn('"listener":"127.0.0.1:%d","fd":3' % port_of(listener),
                                  daemon.output())
                    self.assertEqual(daemon.get("/").status, 200)
                    self.assertEqual(daemon.stop(), 0)

    def test_what_is_meant_for_another_process_is_left_alone(self):
        listener = self.listener()
        daemon = self.start(inherit=[listener], env={"LISTEN_PID": "1"})
        self.assertNotEqual(daemon.port, port_of(listener))
        self.assertEqual(daemon.start_line()["inherited"], 0)
        self.assertEqual(daemon.get("/").status, 200)

    def test_the_listener_becomes_as_its_own(self):
        listener = self.listener()
        listener.setblocking(True)
        daemon = self.start(inherit=[listener])
        # Nagle's algorithm would hold back the second part of a reply.
        self.assertEqual(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)
        # The file is one for all copies, and a loop that waited in accept4 would
        # answer nobody.
        self.assertFalse(os.get_blocking(listener.fileno()))
        client = self.client(daemon)
        self.assertEqual(client.ask(get_bytes().decode()).status, 200)

    def refused(self, inherit, said, **env):
        daemon = harness.Daemon(inherit=inherit, env=env)
        self.addCleanup(daemon.close_log)
        self.addCleanup(daemon.kill)
        self.assertEqual(daemon.wait(), os.EX_CONFIG, daemon.output())
        lines = [line for line in daemon.output().splitlines() if line.startswith("hcsd: ")]
        self.assertEqual(len(lines), 1, daemon.output())
        self.assertRegex(lines[0], said)

    def test_what_it_cannot_serve_stops_the_start(self):
        listener = self.listener()
        self.refused([listener], "LISTEN_FDNAMES=admin: admin is not served yet",
                     LISTEN_FDNAMES="admin")
        self.refused([listener], "LISTEN_FDNAMES=web: web is not known", LISTEN_FDNAMES="web")
        self.refused([listener], "LISTEN_FDNAMES=http:http: a list of 2",
                     LISTEN_FDNAMES="http:http")
        self.refused([listener], "LISTEN_FDS=2: descriptor 4: ", LISTEN_FDS="2")
        self.refused([listener], "LISTEN_FDS=x: not a number", LISTEN_FDS="x")
        self.refused([listener], "LISTEN_PID=x: not a number", LISTEN_PID="x")
        self.refused([self.listener(kind=socket.SOCK_DGRAM)], "descriptor 3 is not TCP")
        path = "\0hcsd-test-%d" % os.getpid()
        self.refused([listener, self.listener(family=socket.AF_UNIX, address=path)],
                     "descriptor 4 is neither IPv4 nor IPv6")
        with open("/dev/null") as file:
            self.refused([listener, file], "descriptor 4 is not a socket")
        with socket.create_connection(listener.getsockname()) as client:
            self.refused([client], "descriptor 3 does not listen; allowed: .*Accept=no")

    def test_a_start_that_fails_takes_nothing_from_the_listener(self):
        listener = self.listener()
        with socket.create_connection(listener.getsockname(), timeout=harness.PATIENCE) as sock:
            client = harness.Client(sock)
            client.send(get_bytes())
            for max_fds in (8, 14, 20, 26):  # at a place or another of the start
                daemon = harness.Daemon(inherit=[listener], LOOPS=3, WORKERS=1,
                                        max_fds=max_fds)
                self.addCleanup(daemon.close_log)
                self.addCleanup(daemon.kill)
                try:
                    daemon.wait_ready()
                    break
                except AssertionError:
                    self.assertGreater(daemon.wait(), 0, daemon.output())
            else:
                daemon = self.start(inherit=[listener])
            self.assertEqual(client.read_reply().status, 200)
        self.assertEqual(daemon.stop(), 0)

    def test_those_who_came_before_the_daemon_are_served(self):
        """As when a connection is what starts the service."""
        listener = self.listener()
        clients = [harness.Client(socket.create_connection(
            listener.getsockname(), timeout=harness.PATIENCE)) for _ in range(300)]
        for client in clients[::2]:
            client.send(get_bytes())
        self.start(inherit=[listener], LOOPS=3)
        for client in clients[1::2]:
            client.send(get_bytes())
        for client in clients:
            self.assertEqual(client.read_reply().status, 200)
            client.close()


class Asker(threading.Thread):
    """A fresh connection for each request, one after the other, until told to
    end. Each has to be answered."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port = port
        self.ends = False
        self.answered = 0
        self.troubles = []

    def run(self):
        while not self.ends:
            try:
                with socket.create_connection(("127.0.0.1", self.port),
                                              timeout=harness.PATIENCE) as sock:
                    client = harness.Client(sock)
                    client.send(get_bytes("/", "Connection: close\r\n"))
                    reply = client.read_reply()
                    if reply is None or reply.status != 200:
                        self.troubles.append(repr(reply))
                    self.answered += 1
            except (OSError, AssertionError) as error:
                self.troubles.append(repr(error))


class Succession(harness.TestCase):
    """The manager holds the listener, and connections wait there for whoever is
    next."""

    def setUp(self):
        self.listener = listen()
        self.addCleanup(self.listener.close)

    def serve(self, **settings):
        return self.start(inherit=[self.listener], **settings)

    def succeed(self, overlap, **settings):
        askers = [Asker(port_of(self.listener)) for _ in range(6)]
        daemon = self.serve(**settings)
        for asker in askers:
            asker.start()

        def all_are_answered_again():
            before = [asker.answered for asker in askers]
            self.eventually(lambda: all(asker.answered > count + 3 or asker.troubles
                                        for asker, count in zip(askers, before)), "answers")

        for _ in range(3):
            all_are_answered_again()
            following = self.serve(**settings) if overlap else None
            daemon.signal()
            # Others connect all the time; that keeps nobody here.
            self.assertEqual(daemon.wait(), 0, daemon.output())
            daemon = following or self.serve(**settings)
        all_are_answered_again()
        for asker in askers:
            asker.ends = True
        for asker in askers:
            asker.join()
        self.assertEqual([asker.troubles for asker in askers], [[]] * len(askers))
        self.assertGreater(min(asker.answered for asker in askers), 12)

    def test_one_after_the_other_loses_nobody(self):
        for loops in (1, 3):
            with self.subTest(LOOPS=loops):
                self.succeed(False, LOOPS=loops)

    def test_one_beside_the_other_loses_nobody(self):
        self.succeed(True, LOOPS=3)

    def test_in_a_table_of_all_loops_too(self):
        self.succeed(False, LOOPS=3, PRIVATE_FD_TABLES="off")

    def test_what_comes_behind_the_last_look_waits_for_the_next(self):
        """The port never closes, and is neither filtered nor shut."""
        first = self.serve(LOOPS=3)
        self.assertEqual(first.get("/").status, 200)
        self.assertEqual(first.stop(), 0)
        clients = [harness.Client(socket.create_connection(
            self.listener.getsockname(), timeout=harness.PATIENCE)) for _ in range(100)]
        for client in clients:
            client.send(get_bytes())
        self.assertFalse(clients[0].readable(0.3))
        self.serve(LOOPS=3)
        for client in clients:
            self.assertEqual(client.read_reply().status, 200)
            client.close()

    def test_what_had_come_is_accepted_before_the_end(self):
        """There may be no next one."""
        daemon = self.serve(LOOPS=3, DRAIN_IDLE="10m")
        daemon.signal(19)  # SIGSTOP
        clients = [self.client(daemon) for _ in range(200)]
        daemon.signal()
        daemon.signal(18)  # SIGCONT
        for client in clients:
            client.send(get_bytes())
        for client in clients:
            self.assertEqual(client.read_reply().status, 200)
            client.close()
        self.assertEqual(daemon.wait(), 0, daemon.output())

    def test_a_second_signal_leaves_the_rest_to_the_next(self):
        daemon = self.serve(LOOPS=2, DRAIN_DELAY="1h")
        daemon.signal()
        self.eventually(lambda: '"msg":"stopping' in daemon.output(), "drain")
        daemon.signal()
        self.assertEqual(daemon.wait(), 0, daemon.output())
        with socket.create_connection(self.listener.getsockname(),
                                      timeout=harness.PATIENCE) as sock:
            client = harness.Client(sock)
            client.send(get_bytes())
            self.serve()
            self.assertEqual(client.read_reply().status, 200)


@unittest.skipUnless(shutil.which("systemd-socket-activate"), "no systemd-socket-activate")
class SocketActivate(harness.TestCase):
    """systemd's own tool, which listens, and becomes the daemon when the first
    connection comes."""

    def activate(self, *options):
        port = harness.free_port()
        environment = {name: value for name, value in os.environ.items()
                       if name not in harness.SETTING_NAMES}
        passed = ["PRIVATE_FD_TABLES", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"]
        process = subprocess.Popen(
            ["systemd-socket-activate", "-l", "127.0.0.1:%d" % port, *options, "-E", "LOOPS=3",
             "-E", "LOG_FORMAT=json", *[word for name in passed if name in os.environ
                                        for word in ("-E", "%s=%s" % (name, os.environ[name]))],
             harness.HCSD],
            env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end, process)
        return process, port

    def end(self, process):
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()

    def connect(self, port):
        def connected():
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=harness.PATIENCE)
            except ConnectionRefusedError:
                return None
        sock = self.eventually(connected, "the listener")
        self.addCleanup(sock.close)
        return harness.Client(sock)

    def test_the_first_connection_starts_it_and_is_served(self):
        for options in ([], ["--fdname=http"]):
            with self.subTest(options=options):
                process, port = self.activate(*options)
                client = self.connect(port)
                client.send(get_bytes())
                self.assertEqual(client.read_reply().status, 200)
                client.close()
                process.terminate()
                output = process.communicate(timeout=harness.PATIENCE)[1]
                self.assertEqual(process.returncode, 0, output)
                self.assertIn('"address":"127.0.0.1:%d","inherited":1' % port, output)

    def test_a_name_that_it_does_not_know_is_said(self):
        process, port = self.activate("--fdname=other")
        with contextlib.suppress(ConnectionResetError):  # it ends at once
            self.connect(port)
        output = process.communicate(timeout=harness.PATIENCE)[1]
        self.assertEqual(process.returncode, os.EX_CONFIG, output)
        self.assertIn("hcsd: LISTEN_FDNAMES=other: other is not known; allowed: http", output)


if __name__ == "__main__":
    harness.main()
