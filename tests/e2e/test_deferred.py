# ctest: timeout=240 builds=release,asan,tsan
"""Jobs that are answered later: they hold no worker, and whatever happens to
them meanwhile, each client gets its own answer, or none."""

import json
import os
import re
import signal
import socket
import time

import harness
from harness import FEW, SLOW, get_bytes, post_bytes

DEFERRER = os.environ.get("HCSD_DEFERRER", os.path.join(
    os.path.dirname(harness.HCSD), "tests/deferrer.so"))
CROWD = 100 if FEW else 400
MIB = 1 << 20


def prometheus(daemon, name, labels=""):
    """One sample of the page that Prometheus reads."""
    page = daemon.get("/metrics?format=prometheus").body.decode()
    found = re.search(r"^%s(\S*) (\S+)$" % re.escape(name + labels), page, re.MULTILINE)
    assert found and found.group(1) == "", (name, labels, page)
    return float(found.group(2))


class DeferredCase(harness.TestCase):
    def start(self, **settings):
        settings.setdefault("IDLE_TIMEOUT", "10m")
        settings.setdefault("WORKERS", 1)
        return super().start(**settings)

    def send(self, daemon, count, request):
        """Clients that have each sent it: bytes, or what gives them by number."""
        clients = []
        for i in range(count):
            clients.append(self.client(daemon))
            clients[-1].send(request(i) if callable(request) else request)
        return clients

    def await_deferred(self, daemon, count):
        """All deferred, and the workers free again."""
        def look():
            metrics = daemon.metrics()
            return metrics["jobs_deferred"] == count and metrics["workers_busy"] == 0
        self.eventually(look, "%d jobs to wait: %r" % (count, daemon.metrics()))

    def handler(self, daemon, path):
        return next(found for found in daemon.metrics()["handlers"] if found["path"] == path)

    def assert_balanced(self, daemon):
        def balance():
            metrics = daemon.metrics()
            return metrics["total_requests"] == 1 + (
                metrics["completed_requests"] + metrics["error_count"] +
                metrics["cancelled_requests"])
        self.eventually(balance, "requests to add up: %r" % daemon.metrics())


