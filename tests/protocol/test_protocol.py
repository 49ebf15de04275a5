"""The protocol as bytes on the wire: framing, order, refusals, fields."""

import email.utils
import random
import re
import socket
import struct
import time
import uuid

import harness
from harness import SLOW, get_bytes, post_bytes

JOB = b'{"data": {"n": [1, 2.50, "\xc3\xa9"]}}'
CHUNKED_JOB = (b"POST / HTTP/1.1\r\nHost: x\r\nX-Request-ID: chunked-1\r\n"
               b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"5;name=value\r\n{\"dat\r\n00C\r\na\": {\"n\": 1}\r\n1\r\n}\r\n"
               b"0\r\nTrailer: x\r\n\r\n")
PLAIN = get_bytes("/health", "X-Request-ID: plain-1\r\nConnection: keep-alive\r\n")
COUNTED_JOB = post_bytes(JOB, headers="X-Request-ID: job-1\r\n")

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def gist(reply):
    """What of a reply is the same each time the request is."""
    headers = dict(reply.headers)
    for changes in ("date", "server-timing"):
        headers.pop(changes, None)
    return reply.status, headers, reply.body


def request(line, *fields, body=b""):
    return ("\r\n".join((line,) + fields) + "\r\n\r\n").encode("latin-1") + body


