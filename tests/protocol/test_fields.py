"""Field lines: name, colon, value, CRLF, and the white space that may be there."""

import harness
import wire
from wire import HOST, Client, request

OK = b'{"status":"ok"}'
TOKEN = set(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def with_line(line, first=False):
    """A request that has these bytes for one of its field lines."""
    lines = [line, b"Host: x"] if first else [b"Host: x", line]
    return b"GET /health HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"


class Fields(wire.TestCase):
    def test_white_space_before_the_colon_is_refused(self):
        daemon = self.start()
        rows = []
        for name in (b"A", b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection",
                     b"x" * 40):
            for blank in (b" ", b"\t", b"  ", b" \t "):
                for first in (True, False):
                    rows.append(((name, blank, first), with_line(name + blank + b": 1", first), 400,
                                 "bad-field"))
        self.check_refused(daemon, rows)

    def test_folded_lines_are_refused(self):
        daemon = self.start()
        rows = []
        for before in (b"A: b", b"A:", b"A: ", b"Transfer-Encoding:", b"Content-Length: 5",
                       b"Host: x"):
            for fold in (b"\r\n c", b"\r\n\tc", b"\r\n ", b"\r\n \r\n c", b"\r\n Content-Length: 5",
                         b"\r\n  \t chunked"):
                rows.append(((before, fold), with_line(before + fold), 400, "bad-field"))
        self.check_refused(daemon, rows)
        self.check_refused(daemon, [
            ("with a bare LF", with_line(b"A: b\n c"), 400, "bad-line-end"),
            ("with a bare CR", with_line(b"A: b\r c"), 400, "bad-line-end")])

    def test_a_line_without_a_name_or_a_colon_is_refused(self):
        daemon = self.start()
        self.check_refused(daemon, [
            (line, with_line(line, first), 400, "bad-field")
            for first in (True, False)
            for line in (b": b", b":", b"::", b": Host: x", b"A", b"Host", b"GET / HTTP/1.1",
                         b"A b", b"Content-Length 5", b"A;b", b"\0", b"A=b", b"\"A\": b",
                         b"(A): b")])

    def test_each_octet_of_a_name_is_one_of_a_token(self):
        daemon = self.start()
        taken, refused = [], []
        for octet in range(256):
            data = with_line(b"X" + bytes([octet]) + b"Y: b")
            if octet in TOKEN or octet == ord(":"):  # which makes it X, and a value
                taken.append((octet, data, 200, OK))
            else:
                refused.append((octet, data, 400,
                                "bad-line-end" if octet in b"\r\n" else "bad-field"))
        self.check_taken(daemon, taken, ways=("whole",))
        self.check_refused(daemon, refused, ways=("whole",))
        self.assertEqual(len(refused), 256 - 78)

    def test_each_octet_of_a_value_is_text_or_a_tab(self):
        """Octets above ASCII are taken as they are; controls are not, and a NUL
        or half a line end is not mended."""
        daemon = self.start()
        for name in (b"X", b"User-Agent", b"A-field-whose-name-is-longer-than-a-vector-of-bytes"):
            taken, refused = [], []
            for octet in range(256):
                data = with_line(name + b": b" + bytes([octet]) + b"c")
                if octet == 0x09 or (octet >= 0x20 and octet != 0x7f):
                    taken.append((octet, data, 200, OK))
                else:
                    refused.append((octet, data, 400,
                                    "bad-line-end" if octet in b"\r\n" else "bad-field"))
            self.check_taken(daemon, taken, ways=("whole",))
            self.check_refused(daemon, refused, ways=("whole",))
            self.assertEqual(len(refused), 32)

    def test_bytes_are_not_characters(self):
        """Which hold the bytes of a CR, LF or colon in other encodings than ASCII."""
        daemon = self.start()
        self.check_taken(daemon, [
            (value, with_line(b"X: " + value), 200, OK)
            for value in ("caf\u00e9".encode(), "\u560a\u560d".encode(), b"\xe5\x98\x8a",
                          b"\x8d\x8a", b"\xff\xfe", b"\xc0\x8d\xc0\x8a", b"\xed\xa0\x80", b"\x85",
                          b"\xe2\x80\xa8")])
        self.check_refused(daemon, [
            ("UTF-16", "GET / HTTP/1.1\r\nHost: x\r\n\r\n".encode("utf-16-le"), 400,
             "bad-request-line"),
            ("full width colon", with_line("X\uff1a b".encode()), 400, "bad-field")])

    def test_nul_and_half_a_line_end_are_refused_wherever_they_are(self):
        daemon = self.start()
        rows = []
        for octet, word in ((b"\0", "bad-field"), (b"\r", "bad-line-end"), (b"\n", "bad-line-end")):
            rows += [
                ((octet, "in front of a value"), with_line(b"X:" + octet + b"b"), 400, word),
                ((octet, "alone in a value"), with_line(b"X: " + octet + b" "), 400, word),
                ((octet, "in front of a name"), with_line(octet + b"X: b", True), 400, word),
                ((octet, "before the colon"), with_line(b"X" + octet + b": b"), 400, word),
                ((octet, "in Host"), b"GET / HTTP/1.1\r\nHost: x" + octet + b"y\r\n\r\n", 400,
                 word),
                ((octet, "in a length"), with_line(b"Content-Length: 1" + octet + b"1"), 400, word),
                ((octet, "in a coding"), with_line(b"Transfer-Encoding: chunked" + octet + b","),
                 400,
                 word)]
        # At the end of a value, where a CR has another CR to follow.
        rows += [("NUL at the end", with_line(b"X: b\0"), 400, "bad-field"),
                 ("CR at the end", with_line(b"X: b\r"), 400, "bad-line-end"),
                 ("LF at the end", with_line(b"X: b\n"), 400, "bad-line-end")]
        self.check_refused(daemon, rows)

    def test_each_line_ends_in_crlf(self):
        daemon = self.start()
        self.check_refused(daemon, [
            ("first", b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400, "bad-line-end"),
            ("last", b"GET / HTTP/1.1\r\nHost: x\r\nA: b\n\r\n", 400, "bad-line-end"),
            ("the empty one", b"GET / HTTP/1.1\r\nHost: x\r\n\n", 400, "bad-line-end"),
            ("the empty one is LF CR", b"GET / HTTP/1.1\r\nHost: x\r\n\n\r", 400, "bad-line-end"),
            ("the empty one is CR", b"GET / HTTP/1.1\r\nHost: x\r\n\rA", 400, "bad-line-end"),
            ("CR CR LF", b"GET / HTTP/1.1\r\nHost: x\r\r\n\r\n", 400, "bad-line-end"),
            ("LF LF", b"GET / HTTP/1.1\r\nHost: x\n\n", 400, "bad-line-end"),
            ("a length behind a CR", b"POST / HTTP/1.1\r\nHost: x\rContent-Length: 9\r\n\r\n", 400,
             "bad-line-end")])

    def test_white_space_around_a_value_is_no_part_of_it(self):
        daemon = self.start()
        rows = []
        for before in ("", " ", "\t", "  \t "):
            for behind in ("", " ", "\t", " \t  "):
                for name, value in (("Host", "x"), ("Connection", "keep-alive"),
                                    ("X-Request-ID", "r"), ("Transfer-Encoding", "chunked"),
                                    ("Expect", "100-continue"),
                                    ("Content-Type", "application/json")):
                    if name == "Transfer-Encoding" and "\t" in before + behind:
                        continue
                    fields = ["%s:%s%s%s" % (name, before, value, behind)]
                    fields += [HOST] if name != "Host" else []
                    fields += ["Transfer-Encoding: chunked"] if name != "Transfer-Encoding" else []
                    rows.append(((name, before, behind),
                                 request("POST / HTTP/1.1", *fields,
                                         body=b"a\r\n{\"data\":1}\r\n0\r\n\r\n"), 200,
                                 b'"data":1}'))
                if "\t" not in before + behind:
                    rows.append((("Content-Length", before, behind),
                                 request("POST / HTTP/1.1", HOST, "Content-Length:%s10%s"
                                         % (before, behind), body=b'{"data":1}'), 200,
                                 b'"data":1}'))
        self.check_taken(daemon, rows)

    def test_a_tab_beside_what_frames_the_body_is_refused(self):
        """Other readers take it for a part of the value, or do not."""
        daemon = self.start()
        self.check_refused(daemon, [
            (value, request("POST / HTTP/1.1", HOST, "Transfer-Encoding:" + value,
                            body=b"0\r\n\r\n"), 400, "bad-transfer-encoding")
            for value in ("\tchunked", " \tchunked", "\t chunked", "chunked\t", "chunked \t",
                          "chunked\t ")] + [
            (value, request("POST / HTTP/1.1", HOST, "Content-Length:" + value, body=b"{}"), 400,
             "bad-content-length") for value in ("\t2", " \t2", "\t 2", "2\t", "2 \t", "2\t ")])

    def test_names_have_no_case(self):
        daemon = self.start()
        rows = []
        for change in (str.lower, str.upper, str.title, str.swapcase):
            rows += [
                (change("counted"), request("POST / HTTP/1.1", change("Host") + ": x",
                                            change("Content-Length") + ": 10", body=b'{"data":1}'),
                 200, b'"data":1}'),
                (change("chunked"), request("POST / HTTP/1.1", change("Host") + ": x",
                                            change("Transfer-Encoding") + ": chunked",
                                            body=b"a\r\n{\"data\":1}\r\n0\r\n\r\n"), 200,
                 b'"data":1}')]
        self.check_taken(daemon, rows)
        self.check_taken(daemon, [
            (change("close"),
             request("GET /health HTTP/1.1", HOST, change("Connection") + ": close"),
             200, OK) for change in (str.lower, str.upper, str.swapcase)], last=True)

    def test_a_name_that_only_looks_like_another_is_another(self):
        daemon = self.start()
        self.check_taken(daemon, [
            (name, request("GET /health HTTP/1.1", HOST, name + ": 7"), 200, OK)
            for name in ("Content_Length", "ContentLength", "Content-Lengths", "XContent-Length",
                         "Content-Lengt", "Content.Length", "C0ntent-Length", "Transfer_Encoding",
                         "Transfer-Encodin", "Transfer-Encodings", "TransferEncoding", "Hosts",
                         "Hos", "X-Host", "Connection-", "Expec", "Expects",
                         "N" * 300, "!#$%&'*+.^_`|~")])
        self.check_refused(daemon, [
            (name, request("GET /health HTTP/1.1", name + ": x"), 400, "bad-host")
            for name in ("Hosts", "X-Host", "H0st", "Host-", "hos")])

    def test_empty_elements_of_a_list_are_skipped(self):
        daemon = self.start()
        text = request("GET /metrics HTTP/1.1", HOST, "Accept: ,, text/plain;version=0.0.4 ,,")
        with Client(daemon) as client:
            client.send(text)
            self.assertTrue(client.read_reply().headers["content-type"].startswith("text/plain"))
        self.check_taken(daemon, [("Connection", request("GET /health HTTP/1.1", HOST,
                                                         "Connection: , ,x,,keep-alive,"), 200,
                                   OK)])

    def test_a_header_section_that_is_too_large_is_431(self):
        daemon = self.start(MAX_HEADER_SIZE=2000)
        rows = [("one line", request("GET / HTTP/1.1", HOST, "A: " + "b" * 2000)),
                ("a line without an end", b"GET / HTTP/1.1\r\nA: " + b"b" * 2000),
                ("a name without an end", b"GET / HTTP/1.1\r\n" + b"b" * 3000),
                ("many lines", request("GET / HTTP/1.1", HOST, *["A: b"] * 400)),
                ("only white space", request("GET / HTTP/1.1", HOST, "A:" + " " * 2000)),
                ("a body would follow", request("POST / HTTP/1.1", HOST, "Content-Length: 5",
                                                "A: " + "b" * 2000, body=b"abcde"))]
        self.check_refused(daemon, [(name, data, 431, "header-too-large") for name, data in rows])

    def test_more_than_256_fields_are_431(self):
        daemon = self.start()
        for count, status in ((255, 200), (256, 200), (257, 431), (300, 431)):
            fields = [HOST] + ["A:"] * (count - 1)
            row = (count, request("GET /health HTTP/1.1", *fields), status,
                   OK if status == 200 else "header-too-large")
            if status == 200:
                self.check_taken(daemon, [row])
            else:
                self.check_refused(daemon, [row])


if __name__ == "__main__":
    harness.main()
