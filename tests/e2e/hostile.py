"""Attackers for the tests test_hostile_*.

What they cost must not weigh on the clients that a test measures, so they run
in a process of their own: this file, as a program, with a thread and a loop over
epoll for each kind of attack. All connections of a kind do the same: send an
opening, then drip the bytes of a period, again and again, one step each
interval; and they count how they were ended.

Beside it stands what is to be true of a daemon after any attack.
"""

import collections
import errno
import json
import os
import resource
import select
import socket
import subprocess
import sys
import threading
import time

import harness
from harness import SLOW, get_bytes

IP_BIND_ADDRESS_NO_PORT = 24  # ip(7); Python knows it from 3.12 on
SOURCES = 8  # addresses 127.0.0.2 and up: a port range each
FIN_WAIT1, FIN_WAIT2, LISTEN = 4, 5, 10  # tcp_states.h
CONNECTING = 256  # at once, so that no handshake is lost in a full backlog

# The header section of a job in chunks.
CHUNKED = (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
           b"Transfer-Encoding: chunked\r\n\r\n")


def raise_fd_limit():
    """Soft to hard; gives the limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# --- The program.

class Attacker:
    """Keeps count connections to the port in a state that costs the daemon."""

    def __init__(self, port, count, opening="", drip="", step=1, interval=1.0, again=True,
                 reads=True, rcvbuf=0, reset=False, hold=True):
        self.port = port
        self.count = count
        self.opening = opening.encode("latin-1")
        self.drip = drip.encode("latin-1")
        self.step = step
        self.interval = interval
        self.again = again  # in place of one that was ended comes another
        self.reads = reads
        self.rcvbuf = rcvbuf
        self.reset = reset  # leaves with a reset
        self.hold = hold  # else it leaves as soon as it has sent its opening
        self.epoll = select.epoll()
        self.conns = {}  # by descriptor
        self.opened = 0
        self.connecting = 0
        self.turns = collections.deque()  # (when, connection), the next one first
        self.ended = {}  # how -> [how many, the shortest life, the longest]
        self.all_open = threading.Event()  # each was, once
        self.error = None

    def open(self):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        if self.rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.rcvbuf)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind(("127.0.0.%d" % (2 + self.opened % SOURCES), 0))
        # The daemon may accept it before we hear that it is connected.
        begun = time.monotonic()
        error = sock.connect_ex(("127.0.0.1", self.port))
        if error not in (0, errno.EINPROGRESS):
            raise OSError(error, os.strerror(error))
        self.opened += 1
        self.connecting += 1
        # socket, unsent opening, place in the drip, when it was connected, status,
        # when it was begun
        self.conns[sock.fileno()] = [sock, self.opening, 0, None, None, begun]
        self.epoll.register(sock, select.EPOLLOUT | select.EPOLLIN | select.EPOLLRDHUP |
                            select.EPOLLET)

    def end(self, conn, how):
        sock = conn[0]
        if conn[3] is None:
            self.connecting -= 1
        life = time.monotonic() - conn[5]
        entry = self.ended.setdefault(how, [0, life, life])
        self.ended[how] = [entry[0] + 1, min(entry[1], life), max(entry[2], life)]
        del self.conns[sock.fileno()]
        if self.reset:
            harness.Client(sock).reset()
        else:
            sock.close()
        conn[0] = None

    def send(self, conn):
        """The rest of the opening. False when the connection ended."""
        try:
            while conn[1]:
                conn[1] = conn[1][conn[0].send(conn[1]):]
        except BlockingIOError:
            return True
        except OSError:
            return self.receive(conn, True)
        if not self.hold:
            self.end(conn, "left")
            return False
        return True

    def receive(self, conn, broken=False):
        """Reads all there is. False when the connection ended. What came before
        a reset tells more than the reset."""
        try:
            while True:
                data = conn[0].recv(65536)
                if not data:
                    how = conn[4] or "closed"
                    break
                if conn[4] is None:
                    conn[4] = data[9:12].decode("latin-1")
        except BlockingIOError:
            if not broken:
                return True
            how = conn[4] or "reset"
        except OSError:
            how = conn[4] or "reset"
        self.end(conn, how)
        return False

    def ready(self, conn, events):
        if conn[3] is None and events & select.EPOLLOUT:
            conn[3] = time.monotonic()
            self.connecting -= 1
            if self.drip:
                self.turns.append((conn[3] + self.interval, conn))
            elif not self.hold and not conn[1]:
                self.end(conn, "left")
                return
        if conn[1] and events & select.EPOLLOUT and not self.send(conn):
            return
        if self.reads:
            if events & (select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR):
                self.receive(conn, bool(events & select.EPOLLERR))
        elif events & (select.EPOLLHUP | select.EPOLLERR):
            self.end(conn, "reset")

    def drip_due(self):
        now = time.monotonic()
        for _ in range(len(self.turns)):  # each once, even when its next turn is now
            if self.turns[0][0] > now:
                break
            _, conn = self.turns.popleft()
            if conn[0] is None:
                continue
            at = conn[2]
            piece = (self.drip * (2 + self.step // len(self.drip)))[at:at + self.step]
            try:
                sent = 0 if conn[1] else conn[0].send(piece)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.receive(conn, True)
                continue
            conn[2] = (at + sent) % len(self.drip)
            self.turns.append((now + self.interval, conn))

    def wanted(self):
        return self.count - len(self.conns) if self.again else self.count - self.opened

    def run(self):
        """Until standard input ends, or all that were to come have gone."""
        try:
            self.epoll.register(0, select.EPOLLIN)
            while self.wanted() > 0 or self.conns or self.again:
                while self.wanted() > 0 and self.connecting < CONNECTING:
                    self.open()
                if self.opened - self.connecting >= self.count:
                    self.all_open.set()
                wait = 0.2
                if self.turns:
                    wait = min(wait, max(0.0, self.turns[0][0] - time.monotonic()))
                for fd, events in self.epoll.poll(wait, 1024):
                    if fd == 0:
                        return
                    if fd in self.conns:
                        self.ready(self.conns[fd], events)
                self.drip_due()
        except Exception as error:  # told to the test
            self.error = repr(error)
        finally:
            self.all_open.set()

    def leave(self):
        """Closes what is left; gives what was counted."""
        left = len(self.conns)
        for conn in list(self.conns.values()):
            if self.reset:
                harness.Client(conn[0]).reset()
            else:
                conn[0].close()
        return {"ended": self.ended, "left": left, "opened": self.opened, "error": self.error}


def main():
    raise_fd_limit()
    kinds = json.loads(sys.stdin.readline())
    attackers = {name: Attacker(**options) for name, options in kinds.items()}
    threads = [threading.Thread(target=attacker.run) for attacker in attackers.values()]
    for thread in threads:
        thread.start()
    for attacker in attackers.values():
        attacker.all_open.wait()
    print("open", flush=True)
    for thread in threads:
        thread.join()
    print(json.dumps({name: attacker.leave() for name, attacker in attackers.items()}))


# --- What a test uses.

class Attacks:
    """Attackers of several kinds, in one process of their own; kinds gives for
    each the arguments of Attacker."""

    def __init__(self, daemon, kinds):
        # Bytes pass through JSON as the characters of the same numbers.
        kinds = {kind: {name: value.decode("latin-1") if isinstance(value, bytes) else value
                        for name, value in dict(options, port=daemon.port).items()}
                 for kind, options in kinds.items()}
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, PYTHONPATH=os.path.dirname(harness.__file__)))
        self.process.stdin.write(json.dumps(kinds) + "\n")
        self.process.stdin.flush()

    def wait_open(self):
        """Until each of their connections was open once; gives self."""
        line = self.process.stdout.readline()
        assert line == "open\n", "the attacker failed: %r" % line
        return self

    def wait(self):
        """For those with again=False: until all have come and gone. Gives for
        each kind how often it opened, what is left open, and how others ended:
        how -> [how many, the shortest life in seconds, the longest]."""
        lines = self.process.stdout.read().splitlines()
        self.process.wait(harness.PATIENCE)
        counts = json.loads(lines[-1])
        errors = {kind: count["error"] for kind, count in counts.items() if count["error"]}
        assert not errors, errors
        return counts

    def stop(self):
        """Ends them if they have not; gives what wait() gives."""
        self.process.stdin.close()
        return self.wait()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()


class Attack(Attacks):
    """Attackers of one kind."""

    def __init__(self, daemon, count, **options):
        super().__init__(daemon, {"": dict(options, count=count)})

    def wait(self):
        return super().wait()[""]


def kernel_sockets(daemon):
    """Of each socket of its port, but the listeners: (state, bytes that were
    sent or wait to be sent and that the client has not taken). Of those as well
    that the daemon has closed."""
    found = []
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(name) as table:
                lines = table.read().splitlines()[1:]
        except FileNotFoundError:
            continue
        for fields in map(str.split, lines):
            port, state = int(fields[1].rsplit(":", 1)[1], 16), int(fields[3], 16)
            if port == daemon.port and state != LISTEN:
                found.append((state, int(fields[4].split(":")[0], 16)))
    return found


def fds_of_threads(daemon):
    """Open descriptors in the table of each thread, which may be its own."""
    counts = {}
    for task in os.listdir("/proc/%d/task" % daemon.pid):
        counts[task] = len(os.listdir("/proc/%d/task/%s/fd" % (daemon.pid, task)))
    return counts


class HostileCase(harness.TestCase):
    """A daemon that is attacked, and is then as it was before."""

    def setUp(self):
        raise_fd_limit()

    def start(self, **settings):
        daemon = super().start(**settings)
        # Once around each way of answering, so that what it keeps is there.
        for _ in range(8):
            self.assertEqual(daemon.get("/health").status, 200)
        self.eventually(lambda: self.quiet(daemon), "a quiet start")
        time.sleep(0.2)  # the last of these connections is closed by then
        daemon.fds_before = fds_of_threads(daemon)
        return daemon

    def attack(self, daemon, count, **options):
        attack = Attack(daemon, count, **options)
        self.addCleanup(attack.kill)
        return attack

    def attacks(self, daemon, kinds):
        attacks = Attacks(daemon, kinds)
        self.addCleanup(attacks.kill)
        return attacks

    @staticmethod
    def quiet(daemon):
        """The figures, once the connection that asks for them is the only one."""
        with daemon.client() as client:
            reply = client.ask(get_bytes("/metrics"))
        if reply is None or reply.status != 200:
            return None
        metrics = reply.json()
        alone = (metrics["connections"] == {"idle": 1, "reading": 0, "queued": 0, "running": 0,
                                            "writing": 0, "lingering": 0} and
                 metrics["active_connections"] == 1 and metrics["queue_depth"] == 0 and
                 metrics["workers_busy"] == 0)
        return metrics if alone else None

    def assert_as_before(self, daemon, job='{"data":[1,2,3]}', path="/"):
        """All that the attack has taken is given back, every request that was
        counted was answered or left by its client, and the daemon is of use."""
        metrics = self.eventually(lambda: self.quiet(daemon), "quiet after the attack")
        self.assertEqual(metrics["total_requests"],
                         metrics["completed_requests"] + metrics["error_count"] +
                         metrics["cancelled_requests"] + 1)  # the one that asks
        self.assertEqual(metrics["error_count"], sum(metrics["requests_rejected"].values()))
        self.assertEqual(metrics["connections_accepted"],
                         sum(metrics["connections_closed"].values()) + 1)
        self.assertEqual(metrics["log_lines_dropped"], 0)
        # The metrics' own connection may still be closing.
        self.eventually(lambda: fds_of_threads(daemon) == daemon.fds_before,
                        "descriptors: %r before, %r now" % (daemon.fds_before,
                                                            fds_of_threads(daemon)))
        self.assertEqual(daemon.get("/health").json(), {"status": "ok"})
        reply = daemon.post(job, path)
        self.assertEqual((reply.status, reply.json()["data"]), (200, json.loads(job)["data"]))
        return metrics

    def end(self, daemon):
        """SIGTERM ends it with status 0; at once, as nobody is connected."""
        since = time.monotonic()
        self.assertEqual(daemon.stop(), 0, daemon.output())
        self.assertLess(time.monotonic() - since, harness.LATE)

    def check_after(self, daemon, **job):
        metrics = self.assert_as_before(daemon, **job)
        self.end(daemon)
        return metrics


if __name__ == "__main__":
    main()
