# ctest: timeout=240 cores=2 builds=release,tsan slow
"""Loops have their share of the connections: by their own listeners, among which
the kernel chooses, and by listeners that a service manager handed over, at which
all of them wait.
"""

import contextlib
import os
import random
import resource
import signal
import socket
import threading
import time
import unittest

import harness
from harness import BUILD, FEW, LATE, get_bytes

# In this process, both ends of it.
soft, HARD = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (HARD, HARD))

MANY = min(10000, HARD - 500 if HARD > 0 else 10000)
FEWER = 4000 if not FEW else 1600
EVEN = 1.2  # the most that one loop has, over the least


def listen(address="127.0.0.1", port=0, reuse=False, backlog=4096):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((address, port))
    sock.listen(backlog)
    return sock


def listen_alike(count):
    """Listeners at one address, as several units with ReusePort= have."""
    first = listen(reuse=True)
    return [first] + [listen(port=first.getsockname()[1], reuse=True)
                      for _ in range(count - 1)]


class Case(harness.TestCase):
    def listeners(self, listeners):
        for listener in listeners:
            self.addCleanup(listener.close)
        return listeners

    def shared(self, loops, **settings):
        """A daemon whose loops wait at one listener."""
        listener, = self.listeners([listen()])
        return self.start(inherit=[listener], LOOPS=loops, **settings)

    def connect(self, daemon, **kwargs):
        sock = daemon.connect(**kwargs)
        self.addCleanup(sock.close)
        return sock

    def loops(self, daemon):
        return daemon.metrics()["loops"]

    def accepted(self, daemon, count):
        """Waits until the daemon has them all; gives them loop by loop."""
        def all_are_in():
            found = [loop["connections"] for loop in self.loops(daemon)]
            return sum(found) >= count + 1 and found  # and the one that asks
        return self.eventually(all_are_in, "%d connections" % count)

    def assert_even(self, found, what=""):
        self.assertLessEqual(max(found), EVEN * min(found), "%s %s" % (what, found))

    def ask(self, sock):
        sock.sendall(get_bytes())
        self.assertIn(b"200 OK", sock.recv(4096))


