"""Expect: 100-continue, answered from the header section alone."""

import harness
from harness import get_bytes
import wire
from wire import HOST, Client, request


class Expectations(wire.TestCase):
    HEAD = ("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            "X-Request-ID: e\r\nExpect: 100-continue\r\n%s\r\n")

    def test_a_body_that_is_wanted_is_asked_for(self):
        daemon = self.start()
        for fields, body in (("Content-Length: 10\r\n", b'{"data":1}'),
                             ("Transfer-Encoding: chunked\r\n",
                              b'a\r\n{"data":1}\r\n0\r\n\r\n')):
            with self.subTest(fields=fields), Client(daemon) as client:
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
        with Client(daemon) as client:
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
            with self.subTest(line=line, fields=fields), Client(daemon) as client:
                client.send(head % (line, fields))
                reply = client.read_reply()
                self.assertEqual(reply.status, status)
                self.assert_ended(client, reply)  # or the body would be taken for a request

    def test_without_a_body_or_in_1_0_there_is_nothing_to_expect(self):
        daemon = self.start()
        with Client(daemon) as client:
            self.assertEqual(client.ask(get_bytes("/", "Expect: 100-continue\r\n").decode()).status,
                             200)
            client.send("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
                        "Connection: keep-alive\r\n\r\n")
            self.assertFalse(client.readable(0.1))
            client.send("{}")
            self.assertEqual(client.read_reply().status, 200)

    def test_the_100_comes_behind_the_replies_before_it(self):
        daemon = self.start(HANDLERS="/=echo /slow=sleep:100ms")
        with Client(daemon) as client:
            client.send(get_bytes("/slow") + get_bytes("/none") +
                        (self.HEAD % "Content-Length: 2\r\n").encode())
            self.assertEqual([client.read_reply().status for _ in range(3)], [200, 404, 100])
            client.send("{}")
            self.assertEqual(client.read_reply().status, 200)

    def test_an_expectation_of_something_else_is_417(self):
        daemon = self.start()
        values = ("200-ok", "100-continue, x", "x, 100-continue", "100-continue;a=b",
                  "100-continue=1", "100 continue", '"100-continue"', "100-continuex",
                  "100-continu", "x=y", ",x", 'x=", 100-continue"')
        job = ("POST / HTTP/1.1", HOST, "Content-Length: 2")
        self.check_refused(daemon, [(value, request(*job, "Expect: " + value, body=b"{}"), 417,
                                     "bad-expectation") for value in values] + [
            ("in two", request(*job, "Expect: 100-continue", "Expect: x", body=b"{}"), 417,
             "bad-expectation"),
            ("in two", request(*job, "Expect: x", "Expect: 100-continue", body=b"{}"), 417,
             "bad-expectation"),
            ("in 1.0 too", request("POST / HTTP/1.0", "Expect: 100-continue, x",
                                   "Content-Length: 2", body=b"{}"), 417, "bad-expectation"),
            ("in 1.0", request("POST / HTTP/1.0", "Expect: x", "Content-Length: 2", body=b"{}"),
             417, "bad-expectation")])

    def test_its_case_means_nothing(self):
        daemon = self.start()
        for value in ("100-continue", "100-CONTINUE", "100-Continue", " \t100-continue \t"):
            for version in ("1.1", "1.2"):
                with self.subTest(value=value, version=version), Client(daemon) as client:
                    client.send(request("POST / HTTP/" + version, HOST, "eXpect:" + value,
                                        "Content-Length: 2"))
                    self.assertEqual(client.read_reply().status, 100)
                    client.send(b"{}")
                    self.assertEqual(client.read_reply().status, 200)

    def test_it_may_be_said_twice(self):
        """A list of which each member is met: one 100, and none in 1.0."""
        daemon = self.start()
        for fields in (("Expect: 100-continue, 100-continue",), ("Expect: ,100-CONTINUE,",),
                       ("Expect: 100-continue", "Expect: 100-continue"),
                       ("Expect:", "Expect: 100-continue")):
            with self.subTest(fields=fields), Client(daemon) as client:
                client.send(request("POST / HTTP/1.1", HOST, *fields, "Content-Length: 2"))
                self.assertEqual(client.read_reply().status, 100)
                client.send(b"{}")
                self.assertEqual(client.read_reply().status, 200)
                client.send(request("POST / HTTP/1.0", HOST, *fields, "Content-Length: 2"))
                self.assertFalse(client.readable(0.05))
                client.send(b"{}")
                reply = client.read_reply()
                self.assertEqual((reply.status, reply.closes()), (200, True))

    def test_nothing_is_expected_by_an_empty_list(self):
        daemon = self.start()
        for value in ("", ",", " ,\t, "):
            with self.subTest(value=value), Client(daemon) as client:
                client.send(request("POST / HTTP/1.1", HOST, "Expect:" + value,
                                    "Content-Length: 2"))
                self.assertFalse(client.readable(0.05))
                client.send(b"{}")
                self.assertEqual(client.read_reply().status, 200)

    def test_no_interim_reply_without_a_body_to_come(self):
        daemon = self.start()
        for method, fields in (("POST", ("Content-Length: 0",)), ("POST", ()), ("GET", ()),
                               ("HEAD", ())):
            with self.subTest(method=method, fields=fields), Client(daemon) as client:
                client.send(request(method + " / HTTP/1.1", HOST, "Expect: 100-continue", *fields))
                self.assertEqual(client.read_reply(method).status, 200)
                client.send(get_bytes("/none"))
                self.assertEqual(client.read_reply().status, 404)

    def test_a_broken_body_after_the_100_gets_its_final_status(self):
        daemon = self.start(MAX_BODY_SIZE=100)
        for body, status, word in ((b"x\r\n", 400, "bad-chunk"), (b"65\r\n", 413,
                                                                  "body-too-large")):
            with self.subTest(body=body), Client(daemon) as client:
                client.send(self.HEAD % "Transfer-Encoding: chunked\r\n")
                self.assertEqual(client.read_reply().status, 100)
                client.send(body + b"x" * 101)
                reply = client.read_reply()
                self.assert_problem(reply, status, word)
                self.assert_ended(client, reply)

    def test_no_interim_reply_in_1_0(self):
        daemon = self.start()
        for expectation in ("100-continue", "100-CONTINUE"):
            for fields in ((), ("Connection: keep-alive",)):
                with self.subTest(expectation=expectation, fields=fields), \
                        Client(daemon) as client:
                    client.send(request("POST / HTTP/1.0", "Expect: " + expectation,
                                        "Content-Length: 2", *fields))
                    self.assertFalse(client.readable(0.05))
                    client.send(b"{}")
                    reply = client.read_reply()
                    self.assertEqual((reply.status, reply.closes()), (200, not fields))


if __name__ == "__main__":
    harness.main()
