# ctest: timeout=240
"""The chunked coding: sizes, extensions, data, trailers, and their bounds."""

import harness
import wire
from wire import AFTER, Client, chunked

ECHO = b'"data":1}'
LAST = b"0\r\n\r\n"


def with_size(size):
    """A job in a chunk whose size line is this."""
    return chunked(size + b"\r\n{\"data\":1}\r\n" + LAST)


def with_trailer(trailer):
    return chunked(b"a\r\n{\"data\":1}\r\n0\r\n" + trailer)


class Chunks(wire.TestCase):
    def test_a_body_in_chunks_is_put_together(self):
        daemon = self.start()
        rows = [("one", chunked(b"a\r\n{\"data\":1}\r\n" + LAST), 200, ECHO),
                ("a byte each", chunked(b"".join(b"1\r\n%c\r\n" % c for c in b'{"data":1}') + LAST),
                 200, ECHO),
                ("data that looks like framing",
                 chunked(b'10\r\n{"data":\r\n0\r\n\r\n}\r\n' + LAST), 200, b'"data":0}'),
                ("CRLF as data", chunked(b'c\r\n{"data":1}\r\n\r\n' + LAST), 200, ECHO),
                ("no data", chunked(LAST), 200, b'"data":null}')]
        large = b'{"data":"%s"}' % (b"x" * 70000)
        rows.append(("large", chunked(b"%X\r\n%s\r\n" % (len(large), large) + LAST), 200,
                     b'"data":"%s"}' % (b"x" * 70000)))
        self.check_taken(daemon, rows)

    def test_a_size_is_hexadecimal_in_either_case(self):
        daemon = self.start()
        self.check_taken(daemon, [
            (size, with_size(size), 200, ECHO)
            for size in (b"a", b"A", b"0a", b"0A", b"000a", b"00000000000000A")])
        for size in (0x1f, 0xab, 0xCDE, 0xff0):
            body = b'{"data":1' + b" " * (size - 10) + b"}"
            self.check_taken(daemon, [
                ((form, size), chunked(form % size + b"\r\n" + body + b"\r\n" + LAST), 200, ECHO)
                for form in (b"%x", b"%X", b"0%x")])

    def test_what_is_no_size_is_refused(self):
        daemon = self.start()
        sizes = [b"", b" ", b"\t", b" a", b"\ta", b"a ", b"a\t", b"a  ", b"+a", b"-a", b"-1",
                 b"0xa", b"0Xa", b"xa", b"ah", b"ag", b"g", b"h", b"z", b"a.", b".a", b"a,", b"a,a",
                 b"a a", b"a_", b"_a", b"\"a\"", b"'a'", b"(a)", b"a=b", b"a:", b"a\0", b"\0a",
                 b"a\x0b", b"a\x80", b"\xef\xbc\xa1", b"\xff", b"1e+1", b"{", b"0000000000000000a",
                 b"000000000000000a", b"100000000000000a", b"1000000000000000a",
                 b"fffffffffffffffff", b"ffffffffffffffff", b"-0"]
        self.check_refused(daemon, [(size, with_size(size), 400, "bad-chunk") for size in sizes])

    def test_each_octet_behind_a_size(self):
        daemon = self.start()
        rows = [(octet, with_size(b"a" + bytes([octet]) + b"b"), 400, "bad-chunk")
                for octet in set(range(256)) - set(b"0123456789abcdefABCDEF;")]
        self.check_refused(daemon, rows, ways=("whole",))
        self.assertEqual(len(rows), 233)

    def test_no_size_is_too_large_to_be_read_right(self):
        """It is refused at once, by what it says, and does not wrap around."""
        daemon = self.start(MAX_BODY_SIZE=1000)
        self.check_refused(daemon, [
            (hex(size), with_size(b"%x" % size), 413, "body-too-large")
            for size in (1001, 2 ** 31 + 10, 2 ** 32 + 10, 2 ** 53 + 10, 2 ** 60 - 1)])
        self.check_refused(daemon, [
            (hex(size), with_size(b"%x" % size), 400, "bad-chunk")
            for size in (2 ** 60, 2 ** 63, 2 ** 64 + 10, 2 ** 65 + 10, 2 ** 128 + 10)])
        full = b"3e8\r\n{\"data\":1%s}\r\n" % (b" " * 990)
        self.check_taken(daemon, [("just fits", chunked(full + LAST), 200, ECHO)])
        self.check_refused(daemon, [("a byte more", chunked(full + b"1\r\n \r\n" + LAST), 413,
                                     "body-too-large")])

    def test_lines_end_in_crlf(self):
        daemon = self.start()
        good = [b"a", b"\r\n", b'{"data":1}', b"\r\n", b"0", b"\r\n", b"\r\n"]
        self.check_refused(daemon, [
            ((at, wrong), chunked(b"".join(good[:at] + [wrong] + good[at + 1:])), 400, "bad-chunk")
            for at, part in enumerate(good) if part == b"\r\n"
            for wrong in (b"\n", b"\r", b"\n\r", b"\r\r\n", b"", b" \r\n", b"\0\r\n", b"x\r\n")])

    def test_data_is_as_long_as_its_size(self):
        daemon = self.start()
        self.check_refused(daemon, [(size, with_size(size), 400, "bad-chunk")
                                    for size in (b"9", b"b", b"1", b"c", b"14")])


