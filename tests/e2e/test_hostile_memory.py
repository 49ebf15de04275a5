# ctest: timeout=120 builds=release slow
"""The most memory that clients can make the daemon take: docs/limits.md gives the
formula, and here it is held against everything at once."""

import contextlib
import time
import unittest

import harness
import hostile
from harness import FEW, SLOW, get_bytes, post_bytes

KIB = 1 << 10
MIB = 1 << 20

measured = unittest.skipIf(SLOW, "a sanitizer's memory is not the daemon's")


def ceiling(settings):
    """What docs/limits.md calls R: the resident set, at most."""
    ring = 2
    while ring < 2 * (settings["QUEUE_SIZE"] + settings["WORKERS"]):
        ring *= 2
    return (settings["MEMORY_BUDGET"] + settings["MAX_CONNECTIONS"] * 1200 +
            settings["WORKERS"] * MIB + settings["LOOPS"] * 512 * KIB + ring * 16)


def head_of(size):
    """A header section so long, without its end."""
    start = b"GET / HTTP/1.1\r\nHost: x\r\n"
    return start + (b"X: " + b"y" * 95 + b"\r\n") * ((size - len(start)) // 100)


def upload(size, path="/"):
    """A request whose body lacks its last byte."""
    return post_bytes(b'{"data":"' + b"u" * (size - 11) + b'"}', path)[:-1]


def tree(size):
    """A body whose parse tree takes forty times as much."""
    return post_bytes(b'{"data":[' + b"0," * (size // 2) + b"0]}", "/sleep")


@measured
class Bound(hostile.HostileCase):
    SETTINGS = dict(MEMORY_BUDGET=32 * MIB, MAX_CONNECTIONS=2500, WORKERS=2, LOOPS=2,
                    QUEUE_SIZE=400)

    def begin(self, **more):
        settings = dict(self.SETTINGS, **more)
        settings["MEMORY_BUDGET"] = "%dB" % settings["MEMORY_BUDGET"]
        settings.setdefault("HANDLERS", "/=echo /sleep=sleep:5ms /spin=spin:50us")
        return self.start(**settings)

    @staticmethod
    def peak(daemon):
        """The largest resident set that the kernel has seen: no sample is missed."""
        with open("/proc/%d/status" % daemon.pid) as status:
            line = next(line for line in status if line.startswith("VmHWM:"))
        return int(line.split()[1]) * KIB

    def assert_bounded(self, daemon):
        peak, most = self.peak(daemon), ceiling(self.SETTINGS)
        self.assertLessEqual(peak, most, "%.1f MiB, and not %.1f" % (peak / MIB, most / MIB))
        # Or it was no attack.
        self.assertGreater(peak, self.SETTINGS["MEMORY_BUDGET"] * 3 // 4)

    def test_everything_at_once(self):
        daemon = self.begin(READ_TIMEOUT="2s", WRITE_TIMEOUT="2s", IDLE_TIMEOUT="60s",
                            QUEUE_TIMEOUT="1s")
        many = dict(again=True)
        good = self.client(daemon)  # while there is room
        self.assertEqual(good.ask(get_bytes()).status, 200)
        attacks = self.attacks(daemon, {
            # They stay, so that however slowly the others come the house gets full.
            "silent": dict(many, count=1500),
            "headers": dict(many, count=300, opening=head_of(15 * KIB)),
            "headers in drips": dict(many, count=100, opening=head_of(KIB), drip=b"X: y\r\n",
                                     step=300, interval=0.05),
            "small bodies": dict(many, count=400, opening=upload(2 * KIB)),
            "medium bodies": dict(many, count=150, opening=upload(100 * KIB)),
            "large bodies": dict(many, count=30, opening=upload(MIB - KIB)),
            "bodies in drips": dict(many, count=50, opening=upload(MIB - KIB)[:300], drip=b"u",
                                    step=20000, interval=0.05),
            "chunks": dict(many, count=50, opening=b"POST / HTTP/1.1\r\nHost: x\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n", drip=b"1\r\n \r\n", step=6000,
                           interval=0.05),
            "trees": dict(many, count=10, drip=tree(200 * KIB), step=64 * KIB, interval=0.02),
            "deep trees": dict(many, count=5, interval=0.02, step=4000, drip=post_bytes(
                b'{"data":' + b"[" * 511 + b"]" * 511 + b"}", "/spin")),
            "jobs": dict(many, count=300, opening=get_bytes("/sleep")),
            "jobs that leave": dict(many, count=50, opening=get_bytes("/sleep"), hold=False,
                                    reset=True),
            "echoes that nobody reads": dict(many, count=40, reads=False, rcvbuf=4096,
                                             drip=post_bytes(b'{"data":"' + b"e" * 50000 + b'"}'),
                                             step=64 * KIB, interval=0.02),
            "pages that nobody reads": dict(many, count=40, reads=False, rcvbuf=4096, opening=(
                get_bytes("/metrics?format=prometheus") * 300)),
            "more than may connect": dict(many, count=1000, opening=b"G"),
        })
        end = time.monotonic() + 7
        while time.monotonic() < end:
            self.assertEqual(good.ask(get_bytes()).status, 200)
            time.sleep(0.01)
        good.close()
        attacks.stop()
        self.assert_bounded(daemon)
        refused = self.check_after(daemon)["requests_rejected"]
        reasons = ["memory-pressure", "header-timeout", "body-timeout"]
        if not FEW:  # a crowd may need longer to come together than we look
            reasons.append("too-many-connections")
        for reason in reasons:
            self.assertGreater(refused.get(reason, 0), 0, refused)

    def fragment(self, large, small):
        """Blocks that are freed between others that stay are not given back to
        the kernel; as many bytes again are asked for, in another size, before
        anybody can have looked."""
        daemon = self.begin(READ_TIMEOUT="60s", MIN_UPLOAD_RATE="0")
        pairs = self.SETTINGS["MEMORY_BUDGET"] * 8 // 10 // (large + small)
        pairs = min(pairs, self.SETTINGS["MAX_CONNECTIONS"] // 2 - 100)
        leaving, staying, coming = [], [], []
        for _ in range(pairs):
            for crowd, size in ((leaving, large), (staying, small)):
                client = self.client(daemon)
                client.send(upload(size))
                crowd.append(client)
        self.eventually(lambda: daemon.metrics()["connections"]["reading"] >= 2 * pairs * 9 // 10,
                        "uploads to wait")
        for client in leaving:
            client.close()
        request = upload(MIB - KIB)
        for _ in range(self.SETTINGS["MEMORY_BUDGET"] // MIB + 5):
            client = self.client(daemon)
            coming.append(client)
            with contextlib.suppress(OSError):  # refused in the middle of it
                client.send(request)
        time.sleep(0.5)
        for client in staying + coming:
            client.close()
        self.assert_bounded(daemon)
        self.check_after(daemon)

    def test_of_freed_pieces_is_nothing_given_twice(self):
        for large, small in ((100000, 2000), (30000, 1500)):
            with self.subTest(large=large, small=small):
                self.fragment(large, small)

    def wait_for_uploads(self, daemon, count):
        self.eventually(lambda: daemon.metrics()["connections"]["reading"] >= count,
                        "uploads to wait")

    def test_room_that_is_not_written_hides_nothing(self):
        """Uploads get room for what they announce and write none of it, while as
        much lies free and resident between blocks that stay: to who compares the
        sum of both with what was asked for, nothing is amiss. Then all the rest
        of the budget is taken, and at last the room is written."""
        daemon = self.begin(READ_TIMEOUT="60s", MIN_UPLOAD_RATE="0")
        part = self.SETTINGS["MEMORY_BUDGET"] * 4 // 10
        room, large, small = 65000, 30000, 1500
        opening = upload(room)[:200]
        holding, leaving, staying, coming = [], [], [], []
        for _ in range(part // room):
            client = self.client(daemon)
            client.send(opening)
            holding.append(client)
        self.wait_for_uploads(daemon, len(holding))
        for client in holding:
            client.send(b"u")  # the header section was read; now room is made
        for _ in range(part // (large + small)):
            for crowd, size in ((leaving, large), (staying, small)):
                client = self.client(daemon)
                client.send(upload(size))
                crowd.append(client)
        self.wait_for_uploads(daemon, (len(holding) + 2 * len(leaving)) * 9 // 10)
        for client in leaving:
            client.close()
        self.eventually(lambda: daemon.metrics()["connections"]["reading"] <=
                        len(holding) + len(staying), "some to leave")
        request = upload(MIB - KIB)
        for _ in range(self.SETTINGS["MEMORY_BUDGET"] // MIB + 5):
            client = self.client(daemon)
            coming.append(client)
            with contextlib.suppress(OSError):  # refused in the middle of it
                client.send(request)
        self.eventually(lambda: daemon.metrics()["requests_rejected"].get("memory-pressure", 0),
                        "the budget to be spent")
        rest = upload(room)[len(opening) + 1:]
        for client in holding:  # their room was given: none is refused now
            client.send(rest)
        time.sleep(0.5)
        self.assertGreaterEqual(daemon.metrics()["connections"]["reading"], len(holding))
        for client in holding + staying + coming:
            client.close()
        self.assert_bounded(daemon)
        self.check_after(daemon)


if __name__ == "__main__":
    harness.main()
