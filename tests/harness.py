"""What every test in Python needs: a daemon of its own, and raw sockets.

A test starts the real binary ($HCSD) on a port that the kernel picks, talks to
it over loopback, and stops it again. A daemon that does not end with status 0,
or whose sanitizer found something, fails the test that used it. A test that
fails prints the settings and the log of each daemon that it started.
"""

import collections
import faulthandler
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

HCSD = os.environ.get("HCSD", os.path.join(os.path.dirname(__file__), "../build/hcsd"))

# A module whose jobs run until a test lets them end.
GATE = os.environ.get("HCSD_GATE", os.path.join(os.path.dirname(HCSD), "tests/gate.so"))

# release, debug, asan or tsan: what is slow under a sanitizer may ask.
BUILD = os.environ.get("HCSD_BUILD", "release")
SLOW = BUILD in ("asan", "tsan")

# Nor is a coverage build optimised, and its threads contend for counters at
# every line. Crowds are smaller there, but nothing is left out.
FEW = SLOW or BUILD == "coverage"

# How long a test waits for what must come. It is long, since a busy machine may
# be slow, and it is not what a test measures: only a failure waits that long.
PATIENCE = 60.0 * (3 if FEW else 1)

# How late something may come that has to come at a set time. It tells what comes
# from what does not, and measures nothing. What would end it otherwise, such as
# another timeout, has to lie beyond.
LATE = 20.0 * (3 if FEW else 1)

# How much of a daemon's log a failed test prints.
LOG_HEAD = 8 * 1024
LOG_TAIL = 32 * 1024

# The daemons that the running test started, the latest ones.
watched = collections.deque(maxlen=12)


def watch(daemon):
    """A test that fails prints what describe() says of this daemon."""
    watched.append(daemon)


def shorten(text):
    if len(text) <= LOG_HEAD + LOG_TAIL:
        return text
    return "%s\n... %d characters left out ...\n%s" % (
        text[:LOG_HEAD], len(text) - LOG_HEAD - LOG_TAIL, text[-LOG_TAIL:])


def describe(daemon):
    """Command, settings, end and log of a daemon."""
    status = daemon.process.poll()
    return "---- daemon %d, %s\ncommand: %s\nsettings: %s\nstandard error:\n%s\n" % (
        daemon.process.pid, "still runs" if status is None else "exit status %d" % status,
        " ".join(daemon.command), json.dumps(daemon.settings), shorten(daemon.output()))


def describe_watched():
    return "".join(describe(daemon) for daemon in list(watched))


def forget_ended():
    """Those that still run belong to the whole class of tests."""
    running = [daemon for daemon in watched if daemon.process.poll() is None]
    watched.clear()
    watched.extend(running)


def print_before_timeout():
    """ctest kills a test that takes too long ($HCSD_TEST_TIMEOUT seconds). Shortly
    before, the test prints where each of its threads is, and the daemons."""
    limit = float(os.environ.get("HCSD_TEST_TIMEOUT") or 0)
    if limit <= 0:
        return

    def show():
        sys.stderr.write("\nStill running after %d s.\n" % (limit * 0.95))
        faulthandler.dump_traceback(all_threads=True)
        sys.stderr.write(describe_watched())
        sys.stderr.flush()

    timer = threading.Timer(limit * 0.95, show)
    timer.daemon = True
    timer.start()


print_before_timeout()


