# ctest: timeout=180 slow
"""The scripts that measure run, small, and their sums are right. What they
measure is for people; how fast it was fails nothing here."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest

import harness
from loading import LOAD

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
FEW = "300" if harness.FEW else "2000"


@unittest.skipIf(harness.BUILD in ("asan", "tsan"),
                 "they are Python, and measure builds that people run")
class Scripts(unittest.TestCase):
    def run_script(self, path, *arguments):
        """Gives what it printed, and the figures that it wrote."""
        with tempfile.NamedTemporaryFile("r") as figures:
            done = subprocess.run(
                [os.path.join(TOP, path), "--hcsd", harness.HCSD, "--load", LOAD,
                 "--json", figures.name, *arguments],
                capture_output=True, text=True, timeout=harness.PATIENCE * 4)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            return done.stdout, json.load(figures)

    def test_a_million_in_small(self):
        output, figures = self.run_script(
            "scripts/million.sh", "-c", FEW, "--seconds", "1")
        count = int(FEW)
        self.assertEqual(figures["opened"]["status"], {"200": count})
        self.assertTrue(figures["opened"]["requests"]["adds_up"])
        self.assertEqual(figures["held"]["connections"]["closed_by_server"], count)
        self.assertGreater(figures["held"]["requests"]["answered"], 0)
        self.assertEqual(figures["held"]["requests"]["answered"],
                         figures["held"]["requests"]["due"])
        self.assertGreater(figures["health"]["status"]["200"], 0)
        self.assertRegex(output, r"memory +-?\d+ B a connection")
        self.assertRegex(output, r"drain +\S+ s, exit status 0")

    def test_a_million_that_cannot_be_says_why(self):
        done = subprocess.run(
            [os.path.join(TOP, "scripts/million.sh"), "--hcsd", harness.HCSD,
             "--load", LOAD, "-c", "1000000000"],
            capture_output=True, text=True, timeout=harness.PATIENCE)
        self.assertEqual(done.returncode, 1)
        self.assertIn("1000000000 connections need", done.stdout)
        self.assertRegex(done.stderr, r"not enough memory: try -c \d+")

    def test_sixty_thousand_in_small(self):
        output, figures = self.run_script(
            "bench/inflight.sh", "-c", FEW, "--workers", "30", "--wait", "15s")
        count = int(FEW)
        self.assertEqual(figures["answered"]["status"], {"200": count})
        self.assertEqual(figures["admitted"], count // 6 + 30)
        self.assertRegex(output, r"told: Retry-After: \d+")
        self.assertEqual(figures["deferred"]["answered"]["status"], {"200": count})
        self.assertRegex(output, r"%d in flight on 4 workers, 0 of them busy" % count)

    @unittest.skipUnless(shutil.which("wrk"), "no wrk")
    def test_kinds_of_handlers_in_small(self):
        done = subprocess.run(
            [os.path.join(TOP, "bench/handlers.sh"), "--hcsd", harness.HCSD,
             "--load", LOAD, "-r", "1", "-s", "1",
             "--module", os.path.join(os.path.dirname(LOAD), "echo.so"),
             "--child", os.path.join(os.path.dirname(LOAD), "child")],
            capture_output=True, text=True, timeout=harness.PATIENCE * 4)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for case in ("echo", "module", "exec"):
            self.assertRegex(done.stdout, rf"(?m)^kinds/{case} .* 1$")


if __name__ == "__main__":
    harness.main()
