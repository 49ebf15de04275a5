"""The request line: one method, one space, one target, one space, a version."""

import harness
from harness import get_bytes
import wire
from wire import HOST, Client, request

OK = b'{"status":"ok"}'


def line(text):
    return text.encode("latin-1") + b"\r\nHost: x\r\n\r\n"


class RequestLines(wire.TestCase):
    def test_white_space_other_than_single_spaces_is_refused(self):
        daemon = self.start()
        bad = ["GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET  /  HTTP/1.1", " GET / HTTP/1.1",
               "GET / HTTP/1.1 ", "\tGET / HTTP/1.1", "GET\t/ HTTP/1.1", "GET / HTTP/1.1\t",
               "GET / \x0cHTTP/1.1", "GET / health HTTP/1.1", "GET / HTTP/1.1 x", "GET / HTTP /1.1",
               "GET / HTTP/ 1.1", "GET / HTTP/1 .1", "G ET / HTTP/1.1", "GET HTTP/1.1", "GET /",
               "GET / ", "GET", "GET ", " ", "/ HTTP/1.1", " / HTTP/1.1"]
        # In the place of the target they are octets that no target has.
        targets = ["GET \t/ HTTP/1.1", "GET /\tHTTP/1.1", "GET /\t HTTP/1.1", "GET /\x0bHTTP/1.1",
                   "GET /\x0b HTTP/1.1", "GET /\xa0HTTP/1.1"]
        self.check_refused(daemon, [(text, line(text), 400, "bad-request-line") for text in bad])
        self.check_refused(daemon, [(text, line(text), 400, "bad-target") for text in targets])

    def test_what_is_not_http_is_refused_at_its_first_bytes(self):
        """Nothing more has to come for that."""
        daemon = self.start()
        for data, status, word in (
                (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad-request-line"),
                (b"\0", 400, "bad-request-line"), (b"{", 400, "bad-request-line"),
                (b"\x80", 400, "bad-request-line"), (b":", 400, "bad-request-line"),
                (b"\n", 400, "bad-line-end"), (b"\rG", 400, "bad-line-end"),
                (b"SSH-2.0-OpenSSH_9.2\r\n", 400, "bad-request-line"),
                (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", 400, "bad-request-line"),
                (b"\r\n\r\n\0\r\nQUIT\n", 400, "bad-request-line"),
                (b"HTTP/1.1 200 OK\r\n\r\n", 400, "bad-request-line"),
                (b"<?xml", 400, "bad-request-line"), (b"GET / HTTP/1.1\n", 400, "bad-line-end"),
                (b"GET / HTTP/1.1\rX", 400, "bad-line-end"), (b"GET \n", 400, "bad-line-end")):
            with self.subTest(data=data), Client(daemon) as client:
                client.send(data)
                reply = client.read_reply()
                self.assertEqual((reply.status, reply.problem()), (status, word), reply)
                self.assert_ended(client, reply)

    def test_empty_lines_before_it_are_skipped(self):
        daemon = self.start()
        get = get_bytes("/health")
        self.check_taken(daemon, [("one", b"\r\n" + get, 200, OK),
                                  ("eight", b"\r\n" * 8 + get, 200, OK)])
        with Client(daemon) as client:
            client.send(request("POST / HTTP/1.1", HOST, "Content-Length: 2", body=b"{}\r\n") + get)
            self.assertEqual([client.read_reply().status for _ in range(2)], [200, 200])
        self.check_refused(daemon, [
            ("nine", b"\r\n" * 9 + get, 400, "bad-request-line"),
            ("bare LF", b"\n" + get, 400, "bad-line-end"),
            ("bare LF after CRLF", b"\r\n\n" + get, 400, "bad-line-end"),
            ("bare CR", b"\r" + get, 400, "bad-line-end"),
            ("CR CR LF", b"\r\r\n" + get, 400, "bad-line-end"),
            ("space", b" \r\n" + get, 400, "bad-request-line"),
            ("tab", b"\r\n\t\r\n" + get, 400, "bad-request-line"),
            ("NUL", b"\0\r\n" + get, 400, "bad-request-line")])

    def test_a_line_ends_in_crlf(self):
        daemon = self.start()
        start, rest = b"GET / HTTP/1.1", b"Host: x\r\n\r\n"
        self.check_refused(daemon, [
            (end, start + end + rest, 400, "bad-line-end")
            for end in (b"\n", b"\r", b"\n\r", b"\r\r\n", b"\n\n", b"\r\0\n")])
        self.check_refused(daemon, [
            ("CR in the method", b"G\rET / HTTP/1.1\r\n" + rest, 400, "bad-line-end"),
            ("LF in the method", b"G\nET / HTTP/1.1\r\n" + rest, 400, "bad-line-end"),
            ("CR in the target", b"GET /a\rb HTTP/1.1\r\n" + rest, 400, "bad-line-end"),
            ("LF in the target", b"GET /a\nb HTTP/1.1\r\n" + rest, 400, "bad-line-end"),
            ("CR in the version", b"GET / HTTP\r/1.1\r\n" + rest, 400, "bad-line-end"),
            ("CRLF in the target", b"GET /a\r\nb HTTP/1.1\r\n" + rest, 400, "bad-request-line"),
            ("all in bare LF", b"GET / HTTP/1.1\nHost: x\n\n", 400, "bad-line-end")])

    def test_no_white_space_stands_between_it_and_the_first_field(self):
        """One reader might skip such a line, another take it for a field."""
        daemon = self.start()
        start, rest = b"GET / HTTP/1.1\r\n", b"Host: x\r\n\r\n"
        self.check_refused(daemon, [
            (between, start + between + rest, 400, "bad-field")
            for between in (b" ", b"\t", b" \r\n", b"\t\r\n", b" A: b\r\n",
                            b"\tContent-Length: 5\r\n", b" Transfer-Encoding: chunked\r\n",
                            b"  \r\n \r\n")])

    def test_a_target_that_is_too_long_is_414(self):
        daemon = self.start(MAX_HEADER_SIZE=1000)
        rows = [("a whole line", request("GET /%s HTTP/1.1" % ("a" * 1000), HOST)),
                ("no end of it", b"GET /" + b"a" * 1000),
                ("query", request("GET /?%s HTTP/1.1" % ("a" * 5000), HOST)),
                ("absolute form", request("GET http://x/%s HTTP/1.1" % ("a" * 2000), HOST)),
                ("host of it", request("GET http://%s/ HTTP/1.1" % ("a" * 2000), HOST))]
        self.check_refused(daemon, [(name, data, 414, "target-too-long") for name, data in rows])
        longest = 1000 - len(request("GET /? HTTP/1.1", "Host: x"))
        data = request("GET /?%s HTTP/1.1" % ("a" * longest), "Host: x")
        self.check_taken(daemon, [("the longest", data, 200, b'"data":null}')])


if __name__ == "__main__":
    harness.main()
