"""A daemon in which chosen calls fail, the script that its clients play, and what
must be true of both whatever failed."""

import contextlib
import json
import mmap
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

from harness import (Client, SETTING_NAMES, SLOW, as_service_manager, get_bytes,
                     post_bytes)

# So that the daemon has something to raise.
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(1000, hard), hard))

FAULTY = os.environ.get("HCSD_FAULTY", "")
SHORT = -1

# How long a client waits for a reply, and we for the daemon's end. Well above
# what a run takes, below the daemon's own timeouts: what they end is a hang.
PATIENCE = 30.0 * (3 if SLOW else 1)
DAEMON_TIMEOUT = "%ds" % (4 * PATIENCE)

SETTINGS = {"PORT": "0", "LOOPS": "1", "WORKERS": "1", "LOG_FORMAT": "json",
            "DRAIN_IDLE": "20ms", "READ_TIMEOUT": DAEMON_TIMEOUT,
            "WRITE_TIMEOUT": DAEMON_TIMEOUT, "IDLE_TIMEOUT": DAEMON_TIMEOUT,
            "SHUTDOWN_TIMEOUT": DAEMON_TIMEOUT}
# The last one's KIND is looked for in the folder beside the program.
HANDLERS = "/=echo\n/s=sleep:5ms\n/p=spin:1ms\n/w=wait:1ms?timeout=1m\n/m=mirror\n"


class Wrong(AssertionError):
    """What may not happen, whatever failed."""


class Site:
    def __init__(self, offset, name, calls, struck, live, effect, effects, _):
        self.offset, self.name = offset, name.rstrip(b"\0").decode()
        self.calls, self.struck, self.live = calls, struck, live
        self.effect = effect  # the last one
        self.effects = effects  # how many there are

    key = property(lambda self: (self.name, self.offset))


class Report:
    """struct report of faults.c, mapped."""

    HEAD = struct.Struct("<12I2q")
    FIELDS = ("armed", "port", "waits", "struck", "bad_closes", "quick_end", "ended",
              "fds_before", "fds_after", "live", "site_count", "padding", "mapped", "forgiven")
    SITE = struct.Struct("<Q24s3IiII")
    BYTES = HEAD.size + 512 * SITE.size

    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(prefix="faults-")
        self.file.truncate(self.BYTES)
        self.path = self.file.name
        self.map = mmap.mmap(self.file.fileno(), self.BYTES)

    def __getattr__(self, name):
        return self.HEAD.unpack_from(self.map)[self.FIELDS.index(name)]

    def arm(self, on=True):
        struct.pack_into("<I", self.map, 0, 1 if on else 0)

    def set_port(self, port):
        struct.pack_into("<I", self.map, 4, port)

    def sites(self):
        return [Site(*self.SITE.unpack_from(self.map, self.HEAD.size + i * self.SITE.size))
                for i in range(self.site_count)]

    def close(self):
        self.map.close()
        self.file.close()


