"""Jobs: what a handler is given, what comes back, and to whom."""
# ctest: builds=release,asan,tsan

import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from harness import SLOW, get_bytes, post_bytes

MIB = 1 << 20


def chunked(body, size, last=b"0\r\n\r\n"):
    pieces = [body[i:i + size] for i in range(0, len(body), size)]
    return (b"POST / HTTP/1.1\r\nHost: x\r\nX-Request-ID: i\r\nTransfer-Encoding: chunked\r\n\r\n" +
            b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + last)


def answer(data, request_id=b"i"):
    return b'{"status":"ok","request_id":"' + request_id + b'","data":' + data + b"}"


class JobsTest(harness.TestCase):
    def ask(self, client, body):
        return client.post(body, headers="X-Request-ID: i\r\n")


class Echo(JobsTest):
    VALUES = [
        b"9007199254740993", b"-9007199254740993", b"1e400", b"-1E-400", b"-0", b"0", b"-0.0",
        b"1.10", b"1.0e+05", b"0.1E1", b"123456789012345678901234567890", b"1" * 100,
        b"3.14159265358979323846264338327950288", b"true", b"false", b"null", b'""', b"{}", b"[]",
        b'"plain"', b'"a\\u0000b"', b'"\\ud83d\\ude00"', b'"\\"\\\\\\/\\b\\f\\n\\r\\t"',
        b'"\\u00E9\\u00e9"', "\"\u00e9\u20ac\U0001f600\u2028\u2029\"".encode(), b'"\x7f"',
        b'"</script>&<>"', b'"' + b"x" * 200000 + b'"', b'"}"', b'"\\\\"', b'"]},\\"data\\":1"',
        b'{"data":1,"data":2}', b'{ "a" : [ 1 , 2\t, { "b" :\r\n null } ] , "" : {} }',
        b"[" * 500 + b"]" * 500, b'[[],{},[{}],"[",{"]":"{"}]', b"[" + b"0," * 5000 + b"0]",
    ]

    def test_data_comes_back_byte_for_byte(self):
        daemon = self.start()
        with daemon.client() as client:
            for value in self.VALUES:
                for body in (b'{"data":' + value + b"}",
                             b' \r\n\t{ "a" : [ {"data":7} ] ,\n "data" \t:\r\n ' + value +
                             b' \t\r\n , "b":"\\"data\\":8" } \r\n'):
                    with self.subTest(value=value[:60], body=body[:20]):
                        reply = self.ask(client, body)
                        self.assertEqual(reply.status, 200, reply)
                        self.assertEqual(reply.headers["content-type"], "application/json")
                        self.assertTrue(reply.body == answer(value), reply.body[:200])

    def test_without_data_it_is_null(self):
        daemon = self.start()
        with daemon.client() as client:
            for body in (b"{}", b' { } ', b'{"Data":1}', b'{"data ":1}', b'{"dat":1}', b'{"":1}',
                         b'{"x":{"data":1}}', b'{"x":"data"}', b'{"datadata":1}',
                         b'{"data\\u0000":1}'):
                with self.subTest(body=body):
                    self.assertEqual(self.ask(client, body).body, answer(b"null"))

    def test_without_a_body_it_is_null(self):
        daemon = self.start()
        head = "X-Request-ID: i\r\n"
        with daemon.client() as client:
            for request in (get_bytes("/", head),
                            get_bytes("/?data=1", head),
                            b"POST / HTTP/1.1\r\nHost: x\r\nX-Request-ID: i\r\n\r\n",
                            post_bytes(b"", headers=head),
                            chunked(b"", 1),
                            b"POST / HTTP/1.0\r\nConnection: keep-alive\r\n"
                            b"X-Request-ID: i\r\n\r\n"):
                with self.subTest(request=request):
                    client.send(request)
                    reply = client.read_reply()
                    self.assertEqual((reply.status, reply.body), (200, answer(b"null")))

    def test_a_body_of_a_get_is_used(self):
        daemon = self.start()
        with daemon.client() as client:
            client.send(b'GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: i\r\nContent-Length: 10\r\n'
                        b'\r\n{"data":1}')
            self.assertEqual(client.read_reply().body, answer(b"1"))

    def test_an_escaped_name_is_the_same_name(self):
        daemon = self.start()
        with daemon.client() as client:
            for name in (b"d\\u0061ta", b"\\u0064\\u0061\\u0074\\u0061", b"dat\\u0061",
                         b"\\u0064ata"):
                with self.subTest(name=name):
                    self.assertEqual(self.ask(client, b'{"' + name + b'":5}').body, answer(b"5"))

    def test_of_several_members_the_first_wins(self):
        daemon = self.start()
        with daemon.client() as client:
            self.assertEqual(self.ask(client, b'{"data":1,"data":2}').body, answer(b"1"))
            self.assertEqual(self.ask(client, b'{"d\\u0061ta":[3],"data":2}').body, answer(b"[3]"))

    def test_a_body_that_is_no_object_is_no_job(self):
        daemon = self.start(HANDLERS="/=echo /sleep=sleep:1ms /spin=spin:1us")
        with daemon.client() as client:
            for path in ("/", "/sleep", "/spin"):
                for body in (b"[]", b"1", b'"data"', b"null", b"true", b' [{"data":1}] ',
                             b"-0.5e1"):
                    with self.subTest(path=path, body=body):
                        reply = client.post(body, path)
                        self.assertEqual((reply.status, reply.problem()), (422, "invalid-job"))
                        self.assertIn("object", reply.json()["detail"])
                        self.assertFalse(reply.closes())


