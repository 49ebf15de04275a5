# ctest: timeout=240
"""Where a body ends: Content-Length, Transfer-Encoding, both, and neither."""

import itertools
import socket

import harness
from harness import get_bytes
import wire
from wire import AFTER, CHUNKED, HOST, JOB, Client, request

BODY = b'{"data":1}'
CHUNKS = b"a\r\n{\"data\":1}\r\n0\r\n\r\n"
ECHO = b'"data":1}'

# Values of all lines of the field, and what they say.
LENGTHS = {
    (): None,
    ("10",): 10,
    ("  10 ",): 10,
    # HTAB is white space, but not to all who read this field.
    ("\t10",): "bad", ("10\t",): "bad", (" \t 10",): "bad",
    ("0",): 0,
    ("",): "bad", (",",): "bad", ("+10",): "bad", ("-10",): "bad", ("0xa",): "bad", ("010",): "bad",
    ("1 0",): "bad", ("10,10",): "bad", ("10, 10",): "bad", ("10,",): "bad", ("10.0",): "bad",
    ("10;a=b",): "bad", ("9223372036854775808",): "bad", ("18446744073709551626",): "bad",
    ("10", "10"): "bad", ("10", "11"): "bad", ("", "10"): "bad",
}
CODINGS = {
    (): None,
    ("chunked",): "chunked",
    ("  CHUNKED  ",): "chunked",
    ("\tchunked",): "bad", ("chunked\t",): "bad", (" chunked \t ",): "bad",
    # Who ends in chunked has told where the body ends; what it is made of is
    # not known here.
    ("gzip, chunked",): "unknown", ("identity,CHUNKED",): "unknown",
    ("x;y=\", chunked\"\t,\tchunked",): "unknown",
    ("gzip",): "bad", ("identity",): "bad", ("x",): "bad", ("xchunked",): "bad",
    ("chunkedx",): "bad", ("chunked;q=1",): "bad", ("gzip, chunked;q=1",): "bad",
    ("\"chunked\"",): "bad", ("chun\xebed",): "bad", ("gzip chunked",): "bad",
    ("gzip;chunked",): "bad", ("\"gzip\", chunked",): "bad", ("x;y=\", chunked",): "bad",
    ("gzip, chunked, gzip",): "bad", ("gzip,, chunked",): "bad",
    ("",): "bad", (",",): "bad", ("chunked,",): "bad", (",chunked",): "bad",
    ("chunked, chunked",): "bad", ("chunked, gzip",): "bad", ("chunked,identity",): "bad",
    ("chunked", "chunked"): "bad", ("chunked", "gzip"): "bad", ("gzip", "chunked"): "bad",
    ("chunked", ""): "bad", ("", "chunked"): "bad", ("identity", "chunked"): "bad",
}


def rule(version, lengths, codings):
    """How long the body is, or why the request is refused. RFC 9112, 6.3, with
    a refusal where it leaves a choice."""
    length, coding = LENGTHS[lengths], CODINGS[codings]
    if coding is not None:
        if length is not None or version == "1.0" or coding == "bad":
            return 400, "bad-transfer-encoding"
        return (501, "unknown-transfer-coding") if coding == "unknown" else "chunked"
    return (400, "bad-content-length") if length == "bad" else length or 0


