"""Jobs whose client leaves, whose deadline passes, or for which there is no
place: the queue stays exact, and no result reaches anybody else."""
# ctest: timeout=300 builds=release,asan,tsan

import random
import resource
import select
import socket
import threading
import time
import unittest

import harness
from harness import SLOW, get_bytes, post_bytes

# A job that does not end while a test looks, and one that a test waits for.
HANDLERS = "/=echo /stuck=sleep:1h /slow=sleep:200ms"
LONG = "10m"


def answer(data, request_id):
    return ('{"status":"ok","request_id":"%s","data":%s}' % (request_id, data)).encode()


class CancelTest(harness.TestCase):
    def start(self, **settings):
        settings.setdefault("HANDLERS", HANDLERS)
        settings.setdefault("QUEUE_TIMEOUT", LONG)
        settings.setdefault("IDLE_TIMEOUT", LONG)
        return super().start(**settings)

    def queue_jobs(self, daemon, count, path="/", body=b'{"data":1}'):
        """Clients whose jobs wait; all workers have to be occupied."""
        before = daemon.metrics()["queue_depth"]
        clients = [self.client(daemon) for _ in range(count)]
        for client in clients:
            client.send(post_bytes(body, path))
        self.eventually(lambda: daemon.metrics()["queue_depth"] == before + count,
                        "%d jobs in the queue" % count)
        return clients

    def handler(self, daemon, path):
        for handler in daemon.metrics()["handlers"]:
            if handler["path"] == path:
                return handler
        return None

    def assert_balanced(self, daemon):
        """Each request ended in one of three ways; only the one that asks is
        still at work."""
        def balance():
            metrics = daemon.metrics()
            return metrics["total_requests"] == 1 + (
                metrics["completed_requests"] + metrics["error_count"] +
                metrics["cancelled_requests"])
        self.eventually(balance, "requests to add up")

    def assert_refused(self, reply, name):
        self.assertEqual((reply.status, reply.problem()), (503, name))
        self.assertFalse(reply.closes())
        seconds = int(reply.headers["retry-after"])
        self.assertTrue(1 <= seconds <= 30, reply)
        problem = reply.json()
        self.assertEqual(problem["retry_after_ms"], seconds * 1000)
        self.assertGreaterEqual(problem["queue_depth"], 0)


class Waiting(CancelTest):
    """A client leaves while its job waits: it is not run, and its place is
    free at once, though no worker is."""

    LEAVE = {
        "closes": lambda client: client.close(),
        "resets": lambda client: client.reset(),
        "shuts its side": lambda client: client.sock.shutdown(socket.SHUT_WR),
    }

    def test_all_leave_and_as_many_come_again_and_again(self):
        size = 100
        daemon = self.start(WORKERS=2, LOOPS=2, QUEUE_SIZE=size)
        stuck = self.occupy(daemon, 2, "/stuck")
        rounds = 0
        for how in ("closes", "shuts its side", "resets", "closes", "closes"):
            with self.subTest(how=how, round=rounds):
                clients = self.queue_jobs(daemon, size)
                with daemon.client() as extra:
                    self.assert_refused(extra.post("{}"), "queue-full")
                    for client in clients:
                        self.LEAVE[how](client)
                    self.eventually(lambda: daemon.metrics()["queue_depth"] == 0, "free places")
                    self.assertEqual(daemon.metrics()["workers_busy"], 2)
                    if how == "shuts its side":
                        for client in clients:
                            self.assertTrue(client.at_end())
                    rounds += 1
        metrics = daemon.metrics()
        self.assertEqual(metrics["cancelled_requests"], rounds * size)
        self.assertEqual(metrics["late_results_discarded"], 0)
        self.assertEqual(metrics["requests_rejected"], {"queue-full": rounds})
        # The workers come free: of those that left, none is run.
        last = self.queue_jobs(daemon, 3)
        for client in stuck:
            client.close()
        for client in last:
            self.assertEqual(client.read_reply().status, 200)
        self.eventually(lambda: daemon.metrics()["late_results_discarded"] == 2, "the stuck ones")
        echo = self.handler(daemon, "/")
        self.assertEqual((echo["ok"], echo["cancelled"]), (3, rounds * size))
        self.assertEqual((echo["error"], echo["timeout"]), (0, 0))
        self.assert_balanced(daemon)

    def test_some_leave_and_just_as_many_places_are_free(self):
        daemon = self.start(WORKERS=1, QUEUE_SIZE=10)
        stuck = self.occupy(daemon, 1, "/stuck")
        clients = self.queue_jobs(daemon, 10)
        for client in clients[1:8:2]:
            client.close()
        self.eventually(lambda: daemon.metrics()["queue_depth"] == 6, "free places")
        clients[1:8:2] = self.queue_jobs(daemon, 4)
        self.assert_refused(daemon.post("{}"), "queue-full")
        stuck[0].close()
        for client in clients:
            self.assertEqual(client.read_reply().status, 200)
        self.assertEqual(self.handler(daemon, "/")["ok"], 10)

    def test_their_memory_is_freed_at_once(self):
        daemon = self.start(WORKERS=1, QUEUE_SIZE=100)
        self.occupy(daemon, 1, "/stuck")
        before = daemon.metrics()["memory_used_mb"]
        for _ in range(3):
            clients = self.queue_jobs(
                daemon, 20, body=b'{"data":"' + b"x" * (1000 * 1000) + b'"}')
            self.assertGreater(daemon.metrics()["memory_used_mb"], before + 18)
            for client in clients:
                client.close()
            self.eventually(lambda: daemon.metrics()["memory_used_mb"] < before + 1, "memory")
            self.assertEqual(daemon.metrics()["workers_busy"], 1)

    def test_requests_behind_the_job_leave_with_it(self):
        daemon = self.start(WORKERS=1)
        self.occupy(daemon, 1, "/stuck")
        client = self.client(daemon)
        client.send(post_bytes("{}") + get_bytes("/metrics") * 3 + post_bytes("{}"))
        self.eventually(lambda: daemon.metrics()["queue_depth"] == 1, "the job in the queue")
        client.close()
        self.eventually(lambda: daemon.metrics()["queue_depth"] == 0, "a free place")
        self.eventually(lambda: daemon.metrics()["connections_closed"].get("client-left") == 1,
                        "its count")
        self.assertEqual(daemon.metrics()["cancelled_requests"], 1)