class Strict(JobsTest):
    # Each with the offset of its first wrong byte: what is before it could
    # still have become JSON.
    BAD = [
        (b'{"data":01}', 9), (b'{"data":-01}', 10), (b'{"data":+1}', 8), (b'{"data":.5}', 8),
        (b'{"data":1.}', 10), (b'{"data":1.e5}', 10), (b'{"data":1e}', 10), (b'{"data":1e+}', 11),
        (b'{"data":0x10}', 9), (b'{"data":1.2.3}', 11), (b'{"data":-}', 9), (b'{"data":1_000}', 9),
        (b'{"data":NaN}', 8), (b'{"data":Infinity}', 8), (b'{"data":-Infinity}', 9),
        (b'{"data":tru}', 11), (b'{"data":True}', 8), (b'{"data":nulL}', 11),
        (b'{"data":"a\nb"}', 10), (b'{"data":"a\tb"}', 10), (b'{"data":"a\0b"}', 10),
        (b'{"data":"\x1f"}', 9), (b'{"data":"\\x41"}', 10), (b'{"data":"\\u12g4"}', 13),
        (b'{"data":"\\"}', 12), (b'{"data":"\\\'"}', 10), (b'{"data":"\\U0041"}', 10),
        (b'{"data":"\xff"}', 9), (b'{"data":"\xc3("}', 10), (b'{"data":"\xc0\x80"}', 9),
        (b'{"data":"\xe2\x82"}', 11), (b'{"data":"\xed\xa0\x80"}', 10),
        (b'{"data":"\xf4\x90\x80\x80"}', 10), (b'{"data":"\x80"}', 9), (b'{"\xfe":1}', 2),
        (b'{"data":"caf\xe9"}', 13),
        (b'{"data":"\\ud800"}', 15), (b'{"data":"\\udc00"}', 12),
        (b'{"data":"\\ud800\\u0041"}', 17),
        (b'\xef\xbb\xbf{"data":1}', 0), (b'\xff\xfe{\0', 0), (b"\0", 0),
        (b'{"data":1} x', 11), (b'{"data":1}{"data":2}', 10), (b'{"data":1},', 10), (b"{}\0", 2),
        (b'{"data":1', 9), (b'{"data":', 8), (b'{"data"', 7), (b'{"dat', 5), (b"{", 1),
        (b'{"data":[1', 10), (b'{"data":"x', 10), (b'{"data":"\\', 10), (b"   ", 3), (b"\r\n", 2),
        (b'{"data":1,}', 10), (b'{"data":[1,]}', 11), (b'{"data":[,1]}', 9), (b"{,}", 1),
        (b'{"data" 1}', 8), (b'{"data"=1}', 7), (b"{'data':1}", 1), (b'{data:1}', 1),
        (b'{"data":[1 2]}', 11), (b'{"data":[1}', 10), (b'{"data":{]}', 9), (b"}", 0), (b"]", 0),
        (b'{1:2}', 1), (b'{"data":\x0b1}', 8), (b'{"data":\xc2\xa01}', 8), (b"// x\n{}", 0),
        (b'{"data":' + b"[" * 600 + b"]" * 600 + b"}", 8 + 511),
        (b'{"data":"' + b"x" * 100000 + b'\x01"}', 100009),
    ]

    def test_what_is_not_json_is_refused_with_the_place(self):
        daemon = self.start(HANDLERS="/=echo /sleep=sleep:1ms")
        with daemon.client() as client:
            for path in ("/", "/sleep"):
                for body, offset in self.BAD:
                    with self.subTest(path=path, body=body[:60]):
                        reply = client.post(body, path)
                        self.assertEqual((reply.status, reply.problem()), (400, "bad-json"))
                        detail = reply.json()["detail"]
                        self.assertRegex(detail, r"at byte \d+$")
                        self.assertEqual(int(detail.rsplit(" ", 1)[1]), offset, detail)
                        self.assertFalse(reply.closes())
            self.assertEqual(self.ask(client, b'{"data":1}').body, answer(b"1"))
        metrics = daemon.metrics()
        self.assertEqual(metrics["requests_rejected"]["bad-json"], 2 * len(self.BAD))

    def test_depth_has_a_limit(self):
        daemon = self.start(HANDLERS="/=echo /sleep=sleep:1ms")
        with daemon.client() as client:
            for path in ("/", "/sleep"):
                for depth, status in ((511, 200), (512, 400)):
                    with self.subTest(path=path, depth=depth):
                        body = b'{"data":' + b"[" * depth + b"]" * depth + b"}"
                        self.assertEqual(client.post(body, path).status, status)

    def test_what_cjson_cannot_hold_is_the_clients_fault_and_no_more(self):
        """Up to 1.7.18, cJSON keeps at most 63 characters of a number. Echo
        does not parse; sleep and spin do."""
        daemon = self.start(HANDLERS="/=echo /sleep=sleep:1ms /spin=spin:1us")
        digits = b"1" * 100
        refused = {}
        with daemon.client() as client:
            for path in ("/sleep", "/spin"):
                for _ in range(3):
                    reply = client.post(b'{"data":' + digits + b"}", path, "X-Request-ID: i\r\n")
                    if reply.status == 200:
                        self.assertEqual(reply.body, answer(digits))
                    else:
                        self.assertEqual((reply.status, reply.problem()), (422, "invalid-job"))
                        self.assertIn("63", reply.json()["detail"])
                        refused["invalid-job"] = refused.get("invalid-job", 0) + 1
                self.assertEqual(client.post(b'{"data":' + b"1" * 60 + b"}", path).status, 200)
            self.assertEqual(self.ask(client, b'{"data":' + digits + b"}").body, answer(digits))
        self.assertEqual(daemon.metrics()["requests_rejected"], refused)


