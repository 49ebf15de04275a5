# ctest: timeout=180 slow
"""Thousands at once, counted from both sides: hcsd-load and the daemon agree."""

import json
import subprocess

import harness
from harness import FEW, SLOW
from loading import LOAD, TestCase

MANY = 1000 if FEW else 10000


class Load(TestCase):
    def url(self, daemon, path="/"):
        return "http://127.0.0.1:%d%s" % (daemon.port, path)

    def test_held_connections_are_there_and_go(self):
        daemon = self.start(LOOPS=4, MAX_CONNECTIONS=MANY + 10)
        holder = subprocess.Popen(
            [LOAD, "hold", "-c", str(MANY), "--until-eof", "--json", "--quiet",
             "--processes", "2", "--held-rate", "500", "--pid", str(daemon.pid),
             "--body", '{"data":1}', self.url(daemon)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        opened = json.loads(holder.stdout.readline())
        self.check_sum(opened)
        self.assertEqual(opened["requests"]["answered"], MANY)
        self.assertEqual(opened["connections"]["open"], MANY)
        self.assertGreater(opened["server"]["resident_bytes"], 0)
        if not SLOW:
            self.assertGreater(opened["server"]["bytes_per_connection"], 100)
        metrics = daemon.metrics()
        self.assertEqual(metrics["active_connections"], MANY + 1)
        # Then jobs run on a sample of them.
        self.assertLess(daemon.metrics()["completed_requests"], MANY + 10)
        holder.stdin.write("\n")
        holder.stdin.flush()
        self.eventually(lambda: daemon.metrics()["completed_requests"] > MANY + 200)
        output, _ = holder.communicate(timeout=harness.PATIENCE)
        self.assertEqual(holder.returncode, 0, output)
        held = json.loads(output)
        self.check_sum(held)
        self.assertGreater(held["requests"]["answered"], 40)
        self.assertEqual(held["connections"]["closed_by_server"], 0)
        self.eventually(lambda: daemon.metrics()["active_connections"] == 1)

    def test_a_burst_of_jobs_is_answered_whole(self):
        daemon = self.start(HANDLERS="/=sleep:10ms", WORKERS=100, QUEUE_SIZE=MANY,
                            QUEUE_TIMEOUT="2m", MAX_CONNECTIONS=MANY + 10)
        summary = self.load("burst", "-c", MANY, "--body", "{}", "--timeout", "2m",
                            self.url(daemon))
        self.assertEqual(summary["status"], {"200": MANY})
        self.assertEqual(daemon.metrics()["completed_requests"], MANY)

    def test_what_finds_no_place_is_refused_and_nothing_else(self):
        daemon = self.start(HANDLERS="/=sleep:20s", WORKERS=7, QUEUE_SIZE=100,
                            MAX_CONNECTIONS=MANY + 10)
        loading = subprocess.Popen(
            [LOAD, "burst", "-c", str(MANY), "--body", "{}", "--json", "--quiet",
             "--timeout", "2m", self.url(daemon)], stdout=subprocess.PIPE, text=True)
        self.eventually(lambda: daemon.metrics()["requests_rejected"].get("queue-full")
                        == MANY - 107)
        metrics = daemon.metrics()
        self.assertEqual(metrics["queue_depth"], 100)
        self.assertEqual(metrics["workers_busy"], 7)
        loading.kill()  # its clients leave, and what they waited for with them
        loading.wait()
        loading.stdout.close()
        self.eventually(lambda: daemon.metrics()["queue_depth"] == 0, "cancelled jobs")
        daemon.signal()
        daemon.signal()  # not to wait for those that sleep

    def test_a_constant_rate(self):
        daemon = self.start()
        summary = self.load("rate", "-c", 16, "-r", 500, "-d", "2s", "--body", '{"data":1}',
                            "--timeout", "60s", "--pid", daemon.pid, self.url(daemon))
        self.assertEqual(summary["status"], {"200": 1000})
        self.assertGreater(summary["server"]["cpu_seconds"], 0)
        self.assertEqual(daemon.metrics()["completed_requests"], 1000)

    def test_a_connection_each(self):
        daemon = self.start(LOOPS=2)
        summary = self.load("churn", "-c", 50, "-d", "1s", self.url(daemon, "/health"))
        self.assertEqual(summary["requests"]["answered"], summary["requests"]["due"])
        self.assertEqual(summary["connections"]["opened"], summary["requests"]["due"])
        self.eventually(lambda: daemon.metrics()["active_connections"] == 1)

    def test_slow_ones_get_what_the_settings_say(self):
        daemon = self.start(READ_TIMEOUT="1s")
        summary = self.load("trickle", "-c", 100, "--interval", "100ms", "--step", 2,
                            self.url(daemon, "/health"))
        # Half of them send too slowly; half only read slowly.
        self.assertEqual(summary["status"], {"200": 50, "408": 50})

    def test_a_drain_closes_what_is_held(self):
        daemon = self.start(LOOPS=4, MAX_CONNECTIONS=MANY + 10, DRAIN_IDLE="100ms")
        holder = subprocess.Popen(
            [LOAD, "hold", "-c", str(MANY), "--until-eof", "--json", "--quiet",
             self.url(daemon, "/health")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.assertEqual(json.loads(holder.stdout.readline())["requests"]["answered"], MANY)
        self.assertEqual(daemon.stop(), 0)
        output, _ = holder.communicate(timeout=harness.PATIENCE)
        self.assertEqual(json.loads(output)["connections"]["closed_by_server"], MANY)
        self.assertEqual(holder.returncode, 0)


if __name__ == "__main__":
    harness.main()