class Running(CancelTest):
    """A client leaves while its job runs: the late result reaches nobody, is
    counted, and is freed."""

    def test_the_late_result_is_counted_and_freed(self):
        body = b'{"data":[' + b"0," * 100000 + b'0]}'  # and a parse tree
        daemon = self.start(WORKERS=2, HANDLERS="/sleep=sleep:1h /spin=spin:10s")
        before = daemon.metrics()["memory_used_mb"]
        late = 0
        for path in ("/sleep", "/spin", "/sleep"):
            for how in ("closes", "resets", "shuts its side"):
                with self.subTest(path=path, how=how):
                    client, = self.occupy(daemon, 1, path, body)
                    self.eventually(lambda: daemon.metrics()["memory_used_mb"] > before + 5,
                                    "the parse tree")
                    Waiting.LEAVE[how](client)
                    late += 1
                    self.eventually(
                        lambda: daemon.metrics()["late_results_discarded"] == late, "its count")
                    self.eventually(lambda: daemon.metrics()["workers_busy"] == 0, "its worker")
                    self.eventually(lambda: daemon.metrics()["memory_used_mb"] < before + 1,
                                    "its memory")
        metrics = daemon.metrics()
        self.assertEqual(metrics["cancelled_requests"], late)
        self.assertEqual(metrics["connections_closed"]["client-left"], late)
        self.assertEqual(metrics["error_count"], 0)
        self.assertEqual([h["cancelled"] for h in metrics["handlers"]], [6, 3])
        self.assert_balanced(daemon)

    def test_among_many_that_leave_those_that_stay_get_their_own_answers(self):
        daemon = self.start(LOOPS=2, WORKERS=4, QUEUE_SIZE=64,
                            HANDLERS="/=sleep:2ms /echo=echo")
        stop = time.monotonic() + (4 if SLOW else 3)
        wrong = []
        jobs = {"left": 0, "stayed": 0}
        lock = threading.Lock()

        def leave(seed):
            dice = random.Random(seed)
            left = 0
            while time.monotonic() < stop:
                clients = [daemon.client() for _ in range(20)]
                for client in clients:
                    client.send(post_bytes('{"data":"left"}', dice.choice(("/", "/", "/echo"))))
                    left += 1
                for client in clients:
                    if dice.random() < 0.3:
                        time.sleep(dice.random() * 0.004)
                    dice.choice((client.close, client.reset))()
            with lock:
                jobs["left"] += left

        def stay(name):
            answered = 0
            with daemon.client() as client:
                while time.monotonic() < stop:
                    request_id = "%s-%d" % (name, answered)
                    reply = client.post('{"data":"%s"}' % request_id, "/",
                                        "X-Request-ID: %s\r\n" % request_id)
                    if reply is None or not (
                            reply.status == 200 and
                            reply.body == answer('"%s"' % request_id, request_id) or
                            reply.status == 503 and reply.problem() == "queue-full"):
                        wrong.append((request_id, reply))
                        return
                    answered += 1
            with lock:
                jobs["stayed"] += answered

        threads = ([threading.Thread(target=leave, args=(seed,)) for seed in range(3)] +
                   [threading.Thread(target=stay, args=("s%d" % i,)) for i in range(6)])
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertGreater(jobs["left"], 20)
        self.assertGreater(jobs["stayed"], 20)
        # Nothing is left of them.
        self.eventually(lambda: daemon.metrics()["active_connections"] == 1, "their ends")
        self.eventually(lambda: daemon.metrics()["queue_depth"] == 0, "an empty queue")
        self.eventually(lambda: daemon.metrics()["workers_busy"] == 0, "idle workers")
        self.eventually(lambda: daemon.metrics()["memory_used_mb"] < 2, "their memory")
        self.assert_balanced(daemon)
        metrics = daemon.metrics()
        self.assertEqual(metrics["cancelled_requests"],
                         sum(h["cancelled"] for h in metrics["handlers"]))
        self.assertLessEqual(metrics["late_results_discarded"], metrics["cancelled_requests"])
        self.assertGreater(metrics["cancelled_requests"], 0)