class Sizes(JobsTest):
    def test_a_body_of_the_largest_size_is_taken_and_a_byte_more_is_not(self):
        daemon = self.start()
        data = b'"' + b"a" * (MIB - 12) + b'"'
        body = b'{"data":' + data + b"}"
        self.assertEqual(len(body), MIB - 1)
        for size, status in ((MIB - 1, 200), (MIB, 200), (MIB + 1, 413), (8 * MIB, 413)):
            padded = body + b" " * (size - len(body))
            for what, request in (
                    ("length", post_bytes(padded, headers="X-Request-ID: i\r\n")),
                    ("chunks of 64 KiB", chunked(padded, 65536)),
                    ("chunks of 1000", chunked(padded, 1000)),
                    ("one chunk", chunked(padded, len(padded)))):
                with self.subTest(size=size, what=what), daemon.client() as client:
                    sender = self.send_aside(client, request)
                    reply = client.read_reply()
                    self.assertEqual(reply.status, status, reply.body[:200])
                    if status == 200:
                        self.assertTrue(reply.body == answer(data), "not what was sent")
                        self.assertEqual(client.ask(get_bytes()).status, 200)
                    else:
                        self.assertEqual(reply.problem(), "body-too-large")
                        self.assertTrue(reply.closes())
                        self.assertTrue(client.at_end())
                    self.assertIsNone(sender.join())  # such as a reset

    def test_the_limit_is_max_body_size(self):
        for limit in (0, 1, 100):
            daemon = self.start(MAX_BODY_SIZE=limit)
            self.assertEqual(daemon.get("/").status, 200)
            self.assertEqual(daemon.post(b"").status, 200)
            for size, too_large in ((limit, False), (limit + 1, True)):
                if size == 0:
                    continue
                for request in (post_bytes(b" " * size), chunked(b" " * size, 3)):
                    with self.subTest(limit=limit, request=request), daemon.client() as client:
                        client.send(request)
                        self.assertEqual(client.read_reply().status, 413 if too_large else 400)

    def test_chunk_framing_does_not_count_as_body(self):
        daemon = self.start(MAX_BODY_SIZE=100)
        body = b'{"data":"' + b"x" * 89 + b'"}'
        with daemon.client() as client:
            for _ in range(3):
                client.send(chunked(body, 1, last=b"000;last\r\nA: " + b"b" * 500 + b"\r\n\r\n"))
                self.assertEqual(client.read_reply().body, answer(b'"' + b"x" * 89 + b'"'))

    def test_large_replies_that_are_read_slowly_come_whole(self):
        """Eight of 1 MiB: more than the kernel keeps for a client that does
        not read."""
        daemon = self.start(WRITE_TIMEOUT="10m")
        client = self.client(daemon, rcvbuf=8192)
        values = [b'"' + bytes([97 + i]) * (MIB - 1000) + b'"' for i in range(8)]
        self.send_aside(client, b"".join(
            post_bytes(b'{"data":' + value + b"}", headers="X-Request-ID: i\r\n")
            for value in values))
        self.eventually(lambda: daemon.metrics()["connections"]["writing"] == 1, "backpressure")
        for i, value in enumerate(values):
            if i < 2:  # sips, with pauses
                while len(client.buffer) < MIB // 4:
                    data = client.sock.recv(16384)
                    self.assertTrue(data, "cut reply")
                    client.buffer += data
                    time.sleep(0.001)
            reply = client.read_reply()
            self.assertEqual(reply.status, 200)
            self.assertTrue(reply.body == answer(value), "not what was sent")
        self.assertEqual(client.ask(get_bytes()).status, 200)
        self.eventually(lambda: daemon.metrics()["memory_used_mb"] < 2, "memory to be freed")