class Wait(DeferredCase):
    """The handler that is built in."""

    def test_one_worker_serves_hundreds_that_wait(self):
        daemon = self.start(HANDLERS="/=wait:500ms", LOOPS=2)
        begun = time.monotonic()
        clients = self.send(daemon, CROWD, lambda i: post_bytes(
            '{"data":%d}' % i, headers="X-Request-ID: id-%d\r\n" % i))
        for i, client in enumerate(clients):
            reply = client.read_reply()
            self.assertEqual(reply.status, 200)
            self.assertEqual(reply.json(), {
                "status": "ok", "request_id": "id-%d" % i, "data": i})
            self.assertEqual(reply.headers["x-request-id"], "id-%d" % i)
            run = re.search(r"run;dur=([0-9.]+)", reply.headers["server-timing"])
            self.assertGreaterEqual(float(run.group(1)), 499)
        # One behind the other they would take CROWD / 2 seconds.
        self.assertLess(time.monotonic() - begun, CROWD / 3)
        self.assertEqual(self.handler(daemon, "/")["ok"], CROWD)
        self.assertEqual(daemon.metrics()["jobs_deferred"], 0)
        self.assert_balanced(daemon)

    def test_the_worker_is_free_meanwhile(self):
        daemon = self.start(HANDLERS="/=wait:1h /echo=echo")
        clients = self.send(daemon, CROWD, get_bytes("/"))
        self.await_deferred(daemon, CROWD)
        self.assertEqual(daemon.get("/echo").status, 200)
        self.assertEqual(prometheus(daemon, "hcsd_workers", '{state="idle"}'), 1)
        self.assertEqual(prometheus(daemon, "hcsd_workers", '{state="busy"}'), 0)
        self.assertEqual(prometheus(daemon, "hcsd_workers", '{state="stuck"}'), 0)
        self.assertEqual(prometheus(daemon, "hcsd_jobs_deferred"), CROWD)
        metrics = daemon.metrics()
        self.assertEqual(metrics["connections"]["running"], CROWD)
        self.assertEqual(metrics["queue_depth"], 0)
        for client in clients[1:]:
            client.close()
        self.await_deferred(daemon, 1)
        self.assertFalse(clients[0].readable())
        clients[0].close()
        self.await_deferred(daemon, 0)
        self.assertEqual(self.handler(daemon, "/")["cancelled"], CROWD)
        # Nobody had them any more: there was no result to throw away.
        self.assertEqual(daemon.metrics()["late_results_discarded"], 0)
        self.assert_balanced(daemon)

    def test_a_paths_timeout_answers_on_time(self):
        daemon = self.start(HANDLERS="/=wait:1h?timeout=400ms /long=wait:1h", JOB_TIMEOUT="1h")
        kept = self.send(daemon, 1, get_bytes("/long"))
        begun = time.monotonic()
        clients = self.send(daemon, 50, get_bytes("/"))
        for client in clients:
            reply = client.read_reply()
            self.assertEqual((reply.status, reply.problem()), (504, "deadline-exceeded"))
            self.assertFalse(reply.closes())
        self.assertGreaterEqual(time.monotonic() - begun, 0.39)
        self.await_deferred(daemon, 1)
        self.assertEqual(prometheus(daemon, "hcsd_workers", '{state="idle"}'), 1)
        self.assertEqual(daemon.metrics()["workers_stuck"], 0)
        self.assertEqual(daemon.metrics()["late_results_discarded"], 0)
        self.assertEqual(self.handler(daemon, "/")["timeout"], 50)
        # The connections are as good as before.
        self.assertEqual(clients[0].ask(get_bytes("/health").decode()).status, 200)
        self.assertFalse(kept[0].readable())
        self.assert_balanced_but(daemon, 1)

    def assert_balanced_but(self, daemon, waiting):
        def balance():
            metrics = daemon.metrics()
            return metrics["total_requests"] == 1 + waiting + (
                metrics["completed_requests"] + metrics["error_count"] +
                metrics["cancelled_requests"])
        self.eventually(balance, "requests to add up: %r" % daemon.metrics())

    def test_a_deadline_that_never_comes_costs_no_answer(self):
        daemon = self.start(HANDLERS="/=wait:200ms?timeout=1h")
        self.assertEqual(daemon.get("/").status, 200)
        self.assertEqual(self.handler(daemon, "/")["timeout"], 0)

    def test_memory_of_those_that_leave_is_given_back(self):
        daemon = self.start(HANDLERS="/=wait:1h")
        body = b'{"data":"' + b"x" * (MIB - 100) + b'"}'
        before = daemon.metrics()["memory_used_mb"]
        for how in ("closes", "resets", "shuts its side"):
            with self.subTest(how=how):
                clients = self.send(daemon, 20, post_bytes(body))
                self.await_deferred(daemon, 20)
                self.assertGreater(daemon.metrics()["memory_used_mb"], before + 15)
                for client in clients:
                    if how == "closes":
                        client.close()
                    elif how == "resets":
                        client.reset()
                    else:
                        client.sock.shutdown(socket.SHUT_WR)
                self.await_deferred(daemon, 0)
                self.eventually(lambda: daemon.metrics()["memory_used_mb"] < before + 2,
                                "memory to come back")
        self.assert_balanced(daemon)

    def test_requests_behind_one_that_waits_are_answered_after_it(self):
        daemon = self.start(HANDLERS="/=wait:300ms /echo=echo")
        client = self.client(daemon)
        client.send(post_bytes('{"data":1}') + get_bytes("/health") +
                    post_bytes('{"data":2}', "/echo") + post_bytes('{"data":3}'))
        begun = time.monotonic()
        replies = [client.read_reply() for _ in range(4)]
        self.assertGreaterEqual(time.monotonic() - begun, 0.59)
        self.assertEqual([reply.status for reply in replies], [200] * 4)
        self.assertEqual([reply.json().get("data") for reply in replies], [1, None, 2, 3])
        self.assertFalse(client.readable())

    def test_get_and_head(self):
        daemon = self.start(HANDLERS="/=wait:50ms /echo=echo")
        reply = daemon.get("/")
        self.assertEqual(reply.status, 200)
        self.assertIsNone(reply.json()["data"])
        replies = []
        for path in ("/", "/echo"):
            with daemon.client() as client:
                client.send("HEAD %s HTTP/1.1\r\nHost: x\r\nX-Request-ID: same\r\n\r\n" % path)
                replies.append(client.read_reply("HEAD"))
                self.assertEqual(client.ask(get_bytes().decode()).status, 200)
        self.assertEqual(replies[0].status, replies[1].status)
        self.assertEqual(set(replies[0].headers), set(replies[1].headers))

    def test_a_body_that_is_no_object_does_not_wait(self):
        daemon = self.start(HANDLERS="/=wait:1h")
        self.assertEqual(daemon.post("[1]").status, 422)
        self.assertEqual(daemon.post("[1").status, 400)
        self.assertEqual(daemon.metrics()["jobs_deferred"], 0)

    def test_no_wait_at_all(self):
        daemon = self.start(HANDLERS="/=wait:0s", LOOPS=2, WORKERS=2)
        for i in range(200):
            self.assertEqual(daemon.post('{"data":%d}' % i).json()["data"], i)
        clients = self.send(daemon, CROWD, post_bytes('{"data":1}') * 5)
        for client in clients:
            for _ in range(5):
                self.assertEqual(client.read_reply().status, 200)
        self.await_deferred(daemon, 0)
        self.assert_balanced(daemon)

    def test_what_is_no_duration_stops_the_start(self):
        for handlers in ("/=wait", "/=wait:", "/=wait:x", "/=wait:25h", "/=wait:-1s"):
            daemon = harness.Daemon(HANDLERS=handlers)
            self.addCleanup(daemon.close_log)
            self.assertEqual(daemon.wait(), 78, daemon.output())
            self.assertIn("wait:120s", daemon.output())


