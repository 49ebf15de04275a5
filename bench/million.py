"""A million connections, held; see README.md and scripts/million.sh."""

import argparse
import json
import os
import signal
import subprocess
import time

import servers
from servers import Failed, say

SPARE_DESCRIPTORS = 500  # of a loop's table; also what its hash may be off by
SETTLE_SECONDS = 5
IDLE_CPU_MOST = 0.01  # of a core
BYTES_MOST = 256

# What the kernel takes for both ends of a connection: two sockets, two
# descriptors, two epoll entries, and some.
KERNEL_BYTES = 9000
CLIENT_BYTES = 300  # of hcsd-load for one
HCSD_BYTES = 256

# name, what it has to be at least for so many connections.
SYSCTLS = (
    ("fs.file-max", lambda n: 2 * n + 100000),
    ("net.core.somaxconn", lambda n: min(n, 4096)),
    ("net.ipv4.tcp_max_syn_backlog", lambda n: min(n, 4096)),
    ("net.netfilter.nf_conntrack_max", lambda n: 2 * n + 100000),
)


class Sysctls:
    """Raises what is too low, and puts it back at the end."""

    def __init__(self, connections):
        self.wanted = [(name, least(connections)) for name, least in SYSCTLS]
        self.changed = []

    @staticmethod
    def path(name):
        return "/proc/sys/" + name.replace(".", "/")

    def too_low(self):
        found = []
        for name, least in self.wanted:
            try:
                with open(self.path(name)) as file:
                    value = int(file.read())
            except FileNotFoundError:
                continue  # conntrack is not loaded
            if value < least:
                found.append((name, value, least))
        return found

    def __enter__(self):
        try:
            self.raise_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def raise_all(self):
        for name, value, least in self.too_low():
            self.changed.append((name, value))
            self.write(name, least)
            say(f"raised {name} from {value} to {least}")

    def __exit__(self, *_):
        # A second ^C must not leave some of them as they are.
        handlers = {number: signal.signal(number, signal.SIG_IGN)
                    for number in servers.SIGNALS}
        for name, value in self.changed:
            try:
                self.write(name, value)
                say(f"put {name} back to {value}")
            except Failed as error:
                say(str(error))
        self.changed = []
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def write(self, name, value):
        try:
            with open(self.path(name), "w") as file:
                file.write(str(value))
        except OSError as error:
            raise Failed(f"{name} cannot be set to {value}: {error}") from None


def available_bytes():
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    raise Failed("no MemAvailable in /proc/meminfo")


