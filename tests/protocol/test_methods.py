"""Methods: those that are served, those that are known, and all others."""

import harness
from harness import get_bytes
import wire
from wire import HOST, Client, request

KNOWN = ("ACL", "BIND", "CHECKOUT", "COPY", "DELETE", "LINK", "LOCK", "M-SEARCH", "MERGE",
         "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "PATCH", "PROPFIND", "PROPPATCH",
         "PURGE", "PUT", "REBIND", "REPORT", "SEARCH", "SUBSCRIBE", "TRACE", "UNBIND", "UNLINK",
         "UNLOCK", "UNSUBSCRIBE")


class Methods(wire.TestCase):
    def test_head_is_answered_as_get_without_the_body(self):
        daemon = self.start()
        with Client(daemon) as client:
            for path in ("/health", "/", "/metrics", "/livez", "/readyz", "/healthz", "/none",
                         "/problems/queue-full"):
                with self.subTest(path=path):
                    field = "X-Request-ID: same\r\n"
                    client.send("GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, field))
                    got = client.read_reply()
                    client.send("HEAD %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, field))
                    head = client.read_reply("HEAD")
                    self.assertEqual(head.status, got.status)
                    self.assertEqual(head.headers["content-type"], got.headers["content-type"])
                    if path != "/metrics":  # whose figures differ in length
                        self.assertEqual(head.headers["content-length"], str(len(got.body)))
                    self.assertFalse(client.readable(0.01), "HEAD has a body")

    def test_options(self):
        daemon = self.start()
        with Client(daemon) as client:
            for target, allow in (("*", {"GET", "HEAD", "POST", "OPTIONS"}),
                                  ("/", {"GET", "HEAD", "POST", "OPTIONS"}),
                                  ("http://example.org", {"GET", "HEAD", "POST", "OPTIONS"}),
                                  ("/health", {"GET", "HEAD", "OPTIONS"}),
                                  ("/metrics", {"GET", "HEAD", "OPTIONS"})):
                with self.subTest(target=target):
                    reply = client.ask("OPTIONS %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
                    self.assertEqual(reply.status, 204)
                    self.assertEqual(set(reply.headers["allow"].split(", ")), allow)
                    self.assertNotIn("content-length", reply.headers)
            self.assertEqual(client.ask("OPTIONS /none HTTP/1.1\r\nHost: x\r\n\r\n").status, 404)

    def test_a_method_that_a_path_does_not_know_is_405_with_allow(self):
        daemon = self.start()
        with Client(daemon) as client:
            for method, path, allow in (
                    ("PUT", "/", {"GET", "HEAD", "POST", "OPTIONS"}),
                    ("DELETE", "/", {"GET", "HEAD", "POST", "OPTIONS"}),
                    ("TRACE", "/", {"GET", "HEAD", "POST", "OPTIONS"}),
                    ("PATCH", "/health", {"GET", "HEAD", "OPTIONS"}),
                    ("POST", "/health", {"GET", "HEAD", "OPTIONS"}),
                    ("POST", "/metrics", {"GET", "HEAD", "OPTIONS"}),
                    ("PROPFIND", "/problems/not-found", {"GET", "HEAD", "OPTIONS"})):
                with self.subTest(method=method, path=path):
                    reply = client.ask("%s %s HTTP/1.1\r\nHost: x\r\n\r\n" % (method, path))
                    self.assert_problem(reply, 405, "method-not-allowed")
                    self.assertEqual(set(reply.headers["allow"].split(", ")), allow)
                    self.assertFalse(reply.closes())
            reply = client.ask("CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(reply.status, 405)

    def test_a_body_that_nobody_wants_is_skipped(self):
        daemon = self.start()
        with Client(daemon) as client:
            client.send(request("GET /health HTTP/1.1", "Host: x", "Content-Length: 18",
                                body=b"GET / HTTP/1.1\r\n\r\n") +
                        request("PUT / HTTP/1.1", "Host: x", "Content-Length: 3", body=b"abc") +
                        request("POST /none HTTP/1.1", "Host: x", "Content-Length: 3",
                                body=b"abc") +
                        get_bytes("/health"))
            self.assertEqual([client.read_reply().status for _ in range(4)],
                             [200, 405, 404, 200])

    def test_get_and_head_are_served_everywhere(self):
        daemon = self.start()
        for path in ("/", "/health", "/livez", "/readyz", "/healthz", "/metrics",
                     "/problems/not-found"):
            self.check_taken(daemon, [
                (path, request("GET %s HTTP/1.1" % path, HOST), 200, b""),
                ("HEAD " + path, request("HEAD %s HTTP/1.1" % path, HOST), 200, b"")])

    def test_a_refused_head_has_no_body_either(self):
        daemon = self.start()
        self.check_refused(daemon, [
            ("field", request("HEAD / HTTP/1.1", HOST, "A b: c"), 400, ""),
            ("no host", request("HEAD / HTTP/1.1"), 400, ""),
            ("line end", b"HEAD / HTTP/1.1\r\nHost: x\n\r\n", 400, ""),
            ("target", request("HEAD /# HTTP/1.1", HOST), 400, ""),
            ("two spaces", request("HEAD  / HTTP/1.1", HOST), 400, ""),
            ("version", request("HEAD / HTTP/2.0", HOST), 505, ""),
            ("expectation", request("HEAD / HTTP/1.1", HOST, "Expect: x"), 417, ""),
            ("length", request("HEAD / HTTP/1.1", HOST, "Content-Length: x"), 400, ""),
            ("coding", request("HEAD / HTTP/1.1", HOST, "Transfer-Encoding: x, chunked"), 501,
             ""),
            ("no end", request("HEAD / HTTP/1.1", HOST, "Transfer-Encoding: x"), 400, ""),
            ("chunk", request("HEAD / HTTP/1.1", HOST, "Transfer-Encoding: chunked", body=b"x"),
             400, ""),
            ("long target", request("HEAD /%s HTTP/1.1" % ("a" * 20000)), 414, ""),
            ("long field", request("HEAD / HTTP/1.1", HOST, "A: " + "b" * 20000), 431, "")])
        self.check_taken(daemon, [("404", request("HEAD /none HTTP/1.1", HOST), 404, b"")])

    def test_a_reply_to_head_is_as_long_as_that_to_get(self):
        daemon = self.start()
        with Client(daemon) as client:
            for fields in (("A b: c",), ("Host: y",), ("Expect: x",), ("Content-Length: x",),
                           ("X-Request-ID: r",)):
                replies = []
                for method in ("GET", "HEAD"):
                    with Client(daemon) as client:
                        client.send(request(method + " /none HTTP/1.1", HOST, *fields))
                        replies.append(client.read_reply(method))
                with self.subTest(fields=fields):
                    self.assertEqual(replies[1].status, replies[0].status)
                    self.assertEqual(replies[1].headers["content-length"],
                                     str(len(replies[0].body)))

    def test_methods_that_are_known_are_405(self):
        """A server that knows a method and does not serve it says what it does."""
        daemon = self.start()
        self.check_taken(daemon, [(method, request(method + " / HTTP/1.1", HOST,
                                                   "X-Request-ID: r"), 405, "method-not-allowed")
                                  for method in KNOWN])
        self.check_taken(daemon, [("%s with a body" % method,
                                   request(method + " /health HTTP/1.1", HOST,
                                           "Content-Length: 40", body=b"GET / HTTP/1.1\r\n" * 2 +
                                           b"x" * 8), 405, "method-not-allowed")
                                  for method in ("PUT", "PATCH", "DELETE", "POST", "TRACE")],
                         ways=("whole", "behind another"))

    def test_methods_that_nobody_knows_are_501(self):
        daemon = self.start()
        names = ["FETCH", "get", "Get", "gET", "GE", "GETX", "XGET", "head", "post", "POSTS",
                 "QUERY", "BREW", "options", "OPTION", "trace", "connect", "X", "_",
                 "!#$%&'*+-.^_`|~",
                 "0", "1GET", "A" * 32]
        self.check_refused(daemon, [(name, request(name + " / HTTP/1.1", HOST), 501,
                                     "unknown-method") for name in names] + [
            ("too long to be one", b"A" * 33, 501, "unknown-method"),
            ("without an end", b"A" * 20000, 501, "unknown-method")])

    def test_a_method_is_a_token(self):
        """Each octet in the middle of a name: part of a token, or not."""
        daemon = self.start()
        tokens = set(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                     b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        rows = []
        for octet in range(256):
            data = b"B" + bytes([octet]) + b"D / HTTP/1.1\r\nHost: x\r\n\r\n"
            if octet in tokens:
                rows.append((octet, data, 501, "unknown-method"))
            elif octet in b"\r\n":
                rows.append((octet, data, 400, "bad-line-end"))
            else:
                rows.append((octet, data, 400, "bad-request-line"))
        self.check_refused(daemon, rows, ways=("whole",))

    def test_a_trace_is_not_played_back(self):
        """What a proxy added to the request is none of the client's business."""
        daemon = self.start()
        with Client(daemon) as client:
            for target in ("/", "/health", "http://x/"):
                client.send(request("TRACE %s HTTP/1.1" % target, HOST, "Cookie: secret=1",
                                    "Max-Forwards: 0"))
                reply = client.read_reply()
                self.assert_problem(reply, 405, "method-not-allowed")
                self.assertNotIn("TRACE", reply.headers["allow"])
                self.assertNotIn(b"secret", reply.body)

    def test_options_may_have_a_body_and_be_told_how_far_to_go(self):
        daemon = self.start()
        self.check_taken(daemon, [
            ("Max-Forwards", request("OPTIONS * HTTP/1.1", HOST, "Max-Forwards: 0"), 204, b""),
            ("Max-Forwards of a path", request("OPTIONS / HTTP/1.1", HOST, "Max-Forwards: 7"), 204,
             b"")])
        self.check_taken(daemon, [
            ("body", request("OPTIONS * HTTP/1.1", HOST, "Content-Length: 5", body=b"GET /"),
             204, b"")], ways=("whole", "behind another"))

    def test_a_body_that_is_not_at_hand_ends_the_connection(self):
        """Where it ends, and the next request begins, is not known yet."""
        daemon = self.start()
        for method, path, status in (("GET", "/health", 200), ("OPTIONS", "*", 204),
                                     ("PUT", "/", 405), ("POST", "/none", 404)):
            for fields, behind in (("Content-Length: 200", b""),
                                   ("Content-Length: 200", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
                                   ("Transfer-Encoding: chunked", b""),
                                   ("Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n")):
                with self.subTest(method=method, fields=fields, behind=behind), \
                        Client(daemon) as client:
                    client.send(request("%s %s HTTP/1.1" % (method, path), HOST, fields,
                                        body=behind))
                    reply = client.read_reply()
                    self.assertEqual(reply.status, status)
                    self.assert_ended(client, reply)

    def test_a_connect_is_refused_and_what_follows_is_not_read(self):
        """It may be meant for the tunnel. Which paths there are does not matter."""
        rows = [
            (target, request("CONNECT %s HTTP/1.1" % target, HOST), 405, "method-not-allowed")
            for target in ("example.org:443", "example.org:80", "[::1]:443", "127.0.0.1:1",
                           "x:65535")] + [
            ("1.0", request("CONNECT x:443 HTTP/1.0", "Connection: keep-alive"), 405,
             "method-not-allowed"),
            ("a tunnel at once", request("CONNECT x:443 HTTP/1.1", HOST,
                                         body=b"\x16\x03\x01\2\0\1\0\1\xfc\3\3"),
             405, "method-not-allowed")]
        for handlers, ways in (("/=echo", wire.WAYS), ("/job=echo", wire.WAYS[:2])):
            daemon = self.start(HANDLERS=handlers)
            self.check_refused(daemon, rows, ways=ways)
            with Client(daemon) as client:
                client.send(rows[0][1])
                self.assertEqual(client.read_reply().headers["allow"], "GET, HEAD, POST, OPTIONS")

    def test_a_connect_to_no_valid_port_is_malformed(self):
        daemon = self.start()
        self.check_refused(daemon, [
            (target, request("CONNECT %s HTTP/1.1" % target, HOST), 400, "bad-target")
            for target in ("x", "x:", "x:0", "x:65536", "x:99999999999", "x:8a", "x:-1", "x:+1",
                           ":443", "[::1]", "[::1:443", "[::g]:443", "/", "*", "http://x:443/",
                           "x:443/", "x:443?", "u@x:443", "a,b:443")])


if __name__ == "__main__":
    harness.main()
