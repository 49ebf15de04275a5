# ctest: timeout=180 builds=release,asan slow
"""Input that nobody sane would send: what never ends, at full speed, and bodies
made to cost more than they look."""

import collections
import contextlib
import itertools
import random
import select
import threading
import time

import harness
import hostile
from harness import FEW, SLOW, get_bytes, post_bytes
from hostile import CHUNKED

MIB = 1 << 20

# What is sent once, what is then sent for ever, and how it is refused.
ENDLESS = {
    "method": (b"", b"GET", 501, "unknown-method"),
    "target": (b"GET /", b"a" * 1000, 414, "target-too-long"),
    "query": (b"GET /?", b"a=%41&" * 100, 414, "target-too-long"),
    "absolute target": (b"GET http://x", b"x." * 500, 414, "target-too-long"),
    "one field value": (b"GET / HTTP/1.1\r\nHost: x\r\nA: ", b"b" * 1000, 431,
                        "header-too-large"),
    "one field name": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a" * 1000, 431, "header-too-large"),
    "white space": (b"GET / HTTP/1.1\r\nHost:", b" \t" * 500, 431, "header-too-large"),
    "fields": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n" * 100, 431, "header-too-large"),
    "empty fields": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"A:\r\n" * 100, 431,
                     "header-too-large"),
    "folded lines": (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n", b" c\r\n" * 100, 400, "bad-field"),
    "hosts": (b"GET / HTTP/1.1\r\n", b"Host: x\r\n" * 100, 431, "header-too-large"),
    "announced body": (post_bytes(b"x" * (MIB + 1))[:-MIB - 1], b" " * 1000, 413,
                       "body-too-large"),
    "chunks": (CHUNKED, b"3e8\r\n" + b" " * 1000 + b"\r\n", 413, "body-too-large"),
    "one-byte chunks": (CHUNKED, b"1\r\n \r\n" * 100, 413, "body-too-large"),
    "huge chunk": (CHUNKED + b"fffffffffffffff\r\n", b" " * 1000, 413, "body-too-large"),
    "chunk size": (CHUNKED, b"0" * 1000, 400, "bad-chunk"),
    "chunk extension": (CHUNKED + b"1", b";a=b" * 100, 400, "bad-chunk"),
    "quoted chunk extension": (CHUNKED + b'1;a="', b"b\\\"" * 100, 400, "bad-chunk"),
    "extensions of small chunks": (CHUNKED, b'1;a="bcdef"\r\n \r\n' * 50, 400, "bad-chunk"),
    "trailers": (CHUNKED + b"0\r\n", b"A: b\r\n" * 100, 400, "bad-chunk"),
    "one trailer": (CHUNKED + b"0\r\nA: ", b"b" * 1000, 400, "bad-chunk"),
    "zeros": (b"", b"\0" * 1000, 400, "bad-request-line"),
    "line feeds": (b"", b"\n" * 1000, 400, "bad-line-end"),
    "nothing but CR": (b"", b"\r" * 1000, 400, "bad-line-end"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\xa5" * 1000, 400,
            "bad-request-line"),
}


class Endless(hostile.HostileCase):
    CROWD = 3 if FEW else 20

    def test_what_never_ends_is_refused_at_its_bound(self):
        daemon = self.start(LOOPS=2, WORKERS=2)
        attacks = self.attacks(daemon, {
            name: dict(count=self.CROWD, opening=opening, drip=drip * 8, step=8 * len(drip),
                       interval=0.0, again=False)
            for name, (opening, drip, _, _) in ENDLESS.items()})
        with daemon.client() as good:
            for _ in range(100):
                self.assertEqual(good.post(b'{"data": 1}').status, 200)
        expected = collections.Counter()
        for name, count in attacks.wait().items():
            with self.subTest(endless=name):
                status, word = ENDLESS[name][2:]
                self.assertEqual({how: entry[0] for how, entry in count["ended"].items()},
                                 {str(status): self.CROWD})
                expected[word] += self.CROWD
        self.assertEqual(self.check_after(daemon)["requests_rejected"], expected)

    def test_empty_lines_are_bounded(self):
        """Some are to be ignored, RFC 9112, section 2.2; without end they would outlast
        every timeout."""
        daemon = self.start(LOOPS=1, WORKERS=1)
        attack = self.attack(daemon, self.CROWD, drip=b"\r\n", step=2, interval=0.05)
        attack.wait_open()
        self.eventually(lambda: daemon.metrics()["requests_rejected"].get("bad-request-line", 0)
                        >= self.CROWD, "400 for all")
        with daemon.client() as good, daemon.client() as late:
            self.assertEqual(good.post(b'{"data": 1}').status, 200)
            for _ in range(3):  # they are counted anew behind each request
                late.send(b"\r\n" * 8)
                self.assertEqual(late.post(b'{"data": 1}').status, 200)
        self.assertEqual(set(attack.stop()["ended"]), {"400"})
        self.check_after(daemon)

    def test_empty_lines_do_not_hold_up_a_drain(self):
        daemon = self.start(DRAIN_IDLE="1s", SHUTDOWN_TIMEOUT="60s")
        with daemon.client() as client:
            daemon.signal()
            since = time.monotonic()
            while not select.select([client.sock], [], [], 0.2)[0]:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.send(b"\r\n")
                self.assertLess(time.monotonic() - since, 20, "the drain waits for empty lines")
        self.assertEqual(daemon.wait(), 0)


