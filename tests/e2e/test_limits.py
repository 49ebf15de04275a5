# ctest: timeout=240 builds=release,asan,tsan slow
"""Every limit, at its bound and one beyond it."""

import contextlib
import json
import re
import select
import socket
import time
import unittest

import harness
from harness import LATE, PATIENCE, get_bytes, post_bytes

# A deadline is never early, but its time is counted in whole milliseconds from
# the beginning of the turn in which the daemon saw the first byte.
EARLY = 0.01


class LimitCase(harness.TestCase):
    def closed(self, daemon, reason):
        return daemon.metrics()["connections_closed"].get(reason, 0)

    def wait_closed(self, daemon, reason, count=1):
        self.eventually(lambda: self.closed(daemon, reason) >= count,
                        "a connection closed for " + reason)
        self.assertEqual(self.closed(daemon, reason), count)

    def assert_took(self, since, seconds):
        took = time.monotonic() - since
        self.assertGreaterEqual(took, seconds - EARLY)
        self.assertLess(took, seconds + LATE)

    def assert_refused(self, reply, status, word):
        self.assertEqual(reply.status, status, reply)
        self.assertEqual(reply.problem(), word)
        self.assertEqual(reply.json()["status"], status)
        self.assertTrue(reply.closes(), reply)


# --- Sizes.

def header_of(size, method="GET", target="/health"):
    """A header section of exactly so many bytes."""
    start = "%s %s HTTP/1.1\r\nHost: x\r\nX-Pad: " % (method, target)
    return (start + "p" * (size - len(start) - 4) + "\r\n\r\n").encode()


