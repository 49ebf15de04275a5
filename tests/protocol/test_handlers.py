"""What a handler sees of a request, and may make of its answer: with a daemon that
has loaded a handler which does what its query says (play.c)."""

import os

import harness
import wire
from wire import HOST, Client, request

PLAY = os.environ.get("HCSD_PLAY", os.path.join(os.path.dirname(harness.HCSD), "tests/play.so"))


class TestCase(wire.TestCase):
    def start(self, **settings):
        return super().start(HANDLERS='"/=module:%s"' % PLAY, **settings)


class Fields(TestCase):
    def field(self, client, line, name, *fields):
        method, target = line.split(" ")
        data = request("%s %s?field=%s HTTP/1.1" % (method, target, name), *fields)
        client.send(data)
        reply = client.read_reply()
        self.assertEqual(reply.status, 200, reply)
        return reply.body

    def test_the_host_is_that_of_the_target(self):
        """RFC 9112, 3.2.2: in absolute form that of the field does not count."""
        daemon = self.start()
        with Client(daemon) as client:
            for name in ("Host", "host", "HOST", "hOSt"):
                self.assertEqual(self.field(client, "GET /", name, "Host: a:1"), b"a:1")
                self.assertEqual(self.field(client, "GET http://b:2/", name, "Host: a:1"), b"b:2")
                self.assertEqual(self.field(client, "GET HTTP://b", name, "Host: a:1"), b"b")
                self.assertEqual(self.field(client, "POST http://[::1]:80/", name, "hOST:  a  "),
                                 b"[::1]:80")
            self.assertEqual(self.field(client, "GET http://b/", "Hos", "Host: a", "Hos: c"), b"c")
            self.assertEqual(self.field(client, "GET http://b/", "Hosts", "Host: a", "Hosts: c"),
                             b"c")
        for fields, line, value in (((), "GET /?field=Host HTTP/1.0", b""),
                                    ((), "GET http://b/?field=Host HTTP/1.0", b"b"),
                                    ((HOST,), "GET http://b/?field=Host HTTP/1.0", b"b"),
                                    ((HOST,), "GET /?field=Host HTTP/1.0", b"x")):
            with self.subTest(line=line, fields=fields), Client(daemon) as client:
                client.send(request(line, *fields))
                self.assertEqual(client.read_reply().body, value)


# What RFC 9110, 15, ties to a field that no handler can set, or to no content.
NEEDS_MORE = {205, 206, 226, 401, 405, 407, 408, 416, 426, 511} | set(range(300, 400))
MAY_BE_SET = set(range(200, 600)) - NEEDS_MORE


class Statuses(TestCase):
    def test_each_that_may_be_set_makes_a_good_reply(self):
        """The client looks closely at each, and at what follows."""
        daemon = self.start(LOOPS=1, WORKERS=2)
        for method in ("GET", "POST", "HEAD"):
            with Client(daemon) as client:
                for status in sorted(MAY_BE_SET):
                    with self.subTest(method=method, status=status):
                        client.send(request("%s /?status=%d HTTP/1.1" % (method, status), HOST))
                        reply = client.read_reply(method)
                        self.assertEqual((reply.status, reply.closes()), (status, False), reply)
                        empty = status == 204 or method == "HEAD"
                        self.assertEqual(reply.body, b"" if empty else b'{"set":true}')
                        self.assertEqual(reply.headers.get("content-length"),
                                         None if status == 204 else "12")
                        self.assertIn("server-timing", reply.headers)

    def test_what_needs_more_than_a_handler_can_say_is_not_set(self):
        daemon = self.start(LOOPS=1, WORKERS=2)
        with Client(daemon) as client:
            for status in sorted(set(range(0, 700)) - MAY_BE_SET) + [999, 65736]:
                with self.subTest(status=status):
                    client.send(request("GET /?status=%d HTTP/1.1" % status, HOST))
                    reply = client.read_reply()
                    self.assertEqual((reply.status, reply.body), (200, b'{"set":false}'))

    def test_a_phrase_is_that_of_the_registry(self):
        daemon = self.start(HALF_CLOSE="serve")
        for status, phrase in ((201, b"Created"), (207, b"Multi-Status"), (299, b""),
                               (413, b"Content Too Large"), (428, b"Precondition Required"),
                               (451, b"Unavailable For Legal Reasons"), (499, b""),
                               (507, b"Insufficient Storage"), (599, b"")):
            with self.subTest(status=status), Client(daemon) as client:
                client.send(request("GET /?status=%d HTTP/1.1" % status, HOST))
                client.readable(harness.PATIENCE)
                line = client.sock.recv(65536).split(b"\r\n")[0]
                self.assertEqual(line, b"HTTP/1.1 %d %s" % (status, phrase))


if __name__ == "__main__":
    harness.main()