class Deadlines(CancelTest):
    def test_job_timeout_is_kept_while_the_worker_is_stuck(self):
        daemon = self.start(WORKERS=1, JOB_TIMEOUT="300ms")
        with daemon.client() as client:
            for late in (1, 2, 3):
                started = time.monotonic()
                client.send(post_bytes("{}", "/stuck", "X-Request-ID: stuck-%d\r\n" % late) +
                            get_bytes("/health", "X-Request-ID: behind-%d\r\n" % late))
                reply = client.read_reply()
                elapsed = time.monotonic() - started
                self.assertEqual((reply.status, reply.problem()), (504, "deadline-exceeded"))
                self.assertEqual(reply.headers["x-request-id"], "stuck-%d" % late)
                self.assertGreaterEqual(elapsed, 0.299)  # whole milliseconds
                self.assertFalse(reply.closes())
                self.assertEqual(client.read_reply().headers["x-request-id"], "behind-%d" % late)
                # The connection is usable, and the late result is not for it.
                reply = client.post('{"data":%d}' % late, headers="X-Request-ID: next\r\n")
                self.assertEqual(reply.body, answer(late, "next"))
                self.eventually(lambda: daemon.metrics()["late_results_discarded"] == late,
                                "the late result")
                self.assertFalse(client.readable(0.1))
        self.assertEqual(self.handler(daemon, "/stuck")["timeout"], 3)
        self.assertEqual(daemon.metrics()["requests_rejected"], {"deadline-exceeded": 3})
        self.assert_balanced(daemon)

    def test_job_timeout_does_not_count_the_wait(self):
        route, open_gate = self.gate()
        daemon = self.start(WORKERS=1, JOB_TIMEOUT="400ms",
                            HANDLERS="/=echo /gate=%s&timeout=1h" % route)
        first, = self.occupy(daemon, 1, "/gate")
        client, = self.queue_jobs(daemon, 1)
        self.assertFalse(client.readable(0.6))
        open_gate()
        self.assertEqual(first.read_reply().status, 200)
        self.assertEqual(client.read_reply().status, 200)

    def test_queue_timeout_is_kept_while_every_worker_is_stuck(self):
        daemon = self.start(WORKERS=2, QUEUE_TIMEOUT="400ms")
        stuck = self.occupy(daemon, 2, "/stuck")
        with daemon.client() as client:
            for _ in range(2):
                others = [self.client(daemon) for _ in range(20)]
                started = time.monotonic()
                for other in others:
                    other.send(post_bytes('{"data":1}'))
                client.send(post_bytes('{"data":1}') + get_bytes("/none"))
                for other in [client] + others:
                    self.assert_refused(other.read_reply(), "queue-timeout")
                    self.assertGreaterEqual(time.monotonic() - started, 0.399)
                self.assertEqual(client.read_reply().status, 404)
                self.assertEqual(daemon.metrics()["queue_depth"], 0)
                self.assertEqual(daemon.metrics()["workers_busy"], 2)
            # None of them is run when a worker is free, and connections are
            # usable.
            for one in stuck:
                one.close()
            self.eventually(lambda: daemon.metrics()["workers_busy"] == 0, "free workers")
            for other in others:
                self.assertEqual(other.post("{}").status, 200)
        echo = self.handler(daemon, "/")
        self.assertEqual((echo["ok"], echo["timeout"]), (20, 42))
        self.assertEqual(daemon.metrics()["late_results_discarded"], 2)  # the stuck ones
        self.assert_balanced(daemon)

    def test_queue_timeout_ends_when_the_job_starts(self):
        daemon = self.start(WORKERS=1, QUEUE_TIMEOUT="1s", HANDLERS="/=sleep:1500ms")
        self.eventually(lambda: daemon.get("/readyz").status == 200, "readiness")

        def outlasts():
            reply = daemon.get("/")
            if reply.status != 200:  # a busy machine may let it wait for so long
                self.assertEqual(reply.problem(), "queue-timeout")
            return reply.status == 200
        self.eventually(outlasts, "a job that outlasts QUEUE_TIMEOUT")

    def test_with_queue_timeout_off_jobs_wait(self):
        daemon = self.start(WORKERS=1, QUEUE_TIMEOUT=0)
        stuck = self.occupy(daemon, 1, "/stuck")
        client, = self.queue_jobs(daemon, 1)
        self.assertFalse(client.readable(1.0))
        stuck[0].close()
        self.assertEqual(client.read_reply().status, 200)

    def test_each_of_the_two_timeouts_has_its_own_time(self):
        # The second waits for the first's deadline, which is within its own
        # time in the queue, and then has all of its time to run.
        daemon = self.start(WORKERS=1, QUEUE_TIMEOUT="1m", JOB_TIMEOUT="400ms")
        clients = self.occupy(daemon, 1, "/stuck") + self.queue_jobs(daemon, 1, "/stuck")
        started = time.monotonic()
        for client in clients:
            reply = client.read_reply()
            self.assertEqual((reply.status, reply.problem()), (504, "deadline-exceeded"))
        self.assertGreaterEqual(time.monotonic() - started, 0.399)