# Descriptors are moved, and $LISTEN_PID is set, in the process that becomes the
# daemon.
AS_SERVICE_MANAGER = """
import fcntl, os, sys
fds = [int(fd) for fd in sys.argv[1].split(",")]
end = 3 + len(fds)
fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, end) for fd in fds]
for number, fd in enumerate(fds, 3):
    os.dup2(fd, number)
os.closerange(end, 1 << 20)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def as_service_manager(command, sockets):
    return [sys.executable, "-c", AS_SERVICE_MANAGER,
            ",".join(str(sock.fileno()) for sock in sockets), *command]


class Daemon:
    """One hcsd. Settings are keyword arguments: Daemon(QUEUE_SIZE=3).

    max_fds: the limit on open files that it starts with, soft and hard. program:
    another one than $HCSD. inherit: sockets that it gets as descriptors 3, 4,
    ..., as a service manager hands them over (sd_listen_fds(3)); env may say
    more, or something else."""

    def __init__(self, args=(), env=None, max_fds=None, program=HCSD, inherit=(), **settings):
        self.settings = {"PORT": "0", "ADDRESS": "127.0.0.1", "LOG_FORMAT": "json"}
        self.settings.update({name: str(value) for name, value in settings.items()})
        environment = {k: v for k, v in os.environ.items() if k not in SETTING_NAMES}
        if "PRIVATE_FD_TABLES" in os.environ:
            environment["PRIVATE_FD_TABLES"] = os.environ["PRIVATE_FD_TABLES"]
        environment.update(self.settings)
        if inherit:
            environment["LISTEN_FDS"] = str(len(inherit))
        environment.update(env or {})
        self.log = tempfile.TemporaryFile(mode="w+")
        self.said = None
        command = [program, *args]
        self.command = command
        if inherit:
            command = as_service_manager(command, inherit)
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stderr=self.log,
            pass_fds=[sock.fileno() for sock in inherit],
            preexec_fn=max_fds and (lambda: resource.setrlimit(
                resource.RLIMIT_NOFILE, (max_fds, max_fds))))
        self.pid = self.process.pid
        self.port = None
        self.status = None
        watch(self)

    def wait_ready(self):
        """Waits for the line that says where it listens; gives self."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = re.search(r'"address":"[^"]*:(\d+)"', self.output())
            if found:
                self.port = int(found.group(1))
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError("did not start: " + self.output())

    def output(self):
        """All it has said on standard error so far."""
        if self.said is not None:
            return self.said
        self.log.flush()
        return os.pread(self.log.fileno(), 1 << 24, 0).decode(errors="replace")

    def close_log(self):
        """Closes the file; output() still gives what was in it."""
        self.said = self.output()
        self.log.close()

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, timeout=None):
        """Waits for its end; gives the exit status."""
        self.status = self.process.wait(timeout or PATIENCE)
        return self.status

    def stop(self):
        """Ends it as a service manager does; gives the exit status."""
        if self.process.poll() is None:
            self.signal()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("did not stop: " + self.output())
        self.status = self.process.returncode
        return self.status

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def connect(self, timeout=None, source=None, rcvbuf=None):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(timeout or PATIENCE)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if source:
            sock.bind((source, 0))
        sock.connect(("127.0.0.1", self.port))
        return sock

    def client(self, **kwargs):
        return Client(self.connect(**kwargs))

    def get(self, path, headers=""):
        """One request on a connection of its own; gives the Reply."""
        with self.client() as client:
            return client.ask("GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, headers))

    def post(self, body, path="/", headers=""):
        with self.client() as client:
            return client.post(body, path, headers)

    def metrics(self):
        return self.get("/metrics").json()

    def start_line(self):
        """The fields of the line that says it is listening (JSON logs)."""
        lines = [json.loads(line) for line in self.output().splitlines()
                 if line.startswith("{")]
        return next(line for line in lines if line["msg"] == "listening")

    def threads(self):
        """For each thread its name and its voluntary context switches."""
        found = {}
        for task in os.listdir("/proc/%d/task" % self.pid):
            with open("/proc/%d/task/%s/status" % (self.pid, task)) as status:
                fields = dict(line.split(":", 1) for line in status if ":" in line)
            found[int(task)] = (fields["Name"].strip(),
                                int(fields["voluntary_ctxt_switches"]))
        return found

    def cpu_seconds(self):
        """What all its threads have used so far, in user and kernel mode."""
        with open("/proc/%d/stat" % self.pid) as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        with open("/proc/%d/statm" % self.pid) as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class Pace:
    """Sleeps, and keeps the longest time between two of its ends."""

    def __init__(self):
        self.last = time.monotonic()
        self.longest = 0.0

    def __call__(self, seconds):
        time.sleep(seconds)
        self.mark()

    def mark(self):
        now = time.monotonic()
        self.longest = max(self.longest, now - self.last)
        self.last = now


class Reply:
    def __init__(self, status, headers, body, version):
        self.status = status
        self.headers = headers  # lower-case names; a repeated one is joined
        self.body = body
        self.version = version

    def json(self):
        return json.loads(self.body)

    def problem(self):
        """The last part of a problem document's type: "queue-full"."""
        assert self.headers["content-type"] == "application/problem+json", self
        return self.json()["type"].rsplit("/", 1)[1]

    def closes(self):
        return self.headers.get("connection", "").lower() == "close"

    def __repr__(self):
        return "Reply(%r, %r, %r)" % (self.status, self.headers, self.body)


class Client:
    """A connection that reads replies one by one."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def _more(self):
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def read_reply(self, method="GET"):
        """The next reply, interim ones (100) too; None at the end of the
        connection before its first byte."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                assert self.buffer == b"", "cut reply: %r" % self.buffer
                return None
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        version, status = lines[0].split(" ")[:2]
        headers = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            name = name.lower()
            value = value.strip()
            headers[name] = headers[name] + ", " + value if name in headers else value
        body = b""
        status = int(status)
        if method != "HEAD" and status >= 200 and status not in (204, 304):
            length = int(headers["content-length"])
            while len(self.buffer) < length:
                assert self._more(), "cut body"
            body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Reply(status, headers, body, version)

    def ask(self, request):
        self.send(request)
        return self.read_reply(request.split(" ", 1)[0] if isinstance(request, str) else "GET")

    def post(self, body, path="/", headers=""):
        body = body.encode() if isinstance(body, str) else body
        self.send(post_bytes(body, path, headers))
        return self.read_reply()

    def at_end(self):
        """True when the peer has closed in order, with nothing left to read."""
        return self.buffer == b"" and self.sock.recv(1) == b""

    def readable(self, seconds=0.0):
        """True when there is something to read, or the end, within seconds."""
        return self.buffer != b"" or bool(select.select([self.sock], [], [], seconds)[0])

    def reset(self):
        """Leaves as a client that crashed: the peer gets a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def free_port():
    """For a server that cannot be told to pick one. No connection gets it from the
    kernel meanwhile."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first = int(file.read().split()[0])
    while True:
        port = random.randrange(min(10000, first // 2), first)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass  # somebody's


def post_bytes(body, path="/", headers=""):
    body = body.encode() if isinstance(body, str) else body
    return ("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            "Content-Length: %d\r\n%s\r\n" % (path, len(body), headers)).encode() + body


def get_bytes(path="/health", headers=""):
    return ("GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, headers)).encode()


class Sender(threading.Thread):
    """Sends; join gives the error that it met, or None."""

    def __init__(self, client, data):
        super().__init__()
        self.client = client
        self.data = data
        self.error = None

    def run(self):
        try:
            self.client.send(self.data)
        except OSError as error:
            self.error = error

    def join(self, timeout=None):
        super().join(timeout)
        return self.error


class Meter:
    """Says how many bytes the daemon has read from its clients since the meter
    was made, those of the meter apart."""

    def __init__(self, daemon):
        self.client = daemon.client()
        self.asked = 0
        self.base = 0
        self.base = self.read()

    def read(self):
        self.asked += 1
        counted = self.client.ask(get_bytes("/metrics")).json()["received_bytes"]
        return counted - self.asked * len(get_bytes("/metrics")) - self.base

    def close(self):
        self.client.close()


def setting_names():
    text = subprocess.run([HCSD, "--print-config"], capture_output=True, text=True,
                          env={"PATH": os.environ.get("PATH", "")}).stdout
    return {line.split("=", 1)[0] for line in text.splitlines() if "=" in line}


SETTING_NAMES = setting_names()


class TestCase(unittest.TestCase):
    """Tests that stop what they started, and look at how it ended."""

    def run(self, result=None):
        """Adds to the report of a failure what its daemons were told and said."""
        if result is None:
            result = self.defaultTestResult()
        before = len(result.failures), len(result.errors)
        super().run(result)
        for found, count in zip((result.failures, result.errors), before):
            if len(found) > count:
                test, report = found[-1]
                found[-1] = (test, report + "\n" + describe_watched())
        forget_ended()
        return result

    def start(self, **settings):
        daemon = Daemon(**settings).wait_ready()
        self.addCleanup(self._end, daemon)
        return daemon

    def _end(self, daemon):
        if daemon.status is None:
            self.assertEqual(daemon.stop(), 0, daemon.output())
        self.assertNotIn("Sanitizer", daemon.output())
        self.assertNotIn("runtime error:", daemon.output())
        self.assertNotIn("Assertion", daemon.output())
        daemon.close_log()

    def client(self, daemon, **kwargs):
        """A client that is closed before the daemon is stopped."""
        client = daemon.client(**kwargs)
        self.addCleanup(client.close)
        return client

    def send_aside(self, client, data):
        """Sends from a thread of its own, so that the test can read, or not.
        Its join tells what went wrong with sending, which is up to the test."""
        thread = Sender(client, data)
        thread.start()
        self.addCleanup(thread.join)
        return thread

    def gate(self):
        """A route for HANDLERS whose jobs run until the function that comes with
        it is called."""
        folder = tempfile.mkdtemp(prefix="hcsd-gate-")
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "open")

        def open_gate():
            with open(path, "w"):
                pass
        # Blanks would end the entry of HANDLERS.
        return "module:%s?file=%s" % (urllib.parse.quote(GATE), urllib.parse.quote(path)), open_gate

    def occupy(self, daemon, count, path="/", body=b""):
        """Sends that many jobs, which should take long, waits until workers run
        them, and gives their clients."""
        clients = [self.client(daemon) for _ in range(count)]
        for client in clients:
            client.send(post_bytes(body, path) if body else get_bytes(path))
        self.eventually(lambda: daemon.metrics()["workers_busy"] >= count, "busy workers")
        return clients

    def at_pace(self, limit, attempt):
        """Runs attempt(pace), which does something every now and then, and sleeps
        between by calling pace. It may fail for want of time when the machine let
        limit seconds pass between two of these calls; then it is run again."""
        for _ in range(30):
            pace = Pace()
            try:
                return attempt(pace)
            except (AssertionError, OSError):
                pace.mark()
                if pace.longest < limit:
                    raise
        self.fail("the machine was never quick enough")

    def eventually(self, look, what="condition", timeout=None):
        """Waits until look() gives something true, and gives it."""
        end = time.monotonic() + (timeout or PATIENCE)
        while True:
            got = look()
            if got:
                return got
            if time.monotonic() > end:
                self.fail("waited in vain for %s" % what)
            time.sleep(0.02)


def main():
    unittest.main(verbosity=2)