class Handlers(JobsTest):
    def test_each_path_has_its_handler(self):
        daemon = self.start(HANDLERS="/=echo /a/b=sleep:80ms /spin=spin:30ms /echo2=echo")
        with daemon.client() as client:
            for path, at_least_ms in (("/", 0), ("/echo2", 0), ("/a/b", 80), ("/spin", 30)):
                with self.subTest(path=path):
                    started = time.monotonic()
                    reply = client.post(b'{"data": [1.0] }', path, "X-Request-ID: i\r\n")
                    elapsed = time.monotonic() - started
                    self.assertEqual((reply.status, reply.body), (200, answer(b"[1.0]")))
                    ran = float(re.search(r"run;dur=([\d.]+)",
                                          reply.headers["server-timing"]).group(1))
                    self.assertGreaterEqual(ran, at_least_ms)
                    self.assertGreaterEqual(elapsed * 1000, ran)
                    self.assertEqual(client.ask(get_bytes(path, "X-Request-ID: i\r\n").decode())
                                     .body, answer(b"null"))
            for path in ("/a", "/a/b/", "/A/B", "/spin/", "/sleep"):
                self.assertEqual(client.ask(get_bytes(path).decode()).status, 404, path)
        handlers = {(h["path"], h["handler"]): h["ok"] for h in daemon.metrics()["handlers"]}
        self.assertEqual(handlers, {("/", "echo"): 2, ("/a/b", "sleep"): 2, ("/spin", "spin"): 2,
                                    ("/echo2", "echo"): 2})

    def test_only_the_paths_in_handlers_are_served(self):
        daemon = self.start(HANDLERS="/job=echo")
        self.assertEqual(daemon.get("/").status, 404)
        self.assertEqual(daemon.get("/job").status, 200)
        self.assertEqual(daemon.get("/health").status, 200)

    def test_spin_uses_the_processor_and_sleep_does_not(self):
        daemon = self.start(HANDLERS="/spin=spin:200ms /sleep=sleep:400ms", WORKERS=1)

        def cpu_seconds():
            with open("/proc/%d/stat" % daemon.pid) as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        before = cpu_seconds()
        self.assertEqual(daemon.get("/spin").status, 200)
        self.assertGreaterEqual(cpu_seconds() - before, 0.17)  # of 200 ms, in ticks
        before = cpu_seconds()
        self.assertEqual(daemon.get("/sleep").status, 200)
        self.assertLess(cpu_seconds() - before, 0.2)