class HalfClose(CancelTest):
    def test_cancel_takes_it_for_leaving(self):
        daemon = self.start(WORKERS=1, HALF_CLOSE="cancel")
        running, = self.occupy(daemon, 1, "/stuck")
        waiting, = self.queue_jobs(daemon, 1)
        at_once = self.client(daemon)
        at_once.send(post_bytes("{}", "/stuck"))
        at_once.sock.shutdown(socket.SHUT_WR)
        self.assertTrue(at_once.at_end())
        waiting.sock.shutdown(socket.SHUT_WR)
        self.assertTrue(waiting.at_end())
        self.assertEqual(daemon.metrics()["queue_depth"], 0)
        running.sock.shutdown(socket.SHUT_WR)
        self.assertTrue(running.at_end())
        self.eventually(lambda: daemon.metrics()["workers_busy"] == 0, "a free worker")
        metrics = daemon.metrics()
        self.assertEqual(metrics["connections_closed"]["client-left"], 3)
        self.assertEqual((metrics["cancelled_requests"], metrics["late_results_discarded"]),
                         (3, 1))

    def test_cancel_does_not_cost_the_replies_before_the_job(self):
        daemon = self.start(WORKERS=1, HALF_CLOSE="cancel")
        with daemon.client() as client:
            client.send(get_bytes("/health") * 2 + get_bytes("/stuck"))
            client.sock.shutdown(socket.SHUT_WR)
            self.assertEqual([client.read_reply().status for _ in range(2)], [200, 200])
            self.assertTrue(client.at_end())

    def test_serve_answers_all_that_was_sent(self):
        daemon = self.start(WORKERS=1, HALF_CLOSE="serve")
        with daemon.client() as client:
            client.send(post_bytes('{"data":1}', "/slow") + get_bytes("/none") +
                        post_bytes('{"data":2}') + post_bytes('{"data":3}', "/slow"))
            client.sock.shutdown(socket.SHUT_WR)
            replies = [client.read_reply() for _ in range(4)]
            self.assertEqual([reply.status for reply in replies], [200, 404, 200, 200])
            self.assertEqual([replies[i].json()["data"] for i in (0, 2, 3)], [1, 2, 3])
            self.assertTrue(client.at_end())
        metrics = daemon.metrics()
        self.assertEqual((metrics["cancelled_requests"], metrics["late_results_discarded"]),
                         (0, 0))

    def test_serve_answers_a_job_that_waits(self):
        daemon = self.start(WORKERS=1, HALF_CLOSE="serve")
        stuck = self.occupy(daemon, 1, "/stuck")
        client, = self.queue_jobs(daemon, 1)
        client.sock.shutdown(socket.SHUT_WR)
        self.assertFalse(client.readable(0.2))
        self.assertEqual(daemon.metrics()["queue_depth"], 1)
        # A reset leaves no doubt, in either mode.
        stuck[0].reset()
        reply = client.read_reply()
        self.assertEqual((reply.status, reply.json()["data"]), (200, 1))
        self.assertTrue(client.at_end())
        self.eventually(lambda: daemon.metrics()["late_results_discarded"] == 1, "the reset one")

    def test_large_uploads_are_no_half_closes(self):
        """Bodies that take many reads, alone and one behind the other."""
        for half_close in ("cancel", "serve"):
            daemon = self.start(HALF_CLOSE=half_close)
            body = b'{"data":"' + b"x" * 1000000 + b'"}'
            with daemon.client() as client:
                sender = self.send_aside(client, post_bytes(body) * 5 + get_bytes("/none"))
                for status in (200, 200, 200, 200, 200, 404):
                    self.assertEqual(client.read_reply().status, status)
                self.assertIsNone(sender.join())