class HeaderSize(LimitCase):
    def check(self, daemon, limit):
        with daemon.client() as client:
            request = header_of(limit)
            self.assertEqual(len(request), limit)
            self.assertEqual(client.ask(request).status, 200)
            self.assertEqual(client.ask(request).status, 200)
            self.assert_refused(client.ask(header_of(limit + 1)), 431, "header-too-large")
            self.assertTrue(client.at_end())

    def test_a_header_section_of_the_limit_fits_and_one_byte_more_is_431(self):
        for limit in (256, 1000, 16384):
            with self.subTest(limit=limit):
                daemon = self.start(MAX_HEADER_SIZE="%dB" % limit)
                self.check(daemon, limit)
                self.wait_closed(daemon, "header-too-large")
                self.assertEqual(daemon.metrics()["requests_rejected"],
                                 {"header-too-large": 1})

    def test_the_default_is_16_kib_and_1_mib_can_be_had(self):
        self.check(self.start(), 16 * 1024)
        self.check(self.start(MAX_HEADER_SIZE="1MiB"), 1024 * 1024)

    def test_it_holds_however_the_section_is_cut(self):
        daemon = self.start(MAX_HEADER_SIZE="300B")
        for cut in (1, 150, 299):
            with daemon.client() as client:
                for size, status in ((300, 200), (301, 431)):
                    request = header_of(size)
                    client.send(request[:cut])
                    time.sleep(0.02)
                    client.send(request[cut:])
                    self.assertEqual(client.read_reply().status, status)

    def test_a_section_that_never_ends_is_refused_at_the_limit(self):
        daemon = self.start(MAX_HEADER_SIZE="300B")
        with daemon.client() as client:
            client.send(header_of(400)[:301])  # no byte more is needed
            self.assert_refused(client.read_reply(), 431, "header-too-large")

    def test_a_request_line_that_does_not_end_in_it_is_414(self):
        daemon = self.start(MAX_HEADER_SIZE="300B")
        # The line end, Host and the empty line take 13 + 4 bytes more.
        room = 300 - len("GET  HTTP/1.1\r\nHost: x\r\n\r\n")
        with daemon.client() as client:
            target = "/health?" + "q" * (room - 8)
            self.assertEqual(client.ask("GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target).status, 200)
            reply = client.ask("GET /health?%s HTTP/1.1\r\nHost: x\r\n\r\n" % ("q" * 300))
            self.assert_refused(reply, 414, "target-too-long")
            self.assertTrue(client.at_end())
        self.wait_closed(daemon, "target-too-long")


def json_of(size):
    """A JSON document of exactly so many bytes."""
    return b'{"data":"' + b"x" * (size - 11) + b'"}'


def chunked_bytes(body, pieces=1):
    head = (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n")
    size = max(1, -(-len(body) // pieces))
    for start in range(0, len(body), size):
        piece = body[start:start + size]
        head += b"%x\r\n" % len(piece) + piece + b"\r\n"
    return head + b"0\r\n\r\n"


class BodySize(LimitCase):
    def check_beyond(self, client, request):
        reply = client.ask(request)
        self.assertEqual((reply.status, reply.problem()), (413, "body-too-large"))
        if reply.closes():
            self.assertTrue(client.at_end())
        else:  # the whole body was at hand, so it is known where the next begins
            self.assertEqual(client.ask(get_bytes()).status, 200)

    def check(self, daemon, limit):
        fits = json_of(limit)
        beyond = json_of(limit + 1)
        for frame in (post_bytes, chunked_bytes, lambda body: chunked_bytes(body, 3)):
            with daemon.client() as client:
                reply = client.ask(frame(fits))
                self.assertEqual(reply.status, 200)
                self.assertEqual(reply.json()["data"], "x" * (limit - 11))
                self.check_beyond(client, frame(beyond))

    def test_a_body_of_the_limit_fits_and_one_byte_more_is_413(self):
        for limit in (100, 70000):
            with self.subTest(limit=limit):
                daemon = self.start(MAX_BODY_SIZE="%dB" % limit)
                self.check(daemon, limit)
                self.assertEqual(daemon.metrics()["requests_rejected"], {"body-too-large": 3})

    def test_the_default_is_1_mib(self):
        self.check(self.start(), 1024 * 1024)

    def test_0_allows_no_body_at_all(self):
        daemon = self.start(MAX_BODY_SIZE=0)
        with daemon.client() as client:
            self.assertEqual(client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").status, 200)
            for nothing in (post_bytes(b""), chunked_bytes(b"")):
                reply = client.ask(nothing)
                self.assertEqual((reply.status, reply.json()["data"]), (200, None))
            self.check_beyond(client, post_bytes(b"1"))
        with daemon.client() as client:
            self.assert_refused(client.ask(chunked_bytes(b"1")), 413, "body-too-large")

    def test_who_asks_first_is_refused_instead_of_told_to_go_on(self):
        daemon = self.start(MAX_BODY_SIZE="100B")
        with daemon.client() as client:
            client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                        "Content-Length: 101\r\n\r\n")
            self.assert_refused(client.read_reply(), 413, "body-too-large")

    def test_a_length_beyond_all_numbers_does_not_wrap(self):
        daemon = self.start()
        for length in (2**32, 2**32 + 5, 2**63 - 1):
            reply = daemon.get("/", "Content-Length: %d\r\n" % length)
            self.assert_refused(reply, 413, "body-too-large")


    def test_a_chunk_is_refused_by_its_size_line(self):
        daemon = self.start(MAX_BODY_SIZE="100B")
        for chunks in (b"65\r\n", b"ffffffff;x=y\r\n", b"60\r\n" + b" " * 96 + b"\r\n5\r\n"):
            with daemon.client() as client:
                client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
                client.send(chunks)
                self.assert_refused(client.read_reply(), 413, "body-too-large")

    def test_a_chunk_of_the_largest_size_is_taken(self):
        daemon = self.start(MAX_BODY_SIZE="100B")
        with daemon.client() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n")
            client.send(b'{"a": 1}' + b" " * 92 + b"\r\n0\r\n\r\n")
            self.assertEqual(client.read_reply().status, 200)


class Upload(LimitCase):
    """Who is refused half-way still gets the reply, and no reset."""
    SIZE = 8 * 1000 * 1000
    TIMES = 50

    def check(self, daemon, head, unit):
        for _ in range(self.TIMES):
            with daemon.client() as client:
                client.send(head)
                for _ in range(0, self.SIZE, len(unit)):
                    client.send(unit)
                reply = client.read_reply()
                self.assert_refused(reply, 413, "body-too-large")
                self.assertTrue(client.at_end())
        self.wait_closed(daemon, "body-too-large", self.TIMES)

    def test_of_a_length_that_was_announced(self):
        daemon = self.start()
        self.check(daemon, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % self.SIZE,
                   b"x" * 100000)

    def test_in_chunks(self):
        daemon = self.start()
        self.check(daemon, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                   b"186a0\r\n" + b"x" * 100000 + b"\r\n")


# --- How many connections.

class MaxConnections(LimitCase):
    def fill(self, daemon, count):
        clients = []
        for _ in range(count):
            client = daemon.client()
            self.addCleanup(client.close)
            self.assertEqual(client.ask(get_bytes()).status, 200)
            clients.append(client)
        return clients

    def rejected(self, client):
        metrics = client.ask(get_bytes("/metrics")).json()
        return metrics["connections_rejected"].get("too-many-connections", 0)

    def check(self, most, **settings):
        daemon = self.start(MAX_CONNECTIONS=most, **settings)
        clients = self.fill(daemon, most)
        for turn in range(1, 6):
            with daemon.client() as beyond:
                reply = beyond.ask(get_bytes())
                self.assert_refused(reply, 503, "too-many-connections")
                self.assertGreaterEqual(int(reply.headers["retry-after"]), 1)
                self.assertTrue(beyond.at_end())
            self.assertEqual(self.rejected(clients[0]), turn)
        for client in clients:
            self.assertEqual(client.ask(get_bytes()).status, 200)

        # One leaves, another comes; the daemon may see it a moment later.
        clients.pop().close()
        refused = 5

        def comes():
            nonlocal refused
            client = daemon.client()
            reply = client.ask(get_bytes())
            if reply.status == 200:
                self.addCleanup(client.close)
                clients.append(client)
                return True
            client.close()
            refused += 1
            return False

        self.eventually(comes, "a place")
        self.assertEqual(self.rejected(clients[0]), refused)
        with daemon.client() as beyond:
            self.assertEqual(beyond.ask(get_bytes()).status, 503)

    def test_n_fit_and_one_more_is_told_to_come_later(self):
        self.check(5, LOOPS=1)

    def test_it_is_one_limit_for_all_loops(self):
        self.check(40, LOOPS=5)

    def test_1(self):
        self.check(1)

    def test_who_says_nothing_is_told_as_well(self):
        daemon = self.start(MAX_CONNECTIONS=1)
        self.fill(daemon, 1)
        with daemon.client() as beyond:
            self.assert_refused(beyond.read_reply(), 503, "too-many-connections")
            self.assertTrue(beyond.at_end())

    def test_a_crowd_that_is_refused_reads_whole_replies(self):
        daemon = self.start(MAX_CONNECTIONS=1, LOOPS=1)
        inside = self.fill(daemon, 1)[0]
        crowd = [daemon.client() for _ in range(300)]
        for client in crowd:
            client.send(get_bytes())
        for client in crowd:
            self.assert_refused(client.read_reply(), 503, "too-many-connections")
            self.assertTrue(client.at_end())
            client.close()
        self.assertEqual(self.rejected(inside), 300)


# --- Time.

class ReadTimeout(LimitCase):
    def setUp(self):
        self.daemon = self.start(READ_TIMEOUT="1s")

    def check_silent(self, bytes_, word):
        with self.daemon.client() as client:
            since = time.monotonic()
            client.send(bytes_)
            reply = client.read_reply()
            self.assert_took(since, 1.0)
            self.assert_refused(reply, 408, word)
            self.assertTrue(client.at_end())
        self.wait_closed(self.daemon, word)
        self.assertEqual(self.daemon.metrics()["requests_rejected"], {word: 1})

    def check_trickle(self, start, byte, word):
        """A byte now and then does not extend it."""
        with self.daemon.client() as client:
            since = time.monotonic()
            client.send(start)
            while not select.select([client.sock], [], [], 0.05)[0]:
                client.send(byte)
                self.assertLess(time.monotonic() - since, 1 + LATE, "goes on for ever")
            reply = client.read_reply()
            self.assert_took(since, 1.0)
            self.assert_refused(reply, 408, word)
        self.wait_closed(self.daemon, word)

    def test_a_header_that_stops(self):
        self.check_silent(b"GET / HTTP/1.1\r\nHo", "header-timeout")

    def test_one_byte(self):
        self.check_silent(b"G", "header-timeout")

    def test_a_body_that_stops(self):
        self.check_silent(post_bytes(b'{"data": 1}')[:-1], "body-timeout")

    def test_a_large_body_that_stops(self):
        self.check_silent(post_bytes(json_of(1000000))[:-1], "body-timeout")

    def test_chunks_that_stop(self):
        self.check_silent(chunked_bytes(b'{"data": 1}')[:-2], "body-timeout")

    def test_a_body_that_does_not_begin(self):
        self.check_silent(post_bytes(b"1")[:-1], "body-timeout")

    def test_a_header_in_a_trickle(self):
        self.check_trickle(b"GET / HTTP/1.1\r\nX-Trickle: ", b"x", "header-timeout")

    def test_a_header_in_a_trickle_of_lines(self):
        self.check_trickle(b"GET / HTTP/1.1\r\n", b"X: y\r\n", "header-timeout")

    def test_a_body_in_a_trickle(self):
        self.check_trickle(post_bytes(json_of(5000))[:-4990], b"x", "body-timeout")

    def test_chunks_in_a_trickle(self):
        self.check_trickle(chunked_bytes(b"")[:-5], b"1\r\n1\r\n", "body-timeout")

    def test_it_starts_anew_with_each_request(self):
        def attempt(pace):
            with self.daemon.client() as client:
                for _ in range(4):
                    client.send(b"GET /health HTTP/1.1\r\n")
                    pace(0.4)
                    self.assertEqual(client.ask(b"Host: x\r\n\r\n").status, 200)
        self.at_pace(0.9, attempt)

    def test_the_job_is_not_in_it(self):
        daemon = self.start(READ_TIMEOUT="300ms", WRITE_TIMEOUT="300ms", IDLE_TIMEOUT="300ms",
                            HANDLERS="/=sleep:1500ms")
        self.assertEqual(daemon.post('{"data": 1}').status, 200)


class IdleTimeout(LimitCase):
    def test_it_closes_without_a_word(self):
        daemon = self.start(IDLE_TIMEOUT="1s", READ_TIMEOUT="10s", LOOPS=1)
        with daemon.client() as new, daemon.client() as used:
            self.assertEqual(used.ask(get_bytes()).status, 200)
            self.assertTrue(new.at_end())
            self.assertTrue(used.at_end())
        metrics = daemon.metrics()
        self.assertEqual(metrics["connections_closed"], {"idle-timeout": 2})
        self.assertEqual(metrics["error_count"], 0)

    def test_who_asks_now_and_then_is_not_idle(self):
        daemon = self.start(IDLE_TIMEOUT="1s", READ_TIMEOUT="10s")

        def attempt(pace):
            with daemon.client() as busy:
                since = time.monotonic()
                while time.monotonic() < since + 1.5:
                    self.assertEqual(busy.ask(get_bytes()).status, 200)
                    pace(0.2)
                self.assertEqual(busy.ask(get_bytes()).status, 200)
        self.at_pace(0.9, attempt)

    def test_not_before_its_time(self):
        for ms in (300, 1000, 1700):
            daemon = self.start(IDLE_TIMEOUT="%dms" % ms)
            with daemon.client() as client:
                since = time.monotonic()
                self.assertEqual(client.ask(get_bytes()).status, 200)
                self.assertTrue(client.at_end())
                self.assert_took(since, ms / 1000)


class WriteTimeout(LimitCase):
    BODY = b'{"data":"' + b"w" * 12000000 + b'"}'  # more than any socket's buffer

    def setUp(self):
        self.daemon = self.start(WRITE_TIMEOUT="1s", IDLE_TIMEOUT="10m", MAX_BODY_SIZE="16MiB")

    def check_stuck(self, request):
        with self.daemon.client(rcvbuf=4096) as client:
            since = time.monotonic()
            client.send(request)
            self.eventually(lambda: self.closed(self.daemon, "write-timeout") == 1,
                            "the end of a reader that takes nothing")
            self.assertGreaterEqual(time.monotonic() - since, 1.0 - EARLY)
            self.assertLess(time.monotonic() - since, 2.0 + LATE)
        self.assertEqual(self.daemon.metrics()["connections_closed"].get("write-timeout"), 1)

    def test_a_reader_that_takes_nothing_of_a_large_reply(self):
        self.check_stuck(post_bytes(self.BODY))

    def test_a_reader_that_takes_nothing_of_many_replies(self):
        page = len(self.daemon.get("/metrics?format=prometheus").body)
        count = 8000000 // page
        self.check_stuck(get_bytes("/metrics?format=prometheus") * count)

    def test_a_slow_but_steady_reader_outlives_it(self):
        def attempt(pace):
            with self.daemon.client(rcvbuf=65536) as client:
                client.send(post_bytes(self.BODY))
                reply = b""
                since = time.monotonic()
                while time.monotonic() < since + 3:  # 200 KB a second
                    reply += client.sock.recv(10000)
                    pace(0.05)
                self.assertLess(len(reply), 6000000)
                while b"\r\n\r\n" not in reply or len(reply) < len(self.BODY):
                    data = client.sock.recv(1 << 20)
                    self.assertNotEqual(data, b"", "cut after %d bytes" % len(reply))
                    reply += data
        self.at_pace(0.4, attempt)

    def test_steady_and_then_stuck_is_stuck(self):
        with self.daemon.client(rcvbuf=65536) as client:
            client.send(post_bytes(self.BODY))
            since = time.monotonic()
            while time.monotonic() < since + 1.5:
                client.sock.recv(10000)
                time.sleep(0.05)
            stopped = time.monotonic()
            self.wait_closed(self.daemon, "write-timeout")
            self.assertLess(time.monotonic() - stopped, 3.0 + LATE)

    def test_the_connection_goes_on_after_a_slow_reply(self):
        with self.daemon.client(rcvbuf=4096) as client:
            client.send(post_bytes(self.BODY) + get_bytes())
            self.eventually(lambda: self.daemon.metrics()["connections"]["writing"] == 1,
                            "a reply that waits for its reader")
            self.assertEqual(len(client.read_reply().json()["data"]), 12000000)
            self.assertEqual(client.read_reply().json(), {"status": "ok"})


# --- Queue and jobs.

class Jobs(LimitCase):
    def test_the_queue_holds_exactly_its_size(self):
        for size in (1, 3, 10):
            with self.subTest(size=size):
                daemon = self.start(QUEUE_SIZE=size, WORKERS=1, HANDLERS="/=sleep:2s",
                                    SHUTDOWN_TIMEOUT="100ms")
                with contextlib.ExitStack() as stack:
                    def begin():
                        client = stack.enter_context(daemon.client())
                        client.send(post_bytes(b'{"data": 1}'))
                        return client

                    begin()  # which the worker takes
                    self.eventually(lambda: daemon.metrics()["workers_busy"] == 1)
                    for _ in range(size):
                        begin()
                    self.eventually(lambda: daemon.metrics()["queue_depth"] == size)
                    reply = begin().read_reply()
                    self.assertEqual((reply.status, reply.problem()), (503, "queue-full"))
                    self.assertFalse(reply.closes())
                    self.assertEqual(daemon.metrics()["queue_capacity"], size)

    def test_queue_timeout_is_kept_while_every_worker_is_stuck(self):
        daemon = self.start(QUEUE_TIMEOUT="500ms", WORKERS=1, HANDLERS="/=sleep:3s",
                            SHUTDOWN_TIMEOUT="100ms")
        with daemon.client() as first, daemon.client() as second:
            first.send(post_bytes(b'{"data": 1}'))
            self.eventually(lambda: daemon.metrics()["workers_busy"] == 1)
            since = time.monotonic()
            reply = second.post(b'{"data": 2}')
            self.assert_took(since, 0.5)
            self.assertEqual((reply.status, reply.problem()), (503, "queue-timeout"))
            self.assertEqual(second.ask(get_bytes()).status, 200)
            self.assertEqual(first.read_reply().status, 200)

    def test_job_timeout_ends_the_waiting(self):
        daemon = self.start(JOB_TIMEOUT="500ms", WORKERS=1, HANDLERS="/=sleep:1500ms /b=sleep:10ms")
        with daemon.client() as client:
            since = time.monotonic()
            reply = client.post(b'{"data": 2}')
            self.assert_took(since, 0.5)
            self.assertEqual((reply.status, reply.problem()), (504, "deadline-exceeded"))
            self.assertEqual(client.post(b'{"data": 2}', "/b").status, 200)
        self.eventually(lambda: daemon.metrics()["late_results_discarded"] == 1)

    def test_half_close_is_a_cancel_or_not(self):
        for word, status in (("cancel", None), ("serve", 200)):
            daemon = self.start(HALF_CLOSE=word, HANDLERS="/=sleep:300ms")
            with daemon.client() as client:
                client.send(post_bytes(b'{"data": 1}'))
                client.sock.shutdown(socket.SHUT_WR)
                reply = client.read_reply()
                self.assertEqual(reply and reply.status, status, word)
                self.assertTrue(client.at_end())
            reason = "client-left" if status is None else "client-closed"
            self.eventually(lambda: self.closed(daemon, reason) > 0, reason)

    def test_shutdown_timeout_bounds_the_end(self):
        daemon = self.start(SHUTDOWN_TIMEOUT="500ms", WORKERS=1, HANDLERS="/=sleep:60s")
        with daemon.client() as client:
            client.send(post_bytes(b'{"data": 1}'))
            self.eventually(lambda: daemon.metrics()["workers_busy"] == 1)
            since = time.monotonic()
            daemon.signal()
            reply = client.read_reply()
            self.assert_took(since, 0.5)
            self.assert_refused(reply, 503, "draining")
        self.assertEqual(daemon.wait(), 0)
        self.assert_took(since, 0.5)


# --- Threads.

class Threads(LimitCase):
    def test_loops_1_and_5(self):
        for loops in (1, 5):
            daemon = self.start(LOOPS=loops, WORKERS=2)
            self.assertEqual(daemon.start_line()["loops"], loops)
            clients = [daemon.client() for _ in range(50)]
            for client in clients:
                self.assertEqual(client.ask(get_bytes()).status, 200)
                self.assertEqual(client.post(b'{"data": 1}').status, 200)
            metrics = daemon.metrics()
            self.assertEqual(len(metrics["loops"]), loops)
            self.assertEqual(sum(loop["connections"] for loop in metrics["loops"]), 51)
            # Each has its own listener: the kernel spreads by addresses.
            self.assertTrue(all(loop["accepted"] > 0 for loop in metrics["loops"]), metrics)
            for client in clients:
                client.close()

    def test_workers_1_and_50(self):
        for workers in (1, 50):
            route, open_gate = self.gate()
            daemon = self.start(WORKERS=workers, HANDLERS="/=" + route)
            clients = self.occupy(daemon, workers)
            clients.append(self.client(daemon))
            clients[-1].send(get_bytes("/"))
            self.eventually(lambda: daemon.metrics()["queue_depth"] == 1, "one that waits")
            metrics = daemon.metrics()
            self.assertEqual((metrics["workers"], metrics["workers_busy"]), (workers, workers))
            open_gate()
            for client in clients:
                self.assertEqual(client.read_reply().status, 200)
                client.close()


# --- Where it listens.

def v6_works():
    with contextlib.suppress(OSError):
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
            return True
    return False


class Address(LimitCase):
    def ask(self, host, port):
        with harness.Client(socket.create_connection((host, port), PATIENCE)) as client:
            return client.ask(get_bytes()).status

    def refuses(self, host, port):
        with self.assertRaises(ConnectionRefusedError):
            self.ask(host, port)

    def test_v4(self):
        daemon = self.start(ADDRESS="127.0.0.1")
        self.assertEqual(daemon.start_line()["address"], "127.0.0.1:%d" % daemon.port)
        self.assertEqual(self.ask("127.0.0.1", daemon.port), 200)
        self.refuses("127.0.0.2", daemon.port)

    @unittest.skipUnless(v6_works(), "no IPv6 here")
    def test_v6(self):
        daemon = self.start(ADDRESS="::1")
        self.assertEqual(daemon.start_line()["address"], "[::1]:%d" % daemon.port)
        self.assertEqual(self.ask("::1", daemon.port), 200)
        self.refuses("127.0.0.1", daemon.port)

    def test_unset_takes_both(self):
        daemon = self.start(ADDRESS="")
        self.assertEqual(self.ask("127.0.0.1", daemon.port), 200)
        self.assertEqual(self.ask("127.0.0.7", daemon.port), 200)
        if v6_works():
            self.assertEqual(self.ask("::1", daemon.port), 200)
        else:
            self.assertEqual(daemon.start_line()["address"], "0.0.0.0:%d" % daemon.port)
            self.assertIn("IPv4 alone", daemon.output())


class Port(LimitCase):
    def fails_on(self, port, **settings):
        """Starts one on a port in use; gives what it says."""
        daemon = harness.Daemon(PORT=port, **settings)
        self.addCleanup(daemon.close_log)
        self.assertNotEqual(daemon.wait(), 0)
        lines = daemon.output().splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(str(port), lines[0])
        self.assertIn("PORT", lines[0])
        return lines[0]

    def test_0_picks_one_and_says_so(self):
        first = self.start(PORT=0)
        second = self.start(PORT=0)
        self.assertNotEqual(first.port, 0)
        self.assertNotEqual(first.port, second.port)
        self.assertEqual(first.get("/health").status, 200)
        self.assertEqual(second.get("/health").status, 200)

    def test_one_in_use_is_named(self):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            self.fails_on(sock.getsockname()[1], ADDRESS="127.0.0.1")
            self.fails_on(sock.getsockname()[1], ADDRESS="")

    def test_a_second_daemon_does_not_take_half(self):
        for loops in (1, 4):
            for address in ("127.0.0.1", ""):
                first = self.start(LOOPS=loops, ADDRESS=address)
                for others in (1, 4):
                    self.fails_on(first.port, LOOPS=others, ADDRESS=address)
                for _ in range(10):
                    self.assertEqual(first.get("/health").status, 200)

    def test_it_can_be_had_again_at_once(self):
        first = self.start()
        with first.client() as client:
            self.assertEqual(client.ask(get_bytes()).status, 200)
            self.assertEqual(first.stop(), 0)
            second = self.start(PORT=first.port)
            self.assertEqual(second.get("/health").status, 200)


# --- The log.

class Log(LimitCase):
    def lines_of(self, level, format_):
        daemon = self.start_quiet(LOG_LEVEL=level, LOG_FORMAT=format_, MAX_CONNECTIONS=100)
        daemon.get("/health", "X-Request-ID: one\r\n")
        daemon.post('{"data": 1}', headers="X-Request-ID: two\r\n")
        daemon.get("/nowhere", "X-Request-ID: three\r\n")
        self.assertEqual(daemon.stop(), 0)
        return daemon.output().splitlines()

    def start_quiet(self, **settings):
        """One whose start line is missing or not JSON, on a port of our choice."""
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        daemon = harness.Daemon(PORT=port, **settings)
        self.addCleanup(self._end, daemon)
        daemon.port = port

        def answers():
            with contextlib.suppress(ConnectionRefusedError):
                return daemon.get("/health").status == 200

        self.eventually(answers, "the daemon")
        return daemon

    def test_debug_shows_a_line_a_request(self):
        lines = [json.loads(line) for line in self.lines_of("debug", "json")]
        requests = {line["request_id"]: line for line in lines if line["msg"] == "request"}
        self.assertTrue({"one", "two", "three"} <= set(requests), requests)
        self.assertEqual([requests[name]["status"] for name in ("one", "two", "three")],
                         [200, 200, 404])
        self.assertEqual(requests["three"]["reason"], "not-found")
        self.assertEqual(requests["one"]["level"], "debug")
        shown = ("client", "method", "route", "bytes_in")
        self.assertEqual([requests["one"][name] for name in shown],
                         ["127.0.0.1", "GET", "/health", 0])
        self.assertEqual([requests["two"][name] for name in shown],
                         ["127.0.0.1", "POST", "/", len('{"data": 1}')])
        self.assertEqual([requests["three"][name] for name in shown],
                         ["127.0.0.1", "GET", "", 0])
        for name in ("queue_us", "run_us", "total_us"):
            self.assertIsInstance(requests["two"][name], int)

    def test_info_shows_none(self):
        lines = [json.loads(line) for line in self.lines_of("info", "json")]
        self.assertNotIn("request", {line["msg"] for line in lines})
        self.assertIn("listening", {line["msg"] for line in lines})

    def test_warn_and_error_are_silent_about_a_good_life(self):
        for level in ("warn", "error"):
            daemon = self.start_quiet(LOG_LEVEL=level, MAX_CONNECTIONS=100)
            self.assertEqual(daemon.get("/nowhere").status, 404)
            self.assertEqual(daemon.stop(), 0)
            self.assertEqual(daemon.output(), "", level)

    STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

    def test_json(self):
        for line in self.lines_of("debug", "json"):
            fields = json.loads(line)
            self.assertRegex(fields["ts"], "^" + self.STAMP + "$")
            self.assertIn(fields["level"], ("debug", "info", "warn"))
            self.assertTrue(fields["msg"])

    def test_logfmt(self):
        pair = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^" ]*)(?: |$)')
        seen = set()
        for line in self.lines_of("debug", "logfmt"):
            fields = {}
            at = 0
            while at < len(line):
                match = pair.match(line, at)
                self.assertTrue(match, line[at:])
                fields[match.group(1)] = match.group(2).strip('"')
                at = match.end()
            self.assertRegex(fields["ts"], "^" + self.STAMP + "$")
            seen.add(fields["msg"])
            if fields["msg"] == "listening":
                self.assertRegex(fields["loops"], r"^[1-9]\d*$")
                self.assertRegex(fields["address"], r"^127\.0\.0\.1:\d+$")
        self.assertTrue({"listening", "request"} <= seen, seen)

    def lines_of_any(self, format_):
        daemon = self.start_quiet(LOG_LEVEL="debug", LOG_FORMAT=format_, MAX_CONNECTIONS=100)
        daemon.post('{"data": 1}', headers="X-Request-ID: two\r\n")
        self.assertEqual(daemon.stop(), 0)
        return daemon, daemon.output().splitlines()

    def test_text(self):
        daemon, lines = self.lines_of_any("text")
        start = next(line for line in lines if "listening" in line)
        self.assertRegex(start, "^" + self.STAMP + " +info +listening ")
        self.assertIn("127.0.0.1:%d" % daemon.port, start)
        self.assertTrue(any("two" in line and "200" in line for line in lines), lines)

    def test_auto_is_json_for_a_file(self):
        _, lines = self.lines_of_any("auto")
        self.assertEqual(json.loads(lines[0])["msg"], "listening")


# --- Handlers.

class Handlers(LimitCase):
    def test_several_paths(self):
        daemon = self.start(HANDLERS='/=echo /a/b=sleep:50ms  "/c=spin:1ms"')
        for path in ("/", "/a/b", "/c"):
            self.assertEqual(daemon.post('{"data": "%s"}' % path, path).json()["data"], path)
        since = time.monotonic()
        daemon.post('{"data": 1}', "/a/b")
        self.assertGreaterEqual(time.monotonic() - since, 0.05)
        for path in ("/a", "/a/", "/a/b/", "/C", "//"):
            self.assertEqual(daemon.post('{"data": 1}', path).status, 404, path)
        handlers = {entry["path"]: entry for entry in daemon.metrics()["handlers"]}
        self.assertEqual({path: (entry["handler"], entry["ok"])
                          for path, entry in handlers.items()},
                         {"/": ("echo", 1), "/a/b": ("sleep", 2), "/c": ("spin", 1)})

    def test_without_a_root(self):
        daemon = self.start(HANDLERS="/only=echo")
        self.assertEqual(daemon.get("/").status, 404)
        self.assertEqual(daemon.get("/only").status, 200)

    def test_bad_ones_stop_the_start(self):
        for value, word in (
                ("/=nobody", "nobody"), ("echo", "echo"), ("/a", "/a"), ("/=", "/="),
                ("/health=echo", "/health"), ("/metrics=echo", "/metrics"),
                ("/problems/x=echo", "/problems/x"),
                ("/=echo /=sleep:1s", "second"), ("/=sleep", "sleep"),
                ("/=sleep:never", "sleep"), ("/=sleep:2h", "1h"), ("/=echo:1", "echo"),
                ("/=echo?a=b", "no setting a"), ('"/=echo', "quote"), ("/%zz=echo", "%zz"),
                ("/=spin:-1ms", "spin"), (" ", "HANDLERS"), ("/a\x01=echo", "HANDLERS")):
            for args in ((), ("--check",)):
                with self.subTest(value=value, args=args):
                    daemon = harness.Daemon(args=args, HANDLERS=value)
                    self.addCleanup(daemon.close_log)
                    self.assertEqual(daemon.wait(), 78, daemon.output())
                    lines = daemon.output().splitlines()
                    self.assertEqual(len(lines), 1, lines)
                    self.assertIn("HANDLERS", lines[0])
                    self.assertIn(word, lines[0])


# --- Descriptor tables.

class Tables(LimitCase):
    def check(self, setting, word):
        daemon = self.start(PRIVATE_FD_TABLES=setting, LOOPS=3)
        self.assertEqual(daemon.start_line()["fd_tables"], word)
        clients = [daemon.client() for _ in range(30)]
        for client in clients:
            self.assertEqual(client.ask(get_bytes()).status, 200)
            self.assertEqual(client.post(b'{"data": 1}').status, 200)
        open_fds = daemon.metrics()["open_fds"]
        self.assertGreaterEqual(open_fds, 30)
        self.assertLess(open_fds, 200)
        for client in clients:
            client.close()
        return daemon

    def test_shared(self):
        self.check("off", "shared")

    @unittest.skipIf(harness.BUILD == "tsan", "the thread sanitizer knows descriptors by number")
    def test_private(self):
        probe = self.start(PRIVATE_FD_TABLES="on")
        if probe.start_line()["fd_tables"] != "private":
            self.assertIn("cannot be private", probe.output())
            self.skipTest("no private descriptor tables here")
        self.check("on", "private")


if __name__ == "__main__":
    harness.main()