def check(options):
    """What it needs, and whether it is there."""
    n = options.connections
    room = servers.descriptor_limit() - SPARE_DESCRIPTORS
    loops = max(-(-n // room), os.cpu_count())
    need = n * (KERNEL_BYTES + CLIENT_BYTES + HCSD_BYTES)
    free = available_bytes()
    low = Sysctls(n).too_low()
    print(f"{n} connections need")
    print(f"  descriptors  {loops} loops, each with a table of its own "
          f"(ulimit -Hn: {servers.descriptor_limit()}), and "
          f"{-(-n // (servers.descriptor_limit() - 32))} client processes")
    print(f"  memory       {need / 2**30:.1f} GiB, nearly all of it the "
          f"kernel's; available: {free / 2**30:.1f} GiB")
    print(f"  addresses    {-(-n // 10000)} of 127.0.0.0/8 for the client")
    for name, value, least in low:
        print(f"  {name}  at least {least}; it is {value}")
    if room < 100:
        raise Failed("ulimit -Hn is too low for anything")
    if need > free:
        raise Failed(f"not enough memory: try -c {int(n * free / need)}")
    if low and os.geteuid() != 0:
        raise Failed("only root can raise: " +
                     ", ".join(name for name, _, _ in low))
    return loops


class Holder:
    """An hcsd-load that holds connections, and asks on them when told to."""

    def __init__(self, bench, server, options):
        self.bench = bench
        self.process = bench.launch(
            [options.load, "hold", "-c", str(options.connections),
             "--until-eof", "--held-rate", str(options.rate), "--timeout",
             "2m", "--json", "--body", servers.JOB_BODY.decode(),
             server.url("/")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def opened(self):
        """Waits until all are."""
        line = self.process.stdout.readline()
        if not line:
            raise Failed("hcsd-load gave up")
        return json.loads(line)

    def ask(self):
        """Begins to, or ends."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def release(self):
        output, _ = self.process.communicate(timeout=300)
        status = self.process.returncode
        self.bench.end(self.process)
        return json.loads(output), status


def fresh_clients(bench, server, options):
    """GET /health, each on a new connection."""
    output, status = bench.run(
        [options.load, "churn", "-c", "4", "-r", "50", "-d",
         f"{options.seconds}s", "--json", "--quiet", server.url("/health")],
        timeout=options.seconds + 120)
    found = json.loads(output.splitlines()[-1])
    if status != 0 or found["status"] != {"200": found["requests"]["due"]}:
        raise Failed(f"fresh clients: {output}")
    return found


def idle_cpu(server, seconds):
    """The share of a core."""
    before = server.cpu_seconds()
    time.sleep(seconds)
    return (server.cpu_seconds() - before) / seconds


def drain(server):
    """Seconds from SIGTERM to the end, and how it ended."""
    start = time.monotonic()
    server.process.terminate()
    status = server.process.wait(600)
    return time.monotonic() - start, status


def verdict(met):
    return "met" if met else "MISSED"


def run(bench, options, loops):
    n = options.connections
    settings = {
        "MAX_CONNECTIONS": str(n + 1000), "IDLE_TIMEOUT": "6h",
        "READ_TIMEOUT": "2m", "LOG_LEVEL": "info",
    }
    server = bench.start("hcsd", loops=loops, environment=settings)
    time.sleep(1)
    none = server.private_dirty_bytes()
    holder = Holder(bench, server, options)
    opened = holder.opened()
    if opened["requests"]["answered"] != n:
        raise Failed(f"not all were answered: {opened}")
    time.sleep(SETTLE_SECONDS)
    each = (server.private_dirty_bytes() - none) / n
    idle = idle_cpu(server, options.seconds)
    open_now = server.metrics()["active_connections"] - 1
    holder.ask()
    fresh = fresh_clients(bench, server, options)
    holder.ask()
    time.sleep(1)
    seconds, status = drain(server)
    time.sleep(1)
    held, load_status = holder.release()
    lost = n - held["connections"]["closed_by_server"]

    print(f"opened       {n} in {opened['seconds']:.1f} s, each with a job "
          f"answered; p99 {opened['latency_us']['p99'] / 1e3:.1f} ms")
    print(f"open         {open_now} by the daemon's own count")
    print(f"memory       {each:.0f} B a connection ({verdict(each <= BYTES_MOST)}"
          f": {BYTES_MOST}); {none / 2**20:.1f} MiB without any")
    print(f"idle CPU     {100 * idle:.2f} % of a core "
          f"({verdict(idle < IDLE_CPU_MOST)}: 1 %), over {options.seconds} s")
    print(f"GET /health  of {fresh['requests']['due']} fresh clients, "
          f"meanwhile: p50 {fresh['latency_us']['p50'] / 1e3:.2f} ms, "
          f"p99 {fresh['latency_us']['p99'] / 1e3:.2f} ms")
    print(f"jobs         on {held['requests']['due']} of the {n}, "
          f"meanwhile: {held['requests']['answered']} answered, p50 "
          f"{held['latency_us']['p50'] / 1e3:.2f} ms, p99 "
          f"{held['latency_us']['p99'] / 1e3:.2f} ms")
    print(f"drain        {seconds:.1f} s, exit status {status} "
          f"(SHUTDOWN_TIMEOUT: 30 s); {lost} connections were not closed by "
          "it")
    if status != 0 or load_status != 0 or lost != 0 or open_now != n:
        raise Failed("something was lost")
    if options.json:
        servers.write_figures(options.json, {
            "connections": n, "loops": loops, "bytes_each": each,
            "bytes_without": none, "idle_cpu": idle, "opened": opened,
            "health": fresh, "held": held, "drain_seconds": seconds,
        })


def parse_options():
    parser = argparse.ArgumentParser(
        prog="million.sh",
        description="Holds a million connections with one hcsd, client "
        "included: has a job answered on each, weighs them, lets them rest, "
        "serves fresh clients and jobs meanwhile, and drains.")
    servers.add_program_options(parser)
    parser.add_argument("-c", "--connections", type=int, default=1000000)
    parser.add_argument("--seconds", type=int, default=20,
                        help="of rest, and of work (20)")
    parser.add_argument("--rate", type=int, default=200,
                        help="jobs a second on the connections (200)")
    parser.add_argument("--json", metavar="FILE", help="the figures")
    return parser.parse_args()


def main():
    options = parse_options()
    with servers.Bench(options) as bench:
        servers.check_programs(options, "load", "hcsd")
        loops = check(options)
        with Sysctls(options.connections):
            run(bench, options, loops)
    return 0


if __name__ == "__main__":
    servers.run_main(main)
