"""What is the same in every reply: its form, and the fields that it has."""

import email.utils
import re
import socket
import time

import harness
from harness import get_bytes, post_bytes
import wire
from wire import CHUNKED, HOST, JOB, Client, request

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class Fields(wire.TestCase):
    PATHS = ("/health", "/", "/metrics", "/none")

    def test_a_safe_request_id_comes_back(self):
        daemon = self.start()
        with Client(daemon) as client:
            for request_id in ("test-123", "a", "x" * 128, "A-Z_a.z~0+9/=:@",
                               "6BA7B810-9DAD-11D1-80B4-00C04FD430C8"):
                for path in self.PATHS:
                    with self.subTest(request_id=request_id, path=path):
                        for field in ("X-Request-ID", "x-request-id"):
                            reply = client.ask("GET %s HTTP/1.1\r\nHost: x\r\n%s:%s \t\r\n\r\n"
                                               % (path, field, request_id))
                            self.assertEqual(reply.headers["x-request-id"], request_id)
                        if path == "/":
                            self.assertEqual(reply.json()["request_id"], request_id)

    def test_a_request_id_is_made_where_there_is_no_safe_one(self):
        daemon = self.start()
        made = set()
        with Client(daemon) as client:
            for fields in ("", "X-Request-ID:\r\n", "X-Request-ID: a b\r\n",
                           "X-Request-ID: %s\r\n" % ("x" * 129), "X-Request-ID: a\"b\r\n",
                           "X-Request-ID: a\\b\r\n", "X-Request-ID: <a>\r\n",
                           "X-Request-ID: caf\xe9\r\n", "X-Request-ID: a,b\r\n",
                           "X-Request-ID: a\r\nX-Request-ID: b\r\n"):
                for path in self.PATHS:
                    with self.subTest(fields=fields, path=path):
                        reply = client.ask("GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, fields))
                        request_id = reply.headers["x-request-id"]
                        self.assertRegex(request_id, "^%s$" % UUID7.pattern)
                        stamp = int(request_id.replace("-", "")[:12], 16) / 1000
                        self.assertLess(abs(stamp - time.time()), 10)
                        self.assertNotIn(request_id, made)
                        made.add(request_id)
                        if path == "/":
                            self.assertEqual(reply.json()["request_id"], request_id)
        self.assertEqual(len(made), 40)

    def test_a_refused_request_has_an_id_too(self):
        daemon = self.start()
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0", b"GET / HTTP/9.9\r\n\r\n"):
            with self.subTest(data=data), Client(daemon) as client:
                client.send(data)
                self.assertRegex(client.read_reply().headers["x-request-id"], UUID7)
        with Client(daemon) as client:
            reply = client.ask("GET / HTTP/1.1\r\nX-Request-ID: mine\r\n\r\n")
            self.assertEqual((reply.status, reply.headers["x-request-id"]), (400, "mine"))

    def test_the_date_is_right_in_every_reply(self):
        daemon = self.start()
        with Client(daemon) as client:
            last = None
            for pause in (0, 2.1):
                time.sleep(pause)
                for path in self.PATHS:
                    date = client.ask("GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path).headers["date"]
                    self.assertRegex(date, r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")
                    at = email.utils.parsedate_to_datetime(date).timestamp()
                    self.assertLess(abs(at - time.time()), 5)
                if last is not None:
                    self.assertGreaterEqual(at, last + 2)
                last = at

    def test_a_job_says_how_long_it_waited_and_ran(self):
        daemon = self.start(WORKERS=1, HANDLERS="/=echo /slow=sleep:60ms")
        timing = re.compile(r"queue;dur=(\d+\.\d\d), run;dur=(\d+\.\d\d)")
        clients = [self.client(daemon) for _ in range(3)]
        for client in clients:
            client.send(get_bytes("/slow"))
        waits = []
        for client in clients:
            found = timing.fullmatch(client.read_reply().headers["server-timing"])
            self.assertGreaterEqual(float(found.group(2)), 60)
            waits.append(float(found.group(1)))
        # One worker: the last of the three waited for the other two.
        self.assertGreaterEqual(max(waits), 100)
        self.assertTrue(timing.fullmatch(daemon.get("/").headers["server-timing"]))
        self.assertTrue(timing.fullmatch(daemon.post("[]").headers["server-timing"]))
        self.assertNotIn("server-timing", daemon.get("/health").headers)

    def test_health_and_metrics_are_not_to_be_stored(self):
        daemon = self.start()
        for path in ("/health", "/livez", "/readyz", "/healthz", "/metrics"):
            reply = daemon.get(path)
            self.assertEqual(reply.status, 200)
            self.assertEqual(reply.headers["cache-control"], "no-store")


class Replies(wire.TestCase):
    """Each of one kind, byte for byte where it has no other choice. That every
    reply of every test here is well formed is wire.check_head's business."""

    KINDS = {
        200: get_bytes(), 204: request("OPTIONS * HTTP/1.1", HOST),
        400: post_bytes("{"), 404: get_bytes("/none"), 405: request("PUT / HTTP/1.1", HOST),
        413: request(*JOB, "Content-Length: 2000000"), 415: request(*JOB, "Content-Length: 1",
                                                                    "Content-Type: x/y", body=b"x"),
        417: request("GET / HTTP/1.1", HOST, "Expect: x"),
        414: request("GET /%s HTTP/1.1" % ("a" * 20000), HOST),
        421: request("GET https://x/ HTTP/1.1", HOST), 422: post_bytes("[]"),
        431: request("GET / HTTP/1.1", HOST, "A: " + "b" * 20000),
        501: request("BREW / HTTP/1.1", HOST), 505: request("GET / HTTP/2.0", HOST)}

    def raw(self, daemon, data):
        """All bytes until the end."""
        with Client(daemon) as client:
            client.send_pieces([data])
            client.sock.shutdown(socket.SHUT_WR)
            got = b""
            while True:
                more = client.sock.recv(65536)
                if not more:
                    return got
                got += more

    def test_a_status_line_is_version_code_and_reason_with_a_space_each(self):
        daemon = self.start(HALF_CLOSE="serve")
        for status, data in sorted(self.KINDS.items()):
            with self.subTest(status=status):
                line = self.raw(daemon, data).split(b"\r\n", 1)[0]
                self.assertRegex(line, rb"\AHTTP/1\.1 %d [A-Z][A-Za-z -]*\Z" % status)

    def test_lines_end_in_crlf_and_nothing_else_stands_between(self):
        daemon = self.start(HALF_CLOSE="serve")
        for status, data in sorted(self.KINDS.items()):
            with self.subTest(status=status):
                head = self.raw(daemon, data).split(b"\r\n\r\n", 1)[0] + b"\r\n"
                self.assertEqual((head.count(b"\r"), head.count(b"\n")), (head.count(b"\r\n"),) * 2)
                self.assertNotRegex(head, rb"\n[ \t]")
                self.assertNotRegex(head, rb"[ \t]:")

    def test_the_length_is_that_of_the_body(self):
        daemon = self.start(HALF_CLOSE="serve")
        for status, data in sorted(self.KINDS.items()):
            with self.subTest(status=status):
                head, body = self.raw(daemon, data).split(b"\r\n\r\n", 1)
                found = re.search(rb"\r\nContent-Length: (0|[1-9]\d*)(\r\n|\Z)", head)
                self.assertEqual(found and int(found.group(1)), None
                                 if status == 204 else len(body))
                self.assertEqual(bool(body), status != 204)

    def test_date_is_in_every_final_reply_and_in_its_one_form(self):
        daemon = self.start(HALF_CLOSE="serve")
        for status, data in sorted(self.KINDS.items()):
            with self.subTest(status=status):
                head = self.raw(daemon, data).split(b"\r\n\r\n", 1)[0]
                date = re.findall(rb"\r\nDate: ([^\r]*)", head)
                self.assertEqual(len(date), 1)
                self.assertRegex(date[0], rb"\A%s\Z" % wire.DATE.pattern)
                at = email.utils.parsedate_to_datetime(date[0].decode())
                self.assertEqual(at.strftime("%a, %d %b %Y %H:%M:%S GMT").encode(), date[0])
                self.assertLess(abs(at.timestamp() - time.time()), 30)

    def test_a_reply_never_has_a_transfer_coding(self):
        daemon = self.start(HALF_CLOSE="serve")
        for version in ("1.0", "1.1", "1.2"):
            for target in ("/", "/health", "/metrics", "/none", "/problems/not-found"):
                for method in ("GET", "HEAD", "OPTIONS", "PUT"):
                    with self.subTest(version=version, target=target, method=method):
                        got = self.raw(daemon, request("%s %s HTTP/%s" % (method, target, version),
                                                       HOST, "TE: trailers, deflate",
                                                       "Connection: TE"))
                        self.assertNotIn(b"transfer-encoding", got.lower())
        got = self.raw(daemon, request(*CHUNKED, "Expect: 100-continue", body=b""))
        self.assertEqual(got, b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_the_version_is_that_of_the_server(self):
        """Whatever the client speaks, HTTP/1.1 is what this one conforms to."""
        daemon = self.start(HALF_CLOSE="serve")
        for version in ("1.0", "1.1", "1.2", "1.9", "0.9", "2.0", "3.0"):
            with self.subTest(version=version):
                got = self.raw(daemon, request("GET /health HTTP/" + version, HOST))
                self.assertTrue(got.startswith(b"HTTP/1.1 "), got)

    def test_the_last_reply_says_so_and_no_other(self):
        daemon = self.start()
        with Client(daemon) as client:
            for path in ("/health", "/none", "/", "/metrics"):
                client.send(get_bytes(path))
                self.assertNotIn("connection", client.read_reply().headers)
            client.send(get_bytes("/health", "Connection: close\r\n"))
            self.assertEqual(client.read_reply().headers["connection"], "close")
            self.assertTrue(client.at_end())

    def test_415_says_accept_for_a_media_type_alone(self):
        daemon = self.start()
        with Client(daemon) as client:
            client.send(request(*JOB, "Content-Length: 2", "Content-Type: text/plain", body=b"{}") +
                        request(*JOB, "Content-Length: 2", "Content-Encoding: gzip", body=b"{}"))
            media, coding = client.read_reply(), client.read_reply()
        self.assertEqual((media.status, media.headers["accept"]), (415, "application/json"))
        self.assertNotIn("accept-encoding", media.headers)
        self.assertEqual(coding.status, 415)
        self.assertNotIn("accept", coding.headers)

    def test_what_a_reply_says_a_request_may_say(self):
        """No element is too long that the daemon writes itself."""
        daemon = self.start()
        with Client(daemon) as client:
            for data in (get_bytes("/metrics"), post_bytes("[]"), request("PUT / HTTP/1.1", HOST)):
                client.send(data)
                headers = dict(client.read_reply().headers)
                headers.pop("content-length")
                headers.pop("content-type")
                client.send(request("GET / HTTP/1.1", HOST, *[
                    "%s: %s" % field for field in headers.items()]))
                reply = client.read_reply()
                self.assertEqual((reply.status, reply.headers["x-request-id"]),
                                 (200, headers["x-request-id"]))


class Unused(wire.TestCase):
    """Fields that ask for what is not offered change nothing."""

    def check(self, *fields, method="GET", path="/health", status=200):
        daemon = self.start()
        for field in fields:
            with self.subTest(field=field), Client(daemon) as client:
                replies = []
                for extra in ((), (field,)):
                    client.send(request("%s %s HTTP/1.1" % (method, path), HOST,
                                        "X-Request-ID: 6ba7b810-9dad-41d1-80b4-00c04fd430c8",
                                        "Content-Length: 10" if method == "POST" else "A: b",
                                        *extra,
                                        body=b'{"data":1}' if method == "POST" else b""))
                    reply = client.read_reply(method)
                    for name in ("date", "server-timing"):
                        reply.headers.pop(name, None)
                    replies.append((reply.status, reply.headers, reply.body))
                self.assertEqual(replies[1], replies[0])
                self.assertEqual(replies[0][0], status)

    RANGES = ("Range: bytes=0-1", "Range: bytes=1-", "Range: bytes=-1", "Range: bytes=5-2",
              "Range: bytes=99999999999999999999-", "Range: lines=1-2", "Range: x", "Range:")

    def test_a_range_is_not_served(self):
        self.check(*self.RANGES)

    def test_a_range_of_a_job_is_not_served(self):
        self.check(*self.RANGES, path="/", method="POST")

    def test_if_range_means_nothing_without_ranges(self):
        self.check('If-Range: "x"', 'If-Range: W/"x"', "If-Range: Mon, 01 Jan 2024 00:00:00 GMT",
                   "If-Range: x")

    def test_a_part_of_a_representation_is_not_put_together(self):
        self.check("Content-Range: bytes 0-9/20", "Content-Range: x", "Content-Range: bytes */1",
                   path="/", method="POST")

    def test_where_content_came_from_changes_nothing(self):
        self.check("Content-Location: /health", "Content-Location: http://a/b", path="/",
                   method="POST")

    def test_dates_of_modification_mean_nothing_without_one(self):
        self.check("If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT",
                   "If-Modified-Since: Monday, 01-Jan-24 00:00:00 GMT",
                   "If-Modified-Since: Mon Jan  1 00:00:00 2024",
                   "If-Modified-Since: Fri, 01 Jan 2999 00:00:00 GMT", "If-Modified-Since: x",
                   "If-Unmodified-Since: Mon, 01 Jan 1990 00:00:00 GMT", "If-Unmodified-Since: x")


if __name__ == "__main__":
    harness.main()
