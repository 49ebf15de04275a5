# ctest: timeout=180 cores=2 builds=release,asan,tsan slow
"""Clients that do everything wrong at once, on a daemon with tight limits.

Each step picks a connection and does something to it by chance: sends whole,
broken, cut or pipelined requests, reads a little or nothing, closes one side,
leaves, or resets. What matters is what is left behind: no connection got a
reply that belongs to another one, every request was counted once and ended
once, nothing is open, and the memory is back.

The steps follow from the seed; when they meet the daemon's threads does not.
HAMMER_SECONDS and HAMMER_SEED in the environment give other lengths and seeds.
"""

import os
import random
import re
import signal
import socket
import time

import harness
from harness import get_bytes, post_bytes

SECONDS = float(os.environ.get("HAMMER_SECONDS", "4"))
SEED = int(os.environ.get("HAMMER_SEED", "1"))
SLOTS = 96

PATHS = ("/", "/s", "/p", "/health", "/readyz", "/metrics", "/metrics?format=prometheus",
         "/problems/queue-full", "/nothing", "/%2f", "http://x/s", "http://x")
BROKEN = (b"GET / HTTP/1.1\r\n\r\n", b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00",
          b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
          b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
          b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
          b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n",
          b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
          b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"b" * 5000 + b"\r\n\r\n",
          b"\r\n\r\n", b"\n", b"\0")


class Slot:
    """A connection, as long as it lasts; the next one gets another name."""

    def __init__(self, number):
        self.name = "n%d-" % number
        self.sock = None
        self.unsent = b""
        self.tail = b""
        self.fresh = True


