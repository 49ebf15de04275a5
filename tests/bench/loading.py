"""hcsd-load as the tests run it, and servers that answer in any way."""

import json
import os
import socket
import struct
import subprocess
import threading

import harness

LOAD = os.environ.get("HCSD_LOAD", os.path.join(
    os.path.dirname(__file__), "../../build/bench/hcsd-load"))

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def reply(status):
    return REPLY.replace(b"200 OK", b"%d X" % status)


class Server:
    """Listens, and gives each connection to a function of its own thread:
    answer(sock, number)."""

    def __init__(self, answer):
        self.answer = answer
        self.peers = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.port = self.listener.getsockname()[1]
        self.url = "http://127.0.0.1:%d/" % self.port
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                sock, peer = self.listener.accept()
            except OSError:
                return
            self.peers.append(peer)
            threading.Thread(target=self.serve, args=(sock, len(self.peers)),
                             daemon=True).start()

    def serve(self, sock, number):
        with sock:
            try:
                self.answer(sock, number)
            except OSError:
                pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


def read_request(sock):
    """Its header section; b"" at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return b""
        data += more
    return data


def always(*replies):
    """Answers each request of a connection with the next of these, the last
    one again and again."""
    def answer(sock, _):
        at = 0
        while read_request(sock):
            sock.sendall(replies[min(at, len(replies) - 1)])
            at += 1
    return answer


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class TestCase(harness.TestCase):
    def serve(self, answer):
        server = Server(answer)
        self.addCleanup(server.close)
        return server

    def load(self, *arguments, status=0, stdin=None):
        """Runs it; gives its summary, whose sum is right in any case."""
        done = subprocess.run(
            [LOAD, "--json", "--quiet", *map(str, arguments)], timeout=harness.PATIENCE * 4,
            stdin=stdin or subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        summaries = [json.loads(line) for line in done.stdout.splitlines()]
        for summary in summaries:
            self.check_sum(summary)
        return summaries[-1]

    def check_sum(self, summary):
        requests = summary["requests"]
        self.assertTrue(requests["adds_up"])
        self.assertEqual(requests["due"], sum(
            requests[outcome] for outcome in ("answered", "refused", "failed", "lost")))
        self.assertEqual(requests["answered"] + requests["refused"],
                         sum(summary["status"].values()))

    def outcomes(self, summary):
        """Those that are not zero."""
        return {outcome: summary["requests"][outcome]
                for outcome in ("answered", "refused", "failed", "lost")
                if summary["requests"][outcome]}
