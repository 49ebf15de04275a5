"""What is refused, one of each kind: its status, its name, and its counter."""

import harness
from harness import get_bytes
import wire
from wire import Client, request


class Refusals(wire.TestCase):
    def check(self, daemon, data, status, name):
        """The refusal is clear, and ends the connection in order."""
        with Client(daemon) as client:
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
                b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\n",
                b"GET / HTTP/1.1\r\rHost: x\r\n\r\n"],
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
                request(*job, "Transfer-Encoding: gzip", body=b"0\r\n\r\n"),
                request(*job, "Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
                request(*job, "Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
                request("POST / HTTP/1.0", "Transfer-Encoding: chunked", body=b"0\r\n\r\n")],
            "bad-chunk": [
                request(*chunked, body=body)
                for body in (b"zz\r\n", b"\r\n", b"-1\r\n", b"0x2\r\n{}", b"2\n{}\r\n", b"2 \r\n",
                             b"2\r\n{}2\r\n", b"2\r\n{}\n", b"0\r\nA b: c\r\n\r\n", b"2\r{}\r\n",
                             b"0\r\n\rx", b"2;\x01\r\n",
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
              for coding in ("gzip, chunked", "identity, chunked", "x, y;z=1, Chunked")]),
            (505, "unsupported-version", [request("GET / HTTP/2.0", host),
                                          request("GET / HTTP/3.1", host),
                                          request("GET / HTTP/0.9"),
                                          b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]),
            (417, "bad-expectation", [request("POST / HTTP/1.1", host, "Content-Length: 2",
                                              "Expect: " + what, body=b"{}")
                                      for what in ("200-ok", "100-continue, x", "x")]),
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
            with self.subTest(size=size), Client(daemon) as client:
                client.send(data)
                self.assertEqual(client.read_reply().status, status)

    def test_a_job_that_is_not_json_is_415_with_accept(self):
        daemon = self.start()
        for content_type, status in (
                ("application/json", 200), ("application/json; charset=utf-8", 200),
                ("Application/JSON", 200), ("application/vnd.x+json;v=1", 200),
                ("application/x-www-form-urlencoded", 415), ("text/plain", 415),
                ("application/jsonx", 415), ("text/json-not", 415),
                ("a/b+JSON", 200), ("!#$%&'*+-.^_`|~/x+json", 200), ("application/json ;a=b", 200),
                ('application/json;\ta="b;, \\"c\\\\";d=e ; ;', 200), ("application/json;", 200),
                ("text/plain, application/x+json", 415), ("application/json, application/json", 415),
                ("foo bar+json", 415), ("application /json", 415), ("application/ json", 415),
                ("text/html/x+json", 415), ("+json", 415), ("json", 415), ("application/", 415),
                ("/json", 415), ("/x+json", 415), ("application/+json", 415), ("text/json", 415),
                ("\xff\xff+json", 415), ("\xff/x+json", 415), ('application/json;;;x="', 415),
                ("application/json;x", 415), ("application/json;x=", 415),
                ("application/json;=x", 415), ("application/json; x =y", 415),
                ("application/json;x= y", 415), ('application/json;x="y"z', 415),
                ("application/json x", 415), ("text/plain;a=x+json", 415),
                ('"application/json"', 415), ("", 415), (" \t", 415), (",", 415)):
            with self.subTest(content_type=content_type), Client(daemon) as client:
                client.send(request("POST / HTTP/1.1", "Host: x", "Content-Length: 2",
                                    "Content-Type: " + content_type, body=b"{}"))
                reply = client.read_reply()
                self.assertEqual(reply.status, status)
                if status == 415:
                    problem = self.assert_problem(reply, 415, "unsupported-media-type")
                    self.assertEqual(reply.headers["accept"], "application/json")
                    self.assertIn("Content-Type: application/json", problem["detail"])
                self.assertEqual(client.ask(get_bytes()).status, 200)
        with Client(daemon) as client:  # none at all is taken for JSON
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
                 "deadline-exceeded", "misdirected", "upload-too-slow", "precondition-failed"}
        with Client(daemon) as client:
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


if __name__ == "__main__":
    harness.main()
