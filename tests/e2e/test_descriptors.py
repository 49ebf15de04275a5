# ctest: timeout=180 builds=release,asan,tsan
"""Out of file descriptors: the daemon says no, and goes on."""

import os
import select
import time
import unittest

import harness
from harness import BUILD, SLOW, get_bytes

# What the sanitizers' runtimes hold open comes on top.
MAX_FDS = 64
BUSY = 0.5 * (3 if SLOW else 1)


class Crowd:
    """Clients that each sent a request, by what became of it."""

    def __init__(self):
        self.served = []
        self.refused = []
        self.waiting = []

    def look(self, seconds):
        """Sorts those that wait, until nothing was answered for so long."""
        quiet = time.monotonic() + seconds
        while self.waiting and time.monotonic() < quiet:
            ready = select.select([client.sock for client in self.waiting], [], [], 0.05)[0]
            for client in [one for one in self.waiting if one.sock in ready]:
                self.waiting.remove(client)
                reply = client.read_reply()
                assert reply is not None, "closed without a word"
                if reply.status == 200:
                    self.served.append(client)
                else:
                    assert reply.status == 503, reply
                    assert reply.problem() == "no-descriptors", reply
                    assert reply.closes() and int(reply.headers["retry-after"]) >= 1, reply
                    assert client.at_end()
                    client.close()
                    self.refused.append(client)
                quiet = time.monotonic() + seconds

    def close(self):
        for client in self.served + self.waiting:
            client.close()
        self.served, self.waiting = [], []


class DescriptorCase:
    TABLES = None

    def setUp(self):
        self.daemon = self.start(max_fds=MAX_FDS, PRIVATE_FD_TABLES=self.TABLES, LOOPS=3,
                                 WORKERS=2, MAX_CONNECTIONS=1000)
        if self.daemon.start_line()["fd_tables"] != ("private" if self.TABLES == "on" else "shared"):
            self.skipTest("no private descriptor tables here")
        self.crowd = Crowd()
        self.addCleanup(self.crowd.close)

    def come(self, count, request=get_bytes()):
        """So many at once: all connect, then all speak."""
        clients = [self.daemon.client() for _ in range(count)]
        for client in clients:
            client.send(request)
        self.crowd.waiting += clients

    def all_are_told(self):
        self.crowd.look(0.5)
        return not self.crowd.waiting

    def exhaust(self):
        self.come(400)
        self.eventually(self.all_are_told, "an answer for each of them")
        self.assertGreater(len(self.crowd.served), 15)
        self.assertGreater(len(self.crowd.refused), 100)
        return self.crowd

    def metrics(self):
        return self.crowd.served[0].ask(get_bytes("/metrics")).json()

    def assert_served_are_unharmed(self):
        for client in self.crowd.served:
            self.assertEqual(client.ask(get_bytes()).status, 200)
        for client in self.crowd.served[:10]:
            self.assertEqual(client.post(b'{"data": 1}').status, 200)

    def test_those_beyond_are_told_and_counted(self):
        crowd = self.exhaust()
        metrics = self.metrics()
        self.assertEqual(metrics["connections_rejected"].get("no-descriptors"), len(crowd.refused))
        self.assertEqual(metrics["connections_accepted"], len(crowd.served))
        self.assertEqual(metrics["connections"]["idle"], len(crowd.served))
        tables = 3 if self.TABLES == "on" else 1
        self.assertLessEqual(metrics["open_fds"], MAX_FDS * tables + 20)
        self.assertGreaterEqual(metrics["open_fds"], len(crowd.served))
        self.assert_served_are_unharmed()

    def test_those_who_say_nothing_are_told_as_well(self):
        self.exhaust()
        clients = [self.daemon.client() for _ in range(40)]
        for client in clients:
            reply = client.read_reply()
            self.assertEqual(reply.problem(), "no-descriptors")
            self.assertTrue(client.at_end())
            client.close()
        self.assert_served_are_unharmed()

    def test_established_ones_work_throughout(self):
        crowd = self.exhaust()
        for _ in range(10):
            self.come(30)
            self.assert_served_are_unharmed()
            crowd.look(0.2)
        self.assert_served_are_unharmed()

    def test_the_processor_rests_meanwhile(self):
        self.exhaust()
        self.come(20)  # some of which may go on waiting
        self.crowd.look(0.5)
        silent = [self.daemon.client() for _ in range(30)]
        time.sleep(0.3)  # a bound of what it uses, whatever it does before
        before = self.daemon.cpu_seconds()
        time.sleep(2)
        self.assertLess(self.daemon.cpu_seconds() - before, BUSY)
        for client in silent:
            client.close()

    def test_nobody_is_stranded_when_places_come_free(self):
        crowd = self.exhaust()
        for turn in range(3):
            # Those who came when it was full are answered without anybody else
            # knocking: at once, or when places come free.
            self.come(20)
            self.eventually(self.all_are_answered, "an answer to those who waited")
            # And newcomers are served as in the beginning.
            self.leave()
            before = len(crowd.served)
            self.come(8)
            self.eventually(self.all_are_told, "an answer for each newcomer")
            self.assertGreaterEqual(len(crowd.served), before + 1, "turn %d" % turn)
            self.exhaust()
        self.assert_served_are_unharmed()

    def leave(self):
        leaving, self.crowd.served = self.crowd.served[2:], self.crowd.served[:2]
        for client in leaving:
            client.close()
        self.eventually(lambda: self.metrics()["active_connections"]
                        <= len(self.crowd.served) + len(self.crowd.waiting))

    def all_are_answered(self):
        self.leave()
        return self.all_are_told()

    def descriptors(self):
        """What the kernel shows as open, for each thread: some share a table."""
        tasks = "/proc/%d/task" % self.daemon.pid
        return {task: len(os.listdir("%s/%s/fd" % (tasks, task))) for task in os.listdir(tasks)}

    def test_all_of_it_comes_back(self):
        before = self.descriptors()
        for _ in range(4):
            self.exhaust()
            self.crowd.close()
            self.eventually(lambda: self.daemon.get("/health").status == 200, "a place")
        self.eventually(lambda: self.daemon.metrics()["active_connections"] == 1)

        def closed():
            after = self.descriptors()
            return all(after[task] <= count for task, count in before.items())

        self.eventually(closed, "descriptors to be closed: %s" % before)


@unittest.skipIf(BUILD == "tsan", "the thread sanitizer knows descriptors by number")
class PrivateTables(DescriptorCase, harness.TestCase):
    TABLES = "on"


class SharedTable(DescriptorCase, harness.TestCase):
    TABLES = "off"


class TooFewToStart(harness.TestCase):
    def test_it_says_so_and_ends(self):
        ended = 0
        for max_fds in range(4, 40, 3):
            daemon = harness.Daemon(max_fds=max_fds, LOOPS=3, WORKERS=1, MAX_CONNECTIONS=1)
            self.addCleanup(daemon.close_log)
            try:
                daemon.wait_ready()
                self.assertEqual(daemon.stop(), 0, daemon.output())
            except AssertionError:
                self.assertGreater(daemon.wait(), 0, daemon.output())  # not by a signal
                self.assertNotEqual(daemon.output(), "")
                ended += 1
        self.assertGreater(ended, 0)


if __name__ == "__main__":
    harness.main()
