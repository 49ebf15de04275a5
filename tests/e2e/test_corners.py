"""What few clients do, and few machines have."""
# ctest: builds=release,asan

import json
import socket
import unittest

import harness
from harness import get_bytes

UUID = "0123abcd-ef45-7678-9ABC-DEF012345678"


def has_v6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


class ClientAddress(harness.TestCase):
    """What the log calls the client."""

    def assert_client(self, daemon, sock, expected):
        with harness.Client(sock) as client:
            self.assertEqual(client.ask(get_bytes()).status, 200)

        def logged():
            lines = [json.loads(line) for line in daemon.output().splitlines()]
            return [line["client"] for line in lines if line["msg"] == "request"]

        self.eventually(lambda: logged()[-1:] == [expected], "the client's address")

    def test_v4_is_written_the_same_whichever_socket_took_it(self):
        self.assert_client(*self.connected("127.0.0.1", "127.0.0.1"), "127.0.0.1")
        if has_v6():
            self.assert_client(*self.connected("", "127.0.0.1"), "127.0.0.1")

    @unittest.skipUnless(has_v6(), "no IPv6 here")
    def test_v6(self):
        self.assert_client(*self.connected("::1", "::1"), "::1")

    def connected(self, address, to):
        daemon = self.start(ADDRESS=address, LOG_LEVEL="debug")
        return daemon, socket.create_connection((to, daemon.port), harness.PATIENCE)


class MediaType(harness.TestCase):
    def test_of_json_in_every_spelling(self):
        daemon = self.start()
        for value, status in (
                ("application/json ;charset=utf-8", 200), ("application/json\t ; a=b", 200),
                ("Application/JSON", 200), ("application/problem+json", 200), ("x/y+JSON", 200),
                ("x+JSON", 415),
                ("application/jso", 415), ("application/jsonx", 415), ("application/xson", 415),
                ("+jso", 415), (";application/json", 415), ("text/plain;+json", 415)):
            with daemon.client() as client:
                client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                            "Content-Type: %s\r\n\r\n{}" % value)
                reply = client.read_reply()
                self.assertEqual(reply.status, status, value)


    def test_only_what_is_not_encoded_is_taken(self):
        daemon = self.start()
        for value, status in (("identity", 200), ("Identity", 200), ("gzip", 415),
                              ("compress", 415), ("identity, gzip", 415)):
            reply = daemon.post(b"{}", headers="Content-Encoding: %s\r\n" % value)
            self.assertEqual(reply.status, status, value)


class RetryAfter(harness.TestCase):
    def test_is_bounded_however_long_the_queue_is(self):
        daemon = self.start(HANDLERS="/=sleep:1s", WORKERS=1, QUEUE_SIZE=100, QUEUE_TIMEOUT="1h")
        waiting = [self.client(daemon) for _ in range(101)]
        for client in waiting:
            client.send(get_bytes("/"))
        self.eventually(lambda: daemon.metrics()["queue_depth"] >= 99, "a full queue")

        def refused_for_long():
            client = self.client(daemon)
            client.send(get_bytes("/"))
            return client.readable(0.1) and client.read_reply().headers["retry-after"] == "30"

        # Once it is known how slow it is: a hundred seconds would be the truth.
        self.eventually(refused_for_long, "a bound")
        for client in waiting:
            client.close()


class Instance(harness.TestCase):
    def test_a_request_id_that_is_no_uuid_is_not_called_one(self):
        daemon = self.start()
        for name in (UUID, UUID.lower()):
            problem = daemon.get("/none", "X-Request-ID: %s\r\n" % name).json()
            self.assertEqual(problem["instance"], "urn:uuid:" + name)
        for name in ("a", UUID + "0", UUID.replace("-", "0"), UUID[:-1] + "g", UUID[:-1] + "G",
                     UUID[:-1] + "-", UUID[:8] + "_" + UUID[9:], "/" + UUID[1:], "." * 36,
                     "~" + UUID[1:], "@" + UUID[1:]):
            reply = daemon.get("/none", "X-Request-ID: %s\r\n" % name)
            self.assertEqual(reply.status, 404)
            self.assertNotEqual(reply.json()["instance"], "urn:uuid:" + name)


class ProblemPage(harness.TestCase):
    def test_of_a_problem_that_nobody_has_is_not_found_however_long_its_name(self):
        daemon = self.start()
        for name in ("none", "%6eone", "x" * 2000, "%78" * 1000, "x" * 10000):
            self.assertEqual(daemon.get("/problems/" + name).problem(), "not-found")


class ManyLoops(harness.TestCase):
    """A page of metrics that is longer than what is sent together."""

    LOOPS = 64

    def test_are_all_on_the_page(self):
        daemon = self.start(LOOPS=self.LOOPS, WORKERS=1)
        with daemon.client() as client:
            client.send(get_bytes("/metrics?format=prometheus") * 3 + get_bytes("/health"))
            pages = [client.read_reply() for _ in range(3)]
            self.assertEqual(client.read_reply().status, 200)
            client.send("HEAD /metrics?format=prometheus HTTP/1.1\r\nHost: x\r\n\r\n")
            head = client.read_reply("HEAD")
            self.assertEqual(client.ask(get_bytes()).status, 200)
        for page in pages:
            self.assertEqual(page.status, 200)
            self.assertGreater(len(page.body), 16 * 1024)
            for loop in range(self.LOOPS):
                self.assertIn(b'hcsd_connections_accepted_total{loop="%d"} ' % loop, page.body)
        self.assertGreater(int(head.headers["content-length"]), 16 * 1024)


class Cut(harness.TestCase):
    """The second signal."""

    def test_an_idle_connection_is_closed_at_once(self):
        daemon = self.start(DRAIN_IDLE="1h", SHUTDOWN_TIMEOUT="1h")
        client = self.client(daemon)
        self.assertEqual(client.ask(get_bytes()).status, 200)
        daemon.signal()
        self.eventually(lambda: "stopping" in daemon.output(), "the drain")
        self.assertFalse(client.readable(0.3))
        daemon.signal()
        self.assertTrue(client.at_end())
        self.assertEqual(daemon.wait(), 0)


if __name__ == "__main__":
    harness.main()