class Drain(DeferredCase):
    def test_jobs_that_wait_are_waited_for(self):
        daemon = self.start(HANDLERS="/=wait:2s", LOOPS=2, SHUTDOWN_TIMEOUT="5m")
        clients = self.send(daemon, 20, post_bytes('{"data":1}'))
        self.eventually(lambda: daemon.metrics()["jobs_deferred"] > 0, "jobs that wait")
        daemon.signal()
        for client in clients:
            reply = client.read_reply()
            self.assertEqual(reply.status, 200)
            client.close()
        self.assertEqual(daemon.wait(), 0, daemon.output())
        self.assertIn('"msg":"stopped"', daemon.output())

    def test_what_is_left_at_the_end_is_told_so(self):
        daemon = self.start(HANDLERS="/=wait:1h", SHUTDOWN_TIMEOUT="700ms", LOOPS=2)
        clients = self.send(daemon, 20, post_bytes('{"data":1}'))
        self.await_deferred(daemon, 20)
        begun = time.monotonic()
        daemon.signal()
        for client in clients:
            reply = client.read_reply()
            self.assertEqual((reply.status, reply.problem()), (503, "draining"))
            self.assertTrue(reply.closes())
            client.close()
        self.assertGreaterEqual(time.monotonic() - begun, 0.69)
        self.assertEqual(daemon.wait(), 0, daemon.output())
        self.assertIn('"msg":"stopped"', daemon.output())

    def test_a_second_signal_ends_the_waiting(self):
        daemon = self.start(HANDLERS="/=wait:1h", SHUTDOWN_TIMEOUT="1h")
        clients = self.send(daemon, 5, get_bytes("/"))
        self.await_deferred(daemon, 5)
        daemon.signal()
        self.eventually(lambda: '"msg":"stopping' in daemon.output(), "the drain")
        self.assertFalse(clients[0].readable(0.2))
        daemon.signal(signal.SIGINT)
        for client in clients:
            reply = client.read_reply()
            self.assertEqual((reply.status, reply.problem()), (503, "draining"))
            client.close()
        self.assertEqual(daemon.wait(), 0, daemon.output())
        self.assertIn('"msg":"stopped"', daemon.output())