class Extensions(wire.TestCase):
    def test_extensions_are_skipped(self):
        daemon = self.start()
        extensions = [b";a", b";a=b", b";a=b;c", b";a;b=c;d", b";a=\"\"", b";a=\"b\"",
                      b";a=\"b c;d=e\"", b";a=\"\\\"\"", b";a=\"\\\\\"", b";a=\"\\b\"",
                      b";a=\"\t\"", b";a=\"\xe9\xff\"",
                      b";!#$%&'*+-.^_`|~=!#$%&'*+-.^_`|~", b";0=0", b";a=1;a=2", b";" + b"n" * 1000,
                      b" ;a", b"\t; a", b"; \ta", b";a =b", b";a= b", b";a \t=\t \"b\"", b";a=b ;c",
                      b";a ;b", b";a=\"b\" ; c = d",
                      b";a=\"" + b"v" * 3000 + b"\"", b";Content-Length=5", b";chunked"]
        self.check_taken(daemon, [(extension[:40], with_size(b"a" + extension), 200, ECHO)
                                  for extension in extensions])
        self.check_taken(daemon, [
            (("last", extension[:40]), chunked(b"a\r\n{\"data\":1}\r\n0%s\r\n\r\n" % extension),
             200, ECHO) for extension in extensions])

    def test_extensions_that_are_none_are_refused(self):
        """White space too where a line ends, which it does for some readers."""
        daemon = self.start()
        extensions = [b";", b";;", b";a;", b";a;;b", b";=", b";=b", b";a=", b";a==b", b";a=b=c",
                      b";a=;b", b" ", b"\t", b" a", b"; ", b";\t;a", b";a ", b";a b", b";a =",
                      b";a= ", b";a=b ", b";a=b c", b";a=\"b", b";a=\"b\\\"", b";a=\"b\"c", b";a=\"b\" ",
                      b";a=b\"c\"", b";a=\"b\"\"c\"", b";\"a\"=b", b";a\0", b";a=\0", b";a=\"\0\"",
                      b";a=\"\x7f\"", b";a=\"\x01\"", b";a=\"\\\0\"", b";a=\"\r\"", b";a=\"\n\"",
                      b";a=\"\\\r\n\"", b";a\r", b";a\n", b";a=b\n", b";\n", b";a\n;b", b";\xe9",
                      b";a=\xe9", b";a,b", b";a:b", b";a/b", b";{}",
                      b";(a)"]
        self.check_refused(daemon, [(extension, with_size(b"a" + extension), 400, "bad-chunk")
                                    for extension in extensions])
        self.check_refused(daemon, [
            (("last", extension), chunked(b"a\r\n{\"data\":1}\r\n0%s\r\n\r\n" % extension), 400,
             "bad-chunk") for extension in extensions])

    def test_extensions_are_bounded_in_a_message(self):
        daemon = self.start()
        fits, over = b"n" * 4095, b"n" * 4096
        self.check_taken(daemon, [("one", with_size(b"a;" + fits), 200, ECHO)])
        # Half of what is allowed on each of three chunks.
        spread = b"".join(b"1;%s\r\n%c\r\n" % (b"n" * 2047, c) for c in b"{} ")
        self.check_refused(daemon, [
            ("one", with_size(b"a;" + over), 400, "bad-chunk"),
            ("on the last", chunked(b"a\r\n{\"data\":1}\r\n0;%s\r\n\r\n" % over), 400, "bad-chunk"),
            ("many", with_size(b"a" + b";n" * 2049), 400, "bad-chunk"),
            ("quoted", with_size(b"a;n=\"%s\"" % over), 400, "bad-chunk"),
            ("of several chunks", chunked(spread + LAST), 400, "bad-chunk")])