class Framing(wire.TestCase):
    def test_every_combination_of_length_coding_and_version(self):
        daemon = self.start()
        refused, taken, last = [], [], []
        for version, lengths, codings in itertools.product(("1.0", "1.1"), LENGTHS, CODINGS):
            fields = (["Content-Length: " + value for value in lengths] +
                      ["Transfer-Encoding: " + value for value in codings])
            self.dice.shuffle(fields)
            says = rule(version, lengths, codings)
            data = request("POST / HTTP/" + version, HOST, *fields)
            name = (version, fields)
            if isinstance(says, tuple):
                body = self.dice.choice((BODY, CHUNKS))
                refused.append((name, data + body) + says)
            elif says == "chunked":
                taken.append((name, data + CHUNKS, 200, ECHO))
            else:
                row = (name, data + BODY[:says], 200, ECHO if says else b'"data":null}')
                (last if version == "1.0" else taken).append(row)
        self.assertEqual((len(taken), len(last)), (6, 4))
        self.check_taken(daemon, taken)
        self.check_taken(daemon, last, last=True)
        self.check_refused(daemon, refused)

    def test_forms_of_a_length_that_are_refused(self):
        daemon = self.start()
        values = ["", " ", "+2", "-2", "+ 2", "0x2", "2h", "h", "02", "00", "002", "2 2", "2\t2",
                  "2,2", "2, 2", "2,3", ",2", "2,", ";2", "2;", "2.0", "2e0", "\"2\"", "'2'", "(2)",
                  "2(x)", "NaN", "\xb2", "\xd9\xa2", "\xef\xbc\x92", "2\xa0", "\xa02", "2\t",
                  "2 \t", "9223372036854775808", "18446744073709551615", "18446744073709551616",
                  "18446744073709551618", "4294967298" * 3, "2" * 5000]
        self.check_refused(daemon, [
            (value[:40], request(*JOB, "Content-Length:" + value, body=b"{}"), 400,
             "bad-content-length") for value in values])
        # Refused with every method, also where no body is looked for.
        self.check_refused(daemon, [
            (method, request(method + " / HTTP/1.1", HOST, "Content-Length: 02", body=b"{}"), 400,
             "bad-content-length") for method in ("GET", "HEAD", "OPTIONS", "PUT", "TRACE")])

    def test_no_length_is_too_large_to_be_read_right(self):
        """In 32 or 64 bits these would be small, or negative."""
        daemon = self.start()
        self.check_refused(daemon, [
            (value, request(*JOB, "Content-Length: %d" % value, body=b"{}"), 413, "body-too-large")
            for value in (2 ** 20 + 1, 2 ** 31, 2 ** 32, 2 ** 32 + 2, 2 ** 53 + 1, 2 ** 63 - 1)])
        self.check_refused(daemon, [
            (value, request(*JOB, "Content-Length: %d" % value, body=b"{}"), 400,
             "bad-content-length")
            for value in (2 ** 63, 2 ** 64 - 1, 2 ** 64, 2 ** 64 + 2, 2 ** 128 + 2, 10 ** 100)])

    def test_a_coding_that_is_not_chunked_alone_is_refused(self):
        daemon = self.start()
        for version in ("1.1", "1.2"):
            self.check_refused(daemon, [
                ((version, codings), request("POST / HTTP/" + version, HOST,
                                             *["Transfer-Encoding: " + one for one in codings],
                                             body=CHUNKS)) + rule(version, (), codings)
                for codings in CODINGS if CODINGS[codings] in ("bad", "unknown")])
        # With every method, also where no body is looked for.
        self.check_refused(daemon, [
            ((method, codings), request(method + " / HTTP/1.1", HOST, *codings, body=CHUNKS),
             status,
             word)
            for method in ("GET", "HEAD", "OPTIONS", "PUT", "TRACE")
            for codings, status, word in (
                (("Transfer-Encoding: gzip, chunked",), 501, "unknown-transfer-coding"),
                (("Transfer-Encoding: gzip",), 400, "bad-transfer-encoding"),
                (("Transfer-Encoding:",), 400, "bad-transfer-encoding"),
                (("Transfer-Encoding: chunked", "Content-Length: 5"), 400,
                 "bad-transfer-encoding"))])

    def test_a_body_ends_where_its_length_says(self):
        """Bytes behind it are the next request, bytes in it are not."""
        daemon = self.start()
        inside = get_bytes("/none")
        for length in (0, 1, 2, 9, 10, 100, 4096, 5000, 70000):
            body = (b'{"data":"%s"}' % (b"x" * (length - 11)) if length > 10
                    else {0: b"", 1: b"1", 2: b"{}"}.get(length, b" " * (length - 2) + b"{}"))
            status = 422 if length == 1 else 200
            with self.subTest(length=length), Client(daemon) as client:
                self.assertEqual(len(body), length)
                client.send(request(*JOB, "Content-Length: %d" % length, body=body) + AFTER)
                self.assertEqual(client.read_reply().status, status)
                self.assertEqual(client.read_reply().headers["x-request-id"], "after")
        rows = [("%s %s" % (method, path),
                 request("%s %s HTTP/1.1" % (method, path), HOST,
                         "Content-Length: %d" % len(inside),
                         body=inside), status, b"")
                for method, path, status in (("GET", "/health", 200), ("HEAD", "/health", 200),
                                             ("PUT", "/", 405), ("POST", "/none", 404),
                                             ("OPTIONS", "/", 204), ("DELETE", "/health", 405),
                                             ("POST", "/", 400))]
        self.check_taken(daemon, rows, ways=("whole", "behind another"))

    def test_without_length_or_coding_there_is_no_body(self):
        daemon = self.start()
        self.check_taken(daemon, [
            (method, request(method + " / HTTP/1.1", HOST), status, b"")
            for method, status in (("GET", 200), ("HEAD", 200), ("POST", 200), ("PUT", 405),
                                   ("DELETE", 405), ("OPTIONS", 204))])
        # Not even one that Content-Type seems to announce.
        with Client(daemon) as client:
            client.send(request(*JOB, "Content-Type: application/json", body=b'{"data":1}'))
            self.assertTrue(client.read_reply().body.endswith(b'"data":null}'))
            reply = client.read_reply()
            self.assert_problem(reply, 400, "bad-request-line")
            self.assert_ended(client, reply)

    def test_a_body_that_ends_too_early_is_no_request(self):
        daemon = self.start()
        parts = [request(*JOB, "Content-Length: 11", body=BODY),
                 request(*JOB, "Content-Length: 10"),
                 request(*JOB, "Content-Length: 100", body=BODY),
                 request(*CHUNKED, body=CHUNKS[:-1]), request(*CHUNKED, body=CHUNKS[:-2]),
                 request(*CHUNKED, body=CHUNKS[:-5]), request(*CHUNKED, body=CHUNKS[:-7]),
                 request(*CHUNKED, body=CHUNKS[:5]), request(*CHUNKED, body=CHUNKS[:1]),
                 request(*CHUNKED), request(*CHUNKED, body=CHUNKS[:-2] + b"A: b")]
        for part in parts:
            with self.subTest(part=part), Client(daemon) as client:
                client.send(part)
                client.sock.shutdown(socket.SHUT_WR)
                self.assertTrue(client.at_end())
        self.eventually(lambda: daemon.metrics()["connections_closed"]
                        .get("request-truncated", 0) == len(parts), "the count of cut requests")
        self.assertEqual(daemon.metrics()["handlers"][0]["ok"], 0)


if __name__ == "__main__":
    harness.main()
