"""What a handler sees of a request, and may make of its answer: with a daemon that
has a handler which does what its query says (play.c)."""

import os

import harness
import wire
from wire import HOST, Client, request

PLAYS = os.environ.get("HCSD_PLAYS", os.path.join(os.path.dirname(harness.HCSD), "tests/hcsd-plays"))


class TestCase(wire.TestCase):
    def start(self, **settings):
        return super().start(program=PLAYS, HANDLERS="/=play", **settings)


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


if __name__ == "__main__":
    harness.main()
