"""What the scripts of this folder share: the servers, started and ended.

A Bench is a context: whatever was started in it, and its temporary folder, is
gone when it ends, by an error, a ^C and a SIGTERM too. Standard library only.
"""

import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)

# A 24-byte body, as a job of no weight.
JOB_BODY = b'{"data":{"hello":"you"}}'
GET_HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST_JOB = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    % (len(JOB_BODY), JOB_BODY)
)

PACKAGES = {
    "gnuplot": "gnuplot-nox",
    "go": "golang-go",
    "haproxy": "haproxy",
    "nginx": "nginx",
    "node": "nodejs",
    "strace": "strace",
    "valgrind": "valgrind",
    "wrk": "wrk",
}
FASTHTTP = "/usr/share/gocode/src/github.com/valyala/fasthttp"
FASTHTTP_PACKAGE = "golang-github-valyala-fasthttp-dev"

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READY_SECONDS = 15
OPEN = ("01", "08")  # ESTABLISHED and CLOSE_WAIT, in /proc/net/tcp
NGINX_CONFIG = """\
daemon off;
worker_processes {loops};
worker_rlimit_nofile {descriptors};
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096{reuseport};
        location / {{ return 200 '{{"status":"ok"}}'; }}
    }}
}}
"""
# No limit on what the process may open but the kernel's, and none of the checks
# that would have it reserve two descriptors for each connection.
HAPROXY_CONFIG = """\
global
    nbthread {loops}
    maxconn {connections}
    ulimit-n {descriptors}
    no strict-limits
defaults
    mode http
    timeout client 600s
    timeout http-keep-alive 600s
    timeout http-request 600s
frontend constant
    bind 127.0.0.1:{port} backlog 4096
    http-request return status 200 content-type application/json \
string '{{"status":"ok"}}'
"""
# How a request may end, in the words of hcsd-load.
OUTCOMES = ("answered", "refused", "failed", "lost")
PEERS = ("nginx", "haproxy", "go")


