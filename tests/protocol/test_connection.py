"""When a connection ends, and that nothing is read of it after that."""

import socket

import harness
from harness import get_bytes, post_bytes
import wire
from wire import AFTER, Client, request

JOB = b'{"data": {"n": [1, 2.50, "\xc3\xa9"]}}'
CHUNKED_JOB = (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"a\r\n{\"data\":1}\r\n0\r\n\r\n")


class Ends(wire.TestCase):
    def test_http_1_0_ends_after_its_reply_unless_asked_not_to(self):
        daemon = self.start()
        for path in ("/health", "/"):
            with Client(daemon) as client:
                reply = client.ask("GET %s HTTP/1.0\r\n\r\n" % path)
                self.assertEqual(reply.status, 200)
                self.assert_ended(client, reply)
            with Client(daemon) as client:
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
                with self.subTest(path=path, option=option), Client(daemon) as client:
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
                with self.subTest(last=last, behind=behind[:9]), Client(daemon) as client:
                    sender = self.send_aside(client, last + behind)
                    reply = client.read_reply()
                    self.assertEqual(reply.status, 200)
                    self.assert_ended(client, reply)
                    self.assertIsNone(sender.join())  # such as a reset

    def test_bytes_after_the_last_reply_cause_no_reset(self):
        daemon = self.start()
        with Client(daemon) as client:
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
        with Client(daemon) as client:
            client.send(get_bytes("/health") * 3)
            client.sock.shutdown(socket.SHUT_WR)
            for _ in range(3):
                self.assertEqual(client.read_reply().status, 200)
            self.assertTrue(client.at_end())

    def test_a_request_that_is_cut_off_gets_no_reply(self):
        daemon = self.start()
        for part in (b"GET /hea", post_bytes(JOB)[:-1], CHUNKED_JOB[:-1], b"\r"):
            with self.subTest(part=part), Client(daemon) as client:
                client.send(part)
                client.sock.shutdown(socket.SHUT_WR)
                self.assertTrue(client.at_end())
        self.eventually(lambda: daemon.metrics()["connections_closed"]
                        .get("request-truncated", 0) == 4, "the count of cut requests")

    def test_what_follows_the_last_request_is_not_processed(self):
        daemon = self.start()
        job = post_bytes('{"data":1}')
        lasts = [get_bytes("/none", "Connection: close\r\n"),
                 get_bytes("/health", "Connection: close\r\n"),
                 request("OPTIONS * HTTP/1.1", "Host: x", "Connection: close"),
                 request("GET /health HTTP/1.0"),
                 request("GET /health HTTP/1.1", "Host: x", "Bad field: x"),
                 request("BREW / HTTP/1.1", "Host: x")]
        for way in ("in one piece", "apart"):
            for last in lasts:
                with self.subTest(way=way, last=last), Client(daemon) as client:
                    client.send_pieces([last + job] if way == "in one piece" else [last])
                    reply = client.read_reply()
                    if way == "apart":
                        client.send_pieces([job])
                    self.assert_ended(client, reply)
        handlers = daemon.metrics()["handlers"]
        self.assertEqual([handler["ok"] for handler in handlers], [0])

    def test_connection_options(self):
        def with_options(version, *values):
            return request("GET /health HTTP/%s" % version, "Host: x",
                           *["Connection: " + value for value in values])

        daemon = self.start()
        ok = b'{"status":"ok"}'
        closing = [("1.1", "close"), ("1.1", "CLOSE"), ("1.1", "\tclose \t"), ("1.1", "x,close"),
                   ("1.1", "close , x"), ("1.1", ",,close,,"), ("1.1", "keep-alive, close"),
                   ("1.1", "close, keep-alive"), ("1.1", "keep-alive", "close"),
                   ("1.1", "close", "keep-alive"), ("1.1", "x", "", "close"),
                   ("1.0",), ("1.0", ""), ("1.0", "x"), ("1.0", "keep-alives"),
                   ("1.0", "keep_alive"), ("1.0", "keep-alive, close"),
                   ("1.0", "close", "keep-alive"), ("1.2", "close")]
        self.check_taken(daemon, [(options, with_options(*options), 200, ok)
                                  for options in closing], last=True)
        staying = [("1.1",), ("1.1", ""), ("1.1", ","), ("1.1", "closed"), ("1.1", "clos"),
                   ("1.1", "close-not"), ("1.1", "x-close, close-x"), ("1.1", "keep-alive"),
                   ("1.1", "Host"), ("1.1", "Content-Length, X-Request-ID"), ("1.1", "TE"),
                   ("1.0", "keep-alive"), ("1.0", "Keep-Alive"), ("1.0", "x, KEEP-ALIVE ,"),
                   ("1.0", "x", "keep-alive"), ("1.2",), ("1.9", "keep-alive")]
        self.check_taken(daemon, [(options, with_options(*options), 200, ok)
                                  for options in staying])
        broken = ["a b", "close;x", "close x", '"close"', "clo\xe9se", "close=1", "a,b c",
                  "(close)", "close, keep alive",
                  "@"]
        self.check_refused(daemon, [(value, with_options("1.1", value), 400, "bad-field")
                                    for value in broken])

    def test_a_request_that_does_not_arrive_whole_in_time_ends_the_connection(self):
        daemon = self.start(READ_TIMEOUT="300ms")
        for part, word in ((b"G", "header-timeout"), (b"GET / HTTP/1.1\r\n", "header-timeout"),
                           (get_bytes()[:-1], "header-timeout"),
                           (post_bytes(JOB)[:-1], "body-timeout"),
                           (CHUNKED_JOB[:-1], "body-timeout"),
                           (CHUNKED_JOB[:-12], "body-timeout")):
            with self.subTest(part=part), Client(daemon) as client:
                client.send(part)
                reply = client.read_reply()
                self.assert_problem(reply, 408, word)
                client.send_pieces([AFTER])
                self.assert_ended(client, reply)
        with Client(daemon) as client:
            client.send("HEAD / HTTP/1.1\r\n")
            reply = client.read_reply("HEAD")
            self.assertEqual(reply.status, 408)
            self.assert_ended(client, reply)

    def test_nothing_is_done_before_the_header_section_is_whole(self):
        daemon = self.start()
        for rest in (b"\r", b"\rx", b"Bad field: x\r\n", b"Content-Length: x\r\n\r\n",
                     b"Host: y\r\n\r\n", b"Expect: x\r\n\r\n"):
            with self.subTest(rest=rest), Client(daemon) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
                self.assertFalse(client.readable(0.05))
                client.send(rest)
                if rest == b"\r":
                    client.sock.shutdown(socket.SHUT_WR)
                    self.assertTrue(client.at_end())
                else:
                    self.assertIn(client.read_reply().status, (400, 417))
        self.assertEqual(daemon.metrics()["handlers"][0]["ok"], 0)


if __name__ == "__main__":
    harness.main()