class Faulty:
    """One hcsd-faults. rules as HCS_FAULTS has them; armed from its first call on,
    or when the test says so. handed: it inherits a listener."""

    def __init__(self, rules="", args=(), armed=True, handed=False, **settings):
        self.listener = socket.create_server(("127.0.0.1", 0)) if handed else None
        # A job may end with its deadline when the machine is busy.
        self.hurries = "JOB_TIMEOUT" in settings
        self.report = Report()
        self.report.arm(armed)
        self.handlers = tempfile.NamedTemporaryFile("w", prefix="faults-")
        self.handlers.write(HANDLERS)
        self.handlers.flush()
        # Each its own: who does not read makes the daemon wait, for a while.
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind("")  # the kernel picks an abstract name
        environment = {k: v for k, v in os.environ.items()
                       if k not in SETTING_NAMES and k != "NOTIFY_SOCKET"}
        if "PRIVATE_FD_TABLES" in os.environ:  # thread sanitizer
            environment["PRIVATE_FD_TABLES"] = os.environ["PRIVATE_FD_TABLES"]
        environment.update(SETTINGS, HANDLERS_FILE=self.handlers.name,
                           PID_FILE=self.report.path + ".pid",
                           NOTIFY_SOCKET="@" + self.notify.getsockname()[1:].decode())
        environment.update(settings)
        environment.update(HCS_FAULTS=rules, HCS_FAULT_FILE=self.report.path)
        self.log = tempfile.TemporaryFile()
        command, passed = [FAULTY, *args], []
        if handed:
            self.report.set_port(self.listener.getsockname()[1])
            environment["LISTEN_FDS"] = "1"
            command, passed = as_service_manager(command, [self.listener]), [self.listener.fileno()]
        self.process = subprocess.Popen(command, env=environment, pass_fds=passed,
                                        stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)
        if handed:
            # Who waits there is told when nobody comes any more.
            self.gives_up = threading.Thread(target=self._give_up)
            self.gives_up.start()

    def _give_up(self):
        self.process.wait()
        self.listener.close()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.report.path + ".pid")  # of a daemon that was killed
        if self.listener:
            self.gives_up.join()
        for file in (self.log, self.report, self.handlers, self.notify):
            file.close()

    def output(self):
        return os.pread(self.log.fileno(), 1 << 22, 0).decode(errors="replace")

    def wait_ready(self):
        """Waits until its loops turn; False when it ended instead."""
        end = time.monotonic() + PATIENCE
        while self.report.waits == 0:
            if self.process.poll() is not None:
                return False
            if time.monotonic() > end:
                raise Wrong("neither started nor ended")
            time.sleep(0.002)
        return True

    def gave_up_start(self):
        """A loop may turn once, to end, when another one cannot start."""
        end = time.monotonic() + 2
        while self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        return self.process.poll() is not None and re.search(
            "^hcsd: (HANDLERS|.*cannot start)", self.output(), re.M)

    def wait(self):
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Wrong("did not end") from None

    def peer(self, **kwargs):
        return Peer(self, **kwargs)

    def fds_of_the_kernel(self):
        """The entries of all descriptor tables. Two with the same are one."""
        tables = set()
        for task in os.listdir("/proc/%d/task" % self.process.pid):
            folder = "/proc/%d/task/%s/fd" % (self.process.pid, task)
            entries = set()
            for number in os.listdir(folder):
                with contextlib.suppress(FileNotFoundError):
                    entries.add((number, os.readlink(os.path.join(folder, number))))
            tables.add(frozenset(entries))
        return sum(len(table) for table in tables)


def echo_of(data):
    """The member "data" of an echo's reply, as the client sent it."""
    return lambda reply, request_id: (
        reply.json() == {"status": "ok", "request_id": request_id, "data": json.loads(data)})


def status_of(word):
    # It may still be opening its handlers.
    words = (word, "starting") if word == "ok" else (word,)
    return lambda reply, request_id: reply.json() in [{"status": each} for each in words]


