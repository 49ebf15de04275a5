"""What the protocol tests share: a client that takes nothing but what the RFCs
let a server send, and tables of requests that are sent in several ways."""

import random
import re
import socket

import harness
from harness import get_bytes, post_bytes

# Where a request ends up among others on one connection.
BEFORE = post_bytes('{"data":"before"}', headers="X-Request-ID: before\r\n")
AFTER = get_bytes("/health", "X-Request-ID: after\r\n")

HOST = "Host: x"
JOB = ("POST / HTTP/1.1", HOST)
CHUNKED = JOB + ("Transfer-Encoding: chunked",)

STATUS_LINE = re.compile(rb"HTTP/1\.1 [1-5][0-9][0-9] [\t \x21-\x7e]*")
FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): "
                        rb"([\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?)")
DATE = re.compile(rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] "
                  rb"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} "
                  rb"[0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT")
TOKENS = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(, [!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def request(line, *fields, body=b""):
    """The bytes of a request: its line, its field lines, its body."""
    return ("\r\n".join((line,) + fields) + "\r\n\r\n").encode("latin-1") + body


def chunked(body):
    """A chunked job whose body is these bytes."""
    return request(*CHUNKED, "X-Request-ID: r", body=body)


def check_head(head):
    """Asserts of a reply's header section what must be so in each."""
    lines = head.split(b"\r\n")
    assert STATUS_LINE.fullmatch(lines[0]), lines[0]
    status = int(lines[0][9:12])
    fields = {}
    for line in lines[1:]:
        found = FIELD_LINE.fullmatch(line)
        assert found, line
        name = found.group(1).lower()
        assert name not in fields, "twice: %r" % line
        fields[name] = found.group(2)
    assert not {b"transfer-encoding", b"trailer", b"upgrade", b"keep-alive"} & set(fields), head
    if status < 200:
        assert not fields, head
        return
    assert DATE.fullmatch(fields[b"date"]), fields
    if status in (204, 304):
        assert b"content-length" not in fields, fields
    else:
        assert re.fullmatch(rb"0|[1-9][0-9]*", fields[b"content-length"]), fields
        assert b"content-type" in fields, fields
    assert fields.get(b"connection", b"close") in (b"close", b"keep-alive"), fields
    assert status != 405 or b"allow" in fields, fields
    # RFC 9110, 15: what needs more than hcsd says.
    assert status not in (205, 206, 226, 401, 407, 416, 426, 511), head
    assert status // 100 != 3 or status == 304, head
    assert status != 408 or fields.get(b"connection") == b"close", fields
    assert TOKENS.fullmatch(fields.get(b"allow", b"x")), fields


class Client(harness.Client):
    """Reads replies one by one, and looks at each header section closely. What
    follows a reply that should have no body has to be a reply, or the end."""

    def __init__(self, daemon, **kwargs):
        super().__init__(daemon.connect(**kwargs))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read_reply(self, method="GET"):
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                assert self.buffer == b"", "cut reply: %r" % self.buffer
                return None
        check_head(self.buffer.split(b"\r\n\r\n", 1)[0])
        return super().read_reply(method)

    def send_pieces(self, pieces):
        """As many as the peer takes: it may have refused the first of them."""
        try:
            for piece in pieces:
                self.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass


def cut(data, dice):
    """Byte by byte, or, if there are many, in some random pieces."""
    if len(data) <= 300:
        return [data[i:i + 1] for i in range(len(data))]
    at = [0] + sorted(dice.sample(range(1, len(data)), 20)) + [len(data)]
    return [data[first:last] for first, last in zip(at, at[1:])]


WAYS = ("whole", "in pieces", "behind another")


class TestCase(harness.TestCase):
    """check_refused and check_taken send each row of a table in three ways:
    whole, in small pieces, and in one with a good request before it, which has
    to be answered first. Another request follows each time."""

    def setUp(self):
        self.dice = random.Random(self.id())

    def start(self, **settings):
        settings.setdefault("READ_TIMEOUT", "10m")
        return super().start(**settings)

    def client(self, daemon, **kwargs):
        client = Client(daemon, **kwargs)
        self.addCleanup(client.close)
        return client

    def assert_problem(self, reply, status, name):
        self.assertIsNotNone(reply, "no reply")
        self.assertEqual((reply.status, reply.headers["content-type"]),
                         (status, "application/problem+json"), reply)
        problem = reply.json()
        self.assertEqual(problem["type"], "/problems/" + name)
        self.assertEqual(problem["status"], status)
        self.assertGreater(len(problem["title"]), 3)
        self.assertGreater(len(problem["detail"]), 10)
        self.assertRegex(problem["instance"], "^urn:uuid:%s$" % UUID.pattern)
        request_id = reply.headers["x-request-id"]
        if UUID.fullmatch(request_id):
            self.assertEqual(problem["instance"], "urn:uuid:" + request_id)
        return problem

    def assert_ended(self, client, reply):
        """The reply said that it was the last, and was."""
        self.assertTrue(reply.closes(), reply)
        self.assertTrue(client.at_end(), client.buffer)

    def send_in(self, way, client, data):
        if way == "whole":
            client.send_pieces([data + AFTER])
        elif way == "in pieces":
            client.send_pieces(cut(data, self.dice) + [AFTER])
        else:
            client.send_pieces([BEFORE + data + AFTER])
            reply = client.read_reply()
            self.assertEqual((reply.status, reply.headers["x-request-id"], reply.closes()),
                             (200, "before", False), reply)

    def check_refused(self, daemon, rows, ways=WAYS):
        """rows: (name, bytes, status, last part of the problem's type). The
        refusal is the last reply, and what follows is not read as requests."""
        for name, data, status, word in rows:
            for way in ways:
                with self.subTest(name=name, way=way), Client(daemon) as client:
                    self.send_in(way, client, data)
                    if data.startswith(b"HEAD "):
                        reply = client.read_reply("HEAD")
                        self.assertEqual(reply.status, status, reply)
                    else:
                        reply = client.read_reply()
                        self.assert_problem(reply, status, word)
                    self.assert_ended(client, reply)

    def check_taken(self, daemon, rows, ways=WAYS, last=False):
        """rows: (name, bytes, status, what the body ends with, or, a str, the
        last part of the problem's type). last: the connection ends with the
        reply, else the next request is answered."""
        for name, data, status, ending in rows:
            for way in ways:
                with self.subTest(name=name, way=way), Client(daemon) as client:
                    self.send_in(way, client, data)
                    reply = client.read_reply("HEAD" if data.startswith(b"HEAD ") else "GET")
                    if reply is not None and reply.status == 100:
                        reply = client.read_reply()
                    self.assertIsNotNone(reply, "no reply")
                    self.assertEqual(reply.status, status, reply)
                    if isinstance(ending, str):
                        self.assert_problem(reply, status, ending)
                    else:
                        self.assertEqual(reply.body[len(reply.body) - len(ending):], ending)
                    if last:
                        self.assert_ended(client, reply)
                        continue
                    self.assertFalse(reply.closes(), reply)
                    after = client.read_reply()
                    self.assertEqual((after.status, after.headers["x-request-id"]),
                                     (200, "after"), after)
