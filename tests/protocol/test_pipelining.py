"""Several requests on a connection: their replies, and the order of these."""

import random
import socket
import struct
import uuid

import harness
from harness import get_bytes, post_bytes
import wire
from wire import Client, request

JOB = b'{"data": {"n": [1, 2.50, "\xc3\xa9"]}}'
CHUNKED_JOB = (b"POST / HTTP/1.1\r\nHost: x\r\nX-Request-ID: chunked-1\r\n"
               b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"5;name=value\r\n{\"dat\r\n00C\r\na\": {\"n\": 1}\r\n1\r\n}\r\n"
               b"0\r\nTrailer: x\r\n\r\n")


def data_segments(sock):
    """How many segments with data came in (tcp_info, since Linux 4.6); 0 where
    that is not known."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return struct.unpack_from("I", info, 152)[0] if len(info) >= 156 else 0


class Pipelines(wire.TestCase):
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
        with Client(daemon) as client:
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
            with self.subTest(before=before), Client(daemon) as client:
                client.send(b"".join(before) + broken + get_bytes("/health"))
                for _ in before:
                    reply = client.read_reply()
                    self.assertEqual(reply.status, 200)
                    self.assertFalse(reply.closes())
                reply = client.read_reply()
                self.assert_problem(reply, 400, "bad-field")
                self.assert_ended(client, reply)

    def test_a_pipeline_of_refusals_and_answers_keeps_its_order(self):
        """What is refused without harm to the framing does not end the connection."""
        daemon = self.start(MAX_BODY_SIZE=100)
        with Client(daemon) as client:
            client.send(get_bytes("/none") + get_bytes("/health") +
                        post_bytes("{", headers="X-Request-ID: j\r\n") +
                        request("BREW / HTTP/1.1", "Host: x") + get_bytes("/health"))
            self.assertEqual([client.read_reply().status for _ in range(4)], [404, 200, 400, 501])
            self.assertTrue(client.at_end())

    def test_no_request_knows_anything_of_the_one_before(self):
        """They may come from different clients, through one proxy."""
        daemon = self.start()
        with Client(daemon) as client:
            client.send(request("GET /metrics HTTP/1.1", "Host: x", "X-Request-ID: first",
                                "Accept: text/plain;version=0.0.4") +
                        get_bytes("/metrics") +
                        request("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked",
                                "X-Request-ID: second", body=b"2\r\n{}\r\n0\r\n\r\n") +
                        post_bytes("{}") + request("GET / HTTP/1.1"))
            replies = [client.read_reply() for _ in range(5)]
        self.assertEqual([reply.status for reply in replies], [200, 200, 200, 200, 400])
        self.assertEqual(len({reply.headers["x-request-id"] for reply in replies}), 5)
        self.assertEqual(replies[1].headers["content-type"], "application/json")
        self.assertNotEqual(replies[3].json()["request_id"], "second")
        # The Host of the others is none of the last one.
        self.assert_problem(replies[4], 400, "bad-host")


if __name__ == "__main__":
    harness.main()
