# ctest: timeout=300 slow
"""The same bytes for hcsd, nginx and HAProxy: hcsd must not see a request where
one of them sees none, nor draw other bounds for one that both see. Then hcsd
behind each of them: what the proxy forwards as one request is one to hcsd.

    HCSD_DIFF_STREAMS=100000    how many streams
    HCSD_DIFF_SEED=x            another seed than the fixed one
    HCSD_DIFF_ONLY=4711         only this stream of the seed, and what each saw

A difference fails the test unless known.py explains it.
"""

import collections
import functools
import json
import os
import random
import re
import subprocess
import time
import unittest

import compare
import known
import observe
import servers
import streams
from harness import PATIENCE, SLOW, TestCase

SEED = os.environ.get("HCSD_DIFF_SEED", "1")
COUNT = int(os.environ.get("HCSD_DIFF_STREAMS", "3000" if SLOW else "8000"))
ONLY = os.environ.get("HCSD_DIFF_ONLY")
BATCH = 100
SURE = 0.5  # seconds of silence until HAProxy alone is believed to have no more
FRONTS = [name for name in ("nginx", "haproxy") if servers.find(name)]
MISSING = sorted({"nginx", "haproxy"} - set(FRONTS))


def pieces_of(stream):
    """Two to four pieces, cut where the stream's own bytes say."""
    dice = random.Random(stream.data)
    cuts = sorted(dice.randrange(len(stream.data) + 1) for _ in range(dice.choice([1, 2, 3])))
    return [stream.data[a:b] for a, b in zip([0] + cuts, cuts + [len(stream.data)])]


