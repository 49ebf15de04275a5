"""What ps and top show of the daemon: its own name, and for each thread what it is for.
test_exec.py has pgrep and pidof, where the spawner and its programs are there too."""

import shutil
import subprocess
import unittest

import harness


def run(*words):
    return subprocess.run(words, stdout=subprocess.PIPE, text=True).stdout


def has(program):
    return unittest.skipUnless(shutil.which(program), "no " + program)


class Names(harness.TestCase):
    @has("ps")
    def test_ps_shows_the_program_as_it_was_started(self):
        daemon = self.start(LOOPS=1, WORKERS=1)
        self.assertEqual(run("ps", "-o", "comm=", "-p", str(daemon.pid)).strip(), "hcsd")
        self.assertEqual(run("ps", "-o", "args=", "-p", str(daemon.pid)).strip(), harness.HCSD)
        self.assertIn(harness.HCSD, run("ps", "aux"))

    def test_each_thread_has_a_name(self):
        daemon = self.start(LOOPS=2, WORKERS=3)
        self.eventually(lambda: daemon.get("/readyz").status == 200, "readiness")
        threads = daemon.threads() # a sanitizer may have one of its own
        names = [name for name, _ in threads.values()]
        self.assertEqual(threads[daemon.pid][0], "hcsd")
        for name in ("hcsd-log", "hcsd-loop-0", "hcsd-loop-1", "hcsd-worker-0", "hcsd-worker-1",
                     "hcsd-worker-2"):
            self.assertEqual(names.count(name), 1, names)
        self.assertNotIn("hcsd-opening", names) # it has ended

    @has("top")
    def test_top_shows_the_threads(self):
        daemon = self.start(LOOPS=1, WORKERS=1)
        self.eventually(lambda: daemon.get("/readyz").status == 200, "readiness")
        shown = run("top", "-H", "-b", "-n", "1", "-w", "200", "-p", str(daemon.pid))
        self.assertIn("hcsd-loop", shown)
        self.assertIn("hcsd-work", shown)


if __name__ == "__main__":
    harness.main()
