# ctest: timeout=240 cores=2 builds=release slow
"""MEMORY_BUDGET is a ceiling for the whole process."""

import contextlib
import os
import select
import socket
import threading
import time
import unittest

import harness
from harness import FEW, SLOW, get_bytes, post_bytes

MIB = 1 << 20
ZEROS = b"[" + b"0," * (MIB // 2 - 8) + b"0]"  # a parse tree of about 40 MiB
ARRAY = b'{"data":' + ZEROS + b"}"
BLANKS = post_bytes(b" " * 100000)

# What a sanitizer keeps for itself is resident too, and counts. Under one these
# tests look for errors of the daemon, with room enough, and not at the ceiling.
BUDGET = 2048 if SLOW else 64

measured = unittest.skipIf(SLOW, "a sanitizer's memory is not the daemon's")


class Sampler:
    """The largest resident set that was seen while it ran."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.most = 0
        self.samples = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        page = os.sysconf("SC_PAGESIZE")
        statm = os.open("/proc/%d/statm" % self.daemon.pid, os.O_RDONLY)
        while not self.stopped.is_set():
            self.most = max(self.most, int(os.pread(statm, 200, 0).split()[1]) * page)
            self.samples += 1
            time.sleep(0.002)
        os.close(statm)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()


class Posters:
    """Threads that post one body again and again; replies by what they were."""

    def __init__(self, daemon, threads, times, path, bodies):
        self.daemon = daemon
        self.replies = {}
        self.wrong = []
        self.lock = threading.Lock()
        self.requests = [post_bytes(body, path) for body in bodies]
        self.times = times
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def count(self, reply):
        with self.lock:
            if reply is None:
                what = "closed"
            elif reply.status == 200:
                what = "ok"
            else:
                what = reply.problem()
                if what == "memory-pressure" and not (
                        reply.status == 503 and int(reply.headers["retry-after"]) >= 1):
                    self.wrong.append(reply)
            self.replies[what] = self.replies.get(what, 0) + 1

    def run(self, number):
        try:
            client = self.daemon.client()
            for turn in range(self.times):
                client.send(self.requests[(number + turn) % len(self.requests)])
                reply = client.read_reply()
                self.count(reply)
                if reply is None or reply.closes():
                    client.close()
                    client = self.daemon.client()
            client.close()
        except Exception as error:  # reported by the test, not by the thread
            with self.lock:
                self.wrong.append(error)

    def join(self):
        for thread in self.threads:
            thread.join()
        return self.replies


class MemoryCase(harness.TestCase):
    def assert_stays_below(self, daemon, sampler, limit):
        self.assertGreater(sampler.samples, 20)
        self.assertLessEqual(sampler.most, limit,
                             "%.1f MiB over" % ((sampler.most - limit) / MIB))

    def assert_goes_back(self, daemon, start, room):
        def near():
            return daemon.resident_bytes() <= start + room

        if not SLOW:
            self.eventually(near, "memory to go back: %d KiB at the start, %d KiB now" % (
                start // 1024, daemon.resident_bytes() // 1024), timeout=20)


class Ceiling(MemoryCase):
    def flood(self, path, handlers, bodies, threads=32, times=None, budget=BUDGET, workers=4,
              fits=True, **settings):
        """Posts, and looks at all that was promised; gives the replies."""
        times = times or (1 if SLOW else 4 if FEW else 20)
        daemon = self.start(MEMORY_BUDGET="%dMiB" % budget, HANDLERS=handlers, WORKERS=workers,
                            LOOPS=2, **settings)
        start = daemon.resident_bytes()
        with Sampler(daemon) as sampler:
            posters = Posters(daemon, threads, times, path, bodies)
            replies = posters.join()
        self.assertEqual(posters.wrong, [])
        self.assertEqual(sum(replies.values()), threads * times)
        self.assertEqual(set(replies) - {"ok", "memory-pressure"}, set(), replies)
        if fits:
            self.assertGreater(replies.get("ok", 0), 0, replies)
        if not SLOW:
            self.assert_stays_below(daemon, sampler, budget * MIB)
        # It is as usable as before, for those that it has said no to as well.
        self.assertEqual(daemon.post('{"data": 1}', path).status, 200)
        self.eventually(lambda: daemon.post(bodies[0], path).status == 200, "room for one")
        rejected = daemon.metrics()["requests_rejected"].get("memory-pressure", 0)
        self.assertGreaterEqual(rejected, replies.get("memory-pressure", 0))
        self.assert_goes_back(daemon, start, 6 * MIB)
        return replies

    def test_of_parse_trees(self):
        # One tree fits, but bodies that wait and trees that are half made may
        # leave no room for any; then all are refused, as long as it lasts.
        replies = self.flood("/", "/=sleep:20ms", [ARRAY], fits=SLOW)
        if not SLOW:
            self.assertGreater(replies.get("memory-pressure", 0), 0, replies)

    def test_of_bodies_and_replies(self):
        self.flood("/", "/=echo", [ARRAY], threads=64, times=3 if SLOW else 5 if FEW else 25)

    def test_of_all_sizes_at_once(self):
        bodies = [b'{"data":[' + b"0," * (size // 2) + b"0]}"
                  for size in (100, 1000, 5000, 20000, 70000, 200000, 500000)]
        self.flood("/", "/=sleep:5ms", bodies, times=5 if SLOW else 8 if FEW else 40)

    def test_of_many_workers(self):
        self.flood("/", "/=sleep:5ms", [ARRAY, b'{"data":[' + b"0," * 30000 + b"0]}"], workers=50)

    def test_of_long_strings(self):
        body = b'{"data":"' + b"s" * (MIB - 20) + b'"}'
        self.flood("/", "/=sleep:5ms", [body])

    @measured
    def test_the_smallest_budget_serves_small_jobs(self):
        daemon = self.start(MEMORY_BUDGET="16MiB", HANDLERS="/=sleep:1ms", WORKERS=4, LOOPS=2)
        with Sampler(daemon) as sampler:
            small = Posters(daemon, 8, 50, "/", [b'{"data":[1,2,3]}'])
            self.assertEqual(small.join(), {"ok": 400})
            large = Posters(daemon, 8, 20, "/", [ARRAY])
            replies = large.join()
        self.assertEqual(large.wrong, [])
        self.assertEqual(set(replies), {"memory-pressure"})
        self.assert_stays_below(daemon, sampler, 16 * MIB)
        self.eventually(lambda: daemon.post('{"data": 1}').status == 200, "a small job")

    def test_slow_uploads_cannot_exceed_it(self):
        budget = BUDGET
        daemon = self.start(MEMORY_BUDGET="%dMiB" % budget, LOOPS=2, READ_TIMEOUT="60s")
        start = daemon.resident_bytes()
        request = post_bytes(ARRAY)
        refused = 0
        with Sampler(daemon) as sampler:
            clients = [daemon.client() for _ in range(200)]
            for part in range(10):  # all but the last byte, in steps
                piece = request[part * len(request) // 10:(part + 1) * len(request) // 10]
                for client in clients:
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        client.send(piece[:-1] if part == 9 else piece)
            time.sleep(1)
            # Health and metrics are answered throughout.
            self.assertEqual(daemon.get("/health").status, 200)
            metrics = daemon.metrics()
            self.assertLessEqual(metrics["memory_used_mb"], budget)
            self.assertGreater(metrics["connections"]["reading"], 10)
            for client in clients:
                if select.select([client.sock], [], [], 0)[0]:
                    reply = client.read_reply()
                    self.assertEqual(reply.problem(), "memory-pressure")
                    self.assertTrue(reply.closes())
                    refused += 1
                client.close()
        if not SLOW:
            self.assertGreater(refused, 50)
            self.assert_stays_below(daemon, sampler, budget * MIB)
        self.assertEqual(self.posted_eventually(daemon), 200)
        self.assert_goes_back(daemon, start, 6 * MIB)

    def spend(self, daemon, held):
        """Adds uploads that stop half way, until one more is refused."""
        refused = daemon.metrics()["requests_rejected"]
        while daemon.metrics()["requests_rejected"] == refused:
            held.append(daemon.client())
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                held[-1].send(BLANKS[:50000])
            self.assertLess(len(held), 2000)

    def test_new_connections_are_answered_when_it_is_spent(self):
        """As many as need memory for their own records: each learns why it is refused."""
        daemon = self.start(MEMORY_BUDGET="16MiB", LOOPS=1, WORKERS=1, READ_TIMEOUT="5m",
                            MIN_UPLOAD_RATE=0)
        held = []
        self.spend(daemon, held)
        admitted = 0
        for i in range(1200):
            client = daemon.client()
            held.append(client)
            if i % 2 == 0:
                self.assertEqual(client.ask("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").status, 200)
                continue
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.send(BLANKS)
            problem = client.read_reply().problem()
            if problem != "memory-pressure":
                # A body that is read in two pieces is moved, and needs room
                # for more than one that is read at once.
                self.assertEqual(problem, "bad-json")
                admitted += 1
                self.spend(daemon, held)
        self.assertLess(admitted, 60)
        for client in held:
            client.close()

    def posted_eventually(self, daemon):
        return self.eventually(
            lambda: (lambda reply: reply.status == 200 and 200)(daemon.post(ARRAY)), "room")

    def test_readers_that_take_nothing_cannot_exceed_it(self):
        budget = BUDGET
        daemon = self.start(MEMORY_BUDGET="%dMiB" % budget, LOOPS=2, WRITE_TIMEOUT="3s",
                            MAX_BODY_SIZE="8MiB")
        start = daemon.resident_bytes()
        request = post_bytes(b'{"data":"' + b"r" * (7 * MIB) + b'"}')
        with Sampler(daemon) as sampler:
            clients = []
            for _ in range(40):
                client = daemon.client(rcvbuf=4096)
                clients.append(client)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.send(request)
            time.sleep(0.5)
            metrics = daemon.metrics()
            self.assertGreater(metrics["connections"]["writing"], 0)
            self.assertEqual(daemon.get("/health").status, 200)
            for client in clients:
                client.close()
        if not SLOW:
            self.assert_stays_below(daemon, sampler, budget * MIB)
        self.assertEqual(self.posted_eventually(daemon), 200)
        self.assert_goes_back(daemon, start, 6 * MIB)


class Connections(MemoryCase):
    COUNT = 10000
    MOST = 400  # bytes for one that is idle

    def private_dirty(self, daemon):
        with open("/proc/%d/smaps_rollup" % daemon.pid) as rollup:
            for line in rollup:
                if line.startswith("Private_Dirty:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no Private_Dirty")

    def settled(self, daemon):
        """What it has when it has been quiet for a moment."""
        time.sleep(1.5)
        return self.private_dirty(daemon)

    def fill(self, daemon, number):
        """So many that have each had one reply, a new address each thousand."""
        clients = []
        for i in range(self.COUNT):
            sock = socket.socket()
            clients.append(sock)
            sock.bind(("127.0.0.%d" % (2 + i // 1000 + 20 * number), 0))
            sock.connect(("127.0.0.1", daemon.port))
            sock.sendall(get_bytes())
            if len(clients) >= 100:
                self.assertTrue(clients[i - 99].recv(4096).startswith(b"HTTP/1.1 200 "))
        for sock in clients[-99:]:
            self.assertTrue(sock.recv(4096).startswith(b"HTTP/1.1 200 "))
        return clients

    def tearDown(self):
        for sock in getattr(self, "socks", ()):
            sock.close()

    @measured
    def test_an_idle_one_costs_little_and_what_it_cost_comes_back(self):
        daemon = self.start(LOOPS=4, WORKERS=2, MAX_CONNECTIONS=self.COUNT + 100)
        with daemon.client() as first:
            first.ask(get_bytes())
        empty = self.settled(daemon)
        start = daemon.resident_bytes()
        for cycle in range(2):
            self.socks = self.fill(daemon, cycle)
            full = self.settled(daemon)
            self.assertEqual(daemon.metrics()["connections"]["idle"], self.COUNT + 1)
            each = (full - empty) / self.COUNT
            self.assertLessEqual(each, self.MOST)
            for sock in self.socks:
                sock.close()
            self.eventually(lambda: daemon.metrics()["active_connections"] == 1)
            self.assert_goes_back(daemon, start, MIB)
            self.assertLess(self.settled(daemon) - empty, MIB // 2)

    @measured
    def test_the_start_costs_little_whatever_the_limits(self):
        for most in (10, 100000, 100000000):
            daemon = self.start(MAX_CONNECTIONS=most)
            self.assertLessEqual(self.private_dirty(daemon), 8 * MIB)

    @measured
    def test_a_peak_of_jobs_goes_back(self):
        daemon = self.start(LOOPS=2, WORKERS=2, HANDLERS="/=echo")
        start = daemon.resident_bytes()
        body = b'{"data":"' + b"p" * 30000 + b'"}'
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(daemon.client()) for _ in range(2000)]
            for client in clients:
                client.send(post_bytes(body)[:-1])
            self.eventually(lambda: daemon.metrics()["connections"]["reading"] == 2000)
            self.assertGreater(daemon.resident_bytes(), start + 2000 * 30000)
            for client in clients:
                client.send(b"}")
            for client in clients:
                self.assertEqual(client.read_reply().status, 200)
        self.assert_goes_back(daemon, start, 6 * MIB)


if __name__ == "__main__":
    harness.main()