class Answered:
    """The requests that an hcsd behind a proxy took whole, by its log. What it
    refused by the header section, while the body was still to come, the client
    need not have heard of: the proxy gives up when that is cut."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.offset = 0
        self.marks = 0

    def more(self):
        """The ids of those since the last call. There is one loop, so that what
        was answered before a mark stands in the log before it."""
        self.marks += 1
        mark = b'"mark%d"' % self.marks
        self.daemon.get("/health", "X-Request-ID: mark%d\r\n" % self.marks)
        said = b""
        end = time.monotonic() + PATIENCE
        while mark not in said or not said.endswith(b"\n"):
            assert time.monotonic() < end, "no mark in the log"
            more = os.pread(self.daemon.log.fileno(), 1 << 20, self.offset)
            self.offset += len(more)
            said += more
            if not more:
                time.sleep(0.005)
        lines = [json.loads(line) for line in said.splitlines() if b'"msg":"request"' in line]
        return [observe.own(line["request_id"].encode()) for line in lines
                if not line["request_id"].startswith("mark") and
                (line["status"] == 200 or line["reason"] in ("bad-json", "invalid-job"))]


@unittest.skipUnless(FRONTS, "neither nginx nor haproxy is installed")
class Differential(TestCase):
    def setUp(self):
        if MISSING:
            print("NOT COMPARED WITH %s: not installed" % ", ".join(MISSING), flush=True)
        self.folder = servers.Folder()
        self.addCleanup(self.folder.remove)
        alone = self.start(HALF_CLOSE="serve")
        address = ("127.0.0.1", alone.port)
        self.targets = [
            observe.Target("hcsd", address, observe.view_of_hcsd),
            observe.Target("hcsd in pieces", address, observe.view_of_hcsd, cut=pieces_of)]
        self.answered = {}
        for name in FRONTS:
            behind = self.start(HALF_CLOSE="serve", LOOPS=1, LOG_LEVEL="debug")
            self.run_server(getattr(servers, name)(self.folder, behind.port))
            late = name == "haproxy"
            self.targets += [
                observe.Target(name, self.path(name), observe.view_of_other, shut_late=late),
                observe.Target(self.pair(name), self.path(name + "-hcsd"), observe.view_of_pair,
                               shut_late=late)]
            self.answered[name] = Answered(behind)
        if servers.find("node"):
            self.run_server(servers.node(self.folder))
            self.targets.append(observe.Target("node", self.path("node"), observe.view_of_node))
        else:
            print("NOT COMPARED WITH node: not installed", flush=True)
        self.met = collections.Counter()
        self.unsteady = 0

    def run_server(self, server):
        self.addCleanup(server.stop)

    def path(self, name):
        return os.path.join(self.folder.path, name + ".sock")

    @staticmethod
    def pair(name):
        return name + " before hcsd"

    def look(self, stream, quiet=SURE):
        return observe.observe(self.targets, [stream], quiet)[0]

    # --- What is wrong with what was seen: lists of texts.

    def judge(self, stream, views):
        ours = views["hcsd"]
        wrong = []
        for name in FRONTS + ["node"]:
            if name not in views:
                continue
            found = compare.difference(stream, name, ours, views[name])
            # Node.js forgets the requests before one that it refuses, and has
            # the parser of hcsd: it is asked for bounds only.
            if found is None or (name == "node" and found.kind != "other"):
                continue
            reason = known.find(found)
            if reason:
                self.met[reason.what] += 1
            elif found.kind != "fewer" or name in self.versions_as_looked_at():
                wrong.append(repr(found))
        return wrong + self.judge_hcsd(stream, views) + [
            text for name in FRONTS for text in self.judge_pair(name, views)]

    @staticmethod
    def judge_hcsd(stream, views):
        ours, pieces = views["hcsd"], views["hcsd in pieces"]
        wrong = []
        # A body that is not at hand is not read when the header section alone
        # refuses, which ends the connection.
        cut_short = pieces.maybe and [s.ident for s in pieces.seen + pieces.maybe] == [
            s.ident for s in (ours.seen + ours.maybe)[:len(pieces.seen) + 1]]
        if pieces.key() != ours.key() and not cut_short:
            wrong.append("hcsd saw something else in pieces")
        if stream.expected is not None:
            got = [seen.ident for seen in ours.seen + ours.maybe]
            whole = stream.expected if not ours.maybe else stream.expected[:len(got)]
            if got != whole:
                wrong.append("hcsd did not see the requests %r" % whole)
        return wrong

    def judge_pair(self, name, views):
        pair, alone = views[self.pair(name)], views[name]
        idents = [seen.ident for seen in alone.seen]
        bodies = {seen.ident: seen.body for seen in alone.seen
                  if seen.ident and idents.count(seen.ident) == 1}
        wrong = []
        for seen, upstream in zip(pair.seen, pair.upstream):
            if seen.ident and upstream and seen.ident != upstream:
                wrong.append("%s got the answer to %r for %r" % (name, upstream, seen.ident))
            if seen.ident in bodies and not compare.same_body(seen.body, bodies[seen.ident]):
                wrong.append("behind %s, hcsd saw another body of %r: %r, not %r" % (
                    name, seen.ident, seen.body, bodies[seen.ident]))
        return wrong

    def judge_answered(self, name, batch, views):
        """Of many streams: hcsd answered what the proxy forwarded and nothing
        else, one for one."""
        pairs = [view[self.pair(name)] for view in views]
        forwarded = [seen.ident for pair in pairs for seen in pair.seen + pair.maybe]
        answered = self.answered[name].more()
        wrong = ["behind %s, hcsd answered %r, which was no request to the former" % (name, ident)
                 for ident in sorted(set(answered) - set(forwarded) - {None})]
        count = sum(len(pair.seen) for pair in pairs)
        done = sum(seen.status == 200 for pair in pairs for seen in pair.seen)
        if not done <= len(answered) <= count:
            wrong.append("behind %s, hcsd answered %d requests, not %d to %d, in %s to %s" % (
                name, len(answered), done, count, batch[0].name, batch[-1].name))
        return wrong

    @staticmethod
    @functools.lru_cache()
    def versions_as_looked_at():
        names = []
        for name in FRONTS:
            said = subprocess.run([servers.find(name), "-v"], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, check=True).stdout.decode()
            version = re.search(r"(\d+\.\d+)\.\d+", said).group(1)
            if version == known.VERSIONS[name]:
                names.append(name)
            else:
                print("%s %s IS NOT THE VERSION THAT known.py IS ABOUT" % (name, version))
        return names

    # --- The telling of it.

    def steady(self, stream):
        """What is wrong with the stream alone, twice the same: on a busy machine
        the end of HAProxy's silence may have been taken for the end of all."""
        views = self.look(stream)
        for name in FRONTS:
            self.answered[name].more()
        again = self.look(stream)
        wrong = self.judge(stream, again)
        for name in FRONTS:
            wrong += self.judge_answered(name, [stream], [again])
        first = self.judge(stream, views)
        return [text for text in wrong if text in first or "answered" in text], again

    def smaller(self, stream):
        """The stream with all left out that the fault does not need."""
        probe = streams.probe(streams.Ids(0)).replace(b"i0.", b"i9.")
        kinds = self.kinds(self.steady(stream)[0])
        data, size = stream.data, len(stream.data) // 2
        tries = 300
        while size and tries:
            at = 0
            while at < len(data) and tries:
                less = data[:at] + data[at + size:]
                tries -= 1
                candidate = streams.Stream("smaller", less + probe)
                if less and self.kinds(self.judge(candidate, self.look(candidate, 0.1))) == kinds:
                    data = less
                else:
                    at += size
            size //= 2
        return streams.Stream("smaller", data + probe)

    @staticmethod
    def kinds(wrong):
        """The faults without what differs from stream to stream."""
        return sorted({re.sub(r"b'[^']*'|\d+", "", text) for text in wrong})

    @staticmethod
    def told(stream, views):
        lines = ["%s %s" % (stream.name, " ".join(stream.changes)), "  %r" % stream.data]
        return lines + ["  %-22s %r" % (name, view) for name, view in sorted(views.items())]

    def check(self, batch):
        views = observe.observe(self.targets, batch)
        suspects = [stream for stream, view in zip(batch, views) if self.judge(stream, view)]
        for name in FRONTS:
            for text in self.judge_answered(name, batch, views):
                named = [stream for stream in batch
                         if any(ident in text for ident in re.findall(
                             r"i\d+\.\w+", stream.data.decode("latin-1")))]
                suspects += [stream for stream in named or batch if stream not in suspects]
        for stream in suspects:
            wrong, again = self.steady(stream)
            if not wrong:
                self.unsteady += 1
                continue
            lines = wrong + self.told(stream, again)
            small = self.smaller(stream)
            lines += self.told(small, self.look(small))
            self.fail("\n".join(lines))

    # --- The tests.

    def test_hcsd_sees_no_more_than_the_strictest_and_no_other_bounds(self):
        if ONLY is not None:
            stream = streams.make(SEED, int(ONLY))
            print("\n".join(self.told(stream, self.look(stream))))
            self.check([stream])
            return
        print("seed %s, %d streams" % (SEED, COUNT), flush=True)
        for start in range(0, COUNT, BATCH):
            self.check([streams.make(SEED, number)
                        for number in range(start, min(start + BATCH, COUNT))])
        for what, times in self.met.most_common():
            print("%6d %s" % (times, what))
        print("%6d seen otherwise when looked at again, alone" % self.unsteady)
        # The machine may be busy, but not always.
        self.assertLess(self.unsteady, 10 + COUNT // 200)

    def test_each_known_difference_is_still_there(self):
        gone = []
        for entry in known.KNOWN:
            views = self.look(entry.example)
            for name in entry.servers:
                if name not in self.versions_as_looked_at():
                    continue
                found = compare.difference(entry.example, name, views["hcsd"], views[name])
                if found is None or not entry.explains(found):
                    gone.append("\n".join(["%s: %s, not %r" % (name, entry.what, found)] +
                                          self.told(entry.example, views)))
        self.assertEqual(gone, [], "\n".join(gone))


class Instruments(unittest.TestCase):
    """What finds the differences would find them."""

    DATA = b"GET / HTTP/1.1\r\nX-Request-ID: a\r\n\r\nGET / HTTP/1.1\r\nX-Request-ID: b\r\n\r\n"
    STREAM = streams.Stream("made up", DATA)

    @staticmethod
    def view(*idents, **kwargs):
        view = observe.View()
        view.seen = [observe.Seen(ident, **kwargs) for ident in idents]
        return view

    def kind(self, ours, theirs):
        found = compare.difference(self.STREAM, "nginx", ours, theirs)
        return found and found.kind

    def test_a_difference_is_told_by_number_id_and_body(self):
        both = self.view(b"a", b"b")
        self.assertIsNone(self.kind(both, self.view(b"a", b"b")))
        self.assertEqual(self.kind(both, self.view(b"a")), "more")
        self.assertEqual(self.kind(self.view(b"a"), both), "fewer")
        self.assertEqual(self.kind(self.view(b"b"), both), "other")
        self.assertEqual(self.kind(self.view(b"a", body=b"1"), self.view(b"a", body=b"")), "other")
        self.assertEqual(self.kind(self.view(b"a", body=observe.NOT_JSON),
                                   self.view(b"a", body=b"")), "other")
        self.assertEqual(self.kind(self.view(b"a", body=b"null"),
                                   self.view(b"a", body=b'{"data":1}')), "other")
        self.assertIsNone(self.kind(self.view(b"a", body=b"1"),
                                    self.view(b"a", body=b'{"data":1}')))

    def test_what_is_only_near_a_known_difference_is_not_excused(self):
        head = b"GET / HTTP/1.1\r\nHost: x\r\n"
        both = b"Content-Length: 2\r\nTransfer-Encoding: xchunked\r\n"
        for server, end, arena in (
                ("nginx", "closed", head + b"Connection: close\r\n\r\n"),
                ("nginx", "closed", head + b"Connection: xclose, close\r\n\r\n"),
                ("nginx", "closed", b"GET / HTTP/1.0\r\nHost: x\r\n\r\n"),
                ("haproxy", "400", b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
                ("haproxy", "400", b"GET http://y/ HTTP/1.1\r\nHost: x\r\n" + both + b"\r\n"),
                ("nginx", "400", b"POST / HTTP/1.1\r\nHost:\tx\r\n" + both + b"\r\n")):
            found = known.find(compare.Difference("more", server, end, arena, ""))
            self.assertIsNone(found, (arena, found and found.what))

    def test_what_was_perhaps_seen_is_neither_too_many_nor_too_few(self):
        perhaps = self.view(b"a")
        perhaps.maybe = [observe.Seen(b"b")]
        self.assertIsNone(self.kind(perhaps, self.view(b"a")))
        self.assertIsNone(self.kind(perhaps, self.view(b"a", b"b")))

    def test_a_request_that_only_hcsd_sees_is_told(self):
        class Log:
            @staticmethod
            def more():
                return [b"a", b"hidden"]

        test = Differential("test_each_known_difference_is_still_there")
        test.answered = {"nginx": Log}
        views = {"nginx": self.view(b"a", body=b"{}"), test.pair("nginx"): self.view(b"a")}
        pair = views[test.pair("nginx")]
        pair.upstream = [b"a"]
        self.assertEqual(test.judge_pair("nginx", views), [])
        self.assertEqual(len(test.judge_answered("nginx", [self.STREAM], [views])), 2)
        pair.seen[0].body = observe.NO_OBJECT
        self.assertEqual(test.judge_pair("nginx", views), [])
        pair.upstream = [b"hidden"]
        views["nginx"].seen[0].body = b""
        self.assertEqual(len(test.judge_pair("nginx", views)), 2)

    def test_replies_are_cut_where_they_end(self):
        replies = observe.replies_of(
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"  # to HEAD
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
            b"HTTP/1.1 204 No Content\r\n\r\n"
            b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
        self.assertEqual([(r.status, r.body, r.closes()) for r in replies], [
            (200, b"", False), (200, b"ab", False), (204, b"", False), (404, b"x", True)])
        with self.assertRaises(observe.Garbled):
            observe.replies_of(b"HTTP/1.1 204 No Content\r\n\r\nHello")

    def test_the_known_differences_stand_in_the_manual(self):
        page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/http.md")
        with open(page) as file:
            lines = {line.strip() for line in file}
        missing = [line for kind in ("fewer", "more") for line in known.table(kind)
                   if line not in lines]
        self.assertEqual(missing, [], "what known.py prints is not what docs/http.md says")

    def test_a_stream_is_told_by_its_seed_and_number(self):
        self.assertEqual(streams.make("a", 7).data, streams.make("a", 7).data)
        self.assertNotEqual(streams.make("a", 7).data, streams.make("b", 7).data)
        changed = sum(streams.make("a", n).expected is None for n in range(400))
        self.assertTrue(200 < changed < 380, changed)
        self.assertEqual({name for n in range(4000) for name in streams.make("a", n).changes},
                         {m.__name__ for m in streams.MUTATIONS} | {
                             "insert", "delete", "flip", "duplicate", "replace", "splice"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