class Full(CancelTest):
    """Exactly QUEUE_SIZE jobs wait, and WORKERS run; one more is told so."""

    def check_exact(self, daemon, workers, size, extra):
        self.occupy(daemon, workers, "/stuck")
        clients = [self.client(daemon) for _ in range(size + extra)]
        poll = select.poll()
        for client in clients:
            poll.register(client.sock, select.POLLIN)
        senders = [threading.Thread(target=lambda part: [c.send(post_bytes("{}")) for c in part],
                                    args=(clients[i::4],)) for i in range(4)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        self.eventually(
            lambda: daemon.metrics()["requests_rejected"].get("queue-full", 0) >= extra,
            "refusals")
        metrics = daemon.metrics()
        self.assertEqual((metrics["queue_depth"], metrics["queue_capacity"]), (size, size))
        self.assertEqual(metrics["workers_busy"], workers)
        self.eventually(lambda: len(poll.poll(0)) >= extra, "the refusals")
        self.assertEqual(daemon.metrics()["requests_rejected"], {"queue-full": extra})
        by_number = {client.sock.fileno(): client for client in clients}
        refused = [by_number[number] for number, _ in poll.poll(0)]
        self.assertEqual(len(refused), extra)
        for client in refused:
            self.assert_refused(client.read_reply(), "queue-full")
            self.assertEqual(client.ask(get_bytes()).status, 200)
        return clients, refused

    def test_three(self):
        for _ in range(3):
            daemon = self.start(WORKERS=2, LOOPS=3, QUEUE_SIZE=3)
            clients, refused = self.check_exact(daemon, 2, 3, 40)
            admitted = [client for client in clients if client not in refused]
            admitted[0].close()
            self.eventually(lambda: daemon.metrics()["queue_depth"] == 2, "a free place")
            refused[0].send(post_bytes("{}"))  # on the same connection, again
            self.eventually(lambda: daemon.metrics()["queue_depth"] == 3, "its job in the queue")
            self.assertFalse(refused[0].readable())
            self.assert_refused(refused[1].post("{}"), "queue-full")

    def test_idle_workers_are_room_too(self):
        """A burst that comes faster than they wake up."""
        for _ in range(5):
            daemon = self.start(WORKERS=20, LOOPS=2, QUEUE_SIZE=1)
            clients = [self.client(daemon) for _ in range(21)]
            for client in clients:
                client.send(post_bytes("{}", "/stuck"))
            self.eventually(lambda: daemon.metrics()["workers_busy"] == 20, "all workers")
            self.eventually(lambda: daemon.metrics()["queue_depth"] == 1, "the last one")
            self.assertEqual(daemon.metrics()["requests_rejected"], {})
            self.assert_refused(self.client(daemon).post("{}"), "queue-full")

    def test_one(self):
        daemon = self.start(WORKERS=1, LOOPS=1, QUEUE_SIZE=1)
        self.check_exact(daemon, 1, 1, 10)

    def test_ten_thousand(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 10300:
            raise unittest.SkipTest("needs 10300 descriptors; the limit is %d" % hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        daemon = self.start(WORKERS=4, LOOPS=2, QUEUE_SIZE=10000)
        clients, refused = self.check_exact(daemon, 4, 10000, 100)
        for client in clients:
            client.close()
        self.eventually(lambda: daemon.metrics()["queue_depth"] == 0, "free places")
        self.assertEqual(daemon.metrics()["cancelled_requests"], 10000)
        self.assertEqual(daemon.metrics()["workers_busy"], 4)


if __name__ == "__main__":
    harness.main()