class Stuck(DeferredCase):
    """Workers in jobs whose deadline has passed."""

    def test_a_sleeper_is_stuck_until_it_returns(self):
        daemon = self.start(HANDLERS="/=sleep:1h /echo=echo", JOB_TIMEOUT="200ms")
        reply = daemon.get("/")
        self.assertEqual((reply.status, reply.problem()), (504, "deadline-exceeded"))
        self.eventually(lambda: daemon.metrics()["late_results_discarded"] == 1, "its result")
        self.assertEqual(daemon.metrics()["workers_stuck"], 0)
        self.assertEqual(daemon.get("/echo").status, 200)

    def test_stuck_workers_are_counted_until_they_return(self):
        daemon = self.start(HANDLERS='"/=module:%s?timeout=200ms"' % DEFERRER, WORKERS=3)
        clients = self.send(daemon, 2, post_bytes('{"do":"be stuck"}'))
        for client in clients:
            reply = client.read_reply()
            self.assertEqual((reply.status, reply.problem()), (504, "deadline-exceeded"))
        self.assertEqual(daemon.metrics()["workers_stuck"], 2)
        self.assertEqual(prometheus(daemon, "hcsd_workers", '{state="stuck"}'), 2)
        self.assertEqual(prometheus(daemon, "hcsd_workers", '{state="busy"}'), 0)
        self.assertEqual(prometheus(daemon, "hcsd_workers", '{state="idle"}'), 1)
        self.assertEqual(prometheus(daemon, "hcsd_late_results_discarded_total"), 0)
        self.assertEqual(daemon.post('{"do":"let go"}').status, 200)
        self.eventually(lambda: daemon.metrics()["workers_stuck"] == 0, "their return")
        self.assertEqual(prometheus(daemon, "hcsd_workers", '{state="stuck"}'), 0)
        self.assertEqual(prometheus(daemon, "hcsd_workers", '{state="idle"}'), 3)
        self.assertEqual(prometheus(daemon, "hcsd_late_results_discarded_total"), 2)
        self.assert_balanced(daemon)

    def test_one_whose_client_left_is_not_stuck(self):
        """It is as long as it likes: nothing says that it is late."""
        daemon = self.start(HANDLERS='"/=module:%s"' % DEFERRER, WORKERS=2)
        client = self.send(daemon, 1, post_bytes('{"do":"be stuck"}'))[0]
        self.eventually(lambda: daemon.metrics()["workers_busy"] == 1, "a busy worker")
        client.close()
        self.eventually(lambda: daemon.metrics()["cancelled_requests"] == 1, "its leaving")
        self.assertEqual(daemon.metrics()["workers_stuck"], 0)
        self.assertEqual(daemon.post('{"do":"let go"}').status, 200)
        self.eventually(lambda: daemon.metrics()["late_results_discarded"] == 1, "its result")
        self.assertEqual(daemon.metrics()["workers_stuck"], 0)


