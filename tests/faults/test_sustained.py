"""Not one failure but many: something is missing for a while, or comes in the
smallest pieces. Clients may be refused then, and are served again afterwards."""
# ctest: timeout=300 builds=release,asan slow

import errno
import itertools
import time
import unittest

import faulty
import harness

FOR_EVER = 1 << 30
THIN = 4 if harness.SLOW else 1


def always(*effects):
    return " ".join("%s:1-%d=%s" % (name, FOR_EVER, effect) for name, effect in effects)


class Sustained(unittest.TestCase):
    def play(self, rules, phases=("serve",), **settings):
        try:
            started, _, struck = faulty.run(rules, phases, **settings)
        except faulty.Wrong as wrong:
            self.fail(str(wrong))
        if "start" not in phases:
            self.assertTrue(started)
            self.assertGreater(struck, 0, "nothing met a fault: " + rules)
        return started, struck

    def test_connections_that_cannot_be_accepted_wait_or_are_refused(self):
        for error in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS,
                      errno.ECONNABORTED):
            with self.subTest(errno.errorcode[error]):
                self.refuse_to_accept("accept4:1-%d=%d" % (FOR_EVER, error))

    def refuse_to_accept(self, rules):
        daemon = faulty.Faulty(rules, armed=False)
        self.addCleanup(daemon.close)
        self.assertTrue(daemon.wait_ready())
        kept = daemon.peer()
        kept.ask(kept.get())
        daemon.report.arm()
        others = [daemon.peer() for _ in range(30)]
        for other in others:
            other.send(other.get())
        for _ in range(20):
            kept.ask(kept.get() + kept.post("/s"))
        daemon.report.arm(False)
        self.assertEqual(kept.served, 41, "who has a connection is served all the time")
        for other in others:
            other.receive_all()
            other.close()
        self.assertGreater(daemon.report.struck, 0)
        # None of them was lost: they waited.
        self.assertEqual([other.served for other in others], [1] * len(others))
        kept.close()
        self.end(daemon)

    def test_a_reply_that_starves_and_then_finds_no_room_keeps_its_deadline(self):
        """Neither for ever, nor closed by the time of the next try."""
        for starved in (1, 2):
            with self.subTest(starved):
                daemon = faulty.Faulty(
                    "sendmsg:1-%d=%d sendmsg:1-%d=%d" % (
                        starved, errno.ENOBUFS, FOR_EVER, errno.EAGAIN),
                    armed=False, WRITE_TIMEOUT="2s")
                self.addCleanup(daemon.close)
                self.assertTrue(daemon.wait_ready())
                peer = daemon.peer()
                peer.ask(peer.get())
                daemon.report.arm()
                since = time.monotonic()
                peer.send(peer.post(data='"%s"' % ("x" * 100000)))
                peer.receive_all()
                took = time.monotonic() - since
                daemon.report.arm(False)
                self.assertGreater(daemon.report.struck, starved)
                self.assertEqual(peer.served, 1)
                self.assertGreater(took, 1.0)
                peer.close()
                self.end(daemon)

    def end(self, daemon):
        faulty.check_alive(daemon)
        faulty.check_metrics(daemon)
        daemon.process.terminate()
        status = daemon.wait()
        self.assertEqual(status, 0, daemon.output())
        faulty.check_end(daemon, status)

    def test_no_memory_for_a_while(self):
        """Whoever may say ENOMEM does, fifty times in a row."""
        _, sites, _ = faulty.run()
        calls = sum(site.calls for site in sites)
        started = 0
        for first in range(1, calls // 2, 9 * THIN):
            with self.subTest(first):
                started += self.play("*:%d-%d=%d" % (first, first + 49, errno.ENOMEM),
                                     faulty.LIFE)[0]
        self.assertGreater(started, 2)

    def test_no_memory_at_all_while_serving(self):
        for names in (("malloc", "calloc", "realloc", "mmap"), ("realloc",), ("mmap",),
                      ("epoll_ctl",)):
            with self.subTest(names):
                self.play(always(*((name, errno.ENOMEM) for name in names)))

    def test_sends_take_one_byte(self):
        self.play(always(("send", "short"), ("sendmsg", "short")), faulty.LIFE)

    def test_reads_give_one_byte(self):
        self.play(always(("read", "short"), ("recv", "short")), ("serve", "drain"))

    def test_sockets_find_no_buffers(self):
        self.play(" ".join("%s:1-%d~2=%d" % (name, FOR_EVER, errno.ENOBUFS)
                           for name in ("send", "sendmsg")), faulty.LIFE)

    def test_calls_are_interrupted(self):
        for step in (2, 3, 5):
            with self.subTest(step):
                self.play("*:1-%d~%d=%d" % (FOR_EVER, step, errno.EINTR), faulty.LIFE)

    def test_calls_would_wait_at_odd_moments(self):
        for step in (2, 3, 5):
            with self.subTest(step):
                self.play("*:1-%d~%d=%d" % (FOR_EVER, step, errno.EAGAIN), ("serve", "drain"))

    def test_anything_fails_at_any_time(self):
        for step, way in list(itertools.product((2, 3, 5, 7, 11, 13, 17, 29), range(9)))[::THIN]:
            with self.subTest(step=step, way=way):
                self.play("*:1-%d~%d=v%d" % (FOR_EVER, step, way), ("serve", "drain"))


if __name__ == "__main__":
    harness.main()
