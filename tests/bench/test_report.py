# ctest: timeout=180 slow
"""The report comes out whole: each number accounted for, each table written.

No word about how quick anything was: that is what the report itself is for.
"""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

from harness import FEW, HCSD, SLOW

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILT = os.path.join(TOP, "build", "bench")
PROGRAMS = {
    "--hcsd": HCSD,
    "--floor": os.environ.get("HCSD_FLOOR", os.path.join(BUILT, "floor")),
    "--load": os.environ.get("HCSD_LOAD", os.path.join(BUILT, "hcsd-load")),
    "--queue": os.environ.get("HCSD_QUEUE_BENCH",
                              os.path.join(BUILT, "queue-bench")),
}
# The comparison needs wrk, which not everybody has.
PARTS = ["compare"] if shutil.which("wrk") else []
PARTS += ["latency", "versus", "memory", "scaling", "queue"]
PATIENCE = 170 * (2 if FEW else 1)
PLOTTED = shutil.which("gnuplot") is not None


def report(folder, *arguments):
    programs = [word for pair in PROGRAMS.items() for word in pair]
    return subprocess.run(
        [os.path.join(TOP, "bench", "report.sh"), *programs, "--out", folder,
         *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False)


@unittest.skipIf(SLOW, "a sanitizer learns as much from bench.load")
class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="hcsd-report-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        # With no peers: they are not what is tested.
        cls.done = report(cls.folder, "--quick", "--peers")

    def setUp(self):
        self.assertEqual(self.done.returncode, 0, self.done.stdout)

    def raw(self, part):
        with open(os.path.join(self.folder, f"{part}.json")) as file:
            return json.load(file)

    def assert_accounted_for(self, load):
        requests = load["requests"]
        self.assertGreater(requests["due"], 0)
        self.assertEqual(
            requests["due"], requests["answered"] + requests["refused"]
            + requests["failed"] + requests["lost"], requests)
        self.assertEqual(sum(load["status"].values()),
                         requests["answered"] + requests["refused"])
        if requests["answered"] == requests["due"]:
            self.assertEqual(load["status"], {"200": requests["due"]})

    def test_every_part_is_there(self):
        for part in PARTS:
            raw = self.raw(part)
            self.assertEqual(raw["failures"], [])
            self.assertTrue(raw["machine"]["processor"])
            self.assertTrue(raw["versions"]["hcsd"].startswith("hcsd "))
            self.assertTrue(raw["quick"])

    def test_every_request_at_a_rate_is_accounted_for(self):
        latency, versus = self.raw("latency"), self.raw("versus")
        self.assertEqual(len(latency["runs"]), 4)  # two rates, hcsd twice
        self.assertEqual(len(versus["runs"]), 2)
        for raw in (latency, versus):
            for run in raw["runs"]:
                self.assert_accounted_for(run["load"])
                due = run["offered"] * raw["seconds"]
                self.assertAlmostEqual(run["load"]["requests"]["due"], due,
                                       delta=1 + due / 100)

    def test_every_connection_was_weighed(self):
        weights = self.raw("memory")["weights"]
        self.assertEqual(len(weights), 2)  # after a GET, and after a job
        for weight in weights:
            self.assertEqual(weight["connections"], 500)
            self.assertAlmostEqual(
                weight["bytes_each"] * 500,
                max(weight["held_bytes"]) - weight["start_bytes"])

    def test_a_newcomer_is_served_beside_those_that_are_held(self):
        runs = self.raw("scaling")["runs"]
        self.assertEqual([run["connections"] for run in runs], [200, 1000])
        for run in runs:
            self.assert_accounted_for(run["fresh"])
            self.assertEqual(run["fresh"]["requests"]["answered"],
                             run["fresh"]["requests"]["due"])

    def test_each_queue_was_measured_in_each_shape(self):
        rows = self.raw("queue")["results"]
        queues = {row["queue"] for row in rows}
        self.assertLessEqual({"hcsd", "hcsd again", "mutex"}, queues)
        self.assertEqual(len(rows), 3 * len(queues))
        for row in rows:
            self.assertEqual(row["producers"], row["consumers"])
            self.assertGreater(min(row["all"]), 0)

    @unittest.skipUnless("compare" in PARTS, "no wrk")
    def test_the_comparison_has_each_case(self):
        cases = self.raw("compare")["cases"]
        self.assertEqual({case["label"] for case in cases},
                         {"floor", "floor-again", "hcsd-health", "hcsd-job"})
        for case in cases:
            self.assertEqual(len(case["runs"]), 1)
            self.assertGreater(case["runs"][0]["rate"], 0)

    def test_the_page_has_a_table_for_each_part(self):
        with open(os.path.join(self.folder, "results.md")) as file:
            page = file.read()
        self.assertEqual(page.count("\n## "), len(PARTS))
        for part in PARTS:
            self.assertIn(f"]({part}.json)", page)
            self.assertEqual(f"({part}.svg)" in page, PLOTTED)
        self.assertGreaterEqual(page.count("|---|"), len(PARTS))

    def test_it_is_drawn_where_gnuplot_is(self):
        if not PLOTTED:
            self.assertIn("nothing is drawn", self.done.stdout)
            return
        for part in PARTS:
            path = os.path.join(self.folder, f"{part}.svg")
            root = xml.etree.ElementTree.parse(path).getroot()
            self.assertTrue(root.tag.endswith("svg"))
            self.assertGreater(sum(1 for _ in root.iter()), 20)

    def test_it_is_drawn_again_from_the_raw_numbers(self):
        with tempfile.TemporaryDirectory(prefix="hcsd-report-") as folder:
            for part in PARTS:
                shutil.copy(os.path.join(self.folder, f"{part}.json"), folder)
            done = report(folder, "--plot-only")
            self.assertEqual(done.returncode, 0, done.stdout)
            for name in ["results.md"] + (
                    [f"{part}.svg" for part in PARTS] if PLOTTED else []):
                with open(os.path.join(folder, name)) as again, \
                        open(os.path.join(self.folder, name)) as first:
                    self.assertEqual(again.read(), first.read())


if __name__ == "__main__":
    unittest.main()