class OwnListeners(Case):
    def test_many_connections_are_spread_evenly(self):
        """By hashing alone: a ratio of 1.2 is some 6 standard deviations away."""
        for loops in (2, 4, 8):
            daemon = self.start(LOOPS=loops)
            socks = [self.connect(daemon) for _ in range(MANY)]
            found = self.accepted(daemon, MANY)
            self.assert_even(found, "LOOPS=%d" % loops)
            for sock in socks[::10]:
                self.ask(sock)
            for loop, connections in zip(self.loops(daemon), found):
                self.assertGreaterEqual(loop["accepted"], connections)
                # Of each ten of its own, give or take.
                self.assertGreater(loop["requests"], connections // 20)
            for sock in socks:
                sock.close()

    def test_few_source_addresses_do_no_harm(self):
        daemon = self.start(LOOPS=8)
        for i in range(MANY):
            self.connect(daemon, source="127.0.0.%d" % (2 + i % 3))
        self.assert_even(self.accepted(daemon, MANY))


class OneListener(Case):
    def test_many_connections_are_spread_evenly(self):
        for loops in (2, 4, 8):
            daemon = self.shared(loops)
            socks = [self.connect(daemon) for _ in range(MANY)]
            self.assert_even(self.accepted(daemon, MANY), "LOOPS=%d" % loops)
            for sock in socks:
                sock.close()

    def test_in_a_table_of_all_loops_too(self):
        daemon = self.shared(4, PRIVATE_FD_TABLES="off")
        for _ in range(FEWER):
            self.connect(daemon)
        self.assert_even(self.accepted(daemon, FEWER))

    def test_connections_that_come_one_by_one_are_spread_evenly(self):
        """For each of them all loops sleep, and the kernel would always wake the
        same one. Each is answered before the next one comes."""
        for loops in (2, 4, 8):
            daemon = self.shared(loops)
            slowest = 0
            for _ in range(FEWER):
                begun = time.monotonic()
                self.ask(self.connect(daemon))
                slowest = max(slowest, time.monotonic() - begun)
            self.assertLess(slowest, LATE)
            found = self.loops(daemon)
            self.assert_even([loop["connections"] for loop in found], "LOOPS=%d" % loops)
            self.assert_even([loop["requests"] for loop in found], "LOOPS=%d" % loops)

    def test_a_crowd_in_the_backlog_is_spread_evenly(self):
        """All of them wait when the loops come to look."""
        daemon = self.shared(4)
        count = 2000
        daemon.signal(signal.SIGSTOP)
        for _ in range(count):
            self.connect(daemon)
        daemon.signal(signal.SIGCONT)
        self.assert_even(self.accepted(daemon, count))

    def test_it_stays_even_while_connections_come_and_go(self):
        chance = random.Random(1)
        daemon = self.shared(4)
        socks = [self.connect(daemon) for _ in range(FEWER)]
        self.accepted(daemon, FEWER)
        for turn in range(4):
            for _ in range(FEWER):
                i = chance.randrange(len(socks))
                socks[i].close()
                socks[i] = self.connect(daemon)
            self.ask(socks[-1])
            self.eventually(lambda: daemon.metrics()["active_connections"] == FEWER + 1,
                            "closed connections")
            self.assert_even(self.accepted(daemon, FEWER), "turn %d" % turn)

    def test_after_one_loops_connections_have_gone_new_ones_go_there(self):
        """Whose is whose shows by asking, since a loop counts its requests."""
        daemon = self.shared(4)
        socks = [self.connect(daemon) for _ in range(FEWER)]
        self.accepted(daemon, FEWER)
        found = self.loops(daemon)
        with self.client(daemon) as witness:
            def requests():
                loops = witness.ask(get_bytes("/metrics")).json()["loops"]
                return [loop["requests"] for loop in loops]

            before = requests()
            witnessed = [b - a for a, b in zip(before, requests())].index(1)
            victim = (witnessed + 1) % 4
            kept = []
            for sock in socks:
                last = requests()[victim]
                self.ask(sock)
                if requests()[victim] > last:
                    sock.close()
                else:
                    kept.append(sock)
        # Give or take those by which we asked.
        self.assertAlmostEqual(FEWER - len(kept), found[victim]["connections"], delta=3)
        self.accepted(daemon, len(kept))
        for _ in range(FEWER - len(kept)):
            self.connect(daemon)
        self.assert_even(self.accepted(daemon, FEWER))

    def test_a_fresh_connection_is_answered_at_once_whoever_rests(self):
        """Each time so many come or go that some loops rest, and then one comes
        alone: nothing else happens that could let somebody see it."""
        daemon = self.shared(4)
        chance = random.Random(2)
        socks = []
        slowest = 0
        for turn in range(60 if not FEW else 25):
            if turn % 3 == 2:
                chance.shuffle(socks)
                for sock in socks[:len(socks) // 2]:
                    sock.close()
                socks = socks[len(socks) // 2:]
            socks += [self.connect(daemon) for _ in range(chance.randrange(90))]
            time.sleep(0.01 * (turn % 2))
            begun = time.monotonic()
            sock = self.connect(daemon)
            self.ask(sock)
            slowest = max(slowest, time.monotonic() - begun)
            socks.append(sock)
        self.assertLess(slowest, LATE)

    def test_clients_that_come_and_go_in_crowds_are_all_answered(self):
        """From several threads, so that loops rest, are asked and come back all
        the time, many at the same time."""
        daemon = self.shared(8)
        troubles = []

        def come_and_go(seed):
            chance = random.Random(seed)
            held = []
            try:
                for _ in range(1200 if not FEW else 300):
                    begun = time.monotonic()
                    sock = daemon.connect()
                    sock.sendall(get_bytes())
                    if not sock.recv(4096).startswith(b"HTTP/1.1 200 "):
                        troubles.append("no answer")
                    if time.monotonic() - begun > LATE:
                        troubles.append("%.1f s" % (time.monotonic() - begun))
                    held.append(sock)
                    while len(held) > chance.randrange(1, 300):
                        held.pop(chance.randrange(len(held))).close()
            except OSError as error:
                troubles.append(repr(error))
            for sock in held:
                sock.close()

        threads = [threading.Thread(target=come_and_go, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(troubles, [])

    @unittest.skipIf(BUILD == "tsan", "the thread sanitizer has a thread that wakes")
    def test_nobody_wakes_for_nothing(self):
        """Idle loops stay asleep, also those that rest."""
        daemon = self.shared(4)
        for _ in range(500):
            self.ask(self.connect(daemon))
        time.sleep(0.3)
        before = daemon.threads()
        time.sleep(2)
        for task, (name, switches) in daemon.threads().items():
            self.assertLess(switches - before[task][1], 12, name)

    def test_who_is_beyond_max_connections_is_told_by_whoever_is_awake(self):
        daemon = self.shared(4, MAX_CONNECTIONS=200)
        socks = [self.connect(daemon) for _ in range(200)]
        for sock in socks:
            self.ask(sock)  # so they are in, and not one that comes later
        for _ in range(300):
            with daemon.client() as client:
                reply = client.read_reply()
                self.assertEqual(reply.problem(), "too-many-connections")
        for sock in socks:
            self.ask(sock)
            sock.close()
        self.eventually(lambda: daemon.get("/health").status == 200)


class SeveralListeners(Case):
    def open_fds(self, daemon):
        """In all tables of the daemon: two with the same entries are one."""
        tables = set()
        for task in os.listdir("/proc/%d/task" % daemon.pid):
            folder = "/proc/%d/task/%s/fd" % (daemon.pid, task)
            entries = set()
            for number in os.listdir(folder):
                with contextlib.suppress(FileNotFoundError):
                    entries.add((number, os.readlink(os.path.join(folder, number))))
            tables.add(frozenset(entries))
        return sum(len(table) for table in tables)

    def test_descriptors_are_all_counted(self):
        """What /metrics says is what the kernel shows, for any number of loops
        and listeners."""
        for loops, count, alike in ((1, 1, False), (1, 3, False), (2, 1, False), (3, 2, False),
                                    (2, 2, True), (2, 4, True), (2, 3, True)):
            for tables in (("on", "off") if BUILD != "tsan" else ("off",)):
                with self.subTest(LOOPS=loops, listeners=count, alike=alike, tables=tables):
                    listeners = self.listeners(
                        listen_alike(count) if alike else [listen() for _ in range(count)])
                    daemon = self.start(inherit=listeners, LOOPS=loops,
                                        PRIVATE_FD_TABLES=tables)
                    with self.client(daemon) as client:
                        said = client.ask(get_bytes("/metrics")).json()["open_fds"]
                        if BUILD in ("release", "debug"):  # sanitizers open some
                            self.assertEqual(said, self.open_fds(daemon))
                    self.assertEqual(daemon.stop(), 0)

    def test_each_is_served_however_many_there_are(self):
        for loops, count in ((1, 3), (4, 2), (3, 4), (2, 5)):
            with self.subTest(LOOPS=loops, listeners=count):
                listeners = self.listeners([listen() for _ in range(count)])
                daemon = self.start(inherit=listeners, LOOPS=loops)
                for listener in listeners * 3:
                    daemon.port = listener.getsockname()[1]
                    self.assertEqual(daemon.get("/health").status, 200)
                self.assertEqual(daemon.start_line()["inherited"], count)

    def test_all_loops_have_their_share_of_the_one_that_is_used(self):
        listeners = self.listeners([listen(), listen()])
        daemon = self.start(inherit=listeners, LOOPS=4)
        daemon.port = listeners[1].getsockname()[1]
        for _ in range(FEWER):
            self.ask(self.connect(daemon))
        self.assert_even(self.accepted(daemon, FEWER))

    def test_with_one_for_each_loop_the_kernel_chooses(self):
        listeners = self.listeners(listen_alike(4))
        daemon = self.start(inherit=listeners, LOOPS=4)
        socks = [self.connect(daemon) for _ in range(MANY)]
        self.assert_even(self.accepted(daemon, MANY))
        for sock in socks[::50]:
            self.ask(sock)

    def test_alike_but_not_as_many_as_loops(self):
        for loops, count in ((4, 3), (2, 3)):
            with self.subTest(LOOPS=loops, listeners=count):
                listeners = self.listeners(listen_alike(count))
                daemon = self.start(inherit=listeners, LOOPS=loops)
                for _ in range(FEWER):
                    self.connect(daemon)
                self.assert_even(self.accepted(daemon, FEWER))

    def test_ipv6_and_ipv4(self):
        try:
            listeners = self.listeners([listen("::1"), listen()])
        except OSError:
            self.skipTest("no IPv6 here")
        daemon = self.start(inherit=listeners, LOOPS=2)
        for listener in listeners:
            with socket.create_connection(listener.getsockname()[:2],
                                          timeout=harness.PATIENCE) as sock:
                self.ask(sock)
        self.assertRegex(daemon.output(), r'"listener":"\[::1\]:\d+","fd":3')
        self.assertRegex(daemon.output(), r'"listener":"127.0.0.1:\d+","fd":4')


class OutOfDescriptors(Case):
    def exhaust(self, tables):
        daemon = self.shared(3, PRIVATE_FD_TABLES=tables, max_fds=64, WORKERS=2)
        if daemon.start_line()["fd_tables"] != ("private" if tables == "on" else "shared"):
            self.skipTest("no private descriptor tables here")
        for turn in range(3):
            socks = [self.connect(daemon) for _ in range(300)]
            served, refused = [], 0
            for sock in socks:
                sock.sendall(get_bytes())
            for sock in socks:
                reply = harness.Client(sock).read_reply()
                self.assertIsNotNone(reply, "closed without a word")
                if reply.status == 200:
                    served.append(sock)
                else:
                    self.assertEqual(reply.problem(), "no-descriptors")
                    refused += 1
            self.assertGreater(len(served), 15)
            self.assertGreater(refused, 50)
            # Those who come while it is full are told so without anybody else's
            # help, and when places are free they are served.
            with daemon.client() as client:
                self.assertEqual(client.read_reply().problem(), "no-descriptors")
            for sock in socks:
                sock.close()
            self.eventually(lambda: daemon.get("/health").status == 200)
            self.eventually(lambda: daemon.metrics()["active_connections"] == 1)

    @unittest.skipIf(BUILD == "tsan", "the thread sanitizer knows descriptors by number")
    def test_it_says_no_and_recovers_with_private_tables(self):
        self.exhaust("on")

    def test_it_says_no_and_recovers_with_one_table(self):
        self.exhaust("off")


if __name__ == "__main__":
    harness.main()
