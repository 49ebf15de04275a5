# ctest: timeout=120 builds=release,asan slow
"""Clients that send within READ_TIMEOUT, but so slowly that they only mean to
hold a place: MIN_UPLOAD_RATE, 240 bytes a second by default, in each 10 s."""

import time

import harness
import hostile
from harness import LATE, post_bytes
from hostile import CHUNKED

EARLY = 0.1


class Uploader:
    """A request that goes on arriving at a rate, all of it by the clock, so that
    a test that was held up makes up for it."""

    def __init__(self, client, head, unit, rate, burst=0):
        self.client = client
        self.unit = unit
        self.rate = rate  # units a second
        self.sent = burst
        self.since = time.monotonic()
        self.ended = None  # after so many seconds, with a reply
        self.reply = None
        client.send(head + unit * burst)

    def turn(self):
        if self.ended is not None:
            return
        if self.client.readable():
            self.ended = time.monotonic() - self.since
            self.reply = self.client.read_reply()
            return
        due = int(self.rate * (time.monotonic() - self.since)) - self.sent
        if due > 0:
            self.client.send(self.unit * due)
            self.sent += due


class UploadRate(hostile.HostileCase):
    PERIOD = 10.0
    SIZE = 100000

    def upload(self, daemon, unit=b" ", rate=0.0, head=None, burst=0):
        head = head or post_bytes(b" " * self.SIZE)[:-self.SIZE]
        return Uploader(self.client(daemon), head, unit, rate, burst)

    def test_who_sends_too_slowly_is_ended_long_before_read_timeout(self):
        daemon = self.start(READ_TIMEOUT="10m")
        off = self.start(READ_TIMEOUT="10m", MIN_UPLOAD_RATE="0")
        low = self.start(READ_TIMEOUT="10m", MIN_UPLOAD_RATE="40B")
        chunk = b"1\r\n \r\n"  # of whose six bytes one is progress
        slow = {
            "body": self.upload(daemon, rate=100),
            "nothing": self.upload(daemon),
            "header": self.upload(daemon, b"X: y\r\n", 10, b"GET / HTTP/1.1\r\nHost: x\r\n"),
            "one-byte chunks": self.upload(daemon, chunk, 100, CHUNKED),
        }
        later = self.upload(daemon, rate=100, burst=5000)  # enough in the first period
        good = {
            "above the rate": self.upload(daemon, rate=600),
            "rate 0": self.upload(off, rate=1),
            "above its own rate": self.upload(low, rate=100),
        }
        everyone = [*slow.values(), later, *good.values()]
        end = time.monotonic() + 2 * self.PERIOD + LATE
        while later.ended is None or not all(upload.ended for upload in slow.values()):
            for upload in everyone:
                upload.turn()
            self.assertLess(time.monotonic(), end, "goes on for ever")
            time.sleep(0.05)
        for name, upload in slow.items():
            with self.subTest(upload=name):
                self.assert_ended(upload, self.PERIOD)
        self.assert_ended(later, 2 * self.PERIOD)
        for name, upload in good.items():
            with self.subTest(upload=name):
                self.assertIsNone(upload.ended, upload.reply)
                rest = b"{}".ljust(self.SIZE - upload.sent)
                upload.client.send(rest)
                self.assertEqual(upload.client.read_reply().status, 200)
            upload.client.close()
        for client in everyone:
            client.client.close()
        self.assertEqual(self.check_after(daemon)["requests_rejected"], {"upload-too-slow": 5})
        self.assertEqual(self.check_after(off)["requests_rejected"], {})
        self.assertEqual(self.check_after(low)["requests_rejected"], {})

    def assert_ended(self, upload, seconds):
        self.assertIsNotNone(upload.ended)
        self.assertEqual((upload.reply.status, upload.reply.problem()), (408, "upload-too-slow"))
        self.assertTrue(upload.reply.closes())
        self.assertGreaterEqual(upload.ended, seconds - EARLY)
        self.assertLess(upload.ended, seconds + LATE)


if __name__ == "__main__":
    harness.main()