class Failed(Exception):
    """A run did not come off; the message is for people."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def find_tool(name):
    """The path of a program, or None. Debian keeps nginx in sbin."""
    folders = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return shutil.which(name, path=folders)


def need_tool(name):
    path = find_tool(name)
    if path is None:
        say(f"{name} is not here, its cases are skipped: apt-get install "
            f"{PACKAGES[name]}")
    return path


def add_program_options(parser):
    built = os.path.join(TOP, "build")
    parser.add_argument(
        "--hcsd", metavar="FILE", default=os.path.join(built, "hcsd"),
        help="the daemon (build/hcsd)")
    parser.add_argument(
        "--floor", metavar="FILE", default=os.path.join(built, "bench/floor"),
        help="the bare server (build/bench/floor)")
    parser.add_argument(
        "--load", metavar="FILE",
        default=os.path.join(built, "bench/hcsd-load"),
        help="the counting client (build/bench/hcsd-load)")


def add_peer_options(parser):
    parser.add_argument(
        "--go", metavar="FOLDER",
        help="a Go server to compare with: its sources, for Debian's fasthttp")


def two_cpus():
    """A core for the server and one for the client, not two threads of the
    same core where there is a choice. One number twice on a single core."""
    cpus = sorted(os.sched_getaffinity(0))
    for other in cpus[1:]:
        if other not in siblings(cpus[0]):
            return cpus[0], other
    return cpus[0], cpus[-1]


def siblings(cpu):
    path = f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    found = {cpu}
    try:
        with open(path) as file:
            for part in file.read().strip().split(","):
                low, _, high = part.partition("-")
                found.update(range(int(low), int(high or low) + 1))
    except (OSError, ValueError):
        pass
    return found


def descriptor_limit():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def machine_cpu_seconds():
    """Time that all cores together were not idle."""
    with open("/proc/stat") as file:
        ticks = [int(field) for field in file.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def children_cpu_seconds():
    """Of children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def free_port():
    """A port below the ephemeral range, where no client's end can sit."""
    for _ in range(100):
        port = random.randint(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failed("no free port between 20000 and 32000")


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def family_of(pid):
    """A process and all that descend from it."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                children.setdefault(parent_of(name), []).append(int(name))
            except OSError:
                continue  # it ended meanwhile
    family = [pid]
    for member in family:
        family.extend(children.get(member, []))
    return family


class Server:
    def __init__(self, name, process, port, log_path):
        self.name = name
        self.process = process
        self.port = port
        self.log_path = log_path

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def pids(self):
        return family_of(self.process.pid)

    def cpu_seconds(self):
        """CPU time, user and system, of all threads that are or were.

        The process's CPU clock counts nanoseconds from the scheduler's own
        books, as /proc/PID/task/*/schedstat does, but in one read and with
        threads that ended; utime and stime of /proc/PID/stat count ticks.
        The clock's number is CPUCLOCK_SCHED of a pid, as clock_getcpuclockid
        makes it.
        """
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in self.pids())

    def context_switches(self):
        total = 0
        for pid in self.pids():
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/status") as file:
                    for line in file:
                        if "ctxt_switches" in line:
                            total += int(line.split()[1])
        return total

    def private_dirty_bytes(self):
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/smaps_rollup") as file:
                for line in file:
                    if line.startswith("Private_Dirty:"):
                        total += int(line.split()[1]) * 1024
        return total

    def resident_bytes(self):
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/statm") as file:
                total += int(file.read().split()[1])
        return total * os.sysconf("SC_PAGESIZE")

    def metrics(self):
        with urllib.request.urlopen(self.url("/metrics"), timeout=60) as page:
            return json.load(page)

    def connections(self):
        """Connections that the server still has to close. By their ends, since
        the kernel shows some twice while others come and go."""
        port = f":{self.port:04X}"
        found = set()
        for path in ("/proc/net/tcp", "/proc/net/tcp6"):
            try:
                with open(path) as file:
                    for line in file:
                        field = line.split()
                        if field[1].endswith(port) and field[3] in OPEN:
                            found.add((field[1], field[2]))
            except OSError:
                continue
        return len(found)

    def last_words(self):
        with open(self.log_path, errors="replace") as file:
            return "".join(file.readlines()[-5:]).strip()


class Bench:
    def __init__(self, options):
        self.options = options
        self.folder = None
        self.processes = []
        self.count = 0
        self.launching = False
        self.interrupted = None  # by this signal, while launching

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="hcs-bench-")
        for number in SIGNALS:
            signal.signal(number, self.interrupt)
        return self

    def interrupt(self, number, _):
        """Leaves through __exit__, but not between the birth of a process and
        its place in our list, where it would be forgotten."""
        self.interrupted = number
        if not self.launching:
            sys.exit(128 + number)

    def __exit__(self, *_):
        # A second ^C must not leave half of them behind.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for process in list(self.processes):
            self.end(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def launch(self, argv, **more):
        """Starts a program in a process group of its own, so that its
        children end with it and a ^C is ours alone to act on."""
        self.launching = True
        try:
            process = subprocess.Popen(argv, start_new_session=True, **more)
            self.processes.append(process)
        finally:
            self.launching = False
        if self.interrupted is not None:
            sys.exit(128 + self.interrupted)
        return process

    def end(self, process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        self.processes.remove(process)

    def run(self, argv, timeout, **more):
        """Output and exit status of a client. Its errors are in the output."""
        process = self.launch(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            **more)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"{argv[0]} did not end in {timeout} s") from None
        finally:
            self.end(process)
        return output, process.returncode

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, kind, loops=1, cpu=None, tracer=(), environment=None,
              connections=1024, patience=READY_SECONDS):
        """Starts a server: floor, hcsd or a peer. Without a number of loops
        it has its default; with a cpu it is pinned there; a tracer is what is
        put before its command."""
        port = free_port()
        self.count += 1
        log_path = self.path(f"{kind}-{self.count}.log")
        argv, settings = self.command(kind, port, loops, connections)
        settings.update(environment or {})
        argv = [*tracer, *argv]
        if cpu is not None:
            argv = ["taskset", "-c", str(cpu), *argv]
        with open(log_path, "w") as log:
            process = self.launch(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **settings}, cwd=self.folder)
        server = Server(kind, process, port, log_path)
        self.await_ready(server, patience)
        return server

    def command(self, kind, port, loops, connections):
        settings = {"PORT": str(port)}
        if loops is not None:
            settings["LOOPS"] = str(loops)
        if kind == "floor":
            return [self.options.floor], settings
        if kind == "hcsd":
            settings["ADDRESS"] = "127.0.0.1"
            return [self.options.hcsd], settings
        if kind == "go":
            if loops is not None:
                settings["GOMAXPROCS"] = str(loops)
            return [self.path("peer-go")], settings
        if kind == "node":
            return [find_tool("node"), os.path.join(HERE, "node_sqlite.js")], (
                settings)
        config = self.path(f"{kind}-{port}.conf")
        written = {"nginx": NGINX_CONFIG, "haproxy": HAPROXY_CONFIG}[kind]
        with open(config, "w") as file:
            file.write(written.format(
                folder=self.folder, port=port,
                loops=loops or ("auto" if kind == "nginx"
                                else len(os.sched_getaffinity(0))),
                descriptors=descriptor_limit(), connections=connections,
                reuseport="" if loops == 1 else " reuseport"))
        program = find_tool(kind)
        if kind == "haproxy":
            return [program, "-db", "-q", "-f", config], {}
        return [program, "-p", self.folder, "-c", config], {}

    def await_ready(self, server, patience):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if server.process.poll() is not None:
                break
            try:
                with socket.create_connection(
                        ("127.0.0.1", server.port), patience) as client:
                    client.settimeout(patience)
                    client.sendall(GET_HEALTH)
                    if client.recv(4096).startswith(b"HTTP/1.1 200 "):
                        return
            except OSError:
                pass
            time.sleep(0.01)
        words = server.last_words()
        self.end(server.process)
        raise Failed(f"{server.name} did not start to serve: {words}")

    def stop(self, server):
        """At once: a measured server has no more to say."""
        self.end(server.process)

    def terminate(self, server, pid, patience=120):
        """By SIGTERM to its process, for a tracer in front of it to see the
        end and write its account."""
        os.kill(pid, signal.SIGTERM)
        try:
            server.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise Failed(f"{server.name} ignores SIGTERM") from None
        finally:
            self.end(server.process)

    def ask(self, server, request, connections=64, requests=1, cpu=None,
            patience=120):
        """The same requests each time, in lock-step: one on each connection,
        then all their replies. Each has to be a 200."""
        argv = [self.options.load, "burst", "-c", str(connections),
                "-n", str(requests), "--timeout", f"{patience}s", "--json",
                "--quiet", "--request", self.request_file(request),
                server.url("/")]
        if cpu is not None:
            argv = ["taskset", "-c", str(cpu), *argv]
        output, status = self.run(argv, timeout=20 * patience)
        if status != 0:
            raise Failed(f"{server.name}: {output.strip()}")
        statuses = json.loads(output)["status"]
        if statuses != {"200": connections * requests}:
            raise Failed(f"{server.name}: replies by status: {statuses}")

    def offer(self, server, shape, path, *arguments, cpu=None, timeout=120):
        """What hcsd-load says of a load. What a server could not do is a
        result; Failed when requests are not accounted for."""
        argv = [self.options.load, shape, *arguments, "--json", "--quiet",
                server.url(path)]
        if cpu is not None:
            argv = ["taskset", "-c", str(cpu), *argv]
        output, status = self.run(argv, timeout=timeout)
        lines = output.strip().splitlines()
        if status not in (0, 1) or not lines or not lines[-1].startswith("{"):
            raise Failed(f"{server.name}: {output.strip() or 'hcsd-load died'}")
        said = json.loads(lines[-1])
        requests = said["requests"]
        if requests["due"] == 0 or requests["due"] != sum(
                requests[word] for word in OUTCOMES):
            raise Failed(f"{server.name}: not every request is accounted for: "
                         f"{requests}")
        return said

    def request_file(self, request):
        path = self.path(f"request-{hash(request) & 0xffffffff:08x}")
        if not os.path.exists(path):
            with open(path, "wb") as file:
                file.write(request)
        return path

    def find_peers(self, wanted=PEERS):
        """Those of the servers that are here; of the others is said what they
        lack."""
        found = [name for name in wanted if name != "go" and name in PEERS
                 and need_tool(name)]
        if "go" in wanted:
            if self.options.go is None:
                say("no --go FOLDER, the Go cases are skipped")
            elif self.build_go(self.options.go):
                found.append("go")
        return found

    def build_go(self, folder):
        """Builds a Go server with Debian's fasthttp. False when it cannot."""
        go = need_tool("go")
        if go is None:
            return False
        if not os.path.isdir(FASTHTTP):
            say("fasthttp is not here, the Go cases are skipped: apt-get "
                f"install {FASTHTTP_PACKAGE}")
            return False
        environment = {**os.environ, "GOPATH": "/usr/share/gocode",
                       "GO111MODULE": "off",
                       "GOCACHE": self.path("go-cache")}
        say("building the Go server")
        output, status = self.run(
            [go, "build", "-o", self.path("peer-go"), "."], timeout=600,
            cwd=folder, env=environment)
        if status != 0:
            raise Failed(f"go build in {folder}: {output.strip()}")
        return True


def check_programs(options, *names):
    """The named programs that were built. Without hcsd the rest can still be
    compared; without another there is nothing to compare by."""
    found = []
    for name in names:
        path = os.path.abspath(getattr(options, name))
        setattr(options, name, path)
        if os.access(path, os.X_OK):
            found.append(name)
        elif name == "hcsd":
            say(f"{path} is not built, its cases are skipped")
        else:
            raise Failed(
                f"{path} is not built: cmake -S . -B build && "
                "cmake --build build --target benches")
    return found


def write_figures(path, figures):
    """As JSON."""
    with open(path, "w") as file:
        json.dump(figures, file, indent=1)
        file.write("\n")


def run_main(main):
    """Exit status: 0, or 1 when a run failed, or that of a signal. Speed never
    decides."""
    try:
        sys.exit(main())
    except (Failed, subprocess.TimeoutExpired) as error:
        say(str(error))
        sys.exit(1)
