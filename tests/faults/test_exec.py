"""Each call that exec makes fails once, in the daemon, in its spawner, and in a
child before it is executed. Jobs may be refused then; nobody hangs, nothing is
left over, and unless the spawner itself is lost, jobs go well again."""
# ctest: timeout=600 builds=release,asan slow

import os
import tempfile
import time
import unittest

import faulty
import harness

HANDLERS = "/=exec:cat\n/sh=exec:sh?arg=-c&arg=read%20l;echo%20%22$l%22;echo%20x%20%3E%262&cpu=9s\n"
CALLS = 3  # of each site, the first ones
THIN = 4 if harness.SLOW else 1
LOST = "no program is started any more"


def children_of(pid):
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % entry) as stat:
                if int(stat.read().rsplit(")", 1)[1].split()[1]) == pid:
                    found.append(int(entry))
        except OSError:
            pass
    return found


class Run:
    """One daemon with one fault."""

    def __init__(self, rules="", handlers=HANDLERS):
        self.file = tempfile.NamedTemporaryFile("w", prefix="faults-")
        self.file.write(handlers)
        self.file.flush()
        self.daemon = faulty.Faulty(rules, HANDLERS_FILE=self.file.name, WORKERS="2",
                                    JOB_TIMEOUT="5s")

    def close(self):
        self.daemon.close()
        self.file.close()

    def ask(self, path):
        """The status of a job, or None when the connection was lost."""
        client = None
        try:
            with harness.socket.create_connection(
                    ("127.0.0.1", self.daemon.report.port), faulty.PATIENCE) as sock:
                client = harness.Client(sock)
                reply = client.post('{"a":"b"}', path)
        except TimeoutError:
            raise faulty.Wrong("a job hangs") from None
        except (OSError, AssertionError):
            return None
        if reply is None:
            return None
        if reply.status == 200:
            if reply.body != b'{"a":"b"}':
                raise faulty.Wrong("a wrong answer: %r" % reply)
        elif reply.status not in (500, 502, 503, 504):
            raise faulty.Wrong("a wrong status: %r" % reply)
        return reply.status

    def until_well(self, path):
        end = time.monotonic() + faulty.PATIENCE
        while self.ask(path) != 200:
            if LOST in self.daemon.output():
                return
            if time.monotonic() > end:
                raise faulty.Wrong("jobs do not go well again")
            time.sleep(0.05)

    def play(self, asks=True):
        """Gives whether it started."""
        daemon = self.daemon
        started = daemon.wait_ready()
        family = []
        if started and daemon.process.poll() is None:
            for _ in range(4 if asks else 0):
                self.ask("/")
                self.ask("/sh")
            daemon.report.arm(False)
            for spawner in children_of(daemon.process.pid):
                family += [spawner, *children_of(spawner)]
            if self.is_up():
                if asks:
                    self.until_well("/")
                    self.until_well("/sh")
                daemon.process.terminate()
        status = daemon.wait()
        said = daemon.output()
        if status != 0 and "hcsd: " not in said:
            raise faulty.Wrong("status %d, and no word why" % status)
        if status < 0 or "Sanitizer" in said or "Assertion" in said:
            raise faulty.Wrong("crashed: %d" % status)
        self.await_end(family)
        return status == 0

    def is_up(self):
        """A start that fails after its loops turned is on its way out."""
        end = time.monotonic() + faulty.PATIENCE
        while self.daemon.process.poll() is None and '"ready"' not in self.daemon.output():
            if time.monotonic() > end:
                raise faulty.Wrong("neither ready nor ended")
            time.sleep(0.01)
        return self.daemon.process.poll() is None

    def await_end(self, family):
        end = time.monotonic() + faulty.PATIENCE
        while any(os.path.exists("/proc/%d" % pid) for pid in family):
            if time.monotonic() > end:
                raise faulty.Wrong("somebody is left over")
            time.sleep(0.01)


def sites_of(handlers, asks=True):
    """All that is called from the start to the end."""
    run = Run(handlers=handlers)
    try:
        assert run.play(asks)
        return run.daemon.report.sites()
    finally:
        run.close()


class Exec(unittest.TestCase):
    def test_each_call_may_fail(self):
        # What echo needs too, the sweep lets fail.
        others = {site.key for site in sites_of("/=echo\n", asks=False)}
        cases = []
        for site in sites_of(HANDLERS):
            if site.key not in others:
                cases += [(site, call, way) for call in range(1, min(site.calls, CALLS) + 1)
                          for way in range(site.effects)]
        self.assertGreater(len(cases), 50)
        struck = started = 0
        for site, call, way in cases[::THIN]:
            rule = "%s@%x:%d-%d=v%d" % (site.name, site.offset, call, call, way)
            with self.subTest(rule):
                run = Run(rule)
                try:
                    started += run.play()
                    struck += run.daemon.report.struck > 0
                except faulty.Wrong as wrong:
                    self.fail("HCS_FAULTS=%s: %s\n%s" % (rule, wrong, run.daemon.output()))
                finally:
                    run.close()
        self.assertGreater(struck, len(cases) // THIN // 2)
        self.assertGreater(started, len(cases) // THIN // 4)


if __name__ == "__main__":
    harness.main()