def data_segments(sock):
    """How many segments with data came in (tcp_info, since Linux 4.6); 0 where
    that is not known."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return struct.unpack_from("I", info, 152)[0] if len(info) >= 156 else 0


class ProtocolTest(harness.TestCase):
    def assert_problem(self, reply, status, name):
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


class Cuts(ProtocolTest):
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


class Pipelines(ProtocolTest):
    def read_all(self, client, expected):
        """expected: for each reply its method, status and X-Request-ID."""
        for at, (method, status, request_id) in enumerate(expected):
            reply = client.read_reply(method)
            self.assertIsNotNone(reply, "ended before reply %d" % at)
            self.assertEqual((reply.status, reply.headers["x-request-id"]),
                             (status, request_id), "reply %d" % at)
            yield reply

    def test_replies_to_requests_found_in_one_read_leave_in_one_send(self):
        daemon = self.start(LOOPS=1)
        for count in (2, 16):
            client = self.client(daemon)
            client.send(b"".join(get_bytes("/health", "X-Request-ID: id-%d\r\n" % i)
                                 for i in range(count)))
            client.buffer = client.sock.recv(65536)
            segments = data_segments(client.sock)
            self.assertIn(segments, (0, 1), "more than one send")
            client.sock.setblocking(False)  # nothing more is to come
            for i in range(count):
                reply = client.read_reply()
                self.assertEqual((reply.status, reply.headers["x-request-id"]),
                                 (200, "id-%d" % i))
            self.assertEqual(client.buffer, b"")
            client.close()

    def mixed(self, count, seed):
        """A pipeline of all kinds of requests, and what is to come back."""
        dice = random.Random(seed)
        stream, expected = [], []
        for i in range(count):
            field = "X-Request-ID: m%d\r\n" % i
            uuid_field = "X-Request-ID: %s\r\n" % uuid.UUID(int=i)
            kind = dice.randrange(12)
            method, status, request_id = "GET", 200, "m%d" % i
            if kind in (0, 1):
                data = get_bytes("/health", field)
            elif kind in (2, 3):
                data = post_bytes('{"data":"%d"}' % i, headers=field)
            elif kind == 4:
                data, status = get_bytes("/nothing/here", field), 404
            elif kind == 5:
                data = get_bytes("/metrics", field)
            elif kind == 6:
                data = get_bytes("/", field)
            elif kind == 7:
                method, data = "HEAD", request("HEAD / HTTP/1.1", "Host: x", field.strip())
            elif kind == 8:
                data = request("OPTIONS * HTTP/1.1", "Host: x", field.strip())
                status = 204
            elif kind == 9:
                data, status = post_bytes("[]", headers=uuid_field), 422
                request_id = str(uuid.UUID(int=i))
            elif kind == 10:
                data, status = post_bytes('{"data":01}', headers=field), 400
            else:
                data, status = post_bytes("x" * 50, "/health", field), 405
            stream.append(data)
            expected.append((method, status, request_id))
        return b"".join(stream), expected

    def test_all_kinds_of_requests_are_answered_in_order(self):
        for loops, workers in ((1, 1), (2, 4)):
            daemon = self.start(LOOPS=loops, WORKERS=workers)
            for seed in range(3):
                client = self.client(daemon)
                stream, expected = self.mixed(200, seed)
                self.send_aside(client, stream)
                for i, reply in enumerate(self.read_all(client, expected)):
                    if reply.status == 200 and reply.body.startswith(b'{"status":"ok","req'):
                        job = reply.json()
                        self.assertEqual(job["request_id"], "m%d" % i)
                        self.assertIn(job["data"], (None, str(i)))
                client.close()

    def test_2000_requests_before_the_first_reply_is_read(self):
        daemon = self.start()
        client = self.client(daemon, rcvbuf=4096)
        requests = [get_bytes("/health", "X-Request-ID: h%d\r\n" % i) for i in range(2000)]
        sender = self.send_aside(client, b"".join(requests))
        self.assertIsNone(sender.join())
        expected = [("GET", 200, "h%d" % i) for i in range(2000)]
        for _ in self.read_all(client, expected):
            pass
        self.assertFalse(client.readable(0.05))

    def test_a_client_that_does_not_read_is_not_read_from(self):
        """About 10 MB of replies are more than the kernel keeps, so the daemon
        has to stop, keep a part of a reply, and go on in time."""
        daemon = self.start(WRITE_TIMEOUT="10m")
        client = self.client(daemon, rcvbuf=4096)
        stream, expected = [], []
        for i in range(2000):
            field = "X-Request-ID: d%d\r\n" % i
            if i % 20 == 7:
                stream.append(get_bytes("/metrics", field))
            elif i % 20 == 13:
                stream.append(get_bytes("/health", field))
            else:
                size = 30000 if i % 50 == 1 else 5000
                stream.append(post_bytes('{"data":"%s"}' % (chr(97 + i % 26) * size),
                                         headers=field))
            expected.append(("GET", 200, "d%d" % i))
        sender = self.send_aside(client, b"".join(stream))
        self.eventually(lambda: daemon.metrics()["connections"]["writing"] == 1, "backpressure")
        self.assertTrue(sender.is_alive())
        for i, reply in enumerate(self.read_all(client, expected)):
            if i % 20 not in (7, 13):
                data = reply.json()["data"]
                self.assertEqual(set(data), {chr(97 + i % 26)})
                self.assertEqual(len(data), 30000 if i % 50 == 1 else 5000)
        self.assertIsNone(sender.join())
        self.assertEqual(client.ask(get_bytes()).status, 200)

    def test_requests_behind_a_waiting_job_wait_for_it(self):
        daemon = self.start(HANDLERS="/=echo /slow=sleep:100ms")
        with daemon.client() as client:
            client.send(get_bytes("/slow", "X-Request-ID: a\r\n"))
            client.send(get_bytes("/health", "X-Request-ID: b\r\n"))
            client.send(get_bytes("/slow", "X-Request-ID: c\r\n") +
                        post_bytes('{"data":4}', headers="X-Request-ID: d\r\n"))
            for request_id in "abcd":
                self.assertEqual(client.read_reply().headers["x-request-id"], request_id)

    def test_a_whole_request_before_a_broken_one_is_answered(self):
        daemon = self.start(HANDLERS="/=echo /slow=sleep:50ms")
        broken = b"GET / HTTP/1.1\r\nHost: x\r\nBad Field: y\r\n\r\n"
        for before in ([get_bytes("/health")], [post_bytes(JOB)], [get_bytes("/slow")],
                       [get_bytes("/health"), post_bytes(JOB), CHUNKED_JOB, get_bytes("/slow")]):
            with self.subTest(before=before), daemon.client() as client:
                client.send(b"".join(before) + broken + get_bytes("/health"))
                for _ in before:
                    reply = client.read_reply()
                    self.assertEqual(reply.status, 200)
                    self.assertFalse(reply.closes())
                reply = client.read_reply()
                self.assert_problem(reply, 400, "bad-field")
                self.assert_ended(client, reply)


class Ends(ProtocolTest):
    def test_http_1_0_ends_after_its_reply_unless_asked_not_to(self):
        daemon = self.start()
        for path in ("/health", "/"):
            with daemon.client() as client:
                reply = client.ask("GET %s HTTP/1.0\r\n\r\n" % path)
                self.assertEqual(reply.status, 200)
                self.assert_ended(client, reply)
            with daemon.client() as client:
                for _ in range(3):
                    reply = client.ask("GET %s HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n" % path)
                    self.assertEqual(reply.status, 200)
                    self.assertEqual(reply.headers["connection"].lower(), "keep-alive")
                reply = client.ask("GET %s HTTP/1.0\r\n\r\n" % path)
                self.assert_ended(client, reply)

    def test_http_1_1_goes_on_after_its_reply_unless_asked_not_to(self):
        daemon = self.start()
        for path in ("/health", "/", "/none"):
            for option in ("close", "Close", "foo, CLOSE", "keep-alive, close"):
                with self.subTest(path=path, option=option), daemon.client() as client:
                    for _ in range(3):
                        self.assertNotIn("connection", client.ask(
                            "GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path).headers)
                    reply = client.ask("GET %s HTTP/1.1\r\nHost: x\r\nConnection: %s\r\n\r\n"
                                       % (path, option))
                    self.assertIn(reply.status, (200, 404))
                    self.assert_ended(client, reply)

    def test_bytes_behind_the_last_request_do_not_cost_it_its_answer(self):
        daemon = self.start()
        for last in (get_bytes("/health", "Connection: close\r\n"),
                     get_bytes("/", "Connection: close\r\n"),
                     post_bytes(JOB, headers="Connection: close\r\n"),
                     b"GET /health HTTP/1.0\r\n\r\n"):
            for behind in (get_bytes("/metrics"), b"\0" * 100, b"x" * 3000000):
                with self.subTest(last=last, behind=behind[:9]), daemon.client() as client:
                    sender = self.send_aside(client, last + behind)
                    reply = client.read_reply()
                    self.assertEqual(reply.status, 200)
                    self.assert_ended(client, reply)
                    self.assertIsNone(sender.join())  # such as a reset

    def test_bytes_after_the_last_reply_cause_no_reset(self):
        daemon = self.start()
        with daemon.client() as client:
            client.send(get_bytes("/health", "Connection: close\r\n"))
            # Sent before the reply is read, which a reset would discard.
            client.sock.recv(1, socket.MSG_PEEK)
            for _ in range(20):
                client.send(b"x" * 65536)
            reply = client.read_reply()
            self.assertEqual(reply.status, 200)
            self.assert_ended(client, reply)

    def test_a_client_that_shuts_its_side_still_gets_its_replies(self):
        """As with printf … | nc: all was sent, and the end with it."""
        daemon = self.start()
        with daemon.client() as client:
            client.send(get_bytes("/health") * 3)
            client.sock.shutdown(socket.SHUT_WR)
            for _ in range(3):
                self.assertEqual(client.read_reply().status, 200)
            self.assertTrue(client.at_end())

    def test_a_request_that_is_cut_off_gets_no_reply(self):
        daemon = self.start()
        for part in (b"GET /hea", post_bytes(JOB)[:-1], CHUNKED_JOB[:-1], b"\r"):
            with self.subTest(part=part), daemon.client() as client:
                client.send(part)
                client.sock.shutdown(socket.SHUT_WR)
                self.assertTrue(client.at_end())
        self.eventually(lambda: daemon.metrics()["connections_closed"]
                        .get("request-truncated", 0) == 4, "the count of cut requests")

    def test_an_upgrade_is_ignored(self):
        daemon = self.start()
        with daemon.client() as client:
            client.send(get_bytes("/health", "Connection: Upgrade\r\nUpgrade: websocket\r\n") +
                        get_bytes("/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                                       "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n") +
                        get_bytes("/none"))
            self.assertEqual([client.read_reply().status for _ in range(3)], [200, 200, 404])


class Methods(ProtocolTest):
    def test_head_is_answered_as_get_without_the_body(self):
        daemon = self.start()
        with daemon.client() as client:
            for path in ("/health", "/", "/metrics", "/livez", "/readyz", "/healthz", "/none",
                         "/problems/queue-full"):
                with self.subTest(path=path):
                    field = "X-Request-ID: same\r\n"
                    client.send("GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, field))
                    got = client.read_reply()
                    client.send("HEAD %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, field))
                    head = client.read_reply("HEAD")
                    self.assertEqual(head.status, got.status)
                    self.assertEqual(head.headers["content-type"], got.headers["content-type"])
                    if path != "/metrics":  # whose figures differ in length
                        self.assertEqual(head.headers["content-length"], str(len(got.body)))
                    self.assertFalse(client.readable(0.01), "HEAD has a body")

    def test_options(self):
        daemon = self.start()
        with daemon.client() as client:
            for target, allow in (("*", {"GET", "HEAD", "POST", "OPTIONS"}),
                                  ("/", {"GET", "HEAD", "POST", "OPTIONS"}),
                                  ("http://example.org", {"GET", "HEAD", "POST", "OPTIONS"}),
                                  ("/health", {"GET", "HEAD", "OPTIONS"}),
                                  ("/metrics", {"GET", "HEAD", "OPTIONS"})):
                with self.subTest(target=target):
                    reply = client.ask("OPTIONS %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
                    self.assertEqual(reply.status, 204)
                    self.assertEqual(set(reply.headers["allow"].split(", ")), allow)
                    self.assertNotIn("content-length", reply.headers)
            self.assertEqual(client.ask("OPTIONS /none HTTP/1.1\r\nHost: x\r\n\r\n").status, 404)

    def test_a_method_that_a_path_does_not_know_is_405_with_allow(self):
        daemon = self.start()
        with daemon.client() as client:
            for method, path, allow in (
                    ("PUT", "/", {"GET", "HEAD", "POST", "OPTIONS"}),
                    ("DELETE", "/", {"GET", "HEAD", "POST", "OPTIONS"}),
                    ("TRACE", "/", {"GET", "HEAD", "POST", "OPTIONS"}),
                    ("PATCH", "/health", {"GET", "HEAD", "OPTIONS"}),
                    ("POST", "/health", {"GET", "HEAD", "OPTIONS"}),
                    ("POST", "/metrics", {"GET", "HEAD", "OPTIONS"}),
                    ("PROPFIND", "/problems/not-found", {"GET", "HEAD", "OPTIONS"})):
                with self.subTest(method=method, path=path):
                    reply = client.ask("%s %s HTTP/1.1\r\nHost: x\r\n\r\n" % (method, path))
                    self.assert_problem(reply, 405, "method-not-allowed")
                    self.assertEqual(set(reply.headers["allow"].split(", ")), allow)
                    self.assertFalse(reply.closes())
            reply = client.ask("CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(reply.status, 405)

    def test_a_body_that_nobody_wants_is_skipped(self):
        daemon = self.start()
        with daemon.client() as client:
            client.send(request("GET /health HTTP/1.1", "Host: x", "Content-Length: 18",
                                body=b"GET / HTTP/1.1\r\n\r\n") +
                        request("PUT / HTTP/1.1", "Host: x", "Content-Length: 3", body=b"abc") +
                        request("POST /none HTTP/1.1", "Host: x", "Content-Length: 3",
                                body=b"abc") +
                        get_bytes("/health"))
            self.assertEqual([client.read_reply().status for _ in range(4)],
                             [200, 405, 404, 200])


class Targets(ProtocolTest):
    def test_the_absolute_form_is_understood(self):
        daemon = self.start()
        with daemon.client() as client:
            for target, body in (("http://example.org/health", b'{"status":"ok"}'),
                                 ("HTTPS://EXAMPLE.org:8443/health?x=1", b'{"status":"ok"}'),
                                 ("http://[::1]:8080/livez", b'{"status":"alive"}'),
                                 ("http://example.org", b'"data":null}'),
                                 ("http://example.org?a=b", b'"data":null}')):
                with self.subTest(target=target):
                    reply = client.ask("GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
                    self.assertEqual(reply.status, 200)
                    self.assertTrue(reply.body.endswith(body), reply)

    def test_a_percent_encoded_path_is_what_it_stands_for(self):
        daemon = self.start(HANDLERS="/=echo /a%2Bb=echo /a@c=echo")
        with daemon.client() as client:
            for target, status in (("/%68ealth", 200), ("/he%61lt%68?verbose", 200),
                                   ("/%4Detrics", 404), ("/%6Detrics", 200), ("/%6detrics", 200),
                                   ("/a+b", 200), ("/%61%2b%62", 200), ("/a%20b", 404),
                                   ("/a%40c", 200), ("/%2Fhealth", 404), ("/%", 400),
                                   ("/health%00", 404), ("/health/", 404), ("//health", 404),
                                   ("/problems/queue%2Dfull", 200),
                                   ("/%70roblems/queue-full", 200),
                                   ("/problems/none", 404), ("/problems/", 404)):
                with self.subTest(target=target), daemon.client() as client:
                    reply = client.ask("GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
                    self.assertEqual(reply.status, status, reply)

    def test_a_query_does_not_change_the_path(self):
        daemon = self.start()
        for target in ("/health?", "/health?a=/metrics&b=%20", "/?x", "/?/health", "/health??"):
            self.assertEqual(daemon.get(target).status, 200, target)


class Refusals(ProtocolTest):
    def check(self, daemon, data, status, name):
        """The refusal is clear, and ends the connection in order."""
        with daemon.client() as client:
            client.send(data)
            reply = client.read_reply("HEAD" if data.startswith(b"HEAD") else "GET")
            self.assert_problem(reply, status, name)
            self.assertIn("date", reply.headers)
            self.assert_ended(client, reply)
            return reply

    def test_what_is_malformed_is_400(self):
        host = "Host: x"
        job = ("POST / HTTP/1.1", host)
        chunked = job + ("Transfer-Encoding: chunked",)
        table = {
            "bad-request-line": [
                b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", b" GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", b"GET /\r\n\r\n", b"GET\r\n\r\n",
                b"GET / http/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.10\r\nHost: x\r\n\r\n",
                b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
                b"{\"data\": 1}\r\n\r\n"],
            "bad-target": [
                request("GET /a#b HTTP/1.1", host), request("GET health HTTP/1.1", host),
                request("GET /\x7f HTTP/1.1", host), request("GET /\xe9 HTTP/1.1", host),
                request("GET * HTTP/1.1", host), request("GET /%zz HTTP/1.1", host),
                request("GET /a<b> HTTP/1.1", host), request("GET ftp://x/ HTTP/1.1", host),
                request("GET http://u@x/ HTTP/1.1", host), request("GET http:/// HTTP/1.1", host),
                request("CONNECT / HTTP/1.1", host), request("CONNECT x HTTP/1.1", host)],
            "bad-field": [
                request("GET / HTTP/1.1", host, "A : b"), request("GET / HTTP/1.1", host, " A: b"),
                request("GET / HTTP/1.1", host, "A: b", " c"),
                request("GET / HTTP/1.1", host, ": b"), request("GET / HTTP/1.1", host, "A b: c"),
                request("GET / HTTP/1.1", host, "A"), request("GET / HTTP/1.1", host, "A: b\0c"),
                request("GET / HTTP/1.1", host, "A: b\x7f"),
                request("GET / HTTP/1.1", host, "\xe9: b"),
                request("GET / HTTP/1.1", host, "Connection: a b")],
            "bad-line-end": [
                b"GET / HTTP/1.1\nHost: x\n\n", b"GET / HTTP/1.1\r\nHost: x\n\r\n",
                b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: x\r\n\n", b"GET / HTTP/1.1\r\rHost: x\r\n\r\n"],
            "bad-host": [
                request("GET / HTTP/1.1"), request("GET / HTTP/1.1", host, host),
                request("GET / HTTP/1.1", "Host:"), request("GET / HTTP/1.1", "Host: a, b"),
                request("GET / HTTP/1.1", "Host: a/b"), request("GET / HTTP/1.1", "Host: u@a"),
                request("GET / HTTP/1.1", "Host: a:b"), request("GET / HTTP/1.1", "Host: a:65536"),
                request("GET / HTTP/1.1", "Host: [::1"), request("GET / HTTP/1.1", "Host: a b"),
                request("GET http://x/ HTTP/1.1")],
            "bad-content-length": [
                request(*job, "Content-Length: " + value, body=b"{}")
                for value in ("+2", "-2", "0x2", "2, 2", "2,2", "", "2 2", "2.0", "02",
                              "99999999999999999999", "9223372036854775808")] + [
                request(*job, "Content-Length: 2", "Content-Length: 2", body=b"{}")],
            "bad-transfer-encoding": [
                request(*job, "Content-Length: 2", "Transfer-Encoding: chunked", body=b"{}"),
                request(*chunked, "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
                request(*job, "Transfer-Encoding:", body=b"0\r\n\r\n"),
                request(*job, "Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
                request(*job, "Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
                request("POST / HTTP/1.0", "Transfer-Encoding: chunked", body=b"0\r\n\r\n")],
            "bad-chunk": [
                request(*chunked, body=body)
                for body in (b"zz\r\n", b"\r\n", b"-1\r\n", b"0x2\r\n{}", b"2\n{}\r\n", b"2 \r\n",
                             b"2\r\n{}2\r\n", b"2\r\n{}\n", b"0\r\nA b: c\r\n\r\n",
                             b"2\r{}\r\n", b"0\r\n\rx", b"2;\x01\r\n",
                             b"1234567890123456\r\n", b"2;" + b"x" * 5000 + b"\r\n",
                             b"0\r\nA: " + b"x" * 9000 + b"\r\n\r\n")],
        }
        daemon = self.start()
        for name, requests in table.items():
            for data in requests:
                with self.subTest(name=name, data=data[:120]):
                    self.check(daemon, data, 400, name)
        rejected = daemon.metrics()["requests_rejected"]
        for name, requests in table.items():
            self.assertEqual(rejected[name], len(requests), name)

    def test_what_is_not_offered_says_so(self):
        host = "Host: x"
        long_line = "GET /%s HTTP/1.1" % ("a" * 17000)
        table = [
            (501, "unknown-method", [request("FETCH / HTTP/1.1", host),
                                     request("get / HTTP/1.1", host),
                                     request("GETT / HTTP/1.1", host),
                                     request("PRI / HTTP/1.1", host)]),
            (501, "unknown-transfer-coding",
             [request("POST / HTTP/1.1", host, "Transfer-Encoding: " + coding, body=b"0\r\n\r\n")
              for coding in ("gzip", "gzip, chunked", "identity", "xchunked")]),
            (505, "unsupported-version", [request("GET / HTTP/2.0", host),
                                          request("GET / HTTP/3.1", host),
                                          request("GET / HTTP/0.9"),
                                          b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]),
            (417, "bad-expectation", [request("POST / HTTP/1.1", host, "Content-Length: 2",
                                              "Expect: " + what, body=b"{}")
                                      for what in ("200-ok", "100-continue, x", "")]),
            (414, "target-too-long", [request(long_line, host),
                                      ("GET /" + "a" * 17000).encode()]),
            (431, "header-too-large", [request("GET / HTTP/1.1", host, "A: " + "b" * 17000),
                                       request("GET / HTTP/1.1", host, *["A: b"] * 300),
                                       b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4000]),
        ]
        daemon = self.start()
        for status, name, requests in table:
            for data in requests:
                with self.subTest(name=name, data=data[:120]):
                    self.check(daemon, data, status, name)

    def test_a_header_section_of_the_largest_size_is_taken(self):
        daemon = self.start(MAX_HEADER_SIZE=1000)
        rest = len(request("GET /health HTTP/1.1", "Host: x", "A: "))
        for size, status in ((999, 200), (1000, 200), (1001, 431)):
            data = request("GET /health HTTP/1.1", "Host: x", "A: " + "b" * (size - rest))
            self.assertEqual(len(data), size)
            with self.subTest(size=size), daemon.client() as client:
                client.send(data)
                self.assertEqual(client.read_reply().status, status)

    def test_a_job_that_is_not_json_is_415_with_accept(self):
        daemon = self.start()
        for content_type, status in (
                ("application/json", 200), ("application/json; charset=utf-8", 200),
                ("Application/JSON", 200), ("application/vnd.x+json;v=1", 200),
                ("application/x-www-form-urlencoded", 415), ("text/plain", 415),
                ("application/jsonx", 415), ("text/json-not", 415)):
            with self.subTest(content_type=content_type), daemon.client() as client:
                client.send(request("POST / HTTP/1.1", "Host: x", "Content-Length: 2",
                                    "Content-Type: " + content_type, body=b"{}"))
                reply = client.read_reply()
                self.assertEqual(reply.status, status)
                if status == 415:
                    problem = self.assert_problem(reply, 415, "unsupported-media-type")
                    self.assertEqual(reply.headers["accept"], "application/json")
                    self.assertIn("Content-Type: application/json", problem["detail"])
                self.assertEqual(client.ask(get_bytes()).status, 200)
        with daemon.client() as client:  # none at all is taken for JSON
            client.send(request("POST / HTTP/1.1", "Host: x", "Content-Length: 2", body=b"{}"))
            self.assertEqual(client.read_reply().status, 200)
        reply = daemon.post("{}", headers="Content-Encoding: gzip\r\n")
        self.assert_problem(reply, 415, "unsupported-content-encoding")
        self.assertEqual(daemon.post("{}", headers="Content-Encoding: identity\r\n").status, 200)

    def test_a_body_beyond_the_limit_is_413_from_its_header_alone(self):
        daemon = self.start(MAX_BODY_SIZE=10)
        self.check(daemon, request("POST / HTTP/1.1", "Host: x", "Content-Length: 11"),
                   413, "body-too-large")
        self.check(daemon, request("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked",
                                   body=b"a\r\n{\"data\":1}\r\n1\r\n "), 413, "body-too-large")

    def test_every_problem_is_explained_under_its_type(self):
        daemon = self.start()
        names = {"bad-request-line", "bad-target", "bad-field", "bad-line-end", "bad-host",
                 "bad-content-length", "bad-transfer-encoding", "bad-chunk", "bad-json",
                 "not-found", "method-not-allowed", "header-timeout", "body-timeout",
                 "body-too-large", "target-too-long", "unsupported-media-type",
                 "unsupported-content-encoding", "bad-expectation", "invalid-job",
                 "header-too-large", "unknown-method", "unknown-transfer-coding",
                 "unsupported-version", "queue-full", "queue-timeout", "memory-pressure",
                 "too-many-connections", "no-descriptors", "draining", "handler-failed",
                 "deadline-exceeded"}
        with daemon.client() as client:
            for name in sorted(names):
                with self.subTest(name=name):
                    reply = client.ask("GET /problems/%s HTTP/1.1\r\nHost: x\r\n\r\n" % name)
                    self.assertEqual(reply.status, 200)
                    page = reply.json()
                    self.assertEqual(page["type"], "/problems/" + name)
                    self.assertGreaterEqual(page["status"], 400)
                    self.assertGreater(len(page["title"]), 3)
                    self.assertGreater(len(page["detail"]), 20)
            # What a refusal points at is there, and says the same.
            refusal = self.assert_problem(
                client.ask("GET /none HTTP/1.1\r\nHost: x\r\n\r\n"), 404, "not-found")
            page = client.ask("GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % refusal["type"]).json()
            for member in ("type", "title", "status"):
                self.assertEqual(page[member], refusal[member])


class Expectations(ProtocolTest):
    HEAD = ("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            "X-Request-ID: e\r\nExpect: 100-continue\r\n%s\r\n")

    def test_a_body_that_is_wanted_is_asked_for(self):
        daemon = self.start()
        for fields, body in (("Content-Length: 10\r\n", b'{"data":1}'),
                             ("Transfer-Encoding: chunked\r\n",
                              b'a\r\n{"data":1}\r\n0\r\n\r\n')):
            with self.subTest(fields=fields), daemon.client() as client:
                client.send(self.HEAD % fields)
                interim = client.read_reply()
                self.assertEqual((interim.version, interim.status, interim.headers),
                                 ("HTTP/1.1", 100, {}))
                self.assertFalse(client.readable(0.05))
                client.send(body)
                reply = client.read_reply()
                self.assertEqual(reply.status, 200)
                self.assertEqual(reply.body, b'{"status":"ok","request_id":"e","data":1}')

    def test_a_client_that_does_not_wait_is_answered(self):
        daemon = self.start()
        with daemon.client() as client:
            client.send((self.HEAD % "Content-Length: 10\r\n").encode() + b'{"data":1}' +
                        get_bytes("/none"))
            reply = client.read_reply()
            if reply.status == 100:
                reply = client.read_reply()
            self.assertEqual(reply.status, 200)
            self.assertEqual(client.read_reply().status, 404)

    def test_a_body_that_is_not_wanted_is_refused_instead(self):
        daemon = self.start(MAX_BODY_SIZE=100)
        head = "%s HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\n%s\r\n"
        for line, fields, status in (
                ("POST /none", "Content-Length: 10\r\n", 404),
                ("POST /health", "Content-Length: 10\r\n", 405),
                ("PUT /", "Content-Length: 10\r\n", 405),
                ("POST /", "Content-Length: 101\r\n", 413),
                ("POST /", "Content-Length: 10\r\nContent-Type: text/plain\r\n", 415),
                ("POST /none", "Transfer-Encoding: chunked\r\n", 404)):
            with self.subTest(line=line, fields=fields), daemon.client() as client:
                client.send(head % (line, fields))
                reply = client.read_reply()
                self.assertEqual(reply.status, status)
                self.assert_ended(client, reply)  # or the body would be taken for a request

    def test_without_a_body_or_in_1_0_there_is_nothing_to_expect(self):
        daemon = self.start()
        with daemon.client() as client:
            self.assertEqual(client.ask(get_bytes("/", "Expect: 100-continue\r\n").decode()).status,
                             200)
            client.send("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
                        "Connection: keep-alive\r\n\r\n")
            self.assertFalse(client.readable(0.1))
            client.send("{}")
            self.assertEqual(client.read_reply().status, 200)

    def test_the_100_comes_behind_the_replies_before_it(self):
        daemon = self.start(HANDLERS="/=echo /slow=sleep:100ms")
        with daemon.client() as client:
            client.send(get_bytes("/slow") + get_bytes("/none") +
                        (self.HEAD % "Content-Length: 2\r\n").encode())
            self.assertEqual([client.read_reply().status for _ in range(3)], [200, 404, 100])
            client.send("{}")
            self.assertEqual(client.read_reply().status, 200)


class Fields(ProtocolTest):
    PATHS = ("/health", "/", "/metrics", "/none")

    def test_a_safe_request_id_comes_back(self):
        daemon = self.start()
        with daemon.client() as client:
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
        with daemon.client() as client:
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
            with self.subTest(data=data), daemon.client() as client:
                client.send(data)
                self.assertRegex(client.read_reply().headers["x-request-id"], UUID7)
        with daemon.client() as client:
            reply = client.ask("GET / HTTP/1.1\r\nX-Request-ID: mine\r\n\r\n")
            self.assertEqual((reply.status, reply.headers["x-request-id"]), (400, "mine"))

    def test_the_date_is_right_in_every_reply(self):
        daemon = self.start()
        with daemon.client() as client:
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


if __name__ == "__main__":
    harness.main()