class Trailers(wire.TestCase):
    def test_trailers_are_dropped(self):
        daemon = self.start()
        self.check_taken(daemon, [
            (trailer[:40], with_trailer(trailer + b"\r\n"), 200, ECHO)
            for trailer in (b"", b"A: b\r\n", b"A:b\r\n", b"A:\r\n", b"A: \t \r\n",
                            b"A: \xe9\xff\tb\r\n", b"A: b\r\nA: c\r\n", b"!#$%&'*+-.^_`|~: x\r\n",
                            b"A: b: c\r\n",
                            b"Trailer: A\r\n", b"A: " + b"b" * 8000 + b"\r\n")])

    def test_no_trailer_becomes_a_header_field(self):
        """Framing, routing and all else were decided without them."""
        daemon = self.start()
        for trailer in (b"Content-Length: 100", b"Transfer-Encoding: gzip",
                        b"Transfer-Encoding: chunked", b"Host: other", b"Host: a/b",
                        b"Connection: close", b"X-Request-ID: trailer", b"Content-Type: text/plain",
                        b"Content-Encoding: gzip", b"Expect: 200-ok", b"Upgrade: h2c",
                        b"Authorization: Basic eDp4", b"Content-Range: bytes 0-1/2",
                        b"Trailer: Host", b"Content-Length: 0\r\nContent-Length: 1"):
            with self.subTest(trailer=trailer), Client(daemon) as client:
                client.send(with_trailer(trailer + b"\r\n\r\n") + AFTER)
                reply = client.read_reply()
                self.assertEqual((reply.status, reply.headers["x-request-id"]), (200, "r"))
                self.assertEqual(reply.body, b'{"status":"ok","request_id":"r","data":1}')
                self.assertNotIn("connection", reply.headers)
                self.assertEqual(client.read_reply().headers["x-request-id"], "after")

    def test_trailers_that_are_no_fields_are_refused(self):
        daemon = self.start()
        self.check_refused(daemon, [
            (trailer, with_trailer(trailer), 400, "bad-chunk")
            for trailer in (
                b"A : b\r\n\r\n", b"A\t: b\r\n\r\n", b": b\r\n\r\n", b" A: b\r\n\r\n",
                b"A b: c\r\n\r\n", b"A: b\r\n c\r\n\r\n", b"A: b\r\n\tc\r\n\r\n", b"A\r\n\r\n",
                b"A: b\n\r\n", b"A: b\r\n\n", b"A: b\rc\r\n\r\n", b"A: b\0c\r\n\r\n",
                b"A: b\x7f\r\n\r\n", b"A\0: b\r\n\r\n", b"\xe9: b\r\n\r\n", b"A: b\r\r\n\r\n",
                b"\nA: b\r\n\r\n", b"\rA: b\r\n\r\n", b"{}\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
                b"0\r\n\r\n")])

    def test_trailers_are_bounded(self):
        daemon = self.start()
        self.check_refused(daemon, [
            ("a value", with_trailer(b"A: " + b"b" * 8200 + b"\r\n\r\n"), 400, "bad-chunk"),
            ("a name", with_trailer(b"A" * 8200 + b":\r\n\r\n"), 400, "bad-chunk"),
            ("many", with_trailer(b"A: b\r\n" * 1400 + b"\r\n"), 400, "bad-chunk"),
            ("no end", with_trailer(b"A: b\r\n" * 3000), 400, "bad-chunk")])


if __name__ == "__main__":
    harness.main()
