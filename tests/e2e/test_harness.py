"""A test that fails prints what one needs to understand it: what was expected,
what came, and the settings and the log of its daemons."""
# ctest: builds=release

import io
import os
import subprocess
import sys
import unittest

import harness


class Failing(harness.TestCase):
    """What the tests below run; nothing else finds it (load_tests)."""

    def test_fails(self):
        daemon = self.start(WORKERS=3)
        self.assertEqual(daemon.get("/health").status, 418)

    def test_fails_in_a_part(self):
        daemon = self.start(WORKERS=3)
        with self.subTest("part"):
            self.assertEqual(daemon.get("/health").status, 418)
        self.assertEqual(daemon.get("/health").status, 200)

    def test_raises(self):
        self.start(WORKERS=3)
        raise ValueError("so")

    def test_passes(self):
        self.start(WORKERS=3)


class Printed(unittest.TestCase):
    def run_inner(self, name):
        """What a run of that test of Failing prints."""
        printed = io.StringIO()
        runner = unittest.TextTestRunner(stream=printed, verbosity=0)
        runner.run(unittest.TestSuite([Failing(name)]))
        return printed.getvalue()

    def test_a_failure_shows_the_daemon(self):
        for name in ("test_fails", "test_fails_in_a_part", "test_raises"):
            with self.subTest(name):
                printed = self.run_inner(name)
                self.assertIn('"WORKERS": "3"', printed)
                self.assertIn('"msg":"listening"', printed)
                self.assertIn("exit status 0", printed)
                self.assertIn("so" if name == "test_raises" else "200 != 418", printed)

    def test_a_test_that_passes_shows_nothing(self):
        self.assertNotIn("listening", self.run_inner("test_passes"))

    def test_a_failure_shows_no_daemon_of_an_earlier_test(self):
        printed = io.StringIO()
        runner = unittest.TextTestRunner(stream=printed, verbosity=0)
        runner.run(unittest.TestSuite([Failing("test_passes"), Failing("test_raises")]))
        self.assertEqual(printed.getvalue().count("---- daemon "), 1)

    def test_a_test_that_hangs_shows_the_daemon_before_it_is_killed(self):
        # It hangs until we have read enough.
        script = ("import harness, sys\n"
                  "class T(harness.TestCase):\n"
                  "    def test_hangs(self):\n"
                  "        self.start(WORKERS=3)\n"
                  "        sys.stdin.read()\n"
                  "harness.main()\n")
        environment = dict(os.environ, HCSD_TEST_TIMEOUT="2")
        with subprocess.Popen([sys.executable, "-c", script], env=environment,
                              stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as process:
            said = ""
            while '"msg":"listening"' not in said:
                line = process.stderr.readline()
                if not line:
                    break
                said += line
            process.communicate()
        self.assertIn("test_hangs", said)
        self.assertIn('"WORKERS": "3"', said)


def load_tests(loader, *_):
    return loader.loadTestsFromTestCase(Printed)


if __name__ == "__main__":
    harness.main()
