# ctest: timeout=180 builds=release slow
"""Clients that are slow on purpose: thousands at once, each within its rights
for as long as the timeouts allow. They are ended on time, and nobody else
notices them."""

import time

import harness
import hostile
from harness import LATE, SLOW, get_bytes, post_bytes
from hostile import CHUNKED

REQUESTS = 100 if SLOW else 400  # of the good client, for each measurement
TIMEOUT = 4.0

# A deadline is never early by more than the slack of its timer.
EARLY = 0.1

# What the kernel may hold of a reply that nobody reads: what the daemon lets it
# have, one send above that, and what the client's own buffer takes.
UNREAD_MAX = 512 * 1024

# How each trickles: what comes at once, and what then drips without end.
TRICKLES = {
    "request line": dict(opening=b"", drip=b"GET"),
    "field line": dict(opening=b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", drip=b"y"),
    "fields": dict(opening=b"GET / HTTP/1.1\r\nHost: x\r\n", drip=b"X: y\r\n"),
    "body": dict(opening=post_bytes(b" " * 1000)[:-1000], drip=b" "),
    "large body": dict(opening=post_bytes(b" " * 1000000)[:-1000000], drip=b" "),
    "chunk size": dict(opening=CHUNKED, drip=b"000000000000001\r\n \r\n"),
    "one-byte chunks": dict(opening=CHUNKED, drip=b"1\r\n \r\n", step=6),
    "chunk extensions": dict(opening=CHUNKED + b"1", drip=b";a=b"),
    "trailers": dict(opening=CHUNKED + b"2\r\n{}\r\n0\r\n", drip=b"X: y\r\n"),
}

# Of each kind; all of them may be in one descriptor table of the daemon.
CROWD = min(150 if SLOW else 1200, (hostile.raise_fd_limit() - 300) // len(TRICKLES))


def percentile(times, part):
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


class GoodClient:
    """Asks for health and for jobs in turn, and takes the time of each. So it
    does at the same moments with a daemon that nobody attacks: what the machine
    is busy with, the attackers among it, weighs on both."""

    def __init__(self, test, daemon):
        self.test = test
        self.control = test.start(LOOPS=2, WORKERS=2)
        self.client = test.client(daemon)
        self.calm = test.client(self.control)
        self.times = []
        self.calm_times = []

    def measure(self, count=REQUESTS):
        end = time.monotonic() + 5
        for turn in range(count):
            if turn >= 20 and time.monotonic() > end:
                break  # slow as it is, enough to judge by
            request = get_bytes() if turn % 2 else post_bytes(b'{"data": 1}')
            for client, times in ((self.client, self.times), (self.calm, self.calm_times)):
                since = time.monotonic()
                client.send(request)
                reply = client.read_reply()
                times.append(time.monotonic() - since)
                self.test.assertEqual(reply.status, 200, reply)
            time.sleep(0.002)  # or it would only measure its own share of a core

    def finish(self):
        """The bounds are far above what is measured on a quiet machine, and far
        below what waiting for any of the attackers would give."""
        self.client.close()
        self.calm.close()
        for part, floor in ((0.5, 0.050), (0.99, 0.250)):
            bound = max(20 * percentile(self.calm_times, part), floor * (4 if SLOW else 1))
            self.test.assertLessEqual(percentile(self.times, part), bound, part)


class Slowloris(hostile.HostileCase):
    def test_good_clients_do_not_notice_thousands_that_trickle(self):
        daemon = self.start(LOOPS=2, WORKERS=2, READ_TIMEOUT="%ds" % TIMEOUT, QUEUE_SIZE=100)
        good = GoodClient(self, daemon)
        attacks = self.attacks(daemon, {name: dict(how, count=CROWD, interval=0.7)
                                        for name, how in TRICKLES.items()}).wait_open()
        reading = good.client.ask(get_bytes("/metrics")).json()["connections"]["reading"]
        self.assertGreater(reading, len(TRICKLES) * CROWD // 2)
        good.measure()

        def first_have_ended():  # and others have taken their places
            good.measure(REQUESTS // 4)
            refused = good.client.ask(get_bytes("/metrics")).json()["requests_rejected"]
            return sum(refused.values()) >= len(TRICKLES) * CROWD

        self.eventually(first_have_ended, "the end of those that came first")
        counts = attacks.stop()
        good.finish()
        for name, count in counts.items():
            with self.subTest(trickle=name):
                # Each that was ended was told so, in time; most were, by now.
                self.assertEqual(set(count["ended"]), {"408"}, count)
                ended, shortest, longest = count["ended"]["408"]
                self.assertGreaterEqual(ended, CROWD // 2)
                # The clock of a request starts with its first byte.
                self.assertGreaterEqual(shortest, TIMEOUT - EARLY)
                self.assertLessEqual(longest, TIMEOUT + 0.7 + LATE)
        metrics = self.check_after(daemon)
        refused = metrics["requests_rejected"]
        self.assertEqual(set(refused), {"header-timeout", "body-timeout"})

    def test_who_does_not_read_is_closed_and_others_do_not_notice(self):
        count = 100 if SLOW else 2000
        daemon = self.start(LOOPS=2, WORKERS=2, WRITE_TIMEOUT="2s", MAX_BODY_SIZE="8MiB",
                            IDLE_TIMEOUT="60s")
        good = GoodClient(self, daemon)
        # More replies than the sockets on both sides hold.
        attack = self.attack(daemon, count, opening=get_bytes("/metrics?format=prometheus") * 600,
                             reads=False, rcvbuf=4096, again=False)
        attack.wait_open()
        good.measure()
        unread = 0

        def all_ended():
            nonlocal unread
            unread = max([unread] + [bytes_ for _, bytes_ in hostile.kernel_sockets(daemon)])
            return self.closed(good) >= count

        self.eventually(all_ended, "the end of all readers")
        # What the kernel kept for them was bounded, and not by its own maximum.
        self.assertGreater(unread, 0)
        self.assertLessEqual(unread, UNREAD_MAX)
        self.assertEqual(self.closed(good), count)
        # And gone with them, though they still hold their end.
        left = [state for state, bytes_ in hostile.kernel_sockets(daemon)
                if state in (hostile.FIN_WAIT1, hostile.FIN_WAIT2) and bytes_ > 0]
        self.assertEqual(left, [])
        good.measure()
        good.finish()
        attack.stop()
        self.check_after(daemon)

    @staticmethod
    def closed(good):
        metrics = good.client.ask(get_bytes("/metrics")).json()
        return metrics["connections_closed"].get("write-timeout", 0)


if __name__ == "__main__":
    harness.main()
