"""However the bytes of a request are cut on their way, it means the same."""

import random
import socket

import harness
from harness import SLOW, get_bytes, post_bytes
import wire

JOB = b'{"data": {"n": [1, 2.50, "\xc3\xa9"]}}'
CHUNKED_JOB = (b"POST / HTTP/1.1\r\nHost: x\r\nX-Request-ID: chunked-1\r\n"
               b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"5;name=value\r\n{\"dat\r\n00C\r\na\": {\"n\": 1}\r\n1\r\n}\r\n"
               b"0\r\nTrailer: x\r\n\r\n")
PLAIN = get_bytes("/health", "X-Request-ID: plain-1\r\nConnection: keep-alive\r\n")
COUNTED_JOB = post_bytes(JOB, headers="X-Request-ID: job-1\r\n")


def gist(reply):
    """What of a reply is the same each time the request is."""
    headers = dict(reply.headers)
    for changes in ("date", "server-timing"):
        headers.pop(changes, None)
    return reply.status, headers, reply.body


class Cuts(wire.TestCase):
    """However the bytes of a request are cut on their way, the answer is the
    same. That the daemon had read the first part before the second was sent
    is known from its counter of bytes."""

    def check_every_cut(self, stream, replies, **settings):
        daemon = self.start(READ_TIMEOUT="10m", **settings)
        whole = self.client(daemon)
        whole.send(stream)
        expected = [gist(whole.read_reply()) for _ in range(replies)]
        cuts = list(range(1, len(stream)))
        for start in range(0, len(cuts), 200):
            batch = [(cut, self.client(daemon)) for cut in cuts[start:start + 200]]
            meter = harness.Meter(daemon)
            self.addCleanup(meter.close)
            for cut, client in batch:
                client.send(stream[:cut])
            sent = sum(cut for cut, _ in batch)
            self.eventually(lambda: meter.read() >= sent, "the first parts to be read")
            for cut, client in batch:
                client.send(stream[cut:])
            for cut, client in batch:
                got = [gist(client.read_reply()) for _ in range(replies)]
                self.assertEqual(got, expected, "cut at byte %d of %r" % (cut, stream))
                if expected[-1][1].get("connection") != "close":
                    self.assertEqual(client.ask(get_bytes()).status, 200, "afterwards: %d" % cut)
                client.close()
        return expected

    def test_a_keep_alive_request_cut_anywhere(self):
        got = self.check_every_cut(PLAIN, 1)
        self.assertEqual(got[0][0], 200)
        self.assertEqual(got[0][2], b'{"status":"ok"}')

    def test_a_job_cut_anywhere(self):
        got = self.check_every_cut(COUNTED_JOB, 1)
        self.assertEqual(got[0][0], 200)
        self.assertEqual(got[0][2], b'{"status":"ok","request_id":"job-1",'
                                    b'"data":{"n": [1, 2.50, "\xc3\xa9"]}}')

    def test_a_chunked_job_cut_anywhere(self):
        got = self.check_every_cut(CHUNKED_JOB, 1)
        self.assertEqual(got[0][0], 200)
        self.assertEqual(got[0][2], b'{"status":"ok","request_id":"chunked-1","data":{"n": 1}}')

    def test_a_pipeline_cut_anywhere(self):
        stream = (b"\r\n\r\n" + PLAIN + COUNTED_JOB + b"\r\n" + CHUNKED_JOB +
                  get_bytes("/none", "X-Request-ID: 6ba7b810-9dad-41d1-80b4-00c04fd430c8\r\n"))
        got = self.check_every_cut(stream, 4, LOOPS=1, WORKERS=2)
        self.assertEqual([reply[0] for reply in got], [200, 200, 200, 404])

    def test_a_broken_request_cut_anywhere_is_refused_for_the_same_reason(self):
        broken = {
            b"GET / HTTP/2.0\r\nHost: x\r\n": (505, "unsupported-version"),
            b"FETCH / HTTP/1.1\r\nHost: x\r\n": (501, "unknown-method"),
            b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n": (400, "bad-target"),
            b"GET / HTTP/1.1\r\nHost : x\r\n\r\n": (400, "bad-field"),
            b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n": (400, "bad-line-end"),
            b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n": (400, "bad-host"),
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n":
                (400, "bad-chunk"),
        }
        daemon = self.start(READ_TIMEOUT="10m")
        clients = [(cut, stream, self.client(daemon))
                   for stream in broken for cut in range(1, len(stream))]
        meter = harness.Meter(daemon)
        self.addCleanup(meter.close)
        for cut, stream, client in clients:
            client.send(stream[:cut])
        sent = sum(cut for cut, _, _ in clients)
        self.eventually(lambda: meter.read() >= sent, "the first parts to be read")
        for cut, stream, client in clients:
            client.send(stream[cut:])
        for cut, stream, client in clients:
            reply = client.read_reply()
            self.assertEqual((reply.status, reply.problem()), broken[stream],
                             "cut at byte %d of %r" % (cut, stream))
            self.assert_ended(client, reply)
            client.close()

    # A line that has no end yet, up to the byte that is wrong in it, and why.
    LONG = (
        (b"GET /" + b"a" * 80 + b"{", 400, "bad-target"),
        (b"GET /?" + b"%41" * 30 + b"%4x", 400, "bad-target"),
        (b"POST /" + b"a" * 80 + b"  ", 400, "bad-request-line"),
        (b"GET /" + b"a" * 80 + b" HTTP/1.x", 400, "bad-request-line"),
        (b"PROPFIND http://x/" + b"a" * 80 + b"\n", 400, "bad-line-end"),
        (b"GET / HTTP/1.1\r\n" + b"a" * 80 + b" ", 400, "bad-field"),
        (b"GET / HTTP/1.1\r\n" + b"a" * 80 + b"\xff", 400, "bad-field"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 80 + b"\0", 400, "bad-field"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 80 + b"\r ", 400, "bad-line-end"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a" * 80 + b"\r\n", 400, "bad-field"),
    )

    def test_an_unfinished_line_is_refused_at_its_first_wrong_byte(self):
        """Wherever it is cut, also right before that byte, and whether or not more
        bytes come with it; and not one byte earlier."""
        daemon = self.start()
        meter = harness.Meter(daemon)
        self.addCleanup(meter.close)
        for line, status, word in self.LONG:
            # What comes first, then the rest up to the wrong byte or beyond it.
            clients = [(cut, more, self.client(daemon)) for more in (b"", b"b" * 10)
                       for cut in (0, 1, 20, 70, len(line) - 3, len(line) - 2, len(line) - 1)]
            sent = meter.read() + sum(cut for cut, _, _ in clients)
            for cut, _, client in clients:
                client.send(line[:cut])
            self.eventually(lambda: meter.read() >= sent, "the first parts to be read")
            for cut, more, client in clients:
                with self.subTest(line=line, cut=cut, more=more):
                    self.assertFalse(client.readable())
                    client.send(line[cut:] + more)
                    reply = client.read_reply()
                    self.assert_problem(reply, status, word)
                    self.assert_ended(client, reply)
                client.close()

    def test_one_byte_at_a_time(self):
        stream = b"\r\n" + PLAIN + COUNTED_JOB + CHUNKED_JOB
        daemon = self.start(READ_TIMEOUT="10m")
        client = self.client(daemon)
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        meter = harness.Meter(daemon)
        self.addCleanup(meter.close)
        for i in range(len(stream)):
            client.send(stream[i:i + 1])
            self.eventually(lambda: meter.read() >= i + 1, "byte %d to be read" % i)
        self.assertEqual([client.read_reply().headers["x-request-id"] for _ in range(3)],
                         ["plain-1", "job-1", "chunked-1"])

    def test_many_random_pieces(self):
        stream = (PLAIN + COUNTED_JOB + CHUNKED_JOB) * 20
        dice = random.Random(7)
        daemon = self.start(LOOPS=2, WORKERS=2)
        for _ in range(5 if SLOW else 10):
            client = self.client(daemon)
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            at = 0
            while at < len(stream):
                piece = dice.choice((1, 3, 17, 100, 900))
                client.send(stream[at:at + piece])
                at += piece
            got = [client.read_reply().headers["x-request-id"] for _ in range(60)]
            self.assertEqual(got, ["plain-1", "job-1", "chunked-1"] * 20)
            client.close()


if __name__ == "__main__":
    harness.main()