class Peer:
    """A client that knows what it has to get. Each reply is the right one, or a
    refusal for want of something, or else the connection is over."""

    numbers = iter(range(1 << 62))

    def __init__(self, daemon, rcvbuf=None, late=False):
        self.waiting = []  # (method, status, check, id) of each reply to come
        self.served = self.refused = 0
        self.over = False
        self.refusals = ("memory-pressure", "no-descriptors", "draining", "queue-full") + (
            ("deadline-exceeded",) if daemon.hurries else ())
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # In a drain the listener ignores those who are late, who would try again
        # after a second.
        sock.settimeout(0.02 if late else PATIENCE)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.client = Client(sock)
        try:
            sock.connect(("127.0.0.1", daemon.report.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            if isinstance(error, socket.timeout) and not late:
                raise Wrong("cannot connect") from None
            self.over = True
        sock.settimeout(PATIENCE)

    # --- Requests, as bytes; each is expected to be answered.

    def expect(self, method, status, check=None):
        request_id = "r%08d" % next(self.numbers)
        self.waiting.append((method, status, check, request_id))
        return "X-Request-ID: %s\r\n" % request_id

    def get(self, path="/health", status=200, check=status_of("ok"), headers="", method="GET"):
        headers += self.expect(method, status, check)
        return ("%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (method, path, headers)).encode()

    def post(self, path="/", data=None, headers=""):
        data = data or json.dumps(next(self.numbers))
        headers += self.expect("POST", 200, echo_of(data))
        return post_bytes('{"data":%s}' % data, path, headers)

    def chunked(self, pieces, data, path="/"):
        """In several parts, to be sent one by one."""
        headers = self.expect("POST", 200, echo_of(data))
        parts = ["POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%s\r\n"
                 % (path, headers)]
        parts += ["%x;name=value\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
        return [part.encode() for part in parts + ["0\r\nTrailer: x\r\n\r\n"]]

    # --- Bytes.

    def send(self, data):
        if self.over:
            return
        try:
            self.client.send(data)
        except socket.timeout:
            raise Wrong("sending hangs") from None
        except OSError:
            pass  # what was sent before the end may still be answered

    def receive(self):
        """The next reply that is expected, checked. False at the end."""
        method, status, check, request_id = self.waiting.pop(0)
        while not self.over:
            before = self.client.buffer
            try:
                reply = self.client.read_reply(method)
            except socket.timeout:
                raise Wrong("no reply to %s, and no end; got %r" % (
                    request_id, self.client.buffer[:200] or before[:200])) from None
            except (OSError, AssertionError) as error:
                # Over, in between or after a part: such as it is it must be the
                # beginning of a reply.
                self.over = True
                self.check_beginning(str(error))
                return False
            if reply is None:
                self.over = True
                return False
            if reply.status == 100:
                continue
            self.check(reply, status, check, request_id)
            return True
        return False

    def check_beginning(self, error):
        got = self.client.buffer
        start = b"HTTP/1.1 "
        if not got.startswith(b"HTTP/1.1 ") and not start.startswith(got) and \
                "cut body" not in error and "Connection" not in error:
            raise Wrong("the end of a connection after %r (%s)" % (got[:200], error))

    def check(self, reply, status, check, request_id):
        echoed = reply.headers.get("x-request-id")
        if reply.status >= 500 and status < 500:
            if reply.problem() not in self.refusals:
                raise Wrong("refused with %r" % reply)
            # A connection that was refused as such had no request.
            if echoed != request_id and not reply.closes():
                raise Wrong("the refusal of another request: %r" % reply)
            self.refused += 1
        else:
            if reply.status != status or echoed != request_id:
                raise Wrong("not the reply to %s: %r" % (request_id, reply))
            if check and not check(reply, request_id):
                raise Wrong("not what was asked for: %r" % reply)
            self.served += 1
        if reply.closes():
            self.expect_end()

    def expect_end(self):
        """Nothing follows a reply that says it is the last."""
        self.over = True
        try:
            more = self.client.buffer or self.client.sock.recv(1)
        except socket.timeout:
            raise Wrong("Connection: close, and no end") from None
        except OSError:
            return
        if more:
            raise Wrong("Connection: close, and then %r" % more[:200])

    def receive_all(self):
        while self.waiting:
            self.receive()

    def ask(self, data):
        self.send(data)
        self.receive_all()

    def close(self):
        self.client.close()

    def reset(self):
        if self.over:
            self.close()
        else:
            with contextlib.suppress(OSError):
                self.client.reset()


class Play:
    """The script: the same steps in the same order each time. Counts the
    connections that did not get all of what they asked for."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.damaged = 0

    def peer(self, **kwargs):
        return self.daemon.peer(**kwargs)

    def end(self, peer, asked):
        peer.receive_all()
        peer.close()
        self.damaged += peer.served != asked

    def serve(self):
        """Everything but the drain."""
        kept = self.peer()
        kept.ask(kept.get())
        kept.ask(kept.post())
        upload = self.peer()
        pieces = ['{"data":', '[1,', '"two"]}']
        parts = upload.chunked(pieces, '[1, "two"]')
        upload.send(parts[0] + parts[1][:5])
        kept.ask(kept.post("/s"))
        upload.send(parts[1][5:] + parts[2])
        kept.ask(kept.get("/none", 404, None))
        upload.send(parts[3])
        kept.ask(kept.get(method="HEAD", check=None))
        upload.send(parts[4])
        upload.ask(upload.post("/p"))
        upload.ask(upload.post("/m"))
        kept.ask(kept.post("/w"))
        self.end(upload, 3)
        self.end(kept, 6)

        line = self.peer()
        line.send(line.get() + line.post() + line.post("/s") + line.get("/readyz",
                  check=status_of("ready")) + line.post() + line.get())
        self.end(line, 6)

        # More arrives while the first of two jobs runs.
        queue = self.peer()
        queue.send(queue.post("/s") + queue.post("/s"))
        time.sleep(0.002)
        queue.send(queue.post("/s"))
        self.end(queue, 3)

        # More than a record holds, a socket takes, and a connection reads a turn.
        large = self.peer(rcvbuf=8192)
        text = '"%s"' % ("0123456789abcdef" * 12800)
        request = large.post(data=text)
        large.send(request[:30000])
        other = self.peer()
        other.send(other.get()[:20])
        large.send(request[30000:] + large.get())
        other.waiting.clear()
        other.reset()  # in its header section
        self.end(large, 2)

        interim = self.peer()
        request = interim.post(headers="Expect: 100-continue\r\n")
        head = request.index(b"\r\n\r\n") + 4
        interim.send(request[:head])
        if not interim.over:
            interim.client.readable(PATIENCE)
        interim.send(request[head:])
        self.end(interim, 1)

        bad = self.peer()
        bad.expect("GET", 400)
        bad.send(b"GET / HTTP/1.1\r\n\r\n")
        bad.waiting = [("GET", 400, None, None)]
        bad.check = lambda reply, *_: bad_request(bad, reply)
        self.end(bad, 1)

        last = self.peer()
        last.ask(last.get(headers="Connection: close\r\n") + b"ignored")
        self.end(last, 1)

        self.leave()

    def leave(self):
        """Clients that do not wait for their replies."""
        gone = self.peer()
        gone.send(gone.post("/s"))
        gone.close()
        half = self.peer()
        half.send(half.post("/s") + half.get())
        with contextlib.suppress(OSError):
            half.client.sock.shutdown(socket.SHUT_WR)
        half.receive_all()  # cancelled, or what came before is answered
        half.close()
        cut = self.peer()
        cut.send(cut.post(data='"%s"' % ("x" * 9000))[:5000])
        cut.reset()

    def drain(self):
        """Starts the end, with clients in every state."""
        idle, job, reading = self.peer(), self.peer(), self.peer()
        idle.ask(idle.get())
        request = reading.post()
        reading.send(request[:-3])
        job.send(job.post("/s"))
        self.daemon.process.send_signal(signal.SIGTERM)
        idle.send(idle.post())
        late = self.peer(late=True)
        late.send(late.get(check=None))
        reading.send(request[-3:])
        for peer in (idle, job, reading, late):
            peer.receive_all()
            peer.close()


class HandedPlay(Play):
    """Connections to a listener that goes on without the daemon; so many that a
    loop has enough, rests, and is asked to come back."""

    def serve(self):
        crowd = []
        for _ in range(30):
            crowd.append(self.peer())
            crowd[-1].ask(crowd[-1].get())
        for peer in crowd:
            self.end(peer, 1)
        Play.serve(self)

    def drain(self):
        """As Play's, without the one who is late: that waits for a successor."""
        idle, reading = self.peer(), self.peer()
        idle.ask(idle.get())
        request = reading.post()
        reading.send(request[:-3])
        self.daemon.process.send_signal(signal.SIGTERM)
        idle.send(idle.post())
        reading.send(request[-3:])
        for peer in (idle, reading):
            peer.receive_all()
            peer.close()


class LatePlay(Play):
    """Clients who wait until the daemon's deadlines, which are short here. What
    each of them gets differs with the moment; that it ends does not."""

    SETTINGS = {name: "%dms" % (100 * (4 if SLOW else 1))
                for name in ("READ_TIMEOUT", "WRITE_TIMEOUT", "JOB_TIMEOUT")}
    SETTINGS.update(IDLE_TIMEOUT="200ms" if not SLOW else "1s", MAX_CONNECTIONS="9",
                    LOG_LEVEL="debug", ADDRESS="127.0.0.1", HANDLERS_FILE="",
                    HANDLERS="/=echo /s=sleep:1h /p=spin:1ms")

    def serve(self):
        peers = {name: self.peer(rcvbuf=8192) for name in (
            "idle", "head", "body", "chunked", "running", "waiting", "stuck", "left")}
        text = '"%s"' % ("0123456789abcdef" * 12800)
        peers["idle"].ask(peers["idle"].get())
        for name, data in (("head", b"GET / HTTP/1.1\r\nHo"),
                           ("body", post_bytes("{}")[:-1]),
                           ("chunked", b"POST / HTTP/1.1\r\nHost: x\r\n"
                                       b"Transfer-Encoding: chunked\r\n\r\n2\r\n{"),
                           ("stuck", post_bytes('{"data":%s}' % text) + get_bytes()),
                           ("running", post_bytes("{}", "/s")),
                           ("waiting", post_bytes("{}", "/s")),
                           ("left", post_bytes("{}", "/s"))):
            peers[name].send(data)
        # One more than there may be, and another one.
        more = [self.peer(), self.peer()]
        for peer in more:
            peer.send(get_bytes())
        peers["left"].close()
        for peer in [peers[name] for name in ("idle", "head", "body", "chunked", "running",
                                              "waiting")] + more:
            self.until_end(peer)
        time.sleep(0.3)  # nothing is read, so this one is given up
        self.until_end(peers["stuck"])

    def until_end(self, peer):
        """Whatever comes is a reply, and then it is over, or idle for too long."""
        while not peer.over:
            try:
                reply = peer.client.read_reply()
            except socket.timeout:
                raise Wrong("neither reply nor end") from None
            except (OSError, AssertionError):
                break
            if reply is None:
                break
            if reply.status not in (200, 408, 503, 504):
                raise Wrong("not among what may come: %r" % reply)
        peer.close()

    def drain(self):
        """At once: the second signal cuts what the first lets end."""
        peers = [self.peer() for _ in range(4)]
        for peer, data in zip(peers, (b"GET / HT", post_bytes("{}", "/s"), post_bytes("{}"),
                                      b"")):
            peer.send(data)
        self.daemon.process.send_signal(signal.SIGTERM)
        time.sleep(0.03)
        self.daemon.process.send_signal(signal.SIGTERM)
        for peer in peers:
            self.until_end(peer)


def bad_request(peer, reply):
    if reply.status == 400:
        peer.served += 1
    elif reply.status != 503:
        raise Wrong("not a 400: %r" % reply)
    peer.expect_end()


def check_metrics(daemon):
    """Comes to rest with nothing left over; gives the figures."""
    end = time.monotonic() + PATIENCE
    got, wrong, listed = [], ["no metrics"], 0
    peer = daemon.peer()
    while wrong and time.monotonic() < end:
        if peer.over:  # it met a fault
            peer.close()
            peer = daemon.peer()
        before = len(got)
        peer.ask(peer.get("/metrics", check=lambda reply, _: got.append(reply.json()) or True))
        listed = daemon.fds_of_the_kernel()
        if len(got) > before:
            wrong = what_is_wrong(got[-1], listed)
        if wrong:
            time.sleep(0.005)
    peer.close()
    if wrong:
        raise Wrong("the metrics do not add up: %s; the kernel lists %d descriptors; %s" % (
            wrong, listed, json.dumps(got[-1:])))
    return got[-1]


def what_is_wrong(metrics, listed):
    """The figures that should not be what they are while only one client, who asks
    for them, is connected."""
    gauges = metrics["connections"]
    # A loop keeps a chunk of connections and one of requests, a worker one of its
    # arena; all else was given back.
    chunks = 2 * len(metrics["loops"]) + metrics["workers"]
    tokens = 16 * 1024 / (1 << 20)
    return [what for what, right in (
        ("active_connections", metrics["active_connections"] == 1),
        ("connections", sum(gauges.values()) == 1 and gauges["idle"] == 1),
        ("queue_depth", metrics["queue_depth"] == 0),
        ("workers_busy", metrics["workers_busy"] == 0),
        ("workers_stuck", metrics["workers_stuck"] == 0),
        ("jobs_deferred", metrics["jobs_deferred"] == 0),
        ("requests", metrics["total_requests"] == 1 + metrics["completed_requests"] +
         metrics["error_count"] + metrics["cancelled_requests"]),
        ("errors", metrics["error_count"] == sum(metrics["requests_rejected"].values())),
        ("closes", metrics["connections_accepted"] == 1 + sum(
            metrics["connections_closed"].values())),
        ("memory_used_mb", metrics["memory_used_mb"] <= chunks / 16 + tokens + 0.001),
        ("open_fds", metrics["open_fds"] == listed)) if not right]


def check_alive(daemon):
    """A good request is answered; where jobs have to hurry, one of several."""
    for _ in range(20 if daemon.hurries else 1):
        with contextlib.closing(daemon.peer()) as peer:
            peer.ask(peer.get() + peer.post() + peer.post("/p"))
            if peer.served == 3:
                return
    raise Wrong("a good client is not served any more")


def check_end(daemon, status):
    report, output = daemon.report, daemon.output()
    for word in ("Sanitizer", "runtime error:", "Assertion"):
        if word in output:
            raise Wrong(word)
    if status < 0:
        raise Wrong("ended by signal %d" % -status)
    if report.bad_closes:
        raise Wrong("%d times a descriptor was closed that was not open" % report.bad_closes)
    if report.quick_end:
        raise Wrong("did not wait for its workers")
    if not report.ended:
        raise Wrong("ended without the functions that run at exit")
    # What it inherited is closed, unless it never came to look at it.
    closed = report.fds_before - report.fds_after
    if closed != (1 if daemon.listener else 0) and (status == 0 or closed != 0):
        raise Wrong("%d descriptors before, %d after" % (report.fds_before, report.fds_after))
    if report.live:
        raise Wrong("not freed: %s" % ", ".join(
            "%d of %s" % (site.live, where(site)) for site in report.sites() if site.live))
    if report.mapped > report.forgiven:
        raise Wrong("%d bytes still mapped" % report.mapped)


def check_refused_start(daemon, status):
    """It did not start; it has said why."""
    if status <= 0:
        raise Wrong("did not start, and ended with status %d" % status)
    if not re.search(r"^hcsd: .*\S", daemon.output(), re.M):
        raise Wrong("did not start, and said nothing of it")


LIFE = ("start", "serve", "drain")


def run(rules="", phases=LIFE, play=Play, **settings):
    """Plays the whole script against one daemon, which meets the rules in these
    phases. No more connections may suffer than there were faults. Gives whether it
    started, its sites, and the number of faults."""
    daemon = Faulty(rules, armed="start" in phases, **settings)
    try:
        started = daemon.wait_ready()
        if started:
            script = play(daemon)
            daemon.report.arm("serve" in phases)
            script.serve()
            if phases != LIFE:
                daemon.report.arm(False)
            if script.damaged > daemon.report.struck and not daemon.gave_up_start():
                raise Wrong("%d connections were damaged by %d faults" % (
                    script.damaged, daemon.report.struck))
            started = daemon.process.poll() is None
        if started:
            check_alive_but_for_faults(daemon)
            check_metrics(daemon)
            daemon.report.arm("drain" in phases)
            script.drain()
        status = daemon.wait()
        if not started:
            check_refused_start(daemon, status)
        elif status != 0:
            raise Wrong("status %d" % status)
        check_end(daemon, status)
        return started, daemon.report.sites(), daemon.report.struck
    except Wrong as wrong:
        raise Wrong("%s\n  HCS_FAULTS='%s'\n  %s\n%s" % (
            wrong, rules, "; ".join("%s met %s, %d times" % (
                where(site), effect_name(site.effect), site.struck)
                for site in daemon.report.sites() if site.struck) or "no fault",
            daemon.output())) from None
    finally:
        daemon.close()


def check_alive_but_for_faults(daemon):
    """The rules may reach even the good client; then another one is served."""
    while True:
        struck = daemon.report.struck
        try:
            return check_alive(daemon)
        except Wrong:
            if daemon.report.struck == struck:
                raise


def effect_name(effect):
    return {SHORT: "one byte", -2: "a spurious wake-up"}.get(effect) or os.strerror(effect)


def where(site):
    """The place in the source, as addr2line has it."""
    tool = os.environ.get("HCSD_ADDR2LINE") or "addr2line"
    try:
        said = subprocess.run([tool, "-f", "-e", FAULTY, "%x" % (site.offset - 1)],
                              capture_output=True, text=True).stdout.split()
        place = "%s, %s" % (said[0], said[1].rsplit("/src/", 1)[-1])
    except (OSError, IndexError):
        place = "at %x" % site.offset
    return "%s in %s" % (site.name, place)