class Many(JobsTest):
    def hammer(self, daemon, connections, rounds, paths):
        """Every connection sends jobs of its own, one after the other, all at
        the same time; each answer must be to the connection's own job."""
        wrong = []

        def run(first):
            clients = [(n, daemon.client()) for n in range(first, connections, 8)]
            try:
                for i in range(rounds):
                    for n, client in clients:
                        name = "c%d-%d" % (n, i)
                        data = '"%s%s"' % (name, "." * (n * i % 3000))
                        client.send(post_bytes('{"data": %s }' % data, paths[(n + i) % len(paths)],
                                               "X-Request-ID: %s\r\n" % name))
                    for n, client in clients:
                        name = "c%d-%d" % (n, i)
                        data = '"%s%s"' % (name, "." * (n * i % 3000))
                        reply = client.read_reply()
                        if (reply is None or reply.status != 200 or
                                reply.headers["x-request-id"] != name or
                                reply.body != answer(data.encode(), name.encode())):
                            wrong.append((name, reply))
            except Exception as error:  # reported by the test
                wrong.append((first, error))
            finally:
                for _, client in clients:
                    client.close()

        threads = [threading.Thread(target=run, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong[:3], [])

    def test_every_connection_gets_its_own_answers(self):
        rounds = 10 if SLOW else 20
        for loops, workers in ((1, 1), (1, 4), (2, 1), (2, 8), (4, 3)):
            with self.subTest(loops=loops, workers=workers):
                daemon = self.start(LOOPS=loops, WORKERS=workers,
                                    HANDLERS="/=echo /sleep=sleep:1ms /spin=spin:50us")
                self.hammer(daemon, 64, rounds, ("/", "/", "/sleep", "/", "/spin"))
                metrics = daemon.metrics()
                self.assertEqual(sum(h["ok"] for h in metrics["handlers"]), 64 * rounds)
                self.assertEqual(metrics["error_count"], 0)
                self.assertEqual(metrics["queue_depth"], 0)
                self.assertEqual(daemon.stop(), 0)


class LoadTools(JobsTest):
    """What people load it with finds no failed and no refused request."""

    def setUp(self):
        self.body = tempfile.NamedTemporaryFile(suffix=".json")
        self.body.write(b'{"data":{"n":1}}')
        self.body.flush()
        self.addCleanup(self.body.close)

    def run_tool(self, *command):
        if shutil.which(command[0]) is None:
            raise unittest.SkipTest("%s is not installed" % command[0])
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              universal_newlines=True, timeout=4 * harness.PATIENCE)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_ab(self):
        daemon = self.start()
        count = 500 if SLOW else 3000
        url = "http://127.0.0.1:%d" % daemon.port
        post = ["-p", self.body.name, "-T", "application/json"]
        for options in ([], ["-k"], post, ["-k"] + post, ["-k", "-i"]):
            for path in ("/", "/health"):
                if path == "/health" and "-p" in options:
                    continue
                with self.subTest(options=options, path=path):
                    said = self.run_tool("ab", "-q", "-n", str(count), "-c", "20", *options,
                                         url + path)
                    self.assertRegex(said, r"Complete requests: +%d\n" % count)
                    self.assertRegex(said, r"Failed requests: +0\n")
                    self.assertNotIn("Non-2xx", said)
                    self.assertNotIn("Write errors", said)
                    if "-k" in options:
                        self.assertRegex(said, r"Keep-Alive requests: +%d\n" % count)
        self.assertEqual(daemon.metrics()["error_count"], 0)

    def test_wrk(self):
        daemon = self.start()
        script = tempfile.NamedTemporaryFile("w", suffix=".lua")
        self.addCleanup(script.close)
        script.write('wrk.method = "POST"\nwrk.body = \'{"data":1}\'\n'
                     'wrk.headers["Content-Type"] = "application/json"\n')
        script.flush()
        url = "http://127.0.0.1:%d" % daemon.port
        for options, path in (([], "/"), ([], "/health"), (["-s", script.name], "/"),
                              (["-H", "Connection: close"], "/")):
            with self.subTest(options=options, path=path):
                said = self.run_tool("wrk", "-t1", "-c16", "-d1s", *options, url + path)
                self.assertGreater(int(re.search(r"(\d+) requests in", said).group(1)), 0, said)
                self.assertNotIn("Socket errors", said)
                self.assertNotIn("Non-2xx", said)
        self.assertEqual(daemon.metrics()["error_count"], 0)


if __name__ == "__main__":
    harness.main()
