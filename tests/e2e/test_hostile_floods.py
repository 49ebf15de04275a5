# ctest: timeout=180 builds=release,asan slow
"""Clients that come in floods, leave with a reset in whatever state they are,
shut one side, or send without reading. Afterwards all is as before."""

import socket
import threading
import time

import harness
import hostile
from harness import SLOW, get_bytes, post_bytes

KIB = 1024
MIB = 1024 * KIB


def scaled(count):
    """So many connections, or what the limits on descriptors and time allow."""
    return min(count // (10 if SLOW else 1), hostile.raise_fd_limit() // 2 - 300)


class Watcher(threading.Thread):
    """A good client, all the time: each of its requests must be answered."""

    def __init__(self, test, daemon, request=None):
        super().__init__()
        self.client = test.client(daemon)
        self.request = request or post_bytes(b'{"data": 1}')
        self.wrong = []
        self.good = 0
        self.longest = 0.0
        self.over = threading.Event()
        test.addCleanup(self.finish)
        self.start()

    def run(self):
        try:
            while not self.over.wait(0.005):
                since = time.monotonic()
                self.client.send(self.request)
                reply = self.client.read_reply()
                self.longest = max(self.longest, time.monotonic() - since)
                if reply is None or reply.status != 200:
                    self.wrong.append(reply)
                self.good += 1
        except Exception as error:  # reported by the test, not by the thread
            self.wrong.append(error)

    def finish(self):
        """Gives how often it was answered."""
        self.over.set()
        if self.is_alive():
            self.join()
        self.client.close()
        return self.good


class FloodCase(hostile.HostileCase):
    def assert_undisturbed(self, watcher):
        self.assertGreater(watcher.finish(), 10)
        self.assertEqual(watcher.wrong, [])
        self.assertLess(watcher.longest, harness.LATE)


class Connects(FloodCase):
    def test_thousands_that_say_nothing_are_closed_without_a_word(self):
        count = scaled(6000)
        daemon = self.start(LOOPS=2, WORKERS=2, IDLE_TIMEOUT="2s")
        watcher = Watcher(self, daemon)
        attack = self.attack(daemon, count, again=False).wait_open()
        ended = attack.wait()["ended"]
        self.assert_undisturbed(watcher)
        self.assertEqual(set(ended), {"closed"})
        number, shortest, _ = ended["closed"]
        self.assertEqual(number, count)
        self.assertGreaterEqual(shortest, 2.0 - 0.1)
        metrics = self.check_after(daemon)
        self.assertEqual(metrics["connections_closed"]["idle-timeout"], count)

    def test_thousands_that_leave_at_once(self):
        count = scaled(8000)
        daemon = self.start(LOOPS=2, WORKERS=2)
        watcher = Watcher(self, daemon)
        attacks = self.attacks(daemon, {
            how: dict(count=count // 2, again=False, hold=False, reset=how == "reset")
            for how in ("close", "reset")})
        for ended in attacks.wait().values():
            self.assertEqual(ended["opened"], count // 2)
        self.assert_undisturbed(watcher)
        metrics = self.check_after(daemon)
        # One that is reset in the backlog may never be accepted.
        self.assertGreaterEqual(metrics["connections_accepted"], count // 2)

    def test_beyond_max_connections_each_is_told_and_later_there_is_room(self):
        most, count = 200, scaled(4000)
        daemon = self.start(LOOPS=2, WORKERS=2, MAX_CONNECTIONS=most + 2, IDLE_TIMEOUT="60s",
                            READ_TIMEOUT="60s", MIN_UPLOAD_RATE="0")
        watcher = Watcher(self, daemon)
        inspector = self.client(daemon)
        inside = self.attack(daemon, most, opening=b"GET / HT", again=False).wait_open()
        self.eventually(lambda: inspector.ask(get_bytes("/metrics")).json()
                        ["active_connections"] == most + 2, "a full house")
        for opening in (b"", get_bytes()):
            beyond = self.attack(daemon, count, opening=opening, again=False)
            ended = beyond.wait()["ended"]
            if not opening:
                self.assertEqual(set(ended), {"503"}, ended)
            # Who has sent something that nobody read may see a reset instead,
            # when others push it out of those that linger.
            self.assertLessEqual(set(ended), {"503", "reset"}, ended)
            self.assertEqual(sum(entry[0] for entry in ended.values()), count)
        self.assertEqual(inside.stop()["left"], most)
        inspector.close()
        self.assert_undisturbed(watcher)
        metrics = self.check_after(daemon)
        self.assertEqual(metrics["connections_rejected"]["too-many-connections"], 2 * count)


class Resets(FloodCase):
    """A reset finds the connection in each of its states."""
    COUNT = scaled(300)

    def crowd(self, daemon, request, **how):
        clients = []
        for _ in range(self.COUNT):
            client = self.client(daemon, **how)
            client.send(request)
            clients.append(client)
        return clients

    def check(self, daemon, state, request, **how):
        clients = self.crowd(daemon, request, **how)

        def all_there():
            return daemon.metrics()["connections"][state] >= self.COUNT

        self.eventually(all_there, "%d in state %s" % (self.COUNT, state))
        for client in clients:
            client.reset()
        self.eventually(lambda: daemon.metrics()["active_connections"] == 1, "their end")

    def test_in_every_state(self):
        daemon = self.start(LOOPS=2, WORKERS=1, HANDLERS="/=echo /s=sleep:1s", QUEUE_SIZE=10000,
                            READ_TIMEOUT="60s", WRITE_TIMEOUT="60s", IDLE_TIMEOUT="60s",
                            MIN_UPLOAD_RATE="0")
        self.check(daemon, "idle", b"")
        self.check(daemon, "reading", b"G")
        self.check(daemon, "reading", b"GET / HTTP/1.1\r\nHost: x\r\nX-Cut: ")
        self.check(daemon, "reading", post_bytes(b'{"data": 1}')[:-1])
        self.check(daemon, "reading", post_bytes(b"[" + b"0," * 10000)[:-1])
        self.check(daemon, "reading", b"POST / HTTP/1.1\r\nHost: x\r\n"
                   b"Transfer-Encoding: chunked\r\n\r\n5\r\n[1,2")
        self.check(daemon, "lingering", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n")
        self.check(daemon, "writing", get_bytes("/metrics?format=prometheus") * 300, rcvbuf=4096)
        busy, = self.occupy(daemon, 1, "/s")
        self.check_working(daemon, get_bytes("/s"))
        busy.close()
        busy, = self.occupy(daemon, 1, "/s")
        self.check_working(daemon, get_bytes("/s") + get_bytes() * 3)
        busy.close()
        metrics = self.check_after(daemon)
        reasons = metrics["connections_closed"]
        self.assertGreaterEqual(reasons["client-left"], 2 * self.COUNT)  # with a job
        self.assertGreaterEqual(reasons["client-reset"], 5 * self.COUNT)

    def check_working(self, daemon, request):
        clients = self.crowd(daemon, request)
        self.eventually(lambda: daemon.metrics()["queue_depth"] >= self.COUNT - 1, "a long queue")
        for client in clients:
            client.reset()
        self.eventually(lambda: daemon.metrics()["queue_depth"] == 0, "an empty queue")

    def test_of_running_jobs(self):
        daemon = self.start(LOOPS=2, WORKERS=20, HANDLERS="/=echo /s=sleep:10s")
        for client in self.occupy(daemon, 20, "/s"):
            client.reset()
        self.assertEqual(self.check_after(daemon)["handlers"][1]["cancelled"], 20)

    def test_storms_of_all_of_them(self):
        """At any moment: as soon as they have sent, and some of it was read."""
        daemon = self.start(LOOPS=2, WORKERS=2, HANDLERS="/=echo /s=sleep:5ms", QUEUE_SIZE=50)
        watcher = Watcher(self, daemon, get_bytes())
        openings = (b"G", b"GET / HTTP/1.1\r\nHost: x\r\n", get_bytes(), get_bytes("/s"),
                    post_bytes(b"[1]")[:-1], post_bytes(b'{"data":"' + b"x" * 70000 + b'"}'),
                    get_bytes() * 20 + get_bytes("/s") * 20, b"BAD\r\n\r\n")
        attacks = self.attacks(daemon, {
            str(number): dict(count=scaled(1200), opening=opening, again=False, hold=False,
                              reset=True) for number, opening in enumerate(openings)})
        for count in attacks.wait().values():
            self.assertGreater(count["ended"].get("left", [0])[0], 0, count)
        self.assert_undisturbed(watcher)
        self.check_after(daemon)


class HalfClosed(FloodCase):
    COUNT = scaled(400)

    def crowd(self, daemon, request):
        clients = [self.client(daemon) for _ in range(self.COUNT)]
        for client in clients:
            client.send(request)
            client.sock.shutdown(socket.SHUT_WR)
        return clients

    def test_cancel_takes_them_out_of_the_queue(self):
        daemon = self.start(LOOPS=2, WORKERS=1, HANDLERS="/=echo /s=sleep:10s", HALF_CLOSE="cancel")
        busy, = self.occupy(daemon, 1, "/s")
        for client in self.crowd(daemon, get_bytes("/s")):
            self.assertTrue(client.at_end())
        busy.close()
        metrics = self.check_after(daemon)
        self.assertEqual(metrics["handlers"][1]["cancelled"], self.COUNT + 1)
        self.assertEqual(metrics["handlers"][1]["ok"], 0)

    def test_serve_answers_each(self):
        daemon = self.start(LOOPS=2, WORKERS=2, HANDLERS="/=echo /s=sleep:2ms", HALF_CLOSE="serve")
        for client in self.crowd(daemon, get_bytes("/s") + get_bytes() + get_bytes("/s")):
            for _ in range(3):
                self.assertEqual(client.read_reply().status, 200)
            self.assertTrue(client.at_end())
            client.close()
        self.assertEqual(self.check_after(daemon)["handlers"][1]["ok"], 2 * self.COUNT)

    def test_in_the_middle_of_a_request_there_is_nothing_to_answer(self):
        for mode in ("cancel", "serve"):
            daemon = self.start(LOOPS=2, WORKERS=1, HALF_CLOSE=mode)
            parts = (b"G", b"GET / HTTP/1.1\r\n", post_bytes(b"[1]")[:-1],
                     post_bytes(b"0" * 90000)[:-1])
            for part in parts:
                for client in self.crowd(daemon, part):
                    self.assertTrue(client.at_end())
                    client.close()
            metrics = self.check_after(daemon)
            self.assertEqual(metrics["connections_closed"]["request-truncated"],
                             len(parts) * self.COUNT)


class PipeliningWithoutReading(FloodCase):
    COUNT = 10 if SLOW else 60
    EACH = 512 * KIB  # unsent replies, and requests that wait behind them

    def flood(self, unit):
        daemon = self.start(LOOPS=2, WORKERS=2, WRITE_TIMEOUT="60s", HANDLERS="/=echo")
        watcher = Watcher(self, daemon)
        before = daemon.resident_bytes()
        attack = self.attack(daemon, self.COUNT, drip=unit, step=65536, interval=0.001,
                             reads=False, rcvbuf=4096, again=False).wait_open()
        self.eventually(lambda: daemon.metrics()["connections"]["writing"] == self.COUNT,
                        "all of them to be stuck")
        received = daemon.metrics()["received_bytes"]
        time.sleep(1)
        # It has stopped reading what it cannot answer.
        self.assertLess(daemon.metrics()["received_bytes"] - received, MIB)
        grown = daemon.resident_bytes() - before
        if not SLOW:  # a sanitizer keeps what was freed
            self.assertLess(grown, self.COUNT * self.EACH + 4 * MIB)
        self.assert_undisturbed(watcher)
        attack.stop()
        self.check_after(daemon)

    def test_of_small_replies(self):
        self.flood(get_bytes())

    def test_of_jobs(self):
        self.flood(post_bytes(b'{"data":"' + b"x" * 500 + b'"}'))

    def test_of_large_replies(self):
        self.flood(get_bytes("/metrics?format=prometheus"))


if __name__ == "__main__":
    harness.main()
