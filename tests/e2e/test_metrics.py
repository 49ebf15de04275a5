"""/metrics: every number in it is real. And /health: quick, whatever else is
full."""
# ctest: timeout=240 builds=release,asan,tsan

import math
import os
import re
import time

import harness
from harness import LATE, SLOW, get_bytes, post_bytes

HANDLERS = "/=echo /stuck=sleep:1h /other=echo /timed=sleep:1h"


def metrics_of(client):
    """On a connection that stays, so that asking does not change the counts of
    connections."""
    return client.ask(get_bytes("/metrics")).json()


def in_flight(metrics):
    """Of the requests counted, those that have no end yet: jobs, and the one
    that asks."""
    return metrics["connections"]["queued"] + metrics["connections"]["running"] + 1


class CountingClient(harness.Client):
    received = 0

    def _more(self):
        before = len(self.buffer)
        more = super()._more()
        self.received += len(self.buffer) - before
        return more


class MetricsTest(harness.TestCase):
    def start(self, **settings):
        settings.setdefault("HANDLERS", HANDLERS)
        settings.setdefault("QUEUE_TIMEOUT", "10m")
        return super().start(**settings)

    def assert_balanced(self, metrics, reading=0):
        self.assertEqual(
            metrics["total_requests"],
            metrics["completed_requests"] + metrics["error_count"] +
            metrics["cancelled_requests"] + in_flight(metrics) + reading, metrics)


