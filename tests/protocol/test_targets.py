"""Request targets, in the four forms that they have."""

import harness
import wire
from wire import HOST, Client, request


class Targets(wire.TestCase):
    def test_the_absolute_form_is_understood(self):
        daemon = self.start()
        with Client(daemon) as client:
            for target, body in (("http://example.org/health", b'{"status":"ok"}'),
                                 ("HTTP://EXAMPLE.org:8443/health?x=1", b'{"status":"ok"}'),
                                 ("http://[::1]:8080/livez", b'{"status":"alive"}'),
                                 ("http://example.org", b'"data":null}'),
                                 ("http://example.org?a=b", b'"data":null}')):
                with self.subTest(target=target):
                    reply = client.ask("GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
                    self.assertEqual(reply.status, 200)
                    self.assertTrue(reply.body.endswith(body), reply)

    def test_a_percent_encoded_path_is_what_it_stands_for(self):
        daemon = self.start(HANDLERS="/=echo /a%2Bb=echo /a@c=echo")
        with Client(daemon) as client:
            for target, status in (("/%68ealth", 200), ("/he%61lt%68?verbose", 200),
                                   ("/%4Detrics", 404), ("/%6Detrics", 200), ("/%6detrics", 200),
                                   ("/a+b", 200), ("/%61%2b%62", 200), ("/a%20b", 404),
                                   ("/a%40c", 200), ("/%2Fhealth", 404), ("/%", 400),
                                   ("/health%00", 404), ("/health/", 404), ("//health", 404),
                                   ("/problems/queue%2Dfull", 200),
                                   ("/%70roblems/queue-full", 200),
                                   ("/problems/none", 404), ("/problems/", 404)):
                with self.subTest(target=target), Client(daemon) as client:
                    reply = client.ask("GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
                    self.assertEqual(reply.status, status, reply)

    def test_a_query_does_not_change_the_path(self):
        daemon = self.start()
        for target in ("/health?", "/health?a=/metrics&b=%20", "/?x", "/?/health", "/health??"):
            self.assertEqual(daemon.get(target).status, 200, target)

    def test_the_absolute_form_has_the_say_over_host(self):
        """The Host beside it has to be there and valid, and means nothing."""
        daemon = self.start()
        ok = b'{"status":"ok"}'
        self.check_taken(daemon, [
            ("another host", request("GET http://a:81/health HTTP/1.1", "Host: b:82"), 200, ok),
            ("one that looks like a path", request("GET http://a/health HTTP/1.1", "Host: none"),
             200, ok),
            ("path of the target", request("GET http://health/none HTTP/1.1", HOST), 404,
             "not-found"),
            ("method without a body", request("PUT http://a/health HTTP/1.1", HOST), 405,
             "method-not-allowed"),
            ("1.2", request("GET http://a/health HTTP/1.2", HOST), 200, ok),
            ("1.0 with Host", request("GET http://a/health HTTP/1.0", HOST,
                                      "Connection: keep-alive"), 200, ok),
            ("1.0", request("GET http://a/health HTTP/1.0", "Connection: keep-alive"), 200, ok)])
        self.check_refused(daemon, [
            (host, request("GET http://a/health HTTP/1.1", *host), 400, "bad-host")
            for host in ((), ("Host:",), ("Host: a/b",), ("Host: a, b",), ("Host: u@a",),
                         (HOST, HOST), ("Host: a", "Host: b"))])

    def test_an_https_uri_is_misdirected(self):
        """This connection is not secured, so nobody may trust it with one."""
        daemon = self.start()
        self.check_taken(daemon, [
            (target, request("GET %s HTTP/1.1" % target, HOST), 421, "misdirected")
            for target in ("https://example.org/health", "HTTPS://EXAMPLE.org:8443/health?x=1",
                           "https://a", "https://a/none", "https://[::1]/")] + [
            ("job", request("POST https://a/ HTTP/1.1", HOST, "Content-Length: 2", body=b"{}"),
             421, "misdirected")], ways=("whole", "behind another"))
        for method in ("POST", "OPTIONS", "HEAD", "PUT"):
            with self.subTest(method=method), Client(daemon) as client:
                client.send(request(method + " https://a HTTP/1.1", HOST))
                reply = client.read_reply(method)
                self.assertEqual(reply.status, 421)
                # Where the method is wrong too, the reply says which are right.
                self.assertEqual(reply.headers.get("allow"), "GET, HEAD, POST, OPTIONS"
                                 if method == "PUT" else None)
        with Client(daemon) as client:
            client.send(request("POST https://a/ HTTP/1.1", HOST, "Content-Length: 2", body=b"{}"))
            self.assert_problem(client.read_reply(), 421, "misdirected")
        # Only those that went before were run.
        self.assertEqual(daemon.metrics()["handlers"][0]["ok"], 6)

    def test_an_absolute_form_that_is_none_is_refused(self):
        daemon = self.start()
        self.check_refused(daemon, [
            (target, request("GET %s HTTP/1.1" % target, HOST), 400, "bad-target")
            for target in (
                "http:", "http:/", "http://", "http:///", "http:///health", "http://?a",
                "http://:80/", "http:/a/health", "http:a", "http", "ftp://a/", "ws://a/",
                "httpx://a/", "httpss://a/", "urn:a", "a:80", "http://u@a/", "http://u:p@a/",
                "http://@a/", "http://a,b/", "http://a:x/", "http://a:65536/", "http://a:80:80/",
                "http://a:-1/", "http://[::1/", "http://::1]/", "http://[::g]/", "http://[::1]a/",
                "http://[v1.a]/", "http://[::1%25eth0]/", "http://a/[b]", "http://a?[b]",
                "http://a/#b", "http://a#b", "http://a\\/", "http://a%/", "http://a%zz/",
                "http://a/%", "http://a/%2", "http://\xe9/", "javascript:alert(1)",
                "://a/")])

    def test_the_asterisk_form_is_for_options_alone(self):
        daemon = self.start()
        self.check_taken(daemon, [
            ("OPTIONS", request("OPTIONS * HTTP/1.1", HOST), 204, b""),
            ("1.0", request("OPTIONS * HTTP/1.0", "Connection: keep-alive"), 204, b""),
            ("absolute form", request("OPTIONS http://a HTTP/1.1", HOST), 204, b""),
            ("a path called *", request("OPTIONS /* HTTP/1.1", HOST), 404, "not-found")])
        self.check_refused(daemon, [
            (method, request(method + " * HTTP/1.1", HOST), 400, "bad-target")
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH")] + [
            (target, request("OPTIONS %s HTTP/1.1" % target, HOST), 400, "bad-target")
            for target in ("**", "*/", "*?a", "*a", "%2a")])

    def test_the_authority_form_is_for_connect_alone(self):
        daemon = self.start()
        self.check_refused(daemon, [
            (method + " " + target, request("%s %s HTTP/1.1" % (method, target), HOST), 400,
             "bad-target")
            for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE")
            for target in ("a:80", "example.org:443", "[::1]:80", "127.0.0.1:80")])

    def test_an_origin_form_starts_with_a_slash(self):
        daemon = self.start()
        self.check_refused(daemon, [
            (target, request("GET %s HTTP/1.1" % target, HOST), 400, "bad-target")
            for target in ("health", "?", "?a=/", ".", "./health", "../health", "%2Fhealth",
                           "\\health", "a", "-",
                           "=")])

    def test_each_octet_of_a_target_is_one_that_a_uri_holds(self):
        """A control byte, a space or a byte above ASCII is not guessed at."""
        daemon = self.start()
        good = set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
                   b"!$&'()*+,;=:@/?")
        for before, behind in ((b"/a", b"b"), (b"/?a", b"b"), (b"http://x/a", b"b")):
            taken, refused = [], []
            for octet in range(256):
                name = (before, octet)
                data = (b"GET " + before + bytes([octet]) + behind +
                        b" HTTP/1.1\r\nHost: x\r\n\r\n")
                if octet in good:
                    found = b"?" in before
                    ending = b'"data":null}' if found else "not-found"
                    taken.append((name, data, 200 if found else 404, ending))
                elif octet in b"\r\n":
                    refused.append((name, data, 400, "bad-line-end"))
                elif octet == 0x20:
                    refused.append((name, data, 400, "bad-request-line"))
                else:
                    refused.append((name, data, 400, "bad-target"))
            self.check_taken(daemon, taken, ways=("whole",))
            self.check_refused(daemon, refused, ways=("whole",))

    def test_a_percent_needs_two_hexadecimal_digits(self):
        daemon = self.start()
        self.check_refused(daemon, [
            (target, request("GET %s HTTP/1.1" % target, HOST), 400, "bad-target")
            for target in ("/%", "/%4", "/%g1", "/%1g", "/%%41", "/%u0041", "/a?%", "/a?%zz",
                           "/%-1", "/%+1", "/%\xb1\xb1")])
        self.check_taken(daemon, [
            ("upper and lower case", request("GET /?%2f%2F%00%ff HTTP/1.1", HOST), 200,
             b'"data":null}'),
            ("decoded once", request("GET /%2568ealth HTTP/1.1", HOST), 404, "not-found")])

    def test_dot_segments_are_not_resolved(self):
        """Paths are exact. A proxy that resolves them does so before."""
        daemon = self.start()
        self.check_taken(daemon, [
            (target, request("GET %s HTTP/1.1" % target, HOST), 404, "not-found")
            for target in ("/./health", "/x/../health", "/..", "/../health", "/health/.",
                           "/%2e/health", "/problems/../health", "/;a/health", "/health;a")])


if __name__ == "__main__":
    harness.main()
