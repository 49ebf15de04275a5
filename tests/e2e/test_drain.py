# ctest: timeout=240 builds=release,asan,tsan
"""SIGTERM: nothing that was accepted is lost, and it ends in time.

Both sides count: a client what it sent and what came back, the daemon what it
accepted and answered.
"""

import itertools
import multiprocessing
import os
import signal
import socket
import threading
import time

import harness
from harness import LATE, get_bytes

HANDLERS = "/=echo /slow=sleep:20ms /stuck=sleep:1h"
BACKLOG = 200


def shared_tables():
    """Whether the environment asks for shared tables in all tests."""
    return os.environ.get("PRIVATE_FD_TABLES") == "off"


def try_to_connect(port, timeout):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        sock.connect(("127.0.0.1", port))


class KeepAlive(threading.Thread):
    """Asks again and again on one connection, until it is told that a reply is
    the last, or finds the connection closed after it was idle."""

    def __init__(self, daemon, path):
        super().__init__(daemon=True)
        self.request = get_bytes(path)
        self.client = daemon.client()
        self.sent = 0
        self.answered = 0
        self.said_close = False
        self.trouble = None

    def run(self):
        try:
            while True:
                self.client.send(self.request)
                self.sent += 1
                reply = self.client.read_reply()
                if reply is None:
                    self.trouble = "closed without an answer"
                    return
                if reply.status != 200:
                    self.trouble = repr(reply)
                    return
                self.answered += 1
                if reply.closes():
                    self.said_close = True
                    if not self.client.at_end():
                        self.trouble = "more after the last reply"
                    return
        except (OSError, AssertionError) as error:
            self.trouble = repr(error)
        finally:
            self.client.close()


def connect_in_a_loop(port, results, ready):
    """A fresh connection for each request, until no connection comes about.

    Gives the numbers of those that came about and were answered, and what went
    wrong with the others."""
    connected = answered = 0
    troubles = []
    request = get_bytes("/", "Connection: close\r\n")
    ready.set()
    while True:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(0.3)
        try:
            sock.connect(("127.0.0.1", port))
        except OSError:
            # Refused, or dropped: the daemon never had it.
            sock.close()
            break
        connected += 1
        sock.settimeout(harness.PATIENCE)
        try:
            sock.sendall(request)
            reply = b""
            while True:
                data = sock.recv(65536)
                if not data:
                    break
                reply += data
            if reply.startswith(b"HTTP/1.1 200 ") and reply.endswith(b"}"):
                answered += 1
            else:
                troubles.append("reply %r" % reply[:60])
        except OSError as error:
            troubles.append(repr(error))
        sock.close()
    results.put((connected, answered, troubles))


