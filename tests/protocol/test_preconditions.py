"""If-Match and If-None-Match, where everything has a representation and nothing an
entity tag. What is about dates and ranges is in test_responses."""

import signal

import harness
from harness import get_bytes
import wire
from wire import AFTER, HOST, Client, request

PAGES = ("/health", "/livez", "/readyz", "/healthz", "/metrics", "/problems/not-found")
TAGS = ('"x"', 'W/"x"', '""', '"a", "b"', '"a,b" ,\tW/"c"', ',"x",', '"*"', '"\xe9!#~"',
        "", ",", '"a\\"')
NO_TAGS = ("x", "**", "*,*", '*, "x"', '"x", *', "*;", '"x', 'x"', '"x"y', '"x" "y"', "w/\"x\"",
           'W / "x"', 'W/x', 'W/', '"a b"', '"a\tb"', '"a""b"', "'x'", '"x";q=1', '"a", b')


def ask(method, path, *fields, version="1.1"):
    """A request with a body where the method has one."""
    if method == "POST":
        fields += ("Content-Length: 10",)
    return request("%s %s HTTP/%s" % (method, path, version), HOST, "X-Request-ID: r", *fields,
                   body=b'{"data":1}' if method == "POST" else b"")


def alike(reply):
    """What of a reply is the same each time."""
    headers = {name: value for name, value in reply.headers.items()
               if name not in ("date", "server-timing", "content-length")}
    return reply.status, headers


# Of a resource, each method that is answered with a 2xx.
ANSWERED = ([(method, path) for path in PAGES for method in ("GET", "HEAD")] +
            [(method, "/") for method in ("GET", "HEAD", "POST")])


