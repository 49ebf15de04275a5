"""Upgrade is a wish that is never granted: HTTP/1.1 goes on."""

import harness
from harness import get_bytes
import wire
from wire import Client, request

SETTINGS = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"


class Upgrades(wire.TestCase):
    def test_an_upgrade_is_ignored(self):
        daemon = self.start()
        with Client(daemon) as client:
            client.send(get_bytes("/health", "Connection: Upgrade\r\nUpgrade: websocket\r\n") +
                        get_bytes("/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                                       "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n") +
                        get_bytes("/none"))
            self.assertEqual([client.read_reply().status for _ in range(3)], [200, 200, 404])

    def test_whatever_it_asks_for_the_request_is_answered_as_without_it(self):
        daemon = self.start()
        rows = []
        for protocol in ("websocket", "h2c", "HTTP/2.0", "TLS/1.0", "HTTP/2.0, SHTTP/1.3, IRC/6.9",
                         "foo", "", "a b"):
            for connection in ("Connection: Upgrade", "Connection: upgrade, HTTP2-Settings",
                               "Connection: keep-alive, Upgrade", "X: y"):
                rows.append(((protocol, connection),
                             request("GET / HTTP/1.1", "Host: x", connection,
                                     "Upgrade: " + protocol, SETTINGS), 200, b'"data":null}'))
        self.check_taken(daemon, rows)

    def test_a_body_beside_it_is_framed_as_ever(self):
        """Or its bytes, or those behind it, would be taken for something else."""
        daemon = self.start()
        upgrade = ("Host: x", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", SETTINGS)
        self.check_taken(daemon, [
            ("counted", request("POST / HTTP/1.1", *upgrade, "Content-Length: 10",
                                body=b'{"data":7}'), 200, b'"data":7}'),
            ("chunked", request("POST / HTTP/1.1", *upgrade, "Transfer-Encoding: chunked",
                                body=b'a\r\n{"data":7}\r\n0\r\n\r\n'), 200, b'"data":7}'),
            ("skipped", request("PUT / HTTP/1.1", *upgrade, "Content-Length: 31",
                                body=b"GET /health HTTP/1.1\r\nHost:x\r\n\r\n"[:31]), 405,
                                "method-not-allowed"),
            ("options", request("OPTIONS * HTTP/1.1", *upgrade), 204, b"")],
            ways=("whole", "behind another"))

    def test_in_1_0_it_is_ignored_too(self):
        daemon = self.start()
        self.check_taken(daemon, [
            ("closing", request("GET /health HTTP/1.0", "Connection: Upgrade", "Upgrade: h2c"),
             200, b'{"status":"ok"}')], last=True)
        self.check_taken(daemon, [
            ("staying", request("GET /health HTTP/1.0", "Connection: Upgrade, keep-alive",
                                "Upgrade: websocket"), 200, b'{"status":"ok"}')])

    def test_with_an_expectation_it_is_100_and_then_the_answer(self):
        daemon = self.start()
        with Client(daemon) as client:
            client.send(request("POST / HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: foo",
                                "Expect: 100-continue", "Content-Length: 2"))
            self.assertEqual(client.read_reply().status, 100)
            client.send(b"{}")
            self.assertEqual(client.read_reply().status, 200)

    def test_the_preface_of_http_2_is_refused(self):
        daemon = self.start()
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        self.check_refused(daemon, [
            ("preface", preface, 505, "unsupported-version"),
            ("preface and settings", preface + b"\0\0\0\4\0\0\0\0\0", 505, "unsupported-version"),
            ("its first line as 1.1", b"PRI * HTTP/1.1\r\nHost: x\r\n\r\n", 501,
             "unknown-method")])


if __name__ == "__main__":
    harness.main()