class Hammer:
    def __init__(self, daemon, seed):
        self.daemon = daemon
        self.random = random.Random(seed)
        self.made = 0
        self.wrong = []
        self.slots = [self.new_slot() for _ in range(SLOTS)]

    def new_slot(self):
        self.made += 1
        return Slot(self.made)

    # --- What is sent.

    def body(self):
        chance = self.random
        kind = chance.randrange(8)
        if kind == 0:
            return b"{nonsense"
        if kind == 1:
            return b"[1, 2]"
        if kind < 6: # about as large as what a request's record holds
            return b'{"data": "%s"}' % (b"x" * chance.randrange(900))
        size = chance.choice((4000, 5000, 17000, 70000, 200000))
        return b'{"data": "%s"}' % (b"y" * chance.randrange(size - 999, size))

    def request(self, slot):
        chance = self.random
        kind = chance.randrange(12)
        path = chance.choice(PATHS)
        fields = "X-Request-ID: %s%d\r\n" % (slot.name, chance.randrange(1000))
        if chance.randrange(10) == 0:
            fields += "Connection: close\r\n"
        if chance.randrange(10) == 0:
            fields += "Expect: 100-continue\r\n"
        if kind < 4:
            return get_bytes(path, fields)
        if kind < 8:
            return post_bytes(self.body(), path, fields)
        if kind == 8:
            body = self.body()
            cut = chance.randrange(len(body))
            parts = [part for part in (body[:cut], body[cut:]) if part]
            return (("POST %s HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n"
                     % (path, fields)).encode() +
                    b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) +
                    b"0\r\n\r\n")
        if kind == 9:
            return ("%s %s HTTP/1.%d\r\nHost: x\r\n%s\r\n" % (
                chance.choice(("HEAD", "OPTIONS", "DELETE", "GET")), path,
                chance.randrange(2), fields)).encode()
        if kind == 10:
            return b"".join(get_bytes(chance.choice(("/health", "/metrics", "/")), fields)
                            for _ in range(chance.choice((3, 30, 300))))
        return chance.choice(BROKEN)

    # --- What is done.

    def end(self, slot, reset):
        if reset:
            harness.Client(slot.sock).reset()
        else:
            slot.sock.close()
        slot.sock = None
        self.slots[self.slots.index(slot)] = self.new_slot()

    def open(self, slot):
        slot.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        slot.sock.setblocking(False)
        if self.random.randrange(3) == 0:
            slot.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slot.sock.connect_ex(("127.0.0.1", self.daemon.port))

    def push(self, slot):
        try:
            sent = slot.sock.send(slot.unsent)
            slot.unsent = slot.unsent[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.end(slot, False)

    def read(self, slot, most):
        try:
            data = slot.sock.recv(most)
        except BlockingIOError:
            return
        except OSError:
            self.end(slot, False)
            return
        if slot.fresh and data and not b"HTTP/1.1 ".startswith(data[:9]):
            self.wrong.append((slot.name, data[:200]))
        slot.fresh = slot.fresh and not data
        text = slot.tail + data
        for name in re.findall(rb"X-Request-ID: (n\d+-)", text):
            if name.decode() != slot.name:
                self.wrong.append((slot.name, name))
        slot.tail = text[-40:]
        if not data:
            self.end(slot, False)

    def step(self):
        chance = self.random
        slot = chance.choice(self.slots)
        if slot.sock is None:
            self.open(slot)
        what = chance.randrange(24)
        if what < 8:
            if len(slot.unsent) < 100000:
                data = self.request(slot)
                if chance.randrange(6) == 0:
                    data = data[:chance.randrange(len(data) + 1)]
                slot.unsent += data
            self.push(slot)
        elif what < 20:
            if slot.unsent:
                self.push(slot)
            if slot.sock is not None:
                self.read(slot, chance.choice((10, 1000, 65536)))
        elif what == 20:
            try:
                slot.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            slot.unsent = b""
        elif what == 21 and slot.unsent == b"":
            # A whole request and an end that the daemon finds together.
            slot.unsent = self.request(slot)
            self.push(slot)
            if slot.sock is not None:
                self.end(slot, chance.randrange(2) == 0)
        elif what == 22:
            self.end(slot, chance.randrange(2) == 0)

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.daemon.process.poll() is None:
            for _ in range(50):
                self.step()

    def leave(self):
        for slot in list(self.slots):
            if slot.sock is not None:
                self.end(slot, self.random.randrange(2) == 0)


class HammerTest(harness.TestCase):
    def check(self, seed, **settings):
        defaults = dict(HANDLERS="/=echo /s=sleep:3ms /p=spin:1ms", WORKERS=1, QUEUE_SIZE=2,
                        LOOPS=3, MEMORY_BUDGET="64MiB", READ_TIMEOUT="300ms",
                        WRITE_TIMEOUT="300ms", IDLE_TIMEOUT="500ms", QUEUE_TIMEOUT="20ms",
                        MAX_HEADER_SIZE="4KiB", MAX_BODY_SIZE="128KiB", SHUTDOWN_TIMEOUT="5s")
        defaults.update(settings)
        if harness.SLOW: # whose own memory is more than that
            defaults["MEMORY_BUDGET"] = "1GiB"
        daemon = self.start(**defaults)
        hammer = Hammer(daemon, seed * 1000003 + SEED)
        # What the loops and workers keep once they had work.
        kept = 4 * 64 * 1024 * (defaults["LOOPS"] + defaults["WORKERS"])
        before = daemon.metrics()["memory_used_mb"]
        try:
            hammer.run(SECONDS)
        finally:
            hammer.leave()
        self.assertIsNone(daemon.process.poll(), daemon.output())
        self.assertEqual(hammer.wrong, [])
        metrics = self.eventually(lambda: self.is_quiet(daemon), "quiet")
        self.assertEqual(metrics["total_requests"], metrics["completed_requests"] +
                         metrics["error_count"] + metrics["cancelled_requests"] + 1)
        self.assertLess((metrics["memory_used_mb"] - before) * 2**20, kept)
        for handler in metrics["handlers"]:
            self.assertGreater(handler["ok"], 0)
        return daemon

    @staticmethod
    def is_quiet(daemon):
        """The figures, once the connection that asks for them is the only one."""
        reply = daemon.get("/metrics")
        if reply is None or reply.status != 200: # refused: not all have left
            return None
        metrics = reply.json()
        quiet = (metrics["active_connections"] == 1 and metrics["queue_depth"] == 0 and
                 metrics["workers_busy"] == 0 and sum(metrics["connections"].values()) == 1)
        return metrics if quiet else None

    def test_tight_queue(self):
        self.check(1)

    def test_no_patience_and_half_closed_clients_served(self):
        self.check(2, JOB_TIMEOUT="2ms", HALF_CLOSE="serve", WORKERS=2, QUEUE_SIZE=8)

    def test_few_connections_and_little_memory(self):
        self.check(3, MAX_CONNECTIONS=60, LOOPS=2, MEMORY_BUDGET="24MiB", WORKERS=3)

    def test_few_descriptors(self):
        self.check(4, max_fds=64, LOOPS=1)

    def test_end_in_the_middle(self):
        """Drain, and the second signal that cuts it, while all goes on."""
        for seed, signals in ((5, 1), (6, 2)):
            daemon = self.start(HANDLERS="/=echo /s=sleep:20ms /p=spin:1ms", WORKERS=2, LOOPS=2,
                                QUEUE_SIZE=50, READ_TIMEOUT="500ms", SHUTDOWN_TIMEOUT="1s")
            hammer = Hammer(daemon, seed * 1000003 + SEED)
            try:
                hammer.run(SECONDS / 4)
                daemon.signal()
                hammer.run(0.2)
                if signals == 2:
                    daemon.signal(signal.SIGINT)
                self.assertEqual(daemon.wait(), 0, daemon.output())
            finally:
                hammer.leave()
            self.assertEqual(hammer.wrong, [])


class LeftBehind(harness.TestCase):
    """What a hammer hits too seldom."""

    def test_dead_jobs_of_other_loops_do_no_harm_to_strangers(self):
        """Jobs whose clients left fill the queue's ring, and whoever pushes next
        sends them home, to loops that sleep. With enough loops that their
        doorbells' numbers would be clients' numbers in each other's tables."""
        daemon = self.start(LOOPS=16, WORKERS=1, QUEUE_SIZE=2, HANDLERS="/s=sleep:2s",
                            QUEUE_TIMEOUT="0")
        strangers = [self.client(daemon) for _ in range(500)]
        worker, = self.occupy(daemon, 1, "/s")
        for _ in range(40):
            client = daemon.client()
            client.send(get_bytes("/s"))
            self.eventually(lambda: daemon.metrics()["queue_depth"] == 1, "a job that waits")
            client.close()
            self.eventually(lambda: daemon.metrics()["queue_depth"] == 0, "an empty queue")
        self.assertEqual(worker.read_reply().status, 200)
        self.assertEqual([s.sock.recv(100) for s in strangers if s.readable()], [])

    def test_client_leaves_while_what_it_sent_behind_its_job_is_answered(self):
        daemon = self.start(LOOPS=1, HANDLERS="/s=sleep:100ms", HALF_CLOSE="serve")
        for _ in range(3):
            client = daemon.client()
            client.send(get_bytes("/s") + get_bytes("/health") * 1200)
            client.close()
        self.eventually(lambda: daemon.metrics()["active_connections"] == 1, "their end")
        self.assertEqual(daemon.get("/health").status, 200)

    def test_request_whose_body_never_comes_counts_as_cancelled(self):
        daemon = self.start()
        client = daemon.client()
        client.send(post_bytes("[1, 2]")[:-1])
        self.eventually(lambda: daemon.metrics()["connections"]["reading"] == 1, "its head")
        client.close()
        self.eventually(lambda: daemon.metrics()["cancelled_requests"] == 1, "its end")
        metrics = daemon.metrics()
        self.assertEqual(metrics["total_requests"], metrics["completed_requests"] + 1 + 1)
        self.assertEqual(metrics["handlers"][0]["cancelled"], 0) # it was no job yet


if __name__ == "__main__":
    harness.main()