class Preconditions(wire.TestCase):
    def reply_to(self, client, method, data):
        client.send(data)
        return client.read_reply(method)

    def assert_as_without(self, daemon, method, path, *fields):
        with self.subTest(method=method, path=path, fields=fields), Client(daemon) as client:
            plain = alike(self.reply_to(client, method, ask(method, path)))
            self.assertEqual(alike(self.reply_to(client, method, ask(method, path, *fields))),
                             plain)

    def assert_failed(self, daemon, method, path, *fields):
        """412, and no more than that: the connection goes on."""
        with self.subTest(method=method, path=path, fields=fields), Client(daemon) as client:
            client.send(ask(method, path, *fields) + AFTER)
            reply = client.read_reply(method)
            self.assertEqual((reply.status, reply.headers["x-request-id"], reply.closes()),
                             (412, "r", False), reply)
            self.assertNotIn("server-timing", reply.headers)  # no job was run
            if method != "HEAD":
                self.assert_problem(reply, 412, "precondition-failed")
            self.assertEqual(client.read_reply().headers["x-request-id"], "after")

    def test_if_match_names_no_tag_of_ours(self):
        daemon = self.start()
        for method, path in ANSWERED:
            for tags in (TAGS if path in ("/", "/health") else TAGS[:2]):
                self.assert_failed(daemon, method, path, "If-Match: " + tags)
        self.assert_failed(daemon, "GET", "/health", 'iF-mATCH:"a"', 'If-Match:\t"b" ')

    def test_if_match_of_anything_holds(self):
        daemon = self.start()
        for method, path in ANSWERED:
            self.assert_as_without(daemon, method, path, "If-Match: *")
        self.assert_as_without(daemon, "POST", "/", "if-match:*")

    def test_if_none_match_of_anything_is_304_to_get_and_head(self):
        daemon = self.start()
        for method, path in ANSWERED[:-1]:
            with self.subTest(method=method, path=path), Client(daemon) as client:
                plain = self.reply_to(client, method, ask(method, path))
                client.send(ask(method, path, "If-None-Match: *") + AFTER)
                reply = client.read_reply(method)
                # No content, and of the fields those that the 200 has, but for
                # what describes the content.
                self.assertEqual((reply.status, reply.body), (304, b""))
                expected = alike(plain)[1]
                expected.pop("content-type")
                self.assertEqual(alike(reply)[1], expected)
                self.assertNotIn("content-length", reply.headers)
                self.assertEqual(client.read_reply().headers["x-request-id"], "after")

    def test_if_none_match_of_anything_is_412_to_others(self):
        self.assert_failed(self.start(), "POST", "/", "If-None-Match: *")

    def test_if_none_match_of_tags_holds(self):
        daemon = self.start()
        for method, path in ANSWERED:
            for tags in (TAGS if path in ("/", "/health") else TAGS[:2]):
                self.assert_as_without(daemon, method, path, "If-None-Match: " + tags)
        self.assert_as_without(daemon, "GET", "/", 'If-None-Match: "a"', 'If-None-Match: "b"')

    def test_if_match_is_looked_at_first(self):
        daemon = self.start()
        for fields in (('If-Match: "x"', "If-None-Match: *"), ("If-None-Match: *", 'If-Match: "x"'),
                       ('If-Match: "x"', 'If-None-Match: "x"')):
            self.assert_failed(daemon, "GET", "/health", *fields)
        with Client(daemon) as client:
            for path in ("/", "/health"):
                self.assertEqual(self.reply_to(client, "GET", ask(
                    "GET", path, "If-Match: *", "If-None-Match: *")).status, 304)

    def test_dates_have_no_say_beside_them(self):
        daemon = self.start()
        date = "Mon, 01 Jan 2024 00:00:00 GMT"
        self.assert_as_without(daemon, "GET", "/health", "If-Match: *",
                               "If-Unmodified-Since: " + date)
        self.assert_as_without(daemon, "GET", "/health", 'If-None-Match: "x"',
                               "If-Modified-Since: " + date)
        self.assert_failed(daemon, "GET", "/health", 'If-Match: "x"', "If-Unmodified-Since: " + date)

    def test_what_is_no_list_of_tags_is_refused(self):
        daemon = self.start()
        rows = [((method, path, name, value), ask(method, path, "%s: %s" % (name, value)), 400,
                 "bad-field")
                for method, path in (("GET", "/health"), ("GET", "/"), ("POST", "/"))
                for name in ("If-Match", "If-None-Match") for value in NO_TAGS]
        rows += [(fields, ask("GET", "/health", *fields), 400, "bad-field") for fields in (
            ("If-Match: *", "If-Match: *"), ("If-Match: *", 'If-Match: "x"'),
            ("If-None-Match:", "If-None-Match: *"), ('If-Match: "x"', "If-None-Match: x"))]
        self.check_refused(daemon, rows, ways=("whole", "behind another"))

    def test_they_mean_nothing_where_the_answer_is_another(self):
        """Not even what is wrong with them."""
        daemon = self.start(MAX_BODY_SIZE=100)
        conditions = ('If-Match: "x"', "If-None-Match: *", 'If-None-Match: "x"', "If-Match: *",
                      "If-Match: x", "If-None-Match: x")
        for data, status in (
                (("GET /none HTTP/1.1",), 404), (("GET /problems/none HTTP/1.1",), 404),
                (("PUT /health HTTP/1.1",), 405), (("POST /health HTTP/1.1",), 405),
                (("DELETE / HTTP/1.1",), 405), (("TRACE / HTTP/1.1",), 405),
                (("CONNECT x:80 HTTP/1.1",), 405), (("OPTIONS / HTTP/1.1",), 204),
                (("OPTIONS /health HTTP/1.1",), 204), (("OPTIONS * HTTP/1.1",), 204),
                (("POST / HTTP/1.1", "Content-Length: 101"), 413),
                (("POST / HTTP/1.1", "Content-Length: 9", "Content-Type: a/b"), 415),
                (("POST / HTTP/1.1", "Content-Length: 9", "Content-Encoding: gzip"), 415),
                (("GET / HTTP/1.1", "Expect: x"), 417), (("GET https://x/ HTTP/1.1",), 421),
                (("POST / HTTP/1.1", "Transfer-Encoding: x, chunked"), 501)):
            for condition in conditions:
                with self.subTest(data=data, condition=condition), Client(daemon) as client:
                    client.send(request(data[0], HOST, *data[1:], condition))
                    self.assertEqual(client.read_reply().status, status)
        daemon = self.start(DRAIN_DELAY="30s")
        with Client(daemon) as client:
            self.assertEqual(client.ask(get_bytes("/readyz")).status, 200)
            daemon.signal(signal.SIGTERM)
            self.eventually(lambda: daemon.get("/readyz").status == 503, "/readyz to turn")
            client = self.client(daemon)
            client.send(request("GET /readyz HTTP/1.1", HOST, 'If-Match: "x"'))
            self.assert_problem(client.read_reply(), 503, "draining")
        daemon.signal(signal.SIGTERM)

    def test_they_come_before_the_content(self):
        """What is in the body is looked at later, or never."""
        daemon = self.start()
        for fields, body in ((("Content-Length: 1",), b"x"), (("Content-Length: 2",), b"[]"),):
            with self.subTest(body=body), Client(daemon) as client:
                client.send(request("POST / HTTP/1.1", HOST, 'If-Match: "x"', *fields, body=body) +
                            AFTER)
                self.assert_problem(client.read_reply(), 412, "precondition-failed")
                self.assertEqual(client.read_reply().headers["x-request-id"], "after")
        # A body that is still to come is not asked for, and not waited for.
        for fields in (("Content-Length: 10",), ("Transfer-Encoding: chunked",)):
            for condition in ('If-Match: "x"', "If-None-Match: *"):
                with self.subTest(fields=fields, condition=condition), Client(daemon) as client:
                    client.send(request("POST / HTTP/1.1", HOST, condition, *fields,
                                        "Expect: 100-continue"))
                    reply = client.read_reply()
                    self.assert_problem(reply, 412, "precondition-failed")
                    self.assert_ended(client, reply)
        with Client(daemon) as client:
            client.send(request("GET / HTTP/1.1", HOST, "If-None-Match: *", "Content-Length: 10"))
            reply = client.read_reply()
            self.assertEqual(reply.status, 304)
            self.assert_ended(client, reply)

    def test_1_0_knows_them_too(self):
        daemon = self.start()
        for method, field, status in (("GET", "If-None-Match: *", 304),
                                      ("POST", "If-None-Match: *", 412),
                                      ("GET", 'If-Match: "x"', 412)):
            with self.subTest(method=method, field=field), Client(daemon) as client:
                reply = self.reply_to(client, method, ask(method, "/", field, version="1.0"))
                self.assertEqual(reply.status, status)
                self.assert_ended(client, reply)


if __name__ == "__main__":
    harness.main()