class Module(DeferredCase):
    """A handler that does what it likes with its tokens."""

    def serve(self, timeout=None, **settings):
        query = "?timeout=" + timeout if timeout else ""
        return self.start(HANDLERS='"/=module:%s%s"' % (DEFERRER, query), **settings)

    def do(self, daemon, what, status=200):
        """One job on a connection of its own; gives what it was answered."""
        reply = daemon.post(json.dumps({"do": what}))
        self.assertEqual(reply.status, status, (what, reply))
        return reply.json()

    def waiting(self, daemon, what, count=1):
        clients = self.send(daemon, count, lambda i: post_bytes(
            json.dumps({"do": what, "data": {"number": i}})))
        self.await_deferred(daemon, count)
        return clients

    def assert_answered(self, clients):
        for i, client in enumerate(clients):
            reply = client.read_reply()
            self.assertEqual((reply.status, reply.json()), (200, {"late": {"number": i}}))

    def test_each_of_a_crowd_is_answered_when_it_is_resumed_and_only_once(self):
        daemon = self.serve(LOOPS=2)
        clients = self.waiting(daemon, "keep", CROWD)
        self.assertEqual(self.do(daemon, "resume"), {"resumed": CROWD, "dead": 0})
        self.assert_answered(clients)
        self.assertEqual(self.do(daemon, "resume"), {"resumed": 0, "dead": CROWD})
        self.assertEqual(daemon.metrics()["jobs_deferred"], 0)
        # The same places again: old tokens are still dead.
        again = self.waiting(daemon, "keep", CROWD)
        self.assertEqual(self.do(daemon, "resume"), {"resumed": CROWD, "dead": CROWD})
        self.assert_answered(again)
        self.assertEqual(daemon.metrics()["late_results_discarded"], 0)
        self.assert_balanced(daemon)

    def test_one_that_is_never_completed_is_answered_at_its_deadline(self):
        daemon = self.serve("300ms")
        begun = time.monotonic()
        client = self.waiting(daemon, "keep")[0]
        reply = client.read_reply()
        self.assertEqual((reply.status, reply.problem()), (504, "deadline-exceeded"))
        self.assertGreaterEqual(time.monotonic() - begun, 0.29)
        self.await_deferred(daemon, 0)
        self.assertEqual(self.do(daemon, "resume"), {"resumed": 0, "dead": 1})
        self.assertEqual(daemon.metrics()["workers_stuck"], 0)
        self.assert_balanced(daemon)

    def test_one_that_is_completed_before_run_returns(self):
        daemon = self.serve()
        for what in ("complete early", "complete early and withdraw"):
            for _ in range(20):
                reply = daemon.post(json.dumps({"do": what, "data": [1, "two"]}))
                self.assertEqual((reply.status, reply.json()), (200, {"late": [1, "two"]}))
        self.assertEqual(daemon.metrics()["jobs_deferred"], 0)
        self.assertEqual(self.do(daemon, "resume"), {"resumed": 0, "dead": 40})

    def test_one_that_is_withdrawn(self):
        daemon = self.serve()
        self.assertEqual(self.do(daemon, "withdraw"), {"withdrawn": True})
        self.do(daemon, "fail", status=500)
        self.do(daemon, "pend without a token", status=500)
        self.assertEqual(daemon.metrics()["jobs_deferred"], 0)
        self.assertEqual(self.do(daemon, "resume"), {"resumed": 0, "dead": 2})

    def test_one_whose_client_left_cannot_be_resumed(self):
        daemon = self.serve()
        clients = self.waiting(daemon, "keep", 3)
        clients[1].close()
        self.await_deferred(daemon, 2)
        self.assertEqual(self.do(daemon, "resume"), {"resumed": 2, "dead": 1})
        self.assertEqual(clients[0].read_reply().json(), {"late": {"number": 0}})
        self.assertEqual(clients[2].read_reply().json(), {"late": {"number": 2}})
        self.assert_balanced(daemon)

    def test_one_that_is_held_when_its_client_leaves_is_a_late_result(self):
        daemon = self.serve()
        for early in ("keep", "be held early", "be held early and withdraw"):
            before = daemon.metrics()["late_results_discarded"]
            clients = self.waiting(daemon, early, 2)
            self.assertEqual(self.do(daemon, "hold")["held"], 2)
            clients[0].close()
            self.eventually(lambda: daemon.metrics()["connections"]["running"] == 1,
                            "its leaving")
            self.assertEqual(daemon.metrics()["jobs_deferred"], 2)
            self.assertEqual(self.do(daemon, "finish"), {"finished": 2, "dead": 1})
            self.assertEqual(clients[1].read_reply().json(), {"late": {"number": 1}})
            self.await_deferred(daemon, 0)
            self.eventually(
                lambda: daemon.metrics()["late_results_discarded"] == before + 1, "its result")
        self.assert_balanced(daemon)

    def test_one_that_is_held_at_its_deadline_is_a_late_result(self):
        daemon = self.serve("300ms")
        clients = self.send(daemon, 1, post_bytes('{"do":"be held early","data":1}'))
        self.assertEqual(clients[0].read_reply().status, 504)
        # The worker has it no more, so it is not stuck.
        self.assertEqual(daemon.metrics()["workers_stuck"], 0)
        self.assertEqual(daemon.metrics()["jobs_deferred"], 1)
        self.assertEqual(self.do(daemon, "finish"), {"finished": 1, "dead": 1})
        self.eventually(lambda: daemon.metrics()["late_results_discarded"] == 1, "its result")
        self.assertEqual(daemon.metrics()["jobs_deferred"], 0)

    def test_one_that_is_cancelled_in_its_run(self):
        daemon = self.serve("200ms")
        for what in ("stay until it is cancelled", "defer when it is cancelled"):
            before = daemon.metrics()["late_results_discarded"]
            self.do(daemon, what, status=504)
            self.eventually(
                lambda: daemon.metrics()["late_results_discarded"] == before + 1, "its result")
            self.await_deferred(daemon, 0)
            self.assertEqual(daemon.metrics()["workers_stuck"], 0)
        self.assertEqual(self.do(daemon, "resume"), {"resumed": 0, "dead": 2})
        self.assert_balanced(daemon)

    def test_the_end_of_the_daemon_is_the_end_of_all_tokens(self):
        daemon = self.serve(SHUTDOWN_TIMEOUT="300ms", LOOPS=2)
        clients = self.waiting(daemon, "keep", 10)
        clients += self.send(daemon, 1, post_bytes('{"do":"be held early"}'))
        self.await_deferred(daemon, 11)
        daemon.signal()
        for client in clients:
            reply = client.read_reply()
            self.assertEqual((reply.status, reply.problem()), (503, "draining"))
            client.close()
        self.assertEqual(daemon.wait(), 0, daemon.output())
        self.assertIn('"msg":"stopped"', daemon.output())
        self.assertNotIn("outlived", daemon.output())

    def test_tokens_are_resumed_while_clients_come_and_go(self):
        daemon = self.serve(LOOPS=2, WORKERS=2)
        end = time.monotonic() + (6 if SLOW else 3)
        answered = left = resumed = 0
        kept = 0
        while time.monotonic() < end and kept < 900:
            clients = self.send(daemon, 20, post_bytes('{"do":"keep","data":{"number":0}}'))
            kept += 20
            for client in clients[::3]:
                client.close()
                left += 1
            resumed += self.do(daemon, "resume")["resumed"]
            rest = [client for i, client in enumerate(clients) if i % 3 != 0]
            for client in rest:
                while not client.readable(0.01):
                    resumed += self.do(daemon, "resume")["resumed"]
                self.assertEqual(client.read_reply().json(), {"late": {"number": 0}})
                answered += 1
                client.close()
        self.await_deferred(daemon, 0)
        self.assertGreaterEqual(resumed, answered)
        self.assertLessEqual(resumed, answered + left)
        self.assert_balanced(daemon)


if __name__ == "__main__":
    harness.main()
