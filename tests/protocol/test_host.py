"""Host: there once, and a host that could be one."""

import harness
import wire
from wire import request

OK = b'{"status":"ok"}'


def get(*hosts, version="1.1"):
    return request("GET /health HTTP/" + version, *["Host:" + host for host in hosts])


class Hosts(wire.TestCase):
    def test_it_is_there_once(self):
        daemon = self.start()
        self.check_refused(daemon, [
            ("none", get(), 400, "bad-host"),
            ("twice", get(" x", " y"), 400, "bad-host"),
            ("the same twice", get(" x", " x"), 400, "bad-host"),
            ("three", get(" x", " x", " x"), 400, "bad-host"),
            ("with an empty one", get(" x", ""), 400, "bad-host"),
            ("behind an empty one", get("", " x"), 400, "bad-host"),
            ("in another case", request("GET /health HTTP/1.1", "Host: x", "hOST: x"), 400,
             "bad-host"),
            ("far apart", request("GET /health HTTP/1.1", "Host: x", *["A: b"] * 50, "Host: x"),
             400, "bad-host"),
            ("none beside a body", request("POST / HTTP/1.1", "Content-Length: 2", body=b"{}"), 400,
             "bad-host"),
            ("twice in 1.0", get(" x", " x", version="1.0"), 400, "bad-host"),
            ("none in 1.2", get(version="1.2"), 400, "bad-host")] + [
            ("none with " + method, request(method + " / HTTP/1.1"), 400, "bad-host")
            for method in ("HEAD", "POST", "PUT", "OPTIONS", "TRACE")] + [
            ("none with *", request("OPTIONS * HTTP/1.1"), 400, "bad-host"),
            ("none with CONNECT", request("CONNECT x:1 HTTP/1.1"), 400, "bad-host")])

    def test_a_host_is_a_name_or_an_address_and_maybe_a_port(self):
        daemon = self.start()
        hosts = ("x", "localhost", "example.org", "example.org.", "EXAMPLE.org", "a-b_c",
                 "127.0.0.1", "1.2.3", "256.256.256.256", "xn--bcher-kva.example", "a%41", "%2f",
                 "a!$&'()*+;=~b", "x:80", "x:", "x:0", "x:00080", "x:65535", "[::1]", "[::1]:80",
                 "[::1]:",
                 "[2001:db8::1.2.3.4]", "[FE80:0:0:0:0:0:0:1]:8080", "[::]", "a" * 255, "a" * 1000)
        self.check_taken(daemon, [(host, get(" " + host), 200, OK) for host in hosts])
        self.check_taken(daemon, [(host, get(" " + host, version="1.0"), 200, OK)
                                  for host in ("x", "x:80", "[::1]")], last=True)

    def test_what_cannot_be_a_host_is_refused(self):
        daemon = self.start()
        hosts = ("", "  ", ":", ":80", "a,b", "a, b", ",a", "a,", "a b", "a\tb", "a/", "/", "a/b",
                 "http://a", "//a", "a?b", "a#b", "a\\b", "u@a", "u:p@a", "@a", "a@", "a:b", "a:-1",
                 "a:+1", "a:65536", "a:4294967376", "a:99999999999999999999", "a:80:80", "a:80 80",
                 "a: 80", "a :80", "a:8o", "a:80/", "[::1", "::1", "::1]", "[::1]]", "[[::1]]",
                 "[]", "[:]", "[g::1]", "[::1]a", "[::1]80", "[::1]:x", "[::1%eth0]",
                 "[::1%25eth0]", "[1.2.3.4]", "[v1.a]", "[::ffff:1.2.3]", "[:::1]",
                 "[1:2:3:4:5:6:7:8:9]",
                 "[%s]" % ("0" * 100), "a%", "a%4", "a%zz", "a%%41", "%", "<a>", "\"a\"", "a|b",
                 "a^b", "`a`", "{a}", "caf\xe9", "\xe9",
                 "a;b,c")
        rows = []
        for host in hosts:
            for version in ("1.1", "1.0"):
                rows.append(((host, version), get(" " + host, version=version), 400, "bad-host"))
        self.check_refused(daemon, rows)

    def test_each_octet_of_a_host(self):
        daemon = self.start()
        good = set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
                   b"!$&'()*+;=")
        taken, refused = [], []
        for octet in range(256):
            data = b"GET /health HTTP/1.1\r\nHost: a" + bytes([octet]) + b"g\r\n\r\n"
            if octet in good:
                taken.append((octet, data, 200, OK))
            elif octet in b"\r\n":
                refused.append((octet, data, 400, "bad-line-end"))
            elif (octet < 0x20 and octet != 0x09) or octet == 0x7f:
                refused.append((octet, data, 400, "bad-field"))
            else:
                refused.append((octet, data, 400, "bad-host"))
        self.check_taken(daemon, taken, ways=("whole",))
        self.check_refused(daemon, refused, ways=("whole",))

    def test_a_host_that_was_good_is_no_excuse_for_the_next(self):
        """What was found valid on one connection is remembered by its loop."""
        daemon = self.start(LOOPS=1)
        for _ in range(3):
            self.check_taken(daemon, [("good", get(" localhost:8080"), 200, OK)])
            self.check_refused(daemon, [
                (host, get(" " + host), 400, "bad-host")
                for host in ("localhost:808x", "localhost/8080", "localhost:80 0",
                             "localhost:8080,")])


if __name__ == "__main__":
    harness.main()