class Json(MetricsTest):
    COUNTS = ("active_connections total_requests completed_requests error_count num_threads "
              "queue_depth queue_capacity workers_busy open_fds workers cancelled_requests "
              "late_results_discarded connections_accepted received_bytes sent_bytes "
              "log_lines_dropped").split()
    FIGURES = ("uptime_seconds requests_per_sec requests_per_sec_10s memory_alloc_mb "
               "memory_sys_mb memory_budget_mb memory_used_mb").split()

    def test_all_keys_are_there(self):
        daemon = self.start(LOOPS=2, WORKERS=3, QUEUE_SIZE=77, MEMORY_BUDGET="123MiB")
        reply = daemon.get("/metrics")
        self.assertEqual((reply.status, reply.headers["content-type"]), (200, "application/json"))
        metrics = reply.json()
        for key in self.COUNTS:
            self.assertIsInstance(metrics[key], int, key)
        for key in self.FIGURES:
            self.assertIsInstance(metrics[key], (int, float), key)
        self.assertEqual(metrics["queue_capacity"], 77)
        self.assertEqual(metrics["workers"], 3)
        self.assertEqual(metrics["memory_budget_mb"], 123)
        self.assertEqual(len(metrics["loops"]), 2)
        self.assertIs(metrics["draining"], False)
        self.assertEqual(set(metrics["connections"]),
                         {"idle", "reading", "queued", "running", "writing", "lingering"})
        self.assertEqual([(h["path"], h["handler"]) for h in metrics["handlers"]],
                         [("/", "echo"), ("/stuck", "sleep"), ("/other", "echo"),
                          ("/timed", "sleep")])

    def test_counters_add_up_over_a_scripted_mix(self):
        daemon = self.start(LOOPS=2, WORKERS=1, QUEUE_SIZE=2)
        watch = self.client(daemon)
        client = self.client(daemon)

        # Whole requests, and what each of them counts as.
        completed, failed, echoed = 0, {}, {"/": [0, 0], "/other": [0, 0]}
        for request, status, name, path in [
                (get_bytes("/health"), 200, None, None),
                (get_bytes("/livez"), 200, None, None),
                (get_bytes("/readyz"), 200, None, None),
                (get_bytes("/problems/draining"), 200, None, None),
                (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 204, None, None),
                (b"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n", 204, None, None),
                (get_bytes("/"), 200, None, "/"),
                (post_bytes('{"data":1}'), 200, None, "/"),
                (post_bytes('{"data":1}', "/other"), 200, None, "/other"),
                (post_bytes('[]'), 422, "invalid-job", "/"),
                (post_bytes('{'), 400, "bad-json", "/"),
                (post_bytes('{', "/other"), 400, "bad-json", "/other"),
                (post_bytes('{}', "/none"), 404, "not-found", None),
                (get_bytes("/nowhere"), 404, "not-found", None),
                (post_bytes('{}', "/health"), 405, "method-not-allowed", None),
                (b"PUT / HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method-not-allowed", None)]:
            for _ in range(2):
                client.send(request)
                reply = client.read_reply()
                self.assertEqual(reply.status, status, request)
                if name:
                    failed[name] = failed.get(name, 0) + 1
                else:
                    completed += 1
                if path:
                    echoed[path][1 if name else 0] += 1
        # Broken ones, each the end of its connection.
        for request, name in ((b"GET / HTTP/1.1\r\n\r\n", "bad-host"),
                              (b"\x16\x03\x01", "bad-request-line"),
                              (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", "unsupported-version")):
            with daemon.client() as other:
                other.send(request)
                self.assertEqual(other.read_reply().problem(), name)
                self.assertTrue(other.at_end())
            failed[name] = 1
        with daemon.client() as other:
            other.ask(get_bytes("/health", "Connection: close\r\n"))
            completed += 1
        self.eventually(lambda: metrics_of(watch)["active_connections"] == 2, "closes")

        metrics = metrics_of(watch)
        own = metrics["completed_requests"] - completed  # /metrics themselves
        self.assertGreaterEqual(own, 1)
        self.assertEqual(metrics["requests_rejected"], failed)
        self.assertEqual(metrics["error_count"], sum(failed.values()))
        self.assertEqual(metrics["cancelled_requests"], 0)
        self.assertEqual(metrics["total_requests"], completed + sum(failed.values()) + own + 1)
        self.assert_balanced(metrics)
        self.assertEqual(metrics["connections_accepted"], 6)
        self.assertEqual(sum(metrics["connections_closed"].values()), 4)
        self.assertEqual(metrics["connections_closed"],
                         {"bad-host": 1, "bad-request-line": 1, "unsupported-version": 1,
                          "keepalive-end": 1})
        self.assertEqual(metrics["connections"],
                         {"idle": 2, "reading": 0, "queued": 0, "running": 0, "writing": 0,
                          "lingering": 0})
        for key, total in (("accepted", "connections_accepted"), ("requests", "total_requests"),
                           ("connections", "active_connections")):
            self.assertEqual(sum(loop[key] for loop in metrics["loops"]), metrics[total], key)
        for handler in metrics["handlers"]:
            if handler["path"] in echoed:
                self.assertEqual([handler["ok"], handler["error"]], echoed[handler["path"]])
            else:
                self.assertEqual((handler["ok"], handler["error"]), (0, 0))
            self.assertEqual((handler["timeout"], handler["cancelled"]), (0, 0))

        # Jobs in flight, one that is being read, and one too many.
        running, = self.occupy(daemon, 1, "/stuck")
        waiting = [self.client(daemon) for _ in range(2)]
        for other in waiting:
            other.send(post_bytes('{"data":1}'))
        self.eventually(lambda: metrics_of(watch)["queue_depth"] == 2, "jobs in the queue")
        self.assertEqual(client.post("{}").problem(), "queue-full")
        upload = self.client(daemon)
        upload.send(post_bytes('{"data":1}')[:-1])
        self.eventually(lambda: metrics_of(watch)["connections"]["reading"] == 1, "the upload")
        metrics = metrics_of(watch)
        self.assertEqual((metrics["workers_busy"], metrics["queue_depth"]), (1, 2))
        self.assertEqual((metrics["connections"]["running"], metrics["connections"]["queued"]),
                         (1, 2))
        self.assertEqual(metrics["requests_rejected"]["queue-full"], 1)
        self.assert_balanced(metrics, reading=1)

        # They leave, each in its own way.
        upload.close()
        waiting[0].close()
        running.close()
        self.assertEqual(waiting[1].read_reply().status, 200)
        self.eventually(lambda: metrics_of(watch)["late_results_discarded"] == 1, "the late one")
        self.eventually(lambda: metrics_of(watch)["active_connections"] == 3, "closes")
        metrics = metrics_of(watch)
        self.assertEqual(metrics["cancelled_requests"], 3)
        self.assertEqual(metrics["connections_closed"]["client-left"], 2)
        self.assertEqual(metrics["connections_closed"]["request-truncated"], 1)
        self.assertEqual((metrics["queue_depth"], metrics["workers_busy"]), (0, 0))
        self.assert_balanced(metrics)
        cancelled = {h["path"]: h["cancelled"] for h in metrics["handlers"]}
        self.assertEqual(cancelled, {"/": 1, "/stuck": 1, "/other": 0, "/timed": 0})

    def test_a_deadline_counts_as_an_error_and_a_timeout(self):
        daemon = self.start(WORKERS=1, JOB_TIMEOUT="100ms")
        watch = self.client(daemon)
        self.assertEqual(daemon.get("/timed").status, 504)
        self.eventually(lambda: metrics_of(watch)["late_results_discarded"] == 1, "the late one")
        metrics = metrics_of(watch)
        self.assertEqual(metrics["error_count"], 1)
        self.assertEqual(metrics["requests_rejected"], {"deadline-exceeded": 1})
        self.assertEqual(metrics["handlers"][3]["timeout"], 1)
        self.assert_balanced(metrics)

    def test_bytes_are_counted_to_the_last(self):
        daemon = self.start(LOOPS=2)
        watch = CountingClient(daemon.connect())
        self.addCleanup(watch.close)
        before = metrics_of(watch)
        sent, received = 0, 0
        last = "Connection: close\r\n"
        for request in (get_bytes("/health", last),
                        post_bytes('{"data":"%s"}' % ("x" * 300000), headers=last),
                        get_bytes("/none") * 10 + get_bytes("/metrics", last),
                        b"nonsense\r\n"):
            with daemon.client() as client:
                client.send(request)
                sent += len(request)
                data = b"x"
                while data:
                    data = client.sock.recv(65536)
                    received += len(data)
        looks = []

        def look():
            looks.append((watch.received, metrics_of(watch)))
            return looks[-1][1]["active_connections"] == 1

        self.eventually(look, "closes")
        replied, metrics = looks[-1]
        self.assertEqual(metrics["received_bytes"] - before["received_bytes"],
                         sent + len(looks) * len(get_bytes("/metrics")))
        # What is being written while it is asked is not in it yet.
        self.assertEqual(metrics["sent_bytes"] - before["sent_bytes"], received + replied)

    def test_rates_and_uptime(self):
        daemon = self.start()
        started = time.monotonic()
        client = self.client(daemon)
        for _ in range(100):
            client.ask(get_bytes())
        fast = self.eventually(lambda: metrics_of(client)["requests_per_sec_10s"], "a rate")
        self.assertGreater(fast, 100 / 15)  # 100 in the last ten seconds, or less
        metrics = metrics_of(client)
        elapsed = time.monotonic() - started
        self.assertGreaterEqual(metrics["uptime_seconds"], 0.9 * elapsed)
        self.assertLess(metrics["uptime_seconds"], elapsed + LATE)
        self.assertAlmostEqual(metrics["requests_per_sec"],
                               metrics["total_requests"] / metrics["uptime_seconds"], delta=
                               0.2 * metrics["requests_per_sec"])


class Process(MetricsTest):
    """Compared with what the kernel says."""

    def tables(self, daemon):
        """The descriptor tables of the process: each loop may have its own,
        the other threads share one. Two with the same entries are one."""
        found = set()
        for task in os.listdir("/proc/%d/task" % daemon.pid):
            folder = "/proc/%d/task/%s/fd" % (daemon.pid, task)
            entries = []
            for number in os.listdir(folder):
                try:
                    entries.append((number, os.readlink(os.path.join(folder, number))))
                except FileNotFoundError:  # closed meanwhile: looked at again
                    pass
            found.add(frozenset(entries))
        return found

    def test_open_fds_is_the_sum_over_all_tables(self):
        for loops, tables in ((1, "on"), (3, "on"), (2, "off")):
            if os.environ.get("PRIVATE_FD_TABLES") == "off" and tables == "on":
                continue  # thread sanitizer
            with self.subTest(loops=loops, tables=tables):
                daemon = self.start(LOOPS=loops, WORKERS=3, PRIVATE_FD_TABLES=tables)
                client = self.client(daemon)

                def both():
                    counted = metrics_of(client)["open_fds"]
                    listed = self.tables(daemon)
                    return counted, sum(len(table) for table in listed), len(listed)

                def same(more):
                    def look():
                        counted, listed, _ = both()
                        return counted == listed == more
                    return look

                counted, listed, count = both()
                self.assertEqual(counted, listed)
                if '"fd_tables":"private"' in daemon.output():
                    self.assertEqual(count, loops + 1)
                else:
                    self.assertEqual(count, 1)
                others = [self.client(daemon) for _ in range(50)]
                for other in others:
                    self.assertEqual(other.ask(get_bytes()).status, 200)
                self.eventually(same(counted + 50), "50 more descriptors: %r" % (both(),))
                for other in others:
                    other.close()
                self.eventually(same(counted), "as many as before: %r" % (both(),))
                client.close()
                self.assertEqual(daemon.stop(), 0)

    def test_num_threads_is_the_number_of_threads(self):
        daemon = self.start(LOOPS=3, WORKERS=5,
                            HANDLERS="/=echo /a=wait:1s /b=wait:1s")

        def threads():
            return len(os.listdir("/proc/%d/task" % daemon.pid))

        self.assertGreaterEqual(threads(), 1 + 1 + 3 + 5 + 2)
        self.eventually(lambda: daemon.metrics()["num_threads"] == threads(),
                        "as many as there are")

    def test_memory_is_what_the_kernel_says(self):
        daemon = self.start(WORKERS=1)
        client = self.client(daemon)

        def near():
            resident = daemon.resident_bytes() / (1 << 20)
            said = metrics_of(client)["memory_sys_mb"]
            return abs(said - resident) < max(1, 0.1 * resident)

        self.eventually(near, "memory_sys_mb near the resident set")
        idle = metrics_of(client)
        self.assertGreater(idle["memory_sys_mb"], 1)
        if not SLOW:
            self.assertLess(idle["memory_sys_mb"], 16)
        # 30 bodies of 1 MB wait: all the figures rise by as much.
        self.occupy(daemon, 1, "/stuck")
        others = [self.client(daemon) for _ in range(30)]
        for other in others:
            other.send(post_bytes('{"data":"%s"}' % ("x" * 1000000)))
        self.eventually(lambda: metrics_of(client)["queue_depth"] == 30, "bodies")
        self.eventually(near, "memory_sys_mb near the resident set")
        full = metrics_of(client)
        for key in ("memory_used_mb", "memory_alloc_mb", "memory_sys_mb"):
            self.assertGreater(full[key] - idle[key], 28, key)
            self.assertLess(full[key] - idle[key], 45 if not SLOW else 200, key)
        for other in others:
            other.close()
        self.eventually(lambda: metrics_of(client)["memory_used_mb"] <
                        idle["memory_used_mb"] + 1, "memory_used_mb to fall")
        self.eventually(lambda: metrics_of(client)["memory_alloc_mb"] <
                        idle["memory_alloc_mb"] + 1, "memory_alloc_mb to fall")
        self.eventually(near, "memory_sys_mb near the resident set")
        if not SLOW:
            self.eventually(lambda: metrics_of(client)["memory_sys_mb"] <
                            idle["memory_sys_mb"] + 8, "memory_sys_mb to fall")


class Quick(MetricsTest):
    def test_health_and_metrics_do_not_wait_for_workers(self):
        daemon = self.start(LOOPS=2, WORKERS=2, QUEUE_SIZE=50)
        self.occupy(daemon, 2, "/stuck")
        self.assertEqual(daemon.get("/readyz").json(), {"status": "ready"})
        others = [self.client(daemon) for _ in range(50)]
        for other in others:
            other.send(post_bytes("{}"))
        self.eventually(lambda: daemon.metrics()["queue_depth"] == 50, "a full queue")
        times = []
        with daemon.client() as client:
            for path in ("/health", "/livez", "/healthz", "/metrics") * 25:
                started = time.monotonic()
                self.assertEqual(client.ask(get_bytes(path)).status, 200)
                times.append(time.monotonic() - started)
        # The workers are busy for an hour.
        self.assertLess(max(times), LATE)
        # Ready it is not.
        reply = daemon.get("/readyz")
        self.assertEqual((reply.status, reply.problem()), (503, "queue-full"))
        for other in others:
            other.close()
        self.eventually(lambda: daemon.get("/readyz").status == 200, "readiness")

    def test_health_says_so(self):
        daemon = self.start()
        for path, status in (("/health", "ok"), ("/livez", "alive"), ("/healthz", "alive"),
                             ("/readyz", "ready")):
            reply = daemon.get(path)
            self.assertEqual((reply.status, reply.json()["status"]), (200, status))
            self.assertEqual(reply.headers["content-type"], "application/json")


SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"')


class Text(MetricsTest):
    PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    def parse(self, text, openmetrics):
        """The samples by name and labels, and each family's type; as strict as
        those who read it."""
        self.assertTrue(text.endswith("\n"))
        samples, types, helps = {}, {}, set()
        lines = text[:-1].split("\n")
        if openmetrics:
            self.assertEqual(lines.pop(), "# EOF")
        self.assertNotIn("# EOF", lines)
        family = None
        for line in lines:
            if line.startswith("# "):
                what, name, rest = line[2:].split(" ", 2)
                self.assertIn(what, ("HELP", "TYPE", "UNIT") if openmetrics else ("HELP", "TYPE"))
                self.assertTrue(rest, line)
                if name != family:
                    self.assertNotIn(name, types, "a family in two places")
                    family = name
                if what == "HELP":
                    self.assertNotIn(name, helps)
                    helps.add(name)
                elif what == "TYPE":
                    types[name] = rest
                else:
                    self.assertTrue(name.endswith("_" + rest), line)
                continue
            found = SAMPLE.fullmatch(line)
            self.assertTrue(found, "not a sample: %r" % line)
            name, value = found.group(1), float(found.group(3))
            self.assertTrue(math.isfinite(value), line)
            labels = tuple(LABEL.findall(found.group(2) or ""))
            self.assertNotIn((name, labels), samples, "twice: %r" % line)
            samples[name, labels] = value
            suffix = {"counter": "_total", "info": "_info"}.get(types[family], "")
            self.assertEqual(name, family + suffix if openmetrics else family, line)
            if types[family] == "counter":
                self.assertTrue(name.endswith("_total"), line)
        self.assertEqual(helps, set(types))
        return samples, types

    def test_accept_and_query_choose_the_format(self):
        daemon = self.start()
        json, text, open_text = "application/json", self.PROMETHEUS, self.OPENMETRICS
        for path, accept, expected in (
                ("/metrics", None, json), ("/metrics", "*/*", json),
                ("/metrics", "application/json", json), ("/metrics", "text/html", json),
                ("/metrics", "text/plain;version=0.0.4", text), ("/metrics", "text/plain", text),
                ("/metrics", "Text/Plain; Version=0.0.4; q=0.5, */*;q=0.1", text),
                ("/metrics", "application/openmetrics-text;version=1.0.0", open_text),
                # What Prometheus sends.
                ("/metrics", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;"
                             "q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
                             "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
                             "text/plain;version=0.0.4;q=0.2,*/*;q=0.1", open_text),
                ("/metrics", "application/openmetrics-text; version=1.0.0; q=0.2,"
                             "text/plain;version=0.0.4;q=0.7", text),
                ("/metrics?format=prometheus", None, text),
                ("/metrics?format=prometheus", "application/json", text),
                ("/metrics?x=1&format=openmetrics", None, open_text),
                ("/metrics?format=json", "text/plain", json),
                ("/metrics?format=none", None, json)):
            with self.subTest(path=path, accept=accept):
                reply = daemon.get(path, "Accept: %s\r\n" % accept if accept else "")
                self.assertEqual((reply.status, reply.headers["content-type"]), (200, expected))
                if expected == json:
                    reply.json()
                else:
                    self.parse(reply.body.decode(), expected == open_text)

    def test_the_text_says_what_the_json_says(self):
        daemon = self.start(LOOPS=2, WORKERS=3, QUEUE_SIZE=40)
        client = self.client(daemon)
        for request in (get_bytes("/"), post_bytes("{}", "/other"), post_bytes("["),
                        get_bytes("/none"), get_bytes("/none")):
            client.send(request)
            client.read_reply()
        self.occupy(daemon, 3, "/stuck")
        waiting = self.client(daemon)
        waiting.send(post_bytes("{}"))
        self.eventually(lambda: metrics_of(client)["queue_depth"] == 1, "a job in the queue")
        # Between two looks at the JSON nothing but the looks themselves.
        for accept, openmetrics in (("text/plain;version=0.0.4", False),
                                    ("application/openmetrics-text;version=1.0.0", True)):
            with self.subTest(accept=accept):
                json = metrics_of(client)
                reply = client.ask(get_bytes("/metrics", "Accept: %s\r\n" % accept))
                samples, types = self.parse(reply.body.decode(), openmetrics)
                self.assertEqual(samples["hcsd_requests_total", ()], json["total_requests"] + 1)
                self.assertEqual(samples["hcsd_requests_completed_total", ()],
                                 json["completed_requests"] + 1)
                for name, key in (("hcsd_requests_failed_total", "error_count"),
                                  ("hcsd_requests_cancelled_total", "cancelled_requests"),
                                  ("hcsd_late_results_discarded_total", "late_results_discarded"),
                                  ("hcsd_queue_depth", "queue_depth"),
                                  ("hcsd_queue_capacity", "queue_capacity"),
                                  ("process_open_fds", "open_fds"),
                                  ("process_threads", "num_threads"),
                                  ("hcsd_log_lines_dropped_total", "log_lines_dropped")):
                    self.assertEqual(samples[name, ()], json[key], name)
                for state, count in json["connections"].items():
                    self.assertEqual(samples["hcsd_connections", (("state", state),)], count)
                for reason, count in json["requests_rejected"].items():
                    self.assertEqual(
                        samples["hcsd_requests_rejected_total", (("reason", reason),)], count)
                self.assertEqual(samples["hcsd_requests_rejected_total",
                                         (("reason", "queue-full"),)], 0)
                self.assertEqual(samples["hcsd_workers", (("state", "busy"),)], 3)
                self.assertEqual(samples["hcsd_workers", (("state", "idle"),)], 0)
                for i, loop in enumerate(json["loops"]):
                    self.assertEqual(
                        samples["hcsd_connections_accepted_total", (("loop", str(i)),)],
                        loop["accepted"])
                # One label set for the two paths that echo serves.
                jobs = {labels: value for (name, labels), value in samples.items()
                        if name == "hcsd_jobs_completed_total"}
                self.assertEqual(jobs[("handler", "echo"), ("outcome", "ok")], 2)
                self.assertEqual(jobs[("handler", "echo"), ("outcome", "error")], 1)
                self.assertEqual(jobs[("handler", "sleep"), ("outcome", "ok")], 0)
                build = [labels for name, labels in samples if name == "hcsd_build_info"]
                self.assertEqual([label for label, _ in build[0]], ["version", "compiler"])
                self.assertEqual(samples["hcsd_draining", ()], 0)
                self.assertGreater(samples["process_max_fds", ()], 100)
                self.assertAlmostEqual(samples["process_start_time_seconds", ()],
                                       time.time(), delta=600)
                self.assertLessEqual(samples["process_resident_memory_bytes", ()],
                                     samples["process_virtual_memory_bytes", ()])
                self.assertEqual(types["hcsd_connections"], "gauge")

    def test_cpu_time_is_the_process_s(self):
        daemon = self.start(HANDLERS="/spin=spin:300ms")
        client = self.client(daemon)
        name = "process_cpu_seconds_total", ()

        def cpu():
            text = client.ask(get_bytes("/metrics?format=prometheus")).body.decode()
            return self.parse(text, False)[0][name]

        before = cpu()
        self.assertEqual(daemon.get("/spin").status, 200)
        self.eventually(lambda: cpu() >= before + 0.29, "300 ms of CPU time")


if __name__ == "__main__":
    harness.main()
