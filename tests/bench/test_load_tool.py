# ctest: timeout=120 slow
"""hcsd-load accounts for every request, whatever the server does."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from loading import LOAD, REPLY, TestCase, always, read_request, reply, reset


def after_request(act):
    def answer(sock, _):
        read_request(sock)
        act(sock)
    return answer


class Outcomes(TestCase):
    """One request on one connection, and what it is called."""

    def ends_as(self, answer, outcomes, errors, *options, status=1, statuses=None):
        summary = self.load("burst", "-c", 1, *options, self.serve(answer).url, status=status)
        self.assertEqual(self.outcomes(summary), outcomes)
        self.assertEqual(summary["errors"], errors)
        if statuses is not None:
            self.assertEqual(summary["status"], statuses)
        return summary

    def test_a_reply_is_an_answer_whatever_its_status(self):
        for code in (200, 204, 302, 400, 404, 422, 500, 504):
            self.ends_as(always(reply(code).replace(b"2\r\n\r\n{}", b"0\r\n\r\n")),
                         {"answered": 1}, {}, status=0, statuses={str(code): 1})

    def test_not_now_is_a_refusal(self):
        for code in (429, 503):
            self.ends_as(always(reply(code)), {"refused": 1}, {}, status=0,
                         statuses={str(code): 1})

    def test_an_interim_reply_is_none(self):
        self.ends_as(always(b"HTTP/1.1 100 Continue\r\n\r\n" + REPLY), {"answered": 1}, {},
                     status=0, statuses={"200": 1})

    def test_chunks_are_read_to_their_end(self):
        chunked = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                   b"2\r\n{}\r\n0\r\n\r\n")
        self.ends_as(always(chunked), {"answered": 1}, {}, status=0)
        self.ends_as(after_request(lambda sock: sock.sendall(chunked[:-2])), {"failed": 1},
                     {"cut-reply": 1})

    def test_a_reply_may_last_until_the_end(self):
        self.ends_as(after_request(lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n{}")),
                     {"answered": 1}, {}, status=0)

    def test_a_reply_in_pieces(self):
        def answer(sock, _):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            read_request(sock)
            for byte in REPLY:
                sock.sendall(bytes([byte]))
        self.ends_as(answer, {"answered": 1}, {}, status=0)

    def test_a_close_without_a_word_loses_it(self):
        self.ends_as(after_request(lambda sock: None), {"lost": 1}, {"closed": 1})

    def test_a_reset_without_a_word_loses_it(self):
        self.ends_as(after_request(reset), {"lost": 1}, {"reset": 1})

    def test_silence_loses_it(self):
        self.ends_as(after_request(read_request), {"lost": 1}, {"timeout": 1},
                     "--timeout", "300ms")

    def test_half_a_reply_is_a_failure(self):
        for length in (1, 20, len(REPLY) - 1):
            self.ends_as(after_request(lambda sock: sock.sendall(REPLY[:length])),
                         {"failed": 1}, {"cut-reply": 1})

    def test_what_is_no_http_is_a_failure(self):
        for noise in (b"hello", b"\0" * 100, b"HTTP/1.1 2x0 OK\r\n\r\n",
                      b"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\n{}"):
            self.ends_as(after_request(lambda sock: sock.sendall(noise)),
                         {"failed": 1}, {"bad-reply": 1})

    def test_more_than_the_reply_is_noticed(self):
        self.ends_as(always(REPLY + b"HTTP"), {"answered": 1}, {"unasked-bytes": 1})
        self.ends_as(always(REPLY + REPLY), {"answered": 1}, {"unasked-bytes": 1})

    def test_nobody_listens(self):
        with socket.socket() as port_of_nobody:
            port_of_nobody.bind(("127.0.0.1", 0))
            url = "http://127.0.0.1:%d/" % port_of_nobody.getsockname()[1]
            summary = self.load("hold", "-c", 5, "-d", "10ms", url, status=1)
        self.assertEqual(self.outcomes(summary), {"failed": 5})
        self.assertEqual(summary["errors"], {"connect-refused": 5})
        self.assertEqual(summary["connections"]["failed"], 5)

    def test_a_refusal_may_overtake_the_request(self):
        """As a 413 does: it is read, though the rest cannot be sent."""
        def answer(sock, _):
            sock.recv(1000)
            sock.sendall(reply(413))
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
        self.ends_as(answer, {"answered": 1}, {}, "--body", "x" * 100000, status=0,
                     statuses={"413": 1})

    def test_an_interim_reply_does_not_end_the_sending(self):
        def answer(sock, _):
            left = (20 << 20) - len(sock.recv(1000))
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            while left > 0:
                left -= len(sock.recv(1 << 20))
            sock.sendall(REPLY)
            while sock.recv(1 << 20):  # that was the header section's length
                pass
        self.ends_as(answer, {"answered": 1}, {}, "--body-file", self.large_file(), status=0)

    def test_timeout_counts_from_the_last_byte(self):
        def answer(sock, _):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            read_request(sock)
            for byte in REPLY:
                sock.sendall(bytes([byte]))
                time.sleep(3 / len(REPLY))
        self.ends_as(answer, {"answered": 1}, {}, "--timeout", "2s", status=0)

    def test_a_reply_to_head_has_no_body(self):
        with tempfile.NamedTemporaryFile() as request:
            request.write(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
            request.flush()
            self.ends_as(always(REPLY[:-2]), {"answered": 1}, {}, "--request", request.name,
                         status=0)

    def test_a_server_that_stops_reading(self):
        def answer(sock, _):
            time.sleep(2)
        self.ends_as(answer, {"failed": 1}, {"timeout": 1}, "--timeout", "300ms",
                     "--header", "X: " + "x" * 100000, "--header", "Y: " + "y" * 100000,
                     "--body-file", self.large_file())

    def large_file(self):
        file = tempfile.NamedTemporaryFile()
        self.addCleanup(file.close)
        file.write(b"x" * (20 << 20))
        file.flush()
        return file.name


class Shapes(TestCase):
    def test_a_round_follows_the_round_before(self):
        server = self.serve(always(REPLY))
        summary = self.load("burst", "-c", 7, "-n", 5, "--processes", 3, server.url)
        self.assertEqual(self.outcomes(summary), {"answered": 35})
        self.assertEqual(summary["connections"]["opened"], 7)
        self.assertEqual(len(server.peers), 7)

    def test_what_a_server_closes_is_opened_for_the_next_round(self):
        server = self.serve(always(REPLY.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
        summary = self.load("burst", "-c", 3, "-n", 4, server.url)
        self.assertEqual(self.outcomes(summary), {"answered": 12})
        self.assertEqual(len(server.peers), 12)

    def test_requests_come_from_as_many_addresses_as_asked_for(self):
        server = self.serve(always(REPLY))
        self.load("burst", "-c", 10, "--processes", 2, "--sources", 4, server.url)
        self.assertEqual({peer[0] for peer in server.peers},
                         {"127.0.0.%d" % i for i in range(2, 6)})

    def test_a_stall_counts_for_each_request_that_was_due(self):
        """A client that waits for the answer before it thinks of the next
        request would see one slow one."""
        def answer(sock, _):
            number = 0
            while read_request(sock):
                number += 1
                if number == 50:
                    time.sleep(1)
                sock.sendall(REPLY)
        summary = self.load("rate", "-c", 1, "-r", 100, "-d", "2s", self.serve(answer).url)
        self.assertEqual(self.outcomes(summary), {"answered": 200})
        # Some hundred were due during the stall and waited for half of it in
        # the middle: a quarter of all for more than half a second.
        self.assertGreater(summary["latency_us"]["p90"], 500000)
        self.assertGreater(summary["latency_us"]["max"], 900000)

    def test_what_could_not_be_sent_in_time_is_told(self):
        """Of a server that never answers a connection's second request."""
        def answer(sock, _):
            read_request(sock)
            sock.sendall(REPLY)
            time.sleep(5)
        summary = self.load("rate", "-c", 1, "-r", 50, "-d", "1s", "--timeout", "500ms",
                            self.serve(answer).url, status=1)
        requests = summary["requests"]
        self.assertEqual(requests["due"], 50)
        self.assertGreater(summary["errors"]["not-sent"], 10)
        self.assertEqual(requests["failed"], summary["errors"]["not-sent"])
        self.assertEqual(requests["lost"], summary["errors"]["timeout"])

    def test_a_server_that_only_accepts_is_not_stormed(self):
        server = self.serve(lambda sock, _: None)
        summary = self.load("rate", "-c", 4, "-r", 10, "-d", "1s", "--timeout", "300ms",
                            server.url, status=1)
        self.assertLess(len(server.peers), 100)
        self.assertEqual(summary["requests"]["due"], 10)

    def test_a_backlog_that_is_full(self):
        """Nobody accepts: opening ends all the same, and is counted right."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            url = "http://127.0.0.1:%d/" % listener.getsockname()[1]
            fill = [socket.socket() for _ in range(8)]
            for sock in fill:
                sock.setblocking(False)
                sock.connect_ex(listener.getsockname())
            time.sleep(0.1)
            for shape in ("rate", "trickle"):
                summary = self.load(shape, "-c", 8, "--in-flight", 3, "-d", "1s",
                                    "--timeout", "300ms", url, status=1)
                self.assertLessEqual(summary["connections"]["open"], 8)
                self.assertGreater(summary["errors"]["connect-timeout"], 0)
            for sock in fill:
                sock.close()

    def test_a_rate_lasts_as_long_as_it_is_told(self):
        summary = self.load("rate", "-c", 1, "-r", 2, "-d", "1s", self.serve(always(REPLY)).url)
        self.assertEqual(self.outcomes(summary), {"answered": 2})
        self.assertGreaterEqual(summary["seconds"], 0.99)

    def test_a_churn_closes_what_the_server_leaves_open(self):
        closing = REPLY.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        summary = self.load("churn", "-c", 2, "-r", 10, "-d", "1s", self.serve(always(closing)).url)
        self.assertEqual(self.outcomes(summary), {"answered": 10})
        # It does not stay for the last ones.
        self.assertGreaterEqual(summary["errors"]["left-open"], 8)

    def test_each_request_of_a_churn_has_its_connection(self):
        def answer(sock, _):
            assert b"Connection: close" in read_request(sock)
            sock.sendall(REPLY)
        server = self.serve(answer)
        summary = self.load("churn", "-c", 3, "-d", "500ms", server.url)
        requests = summary["requests"]
        self.assertGreater(requests["due"], 3)
        self.assertEqual(requests["answered"], requests["due"])
        self.assertEqual(summary["connections"]["opened"], requests["due"])
        self.assertLessEqual(summary["connections"]["most"], 3)
        self.assertEqual(len(server.peers), requests["due"])

    def test_a_churn_at_a_rate(self):
        summary = self.load("churn", "-c", 10, "-r", 20, "-d", "1s",
                            self.serve(always(REPLY)).url)
        self.assertEqual(self.outcomes(summary), {"answered": 20})

    def test_a_trickle_sends_and_reads_piece_by_piece(self):
        pieces = []

        def answer(sock, number):
            data = b""
            while not data.endswith(b"\r\n\r\n"):
                more = sock.recv(65536)
                pieces.append((number, len(more)))
                data += more
            sock.sendall(REPLY)
            sock.recv(1)
        summary = self.load("trickle", "-c", 4, "--interval", "20ms", "--step", 5,
                            self.serve(answer).url)
        self.assertEqual(self.outcomes(summary), {"answered": 4})
        counts = sorted(sum(1 for number, _ in pieces if number == one)
                        for one in range(1, 5))
        self.assertEqual(counts[:2], [1, 1])  # those that read slowly
        self.assertGreater(counts[2], 3)

    def test_a_trickle_to_a_server_that_does_not_read(self):
        with tempfile.NamedTemporaryFile() as body:
            body.write(b"x" * (20 << 20))
            body.flush()
            summary = self.load("trickle", "-c", 1, "--interval", "1ms", "--step", 65536,
                                "--timeout", "500ms", "--body-file", body.name,
                                self.serve(lambda sock, _: time.sleep(10)).url, status=1)
        self.assertEqual(self.outcomes(summary), {"failed": 1})
        self.assertEqual(summary["errors"], {"timeout": 1})

    def test_a_trickle_that_is_cut_is_unfinished(self):
        summary = self.load("trickle", "-c", 2, "-d", "200ms", "--step", 1,
                            self.serve(always(REPLY)).url, status=1)
        self.assertEqual(self.outcomes(summary), {"failed": 2})
        self.assertEqual(summary["errors"], {"unfinished": 2})

    def test_a_held_connection_that_the_server_closes_is_counted(self):
        def answer(sock, _):
            read_request(sock)
            sock.sendall(REPLY)
            time.sleep(0.5)
        summary = self.load("hold", "-c", 3, "-d", "2s", self.serve(answer).url)
        self.assertEqual(self.outcomes(summary), {"answered": 3})
        self.assertEqual(summary["connections"]["closed_by_server"], 3)
        self.assertEqual(summary["connections"]["open"], 0)

    def test_requests_on_held_connections_go_round(self):
        asked = []

        def answer(sock, number):
            while read_request(sock):
                asked.append(number)
                sock.sendall(REPLY)
        summary = self.load("hold", "-c", 20, "-d", "3s", "--held-rate", 20,
                            self.serve(answer).url)
        self.assertGreaterEqual(self.outcomes(summary)["answered"], 30)
        self.assertEqual(len({number for number in asked[20:]}), 20)

    def test_an_interrupted_one_tells_what_it_has(self):
        server = self.serve(always(REPLY))
        for shape in ("rate", "hold", "churn"):
            before = len(server.peers)
            process = subprocess.Popen(
                [LOAD, shape, "-c", "2", "-d", "100s", "--json", server.url],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self.eventually(lambda: len(server.peers) > before, "a connection")
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=harness.PATIENCE)
            self.assertEqual(process.returncode, 0, output)
            self.assertIn('"adds_up":true', output)

    def await_progress(self, process, what):
        while what not in (line := process.stderr.readline()):
            self.assertNotEqual(line, "", "it ended without %r" % what)

    def interrupted(self, server, after, *arguments, stdin=subprocess.DEVNULL):
        """Its last summary, and how long it took to end. It is interrupted so
        long after it has begun."""
        arguments = *arguments, server.url
        process = subprocess.Popen([LOAD, *arguments, "--json", "--quiet"], stdin=stdin,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.eventually(lambda: server.peers, "a connection")
        time.sleep(after)
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        output, errors = process.communicate(timeout=harness.PATIENCE)
        self.assertEqual(errors, "")
        summary = json.loads(output.splitlines()[-1])
        self.check_sum(summary)
        return summary, time.monotonic() - begun

    def test_an_interrupted_one_sends_nothing_more(self):
        def answer(sock, _):
            while read_request(sock):
                time.sleep(0.2)
                sock.sendall(REPLY)
        summary, seconds = self.interrupted(
            self.serve(answer), 1, "rate", "-c", "1", "-r", "50", "--timeout", "20s")
        self.assertGreater(summary["errors"]["not-sent"], 20)
        self.assertLess(summary["requests"]["sent"], 10)
        self.assertLess(seconds, harness.LATE)

    def test_an_interrupted_hold_awaits_its_answers(self):
        def answer(sock, _):
            read_request(sock)
            sock.sendall(REPLY)
            while read_request(sock):
                time.sleep(1)
                sock.sendall(REPLY)
        summary, _ = self.interrupted(
            self.serve(answer), 1.2, "hold", "-c", "4", "--processes", "4", "-d", "10s",
            "--held-rate", "4")
        self.assertEqual(summary["requests"]["answered"], summary["requests"]["due"])

    def test_without_standard_streams(self):
        """What it opens is not taken for them."""
        server = self.serve(always(REPLY))
        done = subprocess.run(
            ["sh", "-c", 'exec "$0" hold -c 2 --until-eof --json --quiet "$1" <&- 2>&-',
             LOAD, server.url], stdout=subprocess.PIPE, text=True, timeout=harness.PATIENCE)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(len(done.stdout.splitlines()), 2)

    def test_a_child_that_is_killed_is_missed(self):
        process = subprocess.Popen(
            [LOAD, "hold", "-c", "4", "--processes", "2", "-d", "100s",
             self.serve(always(REPLY)).url], stderr=subprocess.PIPE, text=True)
        self.await_progress(process, "open 4")
        with open("/proc/%d/task/%d/children" % (process.pid, process.pid)) as children:
            os.kill(int(children.read().split()[0]), signal.SIGKILL)
        self.assertIn("ended early", process.communicate(timeout=harness.PATIENCE)[1])
        self.assertEqual(process.returncode, 1)

    def test_a_second_interrupt_waits_for_nothing(self):
        server = self.serve(after_request(read_request))
        process = subprocess.Popen([LOAD, "burst", "-c", "2", server.url],
                                   stderr=subprocess.PIPE, text=True)
        self.await_progress(process, "due 2")
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)  # nothing happens, since the answers may still come
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        self.assertIn("interrupted", process.communicate(timeout=harness.PATIENCE)[1])
        self.assertEqual(process.returncode, 1)

    def test_children_end_with_their_parent(self):
        held = threading.Semaphore(0)

        def answer(sock, _):
            read_request(sock)
            sock.sendall(REPLY)
            sock.recv(1)
            held.release()
        process = subprocess.Popen(
            [LOAD, "hold", "-c", "4", "--processes", "2", "-d", "100s",
             self.serve(answer).url], stderr=subprocess.PIPE, text=True)
        self.await_progress(process, "open 4")
        process.kill()
        process.wait()
        process.stderr.close()
        for _ in range(4):
            self.assertTrue(held.acquire(timeout=harness.PATIENCE))


class CommandLine(unittest.TestCase):
    def run_load(self, *arguments):
        return subprocess.run([LOAD, *arguments], capture_output=True, text=True,
                              timeout=harness.PATIENCE, stdin=subprocess.DEVNULL)

    def test_what_it_does_not_understand_it_names(self):
        url = "http://127.0.0.1:1/"
        for arguments, named in (
                ([], "a shape and a URL"),
                (["hold"], "a shape and a URL"),
                (["storm", url], "storm"),
                (["hold", "ftp://x/"], "ftp://x/"),
                (["hold", "http:///x"], "http:///x"),
                (["hold", "http://[::1/"], "]"),
                (["hold", "http://127.0.0.1:99999/"], "99999"),
                (["hold", "-c", "0", url], "connections"),
                (["hold", "-c", "1x", url], "1x"),
                (["rate", "-r", "-1", url], "rate"),
                (["hold", "-d", "5", url], "duration"),
                (["hold", "-d", "0s", url], "duration"),
                (["trickle", "--interval", "0s", url], "interval"),
                (["rate", "-r", "1e-12", url], "rate"),
                (["hold", "--header", "nothing", url], "nothing"),
                (["hold", "--header", "a: b\r\nc: d", url], "header"),
                (["hold", "--body-file", "/nowhere", url], "/nowhere"),
                (["hold", "--request", "/dev/null", url], "empty"),
                (["hold", "--pid", "99999999", url], "99999999"),
                (["hold", "-c", "10000000", "--processes", "1", url], "processes"),
                (["hold", "--sources", "3", "http://[::1]:1/"], "--sources")):
            done = self.run_load(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(named, done.stderr, arguments)
            self.assertEqual(done.stdout, "", arguments)

    def test_help_is_no_error(self):
        done = self.run_load("--help")
        self.assertEqual(done.returncode, 0)
        for shape in ("hold", "burst", "rate", "churn", "trickle"):
            self.assertIn("  %s" % shape, done.stdout)
        self.assertRegex(self.run_load("--version").stdout, r"^hcsd-load \d")


if __name__ == "__main__":
    harness.main()
