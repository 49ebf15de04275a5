"""The version in the request line: 1.0, 1.1, what is above, and what is not HTTP."""

import harness
import wire
from wire import HOST, request

OK = b'{"status":"ok"}'
CHUNKS = b"a\r\n{\"data\":1}\r\n0\r\n\r\n"


class Versions(wire.TestCase):
    def test_a_higher_minor_version_is_taken_as_1_1(self):
        daemon = self.start()
        rows = []
        for minor in range(1, 10):
            version = "HTTP/1.%d" % minor
            rows += [(version, request("GET /health " + version, HOST), 200, OK),
                     (version + " chunked", request("POST / " + version, HOST,
                                                    "Transfer-Encoding: chunked", body=CHUNKS),
                      200, b'"data":1}')]
        self.check_taken(daemon, rows)
        self.check_refused(daemon, [("HTTP/1.%d without Host" % minor,
                                     request("GET /health HTTP/1.%d" % minor), 400, "bad-host")
                                    for minor in range(1, 10)])

    def test_1_0_needs_no_host_and_has_no_chunks(self):
        daemon = self.start()
        self.check_taken(daemon, [
            ("no Host", request("GET /health HTTP/1.0"), 200, OK),
            ("Host", request("GET /health HTTP/1.0", HOST), 200, OK),
            ("body", request("POST / HTTP/1.0", "Content-Length: 10", body=b'{"data":1}'), 200,
             b'"data":1}'),
            ("no body", request("POST / HTTP/1.0"), 200, b'"data":null}')], last=True)
        self.check_refused(daemon, [
            ("two Hosts", request("GET /health HTTP/1.0", HOST, HOST), 400, "bad-host"),
            ("empty Host", request("GET /health HTTP/1.0", "Host:"), 400, "bad-host"),
            ("bad Host", request("GET /health HTTP/1.0", "Host: a/b"), 400, "bad-host"),
            ("chunked", request("POST / HTTP/1.0", "Transfer-Encoding: chunked", body=CHUNKS), 400,
             "bad-transfer-encoding"),
            ("chunked and kept alive",
             request("POST / HTTP/1.0", "Transfer-Encoding: chunked", "Connection: keep-alive",
                     body=CHUNKS), 400, "bad-transfer-encoding"),
            ("chunked and counted",
             request("POST / HTTP/1.0", "Transfer-Encoding: chunked", "Content-Length: 2",
                     body=b"{}"), 400, "bad-transfer-encoding")])

    def test_another_major_version_is_505(self):
        daemon = self.start()
        versions = ("0.0", "0.9", "0.1", "2.0", "2.1", "3.0", "4.0", "9.9")
        self.check_refused(daemon, [
            (version, request("GET / HTTP/" + version, HOST), 505, "unsupported-version")
            for version in versions] + [
            ("whose method is unknown", request("BREW / HTTP/2.0", HOST), 505,
             "unsupported-version"),
            ("whose target has no form", request("GET x HTTP/2.0", HOST), 505,
             "unsupported-version")])

    def test_the_simple_request_of_0_9_is_refused(self):
        daemon = self.start()
        self.check_refused(daemon, [
            (data, data, 400, "bad-request-line")
            for data in (b"GET /\r\n", b"GET /health\r\n\r\n", b"GET / \r\n",
                         b"GET http://x/\r\n")])

    def test_a_version_is_three_fixed_parts(self):
        daemon = self.start()
        self.check_refused(daemon, [
            (version, request("GET / " + version, HOST), 400, "bad-request-line")
            for version in ("HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/", "HTTP", "H", "1.1", "/1.1",
                            "HTTP/1.10", "HTTP/11.1", "HTTP/1.1.1", "HTTP/01.1", "HTTP/1.01",
                            "HTTP/-1.1", "HTTP/+1.1", "HTTP/1,1", "HTTP/1:1", "HTTP/1.x",
                            "HTTP/x.1", "HTTP/1.\xb9", "http/1.1", "Http/1.1", "HTTp/1.1",
                            "HTTPS/1.1", "HTP/1.1", "XHTTP/1.1", "HTTP-1.1", "HTTP\\1.1", "HTTP1.1",
                            "HTTP//1.1", "RTSP/1.0", "RTSP/1.1", "ICE/1.0", "SIP/2.0", "HTTP/1.1\0",
                            "HTTP/1.1;", "HTTP/1.1,HTTP/1.1")])

    def test_each_octet_in_the_place_of_a_digit(self):
        daemon = self.start()
        rows = []
        for octet in set(range(256)) - set(b"\r\n0123456789"):
            for before, behind in ((b"HTTP/", b".1"), (b"HTTP/1.", b"")):
                rows.append(((before, octet), b"GET / " + before + bytes([octet]) + behind +
                             b"\r\nHost: x\r\n\r\n", 400, "bad-request-line"))
        self.check_refused(daemon, rows, ways=("whole",))


if __name__ == "__main__":
    harness.main()