class Drain(harness.TestCase):
    def serve(self, **settings):
        settings.setdefault("HANDLERS", HANDLERS)
        settings.setdefault("WORKERS", 4)
        return self.start(**settings)

    def tables(self):
        """The kinds of descriptor tables that can be tested in this run."""
        return ("off",) if shared_tables() else ("on", "off")

    def assert_ends_well(self, daemon, *clients):
        for client in clients:
            client.close()  # or the daemon lingers a while for what they send
        self.assertEqual(daemon.wait(), 0, daemon.output())
        self.assertIn('"msg":"stopped"', daemon.output())
        self.assert_port_is_free(daemon)

    def assert_port_is_free(self, daemon):
        with self.assertRaises(ConnectionRefusedError):
            try_to_connect(daemon.port, 5)
        # And another daemon may have it at once.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", daemon.port))
            sock.listen()

    def accepting_has_ended(self, daemon):
        """Waits until the listeners are closed."""
        def refused():
            try:
                try_to_connect(daemon.port, 0.2)
            except ConnectionRefusedError:
                return True
            except OSError:
                pass  # dropped, so not closed yet
            return False
        self.eventually(refused, "closed listeners")

    # --- Under load.

    def drain_keep_alive(self, loops, tables):
        daemon = self.serve(LOOPS=loops, PRIVATE_FD_TABLES=tables)
        clients = [KeepAlive(daemon, path) for path in ["/", "/slow"] * 12]
        for client in clients:
            client.start()
        self.eventually(lambda: all(client.answered > 2 or client.trouble
                                    for client in clients), "replies for all of them")
        daemon.signal()
        for client in clients:
            client.join(harness.PATIENCE)
            self.assertFalse(client.is_alive(), daemon.output())
        troubles = [client.trouble for client in clients if client.trouble]
        self.assertEqual(troubles, [], daemon.output())
        for client in clients:
            self.assertGreater(client.sent, 0)
            self.assertEqual(client.answered, client.sent)
            self.assertTrue(client.said_close)
        self.assert_ends_well(daemon)

    def test_every_request_on_kept_connections_is_answered(self):
        for loops, tables in itertools.product((1, 4), self.tables()):
            with self.subTest(LOOPS=loops, PRIVATE_FD_TABLES=tables):
                self.drain_keep_alive(loops, tables)

    def drain_fresh(self, loops, tables):
        daemon = self.serve(LOOPS=loops, PRIVATE_FD_TABLES=tables, DRAIN_IDLE="20s")
        witness = self.client(daemon)  # idle until the last count
        self.assertEqual(witness.ask(get_bytes().decode()).status, 200)
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        workers = []
        for _ in range(3):
            ready = context.Event()
            worker = context.Process(target=connect_in_a_loop, daemon=True,
                                     args=(daemon.port, results, ready))
            worker.start()
            ready.wait()
            workers.append(worker)
        asked = 1

        def many_are_served():
            nonlocal asked
            asked += 1
            return witness.ask(get_bytes("/metrics")).json()["completed_requests"] > 60

        self.eventually(many_are_served, "connections")
        daemon.signal()
        told = [results.get(timeout=harness.PATIENCE) for _ in workers]
        for worker in workers:
            worker.join()
        connected = sum(each[0] for each in told)
        answered = sum(each[1] for each in told)
        troubles = [trouble for each in told for trouble in each[2]]
        self.assertEqual(troubles, [], daemon.output())
        self.assertEqual(answered, connected)
        self.assertGreater(connected, 15)
        reply = witness.ask(get_bytes("/metrics").decode())
        self.assertIsNotNone(reply, "the witness was sent away")
        counted = reply.json()
        self.assertEqual(counted["connections_accepted"], connected + 1)
        self.assertEqual(counted["completed_requests"], answered + asked)
        self.assertTrue(reply.closes())
        self.assert_ends_well(daemon, witness)

    def test_every_connection_that_came_about_is_served(self):
        for loops, tables in itertools.product((1, 4), self.tables()):
            with self.subTest(LOOPS=loops, PRIVATE_FD_TABLES=tables):
                self.drain_fresh(loops, tables)

    # --- The backlog.

    def drain_backlog(self, loops, tables):
        """Connections that nobody has accepted when the signal comes: half of
        them have sent their request, half of them send it afterwards."""
        daemon = self.serve(LOOPS=loops, PRIVATE_FD_TABLES=tables, DRAIN_IDLE="20s")
        daemon.signal(signal.SIGSTOP)
        self.eventually(lambda: self.state_of(daemon) == "T", "stop")
        clients = [self.client(daemon) for _ in range(BACKLOG)]
        for client in clients[::2]:
            client.send(get_bytes("/"))
        daemon.signal()
        daemon.signal(signal.SIGCONT)
        self.accepting_has_ended(daemon)
        for client in clients[1::2]:
            client.send(get_bytes("/"))
        for i, client in enumerate(clients):
            reply = client.read_reply()
            self.assertIsNotNone(reply, "closed without an answer")
            self.assertEqual(reply.status, 200)
            # A loop may be quicker to answer the first ones than the daemon is
            # to see the signal.
            self.assertTrue(reply.closes() or i % 2 == 0)
            if reply.closes():
                self.assertTrue(client.at_end())
            client.close()
        self.assert_ends_well(daemon)

    def state_of(self, daemon):
        with open("/proc/%d/stat" % daemon.pid) as stat:
            return stat.read().rsplit(")", 1)[1].split()[0]

    def test_connections_in_the_backlog_are_served(self):
        for loops, tables in itertools.product((1, 4), self.tables()):
            with self.subTest(LOOPS=loops, PRIVATE_FD_TABLES=tables):
                self.drain_backlog(loops, tables)

    # --- What was received before.

    def test_jobs_that_wait_in_the_queue_are_run(self):
        route, open_gate = self.gate()
        daemon = self.serve(WORKERS=1, LOOPS=2, HANDLERS="/=" + route)
        clients = [self.client(daemon) for _ in range(6)]
        for client in clients:
            client.send(get_bytes("/"))
        self.eventually(lambda: daemon.metrics()["queue_depth"] == 5, "jobs that wait")
        daemon.signal()
        self.accepting_has_ended(daemon)
        open_gate()
        for client in clients:
            reply = client.read_reply()
            self.assertEqual(reply.status, 200)
            self.assertTrue(reply.closes())
        self.assert_ends_well(daemon, *clients)

    def test_pipelined_requests_are_all_answered_and_only_the_last_reply_closes(self):
        route, open_gate = self.gate()
        daemon = self.serve(WORKERS=1, HANDLERS=HANDLERS + " /gate=" + route)
        client = self.client(daemon)
        client.send(get_bytes("/gate") + get_bytes("/health") * 3 + get_bytes("/slow") +
                    get_bytes("/readyz"))
        self.eventually(lambda: daemon.metrics()["workers_busy"] == 1, "busy worker")
        daemon.signal()
        self.accepting_has_ended(daemon)
        open_gate()
        replies = [client.read_reply() for _ in range(6)]
        self.assertNotIn(None, replies)
        self.assertEqual([reply.status for reply in replies], [200] * 5 + [503])
        self.assertEqual([reply.closes() for reply in replies], [False] * 5 + [True])
        self.assertTrue(client.at_end())
        self.assert_ends_well(daemon, client)

    def test_a_request_that_was_begun_is_waited_for(self):
        daemon = self.serve(DRAIN_IDLE="100ms")
        client = self.client(daemon)
        idle = self.client(daemon)
        request = get_bytes("/")
        client.send(request[:10])
        self.eventually(lambda: daemon.metrics()["connections"]["reading"] == 1,
                        "the first bytes")
        daemon.signal()
        self.assertTrue(idle.at_end())  # when DRAIN_IDLE has passed
        self.assertFalse(client.readable(0.2))
        client.send(request[10:])
        reply = client.read_reply()
        self.assertIsNotNone(reply, "closed although a request had begun")
        self.assertEqual(reply.status, 200)
        self.assertTrue(reply.closes())
        self.assert_ends_well(daemon, client)

    def test_an_idle_connection_may_speak_until_drain_idle_has_passed(self):
        daemon = self.serve(DRAIN_IDLE="10m")
        late = self.client(daemon)
        self.assertEqual(late.ask(get_bytes("/").decode()).status, 200)
        daemon.signal()
        self.accepting_has_ended(daemon)
        reply = late.ask(get_bytes("/").decode())
        self.assertIsNotNone(reply, "closed before DRAIN_IDLE")
        self.assertEqual(reply.status, 200)
        self.assertTrue(reply.closes())
        self.assert_ends_well(daemon, late)

    def test_an_idle_connection_is_closed_when_drain_idle_has_passed(self):
        daemon = self.serve(DRAIN_IDLE="1s")
        silent = self.client(daemon)
        self.assertEqual(silent.ask(get_bytes("/").decode()).status, 200)
        begun = time.monotonic()
        daemon.signal()
        self.assertTrue(silent.at_end())
        passed = time.monotonic() - begun
        self.assertGreaterEqual(passed, 0.9)
        self.assertLess(passed, 1 + LATE)
        self.assert_ends_well(daemon, silent)

    def test_a_drain_without_connections_waits_for_nothing(self):
        for tables in self.tables():
            daemon = self.serve(LOOPS=4, PRIVATE_FD_TABLES=tables, DRAIN_IDLE="10m",
                                SHUTDOWN_TIMEOUT="1h")
            daemon.signal()
            self.assert_ends_well(daemon)

    # --- Readiness and delay.

    def test_readiness_turns_first_and_the_delay_still_serves(self):
        daemon = self.serve(DRAIN_DELAY="10m", DRAIN_IDLE="100ms")
        self.assertEqual(daemon.get("/readyz").status, 200)
        kept = self.client(daemon)
        daemon.signal()
        self.eventually(lambda: daemon.get("/readyz").status == 503, "unreadiness")
        self.assertEqual(daemon.get("/").status, 200)
        self.assertEqual(daemon.get("/livez").status, 200)
        reply = kept.ask(get_bytes("/").decode())
        self.assertEqual(reply.status, 200)
        self.assertFalse(reply.closes())
        daemon.signal()  # ends the delay
        self.assert_ends_well(daemon, kept)

    def test_accepting_ends_when_the_delay_has_passed(self):
        daemon = self.serve(DRAIN_DELAY="500ms", DRAIN_IDLE="100ms")
        begun = time.monotonic()
        daemon.signal()
        self.accepting_has_ended(daemon)
        self.assertGreaterEqual(time.monotonic() - begun, 0.4)
        self.assert_ends_well(daemon)

    def test_a_kept_connection_sees_that_it_is_not_ready(self):
        daemon = self.serve(DRAIN_IDLE="10m")
        client = self.client(daemon)
        self.assertEqual(client.ask(get_bytes("/readyz").decode()).status, 200)
        daemon.signal()
        self.eventually(lambda: '"msg":"stopping' in daemon.output(), "drain")
        closes = False
        while not closes:  # from when the loop was told, a moment later
            reply = client.ask(get_bytes("/readyz").decode())
            self.assertIsNotNone(reply, "closed before DRAIN_IDLE")
            self.assertEqual(reply.status, 503)
            closes = reply.closes()
        self.assert_ends_well(daemon, client)

    # --- The end of patience.

    def stuck(self, **settings):
        """A daemon all of whose workers are busy for an hour, with jobs that
        wait behind them; and the clients of both."""
        daemon = self.serve(WORKERS=2, **settings)
        running = self.occupy(daemon, 2, "/stuck")
        waiting = [self.client(daemon) for _ in range(3)]
        for client in waiting:
            # Loops end one after the other. A worker that one of them frees may
            # take a job of another's, so these are not done at once either.
            client.send(get_bytes("/stuck"))
        self.eventually(lambda: daemon.metrics()["queue_depth"] == 3, "jobs that wait")
        return daemon, running, waiting

    def test_what_waits_when_the_timeout_passes_is_told_so(self):
        for tables in self.tables():
            with self.subTest(PRIVATE_FD_TABLES=tables):
                daemon, running, waiting = self.stuck(
                    SHUTDOWN_TIMEOUT="1s", LOOPS=2, PRIVATE_FD_TABLES=tables)
                begun = time.monotonic()
                daemon.signal()
                for client in waiting + running:
                    reply = client.read_reply()
                    self.assertIsNotNone(reply, "closed without an answer")
                    self.assertEqual(reply.status, 503)
                    self.assertEqual(reply.problem(), "draining")
                    self.assertTrue(reply.closes())
                self.assertGreaterEqual(time.monotonic() - begun, 0.9)
                self.assertEqual(daemon.wait(), 0, daemon.output())
                self.assert_port_is_free(daemon)

    def test_the_timeout_also_ends_who_sends_slowly_and_who_does_not_read(self):
        daemon = self.serve(SHUTDOWN_TIMEOUT="1s", READ_TIMEOUT="10m", WRITE_TIMEOUT="10m")
        slow = self.client(daemon)
        slow.send(get_bytes("/")[:10])
        deaf = self.client(daemon, rcvbuf=4096)
        deaf.sock.setblocking(False)
        try:
            for _ in range(20000):
                deaf.sock.send(get_bytes("/metrics") * 50)
        except BlockingIOError:
            pass
        daemon.signal()
        self.assertEqual(daemon.wait(), 0, daemon.output())

    def test_a_second_signal_ends_at_once(self):
        for first, second in ((signal.SIGTERM, signal.SIGTERM),
                              (signal.SIGINT, signal.SIGINT),
                              (signal.SIGTERM, signal.SIGINT)):
            with self.subTest(first=first, second=second):
                daemon, running, waiting = self.stuck(SHUTDOWN_TIMEOUT="1h")
                daemon.signal(first)
                self.eventually(lambda: '"msg":"stopping' in daemon.output(), "drain")
                self.assertFalse(waiting[0].readable(0.1))
                self.assertIsNone(daemon.process.poll())
                daemon.signal(second)
                self.assertEqual(daemon.wait(), 0, daemon.output())
                for client in waiting:
                    self.assertEqual(client.read_reply().problem(), "draining")
                self.assert_port_is_free(daemon)

    def test_a_second_signal_ends_the_delay_too(self):
        daemon = self.serve(DRAIN_DELAY="1h")
        daemon.signal()
        self.eventually(lambda: '"msg":"stopping' in daemon.output(), "drain")
        daemon.signal()
        self.assertEqual(daemon.wait(), 0, daemon.output())
        self.assert_port_is_free(daemon)

    def test_an_interrupt_drains_as_a_termination_does(self):
        route, open_gate = self.gate()
        daemon = self.serve(WORKERS=1, HANDLERS="/=" + route)
        client = self.client(daemon)
        client.send(get_bytes("/"))
        self.eventually(lambda: daemon.metrics()["workers_busy"] == 1, "busy worker")
        daemon.signal(signal.SIGINT)
        self.accepting_has_ended(daemon)
        open_gate()
        self.assertEqual(client.read_reply().status, 200)
        self.assert_ends_well(daemon, client)

    def test_the_same_port_serves_again_after_a_restart_under_load(self):
        first = self.serve(LOOPS=2)
        clients = [KeepAlive(first, "/") for _ in range(8)]
        for client in clients:
            client.start()
        self.eventually(lambda: all(client.answered > 0 for client in clients), "replies")
        first.signal()
        self.assertEqual(first.wait(), 0, first.output())
        second = self.serve(LOOPS=2, PORT=first.port)
        self.assertEqual(second.port, first.port)
        self.assertEqual(second.get("/").status, 200)
        for client in clients:
            client.join(harness.PATIENCE)
            self.assertIsNone(client.trouble)


if __name__ == "__main__":
    harness.main()