# --- JSON. What it is, and how echo, and then sleep and spin, which build a
# tree, answer it: by one of these.

OK, BAD, CANNOT = ("ok",), ("bad-json",), ("invalid-job",)
EITHER = OK + CANNOT  # cJSON before 1.7.19 holds no number of more than 63 bytes
STATUS = {"ok": 200, "bad-json": 400, "invalid-job": 422}
DEPTH = 512  # the daemon's bound; the data lies one deep


def data(text):
    return b'{"data":' + text + b"}"


def nested(depth, start=b"[", end=b"]", core=b""):
    return start * depth + core + end * depth


def bombs():
    wide = MIB - 100
    return {
        "depth at the bound": (data(nested(DEPTH - 1)), OK, OK),
        "depth beyond it": (data(nested(DEPTH)), BAD, BAD),
        "depth of objects at the bound": (nested(DEPTH, b'{"data":', b"}", b"1"), OK, OK),
        "depth of objects beyond it": (nested(DEPTH + 1, b'{"data":', b"}", b"1"), BAD, BAD),
        "depth without end": (b"[" * wide, BAD, BAD),
        "objects without end": (b'{"a":' * (wide // 5), BAD, BAD),
        "a tree of many times the size": (data(b"[" + b"0," * (wide // 2) + b"0]"), OK, OK),
        "empty arrays": (data(b"[" + b"[]," * (wide // 3) + b"[]]"), OK, OK),
        "empty names": (data(b"{" + b'"":0,' * (wide // 5) + b'"":0}'), OK, OK),
        "one name many times": (b"{" + b'"data":1,' * (wide // 9) + b'"data":2}', OK, OK),
        "names that are one when unescaped": (b'{"data":1,"d\\u0061ta":2}', OK, OK),
        "a number of 60 digits": (data(b"9" * 60), OK, OK),
        "a number as long as the body": (data(b"9" * wide), OK, EITHER),
        "a fraction as long as the body": (data(b"0." + b"1" * wide), OK, EITHER),
        "beyond all doubles": (data(b"1e999999999999"), OK, OK),
        "below all doubles": (data(b"-1e-99999999999"), OK, OK),
        "a huge string": (data(b'"' + b"s" * wide + b'"'), OK, OK),
        "nothing but escapes": (data(b'"' + b"\\u0000" * (wide // 6) + b'"'), OK, OK),
        "pairs of surrogates": (data(b'"' + b"\\ud83d\\ude00" * (wide // 12) + b'"'), OK, OK),
        "a lone high surrogate": (data(b'"\\ud800"'), BAD, BAD),
        "a lone low surrogate": (data(b'"\\udc00"'), BAD, BAD),
        "surrogates in the wrong order": (data(b'"\\udc00\\ud800"'), BAD, BAD),
        "a surrogate at the end of much": (data(b'"' + b"s" * (wide - 6) + b'\\ud800"'), BAD, BAD),
        "a surrogate in UTF-8": (data(b'"\xed\xa0\x80"'), BAD, BAD),
        "an overlong slash": (data(b'"\xc0\xaf"'), BAD, BAD),
        "beyond Unicode": (data(b'"\xf4\x90\x80\x80"'), BAD, BAD),
        "half a character": (data(b'"\xe2\x82"'), BAD, BAD),
        "continuations": (data(b'"' + b"\x80" * wide + b'"'), BAD, BAD),
        "a raw control byte": (data(b'"\x00"'), BAD, BAD),
        "nothing but blanks": (b" " * wide, BAD, BAD),
        "a value behind many blanks": (b" " * wide + b"{}", OK, OK),
        "something behind the value": (b"{}" + b" " * (wide - 9) + b"{}", BAD, BAD),
        "a byte order mark": (b"\xef\xbb\xbf{}", BAD, BAD),
        "no object": (b"[" + b"1," * (wide // 2) + b"1]", CANNOT, CANNOT),
        "a string without end": (b'{"data":"' + b"s" * wide, BAD, BAD),
        "an array without end": (b'{"data":[' + b"0," * (wide // 2), BAD, BAD),
        "commas": (data(b"[" + b"," * wide + b"]"), BAD, BAD),
    }


class Bombs(hostile.HostileCase):
    PATHS = {"/": 1, "/sleep": 2, "/spin": 2}  # which of the answers is theirs
    HANDLERS = "/=echo /sleep=sleep:1ms /spin=spin:10us"

    def assert_answer(self, reply, path, name, bomb):
        word = "ok" if reply.status == 200 else reply.problem()
        self.assertIn(word, bomb[self.PATHS[path]], (name, path, reply.body[:200]))
        self.assertEqual(reply.status, STATUS[word])
        if reply.status == 200 and len(reply.body) < 5000:
            self.assertEqual(reply.json()["status"], "ok")

    def test_each_is_answered_by_each_handler_and_costs_no_memory_later(self):
        daemon = self.start(LOOPS=2, WORKERS=2, HANDLERS=self.HANDLERS)
        before = daemon.resident_bytes()
        with daemon.client() as client:  # one for all: no bomb costs the connection
            for path in self.PATHS:
                for name, bomb in bombs().items():
                    with self.subTest(bomb=name, path=path):
                        self.assert_answer(client.post(bomb[0], path), path, name, bomb)
        if not SLOW:
            self.eventually(lambda: daemon.resident_bytes() < before + 6 * MIB, "memory back")
        self.check_after(daemon)

    def test_of_the_same_name_the_first_counts_and_numbers_stay_what_they_are(self):
        daemon = self.start(HANDLERS=self.HANDLERS)
        for path in self.PATHS:
            for sent, back in ((b'{"data":1,"data":2}', b"1"),
                               (b'{"d\\u0061ta":3,"data":4}', b"3"),
                               (b'{"Data":5,"data":6}', b"6"),
                               (data(b"1e999999999999"), b"1e999999999999"),
                               (data(b"9" * 60), b"9" * 60),
                               (data(b"-0"), b"-0"),
                               (data(b'"\\ud83d\\ude00\\u0000"'), b'"\\ud83d\\ude00\\u0000"')):
                body = daemon.post(sent, path).body
                self.assertTrue(body.endswith(b'"data":' + back + b"}"), body)
        self.check_after(daemon)

    def test_all_at_once_in_little_memory_others_are_served(self):
        daemon = self.start(LOOPS=2, WORKERS=3, HANDLERS=self.HANDLERS,
                            MEMORY_BUDGET="1GiB" if SLOW else "64MiB")
        wrong = []

        def post_all(seed):
            try:
                order = list(itertools.product(self.PATHS, bombs().items()))
                random.Random(seed).shuffle(order)
                client = daemon.client()
                for path, (name, bomb) in order[:20 if SLOW else None]:
                    reply = client.post(bomb[0], path)
                    if reply.status == 503:
                        self.assertEqual(reply.problem(), "memory-pressure")
                    else:
                        self.assert_answer(reply, path, name, bomb)
                    if reply.closes():
                        client.close()
                        client = daemon.client()
                client.close()
            except Exception as error:  # reported by the test, not by the thread
                wrong.append(error)

        threads = [threading.Thread(target=post_all, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        with daemon.client() as good:
            while any(thread.is_alive() for thread in threads):
                self.assertEqual(good.ask(get_bytes()).status, 200)
                time.sleep(0.005)
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.check_after(daemon)


if __name__ == "__main__":
    harness.main()
